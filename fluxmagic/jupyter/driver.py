"""Driving a run in the calling cell: a plain loop that now and then draws, and lets the panel's messages in."""

from __future__ import annotations

import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

from IPython import display as _ipython

from fluxmagic.jupyter import text
from fluxmagic.jupyter.axes import DISPLAY_SIZE
from fluxmagic.jupyter.board import Board
from fluxmagic.jupyter.downsample import MinMaxSeries
from fluxmagic.jupyter.message_pump import MessagePump
from fluxmagic.jupyter.plot import Curve
from fluxmagic.optimise.interrupts import InterruptGuard
from fluxmagic.runs import Run

_display: Any = _ipython.display

__all__ = ["Budget", "Live", "Page", "Terminal", "drive", "earlier", "follow", "frontend", "let_rest"]

LOOK = 0.05  # seconds between two looks at dials and budget
IDLE = 0.02  # seconds that a paused run sleeps


class Budget:
    """How often to draw: at most 1 % of the time, 10 % for the five seconds after a dial was moved.

    Time is put by as it passes; a frame is due when as much was put by as a frame costs.

    Parameters
    ----------
    clock : callable, optional
        Of no arguments, to seconds.
    """

    REST, MOVED, AFTER = 0.01, 0.10, 5.0
    APART = 0.06  # seconds between two frames at least

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.start = self._last = clock()
        self.drawn = 0.0
        self._saved = 0.0
        self._cost = 0.01
        self._until = self._soonest = -float("inf")

    def moved(self) -> None:
        """A dial was moved: the loss's answer is to be seen soon."""
        now = self.clock()
        if now >= self._until:
            self._saved = max(self._saved, self._cost)
        self._until = now + self.AFTER

    def due(self) -> bool:
        """Whether to draw now."""
        now = self.clock()
        self._saved += (now - self._last) * (self.MOVED if now < self._until else self.REST)
        self._saved = min(self._saved, 2 * self._cost)
        self._last = now
        return self._saved >= self._cost and now >= self._soonest

    def spend(self, seconds: float) -> None:
        """A frame was drawn, and took so long."""
        self._saved -= seconds
        self.drawn += seconds
        self._cost = min(1.5 * self._cost, seconds)  # what most frames cost: now and then the axes move
        self._soonest = self.clock() + self.APART

    @property
    def share(self) -> float:
        """The share of the time that was spent drawing."""
        return self.drawn / max(self.clock() - self.start, 1e-9)


class Terminal:
    """Where nothing can be drawn: a line of text now and then."""

    EVERY = 1.0  # seconds; where lines cannot be overwritten they come ever more seldom

    def __init__(self, run: Run) -> None:
        self.run = run
        self.overwrite = bool(getattr(sys.stdout, "isatty", lambda: False)())
        self._width = 0
        self._every = self.EVERY
        self._next = time.perf_counter() + self._every

    def look(self) -> None:
        """Show where the run is, if it is time."""
        now = time.perf_counter()
        if now < self._next:
            return
        line = text.progress(self.run)
        if self.overwrite:
            print("\r" + line.ljust(self._width), end="", flush=True)
            self._width = len(line)
        else:
            print(line, flush=True)
            self._every *= 1.5
        self._next = now + self._every

    def close(self) -> None:
        """Leave the summary."""
        if self._width:
            print("\r" + " " * self._width + "\r", end="")
        if self.run.steps:
            print(text.summary(self.run), flush=True)


class Page:
    """A page that shows pictures: two places, for the curve and for words, updated in place."""

    def __init__(self, run: Run, before: Iterable[MinMaxSeries] = ()) -> None:
        self.run = run
        self.before = list(before)
        self.problem = ""  # that kept the curve from being drawn
        self._drawn: bytes | None = None
        self.curve = Curve(run, self.before)
        self._draw(self.curve.frame)  # the first takes as long as ten others: not on the run's time
        self.open()
        self.budget = Budget()

    def open(self) -> None:
        """Show it in the cell that is executed."""
        self.picture = _display(self._image(), raw=True, display_id=True, metadata=METADATA)
        self.words = _display(_words(text.progress(self.run)), raw=True, display_id=True)

    def open_again(self) -> None:
        """Show it in another cell as well."""
        self._draw(self.curve.frame)
        self.picture.display(self._image(), raw=True, metadata=METADATA)
        self.words.display(_words(text.progress(self.run)), raw=True)

    def _draw(self, draw: Callable[[], bytes]) -> None:
        """Draw the curve; if that fails the last picture stays, and the training goes on."""
        try:
            self._drawn = draw()
            problem = ""
        except Exception as error:
            problem = f"the curve cannot be drawn: {type(error).__name__}: {' '.join(str(error).split())}"
        if problem != self.problem:
            self.problem = problem
            self.say(problem)

    def say(self, problem: str) -> None:
        """Show what keeps the curve from being drawn: it is beside the progress."""

    def _image(self) -> dict[str, Any]:
        """The curve as it was drawn last; nothing before the first step."""
        if self._drawn is None or not self.run.steps:
            return _words("")
        return {"image/png": self._drawn, "text/plain": f"curve of {self.run!r}"}

    def look(self) -> None:
        """Show where the run is, if there is time."""
        if self.budget.due():
            start = time.perf_counter()
            self.draw()
            self.budget.spend(time.perf_counter() - start)

    def draw(self) -> None:
        """Show where the run is; while it rests that is on nobody's time."""
        self._draw(self.curve.frame)
        self.picture.update(self._image(), raw=True, metadata=METADATA)
        self.show()

    def show(self) -> None:
        """Say where the run is."""
        self.words.update(_words("\n".join(filter(None, (text.progress(self.run), self.problem)))), raw=True)

    def close(self) -> None:
        """Leave the last frame and the summary; of a run without a step nothing."""
        _remember(self.run, self.curve.loss)
        if self.run.steps:
            self._draw(self.curve.picture)
        picture, words = self._places()
        picture.update(self._image(), raw=True, metadata=METADATA)
        told = (text.summary(self.run), self.problem) if self.run.steps else ()
        words.update(_words("\n".join(filter(None, told))), raw=True)

    def _places(self) -> tuple[Any, Any]:
        """Where the last picture and the summary go."""
        return self.picture, self.words


class Live(Page):
    """A page with dials above the curve."""

    def __init__(self, run: Run, before: Iterable[MinMaxSeries] = (), board: Board | None = None) -> None:
        self.board = Board(run, playing=True) if board is None else board
        try:
            super().__init__(run, before)
        except BaseException:
            self.board.close()
            raise

    def open(self) -> None:
        # at the end the picture takes the place of the dials, which are of no more use, and words that of the picture
        self.dials = _display(self.board.box, display_id=True)
        self.picture = _display(self._image(), raw=True, display_id=True, metadata=METADATA)

    def open_again(self) -> None:
        self._draw(self.curve.frame)
        self.dials.display(self.board.box)
        self.picture.display(self._image(), raw=True, metadata=METADATA)

    def say(self, problem: str) -> None:
        self.board.say(problem, wrong=True)

    def look(self) -> None:
        board = self.board
        if board.serve():
            self.budget.moved()
            self.settle()
        super().look()

    def settle(self) -> None:
        """Let the curve be that of the board's run, and shown as the board says."""
        if self.run is not self.board.run:
            _remember(self.run, self.curve.loss)
            self.before.append(self.curve.loss)
            self.run, self._drawn = self.board.run, None
            self.curve = Curve(self.run, self.before)
        self.curve.log, self.curve.smoothing = self.board.log, self.board.smoothing

    def show(self) -> None:
        self.board.show(self.budget.share)

    def close(self) -> None:
        try:
            super().close()
        finally:
            self.board.close()

    def _places(self) -> tuple[Any, Any]:
        return self.dials, self.picture


METADATA = {"image/png": DISPLAY_SIZE}


def _words(words: str) -> dict[str, Any]:
    return {"text/plain": words}


def frontend(ip: Any) -> str:
    """What is on the other side: "widgets", "page" (pictures, but nobody who would turn a dial), or "terminal"."""
    kernel = getattr(ip, "kernel", None)
    if kernel is None:
        return "terminal"
    content = (kernel.get_parent() or {}).get("content", {})
    return "widgets" if content.get("allow_stdin") else "page"


_earlier: deque[tuple[str | None, weakref.ref[Run], MinMaxSeries]] = deque(maxlen=3)
"""What was shown last: not the runs themselves, which may be large."""


def earlier(run: Run) -> list[MinMaxSeries]:
    """The losses of earlier runs of the same name, and of the one that it is a branch of: they are drawn in grey."""
    others = [(name, ref(), loss) for name, ref, loss in _earlier]
    return [
        loss
        for name, other, loss in others
        if other is not run and (name == run.name or (other is not None and other is run.parent))
    ]


def _remember(run: Run, loss: MinMaxSeries) -> None:
    for old in [e for e in _earlier if e[1]() is run]:
        _earlier.remove(old)
    _earlier.append((run.name, weakref.ref(run), loss))


def drive(run: Run, ip: Any, *, panel: bool = True) -> None:
    """Drive a run to its end in the calling cell, and show it.

    Parameters
    ----------
    run : Run
    ip : InteractiveShell
    panel : bool
        Whether to show dials, where there is somebody to turn them.

    Raises
    ------
    NotFinite, KeyboardInterrupt
        And whatever the loss raises, when the last frame and the summary are there.
    """
    kind = frontend(ip)
    # also while the first frame is drawn: raised just anywhere, in a weak reference's callback, it could be lost
    with InterruptGuard() as guard:
        view: Any
        if kind == "terminal":
            view = Terminal(run)
        elif kind == "widgets" and panel:
            view = Live(run, earlier(run))
        else:
            view = Page(run, earlier(run))
        follow(run, view, getattr(ip, "kernel", None), guard)


def follow(run: Run, view: Any, kernel: Any = None, guard: InterruptGuard | None = None) -> None:
    """Drive a run to its end, and let a view look at it now and then.

    Parameters
    ----------
    run : Run
    view : Terminal, Page or Live
    kernel : ipykernel.kernelbase.Kernel, optional
        Whose messages for the view's dials are let in.
    guard : InterruptGuard, optional
        The guard that is up already.
    """
    if guard is None:
        with InterruptGuard() as guard:
            return follow(run, view, kernel, guard)
    board = getattr(view, "board", None)
    pump = None
    if board is not None:
        board.playing = True
        pump = MessagePump(kernel, board.owns)
        if not pump.supported:
            board.say("this kernel is not known: sliders act when the cell ends")
    with pump or nullcontext():
        try:
            while True:
                guard.check()
                run.advance(LOOK)
                if run.state == "running":
                    if pump is not None:
                        pump()
                    view.look()
                    if board is None or board.run is run:
                        continue
                    let_rest(run)  # a branch is to go on in its place
                    run = board.run
                    if board.playing:
                        continue
                if board is None or not _rest(view, pump):
                    break
                run = board.run
        except BaseException as error:
            let_rest(run)
            if isinstance(error, KeyboardInterrupt):
                run.keep_best()
            raise
        finally:
            view.close()


def let_rest(run: Run) -> None:
    """Let a run rest that is between two turns."""
    if run.state == "running":
        run.pause()
        run.advance(0.0)


def _rest(view: Live, pump: MessagePump | None) -> bool:
    """Wait, taking single steps, until it is known whether a run that is paused is to go on."""
    board = view.board
    if board.run.state != "paused":
        return False
    board.playing = False
    with InterruptGuard() as guard:
        view.draw()
        while not (board.playing or board.stopped or board.closed or board.run.finished):
            if board.single:
                board.single -= 1
                board.run.step()
                view.draw()
                continue
            time.sleep(IDLE)
            guard.check()
            if pump is not None:
                pump()
            if board.serve():
                view.settle()
                view.draw()
    return board.playing

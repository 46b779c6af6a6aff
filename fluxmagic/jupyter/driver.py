"""Driving a run in the calling cell: a plain loop that now and then draws, and lets the panel's messages in."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from IPython import display as _ipython

from fluxmagic.jupyter import text
from fluxmagic.jupyter.curve import SHOWN, Curve
from fluxmagic.runs import Run

_display: Any = _ipython.display

__all__ = ["Budget", "Page", "Terminal", "drive", "frontend"]

LOOK = 0.05  # seconds between two looks at dials and budget
IDLE = 0.02  # seconds that a paused run sleeps


class Budget:
    """How often to draw: at most 2 % of the time, 10 % for the five seconds after a dial was moved.

    Time is put by as it passes; a frame is due when as much was put by as a frame costs.

    Parameters
    ----------
    clock : callable, optional
        Of no arguments, to seconds.
    """

    REST, MOVED, AFTER = 0.02, 0.10, 5.0
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

    def __init__(self, run: Run, earlier: Any = ()) -> None:
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
        print(text.summary(self.run), flush=True)


class Page:
    """A page that shows pictures: the curve and a line of text, updated in place."""

    def __init__(self, run: Run, earlier: Any = ()) -> None:
        self.run = run
        self.curve = Curve(run, earlier)
        first = self.curve.frame()  # drawing the first takes as long as thirty others: not on the run's time
        self.picture = _display(self._image(first), raw=True, display_id=True, metadata=_METADATA)
        self.words = _display({"text/plain": text.progress(run)}, raw=True, display_id=True)
        self.budget = Budget()

    def _image(self, png: bytes) -> dict[str, Any]:
        return {"image/png": png, "text/plain": f"curve of {self.run!r}"}

    def look(self) -> None:
        """Show where the run is, if there is time."""
        if self.budget.due():
            self.draw()

    def draw(self) -> None:
        """Show where the run is."""
        start = time.perf_counter()
        self.picture.update(self._image(self.curve.frame()), raw=True, metadata=_METADATA)
        self.words.update({"text/plain": text.progress(self.run)}, raw=True)
        self.budget.spend(time.perf_counter() - start)

    def close(self) -> None:
        """Leave the last frame and the summary."""
        self.picture.update(self._image(self.curve.picture()), raw=True, metadata=_METADATA)
        self.words.update({"text/plain": text.summary(self.run)}, raw=True)


_METADATA = {"image/png": SHOWN}


def frontend(ip: Any) -> str:
    """What is on the other side: "widgets", "page" (pictures, but nobody who would turn a dial), or "terminal"."""
    kernel = getattr(ip, "kernel", None)
    if kernel is None:
        return "terminal"
    content = (kernel.get_parent() or {}).get("content", {})
    return "widgets" if content.get("allow_stdin") else "page"


_earlier: deque[Run] = deque(maxlen=3)


def _remember(run: Run) -> list[Run]:
    """Earlier runs of the same name, which are drawn in grey."""
    same = [r for r in _earlier if r is not run and r.name == run.name]
    if run not in _earlier:
        _earlier.append(run)
    return same


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
    view: Any = Terminal(run) if kind == "terminal" else Page(run, _remember(run))
    _drive(run, view)


def _drive(run: Run, view: Any) -> None:
    next_look = time.perf_counter() + LOOK

    def after_step() -> None:
        nonlocal next_look
        if time.perf_counter() >= next_look:
            view.look()
            next_look = time.perf_counter() + LOOK

    try:
        run.train(cb=after_step)
    finally:
        view.close()

"""A panel of its own: the cell returns at once, and buttons drive the training."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from IPython.core.getipython import get_ipython

from fluxmagic.jupyter.board import Board
from fluxmagic.jupyter.driver import Live, Page, drive, earlier, follow, frontend, let_rest
from fluxmagic.jupyter.message_pump import MessagePump
from fluxmagic.optimise import OPTIMISERS, Optimiser
from fluxmagic.runs import Run
from fluxmagic.runs.lifecycle import SLICE_SECONDS

__all__ = ["Panel"]


class Panel:
    """Pick an optimiser, turn the dials, watch the loss.

    A notebook shows it.  Training is a task on the kernel's event loop: other cells can be executed meanwhile.

    Parameters
    ----------
    loss : callable or Run
        Of a batch, to a scalar; or a run, and nothing else.
    data : iterable, or function without arguments
        Gives the batches of an epoch.
    params : list of Param
        What is trained.
    opt : str or type, default "ADAM"
        The optimiser to begin with.
    epochs : int, default 100
    valid, metrics, model, seed, name : optional
        As of a `Run`.
    **hypers : float or callable
        Dials of the optimiser to begin with.

    Attributes
    ----------
    run : Run
        After Branch the new one.

    Raises
    ------
    TypeError
        If a run is given together with what only a new one needs, or data and params are missing.
    ValueError
        If there is no such optimiser, or a hyper-parameter is out of bounds.

    Examples
    --------
    >>> from fluxmagic import Panel, param
    >>> W = param(1.0)
    >>> panel = Panel(lambda x: (W - x) ** 2, [0.0] * 10, [W], opt="SGD", epochs=5)
    >>> panel.run
    Run(SGD, ready, epoch 1/5, 0 steps)
    """

    def __init__(
        self,
        loss: Callable[..., Any] | Run,
        data: Iterable[Any] | Callable[[], Iterable[Any]] | None = None,
        params: Iterable[Any] | None = None,
        *,
        opt: str | type[Optimiser] | None = None,
        epochs: int | None = None,
        valid: Any = None,
        metrics: Any = None,
        model: Any = None,
        seed: int | None = None,
        name: str | None = None,
        **hypers: Any,
    ) -> None:
        if isinstance(loss, Run):
            given = (data, params, opt, epochs, valid, metrics, model, seed, name, hypers or None)
            if any(x is not None for x in given):
                raise TypeError("Panel(run) takes nothing beside the run: give the rest to Run(...)")
            self.run = loss
        else:
            if data is None or params is None:
                raise TypeError("Panel takes a run, or loss, data and params: Panel(loss, data, params(m))")
            cls = OPTIMISERS.get(opt or "ADAM") if opt is None or isinstance(opt, str) else opt
            if not (isinstance(cls, type) and issubclass(cls, Optimiser)):
                raise ValueError(f"there is no optimiser {opt}; there are {', '.join(OPTIMISERS)}")
            self.run = Run(
                loss,
                data,
                cls(params, **hypers),
                epochs=100 if epochs is None else epochs,
                valid=valid,
                metrics=metrics,
                model=model,
                seed=seed,
                name=name,
            )
        self._view: Page | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._blocking = False  # a cell drives the run, and serves the dials
        self._error: BaseException | None = None
        self._woken = False  # `_serve` is about to be called
        self._rested = 0.0  # the time at which it may be called again
        self._places: dict[str, str] = {}  # the cells that show it, and the execution of each that did
        self.run.driver = self

    def __repr__(self) -> str:
        return f"Panel({self.run!r})"

    # -- showing -------------------------------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        ip = get_ipython()
        kind = frontend(ip)
        self._take_place(ip)
        if self._view is not None:
            self._view.open_again()
        elif kind == "terminal":
            print(f"{self!r}: there is nothing here to click on; run.wait() trains")
        elif kind == "page":
            self._view = Page(self.run, earlier(self.run))
        else:
            self._loop = asyncio.get_running_loop()
            self._view = Live(self.run, earlier(self.run), Board(self.run, closable=True, wake=self._wake))

    def _take_place(self, ip: Any) -> None:
        """Close the panels that an earlier execution of this cell has shown: the page shows them no more."""
        place, execution = _execution(ip)
        for other in [p for p in _shown if p is not self and p._places.get(place, execution) != execution]:
            del other._places[place]
            if not other._places and isinstance(other._view, Live):
                if other.run.state == "running":
                    print(f"`{other.run.name or 'run'}`, which this cell trained before, is paused")
                other.close()
        self._places[place] = execution
        _shown.add(self)

    def close(self) -> None:
        """Leave the last frame and a summary; the run is paused, and can go on elsewhere."""
        if self._task is not None:
            let_rest(self.run)
        self._leave()

    def _leave(self) -> None:
        view, self._view, self._task = self._view, None, None
        self._places.clear()
        if self.run.driver is self:
            self.run.driver = None
        if view is not None:
            view.close()

    # -- driving: on the event loop ------------------------------------------------------------------------

    def _wake(self) -> None:
        """A request was queued, on whatever thread."""
        if self._loop is not None and not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._serve_soon)

    def _serve_soon(self) -> None:
        assert self._loop is not None
        self._loop.call_later(max(0.0, self._rested - time.perf_counter()), self._serve)

    def _serve(self) -> None:
        self._woken = False
        view = self._view
        if self._blocking or self._task is not None or not isinstance(view, Live):
            return  # who drives the run serves
        board = view.board
        start = time.perf_counter()
        with self._told():
            if board.serve():
                view.settle()
                self._take_over(view.run)
            while board.single and not self.run.finished:
                board.single -= 1
                self.run.step()
                if time.perf_counter() - start > SLICE_SECONDS:
                    break
        if board.closed:
            self.close()
        elif board.playing:
            self._play()
        else:
            view.draw()
            if board.single:
                self._wake()
        now = time.perf_counter()
        self._rested = now + (now - start)  # half of the time is left to the kernel, however much a page sends

    def _take_over(self, run: Run) -> None:
        """Be the driver of the branch that was made, if one was."""
        old = self.run
        if run is old:
            return
        let_rest(old)
        old.driver, self.run, run.driver = None, run, self

    def _play(self) -> None:
        loop = asyncio.get_running_loop()
        self._error = None
        self._task = loop.create_task(self._go())

    async def _go(self) -> None:
        """Train in short turns, between which the kernel does its other work."""
        view, task = self._view, asyncio.current_task()
        board = view.board if isinstance(view, Live) else None
        pump = None if board is None else MessagePump(_kernel(), board.owns)
        try:
            with contextlib.nullcontext() if pump is None else pump.while_awaiting():
                while self._task is task:
                    if not self._turn(view, board, pump):
                        break
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            let_rest(self.run)
            raise
        finally:
            if self._task is task:  # nobody else has taken over
                if board is not None and board.closed:
                    self.close()
                self._task = None
                if board is not None:
                    board.playing = False
                if view is not None and self._view is view:
                    view.draw()

    def _turn(self, view: Page | None, board: Board | None, pump: MessagePump | None) -> bool:
        """Train for a short while; whether to go on."""
        with self._told():
            run = self.run
            run.advance(SLICE_SECONDS)
            if pump is not None:
                # a message that waits for its turn on the event loop would wait for a turn of training
                pump.handle_waiting()
            if view is not None:
                view.look()
                self._take_over(view.run)
            if board is not None and (board.closed or (self.run is not run and not board.playing)):
                return False
            return self.run is not run or run.state == "running"
        return False

    @contextlib.contextmanager
    def _told(self) -> Any:
        """What goes wrong is a message in the panel: there is no cell that it could leave through.

        That holds for `sys.exit()` and a KeyboardInterrupt, too: on the event loop they would end the kernel.
        """
        try:
            yield
        except BaseException as error:
            self._error = error
            if isinstance(self._view, Live):
                self._view.board.playing = False
                self._view.board.single = 0
                self._view.board.say(f"{type(error).__name__}: {error}".removesuffix(": "), wrong=True)

    # -- joining -------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Go on as if its Play were clicked; where there is nothing to click on, in the calling cell."""
        if isinstance(self._view, Live):
            self._view.board._play()
        else:
            self.wait()

    def wait(self) -> None:
        """Drive the run to its end in the calling cell, as `%%train` does, and leave the last frame there."""
        self._task = None
        view = self._view
        if view is None:
            self._leave()
            drive(self.run, get_ipython())
            return
        self._blocking = True
        try:
            view.open_again()
            follow(self.run, view, _kernel())
        finally:
            self._take_over(view.run)
            self._blocking = False
            self._view = None
            self._leave()

    async def join(self) -> None:
        """Let the run go on to its end, and leave the last frame in the calling cell; what `await run` does."""
        if self._view is None:
            self._ipython_display_()
        else:
            self._view.open_again()
        view = self._view
        if isinstance(view, Live):
            view.board.playing = True
        if self._task is None and not self.run.finished:
            self._play()
        with (
            MessagePump(_kernel(), view.board.owns).while_awaiting()
            if isinstance(view, Live)
            else contextlib.nullcontext()
        ):
            while self._view is not None and self._error is None:
                if self.run.finished or self.run.state == "stopped":
                    break
                if self._task is None and not isinstance(view, Live):
                    break
                await asyncio.sleep(SLICE_SECONDS)
        error = self._error
        self.close()
        if isinstance(error, asyncio.CancelledError | GeneratorExit):  # which would mean something to who awaits
            raise RuntimeError(f"the loss raised {type(error).__name__}") from error
        if error is not None:
            raise error


_shown: weakref.WeakSet[Panel] = weakref.WeakSet()


def live_panels() -> list[Panel]:
    """Give the panels that a page shows."""
    return [p for p in _shown if p._view is not None]


def _execution(ip: Any) -> tuple[str, str]:
    """The cell that is executed, by its id where the page tells it, and which of its executions this is."""
    kernel = getattr(ip, "kernel", None)
    parent = (kernel.get_parent() if kernel is not None else None) or {}
    place = parent.get("metadata", {}).get("cellId") or parent.get("content", {}).get("code", "")
    return str(place), str(parent.get("header", {}).get("msg_id", ""))


def _kernel() -> Any:
    return getattr(get_ipython(), "kernel", None)

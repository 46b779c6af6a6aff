"""A panel of its own: the cell returns at once, and buttons drive the training as a task on the kernel's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from IPython.core.getipython import get_ipython

from fluxmagic.jupyter.controls.transport import Controls
from fluxmagic.jupyter.driving.live_panels import Cells, live_panels, replace_others, take_cell
from fluxmagic.jupyter.driving.loop import pause_now, run_loop, train_for_a_turn, train_in_cell
from fluxmagic.jupyter.driving.message_pump import MessagePump
from fluxmagic.jupyter.driving.pace import Pace, check_speed
from fluxmagic.jupyter.driving.presentation import presentation
from fluxmagic.jupyter.driving.trainable import Trainable
from fluxmagic.jupyter.driving.views import TextView, View, make_view
from fluxmagic.jupyter.ipykernel_compat import Kernel, outputs_in
from fluxmagic.jupyter.magics.tracebacks import error_with_place, users_frames_only
from fluxmagic.jupyter.pictures.beside import Shown, try_beside
from fluxmagic.optimise import NotFinite, Optimiser
from fluxmagic.runs import Run
from fluxmagic.runs.driver import SLICE_SECONDS
from fluxmagic.runs.optimisers import optimiser_class

if TYPE_CHECKING:
    from fluxmagic.tracker import Param

__all__ = ["TASK_NAME", "Panel", "live_panels"]

TASK_NAME = "fluxmagic panel"
MAX_WAIT_SECONDS = 0.05  # between two turns where no step is due


class Panel:
    """Pick an optimiser, turn the dials, watch the loss.

    A notebook shows it.  Training is a task on the kernel's event loop: other cells can be executed meanwhile.

    Parameters
    ----------
    loss : callable or Trainable
        Of a batch, to a scalar; or a run, a race or a sweep, and nothing else.
    data : iterable, or function without arguments
        Gives the batches of an epoch.
    params : list of Param
        What is trained.
    opt : str or type, default "ADAM"
        The optimiser to begin with.
    epochs : int, default 100
    valid, metrics, model, seed, name, capture : optional
        As of a `Run`.
    speed : float, default infinity
        Steps a second at most; may be changed in the panel.
    show : callable or list of callables, optional
        Functions without arguments: what they return is drawn beside the curve.
    **hypers : float or callable
        Dials of the optimiser to begin with.

    Attributes
    ----------
    run : Run
        After Branch the new one.
    shown, cells : bool, Cells
        Whether a page shows it, and in which cells.

    Raises
    ------
    TypeError
        If a run is given together with what only a new one needs, or data and params are missing.
    ValueError
        If there is no such optimiser, or a hyper-parameter is out of bounds.
    Exception
        What `show` raises: it is tried once.

    Examples
    --------
    >>> W = param(1.0)
    >>> panel = Panel(lambda x: (W - x) ** 2, [0.0] * 10, [W], opt="SGD", epochs=5)
    >>> panel.run
    Run(SGD, ready, epoch 1/5, 0 steps)
    """

    def __init__(
        self,
        loss: Callable[..., object] | Trainable,
        data: Iterable[object] | Callable[[], Iterable[object]] | None = None,
        params: Iterable[Param] | None = None,
        *,
        opt: str | type[Optimiser] | None = None,
        epochs: int | None = None,
        valid: object = None,
        metrics: Mapping[str, Callable[..., object]] | None = None,
        model: object = None,
        seed: int | None = None,
        name: str | None = None,
        speed: float = math.inf,
        show: Shown | Iterable[Shown] = (),
        capture: bool | None = None,
        **hypers: float | Callable[[int], float],
    ) -> None:
        options: dict[str, Any] = {"valid": valid, "metrics": metrics, "model": model}
        options |= {"seed": seed, "name": name, "capture": capture}
        self.run: Trainable
        if hasattr(loss, "advance"):
            if any(x is not None for x in (data, params, opt, epochs, hypers or None, *options.values())):
                raise TypeError("Panel(run) takes nothing beside the run: give the rest to Run(...)")
            self.run = cast(Trainable, loss)
        else:
            if data is None or params is None:
                raise TypeError("Panel takes a run, or loss, data and params: Panel(loss, data, params(m))")
            made = optimiser_class(opt or "ADAM")(params, **hypers)
            self.run = Run(loss, data, made, epochs=100 if epochs is None else epochs, **options)
        self._speed = check_speed(speed)
        if callable(show) or show:
            try_beside(self.run, show)
        self._view: View | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._driven_by_cell = False  # which processes the requests, too
        self._error: BaseException | None = None
        self._scheduled = False  # `_process` is about to be called
        self._next_processing = 0.0  # the time at which it may be called again
        self.cells = Cells()
        replace_others(self.run)
        self.run.driver = self

    def __repr__(self) -> str:
        return f"Panel({self.run!r})"

    # -- showing -------------------------------------------------------------------------------------------

    @property
    def shown(self) -> bool:
        return self._view is not None

    @property
    def controls(self) -> Controls | None:
        """The buttons and sliders, where a page shows them."""
        return None if self._view is None else self._view.controls

    def _ipython_display_(self) -> None:
        shell = get_ipython()
        take_cell(self, shell)
        if self._view is not None:
            self._view.open_again()
            return
        view = make_view(self.run, shell, self._make_controls)
        if isinstance(view, TextView):
            print(f"{self!r}: there is nothing here to click on; run.wait() trains")
        else:
            self._view = view
            self._schedule_processing()  # a picture that is unfinished goes on while nothing is trained

    def _make_controls(self) -> Controls:
        self._loop = asyncio.get_running_loop()
        return presentation(self.run).controls(
            self.run, closable=True, wake=self._schedule_processing, speed=self._speed
        )

    def pause(self) -> None:
        """Pause the run now, for another panel that trains its parameters."""
        self._task = None
        pause_now(self.run)
        if self._view is not None and self.controls is not None:
            self.controls.playing = False
            self._view.draw()

    def close(self) -> None:
        """Leave the last frame and a summary; the run is paused, and can go on elsewhere."""
        if self._task is not None:
            pause_now(self.run)
        self._close_view()

    def _close_view(self) -> None:
        view, self._view, self._task = self._view, None, None
        self.cells.clear()
        if self.run.driver is self:
            self.run.driver = None
        if view is not None:
            view.close()

    # -- driving: on the event loop ------------------------------------------------------------------------

    def _schedule_processing(self) -> None:
        """Let the event loop process requests soon; called on any thread."""
        if self._loop is not None and not self._scheduled:
            self._scheduled = True
            later = self._next_processing - time.perf_counter()
            self._loop.call_soon_threadsafe(self._loop.call_later, max(0.0, later), self._process)

    def _process(self) -> None:
        self._scheduled = False
        view, controls = self._view, self.controls
        if self._driven_by_cell or self._task is not None or view is None or controls is None:
            return  # the driver of the run processes requests
        start = time.perf_counter()
        with self._errors_as_messages(), outputs_in(get_ipython(), self.cells.parent):
            if controls.process_requests():
                self._drive(controls.run)
            if self.run.state != "failed":
                self._error = None
            while controls.pending_steps and not self.run.finished:
                controls.pending_steps -= 1
                self.run.step()
                if time.perf_counter() - start > SLICE_SECONDS:
                    break
        if controls.closed:
            self.close()
        elif controls.playing:
            self._start_task()
        else:
            view.draw()
            if controls.pending_steps or view.is_unfinished:
                self._schedule_processing()
        now = time.perf_counter()
        self._next_processing = now + (now - start)  # half of the time is the kernel's, however much a page sends

    def _drive(self, run: Trainable) -> None:
        """Be the driver of a branch in place of the run that it was made of."""
        old = self.run
        if run is not old:
            pause_now(old)
            old.driver, self.run, run.driver = None, run, self

    def _start_task(self) -> None:
        self._error = None
        self._task = asyncio.get_running_loop().create_task(self._train_task(), name=TASK_NAME)

    async def _train_task(self) -> None:
        """Train in short turns, between which the kernel does its other work."""
        view, controls, task = self._view, self.controls, asyncio.current_task()
        pump = _pump(controls)
        pace = Pace() if controls is None else controls.pace
        pace.start()
        wait: float | None = 0.0
        try:
            with pump.while_awaiting():
                while self._task is task and wait is not None:
                    wait = self._train_for_a_turn(view, pump, pace)
                    await asyncio.sleep(wait or 0.0)
        except asyncio.CancelledError:
            pause_now(self.run)
            raise
        finally:
            if self._task is task:  # no other driver has taken over
                if controls is not None and controls.closed:
                    self.close()
                self._task = None
                if controls is not None:
                    controls.playing = False
                if view is not None and self._view is view:
                    view.draw()
                    self._schedule_processing()

    def _train_for_a_turn(self, view: View | None, pump: MessagePump, pace: Pace) -> float | None:
        """Train for a short while; give the seconds until the next turn, None to end."""
        with self._errors_as_messages(), outputs_in(get_ipython(), self.cells.parent):
            run, controls = self.run, None if view is None else view.controls
            wait = min(train_for_a_turn(run, pace, SLICE_SECONDS), MAX_WAIT_SECONDS)
            pump.handle_waiting()  # a message that waits for the event loop would wait for another turn
            if view is not None:
                view.refresh_if_due()
            if controls is not None:
                self._drive(controls.run)
                if controls.closed or (self.run is not run and not controls.playing):
                    return None
            return wait if self.run is not run or run.state == "running" else None
        return None

    @contextlib.contextmanager
    def _errors_as_messages(self) -> Iterator[None]:
        """Show an error in the panel: there is no cell that it could leave through.

        `sys.exit()` and a KeyboardInterrupt are shown too: on the event loop they would end the kernel.
        """
        try:
            yield
        except BaseException as error:
            self._error = error
            if self.controls is not None:
                self.controls.playing = False
                self.controls.pending_steps = 0
                self.controls.show_failure(error_with_place(error, get_ipython()))

    # -- joining -------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Go on as if Play were clicked; where there are no buttons, in the calling cell."""
        if self.controls is not None:
            self.controls.press("Play")
        else:
            self.wait()

    def wait(self) -> None:
        """Drive the run to its end in the calling cell, as `%%train` does, and leave the last frame there."""
        view, self._task = self._view, None
        with users_frames_only(get_ipython()):
            if view is None:
                self._close_view()
                train_in_cell(self.run, get_ipython())
                return
            self._driven_by_cell = True
            try:
                view.open_again()
                run_loop(view, _kernel())
            finally:
                self._drive(view.run)
                self._driven_by_cell = False
                self._view = None
                self._close_view()

    async def join(self) -> None:
        """Let the run go on to its end, and leave the last frame in the calling cell; what `await run` does."""
        if self._view is None:
            self._ipython_display_()
        else:
            self._view.open_again()
        controls = self.controls
        if controls is not None:
            controls.playing = True
        if self._task is None and not self.run.finished:
            self._start_task()
        with _pump(controls).while_awaiting():
            while self._view is not None and not _ends_waiting(self._error, controls):
                if self.run.finished or self.run.state == "stopped" or (self._task is None and controls is None):
                    break
                await asyncio.sleep(SLICE_SECONDS)
        error = self._error
        self.close()
        _raise(error)


def _raise(error: BaseException | None) -> None:
    """Raise what ended the training, in the cell that awaits it."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):  # these would end the cell otherwise
        raise RuntimeError(f"the loss raised {type(error).__name__}") from error
    if error is not None:
        with users_frames_only(get_ipython()):
            raise error


def _ends_waiting(error: BaseException | None, controls: Controls | None) -> bool:
    """Tell whether an error ends the waiting for a run: a loss that is not finite does when Stop is pressed."""
    return error is not None and (not isinstance(error, NotFinite) or controls is None or controls.stopped)


def _pump(controls: Controls | None) -> MessagePump:
    """Make a pump for the messages of controls; without any it handles none."""
    return MessagePump(None, lambda comm: False) if controls is None else MessagePump(_kernel(), controls.has_comm)


def _kernel() -> Kernel | None:
    kernel: Kernel | None = getattr(get_ipython(), "kernel", None)
    return kernel

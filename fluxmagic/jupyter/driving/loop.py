"""Drive training in the calling cell: a loop that refreshes a view, and handles the panel's messages, between turns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic

from fluxmagic.jupyter.controls.transport import Controls
from fluxmagic.jupyter.driving.message_pump import MessagePump
from fluxmagic.jupyter.driving.pace import Pace
from fluxmagic.jupyter.driving.presentation import presentation
from fluxmagic.jupyter.driving.trainable import Trainable
from fluxmagic.jupyter.driving.views import View, make_view
from fluxmagic.jupyter.ipykernel_compat import Kernel
from fluxmagic.jupyter.ipython_compat import Shell
from fluxmagic.optimise.errors import NotFinite
from fluxmagic.optimise.interrupts import InterruptGuard

__all__ = ["pause_now", "run_loop", "train_for_a_turn", "train_in_cell"]

TURN_SECONDS = 0.05  # of training between two refreshes
IDLE_SECONDS = 0.02  # that the loop sleeps where no step is due
SILENT_SECONDS = 1.5  # after which a page that has sent nothing is taken to send nothing
SILENT = "this page sends nothing while a cell runs: these dials act when it ends. Those of a Panel act at once."


def train_in_cell(run: Trainable, shell: Shell | None, *, panel: bool = True, speed: float = math.inf) -> None:
    """Drive training to its end in the calling cell, and show it.

    `panel` tells whether to show controls, where the front end has widgets; at `speed` steps a second at most then.
    What the loss raises is raised when the last frame and the summary are there.
    """
    # the guard is up while the first frame is drawn, too: raised in a weak reference's callback, an interrupt is lost
    with InterruptGuard() as guard:
        make_controls = partial(presentation(run).controls, run, playing=True, speed=speed)
        view = make_view(run, shell, make_controls if panel else None)
        run_loop(view, getattr(shell, "kernel", None), guard)


def run_loop(
    view: View,
    kernel: Kernel | None = None,
    guard: InterruptGuard | None = None,
    turn: float = TURN_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Drive what a view shows to its end; the messages that a kernel has for its controls are handled.

    `guard` is one that is up already, `turn` the seconds of training, a step at least, between two refreshes.
    """
    if guard is None:
        with InterruptGuard() as guard:
            return run_loop(view, kernel, guard, turn, sleep)
    run, controls = view.run, view.controls
    if controls is None:
        with _ending(lambda: run, view):
            while True:
                guard.check()
                run.advance(turn)
                if run.state != "running":
                    return None
                view.refresh_if_due()
    controls.playing = True
    pump = MessagePump(kernel, controls.has_comm)
    with pump, _ending(lambda: controls.run, view):
        _Session(view, controls, pump, guard, turn, sleep).run()
    return None


@contextmanager
def _ending(run: Callable[[], Trainable], view: View) -> Iterator[None]:
    """Leave what is driven within it paused, and the view closed."""
    try:
        yield
    except BaseException as error:
        pause_now(run())
        if isinstance(error, KeyboardInterrupt):
            run().keep_best()
        raise
    finally:
        view.close()


@dataclass
class _Session:
    """A cell with controls, while it runs."""

    view: View
    controls: Controls
    pump: MessagePump
    guard: InterruptGuard
    turn: float
    sleep: Callable[[float], None]
    error: NotFinite | None = None  # that Stop raises
    is_called_silent: bool = False

    def __post_init__(self) -> None:
        self._silent_at = monotonic() + SILENT_SECONDS

    def run(self) -> None:
        """Train until the end, or Stop."""
        controls = self.controls
        while True:
            self.guard.check()
            run, wait = controls.run, 0.0
            try:
                wait = train_for_a_turn(run, controls.pace, self.turn)
                self.error = None
            except NotFinite as error:
                self._pause_on(error)
            if run.state == "running":
                wait = min(wait, IDLE_SECONDS)
                if wait:
                    self.sleep(wait)
                self._listen()
                self.view.refresh_if_due()
                if controls.run is not run:
                    pause_now(run)  # its branch is driven in its place
                if controls.run is run or controls.playing:
                    continue
            if not self._wait():
                break
        if self.error is not None:
            raise self.error

    def _listen(self) -> None:
        """Handle what the page sent; say so if it never sends anything."""
        self.pump()
        silent = not self.controls.heard and monotonic() > self._silent_at
        if silent != self.is_called_silent:  # a slow page may be heard later
            self.is_called_silent = silent
            self.controls.show_message(SILENT if silent else "")

    def _pause_on(self, error: NotFinite) -> None:
        self.error = error
        self.controls.show_failure(f"{error}")
        name = self.controls.run.name or "the run"
        print(f"{name} paused: {error}\nRecover, Rewind or Restart, and then Play, go on; Stop and ■ end the cell.")

    def _wait(self) -> bool:
        """Wait, taking single steps, until paused training is to go on; tell whether it is."""
        view, controls = self.view, self.controls
        if self.error is None and controls.run.state != "paused":
            return False
        controls.playing = False
        with InterruptGuard() as guard:
            view.draw()
            while not (controls.playing or controls.stopped or controls.closed or controls.run.finished):
                if controls.pending_steps:
                    controls.pending_steps -= 1
                    try:
                        controls.run.step()
                        self.error = None
                    except NotFinite as error:
                        self._pause_on(error)
                    view.draw()
                    continue
                self.sleep(IDLE_SECONDS)
                guard.check()
                self._listen()
                if controls.process_requests():
                    view.draw()
                view.refresh_if_due()
                if controls.run.state != "failed":
                    self.error = None
        return controls.playing


def train_for_a_turn(run: Trainable, pace: Pace, seconds: float) -> float:
    """Take the steps that are due, for some seconds at most; give the seconds until the next one is due."""
    before = run.steps
    run.advance(seconds, pace.due)
    pace.count(run.steps - before)
    return pace.wait


def pause_now(run: Trainable) -> None:
    """Pause what is between two turns."""
    if run.state == "running":
        run.pause()
        run.advance(0.0)

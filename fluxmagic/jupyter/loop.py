"""Drive a run in the calling cell: a loop that refreshes a view, and handles the panel's messages, between turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

from fluxmagic.jupyter.ipykernel_compat import Kernel
from fluxmagic.jupyter.ipython_compat import Shell
from fluxmagic.jupyter.message_pump import MessagePump
from fluxmagic.jupyter.presentation import Controls, presentation
from fluxmagic.jupyter.trainable import Trainable
from fluxmagic.jupyter.views import View, make_view
from fluxmagic.optimise.interrupts import InterruptGuard

__all__ = ["pause_now", "run_loop", "train_in_cell"]

TURN_SECONDS = 0.05  # of training between two refreshes
IDLE_SECONDS = 0.02  # that a paused run sleeps


def train_in_cell(run: Trainable, shell: Shell | None, *, panel: bool = True) -> None:
    """Drive a run to its end in the calling cell, and show it.

    Parameters
    ----------
    run : Trainable
    shell : InteractiveShell
    panel : bool
        Whether to show controls, where the front end has widgets.

    Raises
    ------
    NotFinite, KeyboardInterrupt
        And whatever the loss raises, when the last frame and the summary are there.
    """
    # the guard is up while the first frame is drawn, too: raised in a weak reference's callback, an interrupt is lost
    with InterruptGuard() as guard:
        view = make_view(run, shell, partial(presentation(run).controls, run, playing=True) if panel else None)
        run_loop(view, getattr(shell, "kernel", None), guard)


def run_loop(
    view: View,
    kernel: Kernel | None = None,
    guard: InterruptGuard | None = None,
    turn: float = TURN_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Drive the run of a view to its end.

    Parameters
    ----------
    view : View
    kernel : ipykernel.kernelbase.Kernel, optional
        The kernel whose messages for the view's controls are handled.
    guard : InterruptGuard, optional
        The guard that is up already.
    turn : float
        Seconds of training, a step at least, between two refreshes.
    sleep : callable
        What a paused run waits with.
    """
    if guard is None:
        with InterruptGuard() as guard:
            return run_loop(view, kernel, guard, turn, sleep)
    run, controls = view.run, view.controls
    pump = None
    if controls is not None:
        controls.playing = True
        pump = MessagePump(kernel, controls.has_comm)
        if not pump.supported:
            controls.show_message("this kernel is not known: sliders act when the cell ends")
    with pump or nullcontext():
        try:
            while True:
                guard.check()
                run.advance(turn)
                if run.state == "running":
                    if pump is not None:
                        pump()
                    view.refresh_if_due()
                    if controls is None or controls.run is run:
                        continue
                    pause_now(run)  # its branch is driven in its place
                    run = controls.run
                    if controls.playing:
                        continue
                if controls is None or not _wait_while_paused(view, controls, pump, sleep):
                    break
                run = controls.run
        except BaseException as error:
            pause_now(run)
            if isinstance(error, KeyboardInterrupt):
                run.keep_best()
            raise
        finally:
            view.close()


def pause_now(run: Trainable) -> None:
    """Pause a run that is between two turns."""
    if run.state == "running":
        run.pause()
        run.advance(0.0)


def _wait_while_paused(
    view: View, controls: Controls, pump: MessagePump | None, sleep: Callable[[float], None]
) -> bool:
    """Wait, taking single steps, until a paused run is to go on; tell whether it is."""
    if controls.run.state != "paused":
        return False
    controls.playing = False
    with InterruptGuard() as guard:
        view.draw()
        while not (controls.playing or controls.stopped or controls.closed or controls.run.finished):
            if controls.pending_steps:
                controls.pending_steps -= 1
                controls.run.step()
                view.draw()
                continue
            sleep(IDLE_SECONDS)
            guard.check()
            if pump is not None:
                pump()
            if controls.process_requests():
                view.draw()
    return controls.playing

"""Take the steps of a run: which thread steps it, which weights are active, how it stands."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import index
from typing import Any

import numpy as np

from fluxmagic import generators
from fluxmagic.capture.report import StepsDiffer
from fluxmagic.optimise.errors import Stop
from fluxmagic.optimise.inputs import as_callbacks
from fluxmagic.optimise.interrupts import is_interrupt
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.optimise.step import without_fp_warnings
from fluxmagic.runs import ownership
from fluxmagic.runs.control import Control, Request
from fluxmagic.runs.driver import Joinable
from fluxmagic.runs.early_stopping import EarlyStopping
from fluxmagic.runs.loop import FOREVER, Hooks, Loop
from fluxmagic.runs.optimisers import check_values, optimiser_class
from fluxmagic.runs.problem import MissingLoss
from fluxmagic.runs.record import Setting
from fluxmagic.runs.replay import retake, values_at
from fluxmagic.runs.views import RunViews
from fluxmagic.tracker import Param

__all__ = ["SteppedRun"]


class SteppedRun(RunViews, Joinable):
    """A run that is stepped and changed, from any thread.

    Attributes
    ----------
    state : str
        "ready", "running", "paused", "stopped", "done" or "failed".
    """

    def __init__(self, loop: Loop, early: EarlyStopping) -> None:
        self._loop = loop
        self.early_stopping = early
        self.control = Control(loop.apply)
        self.state = "ready"
        self._state_before = "ready"

    def complete(self) -> None:
        """Compute what is missing of the state, before it is changed; a sweep keeps less of its runs."""

    # -- requests, from any thread -------------------------------------------------------------------------

    def set(self, **hypers: Setting) -> None:
        """Set hyper-parameters, by Greek or ASCII names: checked at once, applied between two batches, recorded."""
        self._ask_for("set", hypers)

    def drag(self, **hypers: Setting) -> None:
        """Set hyper-parameters by a hand that goes on: with a change of the same one just before it is one event."""
        self._ask_for("drag", hypers)

    def _ask_for(self, kind: str, hypers: Mapping[str, Setting]) -> None:
        cls = self._class_after_requests("it has no dials")
        given = check_values(cls, hypers, self.training.optimisers.updates, self.params)
        self.control.submit(Request(kind, given, f"{kind}({', '.join(given)})"))

    def swap(self, opt: str | type[Optimiser], **hypers: Setting) -> None:
        """Go on with another registered optimiser, and set its hyper-parameters.

        The weights stay.  An earlier optimiser comes back with its own state and values.
        """
        cls = optimiser_class(opt)
        self._class_after_requests("its parameters are not known, so none can take over")
        given = check_values(cls, hypers, params=self.params)
        prepared = self.training.optimisers.prepare(cls)
        values = {"opt": cls, "prepared": prepared, **given}
        self.control.submit(Request("swap", values, f"swap({cls.__name__})"))

    def _class_after_requests(self, otherwise: str) -> type[Optimiser]:
        self.complete()
        pending = self.control.pending("swap")
        cls: type[Optimiser] | None = pending[-1]["opt"] if pending else self.opt_class
        if cls is None:
            raise TypeError(f"{self.opt_name} is {self.opt_kind}: {otherwise}")
        return cls

    def pause(self) -> None:
        """End the loop after the batch; `train` goes on from there."""
        self._ask("pause")

    def stop(self) -> None:
        """End the run after the batch.  With `until` or `patience` the best epoch's weights are put back."""
        self._ask("stop")

    def _ask(self, halt: str) -> None:
        """Ask for a halt.  A run that is not running is paused or stopped at once."""
        control = self.control
        control.submit(Request(halt))
        if control.recomputing and control.is_held_here:
            return
        if halt == "pause" and self.state == "ready":
            self.state = "paused"
        elif halt == "stop" and self.state in ("ready", "paused"):
            self.state = "stopped"
            if not control.in_batch:
                self.keep_best()

    # -- between two batches -------------------------------------------------------------------------------

    @contextmanager
    def _between(self) -> Iterator[None]:
        """Hold the boundary between two batches, with requests and direct changes recorded."""
        with self.control, self.training.using_rng:
            if not self.control.in_batch:
                self._loop.record_direct_changes()
            yield

    @contextmanager
    def _recomputing(self) -> Iterator[None]:
        """Bring the run to another of its states: the weights are its own meanwhile."""
        with ownership.deciding:
            ownership.acquire(self, self.training.params)
            before, self.control.recomputing = self.control.recomputing, True
        try:
            yield
        finally:
            self.control.recomputing = before

    def snapshot(self) -> dict[str, np.ndarray]:
        """Copy the weights after a whole step, by their places in the model; from any thread."""
        with self._between():
            if self.state != "running":
                self.verify()
            names, weights = self.problem.names(), self.training.current.values.params or [p.value for p in self.params]
            return {names.get(id(p), str(i)): weights[i].copy() for i, p in enumerate(self.params)}

    # -- steps ---------------------------------------------------------------------------------------------

    def step(self, n: int = 1, *, ends_loop: bool = True) -> float | None:
        """Take n steps, or fewer: to the end, `pause`, `stop` or an interrupt.

        Returns the loss of the last one, None if the run had ended.  A loss or gradient that is not finite is
        NotFinite: the loss is a row of the history, and nothing was updated.  An interrupt lets the batch end; without
        `ends_loop` it is left to the loop around this call.
        """
        n, value = index(n), None
        with self._driving(ends_loop):
            value = self._take_steps(n)
            self._finish(gone=n > 0)
        return value

    def train(self, *, cb: object = None) -> None:
        """Train to the end, `pause`, `stop` or an interrupt; errors are those of `step`.

        `cb`, a function or a list of them, is called after each step; one that takes an argument gets the loss.
        """
        callbacks = as_callbacks(cb)
        with self._driving():
            self._take_steps(FOREVER, callbacks=callbacks)
            self._finish()

    def advance(self, seconds: float, steps: int | None = None) -> None:
        """Train for about that many seconds, one step at least and `steps` at most: a driver shares its thread so.

        The state stays "running", unless the run ends, pauses or stops.
        """
        with self._driving(ends_loop=False):
            self._take_steps(FOREVER if steps is None else steps, time.perf_counter() + seconds)
            if self.finished or self.control.halt:
                self._finish()

    def extend(self) -> None:
        """Let the run go on for as many epochs, or steps, again."""
        self.problem.extend()

    @contextmanager
    def _driving(self, ends_loop: bool = True) -> Iterator[None]:
        """Take steps within it: the weights are this run's.  `ends_loop` is that of `InterruptGuard`."""
        self.complete()
        loop, control, guard = self._loop, self.control, self._loop.guard
        if isinstance(loop.problem.loss, MissingLoss):
            loop.problem.loss()
        halts = control.halts
        with control, ownership.deciding, loop.state.using_rng:
            if control.driven:
                raise RuntimeError("this run is being driven already")
            loop.record_direct_changes()
            loop.state.own_rng()
            ownership.acquire(self, self.params)
            control.driven = True
            self._state_before = self.state
            if not loop.is_finished:
                # A halt from before this call is over; one from now on counts.
                if self.state != "running" and control.halts == halts:
                    control.halt = ""
                self.state = "running"
        guard.ends_loop = ends_loop
        try:
            with without_fp_warnings(), generators.record_draws() as loop.draws, guard, guard.shield():
                try:
                    yield
                except Stop:  # in a callback, or in the loss: a cell's body
                    control.halt = "stop"
                    self._finish()
                except BaseException as error:
                    if is_interrupt(error):
                        self.keep_best()
                    raise
        except BaseException as error:
            self.state = "paused" if is_interrupt(error) else "failed"
            raise
        finally:
            control.driven = False
            control.apply_if_idle()

    def _take_steps(
        self, n: int, until: float = math.inf, callbacks: Sequence[Callable[..., Any]] = ()
    ) -> float | None:
        """Take n steps, or fewer: to the end, a halt, an interrupt or that time.  Return the last loss."""
        loop, control, guard = self._loop, self.control, self._loop.guard
        value, first, hooks = None, loop.state.step + 1, self._hooks
        while n > 0 and not (control.halt or loop.is_finished):
            with control, loop.state.using_rng:
                if control.halt:
                    break
                if loop.state.last is not None:
                    self._show_last()
                if loop.record.plan:
                    loop.make_planned_changes()
                before = loop.state.step
                control.in_batch = True
                try:
                    steps = min(1 if callbacks else n, loop.steps_to_change)
                    loop.take_steps(steps, hooks, until=until, attention=control.attention)
                except StepsDiffer:
                    retake(loop, hooks, self.early_stopping.rewind)
                finally:
                    control.in_batch = False
                taken = loop.state.step - before
                if taken:
                    value = loop.record.loss[-1]
            n -= taken
            if taken and callbacks:
                with guard.shield(False):
                    for f in callbacks:
                        f(value)
            if guard.presses:
                self._settle(rests=True)
                guard.check()
                if not guard.ends_loop:
                    break  # the outer loop has been told
            if time.perf_counter() >= until:
                break
        self._settle(until == math.inf and loop.state.step > first)
        return value

    def _settle(self, rests: bool) -> None:
        """Verify captured steps where the run comes to rest; after a single step this would take two."""
        if rests or self.control.halt or self._loop.is_finished:
            self.verify()

    def verify(self) -> None:
        """Verify captured steps, as is done before they are copied or saved; wrong ones are taken again."""
        loop, training = self._loop, self.training
        with self._between(), without_fp_warnings():
            is_here = not (self.control.in_batch or training.parked or training.last)
            if is_here and loop.captured.differ(training, loop.guard):
                retake(loop, self._hooks, self.early_stopping.rewind)

    @property
    def _hooks(self) -> Hooks:
        return Hooks(self._on_start, self._on_epoch if self.early_stopping.is_wanted else None)

    def _on_start(self, params: list[Param], values: Mapping[str, float]) -> None:
        self.early_stopping.try_condition(values)
        ownership.acquire(self, params, self._loop.initial)

    def _on_epoch(self) -> bool:
        ends = self.early_stopping.check(self, self.record, self.training)
        if ends:
            self.control.halt, self.state = "stop", "stopped"
        return ends

    def _finish(self, gone: bool = True) -> None:
        """Set the state when a driver ends; put the best values back if the run has ended."""
        if self._loop.is_finished:
            self.state = "done"
        elif self.control.halt == "stop":
            self.state = "stopped"
        else:
            before = self._state_before
            self.state = "paused" if gone or before in ("ready", "running") else before
        if self.state in ("done", "stopped"):
            self.keep_best()

    # -- weights -------------------------------------------------------------------------------------------

    def take(self) -> None:
        """Activate a parked run: its parameters get its values.  RuntimeError while they are being trained."""
        with self._between():
            if self.control.driven or self.state == "running":
                raise RuntimeError(f"{self!r} is being trained: its weights are in its parameters already")
            ownership.acquire(self, self.params)

    def keep_best(self) -> None:
        """Put the best epoch's weights and running statistics back, as the end of a run does.

        Nothing happens without `until` and `patience`, or before the first whole epoch.  When the run goes on it
        first takes up the state of its last step: it ends in the bits of one longer run.
        """
        with self._between():
            if self.control.in_batch:
                raise RuntimeError(
                    "the loss, the metrics and until cannot put weights back: a batch is being worked on"
                )
            early, state = self.early_stopping, self.training
            step = early.wanted_step(self.record)
            if step is None or state.last is not None:
                return
            values = early.known(step)
            if values is None:
                with self._recomputing():
                    values = values_at(self._loop, self.record, step)
                early.best = step, values
            state.show(values)
            self.record.kept = step

    def _show_last(self) -> None:
        """Return to the values after the last step, if others are shown."""
        if self.training.last is not None:
            self.training.show_last()
            self.record.kept = None

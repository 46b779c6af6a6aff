"""The life of a run: ready, running, paused, stopped, done, failed; which thread steps it, which weights are active.

It joins the loop with `control`, `ownership` and `early_stopping`.  The run itself is its `owner`, for `until` and for
the parameters; it is referred to weakly.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from fluxmagic import generators
from fluxmagic.capture import StepsDiffer
from fluxmagic.optimise.errors import Stop
from fluxmagic.optimise.interrupts import is_interrupt
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.optimise.step import without_fp_warnings
from fluxmagic.runs import ownership
from fluxmagic.runs.control import Control, Request
from fluxmagic.runs.early_stopping import EarlyStopping
from fluxmagic.runs.loop import FOREVER, Hooks, Loop
from fluxmagic.runs.optimisers import check_values, optimiser_class
from fluxmagic.runs.ownership import Owner
from fluxmagic.runs.problem import MissingLoss
from fluxmagic.runs.replay import put_back, retake, values_at
from fluxmagic.tracker import Param

__all__ = ["SLICE_SECONDS", "Lifecycle"]

SLICE_SECONDS = 0.02
"""For so long a run keeps an event loop that it shares."""


class Lifecycle:
    """Step a loop from any thread, and say how the run stands.

    Attributes
    ----------
    status : str
        "ready", "running", "paused", "stopped", "done" or "failed".
    """

    def __init__(self, owner: Owner, loop: Loop, early: EarlyStopping) -> None:
        self._owner = weakref.ref(owner)
        self.loop = loop
        self.early = early
        self.control = Control(loop.apply)
        self.status = "ready"
        self._status_before = "ready"

    @property
    def owner(self) -> Owner:
        """The run."""
        owner = self._owner()
        assert owner is not None
        return owner

    @property
    def in_use(self) -> bool:
        """Whether the run trains or goes back."""
        return self.status == "running" or self.control.driven or self.control.recomputing

    @property
    def params(self) -> list[Param]:
        """What is trained; empty before the first batch if the optimiser was given by name."""
        state = self.loop.state
        return state.params or state.optimisers.params

    # -- between two batches -------------------------------------------------------------------------------

    @contextmanager
    def between(self) -> Iterator[None]:
        """Hold the boundary between two batches, with requests and direct changes recorded."""
        with self.control, self.loop.state.using_rng:
            if not self.control.in_batch:
                self.loop.record_direct_changes()
            yield

    @contextmanager
    def recomputing(self) -> Iterator[None]:
        """Bring the run to another of its states: the weights are its own meanwhile."""
        with ownership.deciding:
            ownership.acquire(self.owner, self.loop.state.params)
            before, self.control.recomputing = self.control.recomputing, True
        try:
            yield
        finally:
            self.control.recomputing = before

    def set(self, hypers: Mapping[str, Any]) -> None:
        """Check hyper-parameters, and ask for them; see `Run.set`."""
        optimisers = self.loop.state.optimisers
        cls = self._class_after_requests("it has no dials")
        given = check_values(cls, hypers, optimisers.updates, self.params)
        self.control.submit(Request("set", given, f"set({', '.join(given)})"))

    def swap(self, opt: str | type[Optimiser], hypers: Mapping[str, Any]) -> None:
        """Check another optimiser, build it, and ask for it; see `Run.swap`."""
        cls = optimiser_class(opt)
        self._class_after_requests("its parameters are not known, so none can take over")
        given = check_values(cls, hypers, params=self.params)
        prepared = self.loop.state.optimisers.prepare(cls)
        values = {"opt": cls, "prepared": prepared, **given}
        self.control.submit(Request("swap", values, f"swap({cls.__name__})"))

    def _class_after_requests(self, otherwise: str) -> type[Optimiser]:
        optimisers, pending = self.loop.state.optimisers, self.control.pending("swap")
        cls: type[Optimiser] | None = pending[-1]["opt"] if pending else optimisers.cls
        if cls is None:
            raise TypeError(f"{optimisers.name} is {optimisers.kind}: {otherwise}")
        return cls

    def ask(self, halt: str) -> None:
        """Ask for "pause" or "stop".  A run that is not running is paused or stopped at once."""
        control = self.control
        control.submit(Request(halt))
        if control.recomputing and control.is_held_here:
            return
        if halt == "pause" and self.status == "ready":
            self.status = "paused"
        elif halt == "stop" and self.status in ("ready", "paused"):
            self.status = "stopped"
            if not control.in_batch:
                self.keep_best()

    def take(self) -> None:
        """Make this run the active one."""
        with self.between():
            if self.control.driven or self.status == "running":
                raise RuntimeError(f"{self.owner!r} is being trained: its weights are in its parameters already")
            ownership.acquire(self.owner, self.params)

    # -- steps ---------------------------------------------------------------------------------------------

    @contextmanager
    def _driving(self, *, ends_loop: bool = True) -> Iterator[None]:
        """Take steps within it.  The weights are this run's; `ends_loop` is that of `InterruptGuard`."""
        loop, control, guard = self.loop, self.control, self.loop.guard
        if isinstance(loop.problem.loss, MissingLoss):
            loop.problem.loss()
        halts = control.halts
        with control, ownership.deciding, loop.state.using_rng:
            if control.driven:
                raise RuntimeError("this run is being driven already")
            loop.record_direct_changes()
            loop.state.own_rng()
            ownership.acquire(self.owner, self.params)
            control.driven = True
            self._status_before = self.status
            if not loop.is_finished:
                # A halt from before this call is over; one from now on counts.
                if self.status != "running" and control.halts == halts:
                    control.halt = ""
                self.status = "running"
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
            self.status = "paused" if is_interrupt(error) else "failed"
            raise
        finally:
            control.driven = False
            control.apply_if_idle()

    def _take(self, n: int, until: float = math.inf, callbacks: Sequence[Callable[..., Any]] = ()) -> float | None:
        """Take n steps, or fewer: to the end, a halt, an interrupt or that time.  Return the last loss."""
        loop, control, guard = self.loop, self.control, self.loop.guard
        on_epoch = self._on_epoch if self.early.is_wanted else None
        hooks = Hooks(self._on_start, on_epoch)
        value = None
        while n > 0 and not (control.halt or loop.is_finished):
            with control, loop.state.using_rng:
                if control.halt:
                    break
                if loop.state.last is not None:
                    self.show_last()
                if loop.record.plan:
                    loop.make_planned_changes()
                before = loop.state.step
                control.in_batch = True
                try:
                    steps = min(1 if callbacks else n, loop.steps_to_change)
                    loop.take_steps(steps, hooks, until=until, attention=control.attention)
                except StepsDiffer:
                    self.early.rewind(loop.captured.verified.step if loop.captured.verified else 0)
                    retake(loop, hooks)
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
                guard.check()
                if not guard.ends_loop:
                    break  # the outer loop has been told
            if time.perf_counter() >= until:
                break
        return value

    def _on_start(self, params: list[Param], values: Mapping[str, float]) -> None:
        self.early.try_condition(values)
        ownership.acquire(self.owner, params, self.loop.initial)

    def _on_epoch(self) -> bool:
        ends = self.early.check(self.owner, self.loop.record, self.loop.state)
        if ends:
            self.control.halt, self.status = "stop", "stopped"
        return ends

    def _finish(self, gone: bool = True) -> None:
        """Set the status when a driver ends; put the best values back if the run has ended."""
        if self.loop.is_finished:
            self.status = "done"
        elif self.control.halt == "stop":
            self.status = "stopped"
        else:
            before = self._status_before
            self.status = "paused" if gone or before in ("ready", "running") else before
        if self.status in ("done", "stopped"):
            self.keep_best()

    def step(self, n: int, ends_loop: bool) -> float | None:
        """Take n steps, or fewer; see `Run.step`."""
        value = None
        with self._driving(ends_loop=ends_loop):
            value = self._take(n)
            self._finish(gone=n > 0)
        return value

    def train(self, callbacks: Sequence[Callable[..., Any]]) -> None:
        """Train to the end; see `Run.train`."""
        with self._driving():
            self._take(FOREVER, callbacks=callbacks)
            self._finish()

    def advance(self, seconds: float, steps: int | None = None) -> None:
        """Train for some seconds; see `Run.advance`."""
        with self._driving(ends_loop=False):
            self._take(FOREVER if steps is None else steps, time.perf_counter() + seconds)
            if self.loop.is_finished or self.control.halt:
                self._finish()

    async def advance_to_end(self) -> None:
        """Train to the end, with the event loop free for others."""
        import asyncio  # which takes longer to load than all the rest here

        try:
            while not self.loop.is_finished:
                self.advance(SLICE_SECONDS)
                if self.status != "running":
                    break
                await asyncio.sleep(0)
        finally:
            if self.status == "running":  # cancelled, as ■ does
                self._finish()
                self.keep_best()

    # -- the best epoch's values ---------------------------------------------------------------------------

    def keep_best(self) -> None:
        """Show the best epoch's values; see `Run.keep_best`."""
        with self.between():
            if self.control.in_batch:
                raise RuntimeError(
                    "the loss, the metrics and until cannot put weights back: a batch is being worked on"
                )
            loop, early = self.loop, self.early
            step = early.wanted_step(loop.record)
            if step is None or loop.state.last is not None:
                return
            values = early.known(step)
            if values is None:
                with self.recomputing():
                    values = values_at(loop, loop.record, step)
                early.best = step, values
            loop.state.show(values)
            loop.record.kept = step

    def show_last(self) -> None:
        """Return to the values after the last step, if others are shown."""
        if self.loop.state.last is not None:
            self.loop.state.show_last()
            self.loop.record.kept = None

    def reset_weights(self) -> None:
        """Park the run, and assign the values of the start."""
        start = self.loop.snapshots.start
        if start is not None:
            ownership.acquire(self.owner, self.loop.state.params)
            self.loop.state.park()
            start.values.restore()

    def put_back(self, step: int) -> None:
        """Put the values after an earlier step back; see `Run.put_back`."""
        self.show_last()
        if step != self.loop.state.step:
            put_back(self.loop, step, self.early.known(step) or values_at(self.loop, self.loop.record, step))

"""Go back in a run: rewind, undo, restart, replay, recover.  If one fails, the run is as it was before."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from fluxmagic.runs import ownership
from fluxmagic.runs.environment import environment
from fluxmagic.runs.lifecycle import SteppedRun
from fluxmagic.runs.lines import Abandoned, Line, Stretch
from fluxmagic.runs.optimisers import Turns
from fluxmagic.runs.record import Setting
from fluxmagic.runs.replay import (
    ReplayMismatch,
    check_same_weights,
    has_other_numerics,
    put_back,
    reapply_events,
    recompute,
    values_at,
)
from fluxmagic.runs.state import TrainingState, set_numbers

__all__ = ["RewindableRun"]

RECOVERY_WINDOW = 200  # steps among which `recover` looks for a good one
DIVERGENCE_FACTOR = 10.0  # a loss that has grown by this factor says that the weights have diverged


class RewindableRun(SteppedRun):
    """A run with its present line, and the lines that it has left."""

    _abandoned: Abandoned

    @property
    def abandoned(self) -> list[Stretch]:
        """The steps that rewinds and restarts have left, `(start, loss)`, oldest first: eight at most, for drawing."""
        return self._abandoned.stretches

    def line(self) -> Line:
        """Copy where the run stands; its record is shared."""
        state = self.training
        shown = None if state.last is None else state.current.values
        best, env = self.early_stopping.best, dict(self.environment)
        return Line(self.record, self.snapshots.start, state.capture(), shown, best, self.state, env, self.captured)

    def begin_at(self, line_of: Callable[[TrainingState], Line]) -> None:
        """Bring a new run to the end of a line, which is made of its state; after an error all is as before."""
        state = self.training
        state.params = state.optimisers.params
        with self._between(), self._recomputing():
            line = line_of(state)
            ownership.acquire(self, state.params)
            before = state.model_state()
            try:
                with state.using_rng:
                    self._resume(line)
            except BaseException:  # the data may be too short
                state.assign_state(before)
                raise
        self._loop.params_final = self.problem.strict
        self._loop.captured.earlier = line.captured
        self.state = line.state

    def _resume(self, line: Line) -> None:
        self.record, self.snapshots.start, self.environment = line.record, line.start, line.environment
        self.training.restore(line.now)
        self.early_stopping.resume(line.best)
        self.training.show(line.shown)

    @contextmanager
    def _going_back(self, what: str, check: Callable[[], None] = lambda: None) -> Iterator[Line]:
        """Go back within it, between two batches.  It gives the line from before, which returns after an error.

        `check` may raise while nothing has changed.
        """
        self.complete()
        with self._between():
            if self.snapshots.start is None:
                raise ValueError(f"the run has not taken a step yet: there is nothing to {what}")
            if not self.training.cursor.repeatable:
                raise ValueError(
                    f"the data is a generator, which can be gone through once: nothing to {what}. Pass a list, "
                    "batches(...), or a function that makes the generator"
                )
            if self.control.in_batch:
                raise RuntimeError(
                    f"the loss and the metrics of a run cannot {what} that run: a batch is being worked on"
                )
            check()
            self.verify()
            with self._recomputing():
                before, log = self.line(), self.log
                self.log = None
                try:
                    yield before
                except BaseException:
                    self._resume(before)
                    raise
                finally:
                    self.log = log

    def _gone_back(self, what: str, step: int, state: str = "paused") -> None:
        if self.state != "running":
            self.state = state
        if self.log:
            self.log.write(**{what: step})

    def _check_step(self, name: str, step: int) -> None:
        if not isinstance(step, (int, np.integer)) or isinstance(step, bool) or not 0 <= step <= self.steps:
            raise ValueError(f"{name}({step!r}): the run has steps 0 … {self.steps}")

    def rewind(self, step: int) -> None:
        """Go back to the state after a step: weights, optimiser, random state, place in the data.

        Changes made at that very moment are undone too.  Steps since the last snapshot are computed again; one that
        gives another loss is a ReplayMismatch, and the run is as before.
        """
        with self._going_back("go back to", lambda: self._check_step("rewind", step)) as left:
            self._rewind(int(step), left)
        self._gone_back("rewind", int(step))

    def _rewind(self, step: int, left: Line) -> None:
        recompute(self._loop, self.snapshots.latest_at(step), left.record, step)
        self.snapshots.drop_after(step)
        self.early_stopping.rewind(step)
        if step == left.now.step and left.shown is not None:
            self.record.kept = left.record.kept
            self.training.show(left.shown)
        if step < left.now.step or left.record.changed_at(step):
            self._abandoned.leave(left, step)

    def undo(self) -> None:
        """Come back from the last rewind or restart, also after new steps; a second undo exchanges the two again."""

        def check() -> None:
            if self._abandoned.last is None:
                raise ValueError("there is nothing to undo: the run was neither rewound nor restarted")

        with self._going_back("undo", check) as here:
            assert self._abandoned.last is not None
            line, branched_at = self._abandoned.last
            self.snapshots.drop_after(branched_at)
            self._resume(line)
            self._abandoned.last = here, branched_at
        self._gone_back("undo", self.steps, "paused" if line.state == "running" else line.state)

    def restart(self, start: ArrayLike | None = None) -> None:
        """Go back to the start with the present settings; those that differ are set before the first step.

        `start` has all numbers that are trained, in the order of `params`: from then on the run starts there.
        """
        loop, optimisers = self._loop, self.training.optimisers
        numbers = None if start is None else self._checked_start(start)
        if numbers is not None and self.snapshots.start is None:  # it begins there
            with self._between():
                set_numbers(self.params, numbers)
            return
        with self._going_back("restart") as left:
            cls, settings = optimisers.cls, optimisers.settings
            if self.steps:
                self._rewind(0, left)
            if numbers is not None:
                self._start_at(numbers)
            self.record.plan = Turns()  # from here on it is steered by hand
            if cls is not None:
                if optimisers.cls is not cls:
                    loop.activate(cls)
                now = optimisers.settings
                loop.set_values({name: value for name, value in settings.items() if value != now[name]})
        self._gone_back("restart", 0)

    def _checked_start(self, start: ArrayLike) -> np.ndarray:
        size = sum(p.size for p in self.params)
        numbers = np.asarray(start, np.float64).ravel()
        if numbers.size != size or not np.isfinite(numbers).all():
            raise ValueError(f"restart: a start is the {size} finite numbers that are trained, not {start!r}")
        return numbers

    def _start_at(self, numbers: np.ndarray) -> None:
        """Begin at other values: the snapshot of the start has them, so that replay and files do."""
        assert self.snapshots.start is not None
        set_numbers(self.params, numbers)
        self.snapshots.start = replace(self.snapshots.start, values=self.training.values())
        if self.record.path is not None:
            self.record.begin_path(self.params)

    def reset_weights(self) -> None:
        """Put back the weights and running statistics of the start, for another run.  This run is parked."""
        start = self.snapshots.start
        if start is not None:
            ownership.acquire(self, self.training.params)
            self.training.park()
            self.training.assign(start.values)

    def put_back(self, step: int) -> None:
        """Put weights and running statistics back as they were after a step; all else goes on from here."""
        with self._going_back("put back", lambda: self._check_step("put_back", step)):
            self._show_last()
            if step != self.steps:
                values = self.early_stopping.known(step) or values_at(self._loop, self.record, int(step))
                put_back(self._loop, int(step), values)

    def replay(self) -> None:
        """Compute the whole run again with its recorded changes; it ends in the same bits.

        A step that differs is a ReplayMismatch, and the run is as before.  A warning names what differs in machine,
        NumPy, BLAS threads or numerics; under other numerics losses are compared to 1e-4.
        """
        loop, was = self._loop, self.environment
        changed = [f"{k} was {was[k]}, now is {now}" for k, now in environment().items() if was.get(k, now) != now]
        if changed:
            warnings.warn("replay may differ in the last bits: " + "; ".join(changed), stacklevel=2)
        with self._going_back("replay") as before:
            record = before.record
            recompute(loop, loop.snapshots.latest_at(0), record, len(record.loss))
            reapply_events(loop, record, len(record.loss))
            if not has_other_numerics(loop):
                check_same_weights(loop, before.now)
            self.record = record
            self.training.show(before.shown)

    def recover(self, **hypers: Setting) -> None:
        """Go on after a loss or gradient that was not finite, with other settings: by default a tenth of η.

        If the loss had grown tenfold, or this is the second time in a row, the weights are bad, and the run goes back
        to before the smallest of the last 200 losses.  Otherwise it goes on with the next batch.
        """
        step, values = self._step_to_recover(), self.values
        if not hypers and "η" in values:
            hypers = {"η": values["η"] / 10}
        if step is not None:
            with suppress(ReplayMismatch):  # then it stays where it is
                self.rewind(step)
        if hypers:
            self.set(**hypers)
        self.state = "paused"

    def _step_to_recover(self) -> int | None:
        """Give the step to rewind to after a rejected one; None if only the batch was bad."""
        steps, losses, rejected = self.steps, self.record.loss, set(self.record.rejected)
        if steps not in rejected:
            raise ValueError("there is nothing to recover from: the last step went well")
        good = [s for s in range(max(1, steps - RECOVERY_WINDOW), steps) if s not in rejected]
        if good and self.training.cursor.repeatable:
            best = min(good, key=lambda s: losses[s - 1])
            if steps - 1 in rejected or losses[good[-1] - 1] > DIVERGENCE_FACTOR * losses[best - 1]:
                return best - 1
        return None

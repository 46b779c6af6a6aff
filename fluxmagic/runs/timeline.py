"""Going back in a run: rewind, undo, restart, replay, recover.  If one fails, the run is as it was before."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fluxmagic.runs.early_stopping import EarlyStopping
from fluxmagic.runs.environment import environment
from fluxmagic.runs.lifecycle import Lifecycle
from fluxmagic.runs.lines import Abandoned, Line
from fluxmagic.runs.loop import Loop
from fluxmagic.runs.replay import (
    ReplayMismatch,
    check_same_weights,
    has_other_numerics,
    reapply_events,
    recompute,
)
from fluxmagic.runs.state import TrainingState, set_numbers
from fluxmagic.runs.turns import Turns

__all__ = ["Timeline"]

RECOVERY_WINDOW = 200  # steps among which `recover` looks for a good one
DIVERGENCE_FACTOR = 10.0  # a loss that has grown by this factor says that the weights have diverged


class Timeline:
    """The present line of a run, and the lines that it has left.

    Attributes
    ----------
    abandoned : Abandoned
    """

    def __init__(self, life: Lifecycle) -> None:
        self.life = life
        self.loop = life.loop
        self.abandoned = Abandoned(life.loop.snapshots.budget)

    def line(self) -> Line:
        """Copy where the run stands; its record is shared."""
        state, start = self.loop.state, self.loop.snapshots.start
        assert start is not None
        shown = None if state.last is None else state.current[0]
        return Line(self.loop.record, start, state.capture(), shown, self.life.early.best, self.life.status)

    def _resume(self, line: Line) -> None:
        self.loop.record, self.loop.snapshots.start = line.record, line.start
        self.loop.state.restore(line.now)
        self.life.early.resume(line.best)
        self.loop.state.show(line.shown)

    @contextmanager
    def going_back(self, what: str, check: Callable[[], None] = lambda: None) -> Iterator[Line]:
        """Go back within it, between two batches.  It gives the line from before, which returns after an error.

        `check` may raise while nothing has changed.
        """
        life, loop = self.life, self.loop
        with life.between():
            if loop.snapshots.start is None:
                raise ValueError(f"the run has not taken a step yet: there is nothing to {what}")
            if not loop.state.cursor.repeatable:
                raise ValueError(
                    f"the data is a generator, which can be gone through once: nothing to {what}. Pass a list, "
                    "batches(...), or a function that makes the generator"
                )
            if life.control.in_batch:
                raise RuntimeError(
                    f"the loss and the metrics of a run cannot {what} that run: a batch is being worked on"
                )
            check()
            with life.recomputing():
                before, log = self.line(), loop.log
                loop.log = None
                try:
                    yield before
                except BaseException:
                    self._resume(before)
                    raise
                finally:
                    loop.log = log
                    loop.seconds = loop.record.seconds[-1] if loop.record.seconds else 0.0

    def _finish(self, what: str, step: int, status: str = "paused") -> None:
        if self.life.status != "running":
            self.life.status = status
        if self.loop.log:
            self.loop.log.write(**{what: step})

    def _check_step(self, name: str, step: int) -> None:
        steps = self.loop.state.step
        if not isinstance(step, (int, np.integer)) or isinstance(step, bool) or not 0 <= step <= steps:
            raise ValueError(f"{name}({step!r}): the run has steps 0 … {steps}")

    def rewind(self, step: int) -> None:
        """Go back to the state after a step; see `Run.rewind`."""
        with self.going_back("go back to", lambda: self._check_step("rewind", step)) as left:
            self._rewind(int(step), left)
        self._finish("rewind", int(step))

    def _rewind(self, step: int, left: Line) -> None:
        loop = self.loop
        recompute(loop, loop.snapshots.latest_at(step), left.record, step)
        loop.snapshots.drop_after(step)
        self.life.early.rewind(step)
        if step == left.now.step and left.shown is not None:
            loop.record.kept = left.record.kept
            loop.state.show(left.shown)
        if step < left.now.step or left.record.changed_at(step):
            self.abandoned.leave(left, step)

    def undo(self) -> None:
        """Exchange the present line and the last one left; see `Run.undo`."""

        def check() -> None:
            if self.abandoned.last is None:
                raise ValueError("there is nothing to undo: the run was neither rewound nor restarted")

        with self.going_back("undo", check) as here:
            assert self.abandoned.last is not None
            line, branched_at = self.abandoned.last
            self.loop.snapshots.drop_after(branched_at)
            self._resume(line)
            self.abandoned.exchange(here)
        self._finish("undo", self.loop.state.step, "paused" if line.state == "running" else line.state)

    def restart(self, start: ArrayLike | None = None) -> None:
        """Go back to the start, or to another one, with the present settings; see `Run.restart`."""
        loop, optimisers = self.loop, self.loop.state.optimisers
        numbers = None if start is None else self._checked_start(start)
        if numbers is not None and loop.snapshots.start is None:  # it begins there
            with self.life.between():
                set_numbers(self.life.params, numbers)
            return
        with self.going_back("restart") as left:
            cls, settings = optimisers.cls, optimisers.settings
            if loop.state.step:
                self._rewind(0, left)
            if numbers is not None:
                self._start_at(numbers)
            loop.record.plan = Turns()  # from here on it is steered by hand
            if cls is not None:
                if optimisers.cls is not cls:
                    loop.activate(cls)
                now = optimisers.settings
                loop.set_values({name: value for name, value in settings.items() if value != now[name]})
        self._finish("restart", 0)

    def _checked_start(self, start: ArrayLike) -> np.ndarray:
        size = sum(p.size for p in self.life.params)
        numbers = np.asarray(start, np.float64).ravel()
        if numbers.size != size or not np.isfinite(numbers).all():
            raise ValueError(f"restart: a start is the {size} finite numbers that are trained, not {start!r}")
        return numbers

    def _start_at(self, numbers: np.ndarray) -> None:
        """Begin at other values: the snapshot of the start has them, so that replay and files do."""
        loop, state = self.loop, self.loop.state
        assert loop.snapshots.start is not None
        set_numbers(state.params, numbers)
        loop.snapshots.start = replace(loop.snapshots.start, values=state.values())
        if loop.record.path is not None:
            loop.record.begin_path(state.params)

    def put_back(self, step: int) -> None:
        """Put the values after an earlier step back; see `Run.put_back`."""
        with self.going_back("put back", lambda: self._check_step("put_back", step)):
            self.life.put_back(int(step))

    def replay(self) -> None:
        """Compute all steps again; see `Run.replay`."""
        loop, was = self.loop, self.loop.environment
        changed = [f"{k} was {was[k]}, now is {now}" for k, now in environment().items() if was.get(k, now) != now]
        if changed:
            warnings.warn("replay may differ in the last bits: " + "; ".join(changed), stacklevel=3)
        with self.going_back("replay") as before:
            record, start = before.record, loop.snapshots.start
            assert start is not None
            recompute(loop, start, record, len(record.loss))
            reapply_events(loop, record, len(record.loss))
            if not has_other_numerics(loop):
                check_same_weights(loop, before.now)
            loop.record = record
            loop.state.show(before.shown)

    def begin_at(self, line_of: Callable[[TrainingState], Line]) -> None:
        """Bring a new run, which is at its start, to the end of a line; it is made once the state's parts are known."""
        loop, state = self.loop, self.loop.state
        state.params = state.optimisers.params
        with self.life.between(), self.life.recomputing():
            state.find_parts(loop.problem.roots)
            line = line_of(state)
            self._resume(line)
        self.life.status = line.state
        loop.seconds = loop.record.seconds[-1] if loop.record.seconds else 0.0

    def branch_off(self, loop: Loop, early: EarlyStopping, line: Line) -> None:
        """Bring a new loop over the same parameters to this line, parked; `early` gets the best values so far."""
        mine, new = self.loop.state, loop.state
        new.use_rng(mine.rng)
        new.params, new.buffers, new.cursor.generators = mine.params, mine.buffers, mine.generators
        loop.initial, loop.environment, loop.seconds = self.loop.initial, self.loop.environment, self.loop.seconds
        loop.problem.strict, loop.params_final = self.loop.problem.strict, self.loop.params_final
        loop.snapshots = self.loop.snapshots.copy()
        loop.record = self.loop.record.copy(mine.step, here=True)
        early.resume(line.best)
        new.restore(line.now)
        new.parked = line.now.values, line.now.generators
        if line.shown is not None:
            line.shown.restore()

    def _step_to_recover(self) -> int | None:
        """Give the step to rewind to after a rejected one; None if only the batch was bad.

        Raises
        ------
        ValueError
            If the last step was not rejected.
        """
        loop, steps = self.loop, self.loop.state.step
        losses, rejected = loop.record.loss, set(loop.record.rejected)
        if steps not in rejected:
            raise ValueError("there is nothing to recover from: the last step went well")
        good = [s for s in range(max(1, steps - RECOVERY_WINDOW), steps) if s not in rejected]
        if good and loop.state.cursor.repeatable:
            best = min(good, key=lambda s: losses[s - 1])
            if steps - 1 in rejected or losses[good[-1] - 1] > DIVERGENCE_FACTOR * losses[best - 1]:
                return best - 1
        return None

    def recover(self, hypers: dict[str, Any], set_values: Callable[..., None]) -> None:
        """Leave a rejected step; see `Run.recover`."""
        step, values = self._step_to_recover(), self.loop.state.optimisers.values
        if not hypers and "η" in values:
            hypers = {"η": values["η"] / 10}
        if step is not None:
            with suppress(ReplayMismatch):  # then it stays where it is
                self.rewind(step)
        if hypers:
            set_values(**hypers)
        self.life.status = "paused"

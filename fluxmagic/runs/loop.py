"""Takes steps on a training state and writes them to a record.

Only the thread that holds the run's boundary (`control`) calls it.  What depends on the run itself (weights that
another run trains, `until`) reaches it as `Hooks`.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sized
from typing import Any, NamedTuple

from fluxmagic import generators
from fluxmagic.optimise.errors import NotFinite
from fluxmagic.optimise.interrupts import InterruptGuard
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.optimise.step import zero_grads
from fluxmagic.runs.captured import CapturedSteps
from fluxmagic.runs.cursor import END, Batch
from fluxmagic.runs.environment import environment
from fluxmagic.runs.lines import SnapshotStore
from fluxmagic.runs.log import Log
from fluxmagic.runs.optimisers import Turns, optimiser_class
from fluxmagic.runs.problem import Problem
from fluxmagic.runs.record import Event, Record, Setting, count_rows
from fluxmagic.runs.state import ModelState, Snapshot, TrainingState
from fluxmagic.tracker import Param, Tracked, leaves

__all__ = ["Hooks", "Loop"]

FOREVER = 1 << 60  # steps
MAX_STEPS_PER_LOCK = 1000


class Hooks(NamedTuple):
    """What the loop calls.

    `on_start` gets the parameters before the first update, and an evaluation of the untrained model.  `on_epoch`, if
    any, tells after a whole epoch whether the run is to end.
    """

    on_start: Callable[[list[Param], Mapping[str, float]], None]
    on_epoch: Callable[[], bool] | None = None


_NO_HOOKS = Hooks(lambda params, values: None)


class Loop:
    """Steps, changes of hyper-parameters, and their record."""

    def __init__(
        self,
        problem: Problem,
        state: TrainingState,
        plan: Turns,
        snapshots: SnapshotStore,
        log: Log | None,
        capture: bool = False,
    ) -> None:
        self.problem, self.state, self.snapshots, self.log = problem, state, snapshots, log
        opts = state.optimisers
        plan.check(opts.cls)
        self.record = Record(opts.name, opts.settings, opts.updates, plan=plan, stepwise=problem.data is None)
        self.guard = InterruptGuard()  # shielded, but for the loss, the data, callbacks and validation
        self.draws: generators.Draws = []  # the generators that this step has drawn from, as they were before
        self.initial: ModelState | None = None  # just before the first step
        self.environment: dict[str, Any] = {}  # where the steps were computed
        self.params_final = False  # a parameter that turns up later is an error
        self.captured = CapturedSteps(capture)

    @property
    def is_finished(self) -> bool:
        """Whether all epochs, or steps, are done."""
        limit = self.problem.step_limit
        if limit is not None:
            return self.state.step >= limit
        assert self.problem.epochs is not None
        return self.record.epochs_done >= self.problem.epochs

    @property
    def steps_per_epoch(self) -> int | None:
        """The batches of an epoch, if the data has a len or one epoch is over."""
        length, starts = self.state.cursor.length, self.record.epochs
        if self.record.stepwise or length is not None:
            return length or 1
        return starts[1] - starts[0] if len(starts) > 1 else None

    @property
    def last_step(self) -> int | None:
        """The steps of the whole run, as far as known."""
        if self.problem.step_limit is not None:
            return self.problem.step_limit
        n = self.steps_per_epoch
        return (self.problem.epochs or 1) * n if n else None

    def branch_off(self, new: Loop) -> None:
        """Give a new loop over the same parameters this one's past."""
        mine, state = self.state, new.state
        state.use_rng(mine.rng)
        state.params, state.buffers, state.cursor.generators = mine.params, mine.buffers, mine.generators
        new.environment = self.environment
        new.problem.strict, new.params_final = self.problem.strict, self.params_final
        new.snapshots, new.record = self.snapshots.copy(), self.record.copy(mine.step, here=True)

    # -- changes -------------------------------------------------------------------------------------------

    def apply(self, kind: str, values: Mapping[str, Any]) -> None:
        """Apply a request: "set" or "drag" with hyper-parameters; "swap" with these, `opt`, and `prepared` or None."""
        values = dict(values)
        if kind == "swap":
            self.activate(values.pop("opt"), values.pop("prepared"))
        self.set_values(values, drag=kind == "drag")

    def set_values(self, values: Mapping[str, Any], *, drag: bool = False) -> None:
        """Set hyper-parameters of the active optimiser; a drag goes on with the event before."""
        self.record_direct_changes()
        events, step = self.record.events, self.state.step
        for name, new in values.items():
            old = self.state.optimisers.set_value(name, new)
            changed = old != new
            if drag and changed and events and events[-1].name == name:
                old = events[-1].old
                if events[-1].step == step:  # no step was taken with its value
                    events.pop()
            self._record_event(name, old, new, changed)

    def activate(self, cls: type[Optimiser], prepared: Optimiser | None = None) -> None:
        """Activate the optimiser of a class."""
        self.record_direct_changes()
        optimisers = self.state.optimisers
        old, before = optimisers.name, optimisers.cls
        optimisers.activate(cls, prepared)
        self._record_event("opt", old, optimisers.name, optimisers.cls is not before)

    def redo(self, event: Event) -> None:
        """Make a recorded change."""
        if event.name == "opt":
            self.activate(event.cls or optimiser_class(event.new))
        else:
            drag = bool(self.record.events) and event.goes_on_from(self.record.events[-1])
            self.set_values({event.name: event.new}, drag=drag)

    def record_direct_changes(self) -> None:
        """Record what a user has changed on the optimiser itself."""
        for name, old, new in self.state.optimisers.direct_changes():
            self._record_event(name, old, new)

    def _record_event(self, name: str, old: Setting, new: Setting, changed: bool = False) -> None:
        if old != new or changed:  # a class that was defined again has the same name
            event = Event(self.state.step, name, old, new)
            if name == "opt":
                event.cls = self.state.optimisers.cls
            self.record.events.append(event)
            if self.log:
                self.log.write(event=name, step=self.state.step, old=old, new=new)

    def make_planned_changes(self) -> None:
        """Make the changes of another run that are due."""
        record, step, optimisers = self.record, self.state.step, self.state.optimisers
        due = [e for e in record.plan if e.step == step and record.planned < step]
        record.planned = max(record.planned, step)
        for event in due:
            cls = optimisers.cls
            if event.name == "opt" or (cls is not None and event.name in cls.hypers):
                self.redo(event)
            else:
                told = f"after step {step} {event.name} was to be turned, which {optimisers.name} does not have"
                warnings.warn(told, RuntimeWarning, stacklevel=2)

    @property
    def steps_to_change(self) -> int:
        """Steps to the next planned change, or to the end."""
        limit, step = self.problem.step_limit, self.state.step
        ends = [e.step for e in self.record.plan if e.step > step] + ([] if limit is None else [limit])
        return min(ends, default=FOREVER) - step

    # -- steps ---------------------------------------------------------------------------------------------

    def _on_first_loss(self, hooks: Hooks) -> Callable[[Tracked], None] | None:
        """Give what `train_step` calls with the first loss; None later."""
        if self.snapshots.start is not None:
            return None
        if self.initial is None:
            self.state.find_parts(self.problem.roots)
            self.initial = self.state.model_state()
            self.state.optimisers.zero_grads()
            self.environment = environment()
        return lambda l: self._start(l, hooks.on_start)

    def _start(self, l: Tracked, on_start: Callable[[list[Param], Mapping[str, float]], None]) -> None:
        """Take the parameters of the first loss, unless the optimiser has its own, and the snapshot of the start."""
        state, optimisers = self.state, self.state.optimisers
        found = list(leaves(l))
        if not found:
            raise TypeError("the loss reaches no parameter")
        params = optimisers.params or found
        on_start(params, {"loss": float(l.value), **self._evaluate(), "epoch": 0, "step": 0})
        state.params = params
        if sum(p.size for p in params) == 2:
            self.record.begin_path(params)
        if not optimisers.is_built:
            zero_grads([], l)
            optimisers.build(found)
        self.params_final = self.problem.strict and optimisers.cls is not None and set(found) <= set(params)
        assert self.initial is not None
        values = state.values()._replace(buffers=self.initial.values.buffers)
        states = optimisers.initial_states(self.record.opt, self.record.values)
        active = self.record.opt if optimisers.active_key else ""
        self.snapshots.add(Snapshot(0, values, self.initial.generators, states, active, -1, []))

    def _evaluate(self) -> Mapping[str, float]:
        with self.guard.shield(False):
            return self.problem.evaluate(self.state.cursor.last, self.state.generators)

    def take_steps(
        self,
        n: int,
        hooks: Hooks = _NO_HOOKS,
        *,
        until: float = math.inf,
        attention: Sized = (),
        old: Record | None = None,
    ) -> None:
        """Take at most n steps: to the end of the run, until that time, or until `attention` is not empty.

        With an old record the steps are computed again, to the end of an epoch, and its evaluations are used.  A step
        of a small model takes 20 µs, and 1 µs where it is replayed: most of this loop is left out until something is
        due.
        """
        on_loss = self._on_first_loss(hooks)
        record, state, guard, problem, captured = self.record, self.state, self.guard, self.problem, self.captured
        cursor, optimisers, loss, clock = state.cursor, state.optimisers, problem.loss, time.perf_counter
        take = captured.begin(loss, state, record, last=self.last_step, again=old is not None)
        replay, due, rows = captured.replay, 0, 0
        first, seconds = state.step + 1, record.elapsed
        rejected: list[NotFinite] = []
        before = clock()
        for step in range(first, first + (1 if on_loss else min(n, MAX_STEPS_PER_LOCK))):
            d = cursor.next(guard)
            if d is END:
                if (d := self._next_epoch(hooks, old)) is END:
                    return
                due = self._next_due(hooks)
            if optimisers.watched.version != optimisers.version or problem.loss is not loss:
                self.record_direct_changes()
                loss = problem.loss
                take = captured.begin(loss, state, record, last=self.last_step, again=old is not None)
                replay = captured.replay
            try:
                value = replay(*d) if due and replay is not None and isinstance(d, (tuple, list)) else None
                if value is None:
                    due, rows = due if replay is None else 0, count_rows(d)  # those of all batches replayed next
                    value = self._take(take, d, step, on_loss)
            except NotFinite as error:
                record.rejected.append(step)
                rejected.append(error)
                error.step, value, due = step, error.loss, 0
            except BaseException:
                cursor.push_back(d)
                raise
            now = clock()
            seconds += now - before
            before = now
            record.add_step(value, rows, seconds, state.params)
            cursor.position += 1
            state.step = step
            if step < due and now < until and not (attention or guard.presses):
                continue
            if self.log:
                self.log.write(step=step, loss=value, seconds=seconds)
            if rejected:
                raise self._explained(rejected.pop())  # no variable of this frame, which it holds, refers to it
            if self._end_step(step, hooks, old) or now >= until or attention or guard.presses:
                return
            seconds, replay, due, before = record.elapsed, captured.replay, self._next_due(hooks), clock()

    def _take(
        self, take: Callable[..., float], d: Batch, step: int, on_loss: Callable[[Tracked], None] | None
    ) -> float:
        """Take a step that is not replayed; after an error running statistics and generators are as before."""
        buffers = self.state.buffers
        kept = [a.copy() for a in buffers] if buffers else buffers
        self.draws.clear()  # those for the data are not repeated
        try:
            return take(d, self.state.optimisers.opts, step, self.guard, self.params_final, on_loss)
        except BaseException as error:
            self.state.assign_buffers(kept)
            if not isinstance(error, NotFinite):
                generators.restore(self.draws)
            raise

    def _end_step(self, step: int, hooks: Hooks, old: Record | None) -> bool:
        """Do what is due after a step; tell whether the run ends with it, or an epoch that is computed again."""
        record, cursor, snapshots, now = self.record, self.state.cursor, self.snapshots, time.perf_counter()
        ended = record.stepwise and hooks.on_epoch is not None and hooks.on_epoch()
        at_end = cursor.position == cursor.length and (old is None or old.ended(step))
        if at_end and cursor.next(self.guard) is END:
            ended = self.end_epoch(hooks, old) or old is not None
            record.seconds[-1] += time.perf_counter() - now
        if step % snapshots.stride == 0 and old is None:
            snapshots.add(self.state.capture())
        self.captured.end_step(self.state)
        return ended

    def _next_due(self, hooks: Hooks) -> int:
        """Return the next step after which more is to be done than to record it."""
        step, stride, cursor = self.state.step, self.snapshots.stride, self.state.cursor
        recording = self.captured.wanted and self.captured.replay is None
        if self.log or recording or (self.record.stepwise and hooks.on_epoch is not None):
            return step + 1
        snapshot = step + stride - step % stride
        return snapshot if cursor.length is None else min(snapshot, step + cursor.length - cursor.position)

    def _next_epoch(self, hooks: Hooks, old: Record | None) -> Batch:
        """Give the first batch of the next epoch; END if the run is to end."""
        d: Batch = END
        while d is END and not self.end_epoch(hooks, old):
            d = self.state.cursor.next(self.guard)
        return d

    def _explained(self, error: NotFinite) -> NotFinite:
        """Add the parameters' names, and the last loss that was finite."""
        names = self.problem.names()
        error.name = names.get(id(error.parameter))
        error.largest_name = names.get(id(error.largest))
        error.last_loss = next((l for l in reversed(self.record.loss) if math.isfinite(l)), math.nan)
        return error

    def end_epoch(self, hooks: Hooks = _NO_HOOKS, old: Record | None = None) -> bool:
        """Evaluate, and turn to the next epoch.  Tell whether the run is to end."""
        record, cursor = self.record, self.state.cursor
        if not cursor.position:
            again = ": a generator can be gone through once; pass a list, batches(...), or a function"
            raise ValueError("the data gave no batch" + again * (record.epochs_done > 0))
        values = self._evaluate() if old is None else old.evaluations_at(self.state.step)
        # An error in the evaluation does not end the epoch: the next step evaluates again.
        cursor.end_epoch()
        record.end_epoch(dict(values))
        if old is not None:
            return self.is_finished
        ends = hooks.on_epoch is not None and hooks.on_epoch()
        if self.log:
            self.log.write(epoch=record.epochs_done, step=self.state.step, seconds=record.elapsed, **values)
        return ends or self.is_finished

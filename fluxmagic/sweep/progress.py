"""Where a trial stands, without a reference to parameters or optimisers: it can be sent and kept."""

from __future__ import annotations

import copy
from array import array
from dataclasses import dataclass, replace
from typing import Any

from fluxmagic.runs import Run
from fluxmagic.runs.lines import Line
from fluxmagic.runs.optimisers import OptimiserState
from fluxmagic.runs.record import Record
from fluxmagic.runs.state import Snapshot, TrainingState, Values
from fluxmagic.sweep.setup import Arrays, Start

__all__ = ["Progress"]

COLUMNS = {"loss": (1, 0), "rows": (1, 0), "seconds": (1, 0), "path": (2, 2)}
"""Numbers for each step in the columns of a record, and for the start."""


@dataclass(frozen=True)
class Progress:
    """The state of a run after a whole step."""

    step: int
    first: int  # the columns of the record begin after that many steps
    record: Record
    status: str
    environment: dict[str, Any]
    values: Arrays
    generators: list[Any]
    optimisers: dict[str, OptimiserState]  # empty once the trial has ended: `values` are then its final weights
    active: str
    position: int
    epoch_start: list[Any]
    shown: Arrays | None
    best: tuple[int, Arrays] | None

    @classmethod
    def of(cls, run: Run, first: int = 0) -> Progress:
        """Copy where a run stands, with the columns of its record from a step on."""
        line = run.line()
        s, best = line.now, line.best
        return cls(
            s.step,
            first,
            _copy(line.record, first),
            line.state,
            dict(run.environment),
            Arrays.of(s.values),
            [state for _, state in s.generators],
            s.optimisers,
            s.active,
            s.position,
            [state for _, state in s.epoch_start],
            None if line.shown is None else Arrays.of(line.shown),
            None if best is None else (best[0], Arrays.of(best[1])),
        )

    def after(self, earlier: Progress | None) -> Progress:
        """Put the columns of earlier progress before those of this one."""
        if earlier is None or not self.first:
            return self
        record = copy.copy(self.record)
        for name in COLUMNS:
            column = getattr(record, name)
            if column is not None:
                setattr(record, name, getattr(earlier.record, name)[: _place(name, self.first)] + column)
        return replace(self, first=0, record=record)

    def ended(self) -> Progress:
        """Keep the final weights and the record."""
        return replace(self, values=self.shown or self.values, optimisers={}, shown=None, best=None, epoch_start=[])

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        kept = [self.values, *([self.shown] if self.shown else []), *([self.best[1]] if self.best else [])]
        arrays = [a for pair in kept for part in pair for a in part]
        for opt in self.optimisers.values():
            arrays.extend(a for moments in opt.state["arrays"].values() for a in moments)
        return sum(a.nbytes for a in arrays)

    def without_values(self) -> Progress:
        """Keep the record alone."""
        return replace(self, values=Arrays([], []), optimisers={}, shown=None, best=None)

    def begin(self, run: Run, start: Start, values: Arrays | None = None) -> None:
        """Bring a new run to here, with other values if they are given; it is active over its parameters."""
        here = values or self.values

        def line_of(state: TrainingState) -> Line:
            def at(arrays: Arrays) -> Values:
                return arrays.at(state.params, state.buffers)

            state.find_parts(run.problem.roots)
            optimisers, active = self.optimisers, self.active
            shown = None if self.shown is None else at(self.shown)
            if not optimisers:
                optimisers, active = state.optimisers.states(), state.optimisers.active_key
                shown = at(here) if self.record.kept is not None else None
            generators = list(zip(state.generators, self.generators, strict=True))
            epoch_start = list(zip(state.generators, self.epoch_start)) if self.optimisers else []
            position = self.position if self.optimisers else -1
            now = Snapshot(self.step, at(here), generators, optimisers, active, position, epoch_start)
            best = None if self.best is None else (self.best[0], at(self.best[1]))
            first = replace(state.capture(), values=at(start.values))
            return Line(_copy(self.record), first, now, shown, best, self.status)

        run.begin_at(line_of)
        run.environment.update(self.environment)


def _copy(record: Record, first: int = 0) -> Record:
    """Copy a record, with its columns from a step on."""
    new = copy.copy(record)
    for name, value in vars(record).items():
        if isinstance(value, (list, array)):
            setattr(new, name, value[_place(name, first) if first else 0 :] if name in COLUMNS else value[:])
    return new


def _place(name: str, step: int) -> int:
    each, start = COLUMNS[name]
    return each * step + start

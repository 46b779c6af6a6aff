"""Where a trial stands: a `Line` without its start, which can be sent to another process, and kept."""

from __future__ import annotations

import copy
from array import array
from dataclasses import replace

from fluxmagic.runs import Run
from fluxmagic.runs.lines import Line
from fluxmagic.runs.record import Record
from fluxmagic.runs.state import ModelState, TrainingState, Values

__all__ = ["ended", "joined", "progress", "resume", "without_values"]

COLUMNS = {"loss": (1, 0), "rows": (1, 0), "seconds": (1, 0), "path": (2, 2)}
"""Numbers for each step in the columns of a record, and for the start."""


def progress(run: Run, first: int = 0) -> Line:
    """Copy where a run stands, with the columns of its record from a step on."""
    line = run.line()
    return replace(line, record=_copy(line.record, first), start=None)


def joined(earlier: Line | None, line: Line) -> Line:
    """Put the columns of the earlier line, up to its end, before those of one that was copied from there on."""
    if earlier is None or not earlier.now.step:
        return line
    record = copy.copy(line.record)
    for name in COLUMNS:
        column = getattr(record, name)
        if column is not None:
            setattr(record, name, getattr(earlier.record, name) + column)
    return replace(line, record=record)


def ended(line: Line) -> Line:
    """Keep the final weights and the record."""
    now = replace(line.now, values=line.shown or line.now.values, optimisers={}, epoch_start=[], position=-1)
    return replace(line, now=now, shown=None, best=None)


def without_values(line: Line) -> Line:
    """Keep the record alone."""
    return replace(line, now=replace(line.now, values=Values([], []), optimisers={}), shown=None, best=None)


def resume(run: Run, line: Line, start: ModelState) -> None:
    """Bring a new run to the end of a line; it is active over its parameters."""

    def complete(state: TrainingState) -> Line:
        """Add the start, and to a trial that has ended what was not kept."""
        state.find_parts(run.problem.roots)
        first, now, shown = replace(state.capture(), values=start.values), line.now, line.shown
        if not now.optimisers:
            values = now.values if now.values.params else start.values
            now = replace(now, values=values, optimisers=first.optimisers, active=first.active)
            shown = now.values if line.record.kept is not None else None
        return replace(line, record=_copy(line.record), start=first, now=now, shown=shown)

    run.begin_at(complete)


def _copy(record: Record, first: int = 0) -> Record:
    """Copy a record, with its columns from a step on."""
    new = copy.copy(record)
    for name, value in vars(record).items():
        if isinstance(value, (list, array)):
            each, at_start = COLUMNS.get(name, (0, 0))
            setattr(new, name, value[each * first + at_start if first else 0 :])
    return new

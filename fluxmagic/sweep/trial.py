"""A trial, where it stands, and how points are ranked.

A trial stands at the end of a `Line` without a start, which can be sent to another process, and kept.
"""

from __future__ import annotations

import copy
import math
import statistics
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from fluxmagic.runs import Run
from fluxmagic.runs.lines import Line
from fluxmagic.runs.record import Record
from fluxmagic.runs.state import ModelState, TrainingState, Values
from fluxmagic.sweep.setup import Spec

__all__ = ["ENDS", "Trial", "copy_line", "drop_weights", "halved", "joined", "rank", "resume", "rung", "without_state"]

ENDS = ("done", "diverged", "failed", "stopped early", "cancelled")
"""How a trial ends: one of these, once."""


@dataclass(eq=False)
class Trial:
    """One run of a sweep."""

    spec: Spec
    state: str = "waiting"  # or "running", and then one of `ENDS`
    step: int = 0  # taken
    objective: float = math.nan  # at the end, or at the last rung
    values: Mapping[str, float] = field(default_factory=dict)  # validation loss and metrics of the same moment
    error: Exception | None = None  # why it diverged or failed
    trace: str = field(default="", repr=False)  # of the user's error
    seconds: float = 0.0  # spent on it
    progress: Line | None = field(default=None, repr=False)  # None before its first slice
    deaths: int = 0  # of workers, while it was alone on them
    alone: bool = False  # it has to be alone on the next worker

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.state in ENDS

    @property
    def has_weights(self) -> bool:
        """Whether the weights that it has come to are kept."""
        return self.progress is not None and bool(self.progress.now.values.params)

    def end(self, state: str, error: Exception | None = None) -> None:
        """End the trial, once."""
        if not self.ended:
            self.state, self.error = state, error

    def score(self, sign: float) -> float:
        """The objective to be made small: infinite for what diverged, failed or is not finite, NaN without one."""
        if self.state in ("diverged", "failed"):
            return math.inf
        if self.state in ("waiting", "running", "cancelled") and math.isnan(self.objective):
            return math.nan
        value = sign * self.objective
        return value if math.isfinite(value) else math.inf


def rank(trials: Iterable[Trial], sign: float) -> list[tuple[float, int]]:
    """Give score and number of each point, best first: the median over its seeds; ties go to the lower number."""
    scores: dict[int, list[float]] = {}
    for t in trials:
        scores.setdefault(t.spec.point, []).append(t.score(sign))
    known = {p: [s for s in own if not math.isnan(s)] for p, own in scores.items()}
    return sorted((statistics.median(own), p) for p, own in known.items() if own)


def rung(spec: Spec, factor: int | None, level: int, steps_per_epoch: int | None) -> int | None:
    """Give the step after which a trial is compared: 1/factor² or 1/factor of its steps; None for its end."""
    if factor is None:
        return None
    n = spec.steps or (spec.epochs or 1) * (steps_per_epoch or 1)
    steps = sorted({max(1, n // factor**2), max(1, n // factor)} - {n})
    return steps[level] if level < len(steps) else None


def halved(trials: list[Trial], factor: int, sign: float) -> list[Trial]:
    """Stop the trials of all points but the best ⌈n/factor⌉ early, and return them."""
    ranked = rank(trials, sign)
    kept = {p for _, p in ranked[: math.ceil(len(ranked) / factor)]}
    stopped = [t for t in trials if t.spec.point not in kept and not t.ended]
    for t in stopped:
        t.end("stopped early")
        t.progress = t.progress and without_state(t.progress)
    return stopped


def drop_weights(trials: Iterable[Trial], sign: float, excess: float) -> int:
    """Drop the weights of the worst trials that have ended, but not of the best; give the bytes, `excess` or more."""
    held = sorted((t for t in trials if t.ended and t.has_weights), key=lambda t: t.score(sign))
    freed = 0
    while len(held) > 1 and freed < excess:
        worst = held.pop()
        assert worst.progress is not None
        freed += worst.progress.nbytes
        now = replace(worst.progress.now, values=Values([], []))
        worst.progress = replace(worst.progress, now=now)
    return freed


# -- where a trial stands ----------------------------------------------------------------------------------

COLUMNS = {"loss": (1, 0), "rows": (1, 0), "seconds": (1, 0), "path": (2, 2)}
"""Numbers for each step in the columns of a record, and for the start."""


def copy_line(run: Run, first: int = 0) -> Line:
    """Copy where a run stands, with the columns of its record from a step on."""
    line = run.line()
    return replace(line, record=_copy(line.record, first), start=None)


def joined(earlier: Line | None, line: Line) -> Line:
    """Put the columns of the earlier line before those of one that was copied from its end on, if it was."""
    if earlier is None or len(line.record.loss) == line.now.step:
        return line
    record = copy.copy(line.record)
    for name in COLUMNS:
        column = getattr(record, name)
        if column is not None:
            setattr(record, name, getattr(earlier.record, name) + column)
    return replace(line, record=record)


def without_state(line: Line) -> Line:
    """Keep the final weights and the record."""
    now = replace(line.now, values=line.shown or line.now.values, optimisers={}, epoch_start=[], position=-1)
    return replace(line, now=now, shown=None, best=None)


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

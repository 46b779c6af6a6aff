"""A trial, and how points are ranked."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fluxmagic.runs.lines import Line
from fluxmagic.sweep.progress import ended, without_values
from fluxmagic.sweep.setup import Spec

__all__ = ["ENDS", "Trial", "drop_weights", "halved", "rank", "rung"]

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
        t.progress = t.progress and ended(t.progress)
    return stopped


def drop_weights(trials: Iterable[Trial], sign: float, excess: float) -> int:
    """Drop the weights of the worst trials that have ended, but not of the best; give the bytes, `excess` or more."""
    held = sorted((t for t in trials if t.ended and t.has_weights), key=lambda t: t.score(sign))
    freed = 0
    while len(held) > 1 and freed < excess:
        worst = held.pop()
        assert worst.progress is not None
        freed += worst.progress.nbytes
        worst.progress = without_values(worst.progress)
    return freed

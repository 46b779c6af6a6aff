"""A sweep in words: the progress line, and the summary that stays."""

from __future__ import annotations

import math
from collections import Counter

from fluxmagic.jupyter.formatting import format_duration, format_number, format_value
from fluxmagic.sweep import Sweep
from fluxmagic.sweep.trial import Trial

__all__ = ["describe", "progress", "summary"]

MAX_POINTS_LISTED, MAX_ERRORS_LISTED = 5, 3


def progress(sweep: Sweep, speed: float = math.inf) -> str:
    """Say how far a sweep is, in one line: trials, failures, the best so far, time left."""
    done, total = sweep.steps, sweep.total_steps
    parts = [f"{done:,}/{total:,} trials"]
    parts += [f"{n} {state}" for state, n in sweep.counts.items() if state in ("diverged", "failed", "stopped early")]
    if any(t.state == "done" for t in sweep.trials):
        best = sweep.best_trial
        parts.append(f"best: {describe(sweep, best)}, {_objective(sweep)} {format_number(best.objective)}")
    if sweep.rate and done < total:
        parts.append(f"{format_duration((total - done) / sweep.rate)} left")
    return " · ".join(parts)


def describe(sweep: Sweep, trial: Trial) -> str:
    """Give what a trial was made with."""
    point = sweep.point(trial)
    parts = [point.pop("opt"), *(f"{k} {format_value(v)}" for k, v in point.items())]
    return " ".join(parts) + (f" seed {trial.spec.seed}" if (sweep.seeds or 1) > 1 else "")


def _objective(sweep: Sweep) -> str:
    return sweep.setup.objective


def summary(sweep: Sweep) -> str:
    """Summarise a sweep: the counts, the best points, and what went wrong."""
    name = sweep.name or "sweep"
    lines = [f"{name}: {sweep.state}, {len(sweep):,} trials in {format_duration(sweep.seconds)}: {sweep.summary}"]
    if sweep.kept:
        lines.append(f"{len(sweep.kept)} parameters are in no layer that draws weights anew, and kept their values")
    first: dict[int, Trial] = {}
    for t in sweep.trials:
        first.setdefault(t.spec.point, t)
    ranked = [(value, point) for value, point in sweep.ranking if math.isfinite(value)]
    over = f", median over {sweep.seeds} seeds" if (sweep.seeds or 1) > 1 else ""
    for value, point in ranked[:MAX_POINTS_LISTED]:
        label = describe(sweep, first[point]).partition(" seed ")[0]
        lines.append(f"{_objective(sweep)} {format_number(value)}  {label}{over}")
    if len(ranked) > MAX_POINTS_LISTED:
        lines.append(f"and {len(ranked) - MAX_POINTS_LISTED:,} more points: {name}.table")
    errors = Counter(f"{t.state}: {t.error}" for t in sweep.trials if t.error is not None)
    lines += [f"{n} {text}" for text, n in errors.most_common(MAX_ERRORS_LISTED)]
    return "\n".join(lines)

"""A sweep in words: the progress line, the summary that stays, what a point came to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fluxmagic.jupyter.formatting import format_duration, format_number, format_value
from fluxmagic.layers import named_params
from fluxmagic.sweep import Sweep
from fluxmagic.sweep.trial import Trial

__all__ = ["best_of", "describe", "leader", "numbers", "objective", "progress", "summary"]

LISTED = 5  # points, and errors


def progress(sweep: Sweep, speed: float = math.inf) -> str:
    """Say where a sweep is, in one line: trials that have ended, failures, the best so far, time left."""
    counts, n = sweep.counts, sweep.steps
    parts = [f"{n:,}/{len(sweep):,} trials"]
    parts += [f"{counts[k]:,} {k}" for k in ("running", "diverged", "failed", "stopped early") if k in counts]
    best = leader(sweep)
    if best is not None:
        parts.append(f"best: {describe(sweep, best)}: {objective(sweep)} {format_number(best.objective)}")
    if sweep.rate and not sweep.finished:
        parts.append(f"{format_duration((len(sweep) - n) / sweep.rate)} left")
    return " · ".join(parts)


def objective(sweep: Sweep) -> str:
    """Name what ranks the points."""
    name = sweep.setup.objective
    return {"valid": "validation loss"}.get(name, name)


def leader(sweep: Sweep) -> Trial | None:
    """Give the best trial that is done."""
    return sweep.best_trial if "done" in sweep.counts else None


def describe(sweep: Sweep, trial: Trial) -> str:
    """Give the optimiser and the swept dials of a trial."""
    values = sweep.point(trial)
    return ", ".join([values.pop("opt"), *(f"{k} {_written(v)}" for k, v in values.items())])


def _written(value: object) -> str:
    """Write the value of a dial; what is close to 1 with the digits that it takes."""
    near = isinstance(value, float) and abs(1 - value) < 0.01
    return f"{value:.7g}" if near else format_value(value)


def best_of(sweep: Sweep, point: int) -> Trial:
    """Give the best trial of a point; before one has an objective, the first."""
    return min(sweep.of_point(point), key=lambda t: (not t.step, math.isnan(s := t.score(sweep.sign)), s, t.spec.index))


def numbers(sweep: Sweep, own: Sequence[Trial]) -> list[str]:
    """Give what the trials of a point came to, in lines."""
    lines = []
    known = [t.objective for t in own if math.isfinite(t.objective)]
    if known:
        low, high = format_number(min(known)), format_number(max(known))
        lines.append(f"{objective(sweep)} {low}" + (f" to {high} over {len(known)} seeds" if low != high else ""))
    for t in own:
        what = f"seed {t.spec.seed}: " if len(own) > 1 else ""
        why = "" if t.error is None else f": {' '.join(str(t.error).split())}"
        how_far = f", {t.step:,} steps in {format_duration(t.seconds)}" if t.step else ""
        lines.append(f"{what}{t.state}{how_far}{why}")
    return lines


def summary(sweep: Sweep) -> str:
    """Summarise a sweep: its trials, the best points, what no layer draws anew, errors."""
    time = format_duration(sweep.seconds)
    lines = [f"{sweep.name or 'sweep'}: {sweep.state}, {len(sweep):,} trials in {time}: {sweep.summary}"]
    best = leader(sweep)
    if best is not None:
        value = f"{objective(sweep)} {format_number(best.objective)}"
        lines.append(f"best: trial {best.spec.index}, {describe(sweep, best)}: {value}")
        of = f"median {objective(sweep)} of {sweep.seeds} seeds" if (sweep.seeds or 1) > 1 else objective(sweep)
        ranked = [(score, point) for score, point in sweep.ranking if math.isfinite(score)][:LISTED]
        lines.append(f"{of}:")
        for score, point in ranked:
            lines.append(f"  {format_number(score):<10}{describe(sweep, best_of(sweep, point))}")
    if sweep.kept:
        names = {id(p): name for name, p in named_params(*sweep.setup.problem.roots)}
        kept = ", ".join(names.get(id(p), "a parameter") for p in sweep.kept)
        lines.append(f"no layer draws these anew, all seeds begin with the same: {kept}")
    errors = dict.fromkeys(f"{t.state}: {' '.join(str(t.error).split())}" for t in sweep.trials if t.error is not None)
    return "\n".join([*lines, *list(errors)[:LISTED]])

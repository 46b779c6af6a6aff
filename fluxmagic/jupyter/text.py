"""A run in words: the progress line, and the summary that stays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fluxmagic.runs import Event, Run

__all__ = ["dial", "duration", "number", "progress", "summary"]

TURNS = 20  # as many are listed; a slider that was dragged makes hundreds


def progress(run: Run) -> str:
    """Where a run is, in one line: epoch, step, loss, steps a second, time left."""
    parts = [f"epoch {min(run.epoch, run.epochs)}/{run.epochs}"]
    total = run.epochs * run.steps_per_epoch if run.steps_per_epoch else None
    parts.append(f"step {run.steps:,}" + (f"/{total:,}" if total else ""))
    if run.steps:
        parts.append(f"loss {number(run.last_loss)}")
    if run.rate:
        parts.append(f"{number(run.rate)} steps/s")
        if total and not run.finished:
            parts.append(f"{duration((total - run.steps) / run.rate)} left")
    return " · ".join(parts)


def summary(run: Run) -> str:
    """What a run was: optimiser and dials at the end, steps, time, losses, validation and metrics, turns."""
    lines = [f"{run.name or 'run'}: {run.opt_name}{_dials(run)}", _extent(run)]
    history = run.history
    losses = history["loss"]
    if len(losses):
        line = f"loss {number(losses[0])} → {number(losses[-1])}"
        if np.isfinite(losses).any():
            best = int(np.nanargmin(np.where(np.isfinite(losses), losses, np.nan)))
            line += f", best {number(losses[best])} at step {best + 1:,}"
        lines.append(line)
    checks = [(k, last) for k in ("valid", *run.metrics) if (last := run.last_check.get(k)) is not None]
    if checks:
        lines.append(", ".join(f"{k} {number(v)}" for k, v in checks))
    turns = _merged(run.events)
    lines += [f"step {e.step:,}: {e.name} {dial(e.old)} → {dial(e.new)}" for e in turns[:TURNS]]
    if len(turns) > TURNS:
        lines.append(f"and {len(turns) - TURNS:,} more turns")
    return "\n".join(lines)


def _dials(run: Run) -> str:
    """The optimiser's own dials, and of those that all have the ones that do something."""
    cls = run.opt_class
    common = () if cls is None else ("decay", "clip", "clipnorm", "weightdecay")
    shown = [
        f"{k} {dial(v)}"
        for k, v in run.values.items()
        if k not in common or (cls is not None and v != cls.hypers[k].default)
    ]
    return f" ({', '.join(shown)})" if shown else ""


def _extent(run: Run) -> str:
    steps = f"{run.steps:,} step{'' if run.steps == 1 else 's'}"
    time = f"{steps} in {duration(run.seconds)}" + (f" ({number(run.rate)} steps/s)" if run.rate else "")
    if run.finished:
        return f"{run.epochs} epoch{'' if run.epochs == 1 else 's'}, {time}"
    return f"{run.state} in epoch {run.epoch} of {run.epochs}, {time}"


def _merged(events: list[Event]) -> list[Event]:
    """A dial that was dragged between two steps was turned once."""
    turns: list[Event] = []
    for e in events:
        if turns and (turns[-1].step, turns[-1].name) == (e.step, e.name):
            turns[-1] = turns[-1]._replace(new=e.new)
        else:
            turns.append(e)
    return turns


def dial(x: Any) -> str:
    """What a dial is set to: a number, "off" for a bound that is infinite, a schedule or an optimiser by its name."""
    if isinstance(x, str):
        return x
    if callable(x):
        name = getattr(x, "__name__", type(x).__name__)
        return "schedule" if name == "<lambda>" else name
    return "off" if x == math.inf else number(x)


def number(x: float) -> str:
    """A number as people write it, to four digits."""
    return f"{x:,.0f}" if 1000 <= abs(x) < 1e9 else f"{x:.4g}"


def duration(seconds: float) -> str:
    """A time as people write it: "35 ms", "4.2 s", "3:05", "1:02:30"."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes}:{s:02}"

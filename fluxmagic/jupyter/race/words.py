"""A race in words, the progress line and the summary that stays, and in colours."""

from __future__ import annotations

import math

from fluxmagic.jupyter.formatting import format_duration, format_number, format_value, gestures
from fluxmagic.race import Race

__all__ = ["COLOURS", "colour_of", "loss_of", "progress", "summary"]

MAX_TURNS_LISTED = 5  # of a contestant
COLOURS = ("#37459b", "#ea8904", "#99194b", "#19c576", "#ca00ff", "#aa8ceb", "#de96c1", "#7f5803")
"""Any two differ by 29 or more in CIELAB, also to readers without one of the three kinds of cones."""


def colour_of(number: int) -> str:
    """Give the colour of a contestant."""
    return COLOURS[number % len(COLOURS)]


def progress(race: Race, speed: float = math.inf) -> str:
    """Say where a race is, in one line: step, who leads, steps a second of each contestant, time left."""
    total = race.total_steps
    parts = [f"step {race.steps:,}" + (f"/{total:,}" if total else "")]
    rate = min(race.rate, speed)
    if rate:
        parts += [_leader(race), f"{format_number(rate)} steps/s of each"]
        if total and not race.finished:
            parts.append(f"{format_duration((total - race.steps) / rate)} left")
    return " · ".join(parts)


def _leader(race: Race) -> str:
    losses = {key: run.shown_loss for key, run in race.runs.items()}
    key = min(losses, key=lambda k: losses[k] if math.isfinite(losses[k]) else math.inf)
    return f"lowest loss: {key} {format_number(losses[key])}"


def loss_of(race: Race, key: str) -> str:
    """Give the present loss of a contestant, and why it waits."""
    run, reason = race.runs[key], race.waiting.get(key, "")
    if reason == "diverged":
        return f"diverged at step {run.steps:,}"
    if not run.steps:
        return ""
    return format_number(run.shown_loss) + (f", ended at step {run.steps:,}" if reason == "ended" else "")


def summary(race: Race) -> str:
    """Summarise a race: for each contestant its losses, validation, changes of dials, and why it ended."""
    width = max(map(len, race.runs))
    seconds = format_duration(sum(run.seconds for run in race))
    lines = [f"{race.name or 'race'}: {race.state}, {race.steps:,} steps of each in {seconds}"]
    for key, run in race.runs.items():
        lines.append(f"{key:<{width}}  {_losses(race, key)}")
        turns = gestures(run.events, run.steps)
        lines += [
            f"{'':{width}}  step {e.step:,}: {e.name} {format_value(e.old)} → {format_value(e.new)}"
            for e in turns[:MAX_TURNS_LISTED]
        ]
        if len(turns) > MAX_TURNS_LISTED:
            lines.append(f"{'':{width}}  and {len(turns) - MAX_TURNS_LISTED:,} more turns")
    return "\n".join(lines)


def _losses(race: Race, key: str) -> str:
    run = race.runs[key]
    means = run.epoch_losses
    start = f"{format_number(means[0])} → " if len(means) > 1 else ""
    parts = [f"loss {start}{loss_of(race, key)}"]
    parts += [f"{name} {format_number(value)}" for name, value in run.last_evaluation.items()]
    return ", ".join(parts)

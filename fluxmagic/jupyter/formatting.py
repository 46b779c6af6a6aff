"""A run in words: the progress line, and the summary that stays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from fluxmagic.optimise import Optimiser
from fluxmagic.runs import Event, Run
from fluxmagic.runs.early_stopping import Condition, out_of_patience

__all__ = [
    "change", "format_duration", "format_number", "format_value", "gestures", "progress", "shown_loss", "summary",
]  # fmt: skip

MAX_TURNS_LISTED = 10  # more are cut in the middle


def progress(run: Run, speed: float = math.inf) -> str:
    """Say where a run is, in one line: epoch, step, loss, steps a second, time left.

    It goes at `speed` steps a second at most.
    """
    parts = [] if run.epochs is None else [f"epoch {min(run.epoch, run.epochs)}/{run.epochs}"]
    total = run.total_steps
    parts.append(f"step {run.steps:,}" + (f"/{total:,}" if total else ""))
    if run.steps:
        parts.append(f"loss {shown_loss(run)}")
    if run.rate:
        rate = min(run.rate, speed)
        parts.append(f"{format_number(rate)} steps/s")
        if total and not run.finished:
            parts.append(f"{format_duration((total - run.steps) / rate)} left")
    return " · ".join(parts)


def summary(run: Run) -> str:
    """Summarise a run: optimiser and hyper-parameters at the end, steps, time, losses, evaluations, changes.

    Losses are means over epochs.
    """
    lines = [f"{run.name or 'run'}: {run.opt_name}{_hypers(run)}", _duration_line(run)]
    if run.steps:
        lines.append(_losses(run))
    numbers = _evaluated(run)
    if numbers:
        lines.append(numbers)
    if run.captured is not None:
        lines.append(f"captured: {run.captured}")
    turns = [
        f"step {e.step:,}: {e.name} {format_value(e.old)} → {format_value(e.new)}"
        for e in gestures(run.events, run.steps)
    ]
    if len(turns) > MAX_TURNS_LISTED:
        turns[5:-4] = [f"… {len(turns) - 9:,} more turns …"]
    return "\n".join(lines + turns)


def shown_loss(run: Run) -> str:
    """Write the mean loss of the last whole epoch; in the first one that so far."""
    return format_number(run.shown_loss) + " so far" * run.so_far


def _losses(run: Run) -> str:
    """Give the mean losses of the first and the last epoch, and the best epoch."""
    means = run.epoch_losses
    if len(means) < 2:
        return f"loss {shown_loss(run)}"
    line = f"loss {format_number(means[0])} → {format_number(means[-1])}"
    best = run.best
    if best is not None:
        what = "" if best.name == "loss" else f"{best.name} "
        line += f", best {what}{format_number(best.value)} ({_place(run, best.epoch)})"
    return line


def _evaluated(run: Run) -> str:
    """Give validation loss and metrics: of the epoch whose weights were restored, otherwise of the last one."""
    kept, best, checks = run.record.kept, run.best, run.last_evaluation
    if kept is not None:
        checks = dict(run.record.evaluations).get(kept, {})
    parts = [f"{k} {format_number(v)}" for k in ("valid", *run.metrics) if (v := checks.get(k)) is not None]
    if parts and "valid" not in checks:  # which may be a row or two
        parts[-1] += " (of the last batch alone)"
    if kept is None or best is None:
        ends = run.record.epochs
        if parts and (step := run.record.evaluations[-1][0]) in ends[:-1]:  # it went on without
            parts[-1] += f" ({_place(run, ends.index(step))})"
        return ", ".join(parts)
    loss = format_number(run.epoch_losses[best.epoch - 1])
    return f"the weights are those of {_place(run, best.epoch)}: " + ", ".join([f"loss {loss}", *parts])


def _place(run: Run, epoch: int) -> str:
    return f"{'step' if run.record.stepwise else 'epoch'} {epoch:,}"


def _hypers(run: Run) -> str:
    """Give the optimiser's own hyper-parameters, and those of all optimisers that have an effect."""
    cls = run.opt_class
    common = () if cls is None else ("decay", "clip", "clipnorm", "weightdecay")
    shown = [
        f"{k} {format_value(v)}"
        for k, v in run.values.items()
        if k not in common or (cls is not None and v != cls.hypers[k].default)
    ]
    return f" ({', '.join(shown)})" if shown else ""


def _duration_line(run: Run) -> str:
    steps = f"{run.steps:,} step{'' if run.steps == 1 else 's'}"
    time = f"{steps} in {format_duration(run.seconds)}" + (f" ({format_number(run.rate)} steps/s)" if run.rate else "")
    if run.finished and run.epochs is None:
        return time
    if run.finished:
        return f"{run.epochs} epoch{'' if run.epochs == 1 else 's'}, {time}"
    reason = _reason(run) if run.state == "stopped" else ""
    if run.epochs is None:
        return f"{run.state}{reason} of {run.step_limit:,} steps, {time}"
    # an epoch that has ended is not yet the next one
    epoch = run.epoch - (run.steps > 0 and run.record.epochs[-1] == run.steps)
    return f"{run.state} in epoch {epoch} of {run.epochs}{reason}, {time}"


def _reason(run: Run) -> str:
    """Say which option stopped a run; "" where the user did."""
    if out_of_patience(run.record, run.patience):
        return " by patience"
    ended = run.record.stepwise or run.record.epochs[-1] == run.steps
    with suppress(Exception):  # the condition names what the user may have deleted since
        if ended and isinstance(run.until, Condition) and run.until.holds(run.epoch_values):
            return " by until"
    return ""


def gestures(events: Sequence[Event], extent: float) -> list[Event]:
    """Merge the changes that a hand made in one go: of one dial, each soon after the one before.

    Soon is a fortieth of `extent`, in steps.  A gesture stands at its first step.
    """
    found: list[Event] = []
    last = -math.inf  # the step of the latest change of the gesture
    for e in events:
        if found and found[-1].name == e.name != "opt" and e.step - last <= extent / 40:
            found[-1] = found[-1]._replace(new=e.new)
        else:
            found.append(e)
        last = e.step
    return [e for e in found if e.name == "opt" or e.new != e.old]  # a dial may have come back


def change(e: Event, cls: type[Optimiser] | None = None) -> str:
    """Write a change: "η × 8" for a dial on a logarithmic scale, otherwise both values."""
    hyper = None if cls is None else cls.hypers.get(e.name)
    if hyper is not None and hyper.scale == "log" and _is_positive(e.old) and _is_positive(e.new):
        ratio = e.new / e.old
        return f"{e.name} × {ratio:.3g}" if ratio >= 1 else f"{e.name} ÷ {1 / ratio:.3g}"
    name = "" if e.name == "opt" else f"{e.name} "
    return f"{name}{format_value(e.old)} → {format_value(e.new)}"


def _is_positive(x: object) -> bool:
    return isinstance(x, (int, float, np.number)) and bool(0 < x < math.inf)


def format_value(x: Any) -> str:  # noqa: ANN401
    """Write a value: a number, "off" for a bound that is infinite, a schedule or an optimiser by its name."""
    if isinstance(x, str):
        return x
    if callable(x):
        name = getattr(x, "__name__", type(x).__name__)
        return "schedule" if name == "<lambda>" else name
    return "off" if x == math.inf else format_number(x)


def format_number(x: float) -> str:
    """Write a number to four digits."""
    x = x + 0.0  # -0 is 0
    return f"{x:,.0f}" if 1000 <= abs(x) < 1e9 else f"{x:.4g}"


def format_duration(seconds: float) -> str:
    """Write a time: "35 ms", "4.2 s", "3:05", "1:02:30"."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes}:{s:02}"

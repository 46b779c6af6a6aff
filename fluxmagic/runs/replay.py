"""Computes steps again from a snapshot, and compares them with a record.

It changes a loop's state and record, and leaves it to its caller to put them back after an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fluxmagic.optimise.errors import NotFinite
from fluxmagic.runs.cursor import END
from fluxmagic.runs.environment import NUMERICS
from fluxmagic.runs.loop import Hooks, Loop
from fluxmagic.runs.record import Record
from fluxmagic.runs.state import Snapshot, Values

__all__ = ["ReplayMismatch", "check_same_weights", "has_other_numerics", "reapply_events", "recompute", "retake"]
__all__ += ["put_back", "values_at"]

TOLERANCE = 1e-4
"""Relative difference of losses that is allowed under other numerics."""


class ReplayMismatch(RuntimeError):
    """A step that was computed again gave something else; the run is as it was before.

    Attributes
    ----------
    step : int
        The first step that differs.
    """

    def __init__(self, step: int, what: str) -> None:
        self.step = step
        super().__init__(step, what)

    def __str__(self) -> str:
        return (
            f"step {self.step} does not repeat: {self.args[1]}. Something that the loss or the data depends on changed "
            "outside the run (random numbers that the loss draws, weights or data changed by hand)"
        )


def recompute(loop: Loop, s: Snapshot, record: Record, until: int) -> None:
    """Compute the steps of a record again from a snapshot; one that differs is a `ReplayMismatch`."""
    loop.state.restore(s)
    loop.record = record.copy(s.step, epoch_over=s.position < 0)
    for step in range(s.step, until):
        reapply_events(loop, record, step)
        try:
            loop.take_steps(1, old=record)
        except NotFinite:
            if step + 1 not in record.rejected:
                raise ReplayMismatch(step + 1, _losses(record.loss[step], loop.record.loss[-1])) from None
        else:
            if step + 1 in record.rejected:
                raise ReplayMismatch(step + 1, "it was not finite, and now is")
        old, new = record.loss[step], loop.record.loss[-1]
        if not _same(old, new, loop):
            raise ReplayMismatch(step + 1, _losses(old, new))
        loop.record.seconds[step] = record.seconds[step]
    if len(loop.record.epochs) < sum(start <= until for start in record.epochs):
        # The data has no len: the end of the epoch shows when another batch is asked for.
        if loop.state.cursor.next(loop.guard) is not END:
            raise ReplayMismatch(until + 1, "the data had come to its end, and now has another batch")
        loop.end_epoch(old=record)


def retake(loop: Loop, hooks: Hooks, rewind: Callable[[int], object]) -> None:
    """Take the steps since the last verified one again, the ordinary way; the record has their losses then.

    Evaluations are made again too.  An error ends it at the step that raises it.
    """
    s, old, n = loop.captured.verified or loop.snapshots.latest_at(0), loop.record, loop.state.step
    loop.state.restore(s)
    loop.snapshots.drop_after(s.step)
    loop.record = record = old.copy(s.step, epoch_over=s.position < 0)
    record.retaken = [*old.retaken, (s.step + 1, n)]
    for step in range(s.step, n):
        reapply_events(loop, old, step)
        try:
            loop.take_steps(1, hooks)
        except NotFinite:
            if step + 1 not in old.rejected:
                raise
        record.seconds[step] = old.seconds[step]
    reapply_events(loop, old, n)
    record.planned = old.planned


def reapply_events(loop: Loop, record: Record, step: int) -> None:
    """Make the changes that were recorded after a step: hyper-parameters, optimisers, weights put back."""
    for event in record.events:
        if event.step == step:
            loop.redo(event)
    for after, best in record.restored_weights:
        if after == step:
            put_back(loop, best, values_at(loop, record, best))


def put_back(loop: Loop, step: int, values: Values) -> None:
    """Assign the values after an earlier step, and record it."""
    loop.state.assign(values)
    loop.record.restored_weights.append((loop.state.step, step))


def values_at(loop: Loop, record: Record, step: int) -> Values:
    """Compute the values of parameters and buffers after a step.  The loop's state and record stay."""
    here, mine = loop.state.capture(), loop.record
    try:
        recompute(loop, loop.snapshots.latest_at(step), record, step)
        return loop.state.values()
    finally:
        loop.record = mine
        loop.state.restore(here)


def has_other_numerics(loop: Loop) -> bool:
    """Tell whether the record is of a version whose steps have other bits."""
    return bool(loop.environment.get("numerics", NUMERICS) != NUMERICS)


def check_same_weights(loop: Loop, before: Snapshot) -> None:
    """Compare the weights with those of a snapshot, bit for bit; a difference is a `ReplayMismatch`."""
    for p, value in zip(loop.state.params, before.values.params, strict=True):
        if p.value.tobytes() != value.tobytes():
            gap = float(np.max(np.abs(p.value - value), initial=0))
            raise ReplayMismatch(before.step, f"its weights differ by up to {gap:.3g}")


def _same(old: float, new: float, loop: Loop) -> bool:
    if old == new or (math.isnan(old) and math.isnan(new)):
        return True
    return has_other_numerics(loop) and math.isclose(old, new, rel_tol=TOLERANCE)


def _losses(old: float, new: float) -> str:
    return f"its loss was {old!r}, and now is {new!r}"

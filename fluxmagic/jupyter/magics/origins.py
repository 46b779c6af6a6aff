"""Where weights come from: their oldest known start, and whether they were changed after a run.

Runs are remembered weakly, beside them: `runs` knows nothing of this.
"""

from __future__ import annotations

import hashlib
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from fluxmagic.runs import Run

__all__ = ["changed", "follow", "note", "reset"]

Start = dict[int, tuple[Any, np.ndarray, str | None]]
"""By identity: a parameter or array, its value, and the name of the run that started from it."""
Position = tuple[int, int | None]
"""The number of steps, and the epoch whose weights were kept."""

_earlier_starts: WeakKeyDictionary[Run, tuple[Start, Start]] = WeakKeyDictionary()
_ends: WeakKeyDictionary[Run, tuple[Position, bytes]] = WeakKeyDictionary()


def follow(run: Run, before: Run | None) -> None:
    """Remember that a run begins with the weights of another one."""
    if before is not None:
        _earlier_starts[run] = _starts(before)


def reset(run: Run) -> str | None:
    """Restore the oldest known start of a run's weights; return the name of the run that began there."""
    weights, statistics = _starts(run)
    run.reset_weights()  # the run keeps its own state
    for p, value, _ in weights.values():
        p.data = value
    for statistic, value, _ in statistics.values():
        statistic[...] = value
    return next((name for _, _, name in weights.values()), None)


def note(run: object) -> None:
    """Remember the weights as a run leaves them."""
    if isinstance(run, Run) and run.steps and all(p.run_ref is not None and p.run_ref() is run for p in run.params):
        _ends[run] = _position(run), _digest(run)


def changed(run: Run) -> bool:
    """Say whether the weights are known to differ from those that a run left."""
    position, digest = _ends.get(run, (None, b""))
    return position == _position(run) and digest != _digest(run)


def _starts(run: Run) -> tuple[Start, Start]:
    """Return the oldest known values of what a run trains: weights, and running statistics."""
    start = run.snapshots.start
    older = _earlier_starts.get(run, ({}, {}))
    if start is None:
        return older
    training, values = run.training, start.values
    weights = {id(p): (p, value, run.name) for p, value in zip(training.params, values.params, strict=True)}
    statistics = {id(a): (a, value, run.name) for a, value in zip(training.buffers, values.buffers, strict=True)}
    return {**weights, **older[0]}, {**statistics, **older[1]}


def _position(run: Run) -> Position:
    return run.steps, run.record.kept


def _digest(run: Run) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for p in run.params:
        digest.update(p.data.tobytes())
    return digest.digest()

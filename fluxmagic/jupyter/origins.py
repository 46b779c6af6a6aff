"""Where weights come from: the oldest known start, and whether somebody has changed them since a run ended."""

from __future__ import annotations

import hashlib
from typing import Any
from weakref import WeakKeyDictionary

from fluxmagic.runs import Run
from fluxmagic.runs.state import Values

__all__ = ["changed", "follow", "note", "reset"]

Start = dict[int, tuple[Any, Any, str | None]]
"""By identity: parameter or array, its value, and the name of the run that found it so."""

_before: WeakKeyDictionary[Run, tuple[Start, Start]] = WeakKeyDictionary()
_ends: WeakKeyDictionary[Run, tuple[Any, bytes]] = WeakKeyDictionary()


def _starts(run: Run) -> tuple[Start, Start]:
    """The oldest known values of what a run trains: weights, and running statistics."""
    start = run.snapshots.start
    kept = Values([], []) if start is None else start.values
    weights, statistics = ({id(x): (x, value, run.name) for x, value in k} for k in kept)
    older = _before.get(run, ({}, {}))
    return {**weights, **older[0]}, {**statistics, **older[1]}


def follow(run: Run, before: Run | None) -> None:
    """Remember that a run begins where another one has trained."""
    if before is not None:
        _before[run] = _starts(before)


def reset(run: Run) -> str | None:
    """Put the oldest known start of a run's weights back; the name of the run that began there."""
    weights, statistics = _starts(run)
    run.reset_weights()  # keeps the run's own state
    Values(*([(x, value) for x, value, _ in found.values()] for found in (weights, statistics))).restore()
    return next((name for _, _, name in weights.values()), None)


def note(run: Any) -> None:
    """Remember the weights that a run has left."""
    if isinstance(run, Run) and run.steps and all(p.run_ref is not None and p.run_ref() is run for p in run.params):
        _ends[run] = _mark(run)


def changed(run: Run) -> bool:
    """Say whether weights are known not to be those that a run has left."""
    place, digest = _ends.get(run, (None, b""))
    return place == (run.steps, run.record.kept) and digest != _mark(run)[1]


def _mark(run: Run) -> tuple[Any, bytes]:
    digest = hashlib.blake2b(digest_size=16)
    for p in run.params:
        digest.update(p.data.tobytes())
    return (run.steps, run.record.kept), digest.digest()

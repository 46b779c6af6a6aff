"""States of a run that are kept: snapshots of its line, and the lines that it has left, for undo and for drawing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fluxmagic.capture.report import Report
from fluxmagic.runs.record import Record
from fluxmagic.runs.state import Snapshot, Values

__all__ = ["Abandoned", "Line", "SnapshotStore", "Stretch"]


@dataclass(frozen=True)
class Line:
    """A line of a run: its record, and the state at its end.  It refers to no part of the run, and fits a copy."""

    record: Record
    start: Snapshot | None  # before its first step; None in a sweep, which keeps it once for a seed
    now: Snapshot  # after its last one
    shown: Values | None  # the best epoch's, if they are shown in place of the last step's
    best: tuple[int, Values] | None  # the best epoch's so far, and after which step
    state: str  # "paused", "done", …
    environment: dict[str, Any]  # where the steps were computed
    captured: Report | None = None  # how they were taken

    @property
    def nbytes(self) -> int:
        """Bytes of the values and optimisers at its end."""
        others = [*([self.shown] if self.shown else []), *([self.best[1]] if self.best else [])]
        return self.now.nbytes + sum(values.nbytes for values in others)


@dataclass(frozen=True)
class Stretch:
    """Steps that a run has left, for drawing."""

    start: int  # the step after which the lines part
    loss: np.ndarray  # of the steps start + 1, start + 2, …
    path: np.ndarray | None = None  # of shape (len(loss) + 1, 2): the two numbers that are trained, from `start` on

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.loss.nbytes + (0 if self.path is None else self.path.nbytes)


class Abandoned:
    """The last line left, with its state, and the losses of earlier ones, which may take `budget` bytes."""

    most = 8

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.last: tuple[Line, int] | None = None  # what undo comes back to, and the step where the present line parts
        self._older: list[Stretch] = []

    @property
    def stretches(self) -> list[Stretch]:
        """What can be drawn, oldest first."""
        found = self._older if self.last is None else [*self._older, _stretch(*self.last)]
        found = [s for s in found if len(s.loss)][-self.most :]
        while sum(s.nbytes for s in found) > self.budget:
            del found[0]
        return found

    def leave(self, line: Line, step: int) -> None:
        """Keep a line that was left after a step."""
        self._older = self.stretches
        self.last = line, step


def _stretch(line: Line, step: int) -> Stretch:
    record = line.record
    path = None if record.path is None else np.reshape(record.path[2 * step :], (-1, 2))
    return Stretch(step, np.array(record.loss[step:], np.float64), path)


class SnapshotStore:
    """Keep the start always, and of the other snapshots as many as fit: the stride doubles when there are too many."""

    max_count = 32

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.start: Snapshot | None = None
        self.stride = 8  # steps: a snapshot of a small model takes a third of its step's time
        self.others: list[Snapshot] = []

    def add(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, and thin the others out."""
        if snapshot.step == 0:
            self.start = snapshot
            return
        self.others.append(snapshot)
        size = snapshot.nbytes
        while self.others and (len(self.others) > self.max_count or len(self.others) * size > self.budget):
            self.stride *= 2
            self.others = [s for s in self.others if s.step % self.stride == 0]

    def latest_at(self, step: int) -> Snapshot:
        """Give the latest snapshot that is not after this step."""
        return max((s for s in self if s.step <= step), key=lambda s: s.step)

    def drop_after(self, step: int) -> None:
        """Drop the snapshots after a step."""
        self.others = [s for s in self.others if s.step <= step]

    def __iter__(self) -> Iterator[Snapshot]:
        if self.start is not None:
            yield self.start
        yield from self.others

    def copy(self) -> SnapshotStore:
        """Give another store with the same snapshots, which nothing writes to."""
        new = copy.copy(self)
        new.others = list(self.others)
        return new

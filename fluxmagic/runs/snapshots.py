"""Snapshots of a run at growing distances, within a budget of memory."""

from __future__ import annotations

from collections.abc import Iterator

from fluxmagic.runs.state import Snapshot

__all__ = ["SnapshotStore"]


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
        new = SnapshotStore(self.budget)
        new.start, new.stride, new.others = self.start, self.stride, list(self.others)
        return new

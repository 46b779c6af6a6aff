"""Lines that a run has left: the last one, which undo returns to, and the losses of earlier ones, for drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fluxmagic.runs.record import Record
from fluxmagic.runs.state import Snapshot, Values

__all__ = ["Abandoned", "Line", "Stretch"]


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

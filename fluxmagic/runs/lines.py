"""Lines that a run has left: the last one, which undo returns to, and the losses of earlier ones, for drawing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fluxmagic.runs.record import Record
from fluxmagic.runs.state import Snapshot, Values

__all__ = ["Abandoned", "Line", "Stretch"]


@dataclass(frozen=True)
class Line:
    """A line of a run: its record, and the state at its end.

    Attributes
    ----------
    record : Record
    start, now : Snapshot
        The state before its first step, and after its last one.
    shown : Values, optional
        The best epoch's, if they are shown in place of the last step's.
    best : (step, Values), optional
        The best epoch's so far.
    state : str
        "paused", "done", …
    """

    record: Record
    start: Snapshot
    now: Snapshot
    shown: Values | None
    best: tuple[int, Values] | None
    state: str


@dataclass(frozen=True)
class Stretch:
    """Steps that a run has left, for drawing.

    Attributes
    ----------
    start : int
        The step after which the lines part.
    loss : ndarray
        Of the steps start + 1, start + 2, …
    path : ndarray of shape (len(loss) + 1, 2), optional
        Where two numbers are trained, these from `start` on.
    """

    start: int
    loss: np.ndarray
    path: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.loss.nbytes + (0 if self.path is None else self.path.nbytes)


class Abandoned:
    """The last line left, with its state, and the losses of earlier ones.

    Parameters
    ----------
    budget : int
        Bytes that the losses may take.
    """

    most = 8

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.last: tuple[Line, int] | None = None  # what undo comes back to, and the step where the present line parts
        self._older: list[Stretch] = []

    @property
    def stretches(self) -> list[Stretch]:
        """What can be drawn, oldest first."""
        return self._within(self._older if self.last is None else [*self._older, _stretch(*self.last)])

    def leave(self, line: Line, step: int) -> None:
        """Keep a line that was left after a step."""
        self._older = self.stretches
        self.last = line, step

    def _within(self, stretches: list[Stretch]) -> list[Stretch]:
        stretches = [s for s in stretches if len(s.loss)][-self.most :]
        while sum(s.nbytes for s in stretches) > self.budget:
            del stretches[0]
        return stretches


def _stretch(line: Line, step: int) -> Stretch:
    record = line.record
    path = None if record.path is None else np.reshape(record.path[2 * step :], (-1, 2))
    return Stretch(step, np.array(record.loss[step:], np.float64), path)

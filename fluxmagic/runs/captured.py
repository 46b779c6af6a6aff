"""Captured steps of a run: replayed where they can be, and a snapshot to return to where a replayed one was wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from fluxmagic.capture.report import Report
from fluxmagic.optimise.inputs import Loss
from fluxmagic.optimise.interrupts import InterruptGuard
from fluxmagic.optimise.step import train_step
from fluxmagic.runs.record import Record
from fluxmagic.runs.state import Snapshot, TrainingState

if TYPE_CHECKING:
    from fluxmagic.capture.loss_program import Replay
    from fluxmagic.capture.step import CapturedStep

__all__ = ["CapturedSteps"]


class CapturedSteps:
    """Take the steps of a loss."""

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.verified: Snapshot | None = None
        self.earlier: Report | None = None  # of steps that were taken elsewhere
        self._step: CapturedStep | None = None
        self._again = False
        self._n_verified = 0
        self._place: tuple[Record, int] | None = None  # of the run, where the captured steps have left it

    @property
    def report(self) -> Report | None:
        """How the steps were taken; None if all are ordinary."""
        return self.earlier if self._step is None else self._step.report.after(self.earlier)

    @property
    def replay(self) -> Replay | None:
        """What replays a step of the kind of the last one; None where steps are ordinary ones."""
        return None if self._step is None or self._again else self._step.replay

    def begin(
        self, loss: Loss, state: TrainingState, record: Record, *, last: int | None = None, again: bool = False
    ) -> Callable[..., float]:
        """Return what takes a step, with the arguments of `train_step` behind the loss.

        One that is computed again is ordinary; the last step of the run, where it is known, is taken both ways.
        """
        self._again = again
        if not self.wanted or again:
            return partial(train_step, loss)
        if self._step is None or self._step.loss is not loss:
            from fluxmagic.capture.step import CapturedStep  # loaded by the first run that captures

            self._step = CapturedStep(loss, state.optimisers.opts, raises=True)
            self._n_verified, self._place = 0, None
        place = record, state.step - self._step.report.steps
        if self._place != place:  # the run was elsewhere
            self._place, self.verified = place, None
            self._step.schedule.verify_next()
        self._step.begin(state.optimisers.opts, state.step, last)
        return self._step.take

    def end_step(self, state: TrainingState) -> None:
        """Keep a snapshot of a step that was verified."""
        if self._step is not None and self._step.report.verified != self._n_verified:
            self._n_verified = self._step.report.verified
            self.verified = state.capture()

    def differ(self, state: TrainingState, guard: InterruptGuard) -> bool:
        """Tell whether the steps since the last verified one are wrong now: one more is tried both ways."""
        return self._step is not None and self._step.differs(state.cursor.last, guard)

"""Captured steps of a run: replayed where they can be, and a snapshot to return to where a replayed one was wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fluxmagic.capture.report import Report
from fluxmagic.optimise.inputs import Batch, Loss
from fluxmagic.optimise.step import train_step
from fluxmagic.runs.record import Record
from fluxmagic.runs.state import Snapshot, TrainingState

if TYPE_CHECKING:
    from fluxmagic.capture.step import CapturedStep

__all__ = ["CapturedSteps"]


class CapturedSteps:
    """Take the steps of a loss."""

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted  # steps are to be replayed; otherwise all are ordinary ones
        self.verified: Snapshot | None = None  # after the last step that was verified, on the present line of the run
        self._step: CapturedStep | None = None
        self._replays = False
        self._last: int | None = None
        self._n_verified = 0
        self._place: tuple[Record, int] | None = None  # where the last step has left the run

    @property
    def report(self) -> Report | None:
        """How the steps were taken; None if all are ordinary."""
        return None if self._step is None else self._step.report

    def begin(
        self, state: TrainingState, record: Record, *, last: int | None = None, again: bool = False
    ) -> Callable[..., float]:
        """Return what takes a step, with the arguments of `train_step`.

        One that is computed again is ordinary; the last step of the run, where it is known, is taken both ways.
        """
        self._replays, self._last = self.wanted and not again, last
        if not self._replays:
            return train_step
        if self._step is not None and (self._place is None or self._place != (record, state.step)):
            self._step.verify_next()  # the run was elsewhere
            self.verified = None
        return self._take

    def _take(self, loss: Loss, d: Batch, opts: list[Any], step: int, *others: Any) -> float:  # noqa: ANN401
        if self._step is None or self._step.loss is not loss:
            from fluxmagic.capture.step import CapturedStep  # loaded by the first run that captures

            self._step = CapturedStep(loss, opts, raises=True)
            self._n_verified, self.verified = 0, None
        if step == self._last:
            self._step.verify_next()
        return self._step.take(d, opts, step, *others)

    def end_step(self, state: TrainingState, record: Record) -> None:
        """Keep a snapshot of a step that was verified."""
        step = self._step
        if not self._replays or step is None:
            return
        self._place = record, state.step
        if step.report.verified != self._n_verified:
            self._n_verified = step.report.verified
            self.verified = state.capture()

"""Going back: snapshots of a run taken and restored, and steps computed again as the record says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from fluxmagic.optimise.errors import NotFinite
from fluxmagic.runs.cursor import END
from fluxmagic.runs.environment import NUMERICS
from fluxmagic.runs.lines import Line
from fluxmagic.runs.optimisers import optimiser_class
from fluxmagic.runs.record import Event, Record
from fluxmagic.runs.state import Snapshot, Values

if TYPE_CHECKING:
    from fluxmagic.runs.run import Run

__all__ = ["NotRepeated", "again", "kept_after", "take_up", "unless_it_fails"]

TOLERANCE = 1e-4
"""By how much, relatively, a loss may differ that a version with other numerics has computed."""


class NotRepeated(RuntimeError):
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
            "outside the run (random numbers of one's own, weights or data changed by hand)"
        )


def line(run: Run) -> Line:
    """The record of a run and where it stands."""
    shown = None if run.training.last is None else run.training.current[0]
    return Line(run.record, run.training.capture(), shown, run._best, run.state)


def take_up(run: Run, line: Line) -> None:
    """Be where a run stood; its state's name is not changed."""
    run.record = line.record
    run.training.restore(line.now)
    run._best, run._behind = line.best, None
    run.training.show(line.shown)


def again(run: Run, s: Snapshot, record: Record, until: int) -> None:
    """From a snapshot, compute again what the record says, and compare."""
    run.training.restore(s)
    run.record = record.copy(s.step, epoch_over=s.position < 0)
    for step in range(s.step, until):
        redo(run, record, step)
        try:
            run._stretch(1, old=record)
        except NotFinite:
            if step + 1 not in record.rejected:
                raise NotRepeated(step + 1, _losses(record.loss[step], run.last_loss)) from None
        else:
            if step + 1 in record.rejected:
                raise NotRepeated(step + 1, "it was not finite, and now is")
        old, new = record.loss[step], run.last_loss
        if not _same(old, new, run):
            raise NotRepeated(step + 1, _losses(old, new))
        run.record.seconds[step] = record.seconds[step]
    if len(run.record.epochs) < sum(start <= until for start in record.epochs):
        # the data does not say how many batches it has: that the epoch was over showed when another was asked for
        if run.training.cursor.next(run._guard) is not END:
            raise NotRepeated(until + 1, "the data had come to its end, and now has another batch")
        run._end_epoch(record)


def make(run: Run, event: Event) -> None:
    """Make a turn or a swap."""
    if event.name == "opt":
        run._swap(event.cls or optimiser_class(event.new))
    else:
        run._turn({event.name: event.new})


def redo(run: Run, record: Record, step: int) -> None:
    """Do what was done between two steps: turns, swaps, best weights put back."""
    for event in record.events:
        if event.step == step:
            make(run, event)
    for after, best in record.restored_weights:
        if after == step:
            run._put_back(best, record)


def _same(old: float, new: float, run: Run) -> bool:
    if old == new or (math.isnan(old) and math.isnan(new)):
        return True
    return other_numerics(run) and math.isclose(old, new, rel_tol=TOLERANCE)


def other_numerics(run: Run) -> bool:
    """Say whether the run was made by a version whose steps have other bits."""
    return run._environment.get("numerics", NUMERICS) != NUMERICS  # type: ignore[no-any-return]


def kept_after(run: Run, step: int, record: Record) -> Values:
    """Weights and statistics as they were after a step.  The run stays where it is."""
    here, mine, seconds = run.training.capture(), run.record, run._seconds
    try:
        again(run, run.snapshots.latest_at(step), record, step)
        return run.training.values()
    finally:
        run.record, run._seconds = mine, seconds
        run.training.restore(here)


@contextmanager
def unless_it_fails(run: Run, what: str, check: Callable[[], None] = lambda: None) -> Iterator[Line]:
    """Around what goes back, between two batches: if it fails, all is as before.  Gives what was before.

    `check` may refuse it, while nothing has been touched and nobody else is at work.
    """
    with run._between():
        if run.snapshots.start is None:
            raise ValueError(f"the run has not taken a step yet: there is nothing to {what}")
        if not run.training.cursor.repeatable:
            raise ValueError(
                f"the data is a generator, which can be gone through once: nothing to {what}. Pass a list, "
                "batches(...), or a function that makes the generator"
            )
        if run._busy:
            raise RuntimeError(f"the loss and the metrics of a run cannot {what} that run: a batch is being worked on")
        check()
        with run._working():
            before, asked, log = line(run), run._asked, run.log
            run.log = None
            try:
                yield before
            except BaseException:
                take_up(run, before)
                raise
            finally:
                run._seconds, run._asked, run.log = run.seconds, asked, log


def same_bits(run: Run, before: Snapshot) -> None:
    """Compare the weights with what they were."""
    for p, value in before.values.params:
        if p.value.tobytes() != value.tobytes():
            gap = float(np.max(np.abs(p.value - value), initial=0))
            raise NotRepeated(run.steps, f"its weights differ by up to {gap:.3g}")


def _losses(old: float, new: float) -> str:
    return f"its loss was {old!r}, and now is {new!r}"

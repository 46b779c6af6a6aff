"""Evaluate the user's code aside from training: nothing that training depends on is another one afterwards."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

import numpy as np

from fluxmagic.layers.training_mode import evaluating
from fluxmagic.optimise.interrupts import InterruptGuard
from fluxmagic.runs.cursor import END, Batch, Data, DataCursor, restore_generators
from fluxmagic.runs.record import count_rows

if TYPE_CHECKING:
    from fluxmagic.runs.run import Run

__all__ = ["aside", "first_batch", "first_batches"]


@contextmanager
def aside(run: Run) -> Iterator[None]:
    """Evaluate within it, between two batches of a run: in test mode, without prints and warnings.

    Parameters, running statistics and generators are put back at the end.
    """
    state = run.training
    if run.snapshots.start is None:
        state.find_parts(run.problem.roots)
    with run.control, state.using_rng:
        # values are written past `Param.data`: a graph that is held stays good, since they come back
        params = [(p.value, p.value.copy()) for p in run.params]
        before = state.model_state()
        try:
            dropped = io.StringIO()
            with (
                evaluating(),
                np.errstate(all="ignore"),
                redirect_stdout(dropped),
                redirect_stderr(dropped),
                warnings.catch_warnings(action="ignore"),
            ):
                yield
        finally:
            for value, kept in params:
                value[...] = kept
            state.assign_buffers(before.values.buffers)
            restore_generators(state.generators, before.generators)


def first_batch(run: Run) -> Batch:
    """Give the first batch of the first epoch, also before it was drawn; () where the loss takes none.

    Call it within `aside`.  Of data that can be gone through once it is the latest batch; None before the first.
    """
    return first_batches(run, 1)[0]


def first_batches(run: Run, rows: int) -> list[Batch]:
    """Give the first batches of the first epoch that together have the rows asked for; see `first_batch`."""
    if run.data is None:
        return [()]
    cursor = run.training.cursor
    if not cursor.repeatable or _gives_one_iterator(run.data):
        return [cursor.last]
    if run.snapshots.start is not None:
        restore_generators(run.training.generators, run.snapshots.start.generators)
    again = DataCursor(run.data)
    found = [again.next(InterruptGuard())]
    while sum(map(count_rows, found)) < rows and (d := again.next(InterruptGuard())) is not END:
        found.append(d)
    return found


def _gives_one_iterator(data: Data) -> bool:
    """Tell whether a function gives the same iterator each time: what is taken of it is gone."""
    if not callable(data):
        return False
    first, second = (getattr(source, "source", source) for source in (data(), data()))  # a cell wraps what it is given
    return first is second and isinstance(first, Iterator)

"""A cursor over the batches of a run: it goes through data epoch by epoch, and comes back to a position.

It draws the order of the data from generators, whose states it notes at the start of each epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from typing import Any

import numpy as np

from fluxmagic.optimise.interrupts import InterruptGuard

__all__ = ["END", "Batch", "Data", "DataCursor", "GeneratorStates", "generator_states", "restore_generators"]

END = object()
"""What follows the last batch of an epoch."""

Batch = Any
"""The arguments of a loss, as a tuple or a list, or its one argument."""
Data = Any
"""What gives batches: an iterable, a sequence, a function without arguments, or None."""
GeneratorStates = list[dict[str, Any]]


def generator_states(generators: Iterable[np.random.Generator]) -> GeneratorStates:
    """Give the present states of generators."""
    return [dict(g.bit_generator.state) for g in generators]


def restore_generators(generators: Iterable[np.random.Generator], states: GeneratorStates) -> None:
    """Set generators to noted states."""
    for g, state in zip(generators, states, strict=True):
        g.bit_generator.state = state


class DataCursor:
    """Give batches in order.

    Data is iterated afresh every epoch; a function is called first.  None gives empty batches without end.
    """

    def __init__(self, data: Data) -> None:
        by_index = hasattr(data, "__getitem__") and hasattr(data, "__len__")
        if data is not None and not callable(data) and not isinstance(data, Iterable) and not by_index:
            raise TypeError(f"data gives batches when iterated over, and a {type(data).__name__} does not")
        self.data = data
        self.generators: list[np.random.Generator] = []  # the order of the data may be drawn from them
        self.position = 0  # batches of this epoch that the run has finished
        self.length: int | None = None  # batches in an epoch, where the data has a `len`
        self.last: Batch = None  # the latest batch
        self._epoch_start: GeneratorStates = []
        self._batches: Iterator[Any] | None = None
        self._raised = False

    @property
    def repeatable(self) -> bool:
        """Whether the data can be iterated a second time."""
        return not isinstance(self.data, Iterator)

    def tell(self) -> tuple[int, GeneratorStates]:
        """Give what `seek` takes: the position, -1 before an epoch; the generators at the epoch's start."""
        return (-1 if self._batches is None else self.position), self._epoch_start

    def next(self, guard: InterruptGuard) -> Batch:
        """Give the next batch, or `END`.  The caller adds 1 to `position` when it has finished the batch."""
        batches = self._batches
        if batches is None or self._raised:
            batches = self._begin_epoch()
        guard.shielded = False  # the data is the user's
        try:
            d = next(batches, END)
        except BaseException:
            self._raised = True
            raise
        finally:
            guard.shielded = True
        if d is END:
            return END
        if self.position == self.length:
            self.push_back(d)
            raise ValueError(
                f"the data says that it has {self.length} batches (its len), and gives more: an epoch would leave "
                "them out. Make its len right, or pass a function that returns iter(data)"
            )
        self.last = d
        return d

    def _begin_epoch(self) -> Iterator[Any]:
        """Begin an epoch.  After an error of the data begin it again: a generator that raised only ends."""
        now = generator_states(self.generators)
        if self._batches is None:
            batches = self._open()
            self._epoch_start = now
            return batches
        if self.repeatable:
            self.seek(self.position, self._epoch_start)
            restore_generators(self.generators, now)
        self._raised = False
        return self._batches

    def push_back(self, d: Batch) -> None:
        """Give this batch again at the next call of `next`."""
        self._batches = chain((d,), self._batches or ())

    def end_epoch(self) -> None:
        """Let the next batch begin a new epoch."""
        self._batches, self._raised, self.position = None, False, 0

    def seek(self, position: int, epoch_start: GeneratorStates) -> None:
        """Go to a position that `tell` gave; ValueError if the data ends before it."""
        self.end_epoch()
        self._epoch_start = epoch_start
        if position < 0:
            return
        restore_generators(self.generators, epoch_start)
        batches = self._open()
        for _ in range(position if self.data is not None else 0):
            d = next(batches, END)
            if d is END:
                raise ValueError(f"the data has come to an end before batch {position}, which the run has been at")
            self.last = d
        self.position = position

    def _open(self) -> Iterator[Any]:
        source: Any = repeat(()) if self.data is None else self.data() if callable(self.data) else self.data
        self.length = len(source) if hasattr(source, "__len__") else None
        has_end = self.length is None or hasattr(source, "__iter__")
        # data with items and a len need not raise IndexError at its end
        batches = iter(source) if has_end else (source[i] for i in range(self.length or 0))
        self._batches, self.position = batches, 0
        return batches

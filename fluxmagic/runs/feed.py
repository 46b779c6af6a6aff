"""Going through data, epoch by epoch, and coming back to a place in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

import numpy as np

from fluxmagic.optimise.interrupts import InterruptGuard
from fluxmagic.runs.snapshot import GeneratorStates, generator_states, restore_generators

__all__ = ["END", "Feed"]

END = object()
"""What comes after an epoch's last batch."""


class Feed:
    """Hands out batches.

    Parameters
    ----------
    data : iterable, or function without arguments, or None
        Gone through afresh every epoch; a function is called to make it.  None gives empty batches without end.

    Attributes
    ----------
    last : object
        The last batch that was handed out, or gone past; None before the first.
    generators : list of Generator
        What the order of the data may be drawn from.
    place : int
        Batches of this epoch that were worked on.
    length : int or None
        How many an epoch has, where the data says so.
    """

    def __init__(self, data: Any) -> None:
        if data is not None and not callable(data) and not _iterable(data):
            raise TypeError(f"data gives batches when iterated over, and a {type(data).__name__} does not")
        self.data = data
        self.generators: list[np.random.Generator] = []
        self.place = 0
        self.length: int | None = None
        self.last: Any = None
        self._epoch_start: GeneratorStates = []
        self._batches: Iterator[Any] | None = None
        self._kept: tuple[Any] | None = None
        self._broken = False

    @property
    def repeatable(self) -> bool:
        """Whether it can be gone through a second time."""
        return not isinstance(self.data, Iterator)

    @property
    def position(self) -> tuple[int, GeneratorStates]:
        """The place, -1 where the epoch has not begun; and the generators when it began."""
        return (-1 if self._batches is None else self.place), self._epoch_start

    def next(self, guard: InterruptGuard) -> Any:
        """The next batch, or `END`.  Whoever has worked on it adds one to `place`."""
        if self._kept is not None:
            (d,), self._kept = self._kept, None
        else:
            if self._batches is None or self._broken:
                self._begin()
            self._broken = True
            guard.shielded = False  # the data is the user's
            try:
                d = next(self._batches, END)  # type: ignore[arg-type]
            finally:
                guard.shielded = True
            self._broken = False
        if d is END:
            return END
        if self.place == self.length:
            self.keep(d)
            raise ValueError(
                f"the data says that it has {self.length} batches (its len), and gives more: an epoch would leave "
                "them out. Make its len right, or pass a function that returns iter(data)"
            )
        self.last = d
        return d

    def _begin(self) -> None:
        """Begin an epoch; or once more, where the data has raised: a generator would only say that it has ended."""
        now = generator_states(self.generators)
        if self._batches is None:
            self._open()
            self._epoch_start = now
        elif self.repeatable:
            self.go_to(self.place, self._epoch_start)
            restore_generators(now)

    def keep(self, d: Any) -> None:
        """A batch was not worked on after all: it comes again."""
        self._kept = (d,)

    def close(self) -> None:
        """The epoch is over."""
        self._batches, self._kept, self._broken, self.place = None, None, False, 0

    def go_to(self, place: int, epoch_start: GeneratorStates) -> None:
        """Begin an epoch anew, and go on to a place in it; -1 is before its beginning.

        Raises
        ------
        ValueError
            If the data ends before that place.
        """
        self.close()
        self._epoch_start = epoch_start
        if place < 0:
            return
        restore_generators(epoch_start)
        self._open()
        assert self._batches is not None
        for _ in range(place if self.data is not None else 0):
            d = next(self._batches, END)
            if d is END:
                raise ValueError(f"the data has come to an end before batch {place}, which the run has been at")
            self.last = d
        self.place = place

    def _open(self) -> None:
        source: Any = repeat(()) if self.data is None else self.data() if callable(self.data) else self.data
        self.length = len(source) if hasattr(source, "__len__") else None
        # what has items and a len, and no __iter__, need not end by itself
        by_item = self.length is not None and not hasattr(source, "__iter__")
        self._batches = (source[i] for i in range(len(source))) if by_item else iter(source)
        self.place = 0


def _iterable(data: Any) -> bool:
    return isinstance(data, Iterable) or (hasattr(data, "__getitem__") and hasattr(data, "__len__"))

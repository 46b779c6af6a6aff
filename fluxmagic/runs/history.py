"""What a run was: losses by step, validation by epoch, and every turn of a dial."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from fluxmagic.optimise.optimiser import OPTIMISERS

__all__ = ["Event", "History"]


class Event(NamedTuple):
    """A change that was made after so many steps: a dial turned, or, under the name "opt", an optimiser swapped in."""

    step: int
    name: str
    old: Any
    new: Any


class Record:
    """The growing record behind a history.  Appending costs a few list appends."""

    def __init__(self, opt: str, values: dict[str, Any]) -> None:
        self.opt = opt
        self.values = values
        self.loss = array("d")
        self.seconds = array("d")
        self.refused: list[int] = []  # steps whose loss or gradient was not finite: no update
        self.epochs: list[int] = [0]  # how many steps were done when each epoch began
        self.checks: list[tuple[int, dict[str, float]]] = []  # after how many steps: validation and metrics
        self.events: list[Event] = []

    def copy(self, step: int, *, here: bool = False) -> Record:
        """What was there after so many steps; with `here` also the turns made at that very moment."""
        new = Record(self.opt, self.values)
        new.loss, new.seconds = self.loss[:step], self.seconds[:step]
        new.refused = [s for s in self.refused if s <= step]
        new.epochs = [e for e in self.epochs if e <= step]
        new.checks = [c for c in self.checks if c[0] <= step]
        new.events = [e for e in self.events if e.step < step + here]
        return new


class History(Mapping[str, np.ndarray]):
    """A run's history: a read-only mapping of arrays, one row for each step.

    Keys are `step` (from 1), `epoch` (from 1), `seconds` (of training, at the step's end), `loss`, `valid`
    and each metric (NaN but at the end of an epoch), and each hyper-parameter that was in force for the
    step, NaN where the optimiser has no such dial.
    """

    def __init__(self, record: Record) -> None:
        self._record = record

    def __getitem__(self, key: str) -> np.ndarray:
        r = self._record
        n = len(r.loss)
        if key == "step":
            return np.arange(1, n + 1)
        if key in ("loss", "seconds"):
            return np.array(getattr(r, key), np.float64)[:n]
        if key == "epoch":
            return np.searchsorted(np.array(r.epochs), np.arange(n), side="right")
        if key in self._checked():
            column = np.full(n, np.nan)
            for step, values in r.checks:
                if 0 < step <= n:
                    column[step - 1] = values.get(key, np.nan)
            return column
        return self._in_force(key, n)

    def _checked(self) -> dict[str, None]:
        return dict.fromkeys(k for _, values in self._record.checks for k in values)

    def _in_force(self, key: str, n: int) -> np.ndarray:
        column = np.full(n, np.nan)
        known = False
        for start, end, values, updates in self._stretches(n):
            value = values.get(key)
            if value is None:
                continue
            known = True
            if callable(value):
                column[start:end] = [value(updates + i) for i in range(end - start)]
            else:
                column[start:end] = value
        if not known:
            raise KeyError(key)
        return column

    def _stretches(self, n: int) -> Iterator[tuple[int, int, dict[str, Any], int]]:
        """Rows start … end between two events, the values in force there, and the updates the optimiser had done."""
        r = self._record
        opt, start = r.opt, 0
        shelf = {opt: dict(r.values)}
        updates = {opt: 0}
        refused = np.array(r.refused, int)
        for event in r.events:
            end = min(event.step, n)
            if end > start:
                yield start, end, shelf[opt], updates[opt]
                updates[opt] += end - start - int(((refused > start) & (refused <= end)).sum())
                start = end
            if event.name == "opt":
                opt = event.new
                if opt not in shelf:
                    cls = OPTIMISERS.get(opt)
                    shelf[opt] = {k: h.default for k, h in cls.hypers.items()} if cls else {}
                    updates[opt] = 0
            else:
                shelf[opt][event.name] = event.new
        # also where there is no row yet, so that the dials are known
        yield start, max(n, start), shelf[opt], updates[opt]

    def __iter__(self) -> Iterator[str]:
        yield from ("step", "epoch", "seconds", "loss")
        yield from self._checked()
        n = len(self._record.loss)
        yield from dict.fromkeys(k for _, _, values, _ in self._stretches(n) for k in values)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"History({len(self._record.loss)} steps: {', '.join(self)})"

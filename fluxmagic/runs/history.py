"""What a run was: losses by step, validation by epoch, and every turn of a dial."""

from __future__ import annotations

import math
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

    def __init__(self, opt: str, values: dict[str, Any], updates: int = 0) -> None:
        self.opt = opt
        self.values = values
        self.updates = updates  # that the optimiser had done before
        self.loss = array("d")
        self.seconds = array("d")
        self.refused: list[int] = []  # steps whose loss or gradient was not finite: no update
        self.epochs: list[int] = [0]  # how many steps were done when each epoch began
        self.checks: list[tuple[int, dict[str, float]]] = []  # after how many steps: validation and metrics
        self.events: list[Event] = []
        self.put_back: list[tuple[int, int]] = []  # after how many steps the weights of which step were put back

    def copy(self, step: int, *, here: bool = False, epoch_over: bool = True) -> Record:
        """What was there after so many steps.

        With `here` also the turns made at that very moment; without `epoch_over` not the end of an epoch, as
        where it showed only later that this was the epoch's last step.
        """
        new = Record(self.opt, self.values, self.updates)
        new.loss, new.seconds = self.loss[:step], self.seconds[:step]
        new.refused = [s for s in self.refused if s <= step]
        new.epochs = [0, *(e for e in self.epochs[1:] if e < step + epoch_over)]
        new.checks = [c for c in self.checks if c[0] < step + epoch_over]
        new.events = [e for e in self.events if e.step < step + here]
        new.put_back = [b for b in self.put_back if b[0] < step + here]
        return new

    def judged(self) -> tuple[float, int] | None:
        """The smallest validation loss at the end of an epoch, without one mean loss, and after how many steps."""
        checks = dict(self.checks)
        losses = []
        for start, end in zip(self.epochs, self.epochs[1:], strict=False):
            loss = checks.get(end, {}).get("valid", float(np.mean(self.loss[start:end])))
            if not math.isnan(loss):
                losses.append((loss, end))
        return min(losses, default=None)


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
        n = len(r.seconds)  # which grow last
        if key == "step":
            return np.arange(1, n + 1)
        if key in ("loss", "seconds"):
            # a slice first: an array that NumPy is looking at cannot grow meanwhile
            return np.array(getattr(r, key)[:n], np.float64)
        if key == "epoch":
            return np.searchsorted(np.array(r.epochs), np.arange(n), side="right")
        if key in self._checked():
            column = np.full(n, np.nan)
            for step, values in list(r.checks):
                if 0 < step <= n:
                    column[step - 1] = values.get(key, np.nan)
            return column
        return self._in_force(key, n)

    def _checked(self) -> dict[str, None]:
        found = (k for _, values in list(self._record.checks) for k in values)
        return dict.fromkeys(("valid", *found))

    def _in_force(self, key: str, n: int) -> np.ndarray:
        column = np.full(n, np.nan)
        known = False
        for start, end, values, updates in self._stretches(n):
            value = values.get(key)
            if value is None:
                continue
            known = True
            if callable(value):
                column[start:end] = [value(n) for n in updates.tolist()]
            else:
                column[start:end] = value
        if not known:
            raise KeyError(key)
        return column

    def _stretches(self, n: int) -> Iterator[tuple[int, int, dict[str, Any], np.ndarray]]:
        """Rows start … end between two events, the values in force there, and the updates done before each row."""
        r = self._record
        opt, start = r.opt, 0
        shelf = {opt: dict(r.values)}
        done = {opt: r.updates}
        updated = np.ones(n, int)
        updated[[s - 1 for s in r.refused if s <= n]] = 0
        before = np.concatenate([[0], np.cumsum(updated)])

        def updates(start: int, end: int) -> np.ndarray:
            return done[opt] + before[start:end] - before[start]  # type: ignore[no-any-return]

        for event in list(r.events):
            end = min(event.step, n)
            if end > start:
                yield start, end, shelf[opt], updates(start, end)
                done[opt] += int(before[end] - before[start])
                start = end
            if event.name == "opt":
                opt = event.new
                if opt not in shelf:
                    cls = OPTIMISERS.get(opt)
                    shelf[opt] = {k: h.default for k, h in cls.hypers.items()} if cls else {}
                    done[opt] = 0
            else:
                shelf[opt][event.name] = event.new
        # also where there is no row yet, so that the dials are known
        yield start, max(n, start), shelf[opt], updates(start, n)

    def __iter__(self) -> Iterator[str]:
        yield from ("step", "epoch", "seconds", "loss")
        yield from self._checked()
        n = len(self._record.seconds)
        yield from dict.fromkeys(k for _, _, values, _ in self._stretches(n) for k in values)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"History({len(self._record.loss)} steps: {', '.join(self)})"

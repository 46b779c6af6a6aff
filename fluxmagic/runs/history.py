"""The record of a run as a read-only mapping of columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fluxmagic.optimise.optimiser import OPTIMISERS
from fluxmagic.runs.record import Event, Record

__all__ = ["Event", "History", "Record"]


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
        if key == "epoch" and r.stepwise:
            return np.arange(1, n + 1)
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
                if opt not in shelf or event.old == event.new:  # or its class was defined again
                    cls = event.cls or OPTIMISERS.get(opt)
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

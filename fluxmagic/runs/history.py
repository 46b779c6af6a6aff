"""The record of a run as a read-only mapping of columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import repeat
from typing import Any, BinaryIO

import numpy as np

from fluxmagic.optimise.optimiser import OPTIMISERS
from fluxmagic.runs import archive
from fluxmagic.runs.archive import AnyPath
from fluxmagic.runs.columns import Columns
from fluxmagic.runs.record import Event, Record, Setting

__all__ = ["Event", "History", "Record"]

CHUNK = 10_000  # rows that are in memory at a time as a file is written


class History(Columns):
    """A run's history: a read-only dictionary of arrays, one row for each step; `pandas.DataFrame` takes it.

    Keys are `step` (from 1), `epoch` (from 1), `seconds` (of training, at the step's end), `loss`, `valid`
    and each metric (NaN but at the end of an epoch), `opt`, the name of the optimiser, and each hyper-parameter
    of the step, NaN if the optimiser does not have it.  A column is made when it is asked for.

    Examples
    --------
    >>> from fluxmagic import Run, param
    >>> W = param(1.0)
    >>> run = Run(lambda x: (W - x) ** 2, [0.0] * 3, "SGD", η=0.25)
    >>> run.train()
    >>> run.history["loss"]
    array([1.    , 0.25  , 0.0625])
    >>> run.history["opt"]
    array(['SGD', 'SGD', 'SGD'], dtype='<U3')
    """

    title = "a run's history"

    def __init__(self, record: Record) -> None:
        self._record = record
        self._length = len(record.seconds)  # which grow last; columns have one length while the run trains

    def __getitem__(self, key: str) -> np.ndarray:
        r = self._record
        n = self._length
        if key == "step":
            return np.arange(1, n + 1)
        if key in ("loss", "seconds"):
            # a slice first: an array that NumPy is looking at cannot grow meanwhile
            return np.array(getattr(r, key)[:n], np.float64)
        if key == "epoch" and r.stepwise:
            return np.arange(1, n + 1)
        if key == "epoch":
            return np.searchsorted(np.array(r.epochs), np.arange(n), side="right")
        if key == "opt":
            stretches = [(end - start, opt) for start, end, opt, _, _ in self._stretches(n)]
            return np.repeat([opt for _, opt in stretches], [rows for rows, _ in stretches])
        if key in self._checked():
            column = np.full(n, np.nan)
            for step, values in list(r.evaluations):
                if 0 < step <= n:
                    column[step - 1] = values.get(key, np.nan)
            return column
        return self._in_force(key, n)

    def _checked(self) -> dict[str, None]:
        found = (k for _, values in list(self._record.evaluations) for k in values)
        return dict.fromkeys(("valid", *found))

    def _in_force(self, key: str, n: int) -> np.ndarray:
        column = np.full(n, np.nan)
        known = False
        for start, end, _, values, updates in self._stretches(n):
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

    def _stretches(self, n: int) -> Iterator[tuple[int, int, str, dict[str, Any], np.ndarray]]:
        """Rows start … end between two events, optimiser and values there, and the updates done before each row."""
        r = self._record
        opt, start = r.opt, 0
        shelf = {opt: dict(r.values)}
        done = {opt: r.updates}
        updated = np.ones(n, int)
        updated[[s - 1 for s in r.rejected if s <= n]] = 0
        before = np.concatenate([[0], np.cumsum(updated)])

        def updates(start: int, end: int) -> np.ndarray:
            return done[opt] + before[start:end] - before[start]  # type: ignore[no-any-return]

        for event in list(r.events):
            end = min(event.step, n)
            if end > start:
                yield start, end, opt, shelf[opt], updates(start, end)
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
        # also without a row, so that the hyper-parameters are known
        yield start, max(n, start), opt, shelf[opt], updates(start, n)

    def __iter__(self) -> Iterator[str]:
        yield from ("step", "epoch", "seconds", "loss")
        yield from self._checked()
        n = self._length
        yield "opt"
        yield from dict.fromkeys(k for _, _, _, values, _ in self._stretches(n) for k in values)

    def __repr__(self) -> str:
        return f"History({self._length} steps: {', '.join(self)})"

    # -- a file --------------------------------------------------------------------------------------------

    def to_csv(self, path: AnyPath) -> None:
        """Write all columns to a file: UTF-8, numbers in full, nothing for NaN.

        Parameters
        ----------
        path : path
            What is there is replaced only when the new file is whole.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        archive.write_atomically(path, self._write)

    def _write(self, file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        columns = list(self)
        out = csv.writer(text, lineterminator="\n")
        out.writerow(columns)
        checked = list(self._checked())
        dials = columns[columns.index("opt") + 1 :]
        checks = dict(self._record.evaluations)
        for start, end, opt, values, updates in self._stretches(self._length):
            for a in range(start, end, CHUNK):
                b = min(a + CHUNK, end)
                settings = [_cells(values.get(k), updates[a - start : b - start]) for k in dials]
                for i, row in enumerate(self._rows(a, b), a + 1):
                    found = checks.get(i)
                    evaluated = [_cell(found.get(k)) for k in checked] if found else [""] * len(checked)
                    out.writerow([*row, *evaluated, opt, *(next(s) for s in settings)])
        text.flush()
        text.detach()

    def _rows(self, a: int, b: int) -> Iterator[tuple[Any, ...]]:
        r = self._record
        steps = np.arange(a, b)
        epochs = steps + 1 if r.stepwise else np.searchsorted(np.array(r.epochs), steps, side="right")
        return zip((steps + 1).tolist(), epochs.tolist(), r.seconds[a:b], map(_cell, r.loss[a:b]), strict=True)


def _cell(x: Setting) -> Setting:
    return "" if x is None or x != x else x


def _cells(value: Setting, updates: np.ndarray) -> Iterator[Any]:
    """Give the cells of a hyper-parameter: one number, or a schedule's values."""
    if callable(value):
        return (_cell(value(n)) for n in updates.tolist())
    return repeat(_cell(value))

"""Read-only dictionaries of columns: of the record of a run, and what others are made of."""

from __future__ import annotations

import csv
import io
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice, takewhile
from typing import Any, BinaryIO, ClassVar, NamedTuple, NoReturn

import numpy as np

from fluxmagic.optimise.optimiser import OPTIMISERS
from fluxmagic.runs import archive
from fluxmagic.runs.archive import AnyPath
from fluxmagic.runs.record import Event, Record, Setting

__all__ = ["Columns", "Event", "History", "Record"]

CHUNK = 2000  # rows that are in memory at a time as a file is written


class Columns(Mapping[str, np.ndarray], dict[str, np.ndarray]):  # type: ignore[misc,metaclass]
    """Base of dictionaries that define `__iter__` and `rows`; `title` is their name in an error."""

    title: ClassVar[str]
    length: int  # of each column

    def __getitem__(self, key: str) -> np.ndarray:
        if key not in tuple(self):
            raise KeyError(key)
        return self.rows(key, 0, self.length)

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError

    def rows(self, key: str, a: int, b: int) -> np.ndarray:
        """Make rows a … b of a column."""
        raise NotImplementedError

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def copy(self) -> dict[str, np.ndarray]:
        """Give an ordinary dictionary of all columns."""
        return {k: self[k] for k in self}

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
        out = csv.writer(text, lineterminator="\n")
        out.writerow(self)
        for a in range(0, self.length, CHUNK):
            columns = [self.rows(k, a, min(a + CHUNK, self.length)).tolist() for k in self]
            out.writerows(["" if x != x else x for x in row] for row in zip(*columns, strict=True))
        text.flush()
        text.detach()

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**self.copy(), **other}

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**other, **self.copy()}

    def __reduce__(self) -> tuple[type, tuple[dict[str, np.ndarray]]]:
        return dict, (self.copy(),)

    def _read_only(self, *args: object, **values: object) -> NoReturn:
        raise TypeError(f"{self.title} is read-only: its copy() is a dictionary to change")

    __setitem__ = __delitem__ = __ior__ = _read_only
    clear = pop = popitem = setdefault = update = _read_only


class _Stretch(NamedTuple):
    """Rows start … end between two events: optimiser and settings, and its updates less those of the whole run."""

    start: int
    end: int
    opt: str
    values: dict[str, Setting]
    offset: int


class History(Columns):
    """A run's history: a read-only dictionary of arrays, one row for each step; `pandas.DataFrame` takes it.

    Keys are `step` (from 1), `epoch` (from 1), `seconds` (of training, at the step's end), `loss`, `valid`
    and each metric (NaN but at the end of an epoch), `opt`, the name of the optimiser, and each hyper-parameter
    of the step, NaN if the optimiser does not have it.  A column is made when it is asked for.

    Examples
    --------
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
        self.length = len(record.seconds)  # which grow last; columns have one length while the run trains

    def __iter__(self) -> Iterator[str]:
        yield from ("step", "epoch", "seconds", "loss", *self._evaluated, "opt")
        yield from dict.fromkeys(k for s in self._stretches for k in s.values)

    def __repr__(self) -> str:
        return f"History({self.length} steps: {', '.join(self)})"

    def rows(self, key: str, a: int, b: int) -> np.ndarray:
        r = self._record
        if key == "step" or (key == "epoch" and r.stepwise):
            return np.arange(a + 1, b + 1)
        if key == "epoch":
            return np.searchsorted(np.array(r.epochs), np.arange(a, b), side="right")
        if key in ("loss", "seconds"):
            # a slice first: an array that NumPy is looking at cannot grow meanwhile
            return np.array(getattr(r, key)[a:b], np.float64)
        column: np.ndarray = np.full(b - a, np.nan, object if key == "opt" else float)
        if key in self._evaluated:
            first = bisect_right(r.evaluations, a, key=lambda evaluation: evaluation[0])
            for step, values in takewhile(lambda evaluation: evaluation[0] <= b, islice(r.evaluations, first, None)):
                column[step - 1 - a] = values.get(key, np.nan)
            return column
        for s in self._stretches:
            start, end, value = max(s.start, a), min(s.end, b), s.opt if key == "opt" else s.values.get(key)
            if start < end and callable(value):
                updates = s.offset + self._updates(np.arange(start, end))
                value = [value(n) for n in updates.tolist()]
            if start < end and value is not None:
                column[start - a : end - a] = value
        return column.astype(str) if key == "opt" else column

    @cached_property
    def _evaluated(self) -> dict[str, None]:
        found = (k for _, values in list(self._record.evaluations) for k in values)
        return dict.fromkeys(("valid", *found))

    def _updates(self, rows: np.ndarray) -> np.ndarray:
        """Count the steps before each row that were updates: they were not rejected."""
        return rows - np.searchsorted(np.array(self._record.rejected, int), rows, side="right")

    @cached_property
    def _stretches(self) -> list[_Stretch]:
        """List what is between two events; the last one also without a row, so that hyper-parameters are known."""
        r, n, found = self._record, self.length, []
        opt, start, settings, done = r.opt, 0, {r.opt: dict(r.values)}, {r.opt: r.updates}
        events = list(r.events)
        for end, event in zip([*(min(e.step, n) for e in events), n], [*events, None], strict=True):
            if end > start or event is None:
                before, after = self._updates(np.array([start, end])).tolist()
                found.append(_Stretch(start, end, opt, dict(settings[opt]), done[opt] - before))
                done[opt] += after - before
                start = end
            if event is None:
                break
            if event.name == "opt":
                opt = event.new
                if opt not in settings or event.old == event.new:  # or its class was defined again
                    cls = event.cls or OPTIMISERS.get(opt)
                    settings[opt] = {k: h.default for k, h in cls.hypers.items()} if cls else {}
                    done[opt] = 0
            else:
                settings[opt][event.name] = event.new
        return found

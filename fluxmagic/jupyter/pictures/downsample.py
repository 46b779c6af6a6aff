"""Long series as few points: the smallest, largest and mean value of each bin.

Reads the record of a run; draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from fluxmagic.runs import Run
from fluxmagic.runs.lines import Stretch

__all__ = ["MAX_POINTS", "MinMaxSeries", "RunSeries", "loss_series", "stretch_series"]

MAX_POINTS = 1000  # of a line that is drawn

Values = Callable[[slice], np.ndarray]


class MinMaxSeries:
    """A growing series in at most `max_bins` bins, each of which gives two points of the min-max line.

    A full bin holds `size` values, a power of 2; when there are too many bins, neighbours are merged.  Values that are
    in a full bin are not read again, so an update costs as much as there is news.  `x`, `low`, `high`, `mean` and
    `count` have of each bin the position, the smallest, largest and mean value, and the number of finite values.
    """

    def __init__(self, max_bins: int = MAX_POINTS // 2) -> None:
        self.max_bins = max_bins
        self.clear()

    def clear(self) -> None:
        """Forget all values."""
        self.n = 0
        self.size = 1
        self._start: tuple[float, float] | None = None  # the first position and value
        self._set_bins(np.empty((5, 0)))

    def update(self, n: int, values: Values, positions: Values | None = None) -> None:
        """Read what is new of n values; `values` and `positions` (default: 1, 2, …) are functions of a slice."""
        if n < self.n:
            self.clear()
        if n == self.n:
            return
        full = self.n // self.size
        while n > self.max_bins * self.size:
            full //= 2
            self._merge_pairs(full)
            self.size *= 2
        new = slice(full * self.size, n)
        v = np.asarray(values(new), np.float64)
        x = np.arange(new.start + 1.0, n + 1.0) if positions is None else positions(new)
        if new.start == 0 and self._start is None and np.isfinite(v[0]):
            self._start = float(x[0]), float(v[0])
        pad = -len(v) % self.size
        v = np.append(np.where(np.isfinite(v), v, np.nan), np.full(pad, np.nan)).reshape(-1, self.size)
        x = np.append(x, np.full(pad, x[-1])).reshape(-1, self.size)
        centre, count = (x[:, 0] + x[:, -1]) / 2, np.isfinite(v).sum(1)
        bins = np.stack([centre, np.fmin.reduce(v, 1), np.fmax.reduce(v, 1), np.nansum(v, 1), count])
        self._set_bins(np.concatenate([self._bins[:, :full], bins], 1))
        self.n = n

    def _merge_pairs(self, pairs: int) -> None:
        a, b = self._bins[:, 0 : 2 * pairs : 2], self._bins[:, 1 : 2 * pairs : 2]
        self._set_bins(np.stack([(a[0] + b[0]) / 2, np.fmin(a[1], b[1]), np.fmax(a[2], b[2]), *(a[3:] + b[3:])]))

    def _set_bins(self, bins: np.ndarray) -> None:
        self._bins = bins
        self.x, self.low, self.high, total, self.count = bins
        self.mean = np.divide(total, self.count, np.full(len(total), np.nan), where=self.count > 0)

    def line(self) -> tuple[np.ndarray, np.ndarray]:
        """Give the min-max line: at most two points a bin."""
        if self.size == 1:
            return self.x, self.mean
        return np.repeat(self.x, 2), np.stack([self.low, self.high], 1).ravel()

    def moving_average(self, β: float) -> tuple[np.ndarray, np.ndarray]:
        """Give the exponential average that keeps the share β a value, without the pull towards a first value.

        It starts at the first value, also where that is one of many in a bin.
        """
        out = np.full(len(self.x), np.nan)
        s = weight = 0.0
        for i, (keep, mean) in enumerate(zip((β**self.count).tolist(), self.mean.tolist())):
            if mean == mean:
                s = keep * s + (1 - keep) * mean
                weight = keep * weight + (1 - keep)
            if weight:
                out[i] = s / weight
        if self.size == 1 or self._start is None:
            return self.x, out
        x, y = self._start
        return np.append(x, self.x), np.append(y, out)


class RunSeries:
    """The downsampled record of a run: its `loss`, and its `evaluations` at the end of epochs, by name."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.loss = MinMaxSeries()
        names = [*(["valid"] if run.valid is not None else []), *run.metrics]
        self.evaluations = {k: MinMaxSeries() for k in names}
        self._last_time = math.nan

    def update(self) -> None:
        """Read what is new."""
        record = self.run.record
        n, seen = len(record.seconds), self.loss.n
        if seen and (n < seen or record.seconds[seen - 1] != self._last_time):  # the run went back: times differ
            for series in (self.loss, *self.evaluations.values()):
                series.clear()
        self.loss.update(n, lambda rows: np.array(record.loss[rows]))
        self._last_time = record.seconds[n - 1] if n else math.nan
        checks = record.evaluations

        def steps(rows: slice) -> np.ndarray:
            return np.array([step for step, _ in checks[rows]], np.float64)

        def column(name: str, rows: slice) -> np.ndarray:
            return np.array([values.get(name, math.nan) for _, values in checks[rows]], np.float64)

        for name, series in self.evaluations.items():
            series.update(len(checks), partial(column, name), steps)

    def latest(self, n: int, β: float) -> MinMaxSeries:
        """Give the last n losses in bins of their own, with as many before as an average of the share β looks back."""
        loss = self.run.record.loss
        first = max(0, len(loss) - n - int(5 / (1 - β)))
        return _filled(np.array(loss[first:]), first)


def stretch_series(stretch: Stretch) -> MinMaxSeries:
    """Give the losses that a run has left."""
    return _filled(stretch.loss, stretch.start)


def _filled(loss: np.ndarray, start: int) -> MinMaxSeries:
    series = MinMaxSeries()
    series.update(len(loss), lambda rows: loss[rows], lambda rows: np.arange(rows.start, rows.stop) + start + 1.0)
    return series


def loss_series(run: Run | MinMaxSeries) -> MinMaxSeries:
    """Give the losses of a run."""
    if isinstance(run, MinMaxSeries):
        return run
    series = RunSeries(run)
    series.update()
    return series.loss

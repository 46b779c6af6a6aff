"""The loss over a part of the plane of two numbers: evaluated aside, in slices, coarse first.

It knows no picture.  One map serves all runs over the same loss, data and parameters.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from types import CodeType, FunctionType, ModuleType
from typing import NamedTuple

import numpy as np

from fluxmagic.landscapes import Landscape
from fluxmagic.layers.traversal import global_names, traverse
from fluxmagic.runs.aside import aside, first_batch
from fluxmagic.runs.cursor import END, Batch
from fluxmagic.runs.record import count_rows
from fluxmagic.runs.run import Run
from fluxmagic.tracker import data

__all__ = ["Grid", "LossMap", "View", "find_landscape", "names_of_two", "trains_two_numbers"]

SLOW_SECONDS = 0.005  # an evaluation that takes longer is slow
FINE, ROUGH = (41, (4, 2, 1)), (15, (2, 1))  # points a side, and strides of the levels: fast and slow evaluations
MARGIN = 0.25  # of the extent, beyond a point that has left the view
FARTHEST = 100.0  # extents of the first view: a point beyond is not followed

View = tuple[tuple[float, float], tuple[float, float]]


class Grid(NamedTuple):
    """Losses at points: x of shape (m,), y of shape (n,), z of shape (n, m), NaN where there is none."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray


def trains_two_numbers(run: Run) -> bool:
    """Tell whether exactly two numbers are trained, as far as it is known."""
    return sum(p.size for p in run.params) == 2


def names_of_two(run: Run) -> list[str]:
    """Give names for the two numbers that are trained: those of the parameters, with an index where one has both."""
    names = run.problem.names()
    found = [names.get(id(p), f"parameter {i}") for i, p in enumerate(run.params)]
    return found if len(found) == 2 else [f"{found[0]}[{i}]" for i in range(2)]


class LossMap:
    """The loss of a fixed batch over two numbers, in a view that holds the points it was asked to hold.

    Parameters
    ----------
    run : Run
        Its loss, the first batch of its first epoch and its two numbers are used.
    clock : callable, optional
        Gives seconds.

    Examples
    --------
    >>> from fluxmagic.runs.loss_map import LossMap
    >>> w = param([-1.2, 1.0])
    >>> losses = LossMap(Run(lambda: landscapes.rosenbrock(w), None, SGD([w], 0.001), steps=10))
    >>> losses.hold(w.data)
    >>> losses.view
    ((-2.0, 2.0), (-1.0, 3.0))
    >>> losses.finish()
    >>> losses.grid.z.shape
    (41, 41)
    """

    def __init__(self, run: Run, clock: Callable[[], float] = time.perf_counter) -> None:
        self.run = run
        self.clock = clock
        self.landscape = find_landscape(run)  # that the loss names
        self.rows: int | None = None  # of the batch, once it is known; None where the loss takes no batch
        self.view: View = ((math.inf, -math.inf), (math.inf, -math.inf))  # ranges of the two numbers: none yet
        self.grid: Grid | None = None  # what is known of this view: the finest whole level
        self._is_whole = True
        self._waits = False  # for a batch
        self._batch: Batch = None
        self._reach: View | None = None  # no view goes beyond
        self._layout: tuple[int, tuple[int, ...]] | None = None
        self._points: Grid | None = None  # of the finest level, as far as they are evaluated
        self._levels: list[tuple[int, list[tuple[int, int]]]] = []  # a stride, and the points that are left

    @property
    def title(self) -> str:
        """What the grid shows, in words."""
        if self.rows is None:
            return "loss"
        return f"loss of the first batch ({self.rows:,} row{'s' * (self.rows != 1)})"

    @property
    def is_done(self) -> bool:
        """Whether the grid is as fine as it can be now."""
        return self._is_whole or self._waits

    def hold(self, points: np.ndarray) -> None:
        """Let the view hold points, of shape (…, 2); the grid is computed anew if it does not already."""
        points = np.reshape(points, (-1, 2))
        points = points[np.isfinite(points).all(1)]
        if not len(points):
            return
        low, high = points.min(0), points.max(0)
        if self._reach is None:
            view = self._first_view(low, high)
            self._reach = _widened(np.min(view, 1), np.max(view, 1), FARTHEST * float(np.ptp(view, axis=1).max()))
        else:
            bottom, top = np.transpose(self._reach)
            view = _grown(self.view, np.clip(low, bottom, top), np.clip(high, bottom, top))
        if view != self.view:
            self.view, self.grid, self._is_whole = view, None, False
            self._points = None

    def _first_view(self, low: np.ndarray, high: np.ndarray) -> View:
        if self.landscape is not None:
            return _grown(self.landscape.view, low, high)
        return _widened(low, high, max(1.5, 1.5 * float(np.abs([low, high]).max())))

    def advance(self, seconds: float) -> bool:
        """Evaluate for about that many seconds, one point at least; tell whether the grid is another one.

        Nothing happens as long as there is no batch.
        """
        if self._is_whole:
            return False
        end, before = self.clock() + seconds, self.grid
        with aside(self.run):
            if self._batch is None:
                self._take_batch()
            if self._batch is None:
                return False
            points = self._begin() if self._points is None else self._points
            while self._levels:
                stride, left = self._levels[0]
                i, j = left.pop()
                points.z[j, i] = self._loss_at(points.x[i], points.y[j])
                if not left:
                    del self._levels[0]
                    self.grid = Grid(points.x[::stride], points.y[::stride], points.z[::stride, ::stride].copy())
                if self.clock() >= end:
                    break
        self._is_whole = not self._levels
        return self.grid is not before

    def finish(self, seconds: float = math.inf) -> None:
        """Evaluate until the grid is done, or for about that many seconds."""
        end = self.clock() + seconds
        while not self.is_done and (left := end - self.clock()) > 0:
            self.advance(min(left, 1.0))

    def _take_batch(self) -> None:
        """Take the batch, if there is one: data may raise, have none, or be such that can be gone through once."""
        with suppress(Exception):
            batch = first_batch(self.run)
            self._batch = None if batch is END else batch
        self._waits = self._batch is None
        self.rows = None if self.run.data is None or self._waits else count_rows(self._batch)

    def _begin(self) -> Grid:
        if self._layout is None:
            self._layout = ROUGH if self._seconds_per_point() > SLOW_SECONDS else FINE
        n, strides = self._layout
        (x, right), (y, top) = self.view
        self._points = Grid(np.linspace(x, right, n), np.linspace(y, top, n), np.full((n, n), np.nan))
        self._levels = [(s, _points(n, s, coarser)) for s, coarser in zip(strides, (n, *strides), strict=False)]
        return self._points

    def _seconds_per_point(self) -> float:
        """Time an evaluation, the second or third one: the first may import something."""
        times = []
        for _ in range(3):
            start = self.clock()
            self._loss_at(*np.mean(self.view, 1))
            times.append(self.clock() - start)
        return min(times)

    def _loss_at(self, x: float, y: float) -> float:
        """Give the loss at a point; NaN where it raises.  Values are assigned past `data`, as in `aside`."""
        for p, value in zip(self.run.params, ([x, y],) if len(self.run.params) == 1 else (x, y), strict=False):
            p.value.flat = value
        loss, d = getattr(self.run.loss, "without_rebinding", self.run.loss), self._batch
        try:
            return float(data(loss(*d) if isinstance(d, (tuple, list)) else loss(d)))
        except Exception:
            return math.nan


def _points(n: int, stride: int, coarser: int) -> list[tuple[int, int]]:
    """Give the points of a level that no coarser one has."""
    some = range(0, n, stride)
    return [(i, j) for j in some for i in some if coarser == n or i % coarser or j % coarser]


def _widened(low: np.ndarray, high: np.ndarray, margin: float) -> View:
    (x, y), (right, top) = (low - margin).tolist(), (high + margin).tolist()
    return (x, right), (y, top)


def _grown(view: View, low: np.ndarray, high: np.ndarray) -> View:
    """Let a view hold a box, with a margin where it has to move."""
    ends = []
    for (a, b), x, y in zip(view, low.tolist(), high.tolist(), strict=True):
        margin = MARGIN * (max(b, y) - min(a, x))
        ends.append((a if a <= x else x - margin, b if y <= b else y + margin))
    return ends[0], ends[1]


def find_landscape(run: Run) -> Landscape | None:
    """Give the landscape that a run's loss names, or a function that it names: a variable, or one of a module."""
    for _, x in traverse(run.loss, run.model):
        if isinstance(x, Landscape):
            return x
        if isinstance(x, FunctionType):
            codes = [x.__code__]
            for code in codes:  # the list grows meanwhile
                codes += [c for c in code.co_consts if isinstance(c, CodeType)]
            modules = [m for k in global_names(x.__code__) if isinstance(m := x.__globals__.get(k), ModuleType)]
            values = (getattr(m, name, None) for m in modules for code in codes for name in code.co_names)
            if found := next((v for v in values if isinstance(v, Landscape)), None):
                return found
    return None

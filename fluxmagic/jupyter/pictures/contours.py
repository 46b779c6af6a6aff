"""The loss over two numbers as contours, with paths on it and a ball at the end of each: one run, or several."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.lines import Line2D

from fluxmagic.jupyter.pictures.axes import FONT, INK, SMALL, set_plain_text
from fluxmagic.runs import Run
from fluxmagic.runs.loss_map import Grid, View

__all__ = ["MOST", "Contours", "PathSeries", "Surface", "Trail", "refine"]

LEVELS = 14
FINER = 3  # points of a drawn grid for each one of the computed grid, along an axis
WIDE = 30.0  # the largest loss above the median, relative to the median: levels are apart by factors then
SHADES = LinearSegmentedColormap.from_list("shades", [to_rgba(INK, 0.45), to_rgba(INK, 0.0)])  # low to high
DIVERGED = 100.0  # times the first loss
RECENT, MOST = 1000, 2000  # points of a path: the last ones all, and in all


class Trail(NamedTuple):
    """A path to be drawn."""

    label: str
    colour: str
    points: np.ndarray  # of shape (n, 2); the ball is at the last one
    held: np.ndarray | None = None  # points that the view has to hold; all where there are none

    def to_be_held(self, view: View) -> np.ndarray:
        """Give what is to be held, and the ball, whose loss is not known yet, unless it has leapt far from a view."""
        if self.held is None:
            return self.points
        low, high = np.transpose(view)
        reach = high - low if np.isfinite(low).all() else np.inf
        ball = self.points[-1:]
        near = (ball >= low - reach).all() and (ball <= high + reach).all()
        return np.concatenate([self.held, ball]) if near else self.held


class Surface(NamedTuple):
    """The loss over a part of a plane."""

    title: str
    view: View
    grid: Grid | None  # as far as it is known
    minima: Iterable[np.ndarray] = ()


class PathSeries:
    """A growing path in at most `MOST` points: the start, the last `RECENT` ones, fewer and fewer in between."""

    def __init__(self) -> None:
        self._path: array[float] | None = None
        self._clear()

    def _clear(self) -> None:
        self._n = 0
        self.points = np.empty((0, 2))
        self._losses = np.empty(0)  # at the points; NaN at the last one

    def update(self, path: array[float], losses: array[float]) -> np.ndarray:
        """Read what is new; another array, or a shorter one, is read anew.  `losses` has that of each step."""
        n = len(path) // 2
        if path is not self._path or n < self._n:
            self._path = path
            self._clear()
        start = max(self._n - 1, 0)  # the loss at the last point is known by now
        new = np.reshape(path[2 * start : 2 * n], (-1, 2))
        at = np.full(len(new), np.nan)
        at[: len(losses) - start] = losses[start:n]
        points = np.concatenate([self.points[: len(self.points) - (self._n > 0)], new])
        values = np.concatenate([self._losses[: len(self._losses) - (self._n > 0)], at])
        while len(points) > MOST:
            points = np.concatenate([points[:-RECENT][::2], points[-RECENT:]])
            values = np.concatenate([values[:-RECENT][::2], values[-RECENT:]])
        self._n, self.points, self._losses = n, points, values
        return points

    def trail(self, run: Run, label: str, colour: str) -> Trail:
        """Give the path of a run so far; before its first step, where it is."""
        record = run.record
        if not record.path:
            return Trail(label, colour, np.array([[x for p in run.params for x in p.value.flat]]))
        return Trail(label, colour, self.update(record.path, record.loss), self.held)

    @property
    def held(self) -> np.ndarray:
        """The start, and the points that a view has to hold: not those to which a run diverges."""
        size = np.abs(self._losses)
        scale = size[0] if len(size) and size[0] > 0 else np.nanmedian(size) if np.isfinite(size).any() else np.nan
        near: np.ndarray = self.points[size <= DIVERGED * scale]
        return np.concatenate([self.points[:1], near])


class Contours:
    """Contours of a loss over two numbers in axes, with trails.

    `ground` are the contours, to be drawn again where they have changed; `moving` paths, starts and balls, to be drawn
    with every frame.
    """

    def __init__(self, ax: Axes, names: Sequence[str]) -> None:
        self.ax = ax
        self.ground: list[Artist] = []
        (self._left,) = ax.plot([], [], lw=1.2, alpha=0.4, animated=True, zorder=2.5, gid="earlier")
        self.moving: list[Artist] = [self._left]
        self._lines: list[tuple[Line2D, Line2D, Line2D]] = []
        self._shown: Surface | None = None
        for axis, name in zip((ax.xaxis, ax.yaxis), names, strict=True):
            set_plain_text(axis.set_label_text("", color=INK, fontsize=FONT), name)
            axis.labelpad = 1
        ax.tick_params(labelsize=SMALL)
        ax.locator_params(nbins=5)
        ax.spines[["top", "right"]].set_visible(True)
        self._title = ax.set_title("", color=INK, fontsize=FONT, pad=7)

    def leave(self, paths: Iterable[np.ndarray], colour: str) -> None:
        """Show paths of shape (n, 2) that a run has left, in its colour and faint: grey is lost among contours."""
        self._left.set_color(colour)
        gap = np.full((1, 2), np.nan)
        self._left.set_data(*np.concatenate([gap, *(part for path in paths for part in (path, gap))]).T)

    def show(self, trails: Sequence[Trail], surface: Surface) -> tuple[bool, bool]:
        """Show trails on a surface; tell whether the axes, and the ground, have changed."""
        before, self._shown = self._shown, surface
        self._set_trails(trails, surface.view)
        moved = before is None or surface[:2] != before[:2]
        changed = surface.grid is not (before and before.grid)
        if moved:
            self._title.set_text(surface.title)
            self.ax.set(xlim=surface.view[0], ylim=surface.view[1])
        if changed:
            self._set_ground(surface)
        return moved, changed

    def _set_trails(self, trails: Sequence[Trail], view: View) -> None:
        while len(self._lines) < len(trails):
            path, start, ball = (self.ax.plot([], [], animated=True, zorder=z)[0] for z in (3, 4, 5))
            start.set_clip_on(False)
            ball.set_clip_on(False)
            self._lines.append((path, start, ball))
            self.moving += [path, start, ball]
        for (path, start, ball), (_, colour, points, _) in zip(self._lines, trails, strict=False):
            path.set(color=colour, lw=1.5, alpha=0.9, solid_joinstyle="round", data=points.T)
            ends = np.clip(points[[0, -1]], *np.transpose(view))  # what is out of view is at its edge
            start.set(marker="o", ms=6, mfc="none", mec=colour, mew=1.5, data=ends[:1].T)
            ball.set(marker="o", ms=11, mfc=colour, mec="white", mew=1.5, data=ends[1:].T)
        for line in (x for lines in self._lines[len(trails) :] for x in lines):
            line.set_data([], [])

    def _set_ground(self, surface: Surface) -> None:
        for artist in self.ground:
            artist.remove()
        self.ground = []
        grid = surface.grid
        if grid is None:
            return
        levels = _levels(grid.z)
        if len(levels) < 2:
            return
        x, y, z = refine(grid.x, grid.y, grid.z)
        z = np.ma.masked_invalid(z)
        fill = self.ax.contourf(x, y, z, levels, cmap=SHADES, extend="both", zorder=0.4)
        lines = self.ax.contour(x, y, z, levels, colors=INK, linewidths=0.7, alpha=0.75, linestyles="-", zorder=0.5)
        self.ground = [fill, lines]
        for minimum in surface.minima:
            self.ground += self.ax.plot(*minimum, marker="+", ms=9, mew=1.6, color=INK)
        for artist in self.ground:
            artist.set_animated(True)


def refine(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put points between those of a grid, by cubics through four in a row: contours of narrow valleys have no islands.

    A grid with blanks, or with fewer than four points in a row, stays as it is.
    """
    if min(z.shape) < 4 or not np.isfinite(z).all():
        return x, y, z
    fine = [np.linspace(a[0], a[-1], (len(a) - 1) * FINER + 1) for a in (x, y)]
    across, along = (_cubic_weights(len(a)) for a in (x, y))
    return *fine, along @ z @ across.T


def _cubic_weights(n: int) -> np.ndarray:
    """Give a matrix that takes n values at equal distances to `FINER` times as many; Lagrange's cubics."""
    at = np.arange((n - 1) * FINER + 1) / FINER
    first = np.clip(at.astype(int) - 1, 0, n - 4)
    u = (at - first)[:, None]
    k = np.arange(4)
    weights = np.zeros((len(at), n))
    for j in k:
        others = k[k != j]
        weights[np.arange(len(at)), first + j] = ((u - others) / (j - others)).prod(axis=1)
    return weights


def _levels(z: np.ndarray) -> np.ndarray:
    """Give levels that show valleys and slopes alike: apart by factors where losses extend over orders."""
    levels: np.ndarray
    z = z[np.isfinite(z)]
    if not len(z) or z.min() == z.max():
        return np.empty(0)
    low, middle, high = z.min(), np.median(z), z.max()
    if high - low > WIDE * (middle - low) or middle - low > WIDE * (np.quantile(z, 0.02) - low):
        least = max(float(np.quantile(z, 0.01) - low), 1e-6 * float(high - low))
        levels = low + np.geomspace(least, high - low, LEVELS)
    else:
        levels = np.linspace(low, high, LEVELS + 1)[1:]
    return np.unique(levels)

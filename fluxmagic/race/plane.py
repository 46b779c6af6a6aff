"""The loss on the plane through a run's path: the first two principal components of its snapshots."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fluxmagic.lazy import LazyMethod
from fluxmagic.runs import Run
from fluxmagic.runs.aside import aside, first_batches
from fluxmagic.runs.cursor import Batch
from fluxmagic.runs.record import count_rows
from fluxmagic.tracker import Param, data

__all__ = ["Path", "Plane", "landscape"]

ROWS = 256  # of the first batches, on which the loss is evaluated
SLOW_SECONDS = 0.005  # an evaluation that takes longer is slow
FINE, ROUGH = 41, 15  # points a side: fast and slow evaluations
MARGIN = 0.3  # of the larger extent of the paths, around them

Vectors = list[np.ndarray]
"""An array for each parameter, of its shape, in float64."""


class Path(NamedTuple):
    """The path of a run on a plane: points of shape (k, 2), and the steps after which it was there."""

    name: str
    points: np.ndarray
    steps: list[int]


class Plane:
    """A plane in the space of parameters, with the loss on it; a notebook shows it.

    Attributes
    ----------
    paths : list of Path
        Of the run, and of its branches, projected onto the plane.
    x, y : ndarray of shape (n,)
        Coordinates along the two axes, from the mean of the run's path.
    z : ndarray of shape (n, n)
        The loss; row i belongs to y[i].  NaN where it could not be computed.
    explained : float
        The share of the variance of the run's path that lies in the plane.
    largest_error : float
        The largest difference between the loss on the plane and the real one along the run's path.
    rows : int or None
        The rows that the loss is evaluated on; None where it takes no batch.
    """

    def __init__(self, run: Run, branches: Sequence[Run], points: int | None) -> None:
        self.params: list[Param] = run.params
        found = [_path(r, self.params) for r in (run, *branches)]
        self.center, self.axes, self.explained = _principal_plane([values for _, values in found[0]])
        names = [r.name or ("run" if r is run else "branch") for r in (run, *branches)]
        self.paths = [
            Path(name, np.array([self.project(values) for _, values in path]), [step for step, _ in path])
            for name, path in zip(names, found, strict=True)
        ]
        with aside(run):
            run.training.assign_buffers(run.training.current.values.buffers)
            batches = first_batches(run, ROWS)
            self.rows = None if run.data is None else sum(map(count_rows, batches))
            start = time.perf_counter()
            real = [self._loss(run, batches, values) for _, values in found[0]]
            slow = time.perf_counter() - start > SLOW_SECONDS * len(real)
            near = [self._loss(run, batches, self.point(*xy)) for xy in self.paths[0].points]
            self.x, self.y = self._grid(points or (ROUGH if slow else FINE))
            self.z = np.array([[self._loss(run, batches, self.point(x, y)) for x in self.x] for y in self.y])
        self.largest_error = float(np.max(np.abs(np.subtract(near, real))))

    def point(self, x: float, y: float) -> Vectors:
        """Give the values of the parameters at a point of the plane."""
        return [c + x * u + y * v for c, u, v in zip(self.center, *self.axes, strict=True)]

    def project(self, values: Vectors) -> tuple[float, float]:
        """Give the coordinates of the point of the plane that is nearest to values of the parameters."""
        x, y = (sum(float(np.vdot(w - c, u)) for w, c, u in zip(values, self.center, axis)) for axis in self.axes)
        return x, y

    def _grid(self, n: int) -> Vectors:
        shown = np.concatenate([path.points for path in self.paths])
        low, high = shown.min(0), shown.max(0)
        margin = MARGIN * max(high - low)
        return list(np.linspace(low - margin, high + margin, n).T)

    def _loss(self, run: Run, batches: list[Batch], values: Vectors) -> float:
        """Give the mean loss of batches, weighted by rows; NaN where it raises.  `aside` puts the parameters back."""
        for p, value in zip(self.params, values, strict=True):
            p.value[...] = value
        loss = getattr(run.loss, "without_rebinding", run.loss)
        try:
            found = [float(data(loss(*d) if isinstance(d, (tuple, list)) else loss(d))) for d in batches]
        except Exception:
            return math.nan
        return float(np.average(found, weights=[count_rows(d) for d in batches]))

    _repr_png_ = LazyMethod("fluxmagic.jupyter.race.plane_picture", "draw_plane")

    def __repr__(self) -> str:
        names = ", ".join(path.name for path in self.paths)
        explained = f"{100 * self.explained:.1f} % of the path's variance"
        return f"Plane({names}: {explained}, largest error {self.largest_error:.3g})"


def landscape(run: Run, *branches: Run, points: int | None = None) -> Plane:
    """Compute the loss on the plane through the run's path, with the paths of the run and of its branches on it.

    The plane is that of the first two principal components of the run's snapshots.  The loss is that of the first
    batches of the first epoch, up to 256 rows, in test mode.

    Parameters
    ----------
    *branches : Run
        Of the same parameters: branches, or other contestants of a race.
    points : int, optional
        A side of the grid; default: 41, or 15 where one evaluation takes over 5 ms.

    Returns
    -------
    Plane
        A notebook shows it: contours, the paths, the share of variance explained, and the largest difference between
        the loss on the plane and the real one along the path.

    Raises
    ------
    ValueError
        If a run has taken no step, only one number is trained, or a branch trains other parameters.
    """
    for r in (run, *branches):
        if not isinstance(r, Run):
            raise TypeError(f"landscape takes runs, not a {type(r).__name__}")
        if r.snapshots.start is None or (r is run and r.steps == 0):
            raise ValueError(f"{r!r} has not taken a step yet: it has no path")
        if {*map(id, r.params)} != {*map(id, run.params)}:
            raise ValueError(f"{r!r} trains other parameters than {run!r}: they have no plane in common")
    if sum(p.size for p in run.params) < 2:
        raise ValueError("only one number is trained: a plane takes two or more")
    if points is not None and points < 2:
        raise ValueError(f"points is 2 or more, not {points!r}")
    return Plane(run, branches, points)


def _path(run: Run, params: list[Param]) -> list[tuple[int, Vectors]]:
    """Give the steps of a run's snapshots, and of where it is now, with the values of the parameters."""
    state = run.training
    found = {s.step: s.values for s in run.snapshots} | {state.step: state.last or state.current.values}
    at = [[*map(id, state.params)].index(id(p)) for p in params]
    return [(step, [np.asarray(values.params[i], np.float64) for i in at]) for step, values in sorted(found.items())]


def _principal_plane(path: list[Vectors]) -> tuple[Vectors, tuple[Vectors, Vectors], float]:
    """Give the mean of a path, two orthonormal axes, and the share of the variance along them."""
    parts = [np.reshape(values, (len(path), -1)) for values in zip(*path)]
    shapes = [value.shape for value in path[0]]
    means = [part.mean(0) for part in parts]
    offsets = np.concatenate([part - mean for part, mean in zip(parts, means, strict=True)], 1)
    variances, vectors = np.linalg.eigh(offsets @ offsets.T)
    first = vectors[:, -1] @ offsets
    second = vectors[:, -2] @ offsets
    if variances[-2] <= 1e-20 * variances[-1]:  # a straight line: any other direction
        second = np.random.default_rng(0).standard_normal(len(first))
    axes = np.linalg.qr(np.stack([first, second], 1))[0].T
    axes *= np.where(axes @ (offsets[-1] - offsets[0]) < 0, -1.0, 1.0)[:, None]  # the path goes right, and up
    explained = float(variances[-2:].sum() / max(variances.sum(), 1e-300))
    ends = np.cumsum([len(mean) for mean in means])[:-1]
    first, second = ([part.reshape(s) for part, s in zip(np.split(a, ends), shapes, strict=True)] for a in axes)
    return [mean.reshape(s) for mean, s in zip(means, shapes, strict=True)], (first, second), explained

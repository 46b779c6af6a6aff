"""Parameters and gradients as views into contiguous memory, so that an update is a few calls, however many layers.

A parameter moves at most once: into the flat buffer that the first optimiser over it makes.  Whoever comes
later, with the same list or an overlapping one, works on the stretches of memory where its parameters lie.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np

from fluxmagic.tracker import Param
from fluxmagic.tracker.array import serials
from fluxmagic.tracker.rules.products import vdot

__all__ = ["Flat", "Segment"]

ALIGNMENT = 64  # bytes: a cache line, and what vector instructions like

_moving = threading.Lock()


class _Home(NamedTuple):
    """Where a parameter lies."""

    values: np.ndarray
    gradients: np.ndarray
    start: int
    end: int


class Segment(NamedTuple):
    """A stretch of memory without a gap: values and gradients of some parameters, flat, of one dtype."""

    p: np.ndarray
    δ: np.ndarray


class Flat:
    """The parameters of an optimiser, and the segments of memory that they fill.

    Parameters
    ----------
    params : list of Param

    Attributes
    ----------
    params : list of Param
    segments : list of Segment
        Between parameters there may be padding, which is and stays zero.
    padding : list of (int, ndarray)
        The indices of the padding, for each segment that has some.
    limit : float
        Up to which `square` leaves room in the range of the parameters' dtype, for what a rule makes of it.
    places : list of (int, slice)
        For each parameter its segment, and the place in it.
    """

    def __init__(self, params: list[Param]) -> None:
        self.params = params
        with _moving:
            for dtype in {p.dtype for p in params}:
                _settle([p for p in params if p.dtype == dtype and p.home is None], dtype)
        order = sorted(range(len(params)), key=lambda i: (id(params[i].home.values), params[i].home.start))
        stretches: list[list[int]] = []
        end = -1
        buffer = None
        for i in order:
            home = params[i].home
            if home.values is buffer and home.start == end:
                stretches[-1].append(i)
            else:
                stretches.append([i])
            buffer, end = home.values, home.end
        stretches.sort(key=min)  # not where malloc happened to put them: results must not depend on it
        self.segments: list[Segment] = []
        self.places: list[Any] = [None] * len(params)
        for k, stretch in enumerate(stretches):
            first, last = params[stretch[0]].home, params[stretch[-1]].home
            self.segments.append(Segment(first.values[first.start : last.end], first.gradients[first.start : last.end]))
            for i in stretch:
                start = params[i].home.start - first.start
                self.places[i] = (k, slice(start, start + params[i].size))

        self.missed = 0  # parameters that were not reached
        self.limit = min((float(np.finfo(p.dtype).max) for p in params), default=1.0) ** 0.75
        free: list[list[int]] = [[] for _ in self.segments]
        for p, (k, cut) in zip(params, self.places, strict=True):
            free[k].extend(range(cut.stop, cut.start + p.home.end - p.home.start))
        self.padding = [(k, np.array(at)) for k, at in enumerate(free) if at]

    def settle(self) -> None:
        """Let the gradient of a parameter that was not reached read zero."""
        missed = 0
        for p in self.params:
            if p.fresh:
                if not p.shown:  # or else it reads zero already, but for what somebody has written into it
                    p.gradient.fill(0)
                missed += 1
        self.missed = missed

    def updated(self) -> None:
        """Set all gradients to zero after an update: graphs that hold the values before are stale."""
        serial = next(serials)
        for p in self.params:
            p.updated = serial
            p.fresh = True
            if p.shown:
                p.gradient.fill(0)

    def clear(self) -> None:
        """Set all gradients to zero."""
        for p in self.params:
            p.fresh = True
            if p.shown:
                p.gradient.fill(0)

    def square(self) -> float:
        """Sum of the squares of all gradients; not finite if one of them is not."""
        total = 0.0
        for _, δ in self.segments:
            total += float(vdot(δ, δ))
        return total

    def bad(self) -> Param | None:
        """The first parameter whose gradient is not finite."""
        return next((p for p in self.params if not np.isfinite(p.gradient).all()), None)


def _settle(params: list[Param], dtype: np.dtype[Any]) -> None:
    """Move parameters into one new flat buffer."""
    if not params:
        return
    pad = ALIGNMENT // dtype.itemsize
    starts, total = [], 0
    for p in params:
        starts.append(total)
        total += -(-p.size // pad) * pad
    values, gradients = _aligned(total, dtype), _aligned(total, dtype)
    for p, start, end in zip(params, starts, [*starts[1:], total], strict=True):
        v = values[start : start + p.size].reshape(p.shape)
        g = gradients[start : start + p.size].reshape(p.shape)
        v[...] = p.value
        g[...] = 0 if p.fresh else p.gradient
        p.value, p.gradient, p.shown = v, g, False
        p.home = _Home(values, gradients, start, end)


def _aligned(n: int, dtype: np.dtype[Any]) -> np.ndarray:
    raw = np.zeros(n * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + n * dtype.itemsize].view(dtype)

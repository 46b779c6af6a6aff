"""Parameters and gradients as views into contiguous memory: an update is a few calls, whatever the number of layers.

A parameter moves at most once: into the buffer of the first optimiser over it.  Later optimisers, over the same list or
an overlapping one, work on the stretches of memory where their parameters lie.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fluxmagic.tracker import Param
from fluxmagic.tracker.node import ids
from fluxmagic.tracker.rules.products import vdot

__all__ = ["FlatBuffer", "Segment", "aligned_zeros"]

ALIGNMENT = 64  # bytes: a cache line

_allocation_lock = threading.Lock()


class _Slot(NamedTuple):
    """The memory of a parameter: a stretch of two buffers."""

    values: np.ndarray
    gradients: np.ndarray
    start: int
    end: int


class Segment(NamedTuple):
    """A stretch of memory without a gap: values and gradients of some parameters, flat, of one dtype."""

    p: np.ndarray
    grad: np.ndarray


class FlatBuffer:
    """The parameters of an optimiser, and the segments of memory that they fill.

    Attributes
    ----------
    params : list of Param
    segments : list of Segment
        Between parameters there may be padding; it stays zero.
    padding : list of (int, ndarray)
        The indices of the padding, for each segment that has some.
    limit : float
        Sums of squares up to here leave a rule room in the range of the parameters' dtype.
    slots : list of (int, slice)
        For each parameter its segment and its place in it.
    n_unreached : int
        Parameters without a gradient in the last `zero_unreached`.
    """

    def __init__(self, params: list[Param]) -> None:
        self.params = params
        with _allocation_lock:
            for dtype in {p.dtype for p in params}:
                _move_into_buffer([p for p in params if p.dtype == dtype and p.storage is None], dtype)
        order = sorted(range(len(params)), key=lambda i: (id(params[i].storage.values), params[i].storage.start))
        stretches: list[list[int]] = []
        for i in order:
            storage = params[i].storage
            last = params[stretches[-1][-1]].storage if stretches else None
            if last is not None and storage.values is last.values and storage.start == last.end:
                stretches[-1].append(i)
            else:
                stretches.append([i])
        stretches.sort(key=min)  # results must not depend on addresses
        self.segments: list[Segment] = []
        slots: dict[int, tuple[int, slice]] = {}
        for k, stretch in enumerate(stretches):
            first, last = params[stretch[0]].storage, params[stretch[-1]].storage
            self.segments.append(Segment(first.values[first.start : last.end], first.gradients[first.start : last.end]))
            for i in stretch:
                start = params[i].storage.start - first.start
                slots[i] = (k, slice(start, start + params[i].size))
        self.slots = [slots[i] for i in range(len(params))]
        self.n_unreached = 0
        self.limit = min((float(np.finfo(p.dtype).max) for p in params), default=1.0) ** 0.75
        free: list[list[int]] = [[] for _ in self.segments]
        for p, (k, cut) in zip(params, self.slots, strict=True):
            free[k].extend(range(cut.stop, cut.start + p.storage.end - p.storage.start))
        self.padding = [(k, np.array(at)) for k, at in enumerate(free) if at]

    def zero_unreached(self) -> None:
        """Zero the gradients of the parameters that the reverse pass did not reach, and count them."""
        n = 0
        for p in self.params:
            if p.grad_is_zero:
                if not p.grad_exposed:  # a shown gradient is zero already, or was written by the user
                    p.gradient.fill(0)
                n += 1
        self.n_unreached = n

    def zero_grad(self) -> None:
        """Zero all gradients."""
        for p in self.params:
            p.zero_grad()

    def mark_updated(self) -> None:
        """Zero all gradients after an update, and make the graphs of the values before it stale."""
        now = next(ids)
        for p in self.params:
            p.updated = now
            p.grad_is_zero = True
            if p.grad_exposed:
                p.gradient.fill(0)

    def grad_norm_squared(self) -> float:
        """Return the sum of the squares of all gradients; not finite if one of them is not."""
        total = 0.0
        for _, grad in self.segments:
            total += float(vdot(grad, grad))
        return total

    def first_nonfinite(self) -> Param | None:
        """Return the first parameter whose gradient is not finite."""
        return next((p for p in self.params if not np.isfinite(p.gradient).all()), None)

    def split(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Copy one array per segment into one per parameter, of its shape."""
        return [arrays[k][cut].reshape(p.shape).copy() for p, (k, cut) in zip(self.params, self.slots, strict=True)]


def _move_into_buffer(params: list[Param], dtype: np.dtype[np.floating]) -> None:
    """Move the parameters of one dtype into a new buffer."""
    if not params:
        return
    pad = ALIGNMENT // dtype.itemsize
    starts, total = [], 0
    for p in params:
        starts.append(total)
        total += -(-p.size // pad) * pad
    values, gradients = aligned_zeros(total, dtype), aligned_zeros(total, dtype)
    for p, start, end in zip(params, starts, [*starts[1:], total], strict=True):
        v = values[start : start + p.size].reshape(p.shape)
        g = gradients[start : start + p.size].reshape(p.shape)
        v[...] = p.value
        g[...] = 0 if p.grad_is_zero else p.gradient
        p.value, p.gradient, p.grad_exposed = v, g, False
        p.storage = _Slot(values, gradients, start, end)


def aligned_zeros(n: int, dtype: np.dtype[np.floating]) -> np.ndarray:
    """Return a vector of zeros that begins at a cache line: an update of arrays that do not takes up to 8 % longer."""
    raw = np.zeros(n * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + n * dtype.itemsize].view(dtype)

"""NumPy functions that are wrappers, in terms of the calls within them: the same bits in less time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fluxmagic.tracker.aliases import Array, Axis, DType, Where

__all__ = ["CLIP", "LOWERED"]


def _mean(a: Array, axis: Axis = None, dtype: DType = None, out: Array = None, keepdims: bool = False) -> Array:
    if dtype is not None or out is not None or isinstance(a, (list, tuple)):
        return NotImplemented
    if not (a.dtype.kind == "f" and a.dtype.itemsize > 2):
        return NotImplemented
    total = _sum(a, axis, keepdims=keepdims)
    n = a.size // max(total.size, 1)
    return np.true_divide(total, n, out=total) if total.shape or keepdims else total / n


def _sum(a: Array, axis: Axis = None, dtype: DType = None, out: Array = None, keepdims: bool = False) -> Array:
    if isinstance(a, (list, tuple)):
        return NotImplemented
    return np.add.reduce(a, axis=axis, dtype=dtype, out=out, keepdims=keepdims)


def _extreme(ufunc: np.ufunc) -> Callable[..., Array]:
    def lowered(a: Array, axis: Axis = None, out: Array = None, keepdims: bool = False) -> Array:
        if isinstance(a, (list, tuple)):
            return NotImplemented
        return ufunc.reduce(a, axis=axis, out=out, keepdims=keepdims)

    return lowered


def _dot(a: Array, b: Array, out: Array = None) -> Array:
    return NotImplemented if isinstance(a, (list, tuple)) or not hasattr(a, "recorder") else a.dot(b, out)


def _copy(a: Array, order: str = "K", subok: bool = False) -> Array:
    return a.copy(order)


def _copyto(dst: Array, src: Array, casting: str = "same_kind", where: Where = True) -> Array:
    if where is not True or not hasattr(dst, "recorder"):
        return NotImplemented
    dst[...] = src
    return None


class _Asked:
    """Returns the ufunc that it is an argument of."""

    def __array_ufunc__(self, ufunc: np.ufunc, *args: object, **options: object) -> np.ufunc:
        return ufunc


CLIP: np.ufunc = np.zeros(1).clip(_Asked(), 1.0)  # type: ignore[call-overload]
"""The ufunc of `clip`, which has no public name."""


def _clip(a: Array, a_min: Array = None, a_max: Array = None, out: Array = None) -> Array:
    return a.clip(a_min, a_max, out) if hasattr(a, "recorder") else NotImplemented


LOWERED: dict[Callable[..., Any], Callable[..., Any]] = {
    np.mean: _mean,
    np.sum: _sum,
    np.max: _extreme(np.maximum),
    np.min: _extreme(np.minimum),
    np.amax: _extreme(np.maximum),
    np.amin: _extreme(np.minimum),
    np.dot: _dot,
    np.clip: _clip,
    np.copy: _copy,
    np.copyto: _copyto,
}
"""They return NotImplemented for a call that is not among the simple ones."""

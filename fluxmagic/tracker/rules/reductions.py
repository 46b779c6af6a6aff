"""Operations that take an axis away: sums, means, extremes."""

from __future__ import annotations

from typing import Any

import numpy as np

from fluxmagic.tracker.array import Array
from fluxmagic.tracker.operation import define

Axis = int | tuple[int, ...] | None


def restore(reduced: Array, x: Array, axis: Axis, keepdims: bool = False) -> Array:
    """Put the axes that a reduction of x took away back in, with length 1."""
    if axis is None or keepdims:
        return reduced if keepdims or not reduced.ndim else reduced.reshape((1,) * x.ndim)
    return np.expand_dims(reduced, tuple(a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,))))


def count(x: Array, axis: Axis) -> int:
    """How many elements of x one element of the reduction stands for."""
    if axis is None:
        return int(x.size)
    n = 1
    for a in axis if isinstance(axis, tuple) else (axis,):
        n *= x.shape[a]
    return n


def spread(Δ: Array, x: Array, axis: Axis, keepdims: bool = False) -> Array:
    """Give each element of x the gradient of the element that it was reduced to."""
    if axis is None and not keepdims:
        return Δ  # a scalar is spread by the reverse pass itself
    return np.broadcast_to(restore(Δ, x, axis, keepdims), x.shape)


# NumPy's own functions, but that the way there through its Python wrappers is shorter


def _sum(x: Any, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False) -> Any:
    return np.add.reduce(x, axis, dtype, None, keepdims)


def _d_sum(Δ: Array, y: Array, x: Array, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False) -> Array:
    return spread(Δ, x, axis, keepdims)


def _d_mean(Δ: Array, y: Array, x: Array, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False) -> Array:
    return spread(Δ / max(count(x, axis), 1), x, axis, keepdims)


define(np.sum, _d_sum, forward=_sum, methods="sum", reduces=np.add)
define(np.mean, _d_mean, methods="mean")


def _d_var(
    Δ: Array,
    y: Array,
    x: Array,
    axis: Axis = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    correction: float | None = None,
) -> Array:
    n = count(x, axis) - (ddof if correction is None else correction)
    away = x - np.mean(x, axis=axis, keepdims=True)
    return restore(Δ, x, axis, keepdims) * (away * (2 / n))


def _d_std(Δ: Array, y: Array, x: Array, axis: Axis = None, dtype: Any = None, **options: Any) -> Array:
    return _d_var(Δ / (y + y), y, x, axis, dtype, **options)


define(np.var, _d_var, methods="var")
define(np.std, _d_std, methods="std")


def _d_extreme(Δ: Array, y: Array, x: Array, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """Ties share the gradient equally; NaN passes from where it came."""
    y = restore(y, x, axis, keepdims)
    at = np.equal(x, y) | np.isnan(x)
    return restore(Δ, x, axis, keepdims) * (at / np.maximum(at.sum(axis=axis, keepdims=True), 1)).astype(x.dtype)


define(np.max, _d_extreme, methods="max", also=[np.amax], reduces=np.maximum)
define(np.min, _d_extreme, methods="min", also=[np.amin], reduces=np.minimum)


def _d_prod(Δ: Array, y: Array, x: Array, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False) -> Array:
    Δ, y = restore(Δ, x, axis, keepdims), restore(y, x, axis, keepdims)
    if np.all(x != 0):
        return Δ * y / x
    # The product of the others, one by one: also right where elements are zero, and to any order.
    axes = tuple(range(x.ndim)) if axis is None else tuple(a % x.ndim for a in np.atleast_1d(axis))
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    front = np.transpose(x, kept + axes)
    shape = front.shape
    flat = np.reshape(front, (*shape[: len(kept)], -1))
    n = flat.shape[-1]
    others = np.prod(np.where(np.eye(n, dtype=bool), x.dtype.type(1), np.expand_dims(flat, -2)), axis=-1)
    others = np.reshape(others, shape)
    return Δ * np.transpose(others, tuple(int(i) for i in np.argsort(kept + axes)))


define(np.prod, _d_prod, methods="prod", reduces=np.multiply)

"""Operations that take an axis away: sums, means, extremes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from fluxmagic.tracker.aliases import Array, GradOut
from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.node import data
from fluxmagic.tracker.operation import Op, composed, define

Axis = int | tuple[int, ...] | None


def restore(reduced: Array, x: Array, axis: Axis, keepdims: bool = False) -> Array:
    """Put the axes that a reduction of x took away back in, with length 1; a scalar is reduced along 0 and -1 too."""
    if axis is None or keepdims or not x.ndim:
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


def spread(Δ: Array, x: Array, axis: Axis, keepdims: bool = False, where: Any = True) -> Array:
    """Give each element of x the gradient of the element that it was reduced to."""
    if axis is None and not keepdims and where is True:
        return Δ  # a scalar is spread by the reverse pass itself
    Δ = np.broadcast_to(restore(Δ, x, axis, keepdims), x.shape)
    return Δ if where is True else np.where(where, Δ, 0.0)


def counted(x: Array, axis: Axis, where: Any) -> Any:
    """`count`, of those elements alone that `where` lets in; with the reduced axes."""
    if where is True:
        return count(x, axis)
    return np.sum(np.broadcast_to(where, x.shape), axis=axis, keepdims=True, dtype=x.dtype)


def extent(x: Array, axis: Axis, where: Any = True) -> Any:
    """The largest absolute value, by which x can be scaled; 1 where there is none."""
    largest = np.max(np.abs(data(x)), axis=axis, keepdims=True, initial=0, where=where)
    return np.where(np.equal(largest, 0) | np.isinf(largest), largest.dtype.type(1), largest)


def _quotient(a: Any, b: Any) -> Any:
    zero = np.equal(b, 0) & ~np.isnan(a)
    return np.where(zero, 0.0, np.divide(a, np.where(zero, 1.0, b)))


# a / b, but 0 where b is 0: a slope at a kink.  Its own derivatives are infinite or NaN there, as they should be.
quotient: Op = define(
    _quotient,
    lambda Δ, y, a, b: Δ / b,
    lambda Δ, y, a, b: -Δ * y / b,
    name="quotient",
)

# NumPy's own functions, but that the way there through its Python wrappers is shorter


def _sum(x: Any, axis: Axis = None, dtype: Any = None, *, keepdims: Any = False, **options: Any) -> Any:
    return np.add.reduce(x, axis, dtype, None, keepdims, **options)  # type: ignore[call-overload]


def _d_sum(
    Δ: Array,
    y: Array,
    x: Array,
    axis: Axis = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    where: Any = True,
    **_: Any,
) -> Array:
    return spread(Δ, x, axis, keepdims, where)


def _mean(x: Any, axis: Axis = None, dtype: Any = None, **options: Any) -> Any:
    if axis is not None or dtype is not None or options or not x.size or x.dtype == np.float16:
        return np.mean(x, axis, dtype, **options)
    return np.add.reduce(x, None) / x.size


def _d_mean(
    Δ: Array, y: Array, x: Array, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False, where: Any = True
) -> Array:
    if where is True:
        return spread(Δ / max(count(x, axis), 1), x, axis, keepdims)
    return spread(restore(Δ, x, axis, keepdims) / np.maximum(counted(x, axis, where), 1), x, axis, True, where)


define(np.sum, _d_sum, forward=_sum, as_reduce=np.add)
define(np.mean, _d_mean, forward=_mean)


def _var(x: Any, axis: Axis = None, dtype: Any = None, **options: Any) -> Any:
    if "mean" in options:
        raise TypeError("a mean that is given is not looked into; leave mean= away")
    return np.var(x, axis, dtype, **options)


def _std(x: Any, axis: Axis = None, dtype: Any = None, **options: Any) -> Any:
    if "mean" in options:
        raise TypeError("a mean that is given is not looked into; leave mean= away")
    return np.std(x, axis, dtype, **options)


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
    where: Any = True,
) -> Array:
    n = counted(x, axis, where) - float(ddof if correction is None else correction)
    if where is not True:
        x = np.where(where, x, 0.0)
    if where is True:  # without degrees of freedom ∞ · 0, which is NaN, as the variance is
        factor: Any = 2 / n if n > 0 else math.inf
    else:
        factor = np.divide(2, np.maximum(n, 0), dtype=x.dtype)
    δ = restore(Δ, x, axis, keepdims) * ((x - np.mean(x, axis=axis, keepdims=True, where=where)) * factor)
    return δ if where is True else np.where(where, δ, 0.0)


def _d_std(Δ: Array, y: Array, x: Array, axis: Axis = None, dtype: Any = None, **options: Any) -> Array:
    if x.size and not divides(y, 2):  # squares have underflowed, or overflowed: the slope does not depend on the scale
        where = options.get("where", True)
        x = x - np.mean(data(x), axis=axis, keepdims=True, where=where)
        x = x / extent(x, axis, where)
        y = np.std(x, axis, dtype, **options)
    # where nothing is spread there is no slope: 0, as in PyTorch
    return _d_var(quotient(Δ, y + y), y, x, axis, dtype, **options)


define(np.var, _d_var, forward=_var)
define(np.std, _d_std, forward=_std)


def d_extreme(
    Δ: Array, y: Array, x: Array, axis: Axis = None, *, keepdims: bool = False, where: Any = True, **_: Any
) -> Array:
    """Ties share the gradient equally; NaN passes from where it came."""
    y = restore(y, x, axis, keepdims)
    at = (np.equal(x, y) | (np.isnan(x) & np.isnan(y))) & where
    return restore(Δ, x, axis, keepdims) * (at / np.maximum(at.sum(axis=axis, keepdims=True), 1)).astype(x.dtype)


define(np.max, d_extreme, aliases=[np.amax], as_reduce=np.maximum)
define(np.min, d_extreme, aliases=[np.amin], as_reduce=np.minimum)


@composed(np.ptp)
def _ptp(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


def lines(x: Array, axis: Axis) -> Array:
    """x with the axes that are reduced joined into one, the last."""
    if axis is None or not x.ndim:
        return np.ravel(x)
    axes = tuple(a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,)))
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    front = np.transpose(x, kept + axes)
    return np.reshape(front, (*front.shape[: len(kept)], math.prod(front.shape[len(kept) :])))


def unlines(flat: Array, x: Array, axis: Axis) -> Array:
    """What `lines` made of x's shape, as x again."""
    if axis is None or not x.ndim:
        return np.reshape(flat, x.shape)
    axes = tuple(a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,)))
    order = tuple(a for a in range(x.ndim) if a not in axes) + axes
    shaped = np.reshape(flat, tuple(x.shape[a] for a in order))
    return np.transpose(shaped, tuple(int(i) for i in np.argsort(order)))


def _d_prod(
    Δ: Array,
    y: Array,
    x: Array,
    axis: Axis = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    where: Any = True,
    initial: Any = 1,
) -> Array:
    Δ, y = restore(Δ, x, axis, keepdims), restore(y, x, axis, keepdims)
    if where is not True:
        x, Δ = np.where(where, x, 1.0), np.where(where, Δ, 0.0)
    if divides(y):
        return Δ * y / x
    return Δ * unlines(products_of_others(lines(x, axis)), x, axis) * initial


def divides(y: Array, power: float = 1) -> bool:
    """Whether y may be divided by: no product or sum of such powers is 0, has lost digits or has overflowed."""
    size = np.abs(data(y))
    ends = np.finfo(size.dtype)
    return bool(np.all((size >= ends.tiny ** (1 / power)) & (size < ends.max ** (1 / power))))


def _products_before(x: Array) -> Array:
    """For each element of a line, the product of those before it."""
    return np.cumprod(np.concatenate([np.ones((*x.shape[:-1], 1), x.dtype), x[..., :-1]], axis=-1), axis=-1)


def products_of_others(x: Array) -> Array:
    """For each element of a line, the product of all others: also where some are zero, and to any order."""
    if not x.shape[-1]:
        return x
    return _products_before(x) * np.flip(_products_before(np.flip(x, -1)), -1)


define(np.prod, _d_prod, as_reduce=np.multiply)

# -- passing over NaN --------------------------------------------------------------------------------


def _own_mean(function: Any) -> Any:
    def reduced(x: Any, axis: Axis = None, dtype: Any = None, **options: Any) -> Any:
        if "mean" in options:
            raise TypeError("a mean that is given is not looked into; leave mean= away")
        return function(x, axis, dtype, **options)

    return reduced


def _but_nan(rule: Any) -> Any:
    return lambda Δ, y, x, *args, where=True, **options: rule(Δ, y, x, *args, where=where & ~np.isnan(x), **options)


for function, rule in (
    (np.nansum, _d_sum),
    (np.nanmean, _d_mean),
    (np.nanprod, _d_prod),
    (np.nanvar, _d_var),
    (np.nanstd, _d_std),
    (np.nanmax, d_extreme),
    (np.nanmin, d_extreme),
):
    define(function, _but_nan(rule), forward=_own_mean(function) if rule in (_d_var, _d_std) else None)

# -- averages ----------------------------------------------------------------------------------------


@composed(np.average)
def _average(a: Any, axis: Axis = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False) -> Any:
    if weights is None:
        y: Any = np.mean(a, axis=axis, keepdims=keepdims)
        total: Any = y.dtype.type(a.size / max(y.size, 1))
    else:
        w = weights if isinstance(weights, Tracked) else np.asarray(weights)
        if w.shape != a.shape:
            if axis is None:
                raise TypeError(f"weights of shape {w.shape} for an array of shape {a.shape} need an axis")
            axes = tuple(i % a.ndim for i in (axis if isinstance(axis, tuple) else (axis,)))
            if w.shape != tuple(a.shape[i] for i in axes):
                raise ValueError(f"weights of shape {w.shape} do not fit axis {axis} of an array of shape {a.shape}")
            order = tuple(int(i) for i in np.argsort(axes))
            w = np.reshape(np.transpose(w, order), tuple(n if i in axes else 1 for i, n in enumerate(a.shape)))
        total = np.sum(w, axis=axis, keepdims=keepdims, dtype=np.result_type(data(a), data(w)))
        if np.any(np.equal(total, 0)):
            raise ZeroDivisionError("average: weights sum to zero, so that nothing can be averaged")
        y = np.sum(np.multiply(a, w), axis=axis, keepdims=keepdims) / total
    return (y, np.broadcast_to(total, y.shape)) if returned else y


def _d_at(Δ: Array, y: Array, x: Array, axis: Axis, keepdims: bool, q: float) -> Array:
    """Of the value at q in sorted order, 0 ≤ q ≤ 1: the one or two elements there share the gradient by their
    distance from it; NaN passes from where it came."""
    flat = lines(np.asarray(data(x)), axis)
    n = flat.shape[-1]
    place = q * (n - 1)
    low = min(int(place), max(n - 2, 0))
    order = np.argsort(flat, axis=-1, kind="stable")[..., low : low + 2]
    weights = np.zeros_like(flat)
    np.put_along_axis(weights, order, np.array([1 - (place - low), place - low], flat.dtype)[: order.shape[-1]], -1)
    missing = np.isnan(flat)
    some = missing.any(axis=-1, keepdims=True)
    weights = np.where(some, missing / np.maximum(missing.sum(axis=-1, keepdims=True), 1), weights)
    return restore(Δ, x, axis, keepdims) * unlines(weights.astype(flat.dtype), x, axis)


def _median(x: Any, axis: Axis = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    return np.median(x, axis, keepdims=keepdims)  # the input is never overwritten


def _d_median(
    Δ: Array, y: Array, x: Array, axis: Axis = None, overwrite_input: bool = False, keepdims: bool = False
) -> Array:
    return _d_at(Δ, y, x, axis, keepdims, 0.5)


def _quantiles(function: Any, unit: float) -> None:
    op = define(
        lambda x, q, axis=None, keepdims=False: function(x, q, axis, keepdims=keepdims),
        lambda Δ, y, x, q, axis=None, keepdims=False: _d_at(Δ, y, x, axis, keepdims, float(q) / unit),
        name=function.__name__,
    )

    def at(
        a: Any, q: Any, axis: Axis = None, overwrite_input: bool = False, method: str = "linear", keepdims: bool = False
    ) -> Any:
        if method != "linear" or isinstance(q, Tracked):
            raise TypeError("a gradient goes to the values alone, and by the linear method")
        if np.ndim(q):
            q = np.asarray(q)
            return np.stack([at(a, q[i, ...], axis, keepdims=keepdims) for i in range(len(q))])
        return op(a, q=q, axis=axis, keepdims=keepdims)

    composed(function)(at)


_quantiles(np.quantile, 1)
_quantiles(np.percentile, 100)
define(np.median, _d_median, forward=_median)


def _logsumexp(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    x = np.asarray(x)
    if x.dtype.kind in "iub":
        x = x.astype(np.float64)
    top = np.max(x, axis=axis, keepdims=True, initial=-math.inf)
    top = np.where(np.isfinite(top), top, top.dtype.type(0))
    with np.errstate(divide="ignore", over="ignore"):  # log 0 is -∞
        y = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return y if keepdims or not y.ndim else np.squeeze(y, axis=axis)  # a scalar is reduced along 0 and -1 too


def _d_logsumexp(Δ: Array, y: Array, x: Array, axis: Axis = None, *, keepdims: bool = False) -> Array:
    Δ, y = restore(Δ, x, axis, keepdims), restore(y, x, axis, keepdims)
    infinite = np.isinf(y)
    at = np.isinf(y) & np.equal(x, y)  # an infinite sum is shared by what is infinite
    share = (at / np.maximum(np.sum(at, axis=axis, keepdims=True), 1)).astype(x.dtype)
    x = np.where(infinite, 0.0, x)
    e = np.exp(x - np.max(data(x), axis=axis, keepdims=True, initial=-math.inf))  # x - y would lose digits to a large y
    return Δ * np.where(infinite, share, e / np.sum(e, axis=axis, keepdims=True))


logsumexp = define(
    _logsumexp,
    _d_logsumexp,
    name="logsumexp",
    doc="""
    Logarithm of the sum of exponentials, log Σ exp(x); right for ±1e4.

    Parameters
    ----------
    x : array
        Of any shape, float32 or float64, plain or tracked.
    axis : int or tuple of int, optional
        Default: all.
    keepdims : bool
        Keep the axes, with length 1.

    Returns
    -------
    array
        Of x's dtype.

    Examples
    --------
    >>> from fluxmagic.tracker import logsumexp
    >>> logsumexp([1000.0, 1000.0]).round(3)
    np.float64(1000.693)
    """,
)

# -- running sums and products -----------------------------------------------------------------------


def _reversed_cumsum(Δ: Array, axis: int) -> Array:
    return np.flip(np.cumsum(np.flip(Δ, axis), axis), axis)


def _d_cumsum(Δ: Array, y: Array, x: Array, axis: int | None = None, dtype: Any = None) -> Array:
    return np.reshape(_reversed_cumsum(Δ, -1 if axis is None else axis), x.shape)


def _d_cumprod(Δ: Array, y: Array, x: Array, axis: int | None = None, dtype: Any = None) -> Array:
    if axis is None:
        return np.reshape(_d_cumprod(Δ, y, np.ravel(x), 0), x.shape)
    if divides(y) and divides(x):
        return _reversed_cumsum(Δ * y, axis) / x
    x, Δ = np.moveaxis(x, axis, -1), np.moveaxis(Δ, axis, -1)
    # δᵢ = x₀…xᵢ₋₁ (Δᵢ + xᵢ₊₁ (Δᵢ₊₁ + xᵢ₊₂ (…))): nothing is divided, so it is right at zeros, and to any order
    after = np.concatenate([x[..., 1:], np.ones((*x.shape[:-1], 1), x.dtype)], axis=-1)[..., : x.shape[-1]]
    sums = np.flip(RECURRENCE(np.flip(after, -1), np.flip(Δ, -1)), -1)
    return np.moveaxis(_products_before(x) * sums, -1, axis)


def _recurrence(a: Any, b: Any) -> Any:
    """hᵢ = aᵢ hᵢ₋₁ + bᵢ along the last axis, from h₋₁ = 0."""
    a, h = np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0).copy()
    for i in range(1, len(h)):
        h[i] += a[i] * h[i - 1]
    return np.moveaxis(h, 0, -1)


def _d_recurrence(Δ: Array, y: Array, a: Array, b: Array, grad_out: GradOut) -> tuple[Array, Array]:
    zero = np.zeros((*y.shape[:-1], 1), y.dtype)
    # the first of `a` meets no element: what its place holds is of no account
    δ = np.flip(RECURRENCE(np.concatenate([zero, np.flip(a, -1)], axis=-1)[..., :-1], np.flip(Δ, -1)), -1)
    return δ * np.concatenate([zero, y], axis=-1)[..., :-1], δ


RECURRENCE: Op = define(_recurrence, vjp=_d_recurrence, name="recurrence")


define(np.cumsum, _d_cumsum, as_accumulate=np.add)
define(np.cumprod, _d_cumprod, as_accumulate=np.multiply)


def _with_initial(x: Any, axis: int | None, dtype: Any, include_initial: bool, scan: Any, initial: float) -> Any:
    if axis is None and x.ndim > 1:
        raise ValueError("an array of several axes needs axis=")
    y = scan(x, axis, dtype)
    if not include_initial:
        return y
    axis = normalize_axis_index(axis or 0, y.ndim)
    first = np.full((*y.shape[:axis], 1, *y.shape[axis + 1 :]), initial, y.dtype)
    return np.concatenate([first, y], axis)


if hasattr(np, "cumulative_sum"):  # NumPy 2.1

    @composed(np.cumulative_sum)
    def _cumulative_sum(x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Any:
        return _with_initial(x, axis, dtype, include_initial, np.cumsum, 0)

    @composed(np.cumulative_prod)
    def _cumulative_prod(
        x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
    ) -> Any:
        return _with_initial(x, axis, dtype, include_initial, np.cumprod, 1)


@composed(np.diff)
def _diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    if n < 0:
        raise ValueError(f"n is the number of differences, at least 0, not {n}")
    if n == 0:
        return a  # NumPy adds no ends then
    axis = normalize_axis_index(axis, np.ndim(a))
    ends = [
        e if np.ndim(e) else np.broadcast_to(e, (*a.shape[:axis], 1, *a.shape[axis + 1 :]))
        for e in (prepend, append)
        if e is not None
    ]
    if ends:
        a = np.concatenate([*ends[: prepend is not None], a, *ends[prepend is not None :]], axis)
    before = (slice(None),) * axis
    for _ in range(n):
        a = a[(*before, slice(1, None))] - a[(*before, slice(None, -1))]
    return a


@composed(np.trapezoid)
def _trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    axis = normalize_axis_index(axis, np.ndim(y))
    if x is not None:
        dx = np.diff(x) if np.ndim(x) == 1 else np.diff(x, axis=axis)
        if np.ndim(x) == 1:
            dx = np.reshape(dx, (-1,) + (1,) * (np.ndim(y) - axis - 1))
    before = (slice(None),) * axis
    return np.sum(dx * (y[(*before, slice(1, None))] + y[(*before, slice(None, -1))]) / 2.0, axis=axis)

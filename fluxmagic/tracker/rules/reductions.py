"""Operations that take an axis away: sums, means, extremes."""

from __future__ import annotations

import math

import numpy as np

from fluxmagic.tracker.aliases import VJP, Array, Axis, DType, Function, Option, Where
from fluxmagic.tracker.array import as_arrays
from fluxmagic.tracker.node import as_floats, data
from fluxmagic.tracker.operation import Op, composed, define


def expand_reduced(reduced: Array, x: Array, axis: Axis, keepdims: bool = False) -> Array:
    """Insert the reduced axes of x with length 1; NumPy reduces a scalar along 0 and -1 too."""
    if axis is None or keepdims or not x.ndim:
        return reduced if keepdims or not reduced.ndim else reduced.reshape((1,) * x.ndim)
    return np.expand_dims(reduced, tuple(a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,))))


def reduced_size(x: Array, axis: Axis, where: Where = True) -> Array:
    """Count the elements of x, of those that `where` selects, that one element of the reduction stands for."""
    if where is not True:
        return np.sum(np.broadcast_to(where, x.shape), axis=axis, keepdims=True, dtype=x.dtype)
    if axis is None:
        return x.size
    return math.prod(x.shape[a] for a in (axis if isinstance(axis, tuple) else (axis,)))


def broadcast_grad(Δ: Array, x: Array, axis: Axis, keepdims: bool = False, where: Where = True) -> Array:
    """Give each element of x the gradient of its result."""
    if axis is None and not keepdims and where is True:
        return Δ  # the reverse pass broadcasts a scalar itself
    Δ = np.broadcast_to(expand_reduced(Δ, x, axis, keepdims), x.shape)
    return Δ if where is True else np.where(where, Δ, 0.0)


def extent(x: Array, axis: Axis, where: Where = True) -> Array:
    """Return the largest absolute value along axes, to scale x by; 1 where it is 0 or infinite."""
    largest = np.max(np.abs(data(x)), axis=axis, keepdims=True, initial=0, where=where)
    return np.where(np.equal(largest, 0) | np.isinf(largest), largest.dtype.type(1), largest)


def _quotient(a: Array, b: Array) -> Array:
    zero = np.equal(b, 0) & ~np.isnan(a)
    return np.where(zero, 0.0, np.divide(a, np.where(zero, 1.0, b)))


# a / b, and 0 where b is 0: the slope at a kink, whose own derivatives are infinite or NaN.
quotient: Op = define(_quotient, lambda Δ, y, a, b: Δ / b, lambda Δ, y, a, b: -Δ * y / b, name="quotient")

# NumPy's functions with shorter wrappers


def _sum(x: Array, axis: Axis = None, dtype: DType = None, *, keepdims: Option = False, **options: Option) -> Array:
    return np.add.reduce(x, axis, dtype, None, keepdims, **options)  # type: ignore[call-overload]


def _d_sum(
    Δ: Array,
    y: Array,
    x: Array,
    axis: Axis = None,
    dtype: DType = None,
    *,
    keepdims: bool = False,
    where: Where = True,
    **_: Option,
) -> Array:
    return broadcast_grad(Δ, x, axis, keepdims, where)


def _mean(x: Array, axis: Axis = None, dtype: DType = None, **options: Option) -> Array:
    if axis is not None or dtype is not None or options or not x.size or x.dtype == np.float16:
        return np.mean(x, axis, dtype, **options)
    return np.add.reduce(x, None) / x.size


def _d_mean(
    Δ: Array, y: Array, x: Array, axis: Axis = None, dtype: DType = None, *, keepdims: bool = False, where: Where = True
) -> Array:
    if where is True:
        return broadcast_grad(Δ / max(reduced_size(x, axis), 1), x, axis, keepdims)
    return broadcast_grad(
        expand_reduced(Δ, x, axis, keepdims) / np.maximum(reduced_size(x, axis, where), 1), x, axis, True, where
    )


define(np.sum, _d_sum, forward=_sum, as_reduce=np.add)
define(np.mean, _d_mean, forward=_mean)


def _without_given_mean(function: Function) -> Function:
    def reduced(x: Array, axis: Axis = None, dtype: DType = None, **options: Option) -> Array:
        if "mean" in options:
            raise TypeError("a mean that is given is not looked into; leave mean= away")
        return function(x, axis, dtype, **options)

    return reduced


def _d_var(
    Δ: Array,
    y: Array,
    x: Array,
    axis: Axis = None,
    dtype: DType = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    correction: float | None = None,
    where: Where = True,
) -> Array:
    n = reduced_size(x, axis, where) - float(ddof if correction is None else correction)
    if where is not True:
        x = np.where(where, x, 0.0)
    if where is True:  # without degrees of freedom ∞ · 0 = NaN, as the variance
        factor: Option = 2 / n if n > 0 else math.inf
    else:
        factor = np.divide(2, np.maximum(n, 0), dtype=x.dtype)
    δ = expand_reduced(Δ, x, axis, keepdims) * ((x - np.mean(x, axis=axis, keepdims=True, where=where)) * factor)
    return δ if where is True else np.where(where, δ, 0.0)


def _d_std(Δ: Array, y: Array, x: Array, axis: Axis = None, dtype: DType = None, **options: Option) -> Array:
    if x.size and not divides(y, 2):  # squares underflow or overflow: scale x, the slope stays
        where = options.get("where", True)
        x = x - np.mean(data(x), axis=axis, keepdims=True, where=where)
        x = x / extent(x, axis, where)
        y = np.std(x, axis, dtype, **options)
    # 0 where all elements are equal, as in PyTorch
    return _d_var(quotient(Δ, y + y), y, x, axis, dtype, **options)


define(np.var, _d_var, forward=_without_given_mean(np.var))
define(np.std, _d_std, forward=_without_given_mean(np.std))


def grad_of_extremum(
    Δ: Array, y: Array, x: Array, axis: Axis = None, *, keepdims: bool = False, where: Where = True, **_: Option
) -> Array:
    """Share the gradient equally among ties; a NaN gets the gradient of its result."""
    y = expand_reduced(y, x, axis, keepdims)
    at = (np.equal(x, y) | (np.isnan(x) & np.isnan(y))) & where
    return expand_reduced(Δ, x, axis, keepdims) * (at / np.maximum(at.sum(axis=axis, keepdims=True), 1)).astype(x.dtype)


define(np.max, grad_of_extremum, aliases=[np.amax], as_reduce=np.maximum)
define(np.min, grad_of_extremum, aliases=[np.amin], as_reduce=np.minimum)


@composed(np.ptp)
def _ptp(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Array:
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


def merge_axes(x: Array, axis: Axis) -> Array:
    """Merge the reduced axes of x into one, the last."""
    if axis is None or not x.ndim:
        return np.ravel(x)
    axes = tuple(a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,)))
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    front = np.transpose(x, kept + axes)
    return np.reshape(front, (*front.shape[: len(kept)], math.prod(front.shape[len(kept) :])))


def split_axes(flat: Array, x: Array, axis: Axis) -> Array:
    """Undo `merge_axes`."""
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
    dtype: DType = None,
    *,
    keepdims: bool = False,
    where: Where = True,
    initial: Option = 1,
) -> Array:
    Δ, y = expand_reduced(Δ, x, axis, keepdims), expand_reduced(y, x, axis, keepdims)
    if where is not True:
        x, Δ = np.where(where, x, 1.0), np.where(where, Δ, 0.0)
    if divides(y):
        return Δ * y / x
    return Δ * split_axes(products_of_others(merge_axes(x, axis)), x, axis) * initial


def divides(y: Array, power: float = 1) -> bool:
    """Say whether y may divide: no product or sum of such powers is 0, has lost digits or has overflowed."""
    size = np.abs(data(y))
    ends = np.finfo(size.dtype)
    return bool(np.all((size >= ends.tiny ** (1 / power)) & (size < ends.max ** (1 / power))))


def products_before(x: Array) -> Array:
    """Return for each element along the last axis the product of those before it."""
    return np.cumprod(np.concatenate([np.ones((*x.shape[:-1], 1), x.dtype), x[..., :-1]], axis=-1), axis=-1)


def products_of_others(x: Array) -> Array:
    """Return for each element along the last axis the product of all others; right at zeros and to any order."""
    if not x.shape[-1]:
        return x
    return products_before(x) * np.flip(products_before(np.flip(x, -1)), -1)


define(np.prod, _d_prod, as_reduce=np.multiply)

# -- passing over NaN --------------------------------------------------------------------------------


def _ignoring_nan(rule: VJP) -> Array:
    return lambda Δ, y, x, *args, where=True, **options: rule(Δ, y, x, *args, where=where & ~np.isnan(x), **options)


for function, rule in (
    (np.nansum, _d_sum),
    (np.nanmean, _d_mean),
    (np.nanprod, _d_prod),
    (np.nanvar, _d_var),
    (np.nanstd, _d_std),
    (np.nanmax, grad_of_extremum),
    (np.nanmin, grad_of_extremum),
):
    define(function, _ignoring_nan(rule), forward=_without_given_mean(function) if rule in (_d_var, _d_std) else None)

# -- averages ----------------------------------------------------------------------------------------


@composed(np.average)
def _average(
    a: Array, axis: Axis = None, weights: Array = None, returned: bool = False, *, keepdims: bool = False
) -> Array:
    if weights is None:
        y: Array = np.mean(a, axis=axis, keepdims=keepdims)
        total: Array = y.dtype.type(a.size / max(y.size, 1))
    else:
        (w,) = as_arrays(weights)
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


def _logsumexp(x: Array, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """Logarithm of the sum of exponentials, log Σ exp(x); right for ±1e4.

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
    """
    x = as_floats(x)
    top = np.max(x, axis=axis, keepdims=True, initial=-math.inf)
    top = np.where(np.isfinite(top), top, top.dtype.type(0))
    with np.errstate(divide="ignore", over="ignore"):  # log 0 is -∞
        y = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return y if keepdims or not y.ndim else np.squeeze(y, axis=axis)  # NumPy reduces a scalar along 0 and -1 too


def grad_of_logsumexp(Δ: Array, y: Array, x: Array, axis: Axis = None, *, keepdims: bool = False) -> Array:
    Δ, y = expand_reduced(Δ, x, axis, keepdims), expand_reduced(y, x, axis, keepdims)
    infinite = np.isinf(y)
    at = np.isinf(y) & np.equal(x, y)  # infinite elements share the gradient of an infinite sum
    share = (at / np.maximum(np.sum(at, axis=axis, keepdims=True), 1)).astype(x.dtype)
    x = np.where(infinite, 0.0, x)
    e = np.exp(x - np.max(data(x), axis=axis, keepdims=True, initial=-math.inf))  # x - y loses digits
    return Δ * np.where(infinite, share, e / np.sum(e, axis=axis, keepdims=True))


logsumexp = define(_logsumexp, grad_of_logsumexp, name="logsumexp")

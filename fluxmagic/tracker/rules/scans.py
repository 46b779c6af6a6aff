"""Running sums, products and other results along an axis, and differences."""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from fluxmagic.tracker.aliases import VJP, Array, Axis, DType, Function, Gradients, GradOut, Option, Where
from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.operation import OPS, Op, composed, define
from fluxmagic.tracker.rules.elementwise import softmax2_share, softmax_share  # enters the ufuncs' rules
from fluxmagic.tracker.rules.reductions import divides, grad_of_extremum, grad_of_logsumexp, products_before

# -- running sums and products -----------------------------------------------------------------------


def _reversed_cumsum(Δ: Array, axis: int) -> Array:
    return np.flip(np.cumsum(np.flip(Δ, axis), axis), axis)


def _d_cumsum(Δ: Array, y: Array, x: Array, axis: int | None = None, dtype: DType = None) -> Array:
    return np.reshape(_reversed_cumsum(Δ, -1 if axis is None else axis), x.shape)


def _d_cumprod(Δ: Array, y: Array, x: Array, axis: int | None = None, dtype: DType = None) -> Array:
    if axis is None:
        return np.reshape(_d_cumprod(Δ, y, np.ravel(x), 0), x.shape)
    if divides(y) and divides(x):
        return _reversed_cumsum(Δ * y, axis) / x
    x, Δ = np.moveaxis(x, axis, -1), np.moveaxis(Δ, axis, -1)
    # δᵢ = x₀…xᵢ₋₁ (Δᵢ + xᵢ₊₁ (Δᵢ₊₁ + xᵢ₊₂ (…))), without division: right at zeros and to any order
    after = np.concatenate([x[..., 1:], np.ones((*x.shape[:-1], 1), x.dtype)], axis=-1)[..., : x.shape[-1]]
    sums = np.flip(RECURRENCE(np.flip(after, -1), np.flip(Δ, -1)), -1)
    return np.moveaxis(products_before(x) * sums, -1, axis)


def _recurrence(a: Array, b: Array) -> Array:
    """Return hᵢ = aᵢ hᵢ₋₁ + bᵢ along the last axis, from h₋₁ = 0."""
    a, h = np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0).copy()
    for i in range(1, len(h)):
        h[i] += a[i] * h[i - 1]
    return np.moveaxis(h, 0, -1)


def _d_recurrence(Δ: Array, y: Array, a: Array, b: Array, grad_out: GradOut) -> Gradients:
    zero = np.zeros((*y.shape[:-1], 1), y.dtype)
    # the first element of `a` is not used
    δ = np.flip(RECURRENCE(np.concatenate([zero, np.flip(a, -1)], axis=-1)[..., :-1], np.flip(Δ, -1)), -1)
    return δ * np.concatenate([zero, y], axis=-1)[..., :-1], δ


RECURRENCE: Op = define(_recurrence, vjp=_d_recurrence, name="recurrence")


define(np.cumsum, _d_cumsum, as_accumulate=np.add)
define(np.cumprod, _d_cumprod, as_accumulate=np.multiply)


def _with_initial(
    x: Array, axis: int | None, dtype: DType, include_initial: bool, scan: Function, initial: float
) -> Array:
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
    def _cumulative_sum(
        x: Array, /, *, axis: int | None = None, dtype: DType = None, include_initial: bool = False
    ) -> Array:
        return _with_initial(x, axis, dtype, include_initial, np.cumsum, 0)

    @composed(np.cumulative_prod)
    def _cumulative_prod(
        x: Array, /, *, axis: int | None = None, dtype: DType = None, include_initial: bool = False
    ) -> Array:
        return _with_initial(x, axis, dtype, include_initial, np.cumprod, 1)


@composed(np.diff)
def _diff(a: Array, n: int = 1, axis: int = -1, prepend: Array = None, append: Array = None) -> Array:
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
def _trapezoid(y: Array, x: Array = None, dx: Array = 1.0, axis: int = -1) -> Array:
    axis = normalize_axis_index(axis, np.ndim(y))
    if x is not None:
        dx = np.diff(x) if np.ndim(x) == 1 else np.diff(x, axis=axis)
        if np.ndim(x) == 1:
            dx = np.reshape(dx, (-1,) + (1,) * (np.ndim(y) - axis - 1))
    before = (slice(None),) * axis
    return np.sum(dx * (y[(*before, slice(1, None))] + y[(*before, slice(None, -1))]) / 2.0, axis=axis)


# -- running results of other ufuncs ---------------------------------------------------------------------


def _accumulated(ufunc: np.ufunc) -> None:
    """Enter `ufunc.accumulate`.  Each result is f(the one before, x), so its gradient follows from f's."""
    to_before: Option
    to_x: Option
    to_before, to_x = OPS[ufunc].vjps

    def rule(Δ: Array, y: Array, x: Array, axis: int = 0, dtype: DType = None) -> Array:
        if not x.shape[axis]:
            return Δ
        Δ, y, x = (np.moveaxis(a, axis, -1) for a in (Δ, y, x))
        ones = np.ones(y[..., 1:].shape, y.dtype)
        args = ones, y[..., 1:], y[..., :-1], x[..., 1:]
        # Δⱼ + aⱼ₊₁ (Δⱼ₊₁ + aⱼ₊₂ (…)), by doubling: after k rounds each sum has 2ᵏ terms
        weight = to_before(*args)
        step, n = 1, x.shape[-1]
        while step < n:
            Δ = np.concatenate([Δ[..., :-step] + weight * Δ[..., step:], Δ[..., n - step :]], axis=-1)
            weight = weight[..., :-step] * weight[..., step:]
            step *= 2
        Δ = np.concatenate([Δ[..., :1], Δ[..., 1:] * to_x(*args)], axis=-1)
        return np.moveaxis(Δ, -1, axis)

    define(
        lambda x, axis=0, dtype=None: ufunc.accumulate(x, axis, dtype),
        rule,
        name=f"{ufunc.__name__}.accumulate",
        as_accumulate=ufunc,
    )


for ufunc in (np.maximum, np.minimum, np.fmax, np.fmin, np.logaddexp, np.logaddexp2, np.hypot, np.subtract, np.divide):
    _accumulated(ufunc)

# -- reductions of the ufuncs that have no function of their own ---------------------------------------


def _reduced(ufunc: np.ufunc, rule: VJP) -> None:
    """Enter `ufunc.reduce`, whose axis is 0 where none is given."""

    def reduce(x: Array, axis: Axis = 0, dtype: DType = None, keepdims: bool = False, **options: Option) -> Array:
        if isinstance(options.get("initial"), Tracked):
            raise TypeError("no gradient passes through initial=; give it as a plain number (.data)")
        return ufunc.reduce(x, axis, dtype, keepdims=keepdims, **options)

    define(reduce, rule, name=f"{ufunc.__name__}.reduce", as_reduce=ufunc)


def _of_exponentials(ufunc: np.ufunc, share: Function, unit: float) -> Array:
    def rule(
        Δ: Array, y: Array, x: Array, axis: Axis = 0, *, initial: Option = None, where: Where = True, **options: Option
    ) -> Array:
        keepdims = options.get("keepdims", False)
        if where is not True:
            x = np.where(where, x, -np.inf)
        without = ufunc.reduce(x, axis, keepdims=keepdims)
        if initial is not None:
            Δ = share(Δ, y, without, y.dtype.type(initial))
        return np.where(where, grad_of_logsumexp(Δ, without * unit, x * unit, axis, keepdims=keepdims), 0.0)

    return rule


def _of_numbers(Δ: Array, y: Array, x: Array, axis: Axis = 0, *, where: Where = True, **options: Option) -> Array:
    return grad_of_extremum(Δ, y, x, axis, where=where & ~np.isnan(x), **options)


_reduced(np.logaddexp, _of_exponentials(np.logaddexp, softmax_share, 1.0))
_reduced(np.logaddexp2, _of_exponentials(np.logaddexp2, softmax2_share, math.log(2)))
_reduced(np.fmax, _of_numbers)
_reduced(np.fmin, _of_numbers)

# -- running sums and products that pass over NaN ------------------------------------------------------


@composed(np.nancumsum)
def _nancumsum(a: Array, axis: int | None = None, dtype: DType = None) -> Array:
    return np.cumsum(np.where(np.isnan(a), 0.0, a), axis, dtype)


@composed(np.nancumprod)
def _nancumprod(a: Array, axis: int | None = None, dtype: DType = None) -> Array:
    return np.cumprod(np.where(np.isnan(a), 1.0, a), axis, dtype)

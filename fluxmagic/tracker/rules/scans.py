"""Running results of ufuncs: np.maximum.accumulate and its kind; sums that pass over NaN."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fluxmagic.tracker.aliases import Array
from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.operation import OPS, composed, define
from fluxmagic.tracker.rules import elementwise as elementwise  # the ufuncs' own rules have to be there
from fluxmagic.tracker.rules.elementwise import _share, _share2
from fluxmagic.tracker.rules.reductions import Axis, _d_logsumexp, d_extreme


def _accumulated(ufunc: Any) -> None:
    """Enter `ufunc.accumulate`.  Each result is f(the one before, x): its gradient is that of f, link by link."""
    to_before: Any
    to_x: Any
    to_before, to_x = OPS[ufunc].vjps

    def rule(Δ: Array, y: Array, x: Array, axis: int = 0, dtype: Any = None) -> Array:
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


def _reduced(ufunc: Any, rule: Any) -> None:
    """Enter `ufunc.reduce`, whose axis is 0 where none is given."""

    def reduce(x: Any, axis: Axis = 0, dtype: Any = None, keepdims: bool = False, **options: Any) -> Any:
        if isinstance(options.get("initial"), Tracked):
            raise TypeError("no gradient passes through initial=; give it as a plain number (.data)")
        return ufunc.reduce(x, axis, dtype, keepdims=keepdims, **options)

    define(reduce, rule, name=f"{ufunc.__name__}.reduce", as_reduce=ufunc)


def _of_exponentials(ufunc: Any, share: Any, unit: float) -> Any:
    def rule(
        Δ: Array,
        y: Array,
        x: Array,
        axis: Axis = 0,
        dtype: Any = None,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = True,
    ) -> Array:
        if where is not True:
            x = np.where(where, x, -np.inf)
        without = ufunc.reduce(x, axis, keepdims=keepdims)
        if initial is not None:
            Δ = share(Δ, without, y.dtype.type(initial))
        return np.where(where, _d_logsumexp(Δ, without * unit, x * unit, axis, keepdims=keepdims), 0.0)

    return rule


def _of_numbers(Δ: Array, y: Array, x: Array, axis: Axis = 0, *, where: Any = True, **options: Any) -> Array:
    return d_extreme(Δ, y, x, axis, where=where & ~np.isnan(x), **options)


_reduced(np.logaddexp, _of_exponentials(np.logaddexp, _share, 1.0))
_reduced(np.logaddexp2, _of_exponentials(np.logaddexp2, _share2, math.log(2)))
_reduced(np.fmax, _of_numbers)
_reduced(np.fmin, _of_numbers)

# -- running sums and products that pass over NaN ------------------------------------------------------


@composed(np.nancumsum)
def _nancumsum(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    return np.cumsum(np.where(np.isnan(a), 0.0, a), axis, dtype)


@composed(np.nancumprod)
def _nancumprod(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    return np.cumprod(np.where(np.isnan(a), 1.0, a), axis, dtype)

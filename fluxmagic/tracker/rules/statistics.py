"""Statistics of samples: covariances, quantiles that pass over NaN, weighted counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from fluxmagic.tracker.aliases import Array
from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.node import data
from fluxmagic.tracker.operation import composed, define
from fluxmagic.tracker.rules.reductions import Axis, lines, restore, unlines

# -- covariances -------------------------------------------------------------------------------------


def _d_cov(
    Δ: Array,
    y: Array,
    x: Array,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    dtype: Any = None,
) -> Array:
    """The mean moves with x too, but the deviations from it sum to zero: that part of the gradient is nothing."""
    w = np.ones(x.shape[1]) if fweights is None else np.asarray(fweights, float)
    if aweights is not None:
        w = w * np.asarray(aweights, float)
    ddof = int(not bias) if ddof is None else ddof
    lost = ddof if aweights is None else ddof * np.sum(w * aweights) / np.sum(w)
    deviation = x - np.average(x, axis=1, weights=w)[:, None]
    Δ = np.reshape(Δ, (len(x), len(x)))
    return np.matmul(Δ + Δ.T, deviation * (w / (np.sum(w) - lost)))


def _with_tracked_weights(x: Array, ddof: int, fweights: Any, aweights: Array) -> Array:
    aweights = aweights.astype(np.float64)
    w = aweights if fweights is None else np.multiply(fweights, aweights)
    total: Any = np.sum(w)
    deviation = x - (np.sum(x * w, axis=1) / total)[:, None]
    c = np.matmul(deviation * w, deviation.T) / (total - ddof * np.sum(w * aweights) / total)
    return np.squeeze(c)


COV = define(lambda x, **options: np.cov(x, **options), _d_cov, name="cov")


def _variables(x: Any, rowvar: bool) -> Any:
    """A matrix with one row for each variable."""
    if x.ndim > 2:
        raise ValueError(f"variables and observations make two axes, not the {x.ndim} of shape {x.shape}")
    if not x.size:
        raise ValueError(f"an array of shape {x.shape} has no observations")
    return x.T if not rowvar and x.ndim == 2 else np.atleast_2d(x)


@composed(np.cov)
def _cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    if isinstance(fweights, Tracked):
        raise TypeError("fweights= are counts, and have no gradient; give them as a plain array (.data)")
    both = [x if isinstance(x, Tracked) else np.asarray(x) for x in (m, y) if x is not None]
    x = np.concatenate([_variables(x, rowvar) for x in both]) if y is not None else _variables(both[0], rowvar)
    if isinstance(aweights, Tracked):
        x = x if dtype is None else x.astype(dtype)
        COV(data(x), bias=bias, ddof=ddof, fweights=fweights, aweights=aweights.data)  # NumPy's checks and messages
        return _with_tracked_weights(x, int(not bias) if ddof is None else ddof, fweights, aweights)
    return COV(x, bias=bias, ddof=ddof, fweights=fweights, aweights=aweights, dtype=dtype)


@composed(np.corrcoef)
def _corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    c = np.cov(x, y, rowvar, dtype=dtype)
    if not c.ndim:
        return c / c
    deviation = np.sqrt(np.diag(c))
    return np.clip(c / deviation[:, None] / deviation[None, :], -1, 1)


# -- quantiles ---------------------------------------------------------------------------------------


def _d_nan_at(Δ: Array, x: Array, axis: Axis, keepdims: bool, q: float) -> Array:
    """As of `np.quantile`, but each line has a length of its own: without its NaN."""
    flat = lines(np.asarray(data(x)), axis)
    last = np.sum(~np.isnan(flat), axis=-1, keepdims=True) - 1
    place = np.maximum(q * last, 0.0)
    low = np.floor(place).astype(int)
    weights = np.zeros_like(flat)
    if flat.shape[-1]:
        order = np.argsort(flat, axis=-1, kind="stable")  # NaN last
        for at, weight in ((low, 1 - (place - low)), (np.minimum(low + 1, np.maximum(last, 0)), place - low)):
            at = np.take_along_axis(order, at, -1)
            weight = np.take_along_axis(weights, at, -1) + np.where(last < 0, 0.0, weight)
            np.put_along_axis(weights, at, weight.astype(flat.dtype), -1)
    return restore(Δ, x, axis, keepdims) * unlines(weights, x, axis)


def _nan_quantiles(function: Any, unit: float) -> None:
    op = define(
        lambda x, q, axis=None, keepdims=False: function(x, q, axis, keepdims=keepdims),
        lambda Δ, y, x, q, axis=None, keepdims=False: _d_nan_at(Δ, x, axis, keepdims, float(q) / unit),
        name=function.__name__,
    )

    def at(
        a: Any,
        q: Any,
        axis: Axis = None,
        overwrite_input: bool = False,
        method: str = "linear",
        keepdims: bool = False,
        *,
        weights: Any = None,
    ) -> Any:
        if method != "linear" or weights is not None or isinstance(q, Tracked):
            raise TypeError(
                "a gradient goes to the values alone, with method='linear' and no weights; give a tracked q as q.data"
            )
        if np.ndim(q):
            return np.stack([at(a, np.asarray(q)[i, ...], axis, keepdims=keepdims) for i in range(len(q))])
        return op(a, q=q, axis=axis, keepdims=keepdims)

    composed(function)(at)


_nan_quantiles(np.nanquantile, 1)
_nan_quantiles(np.nanpercentile, 100)
NANMEDIAN = define(
    lambda x, axis=None, keepdims=False: np.nanmedian(x, axis, keepdims=keepdims),
    lambda Δ, y, x, axis=None, keepdims=False: _d_nan_at(Δ, x, axis, keepdims, 0.5),
    name="nanmedian",
)


@composed(np.nanmedian)
def _nanmedian(a: Any, axis: Axis = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    return NANMEDIAN(a, axis=axis, keepdims=keepdims)  # the input is never overwritten


# -- weighted counts ---------------------------------------------------------------------------------

BINCOUNT = define(
    lambda weights, x, minlength: np.bincount(x, weights, minlength),
    lambda Δ, y, weights, x, minlength: Δ[np.asarray(x)],
    name="bincount",
)


@composed(np.bincount)
def _bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    if isinstance(x, Tracked):
        raise TypeError("a tracked array holds no integers to count; only weights= may be tracked")
    return BINCOUNT(weights, x=x, minlength=minlength)

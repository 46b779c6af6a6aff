"""Statistics of samples: covariances, quantiles without NaN, weighted counts."""

from __future__ import annotations

import numpy as np

from fluxmagic.tracker.aliases import Array, DType, Option
from fluxmagic.tracker.array import Tracked, as_arrays
from fluxmagic.tracker.node import data
from fluxmagic.tracker.operation import composed, define

# -- covariances -------------------------------------------------------------------------------------


def _d_cov(
    Δ: Array,
    y: Array,
    x: Array,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Option = None,
    aweights: Array = None,
    dtype: DType = None,
) -> Array:
    """The mean's part of the gradient is 0: the deviations from it sum to 0."""
    w = np.ones(x.shape[1]) if fweights is None else np.asarray(fweights, float)
    if aweights is not None:
        w = w * np.asarray(aweights, float)
    ddof = int(not bias) if ddof is None else ddof
    lost = ddof if aweights is None else ddof * np.sum(w * aweights) / np.sum(w)
    deviation = x - np.average(x, axis=1, weights=w)[:, None]
    Δ = np.reshape(Δ, (len(x), len(x)))
    return np.matmul(Δ + Δ.T, deviation * (w / (np.sum(w) - lost)))


def _with_tracked_weights(x: Array, ddof: int, fweights: Option, aweights: Array) -> Array:
    aweights = aweights.astype(np.float64)
    w = aweights if fweights is None else np.multiply(fweights, aweights)
    total: Array = np.sum(w)
    deviation = x - (np.sum(x * w, axis=1) / total)[:, None]
    c = np.matmul(deviation * w, deviation.T) / (total - ddof * np.sum(w * aweights) / total)
    return np.squeeze(c)


COV = define(lambda x, **options: np.cov(x, **options), _d_cov, name="cov")


def _variables(x: Array, rowvar: bool) -> Array:
    """Return a matrix with one row for each variable."""
    if x.ndim > 2:
        raise ValueError(f"variables and observations make two axes, not the {x.ndim} of shape {x.shape}")
    if not x.size:
        raise ValueError(f"an array of shape {x.shape} has no observations")
    return x.T if not rowvar and x.ndim == 2 else np.atleast_2d(x)


@composed(np.cov)
def _cov(
    m: Array,
    y: Array = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Option = None,
    aweights: Array = None,
    *,
    dtype: DType = None,
) -> Array:
    if isinstance(fweights, Tracked):
        raise TypeError("fweights= are counts, and have no gradient; give them as a plain array (.data)")
    both = as_arrays(*(x for x in (m, y) if x is not None))
    x = np.concatenate([_variables(x, rowvar) for x in both]) if y is not None else _variables(both[0], rowvar)
    if isinstance(aweights, Tracked):
        x = x if dtype is None else x.astype(dtype)
        COV(data(x), bias=bias, ddof=ddof, fweights=fweights, aweights=aweights.data)  # NumPy's checks and messages
        return _with_tracked_weights(x, int(not bias) if ddof is None else ddof, fweights, aweights)
    return COV(x, bias=bias, ddof=ddof, fweights=fweights, aweights=aweights, dtype=dtype)


@composed(np.corrcoef)
def _corrcoef(x: Array, y: Array = None, rowvar: bool = True, *, dtype: DType = None) -> Array:
    c = np.cov(x, y, rowvar, dtype=dtype)
    if not c.ndim:
        return c / c
    deviation = np.sqrt(np.diag(c))
    return np.clip(c / deviation[:, None] / deviation[None, :], -1, 1)


# -- weighted counts ---------------------------------------------------------------------------------

BINCOUNT = define(
    lambda weights, x, minlength: np.bincount(x, weights, minlength),
    lambda Δ, y, weights, x, minlength: Δ[np.asarray(x)],
    name="bincount",
)


@composed(np.bincount)
def _bincount(x: Array, /, weights: Array = None, minlength: int = 0) -> Array:
    if isinstance(x, Tracked):
        raise TypeError("a tracked array holds no integers to count; only weights= may be tracked")
    return BINCOUNT(weights, x=x, minlength=minlength)

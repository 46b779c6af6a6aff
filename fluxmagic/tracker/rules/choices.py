"""Functions in pieces, choices by number, and powers of a vector."""

from __future__ import annotations

import math

import numpy as np

from fluxmagic.tracker.aliases import Array, Option
from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.node import data
from fluxmagic.tracker.operation import Op, composed, define
from fluxmagic.tracker.rules.shapes import SCATTER


@composed(np.piecewise)
def _piecewise(x: Array, condlist: Option, funclist: Option, *args: Array, **kw: Option) -> Array:
    if isinstance(condlist, Tracked):
        raise TypeError("conditions are plain truth values, as comparisons give them")
    if np.isscalar(condlist) or (x.ndim and not isinstance(condlist[0], (list, np.ndarray))):
        condlist = [condlist]
    conditions = np.asarray(condlist, bool)
    if len(funclist) == len(conditions) + 1:
        conditions = np.concatenate([conditions, ~np.any(conditions, axis=0, keepdims=True)])
    elif len(funclist) != len(conditions):
        n = len(conditions)
        raise ValueError(f"{n} conditions take {n} or {n + 1} functions, not {len(funclist)}")
    y: Array = np.zeros(x.shape, x.dtype)
    for condition, f in zip(conditions, funclist, strict=True):
        if not callable(f):
            y = np.where(condition, f, y)
        elif condition.any():
            chosen = x[condition]
            piece = np.broadcast_to(f(chosen, *args, **kw), chosen.shape)
            y = np.where(condition, SCATTER(piece, index=condition, shape=x.shape), y)
    return y.astype(x.dtype) if isinstance(y, Tracked) else y + 0 * x


@composed(np.choose)
def _choose(a: Array, choices: Array, out: Option = None, mode: str = "raise") -> Array:
    if isinstance(a, Tracked):
        raise TypeError("a tracked array holds no integers to choose by; only the choices may be tracked")
    given = np.broadcast_arrays(*choices)
    dtype = np.result_type(*map(data, choices))
    number = np.arange(given[0].size).reshape(given[0].shape)  # NumPy chooses among the elements' positions
    source = np.choose(a, [number + k * number.size for k in range(len(given))], mode=mode)  # type: ignore[call-overload]
    return np.ravel(np.stack([part.astype(dtype) for part in given]))[source]


@composed(np.ediff1d)
def _ediff1d(ary: Array, to_end: Array = None, to_begin: Array = None) -> Array:
    flat = np.ravel(ary)
    parts = [to_begin, flat[1:] - flat[:-1], to_end]
    if to_begin is None and to_end is None:
        return parts[1]
    return np.concatenate([np.ravel(part).astype(flat.dtype) for part in parts if part is not None])


def _d_vander(Δ: Array, y: Array, x: Array, N: int | None = None, increasing: bool = False) -> Array:
    n = y.shape[1]
    if not increasing:
        Δ = np.flip(Δ, 1)
    powers = np.vander(x, max(n - 1, 0), True) * np.arange(1, max(n, 1), dtype=y.dtype)
    return np.sum(Δ[:, 1:] * powers, axis=1)


define(np.vander, _d_vander)

# -- Bessel's function I₀, whose k-th derivative is the mean of cosᵏθ exp(x cos θ) over a circle ----------

_COSINES = np.cos((np.arange(64) + 0.5) * (math.pi / 128)).tolist()  # 256 points: exact to the last digits up to 700


def _bessel(x: Array, k: int) -> Array:
    f = np.sinh if k % 2 else np.cosh
    y = sum(f(x * c) * c**k for c in _COSINES) / len(_COSINES)
    return np.asarray(y, x.dtype)[()]


BESSEL: Op = define(_bessel, lambda Δ, y, x, k: Δ * BESSEL(x, k=k + 1), name="_bessel")
define(np.i0, lambda Δ, y, x: Δ * BESSEL(x, k=1))

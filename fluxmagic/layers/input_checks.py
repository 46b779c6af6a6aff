"""Checks of what layers, losses and metrics are called with; each returns the checked value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fluxmagic.tracker import Tracked
from fluxmagic.tracker.aliases import Array
from fluxmagic.tracker.node import PLAIN_ARRAYS

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["as_array", "as_dtype", "as_layer_input", "as_width", "extremes"]


def as_array(name: str, x: object) -> Array:
    """Convert untracked data to an array.  Refuse a masked one: hidden entries would count."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name}: a masked array would lose its mask; fill it first (a.filled(...))")
    return x if type(x) in PLAIN_ARRAYS else np.asarray(x)


def as_layer_input(layer: object, x: Array, n: int, dtype: np.dtype[Any]) -> Array:
    """Convert input to an array of the layer's dtype, and require n entries along its last axis."""
    value = x.value if type(x) is Tracked else x
    if type(value) is np.ndarray and value.dtype == dtype and value.shape[-1:] == (n,):
        return x  # most are such
    if not isinstance(x, (np.ndarray, Tracked)):
        x = np.asarray(x)
    if x.dtype != dtype:
        if x.dtype.kind not in "fiub":
            fix = ": x.astype(float) converts columns of several types" if x.ndim and x.dtype.kind == "O" else ""
            raise TypeError(f"{layer!r} takes numbers, not {x.dtype}{fix}")
        x = x.astype(dtype)
    if not x.ndim or x.shape[-1] != n:
        raise ValueError(f"{layer!r} takes input of width {n}, shape (..., {n}), not of shape {x.shape}")
    return x


def as_width(name: str, n: int) -> int:
    """Require a positive integer."""
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 1:
        raise ValueError(f"{name}: widths are positive integers, not {n!r}")
    return int(n)


def as_dtype(name: str, dtype: DTypeLike) -> np.dtype[Any]:
    """Require a dtype that parameters can have."""
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: dtype is float32 or float64, not {dtype}")
    return dtype


def extremes(x: np.ndarray) -> tuple[float, float]:
    """Return the smallest and the largest entry; NaN if there is one.  Twice as fast as `min` and `max`."""
    return (x.item(x.argmin()), x.item(x.argmax())) if x.size else (0.0, 0.0)

"""What layers of a fixed width take as input."""

from __future__ import annotations

from typing import Any

import numpy as np

from fluxmagic.tracker import Tracked

__all__ = ["as_array", "as_dtype", "as_layer_input", "as_width"]


def as_array(name: str, x: Any) -> np.ndarray:
    """Anything untracked as an array.  A masked one is refused: what it hides would count."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name}: a masked array would lose its mask; fill it first (a.filled(...))")
    return np.asarray(x)


def as_layer_input(layer: Any, x: Any, n: int, dtype: np.dtype[Any]) -> Any:
    """Input as an array of the layer's dtype, with n entries along its last axis."""
    if not isinstance(x, (np.ndarray, Tracked)):
        x = np.asarray(x)
    if x.dtype != dtype:
        if x.dtype.kind not in "fiub":
            fix = (
                ": x.astype(float) makes numbers of columns of several types" if x.ndim and x.dtype.kind == "O" else ""
            )
            raise TypeError(f"{layer!r} takes numbers, not {x.dtype}{fix}")
        x = x.astype(dtype)
    if not x.ndim or x.shape[-1] != n:
        raise ValueError(f"{layer!r} takes input of width {n}, shape (..., {n}), not of shape {x.shape}")
    return x


def as_width(name: str, n: Any) -> int:
    """Refuse a width that is no positive integer."""
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 1:
        raise ValueError(f"{name}: widths are positive integers, not {n!r}")
    return int(n)


def as_dtype(name: str, dtype: Any) -> np.dtype[Any]:
    """Refuse what parameters cannot be made of."""
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: dtype is float32 or float64, not {dtype}")
    return dtype  # type: ignore[no-any-return]

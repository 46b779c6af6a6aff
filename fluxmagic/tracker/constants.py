"""Arrays that steps need again and again, read-only."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["BLAS_FLOATS", "MAX_BLAS_SUM", "ones", "scalar"]

BLAS_FLOATS = frozenset(map(np.dtype, "fd"))
"""The dtypes that BLAS knows."""
MAX_BLAS_SUM = 1 << 16
"""The most numbers that BLAS may add in single precision: of 10⁷ it loses four digits."""


def _read_only(a: np.ndarray) -> np.ndarray:
    a.flags.writeable = False
    return a


@lru_cache(maxsize=64)
def ones(n: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Give a vector of ones: a product with it sums up rows or columns in a third of the time of `np.add.reduce`."""
    return _read_only(np.ones(n, dtype))


@lru_cache(maxsize=256)
def scalar(value: float, dtype: np.dtype[Any]) -> np.ndarray:
    """Give a 0-d array, which NumPy takes 0.3 µs faster than a Python number."""
    return _read_only(np.array(value, dtype))

"""Gradients checked against differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fluxmagic.tracker.aliases import ArrayLike
from fluxmagic.tracker.gradients import gradient
from fluxmagic.tracker.node import data

__all__ = ["gradcheck", "ngradient"]


def ngradient(f: Callable[..., Any], *xs: ArrayLike, step: float = 6e-6) -> tuple[np.ndarray, ...]:
    """Gradients of a scalar function by central differences.

    Parameters
    ----------
    f : callable
        Of arrays, to a scalar.
    *xs : array_like
        float64 (integers become float64).
    step : float
        How far apart, relative to the larger of 1 and the element.

    Returns
    -------
    tuple of ndarray
        One for each argument, of its shape, float64.

    Raises
    ------
    TypeError
        If an argument, or f's value, is float32: differences need the digits of float64.

    Examples
    --------
    >>> from fluxmagic.tracker import ngradient
    >>> print(ngradient(lambda x: x ** 2, 3.0)[0].round(6))
    6.0
    """
    arrays = [_float64(x, i) for i, x in enumerate(xs)]
    gradients = []
    for x in arrays:
        δ = np.zeros_like(x)
        for i in np.ndindex(*x.shape):
            at = float(x[i])
            h = step * max(1.0, abs(at))
            x[i] = at + h
            up = _value(f, arrays)
            x[i] = at - h
            down = _value(f, arrays)
            x[i] = at
            δ[i] = (up - down) / (2 * h)
        gradients.append(δ)
    return tuple(gradients)


def _float64(x: ArrayLike, i: int) -> np.ndarray:
    x = np.asarray(data(x))
    if x.dtype.kind == "f" and x.dtype != np.float64:
        raise TypeError(f"differences need float64, and argument {i} is {x.dtype}: use x.astype(np.float64)")
    return np.array(x, np.float64)


def _value(f: Callable[..., Any], arrays: list[np.ndarray]) -> float:
    y = data(f(*[a.copy() for a in arrays]))
    y = np.asarray(y)
    if y.shape != ():
        raise ValueError(f"gradcheck and ngradient take a scalar function, and this one gave shape {y.shape}")
    if y.dtype.kind == "f" and y.dtype != np.float64:
        raise TypeError(
            f"differences need float64, and the function gave {y.dtype}: build layers with dtype=np.float64"
        )
    return float(y)


def gradcheck(f: Callable[..., Any], *xs: ArrayLike, rtol: float = 1e-5, atol: float = 1e-6) -> bool:
    """Check `gradient(f, *xs)` against central differences.

    Parameters
    ----------
    f : callable
        Of arrays, to a scalar; differentiable near xs.
    *xs : array_like
        float64.
    rtol, atol : float
        How far the two may be apart, relative and absolute.

    Returns
    -------
    bool
        True.

    Raises
    ------
    AssertionError
        With the argument, the element and both values, where they differ.
    TypeError
        If float32 is involved.

    Notes
    -----
    `np.linalg.cholesky`, `eigh` and `eigvalsh` take their matrix as symmetric and read one half of it; their gradient
    is symmetric, while differences change one element of a pair at a time.  Check `lambda x: f(x + x.T)`.

    Examples
    --------
    >>> from fluxmagic.tracker import gradcheck
    >>> gradcheck(lambda x: np.sum(np.sin(x)), [1.0, 2.0])
    True
    """
    expected = ngradient(f, *xs)
    found = gradient(f, *[_float64(x, i) for i, x in enumerate(xs)])
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        a = np.asarray(data(a))
        close = np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
        if not close.all():
            at = tuple(int(k) for k in np.argwhere(~close)[0])
            raise AssertionError(
                f"argument {i}, element {at}: gradient() gives {a[at]:.8g}, central differences {b[at]:.8g}"
            )
    return True

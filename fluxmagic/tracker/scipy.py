"""Functions of SciPy for tracked arrays: those that are no ufuncs.

SciPy's ufuncs (`scipy.special.erf`, `gammaln`, `huber`, …) take tracked arrays.  Its other functions convert their
arguments to plain arrays; these take tracked ones, with SciPy's names and arguments.  Plain arrays go to SciPy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import linalg, special

from fluxmagic.docstrings import with_sections
from fluxmagic.tracker.aliases import Array, ArrayLike, Axis, Gradients, GradOut
from fluxmagic.tracker.array import Tracked, as_arrays
from fluxmagic.tracker.node import data
from fluxmagic.tracker.operation import Op, define
from fluxmagic.tracker.rules.reductions import logsumexp as without_factors
from fluxmagic.tracker.rules.special import POLYGAMMA

__all__ = ["log_softmax", "logsumexp", "multigammaln", "polygamma", "softmax", "solve_triangular"]


def _top(x: Array, axis: Axis) -> Array:
    """Return the largest element, plain; subtracted before exp it does not change the result."""
    top = np.max(data(x), axis=axis, keepdims=True, initial=-np.inf)
    return np.where(np.isfinite(top), top, top.dtype.type(0))


def logsumexp(
    a: ArrayLike, axis: Axis = None, b: ArrayLike = None, keepdims: bool = False, return_sign: bool = False
) -> Array:
    """`scipy.special.logsumexp`: the logarithm of the sum of exponentials, log Σ b exp(a).

    Parameters
    ----------
    a : array_like
        Of any shape.
    axis : int or tuple of int, optional
        Default: all.
    b : array_like, optional
        Factors; they broadcast against a.
    keepdims : bool
        Keep the axes, with length 1.
    return_sign : bool
        Give the logarithm of the absolute value, and the sign beside it.

    Returns
    -------
    array, or a pair of arrays
        Tracked if a or b is; the sign is plain.

    Examples
    --------
    >>> from fluxmagic.tracker.scipy import logsumexp
    >>> logsumexp([1000.0, 1000.0], b=[1.0, 2.0]).round(3)
    np.float64(1001.099)
    """
    if not isinstance(a, Tracked) and not isinstance(b, Tracked):
        return special.logsumexp(a, axis=axis, b=b, keepdims=keepdims, return_sign=return_sign)
    if not np.ndim(a) and not np.ndim(b):
        axis = None  # SciPy reduces a scalar along any axis
    if b is None:
        y = without_factors(a, axis=axis, keepdims=keepdims)
        return (y, np.ones(y.shape, y.dtype)) if return_sign else y
    a, b = np.broadcast_arrays(*as_arrays(a, b))
    a = np.where(np.equal(b, 0), -np.inf, a)
    top = _top(a, axis)
    total = np.sum(b * np.exp(a - top), axis=axis, keepdims=True)
    sign = np.sign(data(total))
    with np.errstate(divide="ignore", invalid="ignore"):  # log 0 is -∞, and that of a negative sum NaN
        y = np.log(np.abs(total) if return_sign else total) + top
    if not keepdims:
        y, sign = np.squeeze(y, axis=axis), np.squeeze(sign, axis=axis)
    return (y, sign) if return_sign else y


_softmax = with_sections(
    """
    Parameters
    ----------
    x : array_like
        Of any shape.
    axis : int or tuple of int, optional
        Default: all, unlike the activations `softmax` and `logsoftmax`.

    Returns
    -------
    array
        Of x's shape.
    """
)


@_softmax
def softmax(x: ArrayLike, axis: Axis = None) -> Array:
    """`scipy.special.softmax`: exp(x) / Σ exp(x).

    Examples
    --------
    >>> from fluxmagic.tracker.scipy import softmax
    >>> softmax([[0.0, 0.0], [0.0, 0.0]])
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    if not isinstance(x, Tracked) and np.size(x):  # of nothing SciPy knows no largest
        return special.softmax(x, axis=axis)
    (x,) = as_arrays(x)
    e = np.exp(x - _top(x, axis))
    return e / np.sum(e, axis=axis, keepdims=True)


@_softmax
def log_softmax(x: ArrayLike, axis: Axis = None) -> Array:
    """`scipy.special.log_softmax`: x - log Σ exp(x).

    Examples
    --------
    >>> from fluxmagic.tracker.scipy import log_softmax
    >>> log_softmax([1000.0, 1000.0]).round(3)
    array([-0.693, -0.693])
    """
    if not isinstance(x, Tracked) and np.size(x):
        return special.log_softmax(x, axis=axis)
    (x,) = as_arrays(x)
    x = x - _top(x, axis)
    return x - without_factors(x, axis=axis, keepdims=True)


def polygamma(n: ArrayLike, x: ArrayLike) -> Array:
    """`scipy.special.polygamma`: the n-th derivative of digamma.

    Parameters
    ----------
    n : int or array of int
        Plain.
    x : array_like
        Broadcasts against n.

    Returns
    -------
    array

    Raises
    ------
    TypeError
        If n is tracked.

    Examples
    --------
    >>> from fluxmagic.tracker.scipy import polygamma
    >>> polygamma(1, 1.0).round(4)
    np.float64(1.6449)
    """
    if isinstance(n, Tracked):
        raise TypeError("polygamma: n is a plain integer; only x may be tracked")
    return POLYGAMMA(x, n=np.asarray(n)) if isinstance(x, Tracked) else special.polygamma(n, x)


def multigammaln(a: ArrayLike, d: int) -> Array:
    """`scipy.special.multigammaln`: the logarithm of the gamma function of d × d matrices.

    Parameters
    ----------
    a : array_like
        Above (d - 1) / 2.
    d : int
        At least 1.

    Returns
    -------
    array
        Of a's shape.

    Raises
    ------
    ValueError
        If a is not above (d - 1) / 2, or d no positive integer.

    Examples
    --------
    >>> from fluxmagic.tracker.scipy import multigammaln
    >>> multigammaln(2.0, 1).round(3)
    np.float64(0.0)
    """
    value = special.multigammaln(data(a), d)  # with its checks
    if not isinstance(a, Tracked):
        return value
    terms: Any = [special.gammaln(np.subtract(a, 0.5 * j)) for j in range(d)]
    return sum(terms) + d * (d - 1) * 0.25 * math.log(math.pi)


def _d_triangular(
    Δ: Array, y: Array, a: Array, b: Array, grad_out: GradOut, lower: bool, unit_diagonal: bool
) -> Gradients:
    columns = y.ndim > 1
    δb = TRIANGULAR(a.T, Δ, lower=not lower, unit_diagonal=unit_diagonal)
    if grad_out[0] is False:
        return None, δb
    δa = -(np.matmul(δb, y.T) if columns else np.outer(δb, y))
    return (np.tril(δa, -int(unit_diagonal)) if lower else np.triu(δa, int(unit_diagonal))), δb


TRIANGULAR: Op = define(
    lambda a, b, lower, unit_diagonal: linalg.solve_triangular(a, b, lower=lower, unit_diagonal=unit_diagonal),
    vjp=_d_triangular,
    name="solve_triangular",
)


def solve_triangular(
    a: ArrayLike,
    b: ArrayLike,
    trans: int | str = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Array:
    """`scipy.linalg.solve_triangular`: x of a x = b for a triangular matrix a.

    Parameters
    ----------
    a : array_like, shape (n, n)
        Only the triangle that `lower` says is looked at, and has a gradient.
    b : array_like, shape (n,) or (n, k)
    trans : {0, 1, 2, 'N', 'T', 'C'}
        Solve a x = b, or aᵀ x = b.
    lower : bool
        The triangle is the lower one.
    unit_diagonal : bool
        The diagonal is taken to be 1.
    overwrite_b : bool
        Ignored: nothing is written into b.
    check_finite : bool
        Ignored: it is checked.

    Returns
    -------
    array
        Of b's shape.

    Raises
    ------
    ValueError
        If the shapes do not fit, or trans is none of those.
    scipy.linalg.LinAlgError
        If a is singular.

    Examples
    --------
    >>> from fluxmagic.tracker.scipy import solve_triangular
    >>> solve_triangular([[2.0, 0.0], [1.0, 1.0]], [2.0, 3.0], lower=True)
    array([1., 2.])
    """
    a, b = as_arrays(a, b)
    if trans not in (0, 1, 2, "N", "T", "C"):
        raise ValueError(f"solve_triangular: trans is 0, 1, 2, 'N', 'T' or 'C', not {trans!r}")
    if a.ndim != 2 or b.ndim not in (1, 2):
        raise ValueError(f"solve_triangular takes an (n, n) and an (n,) or (n, k), not {a.shape} and {b.shape}")
    if trans not in (0, "N"):
        a, lower = a.T, not lower
    return TRIANGULAR(a, b, lower=bool(lower), unit_diagonal=bool(unit_diagonal))

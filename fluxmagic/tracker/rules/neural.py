"""What networks are made of: activations, softmax, and the two fused operations of a training step."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from fluxmagic.tracker.array import Array, Tracked
from fluxmagic.tracker.operation import RULES, Op, define
from fluxmagic.tracker.rules import elementwise as elementwise  # tanh has to be there
from fluxmagic.tracker.rules.products import can_write

# -- activations -------------------------------------------------------------------------------------


# 0-d arrays: NumPy takes them faster than Python's numbers, and they do not widen float32
_ZERO: dict[Any, np.ndarray] = {np.dtype(t): np.zeros((), t) for t in (np.float32, np.float64)}
_ONE = {np.dtype(t): np.ones((), t) for t in (np.float32, np.float64)}


def _floats(x: Any) -> Any:
    """Integers would wrap around, or be taken for half precision."""
    x = np.asarray(x)
    return x.astype(np.float64) if x.dtype.kind in "iub" else x


def _σ(x: Any, out: Any = None) -> Any:
    """Logistic function: 1 / (1 + exp(-x)); also as `sigmoid`.

    Parameters
    ----------
    x : array
        Of any shape, plain or tracked, float32 or float64.

    Returns
    -------
    array
        Of x's shape and dtype, tracked if x is.

    Examples
    --------
    >>> import numpy as np
    >>> from fluxmagic import σ
    >>> σ(np.array([-1e4, 0, 1e4]))
    array([0. , 0.5, 1. ])
    """
    with np.errstate(over="ignore"):  # 1 / ∞ is the right answer
        if type(x) is not np.ndarray or not x.ndim or x.dtype not in _ONE:
            return 1 / (1 + np.exp(-_floats(x)))
        out = np.negative(x, out)
        np.exp(out, out)
        out += _ONE[x.dtype]
        return np.reciprocal(out, out)


def _relu(x: Any, out: Any = None) -> Any:
    """Rectified linear unit: max(x, 0), whose gradient at 0 is 0.

    Parameters
    ----------
    x : array
        Of any shape, plain or tracked, float32 or float64.

    Returns
    -------
    array
        Of x's shape and dtype, tracked if x is.

    Examples
    --------
    >>> import numpy as np
    >>> from fluxmagic import relu
    >>> relu(np.array([-2.0, 0.0, 3.0]))
    array([0., 0., 3.])
    """
    return np.maximum(x, _ZERO.get(getattr(x, "dtype", None), 0), out=out)


def _d_relu(Δ: Array, y: Array, x: Any) -> Array:
    return Δ * np.sign(y)  # a mask of floats: twice as fast as one of truth values


def _leakyrelu(x: Any, a: float = 0.01) -> Any:
    """Leaky rectified linear unit: x where it is positive, otherwise a x.

    Parameters
    ----------
    x : array
        Of any shape, plain or tracked, float32 or float64.
    a : float
        The slope of the negative part.

    Returns
    -------
    array
        Of x's shape and dtype, tracked if x is.

    Examples
    --------
    >>> import numpy as np
    >>> from fluxmagic import leakyrelu
    >>> leakyrelu(np.array([-2.0, 3.0]))
    array([-0.02,  3.  ])
    """
    return np.where(np.greater(x, 0), x, x * a)


def _elu(x: Any, α: float = 1.0) -> Any:
    """Exponential linear unit: x where it is positive, otherwise α (exp(x) - 1).

    Parameters
    ----------
    x : array
        Of any shape, plain or tracked, float32 or float64.
    α : float
        How far below zero it goes.

    Returns
    -------
    array
        Of x's shape and dtype, tracked if x is.

    References
    ----------
    Clevert, Unterthiner, Hochreiter: Fast and accurate deep network learning by exponential linear units.
    https://arxiv.org/abs/1511.07289

    Examples
    --------
    >>> import numpy as np
    >>> from fluxmagic import elu
    >>> elu(np.array([-1e4, 3.0]))
    array([-1.,  3.])
    """
    x = _floats(x)
    return np.where(np.greater(x, 0), x, α * np.expm1(np.minimum(x, 0)))


def _softplus(x: Any) -> Any:
    """Smooth rectifier: log(1 + exp(x)).

    Parameters
    ----------
    x : array
        Of any shape, plain or tracked, float32 or float64.

    Returns
    -------
    array
        Of x's shape and dtype, tracked if x is.

    Examples
    --------
    >>> import numpy as np
    >>> from fluxmagic import softplus
    >>> softplus(np.array([-1e4, 0, 1e4])).round(2).tolist()
    [0.0, 0.69, 10000.0]
    """
    x = _floats(x)
    return np.logaddexp(x, np.zeros((), x.dtype))


def _logσ(x: Any) -> Any:
    """Logarithm of the logistic function: log(σ(x)); also as `logsigmoid`.

    Parameters
    ----------
    x : array
        Of any shape, plain or tracked, float32 or float64.

    Returns
    -------
    array
        Of x's shape and dtype, tracked if x is.

    Examples
    --------
    >>> import numpy as np
    >>> from fluxmagic import logσ
    >>> logσ(np.array([-1e4, 0])).round(2).tolist()
    [-10000.0, -0.69]
    """
    return -_softplus(-_floats(x))


σ = define(_σ, lambda Δ, y, x: Δ * (y * (1 - y)), name="σ", of_output=True)
relu = define(_relu, _d_relu, name="relu", of_output=True)
leakyrelu = define(
    _leakyrelu, lambda Δ, y, x, a=0.01: Δ * np.where(x > 0, x.dtype.type(1), x.dtype.type(a)), name="leakyrelu"
)
elu = define(_elu, lambda Δ, y, x, α=1.0: np.where(x > 0, Δ, Δ * (y + α)), name="elu")
softplus = define(_softplus, lambda Δ, y, x: Δ * -np.expm1(-y), name="softplus", of_output=True)
logσ = define(_logσ, lambda Δ, y, x: Δ * -np.expm1(y), name="logσ", of_output=True)

RULES[np.tanh].document(
    """Hyperbolic tangent: `np.tanh` itself.

    Parameters
    ----------
    x : array
        Of any shape, plain or tracked, float32 or float64.

    Returns
    -------
    array
        Of x's shape and dtype, tracked if x is.

    Examples
    --------
    >>> import numpy as np
    >>> from fluxmagic import tanh
    >>> tanh(np.array([-1e4, 0, 1e4]))
    array([-1.,  0.,  1.])
    """
)

# -- softmax -----------------------------------------------------------------------------------------


def _softmax(x: Any, axis: int = -1) -> Any:
    """Exponentials that sum to 1 along an axis, the last by default: exp(x) / Σ exp(x).

    Parameters
    ----------
    x : array
        Of any shape, plain or tracked, float32 or float64.
    axis : int
        The axis along which the exponentials are summed.

    Returns
    -------
    array
        Of x's shape and dtype, tracked if x is.

    Examples
    --------
    >>> import numpy as np
    >>> from fluxmagic import softmax
    >>> softmax(np.array([[1.0, 1.0], [1e4, 0.0]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    x = _floats(x)
    e = np.exp(x - np.maximum.reduce(x, axis, keepdims=True))
    return e / np.add.reduce(e, axis, keepdims=True)


def _logsoftmax(x: Any, axis: int = -1) -> Any:
    """Logarithm of softmax: x - log Σ exp(x), over the last axis by default.

    Parameters
    ----------
    x : array
        Of any shape, plain or tracked, float32 or float64.
    axis : int
        The axis along which the exponentials are summed.

    Returns
    -------
    array
        Of x's shape and dtype, tracked if x is.

    Examples
    --------
    >>> import numpy as np
    >>> from fluxmagic import logsoftmax
    >>> logsoftmax(np.array([0.0, 1e4]))
    array([-10000.,      0.])
    """
    x = _floats(x)
    x = x - np.max(x, axis=axis, keepdims=True)
    return x - np.log(np.sum(np.exp(x), axis=axis, keepdims=True))


softmax = define(
    _softmax,
    lambda Δ, y, x, axis=-1: y * (Δ - np.add.reduce(Δ * y, axis=axis, keepdims=True)),
    name="softmax",
)
logsoftmax = define(
    _logsoftmax,
    lambda Δ, y, x, axis=-1: Δ - np.exp(y) * np.sum(Δ, axis=axis, keepdims=True),
    name="logsoftmax",
)

_IN_PLACE = {_σ, _relu, np.tanh, np.exp}  # what can write its result over its argument

# -- fused: affine + activation ----------------------------------------------------------------------


def _affine(x: Any, W: Any, b: Any, activation: Op | None = None) -> Any:
    y = x.dot(W.T)
    y += b
    if activation is None:
        return y
    return activation.forward(y, y) if activation.forward in _IN_PLACE else activation.forward(y)


def _d_affine(Δ: Array, y: Array, x: Array, W: Array, b: Array, into: Any, activation: Op | None = None) -> Any:
    if activation is not None:
        Δ = activation.gradients[0](Δ, y, None)  # type: ignore[misc]
    δx = None if into[0] is False else Δ.dot(W) if type(Δ) is type(W) is np.ndarray else np.matmul(Δ, W)
    if x.ndim == 1:
        δW = None if into[1] is False else np.multiply(Δ[:, None], x)
        return δx, δW, Δ
    if x.ndim > 2:
        x, Δ = np.reshape(x, (-1, x.shape[-1])), np.reshape(Δ, (-1, Δ.shape[-1]))
    if into[1] is False:
        δW = None
    elif can_write(into[1], Δ, x):
        δW = np.dot(Δ.T, x, out=into[1])
    else:
        δW = np.matmul(Δ.T, x)
    return δx, δW, None if into[2] is False else _column_sums(Δ, into[2])


def _column_sums(Δ: Array, buffer: Any) -> Array:
    if type(Δ) is not np.ndarray:
        return np.sum(Δ, axis=0)
    ones = _ones(len(Δ), Δ.dtype)
    if buffer is not None and buffer.dtype == Δ.dtype:
        return ones.dot(Δ, buffer)  # a product with ones is several times faster than a sum
    return ones.dot(Δ)


@lru_cache(maxsize=64)
def _ones(n: int, dtype: Any) -> np.ndarray:
    return np.ones(n, dtype)


affine = define(_affine, name="affine", joint=_d_affine)

vdot = getattr(np.vdot, "__wrapped__", np.vdot)  # nothing here is tracked; and, unlike dot, no warning of an overflow

# -- fused: losses ------------------------------------------------------------------------------------


def _softmax_crossentropy(x: Any, target: Any) -> tuple[Any, Any]:
    """Mean over the rows of -Σ target·logsoftmax(x); target holds a label, or a row of weights, for each row.

    Works on columns, a class to a row: sums over few classes are several times faster down than across.
    Keeps d and s with gradient (d/s).T: the exponentials less what the target takes, and their sums.
    """
    n, k = x.shape
    z = x.T.copy()
    z -= np.maximum.reduce(z, 0)
    e = np.exp(z)
    total = _ones(k, x.dtype).dot(e)
    if target.ndim == 1:
        at = target * n
        at += _counting(n)
        loss = (np.log(total) - z.reshape(-1).take(at)).dot(_ones(n, x.dtype)) / n
        d = e.reshape(-1)
        d[at] = d.take(at) - total
        return loss, (e, total)
    target = target.T
    weights = _ones(k, x.dtype).dot(target)
    loss = (weights.dot(np.log(total)) - vdot(z, target)) / n
    return loss, (e * weights - target * total, total)


@lru_cache(maxsize=64)
def _counting(n: int) -> np.ndarray:
    return np.arange(n)


def _d_softmax_crossentropy(Δ: Array, y: Array, x: Array, target: Any, kept: Any = None) -> Array:
    each = Δ / max(len(x), 1)
    if kept is not None and not isinstance(Δ, Tracked):
        d, total = kept
        return (d * (each / total)).T
    p = softmax(x)
    if target.ndim == 1:
        target = np.equal.outer(target, np.arange(x.shape[1])).astype(x.dtype)
    return (p * target.sum(axis=1, keepdims=True) - target) * each


def _mean_square(a: Any, b: Any) -> tuple[Any, Any]:
    """Mean of (a - b)²; keeps a - b."""
    d = a - b
    flat = d.reshape(-1)
    return flat.dot(flat) / d.size, d


def _d_mean_square(Δ: Array, y: Array, a: Array, b: Array, kept: Any = None) -> Array:
    return (a - b if kept is None else kept) * (Δ * (2 / max(a.size, 1)))


mean_square = define(
    _mean_square,
    _d_mean_square,
    lambda *args, **options: -_d_mean_square(*args, **options),
    name="mean_square",
    keeps=True,
)
softmax_crossentropy = define(
    _softmax_crossentropy, _d_softmax_crossentropy, None, name="softmax_crossentropy", keeps=True
)

"""What networks are made of: activations, softmax, and the two fused operations of a training step."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from fluxmagic.tracker.array import Array, Tracked
from fluxmagic.tracker.operation import RULES, Op, define
from fluxmagic.tracker.rules import elementwise as elementwise  # tanh has to be there
from fluxmagic.tracker.rules.products import outer, vdot
from fluxmagic.tracker.silence import silently

# -- activations -------------------------------------------------------------------------------------


# 0-d arrays: NumPy takes them faster than Python's numbers, and they do not widen float32
_ONE: dict[Any, np.ndarray] = {np.dtype(t): np.ones((), t) for t in (np.float32, np.float64)}


_KEPT = 1 << 18  # elements: larger arrays of zeros would not be worth their memory


@lru_cache(maxsize=16)
def _zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.zeros(shape, dtype)


@lru_cache(maxsize=64)
def _ones(n: int, dtype: Any) -> np.ndarray:
    return np.ones(n, dtype)


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
    one = _ONE.get(x.dtype) if type(x) is np.ndarray and x.ndim else None
    if one is None:
        return 1 / (1 + silently.run(np.exp, -_floats(x)))
    out = np.negative(x, out)
    silently.run(np.exp, out, out)  # 1 / ∞ is the right answer
    np.add(out, one, out)
    return np.divide(one, out, out)


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
    if type(x) is np.ndarray and x.dtype in _ONE:
        # arrays of equal shape go three times as fast as an array and a scalar
        return np.maximum(x, _zeros(x.shape if x.size <= _KEPT else (), x.dtype), out=out)
    return np.maximum(x, 0, out=out)


def _d_relu(Δ: Array, y: Array, x: Any) -> Array:
    return Δ * np.greater(y, _zeros((), y.dtype)).astype(y.dtype)


def _d_σ(Δ: Array, y: Array, x: Any) -> Array:
    return Δ * (y * (_ONE.get(y.dtype, 1) - y))


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


σ = define(_σ, _d_σ, name="σ", of_output=True)
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
    if not x.size:  # of no classes there is no largest
        return x.copy()
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
    if not x.size:
        return x.copy()
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


_LARGE = 1 << 14  # weights: from there on BLAS multiplies faster where the result has a feature to a row


def _affine(x: Any, W: Any, b: Any, activation: Op | None = None) -> Any:
    columns = W.size >= _LARGE and x.ndim == 2 and len(x) > 1
    if columns:
        y = W.dot(x.T)
        np.add(y, b[:, None], y)
    else:
        y = x.dot(W.T)
        row = y[0] if y.ndim == 2 and len(y) == 1 else y  # to broadcast b would cost more than to add it
        np.add(row, b, row)
    if activation is not None:
        y = activation.forward(y, y) if activation.forward in _IN_PLACE else activation.forward(y)
    return y.T if columns else y


def _d_affine(Δ: Array, y: Array, x: Array, W: Array, b: Array, into: Any, activation: Op | None = None) -> Any:
    if activation is not None:
        Δ = activation.gradients[0](Δ, y, None)  # type: ignore[misc]
    to_x, to_W, to_b = into
    if type(Δ) is type(x) is type(W) is np.ndarray and Δ.dtype == W.dtype == b.dtype:
        if to_x is False:
            δx = None
        elif x.ndim != 2 or x.flags.c_contiguous:
            δx = Δ.dot(W)
        else:
            δx = W.T.dot(Δ.T).T  # in memory as x is
        if x.ndim == 1:
            return δx, None if to_W is False else outer(Δ, x, to_W), Δ
        if x.ndim > 2:
            x, Δ = x.reshape(-1, x.shape[-1]), Δ.reshape(-1, Δ.shape[-1])
        δW = None if to_W is False else Δ.T.dot(x, to_W)
        # a product with ones is several times faster than a sum
        return δx, δW, None if to_b is False else _ones(len(Δ), Δ.dtype).dot(Δ, to_b)
    δx = None if to_x is False else np.matmul(Δ, W)
    x, flat = np.reshape(x, (-1, x.shape[-1])), np.reshape(Δ, (-1, Δ.shape[-1]))
    δW = None if to_W is False else np.matmul(flat.T, x)
    return δx, δW, None if to_b is False else np.sum(flat, axis=0)


affine = define(_affine, name="affine", joint=_d_affine)

# -- fused: losses ------------------------------------------------------------------------------------


_PIECE = 1 << 16  # elements that BLAS may add up in single precision
_SAFE = 32  # logits that are no larger need no shift: their exponentials, and quotients of these, are normal numbers


def _softmax_crossentropy(x: Any, target: Any) -> tuple[Any, Any]:
    """Mean over the rows of -Σ target·logsoftmax(x); target holds a label, or a row of weights, for each row.

    Keeps d and s with n times the gradient d / s, row by row.
    """
    n, k = x.shape
    x = np.ascontiguousarray(x)
    safe = x.size and x.itemsize > 2 and x.item(x.argmax()) <= _SAFE and x.item(x.argmin()) >= -_SAFE
    if not safe:
        x = x - np.maximum.reduce(x, 1, keepdims=True)
    d = np.exp(x)
    total = d.dot(_ones(k, x.dtype))
    if target.ndim == 1:
        flat, at = d.reshape(-1), target + _starts(n, k)
        of_target = flat.take(at)
        # where x was shifted, the quotient may underflow and the difference be exact; otherwise the other way round
        losses = np.log(of_target / total) if safe else x.reshape(-1).take(at) - np.log(total)
        flat[at] = of_target - total
        if n > _PIECE:  # a product with ones adds up in order, and loses digits
            return -np.mean(losses), (d, total)
        return -(losses.dot(_ones(n, x.dtype)) / n), (d, total)
    p = d / total[:, None]
    logs = np.log(p) if safe else x - np.log(total)[:, None]
    weights = target.dot(_ones(k, x.dtype))
    product = _sum_of_products(target, logs)
    if product != product:  # 0 · log 0 is 0: a class that is ruled out has a logit of -∞
        product = _sum_of_products(target, np.where(target == 0, x.dtype.type(0), logs))
    return -product / n, (p * weights[:, None] - target, _ones(n, x.dtype))


def _sum_of_products(a: Any, b: Any) -> Any:
    """Σ a b, of large arrays piece by piece: BLAS loses four digits of 10⁷ numbers in single precision."""
    if a.size <= _PIECE:
        return vdot(a, b)
    a, b = a.reshape(-1), b.reshape(-1)
    total = 0.0
    for start in range(0, len(a), _PIECE):
        total += float(vdot(a[start : start + _PIECE], b[start : start + _PIECE]))
    return a.dtype.type(total)


@lru_cache(maxsize=64)
def _starts(n: int, k: int) -> np.ndarray:
    return np.arange(0, n * k, k)


def _d_softmax_crossentropy(Δ: Array, y: Array, x: Array, target: Any, kept: Any = None) -> Array:
    if kept is not None and not isinstance(Δ, Tracked):
        d, total = kept
        each = Δ / (total * _length(len(x), total.dtype))
        return d * (each[0] if len(x) == 1 else each[:, None])  # to broadcast would cost more than the product
    p = softmax(x)
    if target.ndim == 1:
        target = np.equal.outer(target, np.arange(x.shape[1])).astype(x.dtype)
    return (p * target.sum(axis=1, keepdims=True) - target) * (Δ / max(len(x), 1))


@lru_cache(maxsize=64)
def _length(n: int, dtype: Any) -> np.ndarray:
    return np.array(n, dtype)


def _mean_square(a: Any, b: Any) -> tuple[Any, Any]:
    """Mean of (a - b)²; keeps a - b."""
    d = a - b
    if d.itemsize < 4:
        return np.mean(np.square(d, dtype=np.float32)).astype(d.dtype), d
    if d.size > _PIECE:
        return _sum_of_products(d, d) / d.size, d
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

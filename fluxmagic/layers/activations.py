"""Activation functions of an array, element by element, and softmax along an axis.

All are accurate for arguments as large as ±1e4.  An activation with a gradient rule is an operation; the others are
composed of operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from fluxmagic.docstrings import with_sections
from fluxmagic.tracker import rules as rules  # defines tanh
from fluxmagic.tracker.aliases import Array
from fluxmagic.tracker.constants import BLAS_FLOATS, scalar
from fluxmagic.tracker.fp_errors import ignoring_fp_errors
from fluxmagic.tracker.node import PLAIN_ARRAYS, as_floats
from fluxmagic.tracker.operation import OPS, Op, differentiable

__all__ = [
    "elu",
    "gelu",
    "identity",
    "leakyrelu",
    "logsigmoid",
    "logsoftmax",
    "logσ",
    "relu",
    "sigmoid",
    "softmax",
    "softplus",
    "swish",
    "tanh",
    "σ",
]

T = TypeVar("T")
Activation = Callable[[Array], Array]

_SECTIONS = """
    Parameters
    ----------
    x : array
        Of any shape, plain or tracked, float32 or float64.

    Returns
    -------
    array
        Of x's shape and dtype, tracked if x is.
"""
_activation = with_sections(_SECTIONS)


@differentiable(lambda Δ, y, x: Δ * (y * (scalar(1, y.dtype) - y)), needs_output_only=True)
@_activation
def σ(x: Array, out: Array = None) -> Array:
    """Logistic function: 1 / (1 + exp(-x)); also as `sigmoid`.

    Examples
    --------
    >>> σ(np.array([-1e4, 0, 1e4]))
    array([0. , 0.5, 1. ])
    """
    x = as_floats(x)
    one = scalar(1, x.dtype)
    e = ignoring_fp_errors(np.exp, np.negative(x, out), out)  # 1 / ∞ is the right answer
    return np.divide(one, np.add(one, e, out), out)


# np.sign has no vector loop: it takes twice the time from 10,000 elements on
@differentiable(lambda Δ, y, x: Δ * np.not_equal(y, scalar(0, y.dtype)).astype(y.dtype), needs_output_only=True)
@_activation
def relu(x: Array, out: Array = None) -> Array:
    """Rectified linear unit: max(x, 0), whose gradient at 0 is 0.

    Examples
    --------
    >>> relu(np.array([-2.0, 0.0, 3.0]))
    array([0., 0., 3.])
    """
    if type(x) in PLAIN_ARRAYS and x.dtype in BLAS_FLOATS:  # np.maximum has no vector loop: three times the time
        return x.clip(scalar(0, x.dtype), scalar(math.inf, x.dtype), out)
    return np.maximum(x, 0, out=out)


@differentiable(lambda Δ, y, x, a=0.01: Δ * np.where(x > 0, x.dtype.type(1), x.dtype.type(a)))
@_activation
def leakyrelu(x: Array, a: float = 0.01) -> Array:
    """Leaky rectified linear unit: x where it is positive, otherwise a x.

    Parameters
    ----------
    a : float
        The slope of the negative part.

    Examples
    --------
    >>> leakyrelu(np.array([-2.0, 3.0]))
    array([-0.02,  3.  ])
    """
    return np.where(np.greater(x, 0), x, x * a)


@differentiable(lambda Δ, y, x, α=1.0: np.where(x > 0, Δ, Δ * (y + α)))
@_activation
def elu(x: Array, α: float = 1.0) -> Array:
    """Exponential linear unit: x where it is positive, otherwise α (exp(x) - 1).

    Parameters
    ----------
    α : float
        The limit for large negative x is -α.

    References
    ----------
    Clevert, Unterthiner, Hochreiter: Fast and accurate deep network learning by exponential linear units.
    https://arxiv.org/abs/1511.07289

    Examples
    --------
    >>> elu(np.array([-1e4, 3.0]))
    array([-1.,  3.])
    """
    x = as_floats(x)
    return np.where(np.greater(x, 0), x, α * np.expm1(np.minimum(x, 0)))


@differentiable(lambda Δ, y, x: Δ * -np.expm1(-y), needs_output_only=True)
@_activation
def softplus(x: Array) -> Array:
    """Smooth rectifier: log(1 + exp(x)).

    Examples
    --------
    >>> softplus(np.array([-1e4, 0, 1e4])).round(2).tolist()
    [0.0, 0.69, 10000.0]
    """
    x = as_floats(x)
    return np.logaddexp(x, np.zeros((), x.dtype))


@differentiable(lambda Δ, y, x: Δ * -np.expm1(y), needs_output_only=True)
@_activation
def logσ(x: Array) -> Array:
    """Logarithm of the logistic function: log(σ(x)); also as `logsigmoid`.

    Examples
    --------
    >>> logσ(np.array([-1e4, 0])).round(2).tolist()
    [-10000.0, -0.69]
    """
    return -softplus(-as_floats(x))


@differentiable(lambda Δ, y, x, axis=-1: y * (Δ - np.add.reduce(Δ * y, axis=axis, keepdims=True)))
@_activation
def softmax(x: Array, axis: int = -1) -> Array:
    """Exponentials that sum to 1 along an axis, the last by default: exp(x) / Σ exp(x).

    Parameters
    ----------
    axis : int
        The axis along which the exponentials are summed.

    Examples
    --------
    >>> softmax(np.array([[1.0, 1.0], [1e4, 0.0]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    x = as_floats(x)
    if not x.size:  # an empty maximum is an error
        return x.copy()
    e = np.exp(x - np.maximum.reduce(x, axis, keepdims=True))
    return e / np.add.reduce(e, axis, keepdims=True)


@differentiable(lambda Δ, y, x, axis=-1: Δ - np.exp(y) * np.sum(Δ, axis=axis, keepdims=True))
@_activation
def logsoftmax(x: Array, axis: int = -1) -> Array:
    """Logarithm of softmax: x - log Σ exp(x), over the last axis by default.

    Parameters
    ----------
    axis : int
        The axis along which the exponentials are summed.

    Examples
    --------
    >>> logsoftmax(np.array([0.0, 1e4]))
    array([-10000.,      0.])
    """
    x = as_floats(x)
    if not x.size:
        return x.copy()
    x = x - np.max(x, axis=axis, keepdims=True)
    return x - np.log(np.sum(np.exp(x), axis=axis, keepdims=True))


tanh: Op = OPS[np.tanh]
tanh.__doc__ = """Hyperbolic tangent: `np.tanh` itself.

    Examples
    --------
    >>> tanh(np.array([-1e4, 0, 1e4]))
    array([-1.,  0.,  1.])
    """
_activation(tanh)

sigmoid = σ
logsigmoid = logσ

WRITES_IN_PLACE = frozenset({σ, relu, tanh, OPS[np.exp]})
"""Operations whose forward function can write its result into an array, even into its argument."""


def identity(x: T) -> T:
    """Return x itself: no activation.

    Parameters
    ----------
    x : object

    Returns
    -------
    object
        x, the same object.

    Examples
    --------
    >>> identity(3)
    3
    """
    return x


def as_activation(name: str, σ: Activation, sigma: Activation | None) -> Activation:
    """Require a function, given once: as `σ` or as `sigma`."""
    if sigma is not None:
        if σ is not identity:
            raise TypeError(f"{name}: σ is given twice")
        σ = sigma
    if not callable(σ):
        raise TypeError(f"{name}: σ is a function, not {σ!r}")
    return σ


def activation_text(σ: Activation) -> str:
    """Give what the repr of a layer says of its activation: ", relu", or nothing."""
    return "" if σ is identity else f", {getattr(σ, 'name', None) or getattr(σ, '__name__', σ)}"


@_activation
def gelu(x: Array) -> Array:
    """Gaussian error linear unit, in its tanh form: ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))).

    References
    ----------
    Hendrycks, Gimpel: Gaussian error linear units.  https://arxiv.org/abs/1606.08415

    Examples
    --------
    >>> gelu(np.array([-1e4, 0, 1, 1e4])).round(4).tolist()
    [-0.0, 0.0, 0.8412, 10000.0]
    """
    return x * (0.5 * (1 + tanh(x * (0.7978845608028654 + 0.035677408136300125 * x * x))))


@_activation
def swish(x: Array) -> Array:
    """x σ(x), also known as SiLU.

    References
    ----------
    Ramachandran, Zoph, Le: Searching for activation functions.  https://arxiv.org/abs/1710.05941

    Examples
    --------
    >>> swish(np.array([-1e4, 0, 1, 1e4])).round(4).tolist()
    [-0.0, 0.0, 0.7311, 10000.0]
    """
    return x * σ(x)

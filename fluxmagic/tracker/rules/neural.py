"""What networks are made of: activations, softmax, and the two fused operations of a training step."""

from __future__ import annotations

from typing import Any

import numpy as np

from fluxmagic.tracker.array import Array, Tracked
from fluxmagic.tracker.operation import Op, define
from fluxmagic.tracker.rules.products import can_write

# -- activations -------------------------------------------------------------------------------------


def _σ(x: Any) -> Any:
    with np.errstate(over="ignore"):  # 1 / ∞ is the right answer
        return 1 / (1 + np.exp(-x))


def _relu(x: Any) -> Any:
    return np.maximum(x, 0)


def _leakyrelu(x: Any, a: float = 0.01) -> Any:
    return np.where(np.greater(x, 0), x, x * a)


def _elu(x: Any, α: float = 1.0) -> Any:
    return np.where(np.greater(x, 0), x, α * np.expm1(np.minimum(x, 0)))


def _softplus(x: Any) -> Any:
    return np.logaddexp(x, np.zeros((), getattr(x, "dtype", None)))


def _logσ(x: Any) -> Any:
    return -_softplus(-x)


σ = define(_σ, lambda Δ, y, x: Δ * (y * (1 - y)), name="σ", of_output=True)
relu = define(_relu, lambda Δ, y, x: Δ * (y > 0), name="relu", of_output=True)
leakyrelu = define(
    _leakyrelu, lambda Δ, y, x, a=0.01: Δ * np.where(x > 0, x.dtype.type(1), x.dtype.type(a)), name="leakyrelu"
)
elu = define(_elu, lambda Δ, y, x, α=1.0: np.where(x > 0, Δ, Δ * (y + α)), name="elu")
softplus = define(_softplus, lambda Δ, y, x: Δ * -np.expm1(-y), name="softplus", of_output=True)
logσ = define(_logσ, lambda Δ, y, x: Δ * -np.expm1(y), name="logσ", of_output=True)

# -- softmax -----------------------------------------------------------------------------------------


def _softmax(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def _logsoftmax(x: Any, axis: int = -1) -> Any:
    x = x - np.max(x, axis=axis, keepdims=True)
    return x - np.log(np.sum(np.exp(x), axis=axis, keepdims=True))


softmax = define(
    _softmax,
    lambda Δ, y, x, axis=-1: y * (Δ - np.sum(Δ * y, axis=axis, keepdims=True)),
    name="softmax",
)
logsoftmax = define(
    _logsoftmax,
    lambda Δ, y, x, axis=-1: Δ - np.exp(y) * np.sum(Δ, axis=axis, keepdims=True),
    name="logsoftmax",
)

# -- fused: affine + activation ----------------------------------------------------------------------


def _affine(x: Any, W: Any, b: Any, activation: Op | None = None) -> Any:
    y = x.dot(W.T)
    y += b
    return y if activation is None else activation.forward(y)


def _d_affine(Δ: Array, y: Array, x: Array, W: Array, b: Array, into: Any, activation: Op | None = None) -> Any:
    if activation is not None:
        Δ = activation.gradients[0](Δ, y, None)  # type: ignore[misc]
    δx = None if into[0] is False else np.dot(Δ, W) if type(Δ) is type(W) is np.ndarray else np.matmul(Δ, W)
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
    return δx, δW, None if into[2] is False else Δ.sum(axis=0)


affine = define(_affine, name="affine", joint=_d_affine)

# -- fused: softmax + cross-entropy ------------------------------------------------------------------


def _softmax_crossentropy(x: Any, target: Any) -> tuple[Any, Any]:
    """Mean over the rows of -Σ target·logsoftmax(x); target holds a label, or a row of weights, for each row."""
    n = len(x)
    # row after row, however x lies in memory: labels are picked, and written to, in the flat array
    p = np.subtract(x, np.maximum.reduce(x, 1, None, None, True), order="C")
    if target.ndim == 1:
        at = target + np.arange(0, x.size, x.shape[1])
        picked = p.reshape(-1).take(at)
        np.exp(p, p)
        total = np.add.reduce(p, 1, None, None, True)
        p /= total
        loss = np.add.reduce(np.log(total.reshape(-1)) - picked) / n
        return x.dtype.type(loss), (p, at)
    picked = np.einsum("ij,ij->", p, target)
    np.exp(p, p)
    total = np.add.reduce(p, 1, None, None, True)
    p /= total
    weights = np.add.reduce(target, 1)
    return x.dtype.type((weights.dot(np.log(total.reshape(-1))) - picked) / n), (p, weights)


def _d_softmax_crossentropy(Δ: Array, y: Array, x: Array, target: Any, kept: Any = None) -> Array:
    each = Δ / max(len(x), 1)
    if kept is not None and not isinstance(Δ, Tracked):
        p, extra = kept
        δ = p * each
        if target.ndim == 1:
            δ.reshape(-1)[extra] -= each
        else:
            δ *= extra[:, None]
            δ -= target * each
        return δ
    p = softmax(x)
    if target.ndim == 1:
        target = np.equal.outer(target, np.arange(x.shape[1])).astype(x.dtype)
    return (p * target.sum(axis=1, keepdims=True) - target) * each


softmax_crossentropy = define(
    _softmax_crossentropy, _d_softmax_crossentropy, None, name="softmax_crossentropy", keeps=True
)

"""Fused operations: an affine map with its activation, and two losses.

A training step spends most of its time here.  The rules use NumPy's fastest calls (a product with ones is several
times faster than a sum) and write gradients into given buffers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from fluxmagic.layers.activations import WRITES_IN_PLACE, softmax
from fluxmagic.tracker.aliases import Array, Gradients, GradOut
from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.constants import MAX_BLAS_SUM, ones, scalar
from fluxmagic.tracker.node import PLAIN_ARRAYS
from fluxmagic.tracker.operation import OPS, Op, define
from fluxmagic.tracker.rules.products import outer, vdot

__all__ = ["activate", "affine", "fused_activation", "mean_square", "softmax_crossentropy"]

Residual = tuple[Array, Array]


# -- an affine map and its activation ------------------------------------------------------------------


_FEATURE_MAJOR = 1 << 14  # weights


def _affine(x: Array, W: Array, b: Array, activation: Op | None = None) -> Array:
    """Compute activation(x Wᵀ + b)."""
    # with many weights BLAS multiplies 10 % faster where the result has a feature to a row
    y = W.dot(x.T).T if W.size >= _FEATURE_MAJOR and x.ndim == 2 and len(x) > 1 else x.dot(W.T)
    row = y[0] if y.ndim == 2 and len(y) == 1 else y  # broadcasting b would cost more than the sum
    np.add(row, b, row)
    return activate(y, activation)


def fused_activation(σ: Callable[[Array], Array]) -> Op | None:
    """Give the operation of an activation whose gradient needs its output only; None for any other function."""
    op = σ if isinstance(σ, Op) else OPS.get(σ) if type(σ) is np.ufunc else None
    return op if op is not None and op.needs_output_only else None


def activate(y: Array, activation: Op | None) -> Array:
    """Apply an activation to a new array, in place where it can."""
    if activation is None:
        return y
    return activation.forward(y, y) if activation in WRITES_IN_PLACE else activation.forward(y)


def _d_affine(
    Δ: Array, y: Array, x: Array, W: Array, b: Array, grad_out: GradOut, activation: Op | None = None
) -> Gradients:
    """Compute the gradients of x, W and b; `grad_out` has False for those that are not wanted, or a buffer."""
    if activation is not None:
        Δ = activation.vjps[0](Δ, y, None)  # type: ignore[misc]
    to_x, to_W, to_b = grad_out
    if PLAIN_ARRAYS.issuperset((type(Δ), type(x), type(W))) and Δ.dtype == W.dtype == b.dtype:
        if to_x is False:
            δx = None
        else:  # in memory as x is, which the activation before multiplies it with
            δx = Δ.dot(W) if x.ndim != 2 or x.flags.c_contiguous else W.T.dot(Δ.T).T
        if x.ndim == 1:
            return δx, None if to_W is False else outer(Δ, x, to_W), Δ
        if x.ndim > 2:
            x, Δ = x.reshape(-1, x.shape[-1]), Δ.reshape(-1, Δ.shape[-1])
        ΔT = Δ.T
        δW = None if to_W is False else ΔT.dot(x, to_W)
        return δx, δW, None if to_b is False else ΔT.dot(ones(len(Δ), Δ.dtype), to_b)
    δx = None if to_x is False else np.matmul(Δ, W)
    x, flat = np.reshape(x, (-1, x.shape[-1])), np.reshape(Δ, (-1, Δ.shape[-1]))
    δW = None if to_W is False else np.matmul(flat.T, x)
    return δx, δW, None if to_b is False else np.sum(flat, axis=0)


affine = define(_affine, name="affine", vjp=_d_affine)

# -- losses --------------------------------------------------------------------------------------------


NO_SHIFT_BELOW = 32
"""Logits up to this size need no shift: their exponentials, and the quotients of these, are normal numbers."""


def _softmax_crossentropy(x: Array, target: Array) -> tuple[Array, Residual]:
    """Compute the mean over the rows of -Σ target·logsoftmax(x); target holds a label or weights for each row.

    The residual is a matrix d and a vector s; row i of the gradient is d[i] / s[i] / n.
    """
    n, k = x.shape
    x = x if x.flags.c_contiguous else x.copy()
    safe = x.size and x.itemsize > 2 and x.item(x.argmax()) <= NO_SHIFT_BELOW and x.item(x.argmin()) >= -NO_SHIFT_BELOW
    if not safe:
        x = x - np.maximum.reduce(x, 1, keepdims=True)
    d = np.exp(x)
    total = d.dot(ones(k, x.dtype))
    if target.ndim == 1:
        flat, at = d.reshape(-1), target + _row_offsets(n, k)
        of_target = flat.take(at)
        # the quotient may underflow where x is shifted, the difference loses digits where it is not
        losses = np.log(of_target / total) if safe else x.reshape(-1).take(at) - np.log(total)
        flat[at] = of_target - total
        if n > MAX_BLAS_SUM:  # sums in pairs, where BLAS would lose digits
            return -np.mean(losses), (d, total)
        return -(losses.dot(ones(n, x.dtype)) / n), (d, total)
    p = d / total[:, None]
    logs = np.log(p) if safe else x - np.log(total)[:, None]
    weights = target.dot(ones(k, x.dtype))
    product = _sum_of_products(target, logs)
    if product != product:  # 0 · log 0 is 0: an excluded class has a logit of -∞
        product = _sum_of_products(target, np.where(target == 0, x.dtype.type(0), logs))
    return -product / n, (p * weights[:, None] - target, ones(n, x.dtype))


def _sum_of_products(a: Array, b: Array) -> Array:
    """Compute Σ a b, of large arrays piece by piece."""
    if a.size <= MAX_BLAS_SUM:
        return vdot(a, b) if type(a) is type(b) is np.ndarray else a.reshape(-1).dot(b.reshape(-1))
    a, b = a.reshape(-1), b.reshape(-1)
    total = 0.0
    for start in range(0, len(a), MAX_BLAS_SUM):
        total += float(vdot(a[start : start + MAX_BLAS_SUM], b[start : start + MAX_BLAS_SUM]))
    return a.dtype.type(total)


@lru_cache(maxsize=64)
def _row_offsets(n: int, k: int) -> np.ndarray:
    offsets = np.arange(0, n * k, k)
    offsets.flags.writeable = False
    return offsets


def _d_softmax_crossentropy(Δ: Array, y: Array, x: Array, target: Array, residual: Residual | None = None) -> Array:
    if residual is not None and not isinstance(Δ, Tracked):
        d, total = residual
        each = Δ / (total * scalar(len(x), total.dtype))
        return d * (each[0] if len(x) == 1 else each[:, None])  # broadcasting would cost more than the product
    p = softmax(x)
    if target.ndim == 1:
        target = np.equal.outer(target, np.arange(x.shape[1])).astype(x.dtype)
    return (p * target.sum(axis=1, keepdims=True) - target) * (Δ / max(len(x), 1))


def _mean_square(a: Array, b: Array) -> tuple[Array, Array]:
    """Compute the mean of (a - b)²; the residual is a - b."""
    d = a - b
    if d.itemsize < 4:
        return np.mean(np.square(d, dtype=np.float32)).astype(d.dtype), d
    if d.size > MAX_BLAS_SUM:
        return _sum_of_products(d, d) / d.size, d
    flat = d.reshape(-1)
    return flat.dot(flat) / d.size, d


def _d_mean_square(Δ: Array, y: Array, a: Array, b: Array, residual: Array = None) -> Array:
    """Compute the gradient of a; that of b is its negative."""
    return (a - b if residual is None else residual) * (Δ * scalar(2 / max(a.size, 1), a.dtype))


mean_square = define(
    _mean_square,
    _d_mean_square,
    lambda *args, **options: -_d_mean_square(*args, **options),
    name="mean_square",
    has_residual=True,
)
softmax_crossentropy = define(
    _softmax_crossentropy, _d_softmax_crossentropy, None, name="softmax_crossentropy", has_residual=True
)

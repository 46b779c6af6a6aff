"""Linear algebra: np.linalg, on matrices and on stacks of them."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy import linalg

from fluxmagic.tracker.aliases import Array, Axis, Gradients, GradOut, Option
from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.node import data
from fluxmagic.tracker.operation import composed, define, define_plain
from fluxmagic.tracker.rules.reductions import (
    divides,
    expand_reduced,
    extent,
    grad_of_extremum,
    merge_axes,
    products_of_others,
    quotient,
)

EighResult: Any = type(linalg.eigh(np.eye(1)))
SVDResult: Any = type(linalg.svd(np.eye(1)))


_transpose = np.matrix_transpose

# -- inverses ----------------------------------------------------------------------------------------


def _d_solve(Δ: Array, y: Array, a: Array, b: Array, grad_out: GradOut) -> Gradients:
    if b.ndim == 1:
        Δ, y = Δ[..., None], y[..., None]
    δb = linalg.solve(_transpose(a), Δ)
    return None if grad_out[0] is False else -np.matmul(δb, _transpose(y)), δb[..., 0] if b.ndim == 1 else δb


def _d_pinv(Δ: Array, y: Array, a: Array, *_: Option, **__: Option) -> Array:
    """Golub, Pereyra: The differentiation of pseudo-inverses.  https://doi.org/10.1137/0710036"""
    Δt, yt = _transpose(Δ), _transpose(y)
    outside = np.matmul(Δt - np.matmul(a, np.matmul(y, Δt)), np.matmul(y, yt))
    inside = np.matmul(np.matmul(yt, y), Δt - np.matmul(Δt, np.matmul(y, a)))
    return outside + inside - np.matmul(yt, np.matmul(Δ, yt))


define(linalg.inv, lambda Δ, y, x: -np.matmul(_transpose(y), np.matmul(Δ, _transpose(y))), name="linalg.inv")
define(linalg.solve, vjp=_d_solve, name="linalg.solve")
define(linalg.pinv, _d_pinv, name="linalg.pinv")

# -- determinants ------------------------------------------------------------------------------------


def _cofactors(x: Array) -> Array:
    """Return the derivatives of det x, right for a singular x and to any order."""
    n = x.shape[-1]
    if not isinstance(x, Tracked):
        u, s, vh = linalg.svd(x)
        return np.matmul(u * (products_of_others(s) * (linalg.det(u) * linalg.det(vh))[..., None])[..., None, :], vh)
    # from the minors: singular vectors of equal values have no derivative
    others = np.array([[j for j in range(n) if j != i] for i in range(n)], int).reshape(n, n - 1)
    minors = x[..., others[:, None, :, None], others[None, :, None, :]]
    return linalg.det(minors) * (1 - 2 * (np.indices((n, n)).sum(axis=0) % 2)).astype(x.dtype)


def _d_det(Δ: Array, y: Array, x: Array) -> Array:
    if divides(y):
        return (Δ * y)[..., None, None] * _transpose(linalg.inv(x))
    if isinstance(x, Tracked) and x.shape[-1] > 16:  # the minors take n⁴ numbers
        sign, log = linalg.slogdet(x)
        if np.all(np.isfinite(log)):  # only the determinant underflows: multiply by its root twice
            half = np.exp(log * 0.5)
            return (Δ * sign * half)[..., None, None] * (_transpose(linalg.inv(x)) * half[..., None, None])
    return Δ[..., None, None] * (_cofactors(x) if x.shape[-1] else np.zeros(x.shape, x.dtype))


define(linalg.det, _d_det, name="linalg.det")
LOGDET = define(
    lambda x: linalg.slogdet(x)[1],
    lambda Δ, y, x: Δ[..., None, None] * _transpose(linalg.inv(x)),
    name="linalg.slogdet",
)


@composed(linalg.slogdet)
def _slogdet(a: Array) -> Array:
    plain_result = linalg.slogdet(data(a))
    return type(plain_result)(plain_result.sign, LOGDET(a))


# -- factors ------------------------------------------------------------------------------------------

# cholesky, eigh and eigvalsh read one half of a symmetric matrix; the gradient is symmetric.


def _d_cholesky(Δ: Array, y: Array, x: Array, *, upper: bool = False) -> Array:
    """Murray: Differentiation of the Cholesky decomposition.  arXiv:1602.07527"""
    L, Δ = (_transpose(y), _transpose(Δ)) if upper else (y, Δ)
    inner = np.matmul(_transpose(L), Δ)
    inner = np.tril(inner) - inner * (0.5 * np.eye(L.shape[-1], dtype=L.dtype))
    inverse = linalg.inv(L)
    δ = np.matmul(_transpose(inverse), np.matmul(inner, inverse))
    return (δ + _transpose(δ)) / 2


define(linalg.cholesky, _d_cholesky, name="linalg.cholesky")


def _safe_divide(x: Array, y: Array) -> Array:
    """Return x / y, and 0 for 0 / 0: a result that does not depend on the vectors of equal values has a gradient."""
    nothing = np.equal(x, 0) & np.equal(y, 0)
    return x / np.where(nothing, 1.0, y)


def _divide_by_gaps(x: Array, values: Array) -> Array:
    """Return xᵢⱼ / (λⱼ - λᵢ), and 0 on the diagonal."""
    off = x * (1 - np.eye(values.shape[-1], dtype=values.dtype))
    return _safe_divide(off, values[..., None, :] - values[..., :, None])


# An operation has one result: the factors are joined along an axis and split again.


def _eigh(x: Array, UPLO: Option) -> Array:
    values, vectors = linalg.eigh(x, UPLO)
    return np.concatenate([values[..., None, :], vectors], axis=-2)


def _d_eigh(Δ: Array, y: Array, x: Array, UPLO: Option) -> Array:
    values, vectors = y[..., 0, :], y[..., 1:, :]
    inner = _divide_by_gaps(np.matmul(_transpose(vectors), Δ[..., 1:, :]), values)
    inner = inner + Δ[..., :1, :] * np.eye(x.shape[-1], dtype=x.dtype)
    δ = np.matmul(vectors, np.matmul(inner, _transpose(vectors)))
    return (δ + _transpose(δ)) / 2  # symmetric


def _d_eigvalsh(Δ: Array, y: Array, x: Array, UPLO: Option = "L") -> Array:
    vectors = linalg.eigh(x, UPLO)[1]
    return np.matmul(vectors * Δ[..., None, :], _transpose(vectors))


EIGH = define(_eigh, _d_eigh, name="linalg.eigh")
define(linalg.eigvalsh, _d_eigvalsh, name="linalg.eigvalsh")


@composed(linalg.eigh)
def _eigh_result(a: Array, UPLO: Option = "L") -> Array:
    y = EIGH(a, UPLO=UPLO)
    return EighResult(y[..., 0, :], y[..., 1:, :])


def _svd(x: Array) -> Array:
    u, s, vh = linalg.svd(x, full_matrices=False)
    return np.concatenate([s[..., None, :], u, _transpose(vh)], axis=-2)


def _d_svd(Δ: Array, y: Array, x: Array) -> Array:
    """Townsend: Differentiating the singular value decomposition.  https://j-towns.github.io/papers/svd-derivative.pdf"""
    m = x.shape[-2]
    s, u, v = y[..., :1, :], y[..., 1 : m + 1, :], y[..., m + 1 :, :]
    δs, δu, δv = Δ[..., :1, :], Δ[..., 1 : m + 1, :], Δ[..., m + 1 :, :]
    squares = np.square(s[..., 0, :])
    uδu, vδv = np.matmul(_transpose(u), δu), np.matmul(_transpose(v), δv)
    inner = _divide_by_gaps(uδu - _transpose(uδu), squares) * s + _transpose(s) * _divide_by_gaps(
        vδv - _transpose(vδv), squares
    )
    inner = inner + δs * np.eye(s.shape[-1], dtype=x.dtype)
    δ = np.matmul(u, np.matmul(inner, _transpose(v)))
    if m > s.shape[-1]:
        δ = δ + np.matmul(_safe_divide(δu - np.matmul(u, uδu), s), _transpose(v))
    if x.shape[-1] > s.shape[-1]:
        δ = δ + np.matmul(u, _transpose(_safe_divide(δv - np.matmul(v, vδv), s)))
    return δ


def _d_svdvals(Δ: Array, y: Array, x: Array) -> Array:
    u, _, vh = linalg.svd(x, full_matrices=False)
    return np.matmul(u * Δ[..., None, :], vh)


SVD = define(_svd, _d_svd, name="linalg.svd")
SVDVALS = define(linalg.svdvals, _d_svdvals, forward=lambda x: linalg.svd(x, compute_uv=False), name="linalg.svdvals")


@composed(linalg.svd)
def _svd_result(a: Array, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Array:
    if not compute_uv:
        return SVDVALS(a)
    m, n = a.shape[-2:]
    if full_matrices and m != n:
        raise TypeError("svd: the full matrices have no gradient where they are not square; pass full_matrices=False")
    y = SVD(a)
    return SVDResult(y[..., 1 : m + 1, :], y[..., 0, :], _transpose(y[..., m + 1 :, :]))


# -- powers and chains -------------------------------------------------------------------------------


@composed(linalg.matrix_power)
def _matrix_power(a: Array, n: int) -> Array:
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise linalg.LinAlgError(f"an array of shape {a.shape} holds no square matrices")
    n = operator.index(n)
    if n < 0:
        a, n = linalg.inv(a), -n
    if n == 0:
        return np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape).copy()
    if n == 3:  # NumPy's own order of products, to the bit
        return np.matmul(np.matmul(a, a), a)
    square = result = None
    while n > 0:
        square = a if square is None else np.matmul(square, square)
        n, odd = divmod(n, 2)
        if odd:
            result = square if result is None else np.matmul(result, square)
    return result


def _multi_dot(*xs: Array) -> Array:
    return linalg.multi_dot(xs)


def _d_multi_dot(Δ: Array, y: Array, *xs: Array, grad_out: GradOut) -> Gradients:
    matrices = list(xs)
    if xs[0].ndim == 1:
        matrices[0] = xs[0][None]
    if xs[-1].ndim == 1:
        matrices[-1] = xs[-1][:, None]
    Δ = np.reshape(Δ, (matrices[0].shape[0], matrices[-1].shape[1]))
    result: list[Array] = []
    for k, x in enumerate(xs):
        δ = Δ  # from Δ on, since products of small integers may overflow
        for left in matrices[:k]:
            δ = np.matmul(_transpose(left), δ)
        for right in reversed(matrices[k + 1 :]):
            δ = np.matmul(δ, _transpose(right))
        result.append(None if grad_out[k] is False else np.reshape(δ, x.shape))
    return result


define(
    linalg.multi_dot,
    forward=_multi_dot,
    vjp=_d_multi_dot,
    normalize_call=lambda arrays, **options: (tuple(arrays), options),
    name="linalg.multi_dot",
)

# -- norms -------------------------------------------------------------------------------------------


def _d_norm(Δ: Array, y: Array, x: Array, ord: Option = None, axis: Axis = None, keepdims: bool = False) -> Array:
    axes = axis if isinstance(axis, tuple) else tuple(range(x.ndim)) if axis is None else (int(axis),)
    Δ, y = expand_reduced(Δ, x, axes, keepdims), expand_reduced(y, x, axes, keepdims)
    if ord is None or ord in ("fro", "f") or (ord == 2 and len(axes) == 1):
        if not divides(y, 2):  # squares underflow or overflow
            x = x / extent(x, axes)
            y = np.sqrt(np.sum(x * x, axis=axes, keepdims=True))
        return quotient(Δ * x, y)  # 0 at the origin
    if len(axes) == 1:
        if ord == 0:
            return Δ * np.zeros(x.shape, x.dtype)
        if ord in (math.inf, -math.inf):
            return grad_of_extremum(Δ, y, np.abs(x), axes, keepdims=True) * np.sign(x)
        if ord == 1:
            return Δ * np.sign(x)
        if ord > 1 and not divides(y, ord):
            x = x / extent(x, axes)
            y = linalg.norm(x, ord, axis=axes[0], keepdims=True)
        ratio = quotient(np.abs(x), y)
        if ord < 1:  # infinite slope at 0
            ratio = np.where(np.equal(x, 0), 1.0, ratio)
        return Δ * np.sign(x) * np.power(ratio, float(ord) - 1)
    if ord in (1, -1, math.inf, -math.inf):
        summed, chosen = axes if ord in (1, -1) else reversed(axes)
        sums = np.sum(np.abs(x), axis=summed, keepdims=True)
        return grad_of_extremum(Δ, y, sums, chosen, keepdims=True) * np.sign(x)
    x = np.moveaxis(x, axes, (-2, -1))
    u, s, vh = linalg.svd(x, full_matrices=False)
    weights = np.ones(s.shape, s.dtype)
    if ord != "nuc":
        top = np.max(s, axis=-1, keepdims=True) if ord == 2 else np.min(s, axis=-1, keepdims=True)
        weights = grad_of_extremum(np.ones(top.shape, s.dtype), top, s, -1, keepdims=True)
    return Δ * np.moveaxis(np.matmul(u * weights[..., None, :], vh), (-2, -1), axes)


define(linalg.norm, _d_norm, name="linalg.norm")


@composed(linalg.vector_norm)
def _vector_norm(x: Array, /, *, axis: Axis = None, keepdims: bool = False, ord: Option = 2) -> Array:
    y = linalg.norm(merge_axes(x, axis), ord, axis=-1)
    return expand_reduced(y, x, tuple(range(x.ndim)) if axis is None else axis) if keepdims else y


@composed(linalg.matrix_norm)
def _matrix_norm(x: Array, /, *, keepdims: bool = False, ord: Option = "fro") -> Array:
    return linalg.norm(x, ord, axis=(-2, -1), keepdims=keepdims)


define_plain(linalg.matrix_rank)

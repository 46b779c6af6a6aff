"""Factors of tall and wide matrices: np.linalg.qr and lstsq."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import linalg

from fluxmagic.tracker.aliases import Array, Gradients, GradOut
from fluxmagic.tracker.array import as_arrays
from fluxmagic.tracker.node import data
from fluxmagic.tracker.operation import composed, define

QRResult: Any = type(linalg.qr(np.eye(1)))

_transpose = np.matrix_transpose

# An operation has one result: Q and R are joined along the axis in which their lengths differ.


def _qr(x: Array) -> Array:
    q, r = linalg.qr(x)
    return np.concatenate([q, r], axis=-2 if x.shape[-2] >= x.shape[-1] else -1)


def _split_factors(y: Array, m: int, n: int) -> tuple[Array, Array]:
    return (y[..., :m, :], y[..., m:, :]) if m >= n else (y[..., :m], y[..., m:])


def _of_tall(δq: Array, δr: Array, q: Array, r: Array) -> Array:
    """Return the gradient of a matrix with at least as many rows as columns.

    Walter, Lehmann: Algorithmic differentiation of linear algebra functions.  arXiv:1009.6112
    """
    inner = np.matmul(r, _transpose(δr)) - np.matmul(_transpose(δq), q)
    inner = np.tril(inner) + _transpose(np.tril(inner, -1))
    return _transpose(linalg.solve(r, _transpose(δq + np.matmul(q, inner))))


def _d_qr(Δ: Array, y: Array, x: Array) -> Array:
    m, n = x.shape[-2:]
    (q, r), (δq, δr) = _split_factors(y, m, n), _split_factors(Δ, m, n)
    if m >= n:
        return _of_tall(δq, δr, q, r)
    more = δr[..., m:]  # to the right of the square part R is Qᵀ times x
    δq = δq + np.matmul(x[..., m:], _transpose(more))
    return np.concatenate([_of_tall(δq, δr[..., :m], q, r[..., :m]), np.matmul(q, more)], axis=-1)


QR = define(_qr, _d_qr, name="linalg.qr")


@composed(linalg.qr)
def _qr_result(a: Array, mode: str = "reduced") -> Array:
    if mode not in ("reduced", "r") and not (mode == "complete" and a.shape[-2] <= a.shape[-1]):
        raise TypeError(
            f"qr: mode={mode!r} has no gradient for matrices of shape {a.shape[-2:]}; 'reduced' and 'r' have one"
        )
    q, r = _split_factors(QR(a), *a.shape[-2:])
    return r if mode == "r" else QRResult(q, r)


# -- least squares -----------------------------------------------------------------------------------


def _lstsq(a: Array, b: Array, rcond: float) -> Array:
    """Join solution, residuals and singular values in one vector."""
    x, residuals, _, s = linalg.lstsq(a, b, rcond)
    return np.concatenate([x.ravel(), residuals, s])


def _d_lstsq(Δ: Array, y: Array, a: Array, b: Array, grad_out: GradOut, rcond: float) -> Gradients:
    """Golub, Pereyra: The differentiation of pseudo-inverses.  https://doi.org/10.1137/0710036"""
    (m, n), shape = a.shape, b.shape
    b = b[:, None] if b.ndim == 1 else b
    k, least = b.shape[1], min(m, n)
    x = np.reshape(y[: n * k], (n, k))
    δx, δresiduals, δs = np.reshape(Δ[: n * k], (n, k)), Δ[n * k : len(y) - least], Δ[len(y) - least :]
    inverse = linalg.pinv(a, rcond)
    left = b - np.matmul(a, x)
    δb = np.matmul(_transpose(inverse), δx)
    δa = np.matmul(left, _transpose(np.matmul(inverse, δb))) - np.matmul(δb, _transpose(x))
    s = data(y)[len(y) - least :]
    if m < n or np.any(s <= rcond * s[:1]):  # the columns are linearly dependent
        δa = δa + np.matmul(np.matmul(_transpose(inverse), x), _transpose(δx - np.matmul(inverse, np.matmul(a, δx))))
    if δresiduals.size:
        twice = 2 * δresiduals * left
        δa, δb = δa - np.matmul(twice, _transpose(x)), δb + twice
    u, _, vh = linalg.svd(a, full_matrices=False)
    return δa + np.matmul(u * δs, vh), np.reshape(δb, shape)


LSTSQ = define(_lstsq, vjp=_d_lstsq, name="linalg.lstsq")


@composed(linalg.lstsq)
def _lstsq_result(a: Array, b: Array, rcond: float | None = None) -> Array:
    a, b = as_arrays(a, b)
    if a.ndim != 2 or b.ndim not in (1, 2) or a.shape[0] != b.shape[0]:
        raise linalg.LinAlgError(
            f"linalg.lstsq takes an (m, n) and an (m,) or (m, k), not arrays of shapes {a.shape} and {b.shape}"
        )
    (m, n), shape = a.shape, (a.shape[1], *b.shape[1:])
    ϵ = np.finfo(np.result_type(a.dtype, b.dtype)).eps
    rcond = ϵ * max(m, n) if rcond is None else ϵ if rcond < 0 else rcond
    y = LSTSQ(a, b, rcond=rcond)
    size, least = int(np.prod(shape)), min(m, n)
    s = y[len(y) - least :]
    rank = int(np.sum(s.data > rcond * s.data[:1]))
    return np.reshape(y[:size], shape), y[size : len(y) - least], rank, s

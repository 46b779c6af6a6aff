"""The fused operation of LayerNorm and BatchNorm: mean 0 and variance 1 along an axis, scale, shift, activation."""

from __future__ import annotations

import numpy as np

from fluxmagic.layers.fused import activate
from fluxmagic.tracker.aliases import Array, Gradients, GradOut
from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.constants import ones, scalar
from fluxmagic.tracker.fp_errors import ignoring_fp_errors
from fluxmagic.tracker.node import data
from fluxmagic.tracker.operation import Op, define
from fluxmagic.tracker.record import apply
from fluxmagic.tracker.rules.reductions import extent

__all__ = ["normalize"]

Moments = tuple[Array, Array, Array, Array]


def normalize(
    x: Array, γ: Array, β: Array, ϵ: float, axis: int, activation: Op | None = None
) -> tuple[Array, Array, Array]:
    """Compute activation(γ (x - mean) / √(variance + ϵ) + β), the mean and the variance.

    γ and β have the shape (n,), x (..., n).  Mean and variance are those of each row, of shape (rows, 1), with axis 1;
    those of each feature over all rows, of shape (n,), with axis 0.
    """
    standard, scale, mean, variance = ignoring_fp_errors(_standardize, _as_rows(data(x)), ϵ, axis)
    options = dict(ϵ=ϵ, axis=axis, moments=(standard, scale), activation=activation)  # noqa: C408 - ϵ is folded
    return apply(_NORMALIZE, (x, γ, β), options), mean, variance


def _as_rows(x: Array) -> Array:
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


def _sum(a: Array, axis: int) -> Array:
    """Sum up a matrix along an axis, such that the result broadcasts against it."""
    return a.dot(ones(a.shape[1], a.dtype))[:, None] if axis else a.T.dot(ones(a.shape[0], a.dtype))


def _standardize(x: Array, ϵ: Array, axis: int) -> Moments:
    """Compute (x - mean) / √(variance + ϵ), 1 / √(variance + ϵ), mean and variance."""
    n = scalar(x.shape[axis], x.dtype)
    mean = _sum(x, axis) / n
    centered = x - mean
    variance = _sum(centered * centered, axis) / n
    scale = np.reciprocal(np.sqrt(variance + (scalar(ϵ, x.dtype) if type(ϵ) is float else ϵ)))
    plain = data(scale)
    if plain.size and plain.item(plain.argmin()) == 0:  # squares or sums overflow: divide by the largest value first
        size = np.maximum(extent(x, axis), 1)
        size = size if axis else size[0]
        centered, scale, mean, variance = _standardize(x / size, ϵ / size / size, axis)
        return centered, scale / size, mean * size, variance * size * size
    return centered * scale, scale, mean, variance


def _normalize(
    x: Array, γ: Array, β: Array, ϵ: float, axis: int, moments: tuple[Array, Array], activation: Op | None
) -> Array:
    y = moments[0] * γ
    np.add(y, β, y)
    return activate(y if x.ndim == 2 else y.reshape(x.shape), activation)


def _d_normalize(
    Δ: Array,
    y: Array,
    x: Array,
    γ: Array,
    β: Array,
    grad_out: GradOut,
    ϵ: float,
    axis: int,
    moments: tuple[Array, Array],
    activation: Op | None,
) -> Gradients:
    if activation is not None:
        Δ = activation.vjps[0](Δ, y, None)  # type: ignore[misc]
    shape, Δ = Δ.shape, _as_rows(Δ)
    standard, scale = _standardize(_as_rows(x), ϵ, axis)[:2] if isinstance(x, Tracked) else moments
    share = γ / scalar(Δ.shape[axis], γ.dtype)
    product = Δ * standard
    δγ, δβ = _sum(product, 0), _sum(Δ, 0)
    if grad_out[0] is False:
        return None, δγ, δβ
    # what the mean and the variance pass on, of Δ γ and of Δ γ times the standardised x
    of_mean, of_variance = (Δ.dot(share)[:, None], product.dot(share)[:, None]) if axis else (δβ * share, δγ * share)
    δx = (Δ * γ - (standard * of_variance + of_mean)) * scale
    return δx.reshape(shape), δγ, δβ


_NORMALIZE = define(_normalize, vjp=_d_normalize, name="normalize")

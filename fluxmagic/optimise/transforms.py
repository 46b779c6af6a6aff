"""What happens to a gradient or a step beside the rule, in this order: clipnorm, clip, weightdecay, decay."""

from __future__ import annotations

import math

import numpy as np

from fluxmagic.optimise.flat_buffer import FlatBuffer

__all__ = ["add_weight_decay", "clip", "inverse_decay", "norm_scale"]


def norm_scale(flat: FlatBuffer, bound: float) -> float:
    """Return the factor that brings the 2-norm of the whole gradient within the bound."""
    square = flat.grad_norm_squared()
    norm = _norm_without_overflow(flat) if math.isinf(square) else math.sqrt(square)
    return bound / norm if norm > bound else 1.0


def _norm_without_overflow(flat: FlatBuffer) -> float:
    largest = max(float(np.max(np.abs(δ), initial=0)) for _, δ in flat.segments)
    if math.isinf(largest):
        return largest
    return largest * math.sqrt(sum(float(np.square(δ / largest).sum()) for _, δ in flat.segments))


def clip(δ: np.ndarray, bound: float) -> None:
    """Clip each element of the gradient to ±bound, in place."""
    np.clip(δ, -bound, bound, out=δ)


def add_weight_decay(δ: np.ndarray, p: np.ndarray, λ: float, tmp: np.ndarray) -> None:
    """Add λ p to the gradient, in place."""
    δ += np.multiply(p, λ, out=tmp)


def inverse_decay(γ: float, n: int) -> float:
    """Return the factor 1 / (1 + γ n)."""
    return 1 / (1 + γ * n)

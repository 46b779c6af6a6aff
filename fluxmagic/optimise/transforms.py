"""What every optimiser does to a gradient or a step beside its rule, in the order in which it is done."""

from __future__ import annotations

import math

import numpy as np

from fluxmagic.optimise.flat_buffer import FlatBuffer

__all__ = ["clip", "clip_norm", "inverse_decay", "norm_scale", "weight_decay"]


def norm_scale(flat: FlatBuffer, bound: float) -> float:
    """Return the factor that brings the 2-norm of the whole gradient within the bound."""
    if bound == math.inf:
        return 1.0
    square = flat.grad_norm_squared()
    norm = _norm_without_overflow(flat) if math.isinf(square) else math.sqrt(square)
    return bound / norm if norm > bound else 1.0


def _norm_without_overflow(flat: FlatBuffer) -> float:
    largest = max(float(np.max(np.abs(δ), initial=0)) for _, δ in flat.segments)
    if math.isinf(largest):
        return largest
    return largest * math.sqrt(sum(float(np.square(δ / largest).sum()) for _, δ in flat.segments))


def clip_norm(δ: np.ndarray, scale: float) -> None:
    """Scale the gradient by the factor of `norm_scale`."""
    if scale != 1:
        δ *= scale


def clip(δ: np.ndarray, bound: float) -> None:
    """Clip each element of the gradient to ±bound."""
    if bound != math.inf:
        np.clip(δ, -bound, bound, out=δ)


def weight_decay(δ: np.ndarray, p: np.ndarray, λ: float, tmp: np.ndarray) -> None:
    """Add λ p to the gradient."""
    if λ:
        δ += np.multiply(p, λ, out=tmp)


def inverse_decay(x: np.ndarray, γ: float, n: int) -> np.ndarray:
    """Return a gradient or a step, divided by 1 + γ n."""
    return x * (1 / (1 + γ * n)) if γ and n else x

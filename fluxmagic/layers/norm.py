"""Layers that normalise: mean 0 and variance 1 over the features of a sample, or over a batch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fluxmagic import generators
from fluxmagic.layers.activations import Activation, activation_text, as_activation, identity
from fluxmagic.layers.fused import fused_activation
from fluxmagic.layers.fused_norm import normalize
from fluxmagic.layers.input_checks import as_dtype, as_layer_input, as_width
from fluxmagic.layers.training_mode import HasTestMode
from fluxmagic.tracker import Param, param
from fluxmagic.tracker.aliases import Array
from fluxmagic.tracker.constants import scalar

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["BatchNorm", "LayerNorm"]

DEFAULT_EPSILON = 1e-5


class _Norm:
    """Parameters of both layers, which compute γ * (x - mean) / √(variance + ϵ) + β."""

    gamma = property(lambda self: self.γ, doc="The same as γ.")
    beta = property(lambda self: self.β, doc="The same as β.")
    epsilon = property(lambda self: self.ϵ, doc="The same as ϵ.")

    def __init__(self, n: int, ϵ: float, epsilon: float | None, dtype: DTypeLike) -> None:
        name = type(self).__name__
        n, dtype = as_width(name, n), as_dtype(name, dtype)
        if epsilon is not None:
            if ϵ != DEFAULT_EPSILON:
                raise TypeError(f"{name}: ϵ is given twice")
            ϵ = epsilon
        if not 0 < ϵ < np.inf:
            raise ValueError(f"{name}: ϵ = {ϵ!r} is out of range: 0 < ϵ")
        self.γ: Param = param(np.ones(n, dtype))
        self.β: Param = param(np.zeros(n, dtype))
        self.ϵ = float(ϵ)

    def reset(self, rng: np.random.Generator) -> None:
        """Set the parameters to their initial values."""
        self.γ.data, self.β.data = np.ones(self.γ.shape), np.zeros(self.β.shape)


class LayerNorm(_Norm):
    """Normalise each sample to mean 0 and variance 1 over its features, then scale and shift them.

    γ * (x - mean(x)) / √(var(x) + ϵ) + β, with mean and variance over the last axis.

    Parameters
    ----------
    n : int
        The number of features: the length of the last axis.
    ϵ : float
        Added to the variance, which may be 0; also as `epsilon=`.
    dtype : dtype
        float32 or float64; input is cast to it.

    Attributes
    ----------
    γ, β : Param
        Of shape (n,), initially ones and zeros; also as `gamma` and `beta`.

    Raises
    ------
    ValueError
        If input has another width, or ϵ is not positive.

    Notes
    -----
    Flux's `LayerNorm(n)`, with the variance divided by n, as in the paper and PyTorch; Flux 0.6 divides by n - 1
    and has no ϵ.

    References
    ----------
    Ba, Kiros, Hinton: Layer normalization.  https://arxiv.org/abs/1607.06450

    Examples
    --------
    >>> LayerNorm(2)([[1, 3], [10, 30]]).data.round(3)
    array([[-1.,  1.],
           [-1.,  1.]], dtype=float32)
    """

    def __init__(
        self, n: int, *, ϵ: float = DEFAULT_EPSILON, dtype: DTypeLike = np.float32, epsilon: float | None = None
    ) -> None:
        super().__init__(n, ϵ, epsilon, dtype)

    def __call__(self, x: Array) -> Array:
        x = as_layer_input(self, x, self.γ.shape[0], self.γ.dtype)
        return normalize(x, self.γ, self.β, self.ϵ, axis=1)[0]

    def __repr__(self) -> str:
        return f"LayerNorm({self.γ.shape[0]})"


class BatchNorm(_Norm, HasTestMode):
    """Normalise each feature to mean 0 and variance 1 over the batch, then scale and shift it.

    σ(γ * (x - mean) / √(var + ϵ) + β).  Training takes mean and variance of the batch, over all axes but the last,
    and updates the running statistics.  Test mode uses the running statistics and changes nothing.

    Parameters
    ----------
    n : int
        The number of features: the length of the last axis.
    σ : callable
        The activation; also as `sigma=`.
    ϵ : float
        Added to the variance, which may be 0; also as `epsilon=`.
    momentum : float
        The share of the running statistics that each batch replaces, 0 to 1.
    dtype : dtype
        float32 or float64; input is cast to it.

    Attributes
    ----------
    γ, β : Param
        Of shape (n,), initially ones and zeros; also as `gamma` and `beta`.
    mean, var : ndarray
        The running statistics, of shape (n,), initially zeros and ones; `fluxmagic.state` finds them.

    Raises
    ------
    ValueError
        If input has another width, a training batch has fewer than two samples, or ϵ or momentum is out of range.

    Notes
    -----
    Flux's `BatchNorm(n, σ)` and `torch.nn.BatchNorm1d`: the batch is divided by the root of its biased variance,
    the running variance is unbiased.  Flux 0.6 has ϵ = 1e-8 and a running standard deviation.  A batch that is not
    finite does not change the running statistics.  See `testmode` for the modes.

    References
    ----------
    Ioffe, Szegedy: Batch normalization.  https://arxiv.org/abs/1502.03167

    Examples
    --------
    >>> layer = BatchNorm(2)
    >>> layer([[1, 10], [3, 30]]).data.round(3)
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    >>> layer.mean
    array([0.2, 2. ], dtype=float32)
    """

    buffers = ("mean", "var")

    def __init__(
        self,
        n: int,
        σ: Activation = identity,
        *,
        ϵ: float = DEFAULT_EPSILON,
        momentum: float = 0.1,
        dtype: DTypeLike = np.float32,
        sigma: Activation | None = None,
        epsilon: float | None = None,
    ) -> None:
        super().__init__(n, ϵ, epsilon, dtype)
        self.σ = as_activation("BatchNorm", σ, sigma)
        if not 0 <= momentum <= 1:
            raise ValueError(f"BatchNorm: momentum = {momentum!r} is out of range: 0 ≤ momentum ≤ 1")
        self.momentum = float(momentum)
        self.mean = np.zeros_like(self.γ.data)
        self.var = np.ones_like(self.γ.data)

    def __call__(self, x: Array) -> Array:
        x = as_layer_input(self, x, self.γ.shape[0], self.γ.dtype)
        if not self.training:
            return self.σ((x - self.mean) / np.sqrt(self.var + self.ϵ) * self.γ + self.β)
        rows = x.size // x.shape[-1]
        if rows < 2:
            raise ValueError(
                f"{self!r} takes its statistics from a batch of two samples or more, not from shape {x.shape}: "
                "use larger batches (drop_last=True omits a short last one), or testmode"
            )
        op = fused_activation(self.σ)
        y, mean, variance = normalize(x, self.γ, self.β, self.ϵ, axis=0, activation=op)
        if not generators.is_replaying():
            self._update_running(mean, variance * scalar(rows / (rows - 1), variance.dtype))
        return y if op is not None else self.σ(y)

    def reset(self, rng: np.random.Generator) -> None:
        """Set parameters and running statistics to their initial values."""
        super().reset(rng)
        self.mean[...] = 0
        self.var[...] = 1

    def _update_running(self, mean: np.ndarray, variance: np.ndarray) -> None:
        if variance.item(variance.argmax()) < math.inf:  # neither NaN nor ∞, and the mean is not either
            share = scalar(self.momentum, variance.dtype)
            self.mean += share * (mean - self.mean)
            self.var += share * (variance - self.var)

    def __repr__(self) -> str:
        return f"BatchNorm({self.γ.shape[0]}{activation_text(self.σ)})"

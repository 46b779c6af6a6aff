"""The fully connected layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fluxmagic import generators
from fluxmagic.layers.activations import Activation, activation_text, as_activation, identity
from fluxmagic.layers.fused import affine, fused_activation
from fluxmagic.layers.input_checks import as_dtype, as_layer_input, as_width
from fluxmagic.tracker import Param, param
from fluxmagic.tracker.aliases import Array
from fluxmagic.tracker.record import apply, record

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["Dense", "glorot_uniform"]


def glorot_uniform(n_out: int, n_in: int, *, rng: np.random.Generator) -> np.ndarray:
    """Draw weights uniformly from ±√(6 / (in + out)).

    Parameters
    ----------
    n_out, n_in : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray
        Of shape (n_out, n_in), float64.

    References
    ----------
    Glorot, Bengio: Understanding the difficulty of training deep feedforward neural networks (2010).
    """
    bound = (6 / (n_in + n_out)) ** 0.5
    return rng.uniform(-bound, bound, (n_out, n_in))


class Dense:
    """Fully connected layer: σ(x @ W.T + b).

    Parameters
    ----------
    n_in, n_out : int
        The widths of input and output.
    σ : callable
        The activation; also as `sigma=`.
    init : callable
        `init(n_out, n_in, rng=...)` returns the initial weights.
    dtype : dtype
        float32 or float64; input is cast to it.
    rng : numpy.random.Generator or int, optional
        The generator that `init` draws from; default: the one that `fluxmagic.seed` seeds.

    Attributes
    ----------
    W : Param
        Of shape (out, in), as in Flux.
    b : Param
        Of shape (out,), initially zeros.
    init : callable
        As given; `reset(rng)` draws the weights anew by it.

    Notes
    -----
    Flux's `Dense(in, out, σ)`.  Input is batch-first, of shape (in,) or (..., in), where Flux has a batch in
    columns; for a vector both are σ(W x + b).

    Examples
    --------
    >>> layer = Dense(3, 2, relu)
    >>> layer
    Dense(3, 2, relu)
    >>> layer(np.ones((5, 3))).shape
    (5, 2)
    """

    W: Param
    b: Param
    sigma = property(lambda self: self.σ, doc="The same as σ.")

    def __init__(
        self,
        n_in: int,
        n_out: int,
        σ: Activation = identity,
        *,
        init: Callable[..., Array] = glorot_uniform,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | int | None = None,
        sigma: Activation | None = None,
    ) -> None:
        n_in, n_out = as_width("Dense", n_in), as_width("Dense", n_out)
        σ = as_activation("Dense", σ, sigma)
        dtype = as_dtype("Dense", dtype)
        self.init = init
        self.W = param(self._draw(n_out, n_in, generators.as_generator(rng)).astype(dtype))
        self.b = param(np.zeros(n_out, dtype))
        self.σ = σ

    def _draw(self, n_out: int, n_in: int, rng: np.random.Generator) -> np.ndarray:
        weights = np.asarray(self.init(n_out, n_in, rng=rng))
        if weights.shape != (n_out, n_in):
            raise ValueError(f"Dense: init gave weights of shape {weights.shape}, not {(n_out, n_in)}")
        return weights

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the weights anew by `init`, and set the bias to zeros."""
        n_out, n_in = self.W.shape
        for p, value in ((self.W, self._draw(n_out, n_in, rng)), (self.b, np.zeros(n_out))):
            if type(p) is Param:  # weights replaced by plain arrays are frozen
                p.data = value

    def __call__(self, x: Array) -> Array:
        W, σ = self.W, self.σ
        w = W.value if type(W) is Param else W
        x = as_layer_input(self, x, w.shape[1], w.dtype)
        carry_out = apply if w is W else record  # weights replaced by plain arrays are frozen
        op = None if σ is identity else fused_activation(σ)
        y = carry_out(affine, (x, W, self.b), None if op is None else {"activation": op})
        return y if op is not None or σ is identity else σ(y)

    def __repr__(self) -> str:
        n_out, n_in = self.W.shape
        return f"Dense({n_in}, {n_out}{activation_text(self.σ)})"

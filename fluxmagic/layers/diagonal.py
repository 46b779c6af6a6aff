"""The layer that scales and shifts each feature."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fluxmagic.layers.input_checks import as_dtype, as_layer_input, as_width
from fluxmagic.tracker import Param, param
from fluxmagic.tracker.aliases import Array

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["Diagonal"]


class Diagonal:
    """Scale and shift each feature: α * x + β.

    Parameters
    ----------
    n : int
        The number of features: the length of the last axis.
    dtype : dtype
        float32 or float64; input is cast to it.

    Attributes
    ----------
    α, β : Param
        Of shape (n,), initially ones and zeros; also as `alpha` and `beta`.

    Raises
    ------
    ValueError
        If input has another width.

    Notes
    -----
    Flux's `Diagonal(n)`.

    Examples
    --------
    >>> layer = Diagonal(3)
    >>> layer([1, 2, 3]).data
    array([1., 2., 3.], dtype=float32)
    """

    alpha = property(lambda self: self.α, doc="The same as α.")
    beta = property(lambda self: self.β, doc="The same as β.")

    def __init__(self, n: int, *, dtype: DTypeLike = np.float32) -> None:
        n, dtype = as_width("Diagonal", n), as_dtype("Diagonal", dtype)
        self.α: Param = param(np.ones(n, dtype))
        self.β: Param = param(np.zeros(n, dtype))

    def reset(self, rng: np.random.Generator) -> None:
        """Set the parameters to their initial values."""
        self.α.data, self.β.data = np.ones(self.α.shape), np.zeros(self.β.shape)

    def __call__(self, x: Array) -> Array:
        return self.α * as_layer_input(self, x, self.α.shape[0], self.α.dtype) + self.β

    def __repr__(self) -> str:
        return f"Diagonal({self.α.shape[0]})"

"""The layer that sets random entries to 0."""

from __future__ import annotations

import numbers

import numpy as np

from fluxmagic import generators
from fluxmagic.layers.input_checks import as_array
from fluxmagic.layers.training_mode import HasTestMode
from fluxmagic.tracker import Tracked
from fluxmagic.tracker.aliases import Array

__all__ = ["Dropout"]


class Dropout(HasTestMode):
    """Set each entry to 0 with probability p, and divide the others by 1 - p; in test mode, do nothing.

    Parameters
    ----------
    p : float
        The probability, 0 ≤ p < 1.
    rng : numpy.random.Generator or int, optional
        The generator; default: the one that `fluxmagic.seed` seeds.

    Raises
    ------
    ValueError
        If p is out of range.

    Notes
    -----
    Flux's `Dropout(p)`.  Input of any shape keeps shape and dtype (integers become float64).  See `testmode`.

    References
    ----------
    Srivastava and others: Dropout: a simple way to prevent neural networks from overfitting (2014).

    Examples
    --------
    >>> layer = Dropout(0.5, rng=0)
    >>> layer(np.ones(6))
    array([2., 2., 2., 0., 0., 0.])
    """

    def __init__(self, p: float, *, rng: np.random.Generator | int | None = None) -> None:
        self._p = 0.0
        self.p = p
        # None stands for the default generator: a copy of the layer must not copy that
        self.rng = None if rng is None else generators.as_generator(rng)

    @property
    def p(self) -> float:
        """The probability of setting an entry to 0."""
        return self._p

    @p.setter
    def p(self, p: float) -> None:
        if isinstance(p, bool) or not isinstance(p, numbers.Real) or not 0 <= p < 1:
            raise ValueError(f"Dropout: p is a probability, 0 ≤ p < 1, not {p!r}")
        self._p = float(p)

    def __call__(self, x: Array) -> Array:
        if type(x) is not np.ndarray and not isinstance(x, Tracked):
            x = as_array("Dropout", x)
        if x.dtype.kind not in "fiub":
            raise TypeError(f"{self!r} takes numbers, not {x.dtype}")
        if not (self._p and self.training):
            return x
        dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float64)
        rng = generators.note_draw(generators.as_generator(self.rng))
        kept = rng.random(x.shape, np.float32) >= self._p
        return x * (kept * dtype.type(1 / (1 - self._p)))

    def __repr__(self) -> str:
        return f"Dropout({self._p:g})"

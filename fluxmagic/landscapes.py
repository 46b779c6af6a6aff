"""Test functions of two numbers, on which optimisers are compared.

Each takes an array of shape (…, 2), plain or tracked, and returns the values, of shape (…).  Its attributes say where
a run starts, where the global minima are, and what part of the plane to draw.

Examples
--------
>>> from fluxmagic import SGD, landscapes, param, train
>>> bowl = landscapes.quadratic(10)
>>> w = param(bowl.start)
>>> train(lambda _: bowl(w), range(100), SGD([w], 0.1))
>>> f"{bowl(w):.4f}"
'0.0000'
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fluxmagic.tracker import istracked
from fluxmagic.tracker.aliases import Array

__all__ = ["Landscape", "beale", "himmelblau", "quadratic", "rastrigin", "rosenbrock", "saddle", "styblinski_tang"]

View = tuple[tuple[float, float], tuple[float, float]]


class Landscape:
    """A function of two numbers, with the facts that a picture and a test need.

    Parameters
    ----------
    formula : callable
        Of x and y, arrays of one shape.
    start : pair of float
        The customary start of a run; as an attribute an ndarray of shape (2,).
    minima : sequence of pairs of float
        The global minima, if there are any; as an attribute an ndarray of shape (n, 2).
    view : ((float, float), (float, float))
        The range of x and the range of y.
    """

    def __init__(
        self,
        formula: Callable[[Array, Array], Array],
        start: Sequence[float],
        minima: Sequence[Sequence[float]],
        view: View,
    ) -> None:
        self._formula = formula
        self._start = np.array(start, float)
        self._minima = np.array(minima, float).reshape(-1, 2)
        self.view = view
        self.__name__, self.__doc__ = formula.__name__, formula.__doc__

    @property
    def start(self) -> np.ndarray:
        return self._start.copy()

    @property
    def minima(self) -> np.ndarray:
        return self._minima.copy()

    def __call__(self, w: Array) -> Array:
        """Give the values at w, an array of shape (…, 2).

        Raises
        ------
        ValueError
            If the last axis has another length than 2.
        """
        w = w if istracked(w) else np.asarray(w, float)
        if w.shape[-1:] != (2,):
            raise ValueError(f"{self.__name__} takes an array of shape (…, 2), not {w.shape}")
        return self._formula(w[..., 0], w[..., 1])

    def __repr__(self) -> str:
        return self.__name__


def landscape(
    start: Sequence[float], minima: Sequence[Sequence[float]], view: View
) -> Callable[[Callable[[Array, Array], Array]], Landscape]:
    """Make a `Landscape` of the formula that is decorated."""
    return lambda formula: Landscape(formula, start, minima, view)


def quadratic(κ: float, /) -> Landscape:
    """(x² + κ y²) / 2, a bowl whose curvatures differ by the factor κ.

    Gradient descent converges for η < 2/κ.  Its best rate is (κ − 1)/(κ + 1); momentum reaches
    (√κ − 1)/(√κ + 1).  Minimum: 0 at (0, 0).

    Parameters
    ----------
    κ : float
        The condition number, 1 or more.

    Returns
    -------
    Landscape

    Raises
    ------
    ValueError
        If κ is less than 1 or not finite.

    G. Goh, "Why Momentum Really Works", Distill, 2017.
    """
    if not 1 <= κ < np.inf:
        raise ValueError(f"quadratic: κ is the ratio of the curvatures, a finite number from 1 up, not {κ!r}")

    def quadratic(x: Array, y: Array) -> Array:
        return (x**2 + κ * y**2) / 2

    bowl = Landscape(quadratic, (-4.0, 1.0), [(0.0, 0.0)], ((-5.0, 5.0), (-2.5, 2.5)))
    bowl.__name__ = f"quadratic({κ:g})"
    bowl.__doc__ = f'(x² + {κ:g} y²) / 2.  Minimum: 0 at (0, 0).  G. Goh, "Why Momentum Really Works", Distill, 2017.'
    return bowl


@landscape((-1.2, 1.0), [(1.0, 1.0)], ((-2.0, 2.0), (-1.0, 3.0)))
def rosenbrock(x: Array, y: Array) -> Array:
    """(1 − x)² + 100 (y − x²)², a curved valley with a flat floor.  Minimum: 0 at (1, 1).

    H. H. Rosenbrock, "An automatic method for finding the greatest or least value of a function",
    The Computer Journal 3 (1960), 175-184.
    """
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


@landscape((1.0, 1.0), [(3.0, 0.5)], ((-4.5, 4.5), (-4.5, 4.5)))
def beale(x: Array, y: Array) -> Array:
    """(1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)², plains with steep corners.  Minimum: 0 at (3, 0.5).

    E. M. L. Beale, "On an iterative method for finding a local minimum of a function of more than one variable",
    Technical Report 25, Statistical Techniques Research Group, Princeton University, 1958.
    """
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


@landscape(
    (0.0, 0.0),
    [
        (3.0, 2.0),
        (-2.805118086952745, 3.131312518250573),
        (-3.779310253377747, -3.2831859912861696),
        (3.5844283403304917, -1.8481265269644036),
    ],
    ((-5.0, 5.0), (-5.0, 5.0)),
)
def himmelblau(x: Array, y: Array) -> Array:
    """(x² + y − 11)² + (x + y² − 7)², four minima of value 0.

    D. M. Himmelblau, Applied Nonlinear Programming, McGraw-Hill, 1972.
    """
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


@landscape((-1.5, 0.001), [], ((-2.0, 2.0), (-2.0, 2.0)))
def saddle(x: Array, y: Array) -> Array:
    """x² − y², which falls without bound along y.  It has no minimum; its saddle point is (0, 0).

    Y. N. Dauphin and others, "Identifying and attacking the saddle point problem in high-dimensional non-convex
    optimization", Advances in Neural Information Processing Systems 27 (2014).
    """
    return x**2 - y**2


@landscape((3.3, -2.7), [(0.0, 0.0)], ((-5.12, 5.12), (-5.12, 5.12)))
def rastrigin(x: Array, y: Array) -> Array:
    """20 + x² − 10 cos 2πx + y² − 10 cos 2πy, a local minimum near each grid point.  Minimum: 0 at (0, 0).

    L. A. Rastrigin, Systems of Extremal Control, Nauka, Moscow, 1974.
    """
    waves: Array = np.cos(2 * np.pi * x) + np.cos(2 * np.pi * y)
    return 20 + x**2 + y**2 - 10 * waves


@landscape((4.0, 4.0), [(-2.903534027771177, -2.903534027771177)], ((-5.0, 5.0), (-5.0, 5.0)))
def styblinski_tang(x: Array, y: Array) -> Array:
    """(x⁴ − 16x² + 5x + y⁴ − 16y² + 5y) / 2, four unequal basins.  Minimum: −78.33233 at x = y = −2.903534.

    M. A. Styblinski and T.-S. Tang, "Experiments in nonconvex optimization: stochastic approximation with function
    smoothing and simulated annealing", Neural Networks 3 (1990), 467-483.
    """
    return (x**4 - 16 * x**2 + 5 * x + y**4 - 16 * y**2 + 5 * y) / 2

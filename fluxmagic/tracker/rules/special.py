"""Functions of scipy.special.  Imported when the first of them meets a tracked array: SciPy is not required."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special

from fluxmagic.tracker.array import Array
from fluxmagic.tracker.operation import Op, define

# -- sigmoids ----------------------------------------------------------------------------------------

define(special.expit, lambda Δ, y, x: Δ * (y * (1 - y)), of_output=True)
define(special.log_expit, lambda Δ, y, x: Δ * -np.expm1(y), of_output=True)
define(special.logit, lambda Δ, y, x: Δ / (x * (1 - x)))

# -- errors ------------------------------------------------------------------------------------------


def _bell(x: Array) -> Array:
    return np.exp(-x * x) * (2 / math.sqrt(math.pi))


define(special.erf, lambda Δ, y, x: Δ * _bell(x))
define(special.erfc, lambda Δ, y, x: -Δ * _bell(x))
define(special.erfinv, lambda Δ, y, x: Δ / _bell(y), of_output=True)
define(special.ndtr, lambda Δ, y, x: Δ * np.exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi)))

# -- gamma and its relations ---------------------------------------------------------------------------


def _polygamma(x: Any, n: int) -> Any:
    return special.polygamma(n, x).astype(x.dtype)


POLYGAMMA: Op = define(_polygamma, lambda Δ, y, x, n: Δ * POLYGAMMA(x, n=n + 1), name="polygamma")
define(special.gamma, lambda Δ, y, x: Δ * y * special.digamma(x))
define(special.gammaln, lambda Δ, y, x: Δ * special.digamma(x))
define(special.digamma, lambda Δ, y, x: Δ * POLYGAMMA(x, n=1), name="digamma")
define(
    special.betaln,
    lambda Δ, y, a, b: Δ * (special.digamma(a) - special.digamma(a + b)),
    lambda Δ, y, a, b: Δ * (special.digamma(b) - special.digamma(a + b)),
)

# -- entropies ---------------------------------------------------------------------------------------


def _log_where(x: Array, y: Array) -> Array:
    """log y, but 0 where x is 0 and y has no logarithm: there x log y is 0 all the same."""
    without = np.equal(x, 0) & np.less_equal(y, 0)
    return np.where(without, 0.0, np.log(np.where(without, 1.0, y)))


define(special.xlogy, lambda Δ, z, x, y: Δ * _log_where(x, y), lambda Δ, z, x, y: Δ * x / y)
define(special.xlog1py, lambda Δ, z, x, y: Δ * _log_where(x, 1.0 + y), lambda Δ, z, x, y: Δ * x / (1 + y))
define(special.entr, lambda Δ, y, x: -Δ * (np.log(x) + 1))
define(special.rel_entr, lambda Δ, z, x, y: Δ * (np.log(x / y) + 1), lambda Δ, z, x, y: -Δ * x / y)

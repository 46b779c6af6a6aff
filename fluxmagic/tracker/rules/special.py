"""Ufuncs of scipy.special.  Imported when one of them first meets a tracked array: SciPy is optional.

SciPy's other functions convert their arguments to plain arrays first; `fluxmagic.tracker.scipy` has some of them.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from fluxmagic.tracker.aliases import VJP, Array
from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.operation import Op, composed, define, symmetric


def _with_plain_first(ufunc: np.ufunc, what: str, rule: VJP) -> None:
    """Enter a ufunc whose first argument has no gradient rule; `rule(Δ, y, a, x)` is that of x."""
    op = define(lambda x, a: ufunc(a, x), lambda Δ, y, x, a: rule(Δ, y, a, x), name=ufunc.__name__)

    def checked(a: Array, x: Array) -> Array:
        if isinstance(a, Tracked):
            raise TypeError(f"no gradient passes through {what}, the first argument; give it as plain numbers (.data)")
        return op(x, a=a)

    composed(ufunc)(checked)


# -- sigmoids ----------------------------------------------------------------------------------------

define(special.expit, lambda Δ, y, x: Δ * (y * (1 - y)), needs_output_only=True)
define(special.log_expit, lambda Δ, y, x: Δ * -np.expm1(y), needs_output_only=True)
define(special.logit, lambda Δ, y, x: Δ / (x * (1 - x)))

# -- errors ------------------------------------------------------------------------------------------


def _gaussian(x: Array) -> Array:
    return np.exp(-x * x) * (2 / math.sqrt(math.pi))


define(special.erf, lambda Δ, y, x: Δ * _gaussian(x))
define(special.erfc, lambda Δ, y, x: -Δ * _gaussian(x))
define(special.erfinv, lambda Δ, y, x: Δ / _gaussian(y), needs_output_only=True)
define(special.erfcinv, lambda Δ, y, x: -Δ / _gaussian(y), needs_output_only=True)
define(special.erfi, lambda Δ, y, x: Δ * np.exp(x * x) * (2 / math.sqrt(math.pi)))
define(special.dawsn, lambda Δ, y, x: Δ * (1 - 2 * x * y))


def _d_erfcx(Δ: Array, y: Array, x: Array) -> Array:
    far = np.greater(x, 50)  # 2 x y - 2 / √π cancels: take the asymptotic series
    s = 0.5 / np.square(np.where(far, x, 50.0))
    series: Array = 0.0
    for n in (10395, 945, 105, 15, 3, 1):
        series = n - s * series
    return 2 * Δ * np.where(far, s * series / -math.sqrt(math.pi), x * y - 1 / math.sqrt(math.pi))


define(special.erfcx, _d_erfcx)
define(special.log_ndtr, lambda Δ, y, x: Δ * math.sqrt(2 / math.pi) / special.erfcx(x * -math.sqrt(0.5)))
define(special.ndtri, lambda Δ, y, x: Δ * np.exp(y * y * 0.5) * math.sqrt(2 * math.pi), needs_output_only=True)
define(special.ndtr, lambda Δ, y, x: Δ * np.exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi)))

# -- gamma and its relations ---------------------------------------------------------------------------


def _polygamma(x: Array, n: int) -> Array:
    return special.polygamma(n, x).astype(x.dtype)


POLYGAMMA: Op = define(_polygamma, lambda Δ, y, x, n: Δ * POLYGAMMA(x, n=n + 1), name="polygamma")
define(special.gamma, lambda Δ, y, x: Δ * y * special.digamma(x))
define(special.gammaln, lambda Δ, y, x: Δ * special.digamma(x))
define(special.digamma, lambda Δ, y, x: Δ * POLYGAMMA(x, n=1), name="digamma")
define(special.betaln, *symmetric(lambda Δ, y, a, b: Δ * (special.digamma(a) - special.digamma(a + b))))
define(special.beta, *symmetric(lambda Δ, y, a, b: Δ * y * (special.digamma(a) - special.digamma(a + b))))
define(special.rgamma, lambda Δ, y, x: -Δ * y * special.digamma(x))


def _of_gamma(a: Array, x: Array) -> Array:
    """Return the density of the gamma distribution of shape a."""
    return np.exp(special.xlogy(a - 1.0, x) - x - special.gammaln(a))


_with_plain_first(special.gammainc, "the shape a", lambda Δ, y, a, x: Δ * _of_gamma(np.asarray(a), x))
_with_plain_first(special.gammaincc, "the shape a", lambda Δ, y, a, x: -Δ * _of_gamma(np.asarray(a), x))

# -- Bessel's functions --------------------------------------------------------------------------------

ORDER = "the order"
_with_plain_first(special.jv, ORDER, lambda Δ, y, v, x: Δ * 0.5 * (special.jv(v - 1.0, x) - special.jv(v + 1.0, x)))
_with_plain_first(special.yv, ORDER, lambda Δ, y, v, x: Δ * 0.5 * (special.yv(v - 1.0, x) - special.yv(v + 1.0, x)))
_with_plain_first(special.iv, ORDER, lambda Δ, y, v, x: Δ * 0.5 * (special.iv(v - 1.0, x) + special.iv(v + 1.0, x)))
define(special.j0, lambda Δ, y, x: -Δ * special.j1(x))
define(special.j1, lambda Δ, y, x: Δ * 0.5 * (special.j0(x) - special.jv(2, x)))  # unlike y / x right at 0
define(special.y0, lambda Δ, y, x: -Δ * special.y1(x))
define(special.y1, lambda Δ, y, x: Δ * 0.5 * (special.y0(x) - special.yv(2, x)))
define(special.i0, lambda Δ, y, x: Δ * special.i1(x), name="special.i0")
define(special.i1, lambda Δ, y, x: Δ * 0.5 * (special.i0(x) + special.iv(2, x)))

# -- losses --------------------------------------------------------------------------------------------


def _bend(δ: Array, r: Array) -> Array:
    return np.sqrt(1 + np.square(r / δ))


def _d_pseudo_huber(Δ: Array, y: Array, δ: Array, r: Array) -> Array:
    s, q = _bend(δ, r), np.square(r / δ)
    return Δ * δ * np.square(q) / (s * np.square(s + 1))  # 2 y / δ - r² / (δ s), without cancellation


define(
    special.huber, lambda Δ, y, δ, r: Δ * np.maximum(np.abs(r) - δ, 0.0), lambda Δ, y, δ, r: Δ * np.clip(r, -1.0 * δ, δ)
)
define(special.pseudo_huber, _d_pseudo_huber, lambda Δ, y, δ, r: Δ * r / _bend(δ, r))

# -- entropies ---------------------------------------------------------------------------------------


def _log_where(x: Array, y: Array) -> Array:
    """Return log y, and 0 where x is 0 and y has no logarithm: x log y is 0 there."""
    without = np.equal(x, 0) & np.less_equal(y, 0)
    return np.where(without, 0.0, np.log(np.where(without, 1.0, y)))


def _log_slope(x: Array, y: Array) -> Array:
    """Return the derivative of x log y by y: x / y, and 0 where both are 0: 0 log y is 0 for every y."""
    return x / np.where(np.equal(x, 0) & np.equal(y, 0), 1.0, y)


define(special.xlogy, lambda Δ, z, x, y: Δ * _log_where(x, y), lambda Δ, z, x, y: Δ * _log_slope(x, y))
define(special.xlog1py, lambda Δ, z, x, y: Δ * _log_where(x, 1.0 + y), lambda Δ, z, x, y: Δ * _log_slope(x, 1.0 + y))
define(special.entr, lambda Δ, y, x: -Δ * (np.log(x) + 1))
define(special.rel_entr, lambda Δ, z, x, y: Δ * (np.log(x / y) + 1), lambda Δ, z, x, y: -Δ * _log_slope(x, y))


def _ratio(x: Array, y: Array) -> Array:
    nothing = np.equal(x, 0) & np.equal(y, 0)  # 0 / 0 is 1
    return np.where(nothing, 1.0, x / np.where(nothing, 1.0, y))


define(special.kl_div, lambda Δ, z, x, y: Δ * np.log(_ratio(x, y)), lambda Δ, z, x, y: Δ * (1 - _ratio(x, y)))

"""Operations that work element by element, with broadcasting."""

from __future__ import annotations

from typing import Any

import numpy as np

from fluxmagic.tracker.array import Array
from fluxmagic.tracker.operation import define

# -- arithmetic --------------------------------------------------------------------------------------

define(np.add, lambda Δ, y, a, b: Δ, lambda Δ, y, a, b: Δ, operators="add radd")
define(np.subtract, lambda Δ, y, a, b: Δ, lambda Δ, y, a, b: -Δ, operators="sub rsub")
define(np.multiply, lambda Δ, y, a, b: Δ * b, lambda Δ, y, a, b: Δ * a, operators="mul rmul")
define(
    np.divide,
    lambda Δ, y, a, b: Δ / b,
    lambda Δ, y, a, b: -Δ * y / b,
    operators="truediv rtruediv",
    also=[np.true_divide],
)
define(np.negative, lambda Δ, y, x: -Δ, operators="neg")
define(np.positive, lambda Δ, y, x: Δ, operators="pos")
define(np.absolute, lambda Δ, y, x: Δ * np.sign(x), name="abs", operators="abs", also=[np.abs])


def _power_base(Δ: Array, y: Array, a: Array, b: Any) -> Array:
    if type(b) in (int, float):
        if b == 2:
            return Δ * (a + a)
        if b == 0:
            return Δ * 0
        return Δ * (b * a ** (b - 1))
    zero = np.equal(b, 0)  # a⁰ is constant, also at a = 0
    return Δ * np.where(zero, 0.0, b * np.power(a, np.where(zero, 1.0, b - 1)))


def _power_exponent(Δ: Array, y: Array, a: Array, b: Array) -> Array:
    # 0ᵇ is constant for b > 0; of a negative base the logarithm is NaN, as it should be
    zero = np.equal(a, 0)
    return Δ * np.where(zero, 0.0, y * np.log(np.where(zero, 1.0, a)))


define(np.power, _power_base, _power_exponent, operators="pow rpow")

# -- exponentials, roots, trigonometry ---------------------------------------------------------------

define(np.square, lambda Δ, y, x: Δ * (x + x))
define(np.sqrt, lambda Δ, y, x: Δ / (y + y), of_output=True)
define(np.exp, lambda Δ, y, x: Δ * y, of_output=True)
define(np.log, lambda Δ, y, x: Δ / x)
define(np.expm1, lambda Δ, y, x: Δ * (y + 1), of_output=True)
define(np.log1p, lambda Δ, y, x: Δ / (1 + x))
define(np.tanh, lambda Δ, y, x: Δ * (1 - y * y), of_output=True)
define(np.sin, lambda Δ, y, x: Δ * np.cos(x))
define(np.cos, lambda Δ, y, x: Δ * -np.sin(x))

# -- choices -----------------------------------------------------------------------------------------


def _chosen(Δ: Array, y: Array, a: Array, b: Array) -> Array:
    """Δ where a was taken, half of it on ties; NaN passes from where it came."""
    return Δ * (np.not_equal(b, y) * 0.5 + 0.5) * (np.equal(a, y) | np.isnan(a))


define(np.maximum, _chosen, lambda Δ, y, a, b: _chosen(Δ, y, b, a))
define(np.minimum, _chosen, lambda Δ, y, a, b: _chosen(Δ, y, b, a))
define(
    np.where,
    None,
    lambda Δ, y, c, a, b: np.where(c, Δ, 0.0),
    lambda Δ, y, c, a, b: np.where(c, 0.0, Δ),
)


def _clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = a_min if min is None else min, a_max if max is None else max
    return np.clip(x, low, high)


def _clip_x(
    Δ: Array, y: Array, x: Array, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None
) -> Array:
    low, high = a_min if min is None else min, a_max if max is None else max
    inside: Any = True
    if low is not None:
        inside = np.greater_equal(x, low)
    if high is not None:
        inside = inside & np.less_equal(x, high)
    return Δ * inside


# at a bound the gradient passes, as in PyTorch
define(
    np.clip,
    _clip_x,
    lambda Δ, y, x, low=None, high=None: Δ * (x < low),
    lambda Δ, y, x, low=None, high=None: Δ * (x > high),
    forward=_clip,
    methods="clip",
)


def _astype(x: Any, dtype: Any, *, copy: bool = True) -> Any:
    return x.astype(dtype, copy=copy)


define(_astype, lambda Δ, y, x, dtype, copy=True: Δ.astype(x.dtype), name="astype", methods="astype")
define(np.copy, lambda Δ, y, x, **_: Δ, methods="copy")

"""Operations that work element by element, with broadcasting."""

from __future__ import annotations

import math

import numpy as np

from fluxmagic.tracker.aliases import Array, Call, DType, Option
from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.constants import scalar
from fluxmagic.tracker.node import data
from fluxmagic.tracker.operation import composed, define, symmetric
from fluxmagic.tracker.rules.reductions import quotient

# -- arithmetic --------------------------------------------------------------------------------------

define(np.add, lambda Δ, y, a, b: Δ, lambda Δ, y, a, b: Δ)
define(np.subtract, lambda Δ, y, a, b: Δ, lambda Δ, y, a, b: -Δ)
define(np.multiply, lambda Δ, y, a, b: Δ * b, lambda Δ, y, a, b: Δ * a)
define(np.divide, lambda Δ, y, a, b: Δ / b, lambda Δ, y, a, b: -Δ * y / b, aliases=[np.true_divide])
define(np.negative, lambda Δ, y, x: -Δ)
define(np.positive, lambda Δ, y, x: Δ)
define(np.absolute, lambda Δ, y, x: Δ * np.sign(x), name="abs", aliases=[np.abs])


def _power_base(Δ: Array, y: Array, a: Array, b: Array) -> Array:
    if type(b) in (int, float):
        if b == 2:
            return Δ * (a + a)
        if b == 0:
            return Δ * 0
        return Δ * (b * a ** (b - 1))
    b = np.asarray(b, y.dtype) if not isinstance(b, Tracked) else b  # in int8, -128 - 1 is 127
    zero = np.equal(b, 0)  # a⁰ is constant, at a = 0 too
    return Δ * np.where(zero, 0.0, b * np.power(a, np.where(zero, 1.0, b - 1)))


def _power_exponent(Δ: Array, y: Array, a: Array, b: Array) -> Array:
    # 0ᵇ is constant for b ≥ 0; the logarithm of a negative base is NaN
    if type(a) in (int, float) and a > 0:
        return Δ * y * math.log(a)
    zero = np.equal(a, 0) & np.greater_equal(b, 0)
    return Δ * np.where(zero, 0.0, y * np.log(np.where(zero, 1.0, a)))


define(np.power, _power_base, _power_exponent)
define(np.float_power, _power_base, _power_exponent)
define(np.reciprocal, lambda Δ, y, x: -Δ * y * y)
define(np.fabs, lambda Δ, y, x: Δ * np.sign(x))
define(np.remainder, lambda Δ, y, a, b: Δ, lambda Δ, y, a, b: -Δ * np.floor_divide(a, b), aliases=[np.mod])
define(np.fmod, lambda Δ, y, a, b: Δ, lambda Δ, y, a, b: -Δ * np.trunc(a / b))


@composed(np.divmod)
def _divmod(a: Array, b: Array) -> tuple[Array, Array]:
    return np.floor_divide(a, b), np.remainder(a, b)


FRACTION = define(lambda x: np.modf(x)[0], lambda Δ, y, x: Δ, name="modf")


@composed(np.modf)
def _modf(x: Array) -> tuple[Array, Array]:
    return FRACTION(x), np.trunc(x)


# -- exponentials, roots, trigonometry ---------------------------------------------------------------

define(np.square, lambda Δ, y, x: Δ * (x + x))
define(np.sqrt, lambda Δ, y, x: Δ / (y + y), needs_output_only=True)
define(np.exp, lambda Δ, y, x: Δ * y, needs_output_only=True)
define(np.cbrt, lambda Δ, y, x: Δ / (3 * y * y), needs_output_only=True)
define(np.exp2, lambda Δ, y, x: Δ * y * math.log(2), needs_output_only=True)
define(np.log, lambda Δ, y, x: Δ / x)
define(np.log2, lambda Δ, y, x: Δ / (x * math.log(2)))
define(np.log10, lambda Δ, y, x: Δ / (x * math.log(10)))
define(np.expm1, lambda Δ, y, x: Δ * (y + 1), needs_output_only=True)
define(np.log1p, lambda Δ, y, x: Δ / (1 + x))
define(np.tanh, lambda Δ, y, x: Δ * (scalar(1, y.dtype) - y * y), needs_output_only=True)
define(np.sin, lambda Δ, y, x: Δ * np.cos(x))
define(np.cos, lambda Δ, y, x: Δ * -np.sin(x))
define(np.tan, lambda Δ, y, x: Δ * (1 + y * y), needs_output_only=True)
define(np.arcsin, lambda Δ, y, x: Δ / np.sqrt(1 - x * x), aliases=[np.asin])
define(np.arccos, lambda Δ, y, x: -Δ / np.sqrt(1 - x * x), aliases=[np.acos])
define(np.arctan, lambda Δ, y, x: Δ / (1 + x * x), aliases=[np.atan])
define(np.sinh, lambda Δ, y, x: Δ * np.cosh(x))
define(np.cosh, lambda Δ, y, x: Δ * np.sinh(x))
define(np.arcsinh, lambda Δ, y, x: Δ / np.sqrt(x * x + 1), aliases=[np.asinh])
define(np.arccosh, lambda Δ, y, x: Δ / (np.sqrt(x - 1) * np.sqrt(x + 1)), aliases=[np.acosh])
define(np.arctanh, lambda Δ, y, x: Δ / (1 - x * x), aliases=[np.atanh])
define(np.deg2rad, lambda Δ, y, x: Δ * (math.pi / 180), aliases=[np.radians])
define(np.rad2deg, lambda Δ, y, x: Δ * (180 / math.pi), aliases=[np.degrees])


def _d_angle(Δ: Array, a: Array, b: Array) -> Array:
    r = np.hypot(a, b)  # a² + b² may underflow, and overflows in small integers
    return quotient(Δ * quotient(b, r), r)  # 0 at the origin, which has no angle


define(np.arctan2, lambda Δ, y, a, b: _d_angle(Δ, a, b), lambda Δ, y, a, b: -_d_angle(Δ, b, a), aliases=[np.atan2])
# 0 at the origin
define(np.hypot, *symmetric(lambda Δ, y, a, b: quotient(Δ * a, y)))


def _d_sinc(Δ: Array, y: Array, x: Array) -> Array:
    near = np.less(np.abs(x), 0.2)
    # near 0 (cos πx - sinc x) / x cancels: take the series, which is right for every derivative
    z = np.square(np.where(near, x, 0.0) * math.pi)
    series: Array = 0.0
    for k in range(10, 0, -1):
        series = series * z + (-1) ** k * 2 * k / math.factorial(2 * k + 1)
    far = np.where(near, 1.0, x)
    return Δ * np.where(near, x * series * math.pi**2, (np.cos(far * math.pi) - np.sinc(far)) / far)


define(np.sinc, _d_sinc)


def _difference(a: Array, b: Array) -> Array:
    """Return b - a; 0 for two equal infinities."""
    even = np.isinf(a) & np.equal(a, b)
    return np.where(even, 0.0, b) - np.where(even, 0.0, a)


def softmax_share(Δ: Array, y: Array, a: Array, b: Array) -> Array:
    """Return exp(a) / (exp(a) + exp(b))."""
    return Δ * np.exp(-np.logaddexp(0.0, _difference(a, b)))


def softmax2_share(Δ: Array, y: Array, a: Array, b: Array) -> Array:
    return Δ * np.exp2(-np.logaddexp2(0.0, _difference(a, b)))


define(np.logaddexp, *symmetric(softmax_share))
define(np.logaddexp2, *symmetric(softmax2_share))


@composed(np.heaviside)
def _heaviside(x1: Array, x2: Array) -> Array:
    y = np.heaviside(data(x1), data(x2))  # constant except at 0, where it is x2
    return np.where(np.equal(x1, 0), x2, y).astype(y.dtype) if isinstance(x2, Tracked) else y


# -- choices -----------------------------------------------------------------------------------------


def _grad_of_maximum(Δ: Array, y: Array, a: Array, b: Array) -> Array:
    """Return Δ where a is the result, Δ / 2 on ties; a NaN gets the gradient of its result."""
    return Δ * np.where(np.equal(a, b), y.dtype.type(0.5), (np.equal(a, y) | np.isnan(a)))


def _grad_of_fmaximum(Δ: Array, y: Array, a: Array, b: Array) -> Array:
    """Return the same, where NaN is never the result of NaN and a number."""
    return Δ * np.where(np.equal(a, b), y.dtype.type(0.5), np.equal(a, y))


for f, vjp in zip((np.maximum, np.minimum, np.fmax, np.fmin), [_grad_of_maximum] * 2 + [_grad_of_fmaximum] * 2):
    define(f, *symmetric(vjp))
define(np.copysign, lambda Δ, y, a, b: Δ * (np.sign(a) * np.copysign(1.0, b)), None)


def _normalize_where(condition: Array, *choices: Array) -> Call:
    if len(choices) != 2:
        raise TypeError("where takes a condition and two choices; where an array is not zero says np.nonzero")
    return (data(condition), *choices), {}


define(
    np.where,
    None,
    lambda Δ, y, c, a, b: np.where(c, Δ, 0.0),
    lambda Δ, y, c, a, b: np.where(c, 0.0, Δ),
    normalize_call=_normalize_where,
)


def _normalize_clip(
    a: Array, a_min: Option = None, a_max: Option = None, out: Option = None, *, min: Option = None, max: Option = None
) -> Call:
    return (a, a_min if min is None else min, a_max if max is None else max), {"out": out}


def _clip_x(Δ: Array, y: Array, x: Array, low: Array = None, high: Array = None) -> Array:
    inside: Option = True  # the gradient passes at a bound, as in PyTorch
    if low is not None:
        inside = np.greater_equal(x, low)
    if high is not None:
        inside = inside & np.less_equal(x, high)
    return Δ * inside


def _clip_low(Δ: Array, y: Array, x: Array, low: Array, high: Array = None) -> Array:
    return Δ * (np.less(x, low) if high is None else np.less(x, low) & np.less_equal(low, high))


def _clip_high(Δ: Array, y: Array, x: Array, low: Array, high: Array) -> Array:
    return Δ * np.greater(x if low is None else np.maximum(x, low), high)


define(np.clip, _clip_x, _clip_low, _clip_high, normalize_call=_normalize_clip)


@composed(np.select)
def _select(condlist: Option, choicelist: Option, default: Option = 0) -> Array:
    if len(condlist) != len(choicelist):
        raise ValueError(f"{len(condlist)} conditions for {len(choicelist)} choices")
    y = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        y = np.where(condition, choice, y)
    return y


define(np.nan_to_num, lambda Δ, y, x, *_, **__: Δ * np.isfinite(x))


def _astype(x: Array, dtype: DType, *, copy: bool = True) -> Array:
    return x.astype(dtype, copy=copy)


define(np.astype, lambda Δ, y, x, dtype, copy=True: Δ.astype(x.dtype), forward=_astype)
define(np.copy, lambda Δ, y, x, *_, **__: Δ)

# -- real numbers are their own real part and conjugate ------------------------------------------------

define(np.conjugate, lambda Δ, y, x: Δ, aliases=[np.conj])
composed(np.real)(lambda val: val)
composed(np.real_if_close)(lambda a, tol=100: a)

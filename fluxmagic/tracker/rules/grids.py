"""Values on a grid: interpolation, evenly spaced numbers, slopes from differences."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from fluxmagic.tracker.aliases import Array, Axis, Call, DType, Gradients, GradOut, Option
from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.node import as_floats, data
from fluxmagic.tracker.operation import composed, define
from fluxmagic.tracker.rules.shapes import SCATTER

# -- interpolation -----------------------------------------------------------------------------------


def _d_interp(
    Δ: Array, y: Array, x: Array, xp: Array, fp: Array, grad_out: GradOut, left: Array = None, right: Array = None
) -> Gradients:
    """Take the slope of the segment to the right at a point of xp, and of the one to the left at the last point."""
    n = len(data(xp))
    i = np.clip(np.searchsorted(data(xp), data(x), side="right") - 1, 0, max(n - 2, 0))
    j = np.minimum(i + 1, n - 1)
    low, high = np.less(x, xp[0]), np.greater(x, xp[-1])
    width = np.where(np.equal(i, j), 1.0, xp[j] - xp[i])
    part = np.where(low, 0.0, np.where(high, 1.0, (x - xp[i]) / width))
    slope = np.where(low | high, 0.0, (fp[j] - fp[i]) / width)

    def scattered(to_i: Array, to_j: Array) -> Array:
        return SCATTER(to_i, index=i, shape=(n,)) + SCATTER(to_j, index=j, shape=(n,))

    δx = δxp = δfp = None
    if grad_out[0] is not False:
        δx = Δ * np.where(np.isnan(x), np.nan, slope)
    if grad_out[1] is not False:
        δxp = scattered(-Δ * slope * (1 - part), -Δ * slope * part)
    if grad_out[2] is not False:
        if left is not None:
            Δ = np.where(low, 0.0, Δ)
        if right is not None:
            Δ = np.where(high, 0.0, Δ)
        δfp = scattered(Δ * (1 - part), Δ * part)
    return [δx, δxp, δfp]


INTERP = define(
    lambda x, xp, fp, left=None, right=None: np.interp(x, xp, fp, left, right), vjp=_d_interp, name="interp"
)


@composed(np.interp)
def _interp(
    x: Array, xp: Array, fp: Array, left: Array = None, right: Array = None, period: float | None = None
) -> Array:
    if isinstance(period, Tracked):
        raise TypeError("no gradient passes through period=; give it as a plain number (.data)")
    x, xp, fp = (a if isinstance(a, Tracked) else as_floats(a) for a in (x, xp, fp))
    if xp.ndim != 1 or xp.shape != fp.shape or not xp.size:
        raise ValueError(f"xp and fp are vectors of one length, at least 1; their shapes are {xp.shape}, {fp.shape}")
    if period is None:
        outside = [v if isinstance(v, Tracked) else None for v in (left, right)]
        y = INTERP(x, xp, fp, left=data(left), right=data(right))
        if outside[0] is not None:
            y = np.where(np.less(x, xp[0]), outside[0], y)
        if outside[1] is not None:
            y = np.where(np.greater(x, xp[-1]), outside[1], y)
        return y
    if period == 0:
        raise ValueError("a period is not 0")
    period = abs(period)
    x, xp = (np.remainder(a.astype(np.float64), period) for a in (x, xp))
    order = np.argsort(xp)
    xp, fp = xp[order], fp[order]
    xp = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
    return INTERP(x, xp, np.concatenate([fp[-1:], fp, fp[:1]]))


# -- evenly spaced numbers ---------------------------------------------------------------------------


def _progress(Δ: Array, num: int, endpoint: bool, axis: int) -> tuple[Array, Any]:
    """Return Δ with the new axis first, and the position of each number between start (0) and stop (1)."""
    Δ = np.moveaxis(Δ, axis, 0)
    t = np.arange(num, dtype=Δ.dtype) / max(num - bool(endpoint), 1)
    return Δ, t.reshape((-1,) + (1,) * (Δ.ndim - 1))


def _d_linspace(
    Δ: Array,
    y: Array,
    *ends: Array,
    grad_out: GradOut,
    num: int = 50,
    endpoint: bool = True,
    axis: int = 0,
    **_: Option,
) -> Gradients:
    Δ, t = _progress(Δ, num, endpoint, axis)
    return [None if grad_out[k] is False else np.sum(Δ * part, axis=0) for k, part in enumerate((1 - t, t))]


def _d_geomspace(Δ: Array, y: Array, *ends: Array, **options: Option) -> Gradients:
    δs = _d_linspace(Δ * y, y, *ends, **options)
    return [None if δ is None else δ / end for δ, end in zip(δs, ends, strict=True)]


def _normalize_ends(
    start: Array, stop: Array, num: Option = 50, endpoint: bool = True, dtype: DType = None, axis: int = 0
) -> Call:
    return (start, stop), {"num": num, "endpoint": endpoint, "dtype": dtype, "axis": axis}


LINSPACE = define(lambda *ends, **options: np.linspace(*ends, **options), vjp=_d_linspace, name="linspace")


@composed(np.linspace)
def _linspace(
    start: Array,
    stop: Array,
    num: Option = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: DType = None,
    axis: int = 0,
    *,
    device: Option = None,
) -> Array:
    y = LINSPACE(start, stop, num=num, endpoint=endpoint, dtype=dtype, axis=axis)
    if not retstep:
        return y
    gaps = num - bool(endpoint)
    return y, (np.subtract(stop, start) / gaps if gaps > 0 else np.full(np.shape(np.subtract(stop, start)), np.nan))


define(np.geomspace, vjp=_d_geomspace, normalize_call=_normalize_ends)


@composed(np.logspace)
def _logspace(
    start: Array,
    stop: Array,
    num: Option = 50,
    endpoint: bool = True,
    base: Option = 10.0,
    dtype: DType = None,
    axis: int = 0,
) -> Array:
    if np.ndim(base):
        start, stop, base = np.broadcast_arrays(start, stop, base)
        base = np.expand_dims(base, axis)
    y = np.power(base, np.linspace(start, stop, num, endpoint, axis=axis))
    return y if dtype is None else y.astype(dtype)


# -- slopes ------------------------------------------------------------------------------------------


def _slope(f: Array, h: Array, axis: int, edge_order: int) -> Array:
    """Return differences of second order inside, and of `edge_order` at the two edges, by NumPy's formulas.

    h is the distance of two neighbours: one number, or one for each pair.
    """
    dtype = f.dtype
    f = np.moveaxis(f, axis, -1).astype(np.result_type(dtype, data(h)))
    if not np.ndim(h):
        inner = (f[..., 2:] - f[..., :-2]) / (2.0 * h)
        left, right = h, h
    else:
        l, r = h[:-1], h[1:]
        a, b, c = -r / (l * (l + r)), (r - l) / (l * r), l / (r * (l + r))
        inner = a * f[..., :-2] + b * f[..., 1:-1] + c * f[..., 2:]
        left, right = h[0], h[-1]
    if edge_order == 1:
        first = (f[..., 1:2] - f[..., :1]) / left
        last = (f[..., -1:] - f[..., -2:-1]) / right
    else:
        if not np.ndim(h):
            a, b, c = -1.5 / h, 2.0 / h, -0.5 / h
            d, e, g = 0.5 / h, -2.0 / h, 1.5 / h
        else:
            p, q = h[0], h[1]
            a, b, c = -(2.0 * p + q) / (p * (p + q)), (p + q) / (p * q), -p / (q * (p + q))
            p, q = h[-2], h[-1]
            d, e, g = q / (p * (p + q)), -(q + p) / (p * q), (2.0 * q + p) / (q * (p + q))
        first = a * f[..., :1] + b * f[..., 1:2] + c * f[..., 2:3]
        last = d * f[..., -3:-2] + e * f[..., -2:-1] + g * f[..., -1:]
    return np.moveaxis(np.concatenate([first, inner, last], axis=-1).astype(dtype), -1, axis)


@composed(np.gradient)
def _gradient(f: Array, *varargs: Option, axis: Axis = None, edge_order: int = 1) -> Array:
    f = f if isinstance(f, Tracked) else as_floats(f)
    axes = tuple(range(f.ndim)) if axis is None else normalize_axis_tuple(axis, f.ndim)
    if len(varargs) not in (0, 1, len(axes)) or (len(varargs) == 1 and len(axes) > 1 and np.ndim(varargs[0])):
        raise TypeError(f"one distance for all of the {len(axes)} axes, or one for each, not {len(varargs)}")
    if edge_order not in (1, 2):
        raise ValueError(f"edge_order is 1 or 2, not {edge_order}")
    spacing = varargs if len(varargs) == len(axes) else (varargs or (1.0,)) * len(axes)
    slopes = []
    for a, h in zip(axes, spacing, strict=True):
        n = f.shape[a]
        if n < edge_order + 1:
            raise ValueError(f"axis {a} has {n} elements, and edge_order={edge_order} needs {edge_order + 1}")
        if np.ndim(h):
            h = h if isinstance(h, Tracked) else np.asarray(h)
            if h.shape != (n,):
                raise ValueError(f"coordinates of shape {h.shape} do not fit axis {a} of length {n}")
            h = np.diff(h if h.dtype.kind == "f" else h.astype(np.float64))
            if not isinstance(h, Tracked) and (h == h[0]).all():
                h = h[0]
        slopes.append(_slope(f, h, a, edge_order))
    return slopes[0] if len(slopes) == 1 else tuple(slopes)


def _normalize_unwrap(p: Array, discont: Option = None, axis: int = -1, *, period: Option = 2 * np.pi) -> Array:
    return (p,), {"discont": discont, "axis": normalize_axis_index(axis, np.ndim(p)), "period": period}


# the multiples of the period that it adds are constant between the jumps
define(np.unwrap, lambda Δ, y, p, **_: Δ, normalize_call=_normalize_unwrap)

"""Windows and borders: sliding windows, shifts of a spectrum, and np.pad."""

from __future__ import annotations

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.lib.stride_tricks import sliding_window_view

from fluxmagic.tracker.aliases import Array, Axis, Call, Function, Option
from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.operation import LATE_RULES, composed, define
from fluxmagic.tracker.rules.shapes import grad_by_gather


def _normalize_windows(
    x: Array, window_shape: Option, axis: Axis = None, *, subok: bool = False, writeable: bool = False
) -> Call:
    if writeable:
        raise TypeError("sliding_window_view: writeable=True does not go with tracked arrays; leave it away")
    return (x,), {"window_shape": window_shape, "axis": axis}


define(sliding_window_view, grad_by_gather(sliding_window_view), normalize_call=_normalize_windows)


def _define_shift(function: Function, sign: int) -> None:
    def shift(x: Array, axes: Option = None) -> Array:
        axes = tuple(range(x.ndim)) if axes is None else normalize_axis_tuple(axes, x.ndim, allow_duplicate=True)
        return np.roll(x, tuple(sign * (x.shape[a] // 2) for a in axes), axes)

    composed(function)(shift)


def _enter_shifts() -> None:
    _define_shift(np.fft.fftshift, 1)
    _define_shift(np.fft.ifftshift, -1)


LATE_RULES["numpy.fft"] = _enter_shifts  # to import it takes a twentieth of this package's time

# -- np.pad ------------------------------------------------------------------------------------------

PAD = define(
    lambda x, widths, mode, **options: np.pad(x, widths, mode, **options),
    grad_by_gather(
        lambda x, widths, mode, constant_values=0, **options: np.pad(x, widths, mode, **options)  # 0: no element
    ),
    name="pad",
)


def _part(x: Array, axis: int, start: int | None, stop: int | None) -> Array:
    return x[(slice(None),) * axis + (slice(start, stop),)]


def _ramps(x: Array, axis: int, widths: Option, ends: Array, wide: bool) -> tuple[Array, Array]:
    dtype = x.dtype
    if wide:  # as NumPy rounds: in float64, unless each axis has its own end values
        x = x.astype(np.float64)
    left, right = (
        np.linspace(end, np.squeeze(edge, axis), width, endpoint=False, axis=axis).astype(dtype)
        for end, edge, width in zip(ends, (_part(x, axis, 0, 1), _part(x, axis, -1, None)), widths, strict=True)
    )
    return left, np.flip(right, axis)


def _statistics(x: Array, axis: int, widths: Option, lengths: Option, function: Function) -> tuple[Array, Array]:
    n = x.shape[axis]
    left, right = (min(length, n) for length in lengths)
    parts = (_part(x, axis, 0, left), _part(x, axis, n - right, None))
    return tuple(
        np.repeat(function(part, axis=axis, keepdims=True), width, axis)
        for part, width in zip(parts, widths, strict=True)
    )  # type: ignore[return-value]


def _mirrored(x: Array, axis: int, widths: Option, with_edge: bool) -> Array:
    """Extend both edges by twice the edge less the mirror image, again and again until the widths are reached."""
    left, right = widths
    while left or right:
        most = x.shape[axis] - (not with_edge)
        a, b = min(left, most), min(right, most)
        if not most:  # a single element has no mirror image
            return np.concatenate([np.repeat(x, left, axis), x, np.repeat(x, right, axis)], axis)
        near = x.shape[axis] - (not with_edge)
        first = _part(x, axis, int(not with_edge), a + (not with_edge))
        last = _part(x, axis, near - b, near)
        x = np.concatenate(
            [2 * _part(x, axis, 0, 1) - np.flip(first, axis), x, 2 * _part(x, axis, -1, None) - np.flip(last, axis)],
            axis,
        )
        left, right = left - a, right - b
    return x


_STATISTICS: dict[str, Function] = {"mean": np.mean, "maximum": np.max, "minimum": np.min, "median": np.median}


def _pairs(widths: Option, ndim: int) -> Array:
    """Return two numbers for each axis from a number, a pair, a pair for each, or {axis: pair}."""
    if isinstance(widths, dict):
        each: list[Array] = [(0, 0)] * ndim
        for axis, width in widths.items():
            each[axis] = (width, width) if np.ndim(width) == 0 else width
        widths = each
    return np.broadcast_to(np.asarray(widths), (ndim, 2)).tolist()


@composed(np.pad)
def _pad(array: Array, pad_width: Option, mode: Option = "constant", **options: Option) -> Array:
    x = array
    if not isinstance(mode, str):
        raise TypeError("a mode that is a function writes in place, which has no gradient; name one of NumPy's modes")
    for name, value in options.items():
        if isinstance(value, Tracked):
            raise TypeError(f"no gradient passes through {name}=; give it as plain numbers (.data)")
    odd = options.get("reflect_type") == "odd" and mode in ("reflect", "symmetric")
    if mode in ("constant", "edge", "reflect", "symmetric", "wrap") and not odd:
        return PAD(x, widths=pad_width, mode=mode, **options)
    PAD(np.zeros([min(n, 1) for n in x.shape]), widths=pad_width, mode=mode, **options)  # NumPy's checks and messages
    pairs = _pairs(pad_width, x.ndim)
    settings: Option = None
    wide = np.size(options.get("end_values", 0)) < 3
    if mode in _STATISTICS:
        length = options.get("stat_length")
        settings = _pairs(max(x.shape, default=1) if length is None else length, x.ndim)
    elif mode == "linear_ramp":
        settings = _pairs(options.get("end_values", 0), x.ndim)
    for axis, widths in enumerate(pairs):
        if odd:
            x = _mirrored(x, axis, widths, mode == "symmetric")
            continue
        if mode == "linear_ramp":
            left, right = _ramps(x, axis, widths, settings[axis], wide)
        elif mode in _STATISTICS:
            left, right = _statistics(x, axis, widths, settings[axis], _STATISTICS[mode])
        else:  # empty: zeros
            left, right = (np.zeros((*x.shape[:axis], w, *x.shape[axis + 1 :]), x.dtype) for w in widths)
        x = np.concatenate([left.astype(x.dtype), x, right.astype(x.dtype)], axis)
    return x

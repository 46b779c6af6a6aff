"""The limits of axes: what of a series they show, when they are logarithmic, when they have to move."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

__all__ = [
    "EMPTY", "Axis", "Limits", "before_divergence", "data_range", "is_wide", "loss_range", "losses_fit", "still_fit",
    "with_margin", "within",
]  # fmt: skip

# Limits of an axis, and below at the negative or inverse: matplotlib turns what is beyond into values not finite.
LARGEST = 1e290
LARGEST_LOG = 1e120  # a locator of few ticks tries some far beyond the end

WIDE, STILL_WIDE = 100.0, 30.0  # the ratio of values from which an axis turns logarithmic, and linear again
DIVERGENCE = 1e4  # times the first value
BESIDE = 10.0  # times the largest value of the present line: an earlier one is shown as far as that
EMPTY = 0.1  # of the axis, at most, is future


class Axis(NamedTuple):
    """An axis of steps: its ends as shares of the picture's width, and its limits."""

    start: float
    end: float
    left: float
    right: float

    def place(self, step: float) -> float:
        """Give where a step is, as a share of the picture's width."""
        return self.start + (self.end - self.start) * (step - self.left) / (self.right - self.left)


class Limits(NamedTuple):
    """Ends of the axes: steps, loss, metrics; whether the loss is on a logarithmic axis."""

    left: float
    right: float
    low: float
    high: float
    bottom: float
    top: float
    log: bool


def _finite(lines: Iterable[np.ndarray]) -> np.ndarray:
    values = np.concatenate([*lines, np.empty(0)])
    finite: np.ndarray = values[np.isfinite(values)]
    return finite


def data_range(lines: Iterable[np.ndarray], log: bool) -> tuple[float, float]:
    """Give the smallest and largest of what an axis can show."""
    values = _finite(lines)
    values = values[values > 0] if log else values
    if not len(values):
        return (0.1, 1.0) if log else (0.0, 1.0)
    least, most = (1 / LARGEST_LOG, LARGEST_LOG) if log else (-LARGEST, LARGEST)
    low, high = np.clip([values.min(), values.max()], least, most)
    return float(low), float(high)


def is_wide(lines: Iterable[np.ndarray], was: bool) -> bool:
    """Tell whether values, none below 0, extend over more than two decades; what `was` wide turns back later."""
    values = _finite(lines)
    if not len(values) or values.min() < 0 or not values.max() > 0:
        return False
    low, high = values[values > 0].min(), values.max()
    return bool(high / (STILL_WIDE if was else WIDE) > low)


def before_divergence(y: np.ndarray) -> tuple[np.ndarray, bool]:
    """Give what of a series an axis has to show, and whether that leaves out a divergence.

    A series diverges if it reaches ten thousand times its first value.  Its rise from there to its largest value is
    left out, and all of that size later on.  A series that rises from its start is shown whole.
    """
    y = y[np.isfinite(y)]
    if len(y) < 3:
        return y, False
    size = np.abs(y)
    largest, first = int(size.argmax()), float(size[0])
    if not size[largest] > DIVERGENCE * first > 0:
        return y, False
    rise = int(np.flatnonzero(size[:largest] <= first)[-1])
    while rise and size[rise - 1] < size[rise]:
        rise -= 1
    if rise < 2:
        return y, False
    usual = size <= size[:rise].max()
    return y[usual], True


def within(others: Iterable[np.ndarray], lines: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Give what of others an axis has to show beside lines: no divergence that a run was brought back from."""
    others = list(others)
    present = np.abs(_finite(lines))
    if len(present):
        most = BESIDE * present.max()
    else:
        most = DIVERGENCE * max((float(abs(y[0])) for y in others if len(y)), default=math.inf)
    return [y[np.abs(y) <= most] for y in others]


def _with_room(low: float, high: float, log: bool, actual: tuple[float, float]) -> tuple[float, float]:
    """Show a part of a divergence too: as much again as the part before it, or a decade."""
    bottom, top = actual
    if log:
        factor = max(high / low, 10.0)
        return max(bottom, low / factor), min(top, high * factor)
    extent = (high - low) or abs(high)
    return max(bottom, low - extent), min(top, high + extent)


def with_margin(low: float, high: float, log: bool, share: float = 0.06) -> tuple[float, float]:
    """Widen a range by a share of it at both ends; the result is never empty."""
    if log:
        margin = max(share * (math.log(high) - math.log(low)), 0.05)
        return low * math.exp(-margin), high * math.exp(margin)
    margin = share * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def loss_range(lines: Iterable[np.ndarray], log: bool) -> tuple[float, float]:
    """Give the range of losses to show: all, or where they diverge the part before it with some room."""
    lines = list(lines)
    parts = [before_divergence(y) for y in lines]
    low, high = data_range([part for part, _ in parts], log)
    if any(diverged for _, diverged in parts):
        return _with_room(low, high, log, data_range(lines, log))
    return low, high


def still_fit(limits: Limits, data: Limits) -> bool:
    """Tell whether limits hold the data, and the data fills enough of them."""
    inside = limits.left <= data.left and data.right <= limits.right
    full = limits.right - data.right <= EMPTY * (limits.right - limits.left)
    return inside and full and losses_fit(limits, data)


def losses_fit(limits: Limits, data: Limits) -> bool:
    """Tell so of the axes of losses and metrics alone."""
    inside = limits.low <= data.low and data.high <= limits.high
    inside = inside and limits.bottom <= data.bottom and data.top <= limits.top
    return inside and limits.log == data.log and _extent(data) > 0.4 * _extent(limits)


def _extent(limits: Limits) -> float:
    if limits.log:
        return math.log(limits.high) - math.log(limits.low)
    return limits.high - limits.low

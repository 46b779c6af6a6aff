"""Histograms: counts are plain; edges that depend on the values, and densities, have a gradient."""

from __future__ import annotations

import numpy as np

from fluxmagic.tracker.aliases import Array, Option
from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.node import data
from fluxmagic.tracker.operation import composed


def _edges(a: Array, bins: Option, range: Option, found: np.ndarray) -> Array:
    """Return the edges that NumPy has found, as a function of tracked ones, or of the least and the largest value."""
    if np.ndim(bins):
        return bins if isinstance(bins, Tracked) else found
    if range is not None or not isinstance(a, Tracked) or not a.size:
        return found
    low, high = np.min(a), np.max(a)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, len(found), dtype=found.dtype)


def _density(counts: Array, *edges: Array) -> Array:
    total = counts.sum()
    for axis, e in enumerate(edges):
        counts = counts / np.reshape(np.diff(e), (-1,) + (1,) * (counts.ndim - axis - 1))
    return counts / total


def _refuse_weights(weights: Array) -> None:
    if isinstance(weights, Tracked):
        raise TypeError("no gradient passes through weights=; give them as a plain array (.data)")


@composed(np.histogram_bin_edges)
def _histogram_bin_edges(a: Array, bins: Option = 10, range: Option = None, weights: Array = None) -> Array:
    _refuse_weights(weights)
    return _edges(a, bins, range, np.histogram_bin_edges(data(a), data(bins), range, weights))


@composed(np.histogram)
def _histogram(
    a: Array, bins: Option = 10, range: Option = None, density: Option = None, weights: Array = None
) -> Array:
    _refuse_weights(weights)
    counts, found = np.histogram(data(a), data(bins), range, weights=weights)
    edges = _edges(a, bins, range, found)
    return (_density(counts, edges) if density else counts), edges


@composed(np.histogram2d)
def _histogram2d(
    x: Array, y: Array, bins: Option = 10, range: Option = None, density: Option = None, weights: Array = None
) -> tuple[Array, Array, Array]:
    _refuse_weights(weights)
    # two numbers or arrays, one for each axis; otherwise the same for both
    pair = list(bins) if isinstance(bins, (list, tuple)) and len(bins) == 2 else [bins, bins]
    plain_bins: Option = data(bins) if pair[0] is bins else [data(b) for b in pair]
    counts, *found = np.histogram2d(data(x), data(y), plain_bins, range, weights=weights)
    ranges = (None, None) if range is None else range
    edges = [_edges(a, b, r, f) for a, b, r, f in zip((x, y), pair, ranges, found, strict=True)]
    return (_density(counts, *edges) if density else counts), edges[0], edges[1]

"""Quantiles and medians, of all elements or of those that are not NaN."""

from __future__ import annotations

import numpy as np

from fluxmagic.tracker.aliases import Array, Axis, Function
from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.node import data
from fluxmagic.tracker.operation import composed, define
from fluxmagic.tracker.rules.reductions import expand_reduced, merge_axes, split_axes


def _grad_of_quantile(Δ: Array, x: Array, axis: Axis, keepdims: bool, q: float, skip_nan: bool) -> Array:
    """Share the gradient of the value at q in sorted order, 0 ≤ q ≤ 1, among the one or two elements there.

    Their distance from it decides.  A line of which NaN is the quantile passes its gradient to where NaN came from.
    """
    flat = merge_axes(np.asarray(data(x)), axis)
    missing = np.isnan(flat)
    last = np.sum(~missing, axis=-1, keepdims=True) - 1
    position = np.maximum(q * last, 0.0)
    low = np.floor(position).astype(int)
    weights = np.zeros_like(flat)
    if flat.shape[-1]:
        order = np.argsort(flat, axis=-1, kind="stable")  # NaN last
        for at, weight in ((low, 1 - (position - low)), (np.minimum(low + 1, np.maximum(last, 0)), position - low)):
            at = np.take_along_axis(order, at, -1)
            weight = np.take_along_axis(weights, at, -1) + np.where(last < 0, 0.0, weight)
            np.put_along_axis(weights, at, weight.astype(flat.dtype), -1)
    if not skip_nan:
        number = missing.sum(axis=-1, keepdims=True)
        weights = np.where(number > 0, missing / np.maximum(number, 1), weights).astype(flat.dtype)
    return expand_reduced(Δ, x, axis, keepdims) * split_axes(weights, x, axis)


def _define_quantile(function: Function, unit: float, skip_nan: bool) -> None:
    op = define(
        lambda x, q, axis=None, keepdims=False: function(x, q, axis, keepdims=keepdims),
        lambda Δ, y, x, q, axis=None, keepdims=False: _grad_of_quantile(
            Δ, x, axis, keepdims, float(q) / unit, skip_nan
        ),
        name=function.__name__,
    )

    @composed(function)
    def quantile(
        a: Array,
        q: Array,
        axis: Axis = None,
        overwrite_input: bool = False,
        method: str = "linear",
        keepdims: bool = False,
        *,
        weights: Array = None,
    ) -> Array:
        if method != "linear" or weights is not None or isinstance(q, Tracked):
            raise TypeError(
                "a gradient goes to the values alone, with method='linear' and no weights; give a tracked q as q.data"
            )
        if np.ndim(q):
            return np.stack([quantile(a, np.asarray(q)[i, ...], axis, keepdims=keepdims) for i in range(len(q))])
        return op(a, q=q, axis=axis, keepdims=keepdims)


def _define_median(function: Function, skip_nan: bool) -> None:
    op = define(
        lambda x, axis=None, keepdims=False: function(x, axis, keepdims=keepdims),
        lambda Δ, y, x, axis=None, keepdims=False: _grad_of_quantile(Δ, x, axis, keepdims, 0.5, skip_nan),
        name=function.__name__,
    )

    @composed(function)
    def median(a: Array, axis: Axis = None, overwrite_input: bool = False, keepdims: bool = False) -> Array:
        return op(a, axis=axis, keepdims=keepdims)  # overwrite_input is ignored


_define_quantile(np.quantile, 1, skip_nan=False)
_define_quantile(np.percentile, 100, skip_nan=False)
_define_quantile(np.nanquantile, 1, skip_nan=True)
_define_quantile(np.nanpercentile, 100, skip_nan=True)
_define_median(np.median, skip_nan=False)
_define_median(np.nanmedian, skip_nan=True)

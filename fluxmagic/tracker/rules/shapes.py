"""Operations that move elements about: shapes, axes, indexing, joining."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from fluxmagic.tracker.aliases import Array, DType, Function, Gradients, GradOut, Index, Option
from fluxmagic.tracker.array import Tracked, as_arrays
from fluxmagic.tracker.node import data
from fluxmagic.tracker.operation import Op, composed, define

# -- shapes and axes ---------------------------------------------------------------------------------


def _reshaped(Δ: Array, y: Array, x: Array, *_: Option, **__: Option) -> Array:
    return np.reshape(Δ, x.shape)


def _d_reshape(Δ: Array, y: Array, x: Array, shape: Option = None, order: str = "C", **_: Option) -> Array:
    if order == "A":
        order = "F" if data(x).flags.fnc else "C"
    return np.reshape(Δ, x.shape, order=order)  # type: ignore[call-overload]


def _d_ravel(Δ: Array, y: Array, x: Array, order: str = "C") -> Array:
    if order != "K":
        return _d_reshape(Δ, y, x, order=order)
    strides = data(x).strides
    axes = sorted(range(x.ndim), key=lambda i: -abs(strides[i]))  # the order in which NumPy reads
    return np.transpose(np.reshape(Δ, [x.shape[i] for i in axes]), tuple(int(i) for i in np.argsort(axes)))


def _d_transpose(Δ: Array, y: Array, x: Array, axes: Option = None) -> Array:
    if axes is None:
        return np.transpose(Δ)
    return np.transpose(Δ, tuple(int(i) for i in np.argsort([a % x.ndim for a in np.atleast_1d(axes)])))


define(np.reshape, _d_reshape)
define(np.ravel, _d_ravel)
define(np.squeeze, _reshaped)
define(np.expand_dims, _reshaped)
define(np.transpose, _d_transpose, aliases=[np.permute_dims] if hasattr(np, "permute_dims") else [])
define(np.broadcast_to, lambda Δ, y, x, shape, subok=False: Δ)  # the reverse pass undoes broadcasting

define(np.swapaxes, lambda Δ, y, x, axis1, axis2: np.swapaxes(Δ, axis1, axis2))
define(np.moveaxis, lambda Δ, y, x, source, destination: np.moveaxis(Δ, destination, source))
define(np.matrix_transpose, lambda Δ, y, x: np.swapaxes(Δ, -1, -2), aliases=[np.linalg.matrix_transpose])


@composed(np.rollaxis)
def _rollaxis(a: Array, axis: int, start: int = 0) -> Array:
    axis = normalize_axis_index(axis, a.ndim)
    order = [i for i in range(a.ndim) if i != axis]
    start = start + a.ndim if start < 0 else start
    order.insert(start - (axis < start), axis)
    return np.transpose(a, order)


def _at_least(function: Function, n: int) -> None:
    def reshaped(*arys: Array) -> Array:
        whole = tuple(x if np.ndim(x) >= n else np.reshape(x, function(np.empty(np.shape(x))).shape) for x in arys)
        return whole[0] if len(whole) == 1 else whole

    composed(function)(reshaped)


_at_least(np.atleast_1d, 1)
_at_least(np.atleast_2d, 2)
_at_least(np.atleast_3d, 3)


@composed(np.broadcast_arrays)
def _broadcast_arrays(*args: Array, subok: bool = False) -> tuple[Array, ...]:
    shape = np.broadcast_shapes(*map(np.shape, args))
    return tuple(np.broadcast_to(x, shape) for x in args)


@composed(np.meshgrid)
def _meshgrid(*xi: Array, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[Array, ...]:
    if indexing not in ("xy", "ij"):
        raise ValueError("indexing is 'xy' or 'ij'")
    grids = [np.reshape(x, (1,) * i + (-1,) + (1,) * (len(xi) - i - 1)) for i, x in enumerate(xi)]
    if indexing == "xy" and len(xi) > 1:
        grids = [np.swapaxes(g, 0, 1) for g in grids]
    return tuple(grids) if sparse else np.broadcast_arrays(*grids)


@composed(np.full_like)
def _full_like(
    a: Array, fill_value: Array, dtype: DType = None, order: str = "K", subok: bool = True, shape: Option = None
) -> Array:
    a = data(a)
    dtype = a.dtype if dtype is None else dtype
    if not isinstance(fill_value, Tracked):
        return np.full_like(a, fill_value, dtype, shape=shape)
    return np.broadcast_to(fill_value, a.shape if shape is None else shape).astype(dtype)


# -- indexing ----------------------------------------------------------------------------------------


def _take(x: Array, index: Index) -> Array:
    return x[index]


def _scatter(Δ: Array, index: Index, shape: tuple[int, ...]) -> Array:
    """Return an array of zeros to which Δ is added at an index."""
    full = np.zeros(shape, Δ.dtype)
    if _basic(index):
        full[index] = Δ
    else:
        np.add.at(full, index, Δ)
    return full


def _basic(index: Index) -> bool:
    """Say whether no element can be taken twice: there is no index array, or a single mask."""
    if isinstance(index, np.ndarray) and index.dtype == bool:
        return True
    return all(
        i is None or i is Ellipsis or isinstance(i, (slice, int, np.integer))
        for i in (index if isinstance(index, tuple) else (index,))
    )


TAKE = define(_take, lambda Δ, y, x, index: SCATTER(Δ, index=index, shape=x.shape), name="getitem")
SCATTER: Op = define(_scatter, lambda Δ, y, x, index, shape: TAKE(Δ, index=index), name="scatter")

# -- moving elements about ---------------------------------------------------------------------------

define(np.flip, lambda Δ, y, x, axis=None: np.flip(Δ, axis))
define(np.fliplr, lambda Δ, y, x: np.fliplr(Δ))
define(np.flipud, lambda Δ, y, x: np.flipud(Δ))
define(np.rot90, lambda Δ, y, x, k=1, axes=(0, 1): np.rot90(Δ, -int(k), axes))
define(
    np.roll,
    lambda Δ, y, x, shift, axis=None: np.roll(Δ, np.negative(shift, dtype=np.int64).tolist(), axis),
    # NumPy 2.0 negates an unsigned shift as it is.
    forward=lambda x, shift, axis=None: np.roll(x, np.asarray(shift).astype(int, casting="same_kind").tolist(), axis),
)
define(np.tril, lambda Δ, y, x, k=0: np.tril(Δ, k))
define(np.triu, lambda Δ, y, x, k=0: np.triu(Δ, k))


def grad_by_gather(f: Function) -> Function:
    """Make the gradient rule of an f that moves, repeats and drops elements, and fills up with zeros.

    f of the elements' numbers, from 1, tells where it takes each element from.
    """

    def rule(Δ: Array, y: Array, x: Array, *args: Array, **options: Option) -> Array:
        source = f(np.arange(1, x.size + 1).reshape(x.shape), *args, **options)
        return np.reshape(SCATTER(Δ, index=source, shape=(x.size + 1,))[1:], x.shape)

    return rule


define(np.tile, grad_by_gather(np.tile))
define(np.repeat, grad_by_gather(np.repeat))
define(np.diag, grad_by_gather(np.diag))
define(np.diagflat, grad_by_gather(np.diagflat))
define(np.diagonal, grad_by_gather(np.diagonal))
define(np.linalg.diagonal, grad_by_gather(np.linalg.diagonal), name="linalg.diagonal")
define(np.take, grad_by_gather(np.take))
define(np.take_along_axis, grad_by_gather(np.take_along_axis))
define(np.delete, grad_by_gather(np.delete))
define(np.resize, grad_by_gather(np.resize))


@composed(np.insert)
def _insert(arr: Array, obj: Option, values: Array, axis: int | None = None) -> Array:
    arr, values = as_arrays(arr, values)
    if arr.dtype.kind != "f":
        raise TypeError(f"tracked numbers do not go into an array of dtype {arr.dtype}; pass arr.astype(float)")
    number = np.arange(arr.size + values.size)  # NumPy moves numbers, which say what goes where
    source = np.insert(number[: arr.size].reshape(arr.shape), obj, number[arr.size :].reshape(values.shape), axis)
    return np.concatenate([np.ravel(arr), np.ravel(values).astype(arr.dtype)])[source]


@composed(np.compress)
def _compress(condition: Array, a: Array, axis: int | None = None) -> Array:
    return np.take(a, np.flatnonzero(data(condition)), axis=axis)


@composed(np.extract)
def _extract(condition: Array, arr: Array) -> Array:
    return np.take(arr, np.flatnonzero(data(condition)))


@composed(np.trace)
def _trace(a: Array, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: DType = None) -> Array:
    return np.sum(np.diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype)


@composed(np.linalg.trace)
def _linalg_trace(x: Array, /, *, offset: int = 0, dtype: DType = None) -> Array:
    return np.trace(x, offset, -2, -1, dtype)


def _grad_of_sort(Δ: Array, y: Array, x: Array, *args: Array, axis: int | None = -1, **_: Option) -> Array:
    """Return the gradient of a function that orders elements along an axis: match both sides in sorted order."""
    if args:
        axis = args[0]
    if axis is None:
        return np.reshape(_grad_of_sort(Δ, y, np.ravel(x)), x.shape)
    if not x.ndim:
        return Δ
    here, there = (np.argsort(data(a), axis=axis, kind="stable") for a in (x, y))
    back = np.empty_like(here)
    np.put_along_axis(back, here, there, axis)
    return np.take_along_axis(Δ, back, axis)


define(np.sort, _grad_of_sort)
define(np.partition, lambda Δ, y, x, kth, axis=-1, *_, **__: _grad_of_sort(Δ, y, x, axis=axis))

# -- joining -----------------------------------------------------------------------------------------


def _normalize_joined(arrays: Array, axis: int | None = 0, **options: Option) -> Array:
    return tuple(arrays), {"axis": axis, **options}


def _concatenate(*xs: Array, axis: int | None, **options: Option) -> Array:
    return np.concatenate(xs, axis=axis, **options)


def _d_concatenate(Δ: Array, y: Array, *xs: Array, grad_out: GradOut, axis: int | None, **_: Option) -> Gradients:
    if axis is None:
        cuts = np.cumsum([np.size(x) for x in xs])
        return [
            None if want is False else np.reshape(Δ[end - np.size(x) : end], np.shape(x))
            for x, end, want in zip(xs, cuts, grad_out, strict=True)
        ]
    axis %= y.ndim
    result, start = [], 0
    for x, want in zip(xs, grad_out, strict=True):
        end = start + np.shape(x)[axis]
        result.append(None if want is False else Δ[(slice(None),) * axis + (slice(start, end),)])
        start = end
    return result


def _stack(*xs: Array, axis: int, **options: Option) -> Array:
    return np.stack(xs, axis=axis, **options)


def _d_stack(Δ: Array, y: Array, *xs: Array, grad_out: GradOut, axis: int, **_: Option) -> Gradients:
    before = (slice(None),) * (axis % y.ndim)
    return [None if want is False else Δ[(*before, i)] for i, want in enumerate(grad_out)]


define(np.concatenate, forward=_concatenate, vjp=_d_concatenate, normalize_call=_normalize_joined)
define(np.stack, forward=_stack, vjp=_d_stack, normalize_call=_normalize_joined)


def _define_stack(function: Function, prepare: Function, axis: Function) -> None:
    def join(tup: Array, *, dtype: DType = None, casting: str = "same_kind") -> Array:
        arrays = [prepare(x) for x in tup]
        return np.concatenate(arrays, axis=axis(arrays), dtype=dtype, casting=casting)  # type: ignore[call-overload]

    composed(function)(join)


_define_stack(np.vstack, np.atleast_2d, lambda arrays: 0)
_define_stack(np.hstack, np.atleast_1d, lambda arrays: 0 if arrays and arrays[0].ndim == 1 else 1)
_define_stack(np.dstack, np.atleast_3d, lambda arrays: 2)


@composed(np.column_stack)
def _column_stack(tup: Array) -> Array:
    return np.concatenate([x if np.ndim(x) > 1 else np.reshape(x, (-1, 1)) for x in tup], axis=1)


@composed(np.append)
def _append(arr: Array, values: Array, axis: int | None = None) -> Array:
    return np.concatenate((arr, values), axis=axis)


@composed(np.block)
def _block(arrays: Array) -> Array:
    def depth(x: Array) -> int:
        return 1 + max(map(depth, x), default=0) if isinstance(x, list) else 0

    def join(x: Array, level: int) -> Array:
        if isinstance(x, list):
            return np.concatenate([join(part, level - 1) for part in x], axis=-level)
        return np.reshape(x, (1,) * (ndim - np.ndim(x)) + np.shape(x))

    def most(x: Array) -> int:
        return max(map(most, x)) if isinstance(x, list) else np.ndim(x)

    levels = depth(arrays)
    ndim = max(levels, most(arrays))
    return join(arrays, levels)


# -- splitting ---------------------------------------------------------------------------------------


def _define_split(function: Function, axis_of: Function | None = None) -> None:
    def cut(ary: Array, indices_or_sections: Option, axis: int = 0) -> list[Array]:
        pieces = function(data(ary), indices_or_sections, *([axis] if axis_of is None else []))
        axis = axis if axis_of is None else axis_of(ary)
        before = (slice(None),) * normalize_axis_index(axis, ary.ndim)
        if np.ndim(indices_or_sections):
            cuts = [0, *indices_or_sections, ary.shape[axis]]
        else:
            cuts = [0, *np.cumsum([p.shape[axis] for p in pieces]).tolist()]
        return [ary[(*before, slice(a, b))] for a, b in itertools.pairwise(cuts)]

    composed(function)(cut)


_define_split(np.split)
_define_split(np.array_split)
_define_split(np.vsplit, lambda x: 0)
_define_split(np.hsplit, lambda x: 1 if x.ndim > 1 else 0)
_define_split(np.dsplit, lambda x: 2)
if hasattr(np, "unstack"):  # NumPy 2.1

    @composed(np.unstack)
    def _unstack(x: Array, /, *, axis: int = 0) -> tuple[Array, ...]:
        return tuple(np.moveaxis(x, axis, 0))

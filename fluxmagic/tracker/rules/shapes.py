"""Operations that move elements about: shapes, axes, indexing, joining."""

from __future__ import annotations

from typing import Any

import numpy as np

from fluxmagic.tracker.array import Array, Tracked, data
from fluxmagic.tracker.operation import apply, define

# -- shapes and axes ---------------------------------------------------------------------------------


def _reshaped(Δ: Array, y: Array, x: Array, *_: Any, **__: Any) -> Array:
    return np.reshape(Δ, x.shape)


def _d_reshape(Δ: Array, y: Array, x: Array, shape: Any = None, order: str = "C", **_: Any) -> Array:
    if order == "A":
        order = "F" if data(x).flags.fnc else "C"
    return np.reshape(Δ, x.shape, order=order)  # type: ignore[call-overload]


def _d_ravel(Δ: Array, y: Array, x: Array, order: str = "C") -> Array:
    return _d_reshape(Δ, y, x, order="C" if order == "K" else order)


def _ravel(x: Any, order: Any = "C") -> Any:
    return np.ravel(x, "C" if order == "K" else order)  # what lies where in memory must not change a result


def _d_transpose(Δ: Array, y: Array, x: Array, axes: Any = None) -> Array:
    if axes is None:
        return np.transpose(Δ)
    return np.transpose(Δ, tuple(int(i) for i in np.argsort([a % x.ndim for a in np.atleast_1d(axes)])))


define(np.reshape, _d_reshape, methods="reshape")
define(np.ravel, _d_ravel, forward=_ravel, methods="ravel flatten")
define(np.squeeze, _reshaped, methods="squeeze")
define(np.expand_dims, _reshaped)
TRANSPOSE = define(
    np.transpose, _d_transpose, methods="transpose", also=[np.permute_dims] if hasattr(np, "permute_dims") else []
)
Tracked.T = property(lambda x: apply(TRANSPOSE, (x,), None), doc="The transposed array; recorded.")  # type: ignore[attr-defined]
define(np.broadcast_to, lambda Δ, y, x, shape, subok=False: Δ)  # the reverse pass undoes broadcasting

# -- indexing ----------------------------------------------------------------------------------------


def _take(x: Any, index: Any) -> Any:
    return x[index]


def _scatter(Δ: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """An array of zeros, to which Δ is added at index."""
    full = np.zeros(shape, Δ.dtype)
    if _basic(index):
        full[index] = Δ
    else:
        np.add.at(full, index, Δ)
    return full


def _basic(index: Any) -> bool:
    """No index arrays: no element is taken twice."""
    return all(
        i is None or i is Ellipsis or isinstance(i, (slice, int, np.integer))
        for i in (index if isinstance(index, tuple) else (index,))
    )


TAKE = define(_take, lambda Δ, y, x, index: SCATTER(Δ, index=index, shape=x.shape), name="getitem")
SCATTER = define(_scatter, lambda Δ, y, x, index, shape: TAKE(Δ, index=index), name="scatter")


def _getitem(self: Tracked, index: Any) -> Tracked:
    for i in index if isinstance(index, tuple) else (index,):
        if isinstance(i, Tracked):
            raise TypeError(
                "getitem: a tracked array holds no integers; index with a plain array (.data, np.argmax, ...)"
            )
    return apply(TAKE, (self,), {"index": index})


Tracked.__getitem__ = _getitem  # type: ignore[attr-defined]

# -- joining -----------------------------------------------------------------------------------------


def _bind_concatenate(arrays: Any, axis: int | None = 0, **options: Any) -> Any:
    return tuple(arrays), {"axis": axis, **options}


def _concatenate(*xs: Any, axis: int | None, **options: Any) -> Any:
    return np.concatenate(xs, axis=axis, **options)


def _d_concatenate(Δ: Array, y: Array, *xs: Any, into: Any, axis: int | None, **_: Any) -> list[Any]:
    if axis is None:
        cuts = np.cumsum([np.size(x) for x in xs])
        return [
            None if want is False else np.reshape(Δ[end - np.size(x) : end], np.shape(x))
            for x, end, want in zip(xs, cuts, into, strict=True)
        ]
    axis %= y.ndim
    result, start = [], 0
    for x, want in zip(xs, into, strict=True):
        end = start + np.shape(x)[axis]
        result.append(None if want is False else Δ[(slice(None),) * axis + (slice(start, end),)])
        start = end
    return result


def _bind_stack(arrays: Any, axis: int = 0, **options: Any) -> Any:
    return tuple(arrays), {"axis": axis, **options}


def _stack(*xs: Any, axis: int, **options: Any) -> Any:
    return np.stack(xs, axis=axis, **options)


def _d_stack(Δ: Array, y: Array, *xs: Any, into: Any, axis: int, **_: Any) -> list[Any]:
    before = (slice(None),) * (axis % y.ndim)
    return [None if want is False else Δ[(*before, i)] for i, want in enumerate(into)]


define(np.concatenate, forward=_concatenate, joint=_d_concatenate, bind=_bind_concatenate)
define(np.stack, forward=_stack, joint=_d_stack, bind=_bind_stack)

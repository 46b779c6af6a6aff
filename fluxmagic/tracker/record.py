"""Carry out an operation, and record it as a node of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from fluxmagic.tracker.aliases import Array, ArrayLike
from fluxmagic.tracker.calls import with_shapes
from fluxmagic.tracker.node import PLAIN_ARRAYS, Node, Operation, make_node

__all__ = ["apply", "check_dtype", "record"]

FLOATS = frozenset(map(np.dtype, "fde"))
_PLAIN = frozenset({np.ndarray, int, float})


def apply(op: Operation, args: tuple[Any, ...], options: dict[str, Any] | None = None) -> Array:
    """Carry out op on any arguments, and record it if one of them is tracked."""
    for a in args:
        if isinstance(a, Node):
            return record(op, args, options)
    try:
        value = op.forward(*args, **options) if options else op.forward(*args)
    except (ValueError, IndexError) as error:
        raise with_shapes(op.name, args, error) from None
    return value[0] if op.has_residual else value


def record(op: Operation, args: tuple[Any, ...], options: dict[str, Any] | None = None) -> Array:
    """Carry out op on arguments of which at least one is tracked, and record it."""
    parents: list[Node | None] = []
    values: list[Any] = []
    depth = 0
    for a in args:
        if type(a) in _PLAIN:  # asked first: isinstance is slow to say no
            parents.append(None)
            values.append(a)
        elif isinstance(a, Node) and not a.depth:
            parents.append(a)
            values.append(a.value)
        else:
            parents, values, depth = _split_arguments(op, args)
            break
    if depth and any(isinstance(v, Node) for v in values):  # tracked by an outer gradient too
        value = record(op, tuple(values), options)
        if op.has_residual:
            options = {**(options or {}), "residual": None}
        return make_node(value, op, parents, values, options, depth)
    try:
        value = op.forward(*values, **options) if options else op.forward(*values)
    except (ValueError, IndexError, TypeError, OverflowError) as error:
        raise with_shapes(op.name, values, error) from None
    if op.has_residual:
        value, residual = value
        options = {**options, "residual": residual} if options else {"residual": residual}
    if value.dtype not in FLOATS:
        check_dtype(op, value)
    return make_node(value, op, parents, values, options, depth)


def _split_arguments(op: Operation, args: tuple[Any, ...]) -> tuple[list[Node | None], list[Any], int]:
    """Give the parents, the values and the depth of any arguments."""
    depth = max(a.depth for a in args if isinstance(a, Node))
    parents: list[Node | None] = []
    values: list[Any] = []
    for a in args:
        inner = isinstance(a, Node) and a.depth == depth
        parents.append(a if inner else None)
        if inner:
            a = a.value
        elif type(a) in (list, tuple) and (op.vjp is not None or len(values) < len(op.vjps)):
            a = np.asarray(a)
        elif not isinstance(a, Node):
            a = as_constant(op, a)
        values.append(a)
    return parents, values, depth


def as_constant(op: Operation, a: ArrayLike) -> ArrayLike:
    """Give an argument that is not tracked as NumPy sees it."""
    if type(a) not in PLAIN_ARRAYS and hasattr(a, "tocsr") and op.name != "matmul":
        raise TypeError(f"{op.name}: a sparse array S goes with tracked ones in W @ S alone; otherwise S.toarray()")
    if type(a) in PLAIN_ARRAYS or not hasattr(a, "__array__") or isinstance(a, (np.generic, type)):
        return a  # np.float32 itself, an argument of astype, has an __array__ too
    if isinstance(a, np.ma.MaskedArray):
        raise TypeError(f"{op.name}: a masked array would lose its mask; fill it first (a.filled(...))")
    return np.asarray(a)  # pandas, memory maps


def check_dtype(op: Operation, value: ArrayLike) -> None:
    """Refuse a result that is not real floating point: no gradient is defined for it."""
    if value.dtype.newbyteorder("=") not in FLOATS:
        raise TypeError(
            f"{op.name}: a tracked array goes with real numbers, in at most 64 bits, and the result would be "
            f"{value.dtype}"
        )

"""NumPy's own inner loops, called without the ufuncs around them.

A ufunc is a table of C functions `loop(char **args, intp *dimensions, intp *steps, void *data)`, as NumPy's public
header has it; the way there takes 0.2 µs or more of each call.  Here a call of NumPy becomes one or more `Invocation`s
of such a loop.  Products go through the loops of matmul and vecdot, and so through NumPy's BLAS.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fluxmagic.capture.machine_code import DATA

__all__ = ["Invocation", "Operand", "are_as_expected", "elementwise", "product", "reduction"]


class _UFunc(ctypes.Structure):
    """The beginning of PyUFuncObject."""

    _fields_ = [
        ("head", ctypes.c_char * object.__basicsize__),
        *((name, ctypes.c_int) for name in ("nin", "nout", "nargs", "identity")),
        *((name, ctypes.c_void_p) for name in ("functions", "data")),
        *((name, ctypes.c_int) for name in ("ntypes", "reserved")),
        *((name, ctypes.c_void_p) for name in ("name", "types")),
    ]


class Operand(NamedTuple):
    """An array of an invocation."""

    array: np.ndarray  # for an array of the batch one of the same layout
    number: int = -1  # of the batch's array; -1 for an array that stays
    offset: int = 0  # bytes from its start

    def row(self, out: np.ndarray) -> int | None:
        """Return the step from element to element where out lies in one row; None if they are in another order."""
        a = self.array
        if a.size == 1:
            return 0
        alike = a.shape == out.shape and _steps(a) == _steps(out) and _is_dense(out)
        return a.itemsize if alike else None


def _steps(a: np.ndarray) -> list[float]:
    """Strides in elements, but for axes of length 1."""
    return [s / a.itemsize for s, n in zip(a.strides, a.shape, strict=True) if n != 1]


def _is_dense(a: np.ndarray) -> bool:
    return a.flags.c_contiguous or a.flags.f_contiguous


class Invocation:
    """One inner loop, called for each row of `pointers`; those that follow from the batch are in `from_batch`."""

    def __init__(
        self, ufunc: np.ufunc, operands: Sequence[Operand], dimensions: Sequence[int], steps: Sequence[int]
    ) -> None:
        self.address, self.data = _address(ufunc, tuple(o.array.dtype for o in operands))
        self.pointers = np.array([[o.array.ctypes.data for o in operands]], np.intp)
        self.dimensions, self.steps = np.array(dimensions, np.intp), np.array(steps, np.intp)
        self.from_batch = [(k, o.number, o.offset) for k, o in enumerate(operands) if o.number >= 0]

    def repeated(self, count: int, bytes_apart: Sequence[int]) -> Invocation:
        """Call it `count` times, with each argument moved on by its bytes from call to call."""
        self.pointers = self.pointers + np.arange(count)[:, None] * np.array(bytes_apart, np.intp)
        return self

    def run(self) -> None:
        """Call it from Python."""
        loop = ctypes.PYFUNCTYPE(None, *[ctypes.c_void_p] * 4)(self.address)
        for pointers in self.pointers:
            loop(pointers.ctypes.data, self.dimensions.ctypes.data, self.steps.ctypes.data, self.data)


def _address(ufunc: np.ufunc, dtypes: tuple[np.dtype[Any], ...]) -> tuple[int, int]:
    """Return the address of a loop, and of its data; KeyError if there is none of these types."""
    found = _UFunc.from_address(id(ufunc))
    wanted = bytes(t.num for t in dtypes)
    for k in range(ufunc.ntypes):
        if ctypes.string_at(found.types + k * ufunc.nargs, ufunc.nargs) == wanted:
            functions = ctypes.cast(found.functions, ctypes.POINTER(ctypes.c_void_p))
            data = ctypes.cast(found.data, ctypes.POINTER(ctypes.c_void_p))
            return functions[k] or 0, (data[k] or 0) if data else 0
    raise KeyError(f"{ufunc.__name__} of {dtypes}")


@cache
def are_as_expected() -> bool:
    """Tell whether NumPy's tables and an array's fields are as expected, and a sum and a product come out right."""
    ufuncs = (np.add, np.matmul, np.exp, np.maximum)
    if sys.implementation.name != "cpython" or not (all(map(_has_counts, ufuncs)) and _has_fields(np.ones((2, 3)))):
        return False
    a, b, c = (Operand(np.array(x, np.float32)) for x in ([[1.0, 2.0]], [[3.0], [5.0]], [[0.0]]))
    elementwise(np.add, [a, a], Operand(a.array))[0].run()
    for invocation in product(a, b, c):
        invocation.run()
    return bool(a.array.tolist() == [[2, 4]] and c.array.tolist() == [[26]])


def _has_counts(ufunc: np.ufunc) -> bool:
    found = _UFunc.from_address(id(ufunc))
    counts = found.nin, found.nout, found.nargs, found.ntypes
    if counts != (ufunc.nin, ufunc.nout, ufunc.nargs, ufunc.ntypes):
        return False
    return bool(ctypes.string_at(found.name) == ufunc.__name__.encode())


def _has_fields(a: np.ndarray) -> bool:
    fields = ctypes.string_at(id(a) + DATA - 8, 56)
    kind, data, ndim, lengths, steps, _, dtype = struct.unpack("@NNiNNNN", fields)
    if (kind, data, ndim, dtype) != (id(np.ndarray), a.ctypes.data, a.ndim, id(a.dtype)):
        return False
    numbers = ctypes.c_ssize_t * a.ndim
    return (*numbers.from_address(lengths), *numbers.from_address(steps)) == (*a.shape, *a.strides)


# -- calls of NumPy; each raises KeyError for one that is not to be had this way ------------------------------------


def elementwise(ufunc: np.ufunc, operands: Sequence[Operand], out: Operand) -> list[Invocation]:
    """Call a ufunc on arrays that lie alike, or hold one element."""
    rows = [o.row(out.array) for o in (*operands, out)]
    if None in rows or not out.array.size:
        raise KeyError("arrays that lie in different orders")
    return [Invocation(ufunc, [*operands, out], [out.array.size], rows)]  # type: ignore[arg-type]


def product(a: Operand, b: Operand, out: Operand) -> list[Invocation]:
    """Multiply vectors or matrices, as `a.dot(b, out)`."""
    x, y, z = a.array, b.array, out.array
    if not (x.dtype == y.dtype == z.dtype and 0 < x.ndim < 3 and 0 < y.ndim < 3 and x.size and y.size and z.size):
        raise KeyError("no product of matrices")
    size = x.itemsize
    if x.ndim == y.ndim == 1:
        return [Invocation(np.vecdot, [a, b, out], [1, x.size], [0, 0, 0, *x.strides, *y.strides])]
    m, xs = (x.shape[0], x.strides) if x.ndim == 2 else (1, (x.size * size, *x.strides))
    n, ys = (y.shape[1], y.strides) if y.ndim == 2 else (1, (*y.strides, size))
    zs = z.strides if z.ndim == 2 else (n * size, *z.strides) if x.ndim == 1 else (*z.strides, size)
    return [Invocation(np.matmul, [a, b, out], [1, m, x.shape[-1], n], [0, 0, 0, *xs, *ys, *zs])]


def reduction(
    ufunc: np.ufunc, x: Operand, axis: int | tuple[int, ...] | None, out: Operand, start: np.ndarray
) -> list[Invocation]:
    """Reduce the first axes or the last ones; `start` is a 0 of x's dtype, which stays."""
    a, size = x.array, x.array.itemsize
    if not a.ndim:
        raise KeyError("a scalar")
    axes = tuple(range(a.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(sorted(k % a.ndim for k in axes))
    contiguous = a.flags.c_contiguous and out.array.flags.c_contiguous
    if ufunc not in (np.add, np.maximum, np.minimum) or not contiguous or not a.size or a.dtype != out.array.dtype:
        raise KeyError("another reduction")
    reduced = prod(a.shape[k] for k in axes)
    kept, skip = a.size // reduced, 0 if ufunc is np.add else 1
    source = Operand(start) if ufunc is np.add else x
    if axes == tuple(range(a.ndim - len(axes), a.ndim)):  # each row becomes a number
        first = Invocation(np.positive, [source, out], [kept], [0 if ufunc is np.add else reduced * size, size])
        rows = Invocation(ufunc, [out, x, out], [reduced - skip], [0, size, 0])
        rows.pointers[:, 1] += skip * size
        result = [first, rows.repeated(kept, [size, reduced * size, size])]
    elif axes == tuple(range(len(axes))):  # row is added to row
        first = Invocation(np.positive, [source, out], [kept], [0 if ufunc is np.add else size, size])
        rows = Invocation(ufunc, [out, x, out], [kept], [size] * 3)
        rows.pointers[:, 1] += skip * kept * size
        result = [first, rows.repeated(reduced - skip, [0, kept * size, 0])]
    else:
        raise KeyError("axes in the midst")
    if x.number >= 0 and (skip or len(result[1].pointers) > 1):
        raise KeyError("a reduction of the batch row by row")
    return result

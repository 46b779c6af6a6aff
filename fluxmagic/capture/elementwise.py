"""Loops over arrays in machine code: calls of ufuncs, element by element, each array read and written once.

All of it is IEEE arithmetic, so that the bits are those of NumPy's passes one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from llvmlite.ir import Constant, Function, IRBuilder, Module, Type, Value

__all__ = ["COMPARISONS", "FUSED", "Call", "Loop", "ir_type"]

Emit = Callable[..., "Value"]


def _intrinsic(name: str) -> Emit:
    return lambda b, x: b.call(b.module.declare_intrinsic(f"llvm.{name}", [x.type]), [x])


def _sign(b: IRBuilder, x: Value) -> Value:
    positive, negative, zero = (b.fcmp_ordered(c, x, x.type(0)) for c in (">", "<", "=="))
    return b.select(positive, x.type(1), b.select(negative, x.type(-1), b.select(zero, x.type(0), x)))


def _extremum(compare: str) -> Emit:
    def emit(b: IRBuilder, x: Value, y: Value) -> Value:  # the second of two equal ones, and a NaN whichever it is
        return b.select(b.or_(b.fcmp_ordered(compare, x, y), b.fcmp_unordered("uno", x, x)), x, y)

    return emit


def _comparison(compare: str) -> Emit:
    return lambda b, x, y: b.fcmp_ordered(compare, x, y)


COMPARISONS: dict[np.ufunc, Emit] = {
    np.less: _comparison("<"),
    np.less_equal: _comparison("<="),
    np.greater: _comparison(">"),
    np.greater_equal: _comparison(">="),
    np.equal: _comparison("=="),
    np.not_equal: lambda b, x, y: b.fcmp_unordered("!=", x, y),
}
FUSED: dict[np.ufunc, Emit] = {
    np.add: lambda b, x, y: b.fadd(x, y),
    np.subtract: lambda b, x, y: b.fsub(x, y),
    np.multiply: lambda b, x, y: b.fmul(x, y),
    np.divide: lambda b, x, y: b.fdiv(x, y),
    np.negative: lambda b, x: b.fneg(x),
    np.positive: lambda b, x: x,
    np.absolute: _intrinsic("fabs"),
    np.sqrt: _intrinsic("sqrt"),
    np.square: lambda b, x: b.fmul(x, x),
    np.reciprocal: lambda b, x: b.fdiv(x.type(1), x),
    np.sign: _sign,
    np.maximum: _extremum(">"),
    np.minimum: _extremum("<"),
    **COMPARISONS,
}
"""What LLVM writes for each ufunc of float32 and float64; their results follow from IEEE's rules alone."""


class Call(NamedTuple):
    """One operation."""

    ufunc: np.ufunc
    operands: tuple[int, ...]  # numbers of arrays and intermediate results, or of constants as -1, -2, …
    out: int
    dtype: np.dtype[Any]  # in which it is computed


def ir_type(dtype: np.dtype[Any]) -> Type:
    """Return LLVM's type of an element in memory."""
    from llvmlite import ir

    types = {"f4": ir.FloatType(), "f8": ir.DoubleType(), "i8": ir.IntType(64), "b1": ir.IntType(8)}
    return types[dtype.str[1:]]


@dataclass
class Loop:
    """Calls over all elements of a shape."""

    calls: Sequence[Call]  # results that are no arrays have numbers behind those of the arrays
    dtypes: Sequence[np.dtype[Any]]  # of each array
    strides: Sequence[tuple[int, ...]]  # of each array in elements, for each axis; 0 where it is broadcast
    lengths: tuple[int, ...]  # the shape; of an update () stands for one length that is an argument
    stored: Sequence[int]  # the arrays that get a result
    constants: Sequence[np.dtype[Any]] = ()

    def function(self, module: Module) -> Function:
        """Add it to a module: a function of the length, pointers to arrays that do not overlap, and constants."""
        from llvmlite import ir

        size = ir.IntType(64)
        pointers = [ir_type(t).as_pointer() for t in self.dtypes]
        kind = ir.FunctionType(ir.VoidType(), [size, *pointers, *map(ir_type, self.constants)])
        f = ir.Function(module, kind, module.get_unique_name("loop"))
        f.linkage = "internal"
        for array in f.args[1 : 1 + len(pointers)]:
            array.add_attribute("noalias")  # without it LLVM leaves the loop one element at a time
        lengths = [size(n) for n in self.lengths] if self.lengths else [f.args[0]]
        b, ends = ir.IRBuilder(f.append_basic_block()), []
        for n in lengths:
            start, head, end = b.block, f.append_basic_block(), f.append_basic_block()
            b.cbranch(b.icmp_signed(">", n, size(0)), head, end)
            b = ir.IRBuilder(head)
            i = b.phi(size)
            i.add_incoming(size(0), start)
            ends.append((head, i, n, end))
        self._write_element(b, f, [i for _, i, _, _ in ends])
        for head, i, n, end in reversed(ends):
            following = b.add(i, size(1))
            i.add_incoming(following, b.block)
            b.cbranch(b.icmp_signed("<", following, n), head, end)
            b = ir.IRBuilder(end)
        b.ret_void()
        return f

    def _write_element(self, b: IRBuilder, f: Function, indices: Sequence[Value]) -> None:
        n = len(self.dtypes)
        places: dict[int, Value] = {}
        values: dict[int, Value] = {}

        def place(k: int) -> Value:
            if k not in places:
                at: Constant | Value = indices[0].type(0)
                for i, stride in zip(indices, self.strides[k], strict=True):
                    at = b.add(at, b.mul(i, i.type(stride)))
                places[k] = b.gep(f.args[1 + k], [at])
            return places[k]

        def value(k: int) -> Value:
            if k < 0:
                return f.args[1 + n + ~k]
            if k not in values:
                x = b.load(place(k))
                values[k] = b.icmp_unsigned("!=", x, x.type(0)) if self.dtypes[k].kind == "b" else x
            return values[k]

        for ufunc, operands, out, dtype in self.calls:
            values[out] = FUSED[ufunc](b, *(_cast(b, value(k), ir_type(dtype)) for k in operands))
        for k in self.stored:
            b.store(_cast(b, values[k], ir_type(self.dtypes[k])), place(k))


def _cast(b: IRBuilder, x: Value, to: Type) -> Value:
    """Convert as C does."""
    from llvmlite import ir

    if x.type == to:
        return x
    if isinstance(x.type, ir.IntType):
        if isinstance(to, ir.IntType):
            return b.zext(x, to)
        return b.uitofp(x, to) if x.type.width == 1 else b.sitofp(x, to)
    return b.fpext(x, to) if isinstance(to, ir.DoubleType) else b.fptrunc(x, to)

"""Runs of a program's calls as machine code: ufuncs fused into loops, and NumPy's own inner loops.

What cannot be had this way stays a line of Python between two pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from llvmlite.ir import Block, IRBuilder, Value

from fluxmagic.capture.elementwise import Call, Loop, ir_type
from fluxmagic.capture.inner_loops import Invocation, Operand
from fluxmagic.capture.machine_code import MachineCode, call_api, constant, field

__all__ = ["FusedLoop", "Piece"]


class Piece:
    """Calls that are compiled together, into a function of some arrays of the batch."""

    def __init__(self) -> None:
        self._emits: list[Callable[[IRBuilder], None]] = []
        self._loop: FusedLoop | None = None  # to which more may be added
        self._batch: list[int] = []
        self._held: list[object] = []
        self._loss: Operand | None = None
        self._args: Value
        self._another: Block  # where a step is left that is another one

    def compile(self) -> tuple[Callable[..., Any], list[int]] | None:
        """Return the function, and the arrays that it takes; or None.

        It returns the loss, or True where it has none; and None if the step is another one.
        """
        self._close()
        if not self._emits:
            return None
        code = MachineCode(self._write)
        return code.bind((code, self._held)), self._batch

    def _write(self, b: IRBuilder, _: Value, args: Value) -> Value:
        self._args = args
        self._another = b.append_basic_block()
        leave = ir.IRBuilder(self._another)
        leave.ret(constant(leave, None))
        for emit in self._emits:
            emit(b)
        if self._loss is None:
            return constant(b, True)
        double, loss = ir.DoubleType(), b.load(self._pointer(b, self._loss))
        return call_api(
            b, "PyFloat_FromDouble", args.type.pointee, loss if loss.type == double else b.fpext(loss, double)
        )

    # -- adding ----------------------------------------------------------------------------------------

    def fuse(self, call: FusedCall, is_needed: Callable[[int], bool]) -> None:
        """Add a call to the loop at hand, or to a new one."""
        if self._loop is None or not self._loop.takes(call):
            self._close()
            self._loop = FusedLoop(call.lengths, call.order)
        self._loop.add(call, is_needed)
        self._hold(*call.operands)

    def invoke(self, invocations: Sequence[Invocation], operands: Sequence[Operand]) -> None:
        """Add inner loops."""
        self._close()
        self._emits += [partial(self._emit_invocation, invocation=i) for i in invocations]
        self._hold(*operands)
        self._held += invocations

    def layouts(self, arrays: Mapping[int, np.ndarray]) -> None:
        """Go on only if the arrays of the batch, by their numbers, are laid out as these."""
        self._emits.append(lambda b: self._emit_layouts(b, arrays))
        self._batch += arrays

    def loss(self, o: Operand) -> None:
        """Return a scalar."""
        self._loss = o
        self._hold(o)

    def guard(self, o: Operand, tests: Sequence[tuple[str, float, bool]]) -> None:
        """Go on only if for all elements each comparison with a number comes out as wanted."""
        self._close()
        self._emits.append(lambda b: self._emit_guard(b, o, tests))
        self._hold(o)

    def index(self, a: Operand, at: Operand, x: Operand, takes: bool) -> None:
        """Take x = a[at], or set a[at] = x; go on only if no index is out of range."""
        self.guard(at, [("<", 0, False), (">=", a.array.size, False)])
        self._emits.append(lambda b: self._emit_index(b, a, at, x, takes))
        self._hold(a, x)

    def _close(self) -> None:
        if self._loop is not None:
            loop, self._loop = self._loop, None
            self._emits.append(lambda b: loop.emit(b, self._pointer))

    def _hold(self, *operands: Operand) -> None:
        self._held += operands
        self._batch += [o.number for o in operands if o.number >= 0 and o.number not in self._batch]

    # -- emitting --------------------------------------------------------------------------------------

    def _array(self, b: IRBuilder, number: int) -> Value:
        return b.load(b.gep(self._args, [ir.IntType(64)(self._batch.index(number))]))

    def _address(self, b: IRBuilder, number: int, offset: int) -> Value:
        """Emit the address of an array of the batch."""
        size = ir.IntType(64)
        return b.add(field(b, self._array(b, number), 0, size), size(offset))

    def _require(self, b: IRBuilder, holds: Value) -> None:
        going_on = b.append_basic_block()
        b.cbranch(holds, going_on, self._another)
        b.position_at_end(going_on)

    def _emit_layouts(self, b: IRBuilder, arrays: Mapping[int, np.ndarray]) -> None:
        size, short = ir.IntType(64), ir.IntType(32)
        for number, a in arrays.items():
            found = self._array(b, number)
            self._require(b, b.icmp_signed("==", field(b, found, -8, size), size(id(np.ndarray))))
            self._require(b, b.icmp_signed("==", field(b, found, 8, short), short(a.ndim)))
            self._require(b, b.icmp_signed("==", field(b, found, 40, size), size(id(a.dtype))))
            for offset, wanted in ((16, a.shape), (24, a.strides)):
                given = field(b, found, offset, size.as_pointer())
                for k, n in enumerate(wanted):
                    self._require(b, b.icmp_signed("==", b.load(b.gep(given, [size(k)])), size(n)))

    def _pointer(self, b: IRBuilder, o: Operand) -> Value:
        address = ir.IntType(64)(o.array.ctypes.data) if o.number < 0 else self._address(b, o.number, o.offset)
        return b.inttoptr(address, ir_type(o.array.dtype).as_pointer())

    def _emit_invocation(self, b: IRBuilder, invocation: Invocation) -> None:
        size, byte = ir.IntType(64), ir.IntType(8).as_pointer()
        f = b.inttoptr(size(invocation.address), ir.FunctionType(ir.VoidType(), [byte] * 4).as_pointer())
        pointers, (count, n) = size(invocation.pointers.ctypes.data), invocation.pointers.shape
        for k, number, offset in invocation.from_batch:
            place = b.inttoptr(size(invocation.pointers.ctypes.data + 8 * k), size.as_pointer())
            b.store(self._address(b, number, offset), place)
        others = [invocation.dimensions.ctypes.data, invocation.steps.ctypes.data, invocation.data]
        rest = [b.inttoptr(size(x), byte) for x in others]

        def call(b: IRBuilder, i: Value) -> None:
            b.call(f, [b.inttoptr(b.add(pointers, b.mul(i, size(8 * n))), byte), *rest])

        _emit_loop(b, count, call)

    def _emit_guard(self, b: IRBuilder, o: Operand, tests: Sequence[tuple[str, float, bool]]) -> None:
        p, is_bad = self._pointer(b, o), b.alloca(ir.IntType(1))
        b.store(ir.IntType(1)(0), is_bad)
        compare = "icmp_signed" if o.array.dtype.kind == "i" else "fcmp_ordered"

        def test(b: IRBuilder, i: Value) -> None:
            x, bad = b.load(b.gep(p, [i])), b.load(is_bad)
            for sign, number, wanted in tests:
                holds = getattr(b, compare)(sign, x, x.type(number))
                bad = b.or_(bad, b.not_(holds) if wanted else holds)
            b.store(bad, is_bad)

        _emit_loop(b, o.array.size, test)
        self._require(b, b.not_(b.load(is_bad)))

    def _emit_index(self, b: IRBuilder, a: Operand, at: Operand, x: Operand, takes: bool) -> None:
        array, indices, values = (self._pointer(b, o) for o in (a, at, x))

        def move(b: IRBuilder, i: Value) -> None:
            inside, outside = b.gep(array, [b.load(b.gep(indices, [i]))]), b.gep(values, [i])
            if takes:
                b.store(b.load(inside), outside)
            else:
                b.store(b.load(outside), inside)

        _emit_loop(b, at.array.size, move)


def _emit_loop(b: IRBuilder, n: int, body: Callable[[IRBuilder, Value], None]) -> None:
    """Emit a loop of n ≥ 1 turns; go on behind it."""
    size, start, head, end = ir.IntType(64), b.block, b.append_basic_block(), b.append_basic_block()
    b.branch(head)
    b.position_at_end(head)
    i = b.phi(size)
    body(b, i)
    following = b.add(i, size(1))
    i.add_incoming(size(0), start)
    i.add_incoming(following, b.block)
    b.cbranch(b.icmp_signed("<", following, size(n)), head, end)
    b.position_at_end(end)


class FusedCall:
    """A ufunc of arrays, computed in a dtype, as one loop over its result: the last operand, of the number `value`."""

    def __init__(self, ufunc: np.ufunc, operands: Sequence[Operand], dtype: np.dtype[Any], value: int) -> None:
        self.ufunc, self.operands, self.dtype, self.value = ufunc, operands, dtype, value
        out = operands[-1].array
        if all(o.row(out) is not None for o in operands):
            self.lengths: tuple[int, ...] = (out.size,)
            self.order: tuple[int, ...] = (-1,)
            self.strides: list[tuple[int, ...]] = [(1,) if o.array.size > 1 else (0,) for o in operands]
        else:  # as the result lies in memory
            self.order = tuple(sorted(range(out.ndim), key=lambda k: -out.strides[k]))
            self.lengths = tuple(out.shape[k] for k in self.order)
            full = [np.broadcast_to(o.array, out.shape).strides for o in operands]
            self.strides = [
                tuple(s[k] // o.array.itemsize for k in self.order) for s, o in zip(full, operands, strict=True)
            ]
        self.keys = [_Key(o, s) for o, s in zip(operands, self.strides, strict=True)]
        if any(key.clashes(self.keys[-1]) for key in self.keys):
            raise KeyError("an operand overlaps the result in another order")


class _Key(NamedTuple):
    """An array as a loop goes through it."""

    operand: Operand
    strides: tuple[int, ...]

    @property
    def identity(self) -> object:
        o = self.operand
        return (o.array.ctypes.data if o.number < 0 else (o.number, o.offset)), self.strides, o.array.dtype

    def clashes(self, other: _Key) -> bool:
        """Tell whether two are different and overlap; nothing is written into the batch."""
        a, b = self.operand, other.operand
        stay = a.number < 0 and b.number < 0
        return stay and self.identity != other.identity and np.may_share_memory(a.array, b.array)


class FusedLoop:
    """Calls over the elements of one shape, in which each array is read and written once."""

    def __init__(self, lengths: tuple[int, ...], order: tuple[int, ...]) -> None:
        self._nest = lengths, order
        self._keys: dict[object, _Key] = {}  # by their identities
        self._calls: list[Call] = []
        self._written: dict[int, int] = {}  # from an array to the value that was written into it last
        self._is_needed: Callable[[int], bool] = bool

    def takes(self, call: FusedCall) -> bool:
        """Tell whether a call can be added: no array is written in one order and used in another."""
        if self._nest != (call.lengths, call.order):
            return False
        known = list(self._keys.values())
        written = [known[k] for k in self._written]
        *read, out = call.keys
        return not any(out.clashes(key) for key in known) and not any(x.clashes(w) for x in read for w in written)

    def add(self, call: FusedCall, is_needed: Callable[[int], bool]) -> None:
        """Add a call; `is_needed` tells whether a value is read after it."""
        for key in call.keys:
            self._keys.setdefault(key.identity, key)
        known = list(self._keys)
        *read, out = (known.index(key.identity) for key in call.keys)
        self._calls.append(Call(call.ufunc, tuple(read), out, call.dtype))
        self._written[out] = call.value
        self._is_needed = is_needed

    def emit(self, b: IRBuilder, pointer: Callable[[IRBuilder, Operand], Value]) -> None:
        """Emit the loop."""
        stored = [k for k, value in self._written.items() if self._is_needed(value)]
        keys = self._keys.values()
        dtypes, strides = [key.operand.array.dtype for key in keys], [key.strides for key in keys]
        loop = Loop(self._calls, dtypes, strides, self._nest[0], stored)
        b.call(loop.function(b.module), [ir.IntType(64)(0), *(pointer(b, key.operand) for key in keys)])

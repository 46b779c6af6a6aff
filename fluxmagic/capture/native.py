"""The calls of a program in machine code, where that is to be had with NumPy's bits."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fluxmagic.capture import inner_loops
from fluxmagic.capture.calls import Call, Program, Ref, outs
from fluxmagic.capture.elementwise import COMPARISONS, FUSED
from fluxmagic.capture.inner_loops import Invocation, Operand
from fluxmagic.capture.lowering import CLIP
from fluxmagic.capture.pieces import FusedCall, Piece
from fluxmagic.capture.plan import carry_out
from fluxmagic.capture.text import Writer

__all__ = ["Limits", "write"]

KINDS = {np.dtype(t) for t in (np.float32, np.float64, np.int64, np.bool_)}
SIGNS: dict[object, str] = {operator.lt: "<", operator.le: "<=", operator.gt: ">", operator.ge: ">=", operator.eq: "=="}
Build = Callable[[Sequence[Operand]], list[Invocation]]
Limits = Sequence[tuple[np.ndarray, float]]
"""Gradients, each with the largest sum of its squares."""
Tests = list[tuple[str, float, bool]]


def write(writer: Writer, layouts: Mapping[int, np.ndarray], limits: Limits) -> tuple[list[str], bool]:
    """Write a program's calls, in machine code where that can be, and tell whether its end is.

    Then it has checked that the loss is finite and gradients are within limits.  The layouts of arrays of the batch, by
    their numbers, are to be looked at in machine code.
    """
    lines: list[str] = []
    translator = _Translator(writer.program, layouts)
    for k, c in enumerate(writer.program.calls):
        if translator.add(k, c):
            writer.forget_spreads(c)
        else:
            lines += [*_piece(translator, writer), *writer.write([*translator.views_of(c), c])]
    is_checked = translator.check(writer.program.result, limits)
    return [*lines, *_piece(translator, writer)], is_checked


def _piece(translator: _Translator, writer: Writer) -> list[str]:
    """Write the call of the piece so far, and begin another one."""
    compiled, translator.piece = translator.piece.compile(), Piece()
    if compiled is None:
        return []
    function, batch = compiled
    call = f"{writer.name(function, 'piece')}({', '.join(f'x{k}' for k in batch)})"
    return [f"value = {call}", "if value is None: return None"]


class _Translator:
    """Adds calls to a piece."""

    def __init__(self, program: Program, layouts: Mapping[int, np.ndarray]) -> None:
        self.piece = Piece()
        if layouts:
            self.piece.layouts(layouts)
        self._program, self._buffers = program, program.buffers
        self._batch: dict[int, Operand] = {}
        self._views: dict[int, Call] = {}  # of the batch, which Python may need too
        for k, n in enumerate(program.inputs):
            v = program.values[n]
            if v.dtype in KINDS and min(v.strides, default=0) >= 0:
                self._batch[n] = Operand(_empty(v.shape, v.dtype, v.strides), k)
        every = [*program.calls, *program.effects]
        self._last = {program.root(n): k for k, c in enumerate(every) for n in _reads(c)}
        if program.result is not None:
            self._last[program.root(program.result)] = len(every)
        self._tests: dict[int, Tests] = {}  # by the calls of argmax or argmin that they need
        self._absorbed: set[int] = set()
        for extreme, absorbed, tests in _range_checks(program.calls):
            self._tests[id(extreme)] = tests
            self._absorbed.update(map(id, absorbed))
        self._externals = {id(v.array) for v in program.values if v.array is not None}
        self._k = 0

    def add(self, k: int, c: Call) -> bool:
        """Add the k-th call; False if it has to be written in Python."""
        self._k = k
        if id(c) in self._absorbed:
            return True
        handle = getattr(self, f"_{c.kind}", None)
        made = [] if handle is None else self._make_buffers(c)
        try:
            if handle is not None:
                handle(c)
                return True
        except (KeyError, ValueError, ArithmeticError):  # not to be had this way
            pass
        for n in made:
            del self._buffers[n]
        return False

    def check(self, result: int | None, limits: Limits) -> bool:
        """Add that the loss is finite, and gradients are small; False if the loss has no place."""
        if result is None or result not in self._buffers:
            return False
        self.piece.guard(Operand(self._buffers[result]), [("<", math.inf, True), (">", -math.inf, True)])
        for δ, limit in limits:
            x, square = Operand(δ), Operand(np.zeros((), δ.dtype))
            self.piece.invoke(inner_loops.product(x, x, square), [x, square])
            self.piece.guard(square, [("<=", limit, True)])
        self.piece.loss(Operand(self._buffers[result]))
        return True

    def views_of(self, c: Call) -> list[Call]:
        """Return the views of the batch that a call in Python needs."""
        found = [self._views.pop(n) for n in c.read if n in self._views]
        return [*(v for view in found for v in self.views_of(view)), *found]

    def _make_buffers(self, c: Call) -> list[int]:
        """Give results a place that have none: scalars, and what `take` gives."""
        made = []
        is_made = c.kind != "call" or c.function in ("take", operator.getitem)
        for n in outs(c.out) if is_made else ():
            v = self._program.values[n]
            if n not in self._buffers and v.root == n and v.dtype in KINDS:
                self._buffers[n] = np.zeros(v.shape, v.dtype)
                made.append(n)
        return made

    # -- operands --------------------------------------------------------------------------------------

    def _operand(self, x: object, dtype: np.dtype[Any] | None = None) -> Operand:
        """Return an argument; KeyError if it is no array of a known kind, and no number to be taken as `dtype`."""
        if isinstance(x, Ref):
            o = Operand(self._buffers[x.number]) if x.number in self._buffers else self._batch[x.number]
        elif isinstance(x, (np.ndarray, np.generic)):
            o = Operand(np.asarray(x))
        elif type(x) in (int, float) and dtype is not None and dtype.kind == "f":
            o = Operand(np.array(x, dtype))
        else:
            raise KeyError("no array")
        if o.array.dtype not in KINDS or min(o.array.strides, default=0) < 0:
            raise KeyError("an array of another kind")
        return o

    def _out(self, c: Call) -> tuple[int, Operand]:
        n = c.out if c.target is None else c.target.number
        return n, Operand(self._buffers[n])

    def _fuse(self, ufunc: np.ufunc, operands: Sequence[Operand], c: Call, dtype: np.dtype[Any]) -> None:
        n, out = self._out(c)
        k = self._k
        self.piece.fuse(FusedCall(ufunc, [*operands, out], dtype, n), lambda n: self._is_read_after(n, k))

    def _is_read_after(self, n: int, k: int) -> bool:
        """Tell whether a value is needed after the k-th call: also one that is made in a gradient's array."""
        root = self._program.root(n)
        outside = self._program.values[root].source != "made" or id(self._buffers[n]) in self._externals
        return outside or self._last.get(root, -1) > k

    def _invoke(self, name: object, build: Build, reference: Callable[..., Any], operands: Sequence[Operand]) -> None:
        """Add inner loops that are found to give NumPy's bits; the last operand is the result."""
        invocations = build(operands)
        if not _agrees(name, build, reference, operands):
            raise KeyError("other bits")
        self.piece.invoke(invocations, operands)

    # -- calls -----------------------------------------------------------------------------------------

    def _ufunc(self, c: Call) -> None:
        ufunc = c.function
        if c.options or not isinstance(ufunc, np.ufunc) or ufunc not in (getattr(np, ufunc.__name__, None), CLIP):
            raise KeyError("options, or a ufunc of another library")
        _, out = self._out(c)
        dtypes = {self._operand(x).array.dtype for x in c.args if type(x) not in (int, float)}
        floats = {t for t in dtypes if t.kind == "f"}
        dtype = max(floats, default=np.dtype(np.int64))
        operands = [self._operand(x, dtype) for x in c.args]
        wanted = np.dtype(bool) if ufunc in COMPARISONS else dtype
        masks = [o for o in operands if o.array.dtype.kind == "b"]
        if len(floats) > 1 or not dtypes <= {dtype, np.dtype(bool)} or out.array.dtype != wanted:
            raise KeyError("several dtypes")
        if masks and not (ufunc is np.multiply and floats):
            raise KeyError("truth values")
        if ufunc is np.matmul:
            _check_apart(operands, out)
            self._invoke(np.matmul, lambda xs: inner_loops.product(*xs), np.matmul, [*operands, out])
        elif dtype.kind == "f" and ufunc in FUSED:
            self._fuse(ufunc, operands, c, dtype)
        else:
            self._invoke(ufunc, lambda xs: inner_loops.elementwise(ufunc, xs[:-1], xs[-1]), ufunc, [*operands, out])

    def _copy(self, c: Call) -> None:
        dtype = self._out(c)[1].array.dtype
        self._fuse(np.positive, [self._operand(c.args[0], dtype)], c, _float(dtype))

    def _set(self, c: Call) -> None:
        index, x = c.args
        _, out = self._out(c)
        source = self._operand(x, out.array.dtype)
        if index is Ellipsis:
            self._fuse(np.positive, [source], c, _float(out.array.dtype))
        else:
            self._index(out, self._operand(index), source, takes=False)

    def _call(self, c: Call) -> None:
        if id(c) in self._tests:
            a = self._operand(c.args[0])
            if not (a.array.flags.c_contiguous and a.array.size and a.array.dtype.kind in "fi"):
                raise KeyError("no row of numbers")
            self.piece.guard(a, self._tests[id(c)])
        elif c.function == "take" and len(c.args) == 2 and not c.options:
            self._index(self._operand(c.args[0]), self._operand(c.args[1]), self._out(c)[1], takes=True)
        elif c.function is operator.getitem and type(c.args[1]) is int:
            a = self._operand(c.args[0])
            element = a.array[c.args[1], ...]
            offset = a.offset + element.ctypes.data - a.array.ctypes.data
            self._fuse(np.positive, [Operand(element, a.number, offset)], c, _float(a.array.dtype))
        else:
            raise KeyError("a call")

    def _index(self, a: Operand, at: Operand, x: Operand, takes: bool) -> None:
        rows = all(o.array.ndim == 1 and o.array.flags.c_contiguous and o.array.size for o in (a, at, x))
        if not rows or at.array.dtype.kind != "i" or a.array.dtype != x.array.dtype or at.array.shape != x.array.shape:
            raise KeyError("no rows")
        _check_apart([a, at], x)
        self.piece.index(a, at, x, takes)

    def _view(self, c: Call) -> None:
        """Find where a view of the batch lies; others have their arrays."""
        if c.out not in self._buffers:
            (n,) = c.read
            base = self._batch[n]
            view = carry_out(c, {n: base.array})
            if not isinstance(view, np.ndarray) or not np.may_share_memory(view, base.array):
                raise KeyError("no view")
            offset = base.offset + view.ctypes.data - base.array.ctypes.data
            self._batch[c.out], self._views[c.out] = Operand(view, base.number, offset), c

    def _dot(self, c: Call) -> None:
        operands, (_, out) = [self._operand(x) for x in c.args], self._out(c)
        _check_apart(operands, out)
        self._invoke(np.dot, lambda xs: inner_loops.product(*xs), np.dot, [*operands, out])

    def _reduce(self, c: Call) -> None:
        x, axis, dtype, _, keepdims = c.args
        ufunc = getattr(c.function, "__self__", None)
        if dtype is not None or c.options or not isinstance(ufunc, np.ufunc):
            raise KeyError("options")
        a, (_, out) = self._operand(x), self._out(c)
        start = Operand(np.zeros((), a.array.dtype))
        self._invoke(
            (ufunc, axis),
            lambda xs: inner_loops.reduction(ufunc, xs[0], axis, xs[2], xs[1].array),
            lambda x, _: ufunc.reduce(x, axis, keepdims=keepdims),
            [a, start, out],
        )


def _reads(c: Call) -> list[int]:
    """Return the values that a call reads, that too into which it writes some elements."""
    whole = c.target is None or (c.kind != "write" and not (c.kind == "set" and c.args[0] is not Ellipsis))
    return c.read if whole or c.target is None else [*c.read, c.target.number]


def _float(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind != "f":
        raise KeyError("no floats")
    return dtype


def _check_apart(operands: Sequence[Operand], out: Operand) -> None:
    """Refuse operands that overlap: NumPy may then do something else."""
    arrays = [o.array for o in (*operands, out) if o.number < 0]
    numbers = [o.number for o in operands if o.number >= 0]
    if len(set(numbers)) < len(numbers) or any(
        np.may_share_memory(a, b) for k, a in enumerate(arrays) for b in arrays[:k]
    ):
        raise KeyError("arrays overlap")


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any], strides: tuple[int, ...]) -> np.ndarray:
    """Make an array of a layout."""
    last = sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if n)
    return np.ndarray(shape, dtype, np.zeros(last + dtype.itemsize, np.uint8), 0, strides)


_agreed: dict[object, bool] = {}


def _agrees(name: object, build: Build, reference: Callable[..., Any], operands: Sequence[Operand]) -> bool:
    """Try inner loops on random numbers in arrays of the same layouts: do they give the bits of NumPy's call?"""
    arrays = [o.array for o in operands]
    key = name, *((a.shape, a.dtype, a.strides) for a in arrays)
    if key not in _agreed:
        rng = np.random.default_rng(0)
        copies = [_empty(a.shape, a.dtype, a.strides) for a in arrays]
        for a in copies[:-1]:
            a[...] = rng.standard_normal(a.shape) if a.size > 1 else 0
        with np.errstate(all="ignore"):
            expected = np.asarray(reference(*copies[:-1]))
            for invocation in build([Operand(a) for a in copies]):
                invocation.run()
        _agreed[key] = expected.shape == copies[-1].shape and _same_bits(expected, copies[-1])
    return _agreed[key]


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(a, b, equal_nan=True)) and bool((np.signbit(a) == np.signbit(b))[a == a].all())


def _range_checks(program_calls: Sequence[Call]) -> Iterator[tuple[Call, list[Call], Tests]]:
    """Find what the largest or smallest element is compared with, where all elements can be compared instead.

    Yields the call of argmax or argmin, the calls that are not needed beside it, and the comparisons.
    """
    readers: dict[int, list[Call]] = {}
    for c in program_calls:
        for n in c.read:
            readers.setdefault(n, []).append(c)
    for c in program_calls:
        if c.kind != "call" or c.function not in ("argmax", "argmin") or len(c.args) > 1 or c.options:
            continue
        items = readers.get(c.out, [])
        if len(items) != 1 or items[0].kind != "item" or items[0].args != (c.args[0], Ref(c.out)):
            continue
        guards = readers.get(items[0].out, [])
        upper = (operator.le, operator.lt) if c.function == "argmax" else (operator.ge, operator.gt)
        tests: Tests = []
        for g in guards:
            is_number = g.kind == "guard" and g.function in SIGNS and type(g.args[1]) in (int, float)
            if is_number and g.wants == (g.function in upper):
                tests.append((SIGNS[g.function], g.args[1], g.wants))
        if guards and len(tests) == len(guards):
            yield c, [items[0], *guards], tests

"""From a recording to a program: calls whose result is not used are left out, the others get memory of their own.

Each pass is a function that changes a `Program`: `drop_ones`, `drop_dead`, `write_in_place`, `place`.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Iterable
from itertools import count

import numpy as np

from fluxmagic.capture.calls import Call, Program, Ref, Value, refs, replace
from fluxmagic.tracker.aliases import Array

__all__ = ["plan"]

ALIGNMENT = 64  # bytes, a cache line
PAGE = 4096


def plan(calls: list[Call], values: list[Value], inputs: list[int], result: int | None) -> Program:
    """Make a program of recorded calls."""
    program = Program(list(calls), values, inputs, result)
    for c in program.calls:
        number = -1 if c.target is None else c.target.number
        is_made = c.target is not None and values[number].source == "made"
        if is_made and c is next(d for d in program.calls if number in d.written):
            c.out, c.target = number, None  # the array was made to be filled
            if c.kind == "set":
                c.kind, c.args = "copy", c.args[1:]
    drop_ones(program)
    drop_dead(program)
    place(program, write_in_place(program))
    return program


def _rename(program: Program, aliases: dict[int, int]) -> None:
    """Put one value in the place of another, and of the memory in which its views lie."""

    def final(n: int) -> int:
        while n in aliases:
            n = aliases[n]
        return n

    def leaf(x: object) -> object:
        return Ref(final(x.number)) if type(x) is Ref else x

    for c in program.calls:
        c.args, c.options = replace(c.args, leaf), replace(c.options, leaf)
        c.target = None if c.target is None else Ref(final(c.target.number))
    for v in program.values:
        while v.root in aliases:
            v.root = program.root(final(v.root))
    if program.result is not None:
        program.result = final(program.result)


def drop_ones(program: Program) -> None:
    """Leave out products with ones, also spread over an array, where neither result nor factor is written into."""
    values, aliases, ones = program.values, dict[int, int](), set[int]()
    written = {program.root(c.target.number) for c in program.calls if c.target is not None}

    def is_one(x: object) -> bool:
        if type(x) in (int, float):
            return x == 1
        if type(x) is Ref and x.number in ones:
            return True
        a = values[x.number].array if type(x) is Ref else x
        if not isinstance(a, np.ndarray) or a.flags.writeable or a.base is not None:
            return False
        return a.size > 0 and bool((a == 1).all())

    kept = []
    for c in program.calls:
        if c.function is np.positive and c.target is None and is_one(c.args[0]) and c.out not in written:
            ones.add(c.out)
        if c.function is np.multiply and c.kind == "ufunc" and c.target is None and not c.options:
            a, b = c.args
            x = b if is_one(a) else a if is_one(b) else None
            if type(x) is Ref and values[x.number].like(values[c.out]) and values[x.number].source != "external":
                root = program.root(x.number)
                if not {root, c.out} & written and values[x.number].scalar == values[c.out].scalar:
                    aliases[c.out] = x.number
                    continue
        kept.append(c)
    program.calls = kept
    _rename(program, aliases)


def drop_dead(program: Program) -> None:
    """Leave out calls whose result is not used."""
    values = program.values
    needed = set() if program.result is None else {program.result}
    roots = {program.root(n) for n in needed}
    kept = []
    for c in reversed(program.calls):
        wanted = c.effect or c.kind == "guard" or _may_fail(c) or any(n in needed or n in roots for n in c.written)
        if c.target is not None:
            root = program.root(c.target.number)
            wanted = wanted or root in roots or values[root].source in ("external", "input")
        if wanted:
            kept.append(c)
            used = c.read + ([] if c.target is None else [c.target.number])
            needed.update(used)
            roots.update(map(program.root, used))
    program.calls = kept[::-1]


def _may_fail(c: Call) -> bool:
    """Tell whether values decide if a call raises, which a loss may catch: inverses, and elements of an array."""
    indexes = c.function in (operator.getitem, np.take, "take") and bool(refs(c.args[1:]))
    return c.kind == "call" and (indexes or getattr(c.function, "__module__", None) == "numpy.linalg")


def write_in_place(program: Program) -> dict[int, np.ndarray]:
    """Leave out copies of a fresh result into a gradient: the result is made there in the first place.

    Returns the arrays in which results are made.
    """
    values, stores = program.values, dict[int, np.ndarray]()
    makers = {c.out: k for k, c in enumerate(program.calls) if _is_placed(program, c)}
    used: defaultdict[int, list[int]] = defaultdict(list)
    writes: defaultdict[int, list[int]] = defaultdict(list)
    for k, c in enumerate(program.calls):
        for n in {program.root(n) for n in (*c.read, *c.written)}:
            used[n].append(k)
        for n in {program.root(n) for n in c.written}:
            writes[n].append(k)
    dropped, taken = set[int](), set[int]()
    for k, c in enumerate(program.calls):
        if c.kind != "set" or c.args[0] is not Ellipsis or type(c.args[1]) is not Ref or c.target is None:
            continue
        target, v = values[c.target.number], values[c.args[1].number]
        maker = makers.get(v.number)
        if maker is None or target.array is None or not v.like(target) or {v.root, target.root} & taken:
            continue
        between = any(maker <= j < k for j in used[target.root])
        after = any(j > k for j in (*writes[v.root], *writes[target.root]))
        if not (between or after):
            stores[v.number] = target.array
            dropped.add(k)
            taken |= {v.root, target.root}
    program.calls = [c for k, c in enumerate(program.calls) if k not in dropped]
    return stores


def is_dense(v: Value) -> bool:
    """Tell whether the elements fill their memory, in any order of the axes."""
    expected = v.dtype.itemsize
    for stride, n in sorted(zip(v.strides, v.shape, strict=True)):
        if n == 0 or (n != 1 and stride != expected):
            return False
        expected *= n
    return True


def _is_placed(program: Program, c: Call) -> bool:
    """Tell whether a call writes its result into an array that it is given."""
    if c.target is not None or type(c.out) is not int:
        return False
    v = program.values[c.out]
    if v.scalar or v.root != v.number or not is_dense(v):
        return False
    if c.kind == "dot":
        contiguous = v.strides == np.empty(v.shape, v.dtype).strides
        return bool(v.shape) and contiguous and all(dtype_of(program, x) == v.dtype for x in c.args)
    if c.kind == "draw":
        return c.function in ("random", "standard_normal")
    return c.kind in ("ufunc", "reduce", "copy")


def dtype_of(program: Program, x: Array) -> np.dtype[np.generic] | None:
    """Return the dtype of an argument, None of a Python number."""
    return program.values[x.number].dtype if type(x) is Ref else getattr(x, "dtype", None)


def aligned(n: int, turn: int = 0) -> np.ndarray:
    """Return n bytes that begin a cache line, that many lines after the start of a page."""
    raw = np.zeros(n + 2 * PAGE, np.uint8)
    start = -raw.ctypes.data % PAGE + turn % (PAGE // ALIGNMENT) * ALIGNMENT
    return raw[start : start + n]


def as_value(v: Value, raw: np.ndarray) -> np.ndarray:
    """Make an array of a value's shape and layout of some memory."""
    return np.ndarray(v.shape, v.dtype, raw, 0, v.strides)


def place(program: Program, stores: dict[int, np.ndarray]) -> None:
    """Give each result memory, shared by those that are not needed at once; make the views, once and for all."""
    values, buffers = program.values, program.buffers
    buffers.update({v.number: v.array for v in values if v.source == "external" and v.array is not None})
    last: dict[int, int] = {}
    for k, c in enumerate(program.calls):
        last.update({program.root(n): k for n in (*c.read, *c.written)})
    if program.result is not None:
        last[program.root(program.result)] = len(program.calls)
    dying: defaultdict[int, list[int]] = defaultdict(list)
    for root, k in last.items():
        dying[k].append(root)
    free: defaultdict[int, list[np.ndarray]] = defaultdict(list)  # memory by its size, to be used again
    held, turns = dict[int, np.ndarray](), count(1)
    for k, c in enumerate(program.calls):
        if _is_placed(program, c):
            v = values[c.out]
            if v.number in stores:
                buffers[v.number] = stores[v.number]
            elif (old := _taken_over(program, c, dying[k], held)) is not None:
                held[v.number], buffers[v.number] = held.pop(old), buffers[old]  # NumPy sees that it is one object
            else:
                n = max(v.nbytes, 1)
                # at changing places of a page: a load whose address ends as that of a store before would wait for it
                held[v.number] = raw = free[n].pop() if free[n] else aligned(n, 5 * next(turns))
                buffers[v.number] = as_value(v, raw)
        elif c.kind == "view" and all(n in buffers for n in c.read):
            view = carry_out(c, buffers)
            if np.may_share_memory(view, buffers[c.read[0]]):
                buffers[c.out] = view
        for root in held.keys() & dying[k]:
            raw = held.pop(root)
            free[raw.nbytes].append(raw)


def _taken_over(program: Program, c: Call, dying: Iterable[int], held: dict[int, np.ndarray]) -> int | None:
    """Return the argument in whose array the result of an elementwise call can be made."""
    if c.kind != "ufunc" or getattr(c.function, "signature", None) is not None:
        return None
    for n in refs(c.args):
        if n in dying and n in held and program.values[n].like(program.values[c.out]):
            return n
    return None


def carry_out(c: Call, buffers: dict[int, np.ndarray]) -> Array:
    """Carry out a call whose arguments all have a place."""

    def leaf(x: object) -> object:
        return buffers[x.number] if type(x) is Ref else x

    args, options = replace(c.args, leaf), replace(c.options, leaf)
    return (
        getattr(args[0], c.function)(*args[1:], **options)
        if isinstance(c.function, str)
        else c.function(*args, **options)
    )

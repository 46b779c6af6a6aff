"""An optimiser's rule as one pass over memory, in the bits of NumPy's passes.

The rule is run on arrays that put off what it asks for (`deferred`).  Where that is arithmetic alone, element by
element, LLVM makes one loop of it.  Before its first use the loop is compared with NumPy, to the bit, on numbers of
all kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fluxmagic.capture.deferred import Call, Trace
from fluxmagic.capture.machine_code import MachineCode, has_compiler
from fluxmagic.optimise.memory import Block, subtract_steps
from fluxmagic.optimise.optimiser import Optimiser

if TYPE_CHECKING:
    from llvmlite.ir import Function, IRBuilder, Value

__all__ = ["CompiledUpdate", "compile_update"]

Rule = Callable[..., np.ndarray]
Emit = Callable[..., "Value"]
Blocks = Sequence[tuple[Block, list[np.ndarray]]]

P, GRADIENT, SCRATCH = 0, 1, 2  # places in a block; what is left in the gradient and in scratch is not read again


# -- one element -----------------------------------------------------------------------------------------------------


def _intrinsic(name: str) -> Emit:
    return lambda b, x: b.call(b.module.declare_intrinsic(f"llvm.{name}", [x.type]), [x])


def _sign(b: IRBuilder, x: Value) -> Value:
    positive, negative, zero = (b.fcmp_ordered(c, x, x.type(0)) for c in (">", "<", "=="))
    return b.select(positive, x.type(1), b.select(negative, x.type(-1), b.select(zero, x.type(0), x)))


def _extremum(compare: str) -> Emit:
    def emit(
        b: IRBuilder, x: Value, y: Value
    ) -> Value:  # NumPy's: the second of two equal ones, and a NaN whichever it is
        return b.select(b.or_(b.fcmp_ordered(compare, x, y), b.fcmp_unordered("uno", x, x)), x, y)

    return emit


EMIT: dict[np.ufunc, Emit] = {
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
    np.less: lambda b, x, y: b.fcmp_ordered("<", x, y),
    np.less_equal: lambda b, x, y: b.fcmp_ordered("<=", x, y),
    np.greater: lambda b, x, y: b.fcmp_ordered(">", x, y),
    np.greater_equal: lambda b, x, y: b.fcmp_ordered(">=", x, y),
    np.equal: lambda b, x, y: b.fcmp_ordered("==", x, y),
    np.not_equal: lambda b, x, y: b.fcmp_unordered("!=", x, y),
}


# -- the loop --------------------------------------------------------------------------------------------------------


def _write_loop(calls: Sequence[Call], n_arrays: int, n_constants: int, dtype: np.dtype[Any]) -> Callable[..., None]:
    """Make what writes the loop; its table holds the length, then the addresses of arrays and constants."""
    from llvmlite import ir

    real, size = (ir.FloatType() if dtype == np.float32 else ir.DoubleType()), ir.IntType(64)
    written = sorted({c.out for c in calls if c.out < n_arrays} - {GRADIENT, SCRATCH})

    def write(b: IRBuilder, table: Value) -> None:
        inner = ir.FunctionType(ir.VoidType(), [size, *[real.as_pointer()] * n_arrays, *[real] * n_constants])
        f = ir.Function(b.module, inner, "loop")
        f.linkage = "internal"
        for array in f.args[1 : 1 + n_arrays]:
            array.add_attribute("noalias")  # without it LLVM leaves the loop one element at a time
        _write_body(f)
        entries = [b.load(b.gep(table, [size(k)])) for k in range(1 + n_arrays + n_constants)]
        addresses = [b.inttoptr(e, real.as_pointer()) for e in entries[1:]]
        b.call(f, [entries[0], *addresses[:n_arrays], *map(b.load, addresses[n_arrays:])])
        b.ret_void()

    def _write_body(f: Function) -> None:
        entry, body, end = (f.append_basic_block(name) for name in ("entry", "body", "end"))
        b = ir.IRBuilder(entry)
        b.cbranch(b.icmp_signed("==", f.args[0], size(0)), end, body)
        b = ir.IRBuilder(body)
        i = b.phi(size)
        values: dict[int, Value] = {}

        def value(k: int) -> Value:
            if k < 0:
                return f.args[1 + n_arrays + ~k]
            if k not in values:
                values[k] = b.load(b.gep(f.args[1 + k], [i]))
            return values[k]

        for ufunc, operands, out in calls:
            xs = [x if x.type == real else b.uitofp(x, real) for x in map(value, operands)]
            values[out] = EMIT[ufunc](b, *xs)
        for k in written:
            b.store(values[k], b.gep(f.args[1 + k], [i]))
        following = b.add(i, size(1))
        i.add_incoming(size(0), entry)
        i.add_incoming(following, body)
        b.cbranch(b.icmp_signed("<", following, f.args[0]), body, end)
        ir.IRBuilder(end).ret_void()

    return write


def _table(arrays: Sequence[np.ndarray], constants: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([arrays[0].size, *[a.ctypes.data for a in (*arrays, *constants)]], np.int64)


def _samples(n: int, k: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Give numbers of all kinds, in another order for each k."""
    info = np.finfo(dtype)
    special = [0, -0.0, 1, -1, np.inf, -np.inf, np.nan, info.max, info.tiny, -info.smallest_subnormal, info.eps]
    rng = np.random.default_rng(k)
    x = (rng.standard_normal(n) * 10.0 ** rng.integers(-12, 4, n)).astype(dtype)
    at = rng.random(n) < 0.3
    x[at] = rng.choice(np.array(special, dtype), at.sum())
    return x


def _has_numpys_bits(code: MachineCode, trace: Trace, n_arrays: int) -> bool:
    """Compare the loop with NumPy on a few more elements than vectors hold."""
    for n in (1, 1031):
        by_numpy, by_loop = ([_samples(n, k, trace.dtype) for k in range(n_arrays)] for _ in range(2))
        other = Trace(by_numpy)
        other.arrays += [None] * (len(trace.arrays) - n_arrays)
        other.calls, other.constants = trace.calls, trace.constants
        with np.errstate(all="ignore"):
            other.carry_out()
        code.call(_table(by_loop, trace.constants).ctypes.data)
        for k in {*range(n_arrays)} - {GRADIENT, SCRATCH}:
            a, b = by_numpy[k], by_loop[k]
            if not np.array_equal(np.isnan(a), np.isnan(b)) or a[a == a].tobytes() != b[b == b].tobytes():
                return False
    return True


_loops: dict[object, MachineCode | None] = {}  # of all rules so far; None: not NumPy's bits


def _loop(trace: Trace, n_arrays: int) -> MachineCode | None:
    """Compile what a rule has put off; None if the loop does not come to NumPy's bits."""
    key = trace.dtype, n_arrays, len(trace.constants), tuple(trace.calls)
    if key not in _loops:
        code = MachineCode(_write_loop(trace.calls, n_arrays, len(trace.constants), trace.dtype))
        _loops[key] = code if _has_numpys_bits(code, trace, n_arrays) else None
    return _loops[key]


# -- the update ------------------------------------------------------------------------------------------------------


class CompiledUpdate:
    """Take the place of `subtract_steps` for one optimiser.

    A rule that is `plain` and takes its numbers as arguments is run once; any other in every update, since it may read
    an attribute: 20 µs.

    Attributes
    ----------
    works : bool
        False once the rule has asked for something that is no arithmetic: NumPy does all updates from then on.
    """

    def __init__(self, plain: bool) -> None:
        self.works = True
        self._plain = plain
        self._calls: list[tuple[Callable[[int], object], int]] = []
        self._constants: list[np.ndarray] | None = None  # those that the calls read
        self._held: list[Any] = []  # what the calls point to

    def __call__(self, rule: Rule, blocks: Blocks) -> None:
        if self._constants is not None and all(map(_is, self._constants, blocks[0][1])):
            for call, table in self._calls:
                call(table)
        elif not self.works or (not self._plain and set(np.geterr().values()) != {"ignore"}):
            subtract_steps(rule, blocks)
        else:
            self._run(rule, blocks)

    def calls(self) -> list[tuple[Callable[[int], object], int]]:
        """Return what one update is: functions, each with the number that it takes; empty if the rule has to be run."""
        return self._calls if self._constants is not None else []

    def _run(self, rule: Rule, blocks: Blocks) -> None:
        """Run the rule block by block: put off, and then in one loop."""
        again, calls, held = self._plain, [], []
        for s, numbers in blocks:
            names, arrays = zip(*vars(s).items(), strict=True)
            trace = Trace(list(arrays))
            _subtract_step(rule, dict(zip(names, map(trace.stand_in, range(len(names))))), numbers)
            code = None if trace.done or not trace.forgotten() else _loop(trace, len(arrays))
            if code is None:
                trace.carry_out()
                self.works = again = False
                continue
            table = _table(arrays, trace.constants)
            code.call(table.ctypes.data)
            again = again and all(any(c is n for n in numbers) for c in trace.constants)
            calls.append((code.call, table.ctypes.data))
            held.append((table, arrays, trace.constants, code))
        if again:
            self._calls, self._held, self._constants = calls, held, list(blocks[0][1])


def _is(a: object, b: object) -> bool:
    return a is b


def _subtract_step(rule: Rule, fields: dict[str, Any], numbers: Sequence[np.ndarray]) -> None:
    """Do what `subtract_steps` does for one block; nothing holds its arrays afterwards."""
    s = Block(fields)
    np.subtract(s.p, rule(s.δ, s, *numbers), s.p)


def compile_update(opt: Optimiser) -> CompiledUpdate | None:
    """Make what updates the parameters of an optimiser in one pass; None without the extra `fast`."""
    return CompiledUpdate(opt.plain) if has_compiler() else None

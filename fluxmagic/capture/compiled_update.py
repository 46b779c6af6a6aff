"""An optimiser's rule as one pass over memory, in the bits of NumPy's passes.

The rule is run on arrays that put off what it asks for (`deferred`).  Where that is arithmetic alone, element by
element, LLVM makes one loop of it.  Before its first use the loop is compared with NumPy, to the bit, on numbers of
all kinds.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fluxmagic.capture import machine_code
from fluxmagic.capture.deferred import Trace
from fluxmagic.capture.elementwise import Loop, ir_type
from fluxmagic.capture.machine_code import MachineCode, constant, field
from fluxmagic.optimise.memory import Block, subtract_steps

if TYPE_CHECKING:
    from llvmlite.ir import IRBuilder, Value

__all__ = ["CompiledUpdate", "compile_update"]

Rule = Callable[..., np.ndarray]
Blocks = Sequence[tuple[Block, list[np.ndarray]]]

P, GRADIENT, SCRATCH = 0, 1, 2  # places in a block; what is left in the gradient and in scratch is not read again


# -- the loop --------------------------------------------------------------------------------------------------------


def _write(loop: Loop) -> Callable[[IRBuilder, Value, Value], Value]:
    """Make what writes the loop; its table holds the length, then the addresses of arrays and constants."""

    def write(b: IRBuilder, bound: Value, _: Value) -> Value:
        from llvmlite import ir

        size, f = ir.IntType(64), loop.function(b.module)
        table, n = field(b, bound, 0, size.as_pointer()), len(loop.dtypes)
        entries = [b.load(b.gep(table, [size(k)])) for k in range(1 + n + len(loop.constants))]
        pointers = [
            b.inttoptr(e, ir_type(t).as_pointer()) for e, t in zip(entries[1:], [*loop.dtypes, *loop.constants])
        ]
        b.call(f, [entries[0], *pointers[:n], *map(b.load, pointers[n:])])
        return constant(b, None)

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
        other.deferred, other.constants = trace.deferred, trace.constants
        with np.errstate(all="ignore"):
            other.carry_out()
        code.bind(_table(by_loop, trace.constants))()
        for k in {*range(n_arrays)} - {GRADIENT, SCRATCH}:
            a, b = by_numpy[k], by_loop[k]
            if not np.array_equal(np.isnan(a), np.isnan(b)) or a[a == a].tobytes() != b[b == b].tobytes():
                return False
    return True


_loops: dict[object, MachineCode | None] = {}  # of all rules so far; None: not NumPy's bits


def _loop(trace: Trace, n_arrays: int) -> MachineCode | None:
    """Compile what a rule has put off; None if that is not all of it, or does not come to NumPy's bits."""
    if trace.done or trace.alive():
        return None
    key = trace.dtype, n_arrays, len(trace.constants), tuple(trace.deferred)
    if key not in _loops:
        written = {c.out for c in trace.deferred if c.out < n_arrays} - {GRADIENT, SCRATCH}
        dtypes, constants = [trace.dtype] * n_arrays, [trace.dtype] * len(trace.constants)
        loop = Loop(trace.deferred, dtypes, [(1,)] * n_arrays, (), sorted(written), constants)
        code = MachineCode(_write(loop))
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
        self._calls: list[Callable[[], None]] = []
        self._constants: list[np.ndarray] | None = None  # those that the calls read
        self._held: list[np.ndarray] = []  # others that they point to

    def __call__(self, rule: Rule, blocks: Blocks) -> None:
        calls = self.calls(rule, blocks)
        for call in calls:
            call()
        if not calls and self.works and (self._plain or set(np.geterr().values()) == {"ignore"}):
            self._run(rule, blocks)
        elif not calls:
            subtract_steps(rule, blocks)

    def calls(self, rule: Rule, blocks: Blocks) -> list[Callable[[], None]]:
        """Return what one update is: functions; empty if the rule has to be run.

        They hold as long as the arrays of `blocks` are the same.
        """
        if self._constants is not None and all(map(operator.is_, self._constants, blocks[0][1])):
            return self._calls
        self._calls, self._held = [], []
        for s, numbers in blocks if self._plain and self.works else ():
            arrays = list(vars(s).values())
            trace = _traced(rule, s, numbers, [a[:1].copy() for a in arrays])  # it may turn out to be no arithmetic
            code = _loop(trace, len(arrays))
            if code is None or not all(any(c is n for n in numbers) for c in trace.constants):
                self._plain = False
                return []
            self._calls.append(code.bind(_table(arrays, trace.constants)))
            self._held += [*arrays, *trace.constants]
            self._constants = list(blocks[0][1])
        return self._calls

    def _run(self, rule: Rule, blocks: Blocks) -> None:
        """Run the rule block by block: put off, and then in one loop."""
        for s, numbers in blocks:
            arrays = list(vars(s).values())
            trace = _traced(rule, s, numbers, arrays)
            code = _loop(trace, len(arrays))
            if code is None:
                trace.carry_out()
                self.works = False
            else:
                code.bind(_table(arrays, trace.constants))()


def _traced(rule: Rule, s: Block, numbers: Sequence[np.ndarray], arrays: list[np.ndarray]) -> Trace:
    """Do what `subtract_steps` does for one block, on other arrays, and put it off."""
    trace = Trace(arrays)
    _subtract_step(rule, {name: trace.stand_in(k) for k, name in enumerate(vars(s))}, numbers)
    return trace


def _subtract_step(rule: Rule, fields: dict[str, Any], numbers: Sequence[np.ndarray]) -> None:
    s = Block(fields)  # nothing holds its arrays afterwards
    np.subtract(s.p, rule(s.δ, s, *numbers), s.p)


def compile_update(plain: bool) -> CompiledUpdate | None:
    """Make what subtracts an optimiser's steps in one pass; None without the extra `fast`."""
    return CompiledUpdate(plain) if machine_code.has_compiler() else None

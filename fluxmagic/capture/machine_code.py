"""Functions in machine code, made by LLVM: `llvmlite`, which the extra `fast` installs.

The arithmetic is IEEE's as it is written: no operation is reordered, contracted or left out, so that the bits are
NumPy's.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from fluxmagic.capture.report import Report

if TYPE_CHECKING:
    from llvmlite.binding import TargetMachine
    from llvmlite.ir import IRBuilder, Type, Value

__all__ = ["DATA", "MachineCode", "call_api", "constant", "field", "has_compiler", "timed"]

DATA = object.__basicsize__
"""Where the fields of an ndarray begin: data, nd, dimensions, strides, base, descr."""

_seconds = [0.0]


@contextmanager
def timed(report: Report) -> Iterator[None]:
    """Add the time that is spent in loading and running the compiler to a report."""
    before = _seconds[0]
    yield
    report.compile_seconds += _seconds[0] - before


@cache
def has_compiler() -> bool:
    """Load the compiler; False if it is not installed, too old, or makes no code for this processor."""
    start = time.perf_counter()
    try:
        from llvmlite import binding

        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        return bool(_machine().triple) and hasattr(binding, "create_pass_builder")
    except (ImportError, RuntimeError):
        return False
    finally:
        _seconds[0] += time.perf_counter() - start


def _machine() -> TargetMachine:
    from llvmlite import binding

    features = binding.get_host_cpu_features().flatten()
    target = binding.Target.from_default_triple()
    return target.create_target_machine(cpu=binding.get_host_cpu_name(), features=features, opt=3)


class _MethodDef(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


FASTCALL = 0x80  # METH_FASTCALL: a function of the object that it is bound to, an array of arguments, and their number
_bound = ctypes.pythonapi.PyCFunction_NewEx
_bound.argtypes, _bound.restype = [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p], ctypes.py_object


class MachineCode:
    """A compiled function, which Python calls as one of its own: in 0.02 µs, where ctypes takes 0.15 µs or more.

    `write` is given llvmlite's IR builder, the object that the function is bound to, and the array of its arguments; it
    writes the body, and returns the object that the function returns, with a reference of its own.
    """

    def __init__(self, write: Callable[[IRBuilder, Value, Value], Value]) -> None:
        from llvmlite import binding, ir

        start = time.perf_counter()
        module, thing = ir.Module("step"), ir.IntType(8).as_pointer()
        function = ir.Function(module, ir.FunctionType(thing, [thing, thing.as_pointer(), ir.IntType(64)]), "step")
        body = ir.IRBuilder(function.append_basic_block())
        body.ret(write(body, *function.args[:2]))
        machine = _machine()
        parsed = binding.parse_assembly(str(module))
        builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(speed_level=3))
        builder.getModulePassManager().run(parsed, builder)
        self._engine = binding.create_mcjit_compiler(parsed, machine)  # holds the code
        self._engine.finalize_object()
        self._definition = _MethodDef(b"step", self._engine.get_function_address("step"), FASTCALL, None)
        _seconds[0] += time.perf_counter() - start

    def bind(self, held: object) -> Callable[..., Any]:
        """Return the function, bound to an object; it holds that, but not this code."""
        return _bound(ctypes.addressof(self._definition), held, None)  # type: ignore[no-any-return]


def field(b: IRBuilder, array: Value, offset: int, kind: Type) -> Value:
    """Emit the load of a field of an ndarray, as NumPy's public header has it."""
    from llvmlite import ir

    place = b.gep(array, [ir.IntType(64)(DATA + offset)])
    return b.load(b.bitcast(place, kind.as_pointer()))


def call_api(b: IRBuilder, name: str, returns: Type, *args: Value) -> Value:
    """Emit a call of a function of Python's C API."""
    from llvmlite import ir

    address = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
    kind = ir.FunctionType(returns, [a.type for a in args])
    return b.call(b.inttoptr(ir.IntType(64)(address), kind.as_pointer()), args)


def constant(b: IRBuilder, x: object) -> Value:
    """Emit a new reference to an object that lives for ever."""
    from llvmlite import ir

    thing = b.inttoptr(ir.IntType(64)(id(x)), ir.IntType(8).as_pointer())
    call_api(b, "Py_IncRef", ir.VoidType(), thing)
    return thing

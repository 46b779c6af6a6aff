"""Functions in machine code, made by LLVM: `llvmlite`, which the extra `fast` installs.

The arithmetic is IEEE's as it is written: no operation is reordered, contracted or left out, so that the bits are
NumPy's.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llvmlite.binding import TargetMachine
    from llvmlite.ir import IRBuilder, Value

__all__ = ["MachineCode", "has_compiler", "seconds_compiling"]

_seconds = [0.0]


def seconds_compiling() -> float:
    """Return the time that this process has spent in loading and running the compiler."""
    return _seconds[0]


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


class MachineCode:
    """A compiled function, which Python calls in 0.15 µs.

    Parameters
    ----------
    write : callable
        Writes the body, given llvmlite's IR builder and the arguments; without a return it returns 0.
    arguments : list of str
        "table": an address as a Python integer, here a pointer to 64-bit integers; "object": any Python object, here
        a pointer to its bytes.

    Attributes
    ----------
    call : callable
        The function; holds the GIL, and returns an integer.
    """

    call: Callable[..., int]

    def __init__(self, write: Callable[[IRBuilder, Sequence[Value]], None], arguments: Sequence[str]) -> None:
        from llvmlite import binding, ir

        start = time.perf_counter()
        module = ir.Module("step")
        pointers = {"table": ir.IntType(64).as_pointer(), "object": ir.IntType(8).as_pointer()}
        kind = ir.FunctionType(ir.IntType(32), [pointers[a] for a in arguments])
        function = ir.Function(module, kind, "step")
        body = ir.IRBuilder(function.append_basic_block())
        write(body, function.args)
        body.ret(ir.IntType(32)(0))
        machine = _machine()
        parsed = binding.parse_assembly(str(module))
        builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(speed_level=3))
        builder.getModulePassManager().run(parsed, builder)
        self._engine = binding.create_mcjit_compiler(parsed, machine)  # holds the code
        self._engine.finalize_object()
        types: list[Any] = [{"table": ctypes.c_void_p, "object": ctypes.py_object}[a] for a in arguments]
        self.call = ctypes.PYFUNCTYPE(ctypes.c_int, *types)(self._engine.get_function_address("step"))
        _seconds[0] += time.perf_counter() - start

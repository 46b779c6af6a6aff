"""The names that compiled code of a cell reads and binds in the user's namespace."""

from __future__ import annotations

import dis
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType

from fluxmagic.jupyter.ipython_compat import Namespace

__all__ = ["names_bound", "names_read"]


def names_read(f: FunctionType, ns: Namespace) -> set[str]:
    """Return the variables that code reads, also in functions of the namespace that it names."""
    read: set[str] = set()
    codes, seen = [f.__code__], set()
    while codes:
        code = codes.pop()
        if code in seen:
            continue
        seen.add(code)
        codes += [c for c in code.co_consts if isinstance(c, CodeType)]
        for i in dis.get_instructions(code):
            if i.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
                read.add(i.argval)
                codes += [g.__code__ for g in _functions(ns.get(i.argval), code.co_names) if g.__globals__ is ns]
    return read


def names_bound(f: FunctionType) -> Iterator[str]:
    """Yield the variables that code binds or deletes, also in functions within it."""
    codes = [f.__code__]
    while codes:
        code = codes.pop()
        codes += [c for c in code.co_consts if isinstance(c, CodeType)]
        own = ("STORE_NAME", "DELETE_NAME") if code is f.__code__ else ()  # those of a class statement are the class's
        for i in dis.get_instructions(code):
            if i.opname in ("STORE_GLOBAL", "DELETE_GLOBAL", *own):
                yield i.argval


def _functions(value: object, names: Iterable[str]) -> list[FunctionType]:
    """Return the functions that code with these names may call by a value: itself, or methods of its class."""
    value = getattr(value, "__func__", value)
    if isinstance(value, FunctionType):
        return [value]
    classes = reversed((value if isinstance(value, type) else type(value)).__mro__)
    methods = {k: f for c in classes for k, f in vars(c).items() if isinstance(f, FunctionType)}
    called = [k for k in methods if k in names or k.startswith("__")]
    for k in called:  # the list grows meanwhile
        called += [n for n in methods[k].__code__.co_names if n in methods and n not in called]
    return [methods[k] for k in called]

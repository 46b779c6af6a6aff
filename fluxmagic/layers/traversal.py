"""Finding what a model is made of: parameters, and all else that changes in training."""

from __future__ import annotations

import dataclasses
import dis
import functools
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, compress
from typing import Any

import numpy as np

from fluxmagic.tracker import Param, Tracked, data

__all__ = ["loadparams", "named_params", "params", "state"]

_ATOMIC = (str, bytes, bytearray, int, float, complex, bool, type(None), type, types.ModuleType, np.ndarray, np.generic)
# Their functions and objects hold no parameters of the user's, and are slow to traverse.
_NOT_ENTERED = (sys.stdlib_module_names - {"__main__"}).union(
    [
        "IPython",
        "ipykernel",
        "ipywidgets",
        "matplotlib",
        "numpy",
        "pandas",
        "scipy",
        "sklearn",
        "tornado",
        "traitlets",
        "zmq",
    ]
)


_CONTAINERS = (list, tuple, dict, set, frozenset)
_PARTS = (
    *_CONTAINERS,
    types.SimpleNamespace,
    Tracked,
    np.random.Generator,
    functools.partial,
    types.MethodType,
    types.FunctionType,
)


@functools.lru_cache(maxsize=1024)
def _has_parts(cls: type) -> bool:
    """Whether there is anything in an object of this class to look into or to find."""
    if issubclass(cls, _ATOMIC):
        return False
    return issubclass(cls, (*_PARTS, Mapping)) or cls.__module__ == "collections" or _package(cls) not in _NOT_ENTERED


def _kinds(values: Iterable[Any]) -> set[type]:
    """The classes of what is to be looked into."""
    return {k for k in set(map(type, values)) if _has_parts(k)}


def _is_data(x: Iterable[Any], depth: int = 4) -> bool:
    """Whether a container holds numbers, text, arrays and the like alone, some containers deep.

    Data that a loss names has millions of entries: it is gone through by its types alone, 30 ns an entry.
    """
    values = x.values() if type(x) is dict else x
    kinds = _kinds(values)
    if not kinds:
        return True
    if not depth or not kinds.issubset(_CONTAINERS):
        return False
    inner = (v.values() if type(v) is dict else v for v in values if type(v) in kinds)
    return _is_data(list(chain.from_iterable(inner)), depth - 1)


def _package(x: Any) -> str:
    return str(getattr(x, "__module__", None) or "").partition(".")[0]


def _code_globals(code: types.CodeType) -> Iterator[str]:
    """The globals that a function's code names, in the order in which it does; inner functions too."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for c in code.co_consts:
        if isinstance(c, types.CodeType):
            yield from _code_globals(c)


def _serial(x: Any) -> int:
    """When the first parameter of a layer was made, by which the members of a set are put in order; or -1."""
    parts = (x, *getattr(x, "__dict__", {}).values())
    return min((p.serial for p in parts if isinstance(p, Tracked)), default=-1)


def _members(x: Any) -> Iterator[tuple[str, Any]]:
    """What x is made of, each with its place in x."""
    if isinstance(x, functools.partial):
        yield from ((".func", x.func), *((f".args[{i}]", a) for i, a in enumerate(x.args)))
        yield from ((f".{k}", v) for k, v in x.keywords.items())
        return
    if isinstance(x, types.MethodType):
        yield from (("", x.__self__), ("", x.__func__))
        return
    if isinstance(x, types.FunctionType):
        if _package(x) in _NOT_ENTERED or _package(x) == "fluxmagic":
            return
        for name, cell in zip(x.__code__.co_freevars, x.__closure__ or (), strict=True):
            try:
                yield name, cell.cell_contents
            except ValueError:  # not bound yet
                continue
        for name in dict.fromkeys(_code_globals(x.__code__)):
            if name in x.__globals__:
                yield name, x.__globals__[name]
        for i, v in enumerate(x.__defaults__ or ()):
            yield f".__defaults__[{i}]", v
        yield from ((f".{k}", v) for k, v in {**(x.__kwdefaults__ or {}), **x.__dict__}.items())
        return
    if isinstance(x, Mapping):
        yield from ((f"[{k!r}]", v) for k, v in x.items() if _kinds((v,)))
    elif isinstance(x, (list, tuple)) or (type(x).__module__ == "collections" and hasattr(x, "__iter__")):
        kinds = _kinds(x)
        yield from ((f"[{i}]", v) for i, v in compress(enumerate(x), map(kinds.__contains__, map(type, x))))
    elif isinstance(x, (set, frozenset)):
        serials = {id(v): _serial(v) for v in x}
        ordered = sorted(x, key=lambda v: serials[id(v)])
        yield from (("{}" if serials[id(v)] < 0 else f"{{{i}}}", v) for i, v in enumerate(ordered))
    if isinstance(x, types.SimpleNamespace) or _package(type(x)) not in _NOT_ENTERED:
        if dataclasses.is_dataclass(x):
            names = [f.name for f in dataclasses.fields(x)]
            yield from ((f".{k}", getattr(x, k)) for k in names if hasattr(x, k))
        # a chain's layers are its items
        attributes = getattr(x, "__dict__", {})
        for k, v in attributes.items():
            yield ("" if k == "layers" else f".{k}"), v
        for base in type(x).__mro__:
            slots = base.__dict__.get("__slots__", ())
            for k in (slots,) if isinstance(slots, str) else slots:
                if isinstance(base.__dict__.get(k), types.MemberDescriptorType) and hasattr(x, k):
                    yield f".{k}", getattr(x, k)


def traverse(*roots: Any) -> Iterator[tuple[str, Any]]:
    """All that is reachable, each once, with its place; depth first, in order of definition.  Data are left out."""
    seen: set[int] = set()
    keep: list[Any] = []  # an id must not be given to another object meanwhile
    stack: list[tuple[str, Any]] = [("", r) for r in reversed(roots)]
    while stack:
        path, x = stack.pop()
        kind: type = type(x)
        if not _has_parts(kind) or id(x) in seen or (kind in _CONTAINERS and _is_data(x)):
            continue
        seen.add(id(x))
        keep.append(x)
        yield path, x
        if not isinstance(x, (Tracked, np.random.Generator)):
            children = [(path + k, v) for k, v in _members(x)]
            stack.extend(reversed(children))


def buffer_names(x: object) -> tuple[str, ...]:
    """Return the attributes of a layer that hold running statistics: its class lists them as `buffers`."""
    names = getattr(type(x), "buffers", ())
    return names if isinstance(names, tuple) else ()


def refuse_iterators(name: str, roots: Iterable[Any]) -> None:
    """Refuse a generator: to look for parameters in it would use it up, so that they would be missing in silence."""
    roots = list(roots)
    kinds = set(map(type, roots)).union(*(map(type, x) for x in roots if type(x) in (list, tuple, set, frozenset)))
    for cls in kinds:
        if issubclass(cls, Iterator) and _package(cls) in _NOT_ENTERED:
            raise TypeError(f"{name}: a {cls.__name__} can be gone through only once: pass a list, {name}(list(...))")


def named_params(*ms: Any) -> Iterator[tuple[str, Param]]:
    """Every parameter, with its place.

    Parameters
    ----------
    *ms
        As for `params`.

    Returns
    -------
    iterator of (str, Param)
        The place is written as the code that leads to it from the root.

    Raises
    ------
    TypeError
        If one is a generator, or another iterator.

    Examples
    --------
    >>> from fluxmagic import Chain, Dense
    >>> from fluxmagic.layers import named_params
    >>> [place for place, p in named_params(Chain(Dense(3, 2)))]
    ['[0].W', '[0].b']
    """
    refuse_iterators("params", ms)
    return ((path, x) for path, x in traverse(*ms) if isinstance(x, Param))


def params(*ms: Any) -> list[Param]:
    """Every parameter of models, functions and containers.

    Parameters
    ----------
    *ms
        Layers, chains, objects with attributes, dataclasses, containers, functions (what they close over,
        and the globals that they name), parameters themselves.

    Returns
    -------
    list of Param
        Each once, in order of definition.

    Raises
    ------
    ValueError
        If there is none.
    TypeError
        If one is a generator, or another iterator.

    Notes
    -----
    Flux's `params(m)`.  Modules, classes, properties, plain arrays and iterators are not looked into.

    Examples
    --------
    >>> from fluxmagic import Chain, Dense, params
    >>> [p.shape for p in params(Chain(Dense(3, 2), Dense(2, 1)))]
    [(2, 3), (2,), (1, 2), (1,)]
    """
    found = [p for _, p in named_params(*ms)]
    if not found:
        what = ", ".join(type(m).__name__ for m in ms) or "nothing"
        raise ValueError(f"params() found no parameter in {what}: parameters are made by param(...) and by layers")
    return found


def state(*ms: Any) -> list[Any]:
    """All that changes in training: parameters, running statistics, random generators.

    Parameters
    ----------
    *ms
        As for `params`.

    Returns
    -------
    list
        Of `Param`, ndarray (running statistics, live) and `numpy.random.Generator`, each once.

    Examples
    --------
    >>> from fluxmagic import BatchNorm, state
    >>> [x.shape for x in state(BatchNorm(3))]  # mean, var, γ, β
    [(3,), (3,), (3,), (3,)]
    """
    result: list[Any] = []
    for _, x in traverse(*ms):
        if isinstance(x, (Param, np.random.Generator)):
            result.append(x)
        else:
            result.extend(getattr(x, k) for k in buffer_names(x))
    return result


def loadparams(m: Any, xs: Any) -> None:
    """Assign values to the parameters of a model.  All is checked before anything is assigned.

    Parameters
    ----------
    m
        As for `params`.
    xs : iterable of array_like
        One for each of `params(m)`, in that order, of the same shape.

    Raises
    ------
    ValueError
        If there are too many or too few, a shape differs (it lists all that do), or a number is too large for the
        parameter's dtype.
    TypeError
        If one is not made of real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from fluxmagic import Dense, loadparams
    >>> layer = Dense(2, 1)
    >>> loadparams(layer, [np.ones((1, 2)), np.zeros(1)])
    >>> layer([1.0, 2.0]).data
    array([3.], dtype=float32)
    """
    found = list(named_params(m))
    if not found:
        params(m)
    values = [np.array(data(x)) for x in xs]  # copies: they may be the parameters themselves, in another order
    if len(values) != len(found):
        raise ValueError(f"loadparams: {len(values)} arrays for {len(found)} parameters")
    wrong = [
        f"{path or i}: {v.shape} for {p.shape}"
        for i, ((path, p), v) in enumerate(zip(found, values, strict=True))
        if v.shape != p.shape
    ]
    if wrong:
        raise ValueError("loadparams: shapes differ: " + "; ".join(wrong))
    for v in values:
        if v.dtype.kind not in "fiub":
            raise TypeError(f"loadparams: parameters are real numbers, not {v.dtype}")
    with np.errstate(over="ignore"):
        fitted = [v.astype(p.dtype) for (_, p), v in zip(found, values, strict=True)]
    for i, ((path, p), v, new) in enumerate(zip(found, values, fitted, strict=True)):
        if not np.array_equal(np.isfinite(v), np.isfinite(new)):
            raise ValueError(f"loadparams: {path or i}: a number of {v.dtype} is too large for {p.dtype}")
    for (_, p), new in zip(found, fitted, strict=True):
        p.data = new

"""Find the parameters of a model, and all other state that changes in training.

`traverse` walks through layers, containers and functions; the public functions select from what it yields.
"""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, compress
from typing import TYPE_CHECKING, Any

import numpy as np

from fluxmagic.tracker import Param, Tracked, data

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    State = Param | np.ndarray | np.random.Generator

__all__ = ["loadparams", "named_params", "params", "reset", "state"]

Place = tuple[str, Any]
"""The expression that leads from a root to an object, and the object."""

_ATOMIC = (str, bytes, bytearray, int, float, complex, bool, type(None), type, types.ModuleType, np.ndarray, np.generic)
_THIRD_PARTY = "IPython ipykernel ipywidgets matplotlib numpy pandas scipy sklearn tornado traitlets zmq"
_NOT_ENTERED = (sys.stdlib_module_names - {"__main__"}).union(_THIRD_PARTY.split())
"""Packages whose functions and objects hold no parameters of a user, and take long to walk through."""

_CONTAINERS = (list, tuple, dict, set, frozenset)
_PARTS = (*_CONTAINERS, types.SimpleNamespace, Tracked, functools.partial, types.MethodType, types.FunctionType)


@functools.lru_cache(maxsize=1024)
def _has_parts(cls: type) -> bool:
    """Tell whether objects of this class can hold parameters or state."""
    if issubclass(cls, _ATOMIC):
        return False
    # `numpy.random` is loaded here and not at import: it takes a third of NumPy's import time
    parts = (*_PARTS, Mapping, np.random.Generator)
    return issubclass(cls, parts) or cls.__module__ == "collections" or _package(cls) not in _NOT_ENTERED


def _kinds(values: Iterable[object]) -> set[type]:
    """Return the classes of those values that can hold parameters or state."""
    return {k for k in set(map(type, values)) if _has_parts(k)}


def _is_data(x: Iterable[Any], depth: int = 4) -> bool:
    """Tell whether a container, nested up to a depth, holds only numbers, text, arrays and the like.

    A loss may name a list with millions of entries: only their types are read, 30 ns an entry.
    """
    values = x.values() if type(x) is dict else x
    kinds = _kinds(values)
    if not kinds:
        return True
    if not depth or not kinds.issubset(_CONTAINERS):
        return False
    inner = (v.values() if type(v) is dict else v for v in values if type(v) in kinds)
    return _is_data(list(chain.from_iterable(inner)), depth - 1)


def is_foreign(x: object) -> bool:
    """Tell whether a function, class or module belongs to the standard library, NumPy and the like."""
    return (x.__name__.partition(".")[0] if isinstance(x, types.ModuleType) else _package(x)) in _NOT_ENTERED


def _package(x: object) -> str:
    return str(getattr(x, "__module__", None) or "").partition(".")[0]


@functools.lru_cache(maxsize=1024)
def global_names(code: types.CodeType) -> tuple[str, ...]:
    """Return the globals that a function's code and its inner functions name, in the order of the code."""
    return tuple(dict.fromkeys(_global_names(code)))


def _global_names(code: types.CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for c in code.co_consts:
        if isinstance(c, types.CodeType):
            yield from _global_names(c)


def _first_id(x: object) -> int:
    """Return the id of the first tracked array of a layer, by which the members of a set are ordered; or -1."""
    parts = (x, *getattr(x, "__dict__", {}).values())
    return min((p.id for p in parts if isinstance(p, Tracked)), default=-1)


def _members(x: object) -> Iterator[Place]:
    """Yield the parts of x, each with its place in x."""
    if isinstance(x, functools.partial):
        yield from ((".func", x.func), *((f".args[{i}]", a) for i, a in enumerate(x.args)))
        yield from ((f".{k}", v) for k, v in x.keywords.items())
    elif isinstance(x, types.MethodType):
        yield from (("", x.__self__), ("", x.__func__))
    elif isinstance(x, types.FunctionType):
        if _package(x) not in _NOT_ENTERED and _package(x) != "fluxmagic":
            yield from _function_members(x)
    else:
        yield from _items(x)
        if isinstance(x, types.SimpleNamespace) or _package(type(x)) not in _NOT_ENTERED:
            yield from _attributes(x)


def _function_members(f: types.FunctionType) -> Iterator[Place]:
    """Yield what a function refers to: its closure, globals, defaults and attributes."""
    for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not bound yet
            continue
    for name in global_names(f.__code__):
        if name in f.__globals__:
            yield name, f.__globals__[name]
    for i, v in enumerate(f.__defaults__ or ()):
        yield f".__defaults__[{i}]", v
    yield from ((f".{k}", v) for k, v in {**(f.__kwdefaults__ or {}), **f.__dict__}.items())


def _items(x: object) -> Iterator[Place]:
    """Yield the items of a container that can hold parameters."""
    if isinstance(x, Mapping):
        yield from ((f"[{k!r}]", v) for k, v in x.items() if _kinds((v,)))
    elif isinstance(x, (list, tuple)) or (type(x).__module__ == "collections" and isinstance(x, Iterable)):
        kinds = _kinds(x)
        yield from ((f"[{i}]", v) for i, v in compress(enumerate(x), map(kinds.__contains__, map(type, x))))
    elif isinstance(x, (set, frozenset)):
        ids = {id(v): _first_id(v) for v in x}
        ordered = sorted(x, key=lambda v: ids[id(v)])
        yield from (("{}" if ids[id(v)] < 0 else f"{{{i}}}", v) for i, v in enumerate(ordered))


def _attributes(x: object) -> Iterator[Place]:
    """Yield the fields of a dataclass, the attributes and the slots; a chain's layers are its items."""
    import dataclasses  # takes a thirtieth of this package's import

    if dataclasses.is_dataclass(x):
        names = [f.name for f in dataclasses.fields(x)]
        yield from ((f".{k}", getattr(x, k)) for k in names if hasattr(x, k))
    for k, v in getattr(x, "__dict__", {}).items():
        yield ("" if k == "layers" else f".{k}"), v
    for base in type(x).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for k in (slots,) if isinstance(slots, str) else slots:
            if isinstance(base.__dict__.get(k), types.MemberDescriptorType) and hasattr(x, k):
                yield f".{k}", getattr(x, k)


def traverse(*roots: object, seen: dict[int, object] | None = None) -> Iterator[Place]:
    """Yield everything reachable except data, once each, with its place; depth first, in order of definition.

    What is in `seen` by its id is passed over; what is yielded is entered there.
    """
    seen = {} if seen is None else seen  # holds the objects, or Python might give an id of theirs to another one
    stack: list[Place] = [("", r) for r in reversed(roots)]
    while stack:
        path, x = stack.pop()
        kind: type = type(x)
        if not _has_parts(kind) or id(x) in seen or (kind in _CONTAINERS and _is_data(x)):
            continue
        seen[id(x)] = x
        yield path, x
        if not isinstance(x, (Tracked, np.random.Generator)):
            # what a function names is a place by itself only at the root: loss.W, else W of loss would be lossW
            children = [(f"{path}.{k}" if path and k[:1].isidentifier() else path + k, v) for k, v in _members(x)]
            stack.extend(reversed(children))


def buffer_names(x: object) -> tuple[str, ...]:
    """Return the attributes of a layer that hold running statistics: its class lists them as `buffers`."""
    names = getattr(type(x), "buffers", ())
    return names if isinstance(names, tuple) else ()


def refuse_iterators(name: str, roots: Iterable[Any]) -> None:
    """Refuse a generator: a search for parameters would exhaust it, and later find none."""
    roots = list(roots)
    kinds = set(map(type, roots)).union(*(map(type, x) for x in roots if type(x) in (list, tuple, set, frozenset)))
    for cls in kinds:
        if issubclass(cls, Iterator) and _package(cls) in _NOT_ENTERED:
            raise TypeError(f"{name}: a {cls.__name__} can be read only once: pass a list, {name}(list(...))")


def named_params(*ms: object) -> Iterator[tuple[str, Param]]:
    """Find every parameter with its place.

    Parameters
    ----------
    *ms
        As for `params`.

    Returns
    -------
    iterator of (str, Param)
        The place is the expression that leads to it from the root: `[0].W`.

    Raises
    ------
    TypeError
        If one is a generator or another iterator.

    Examples
    --------
    >>> from fluxmagic.layers import named_params
    >>> [place for place, p in named_params(Chain(Dense(3, 2)))]
    ['[0].W', '[0].b']
    """
    refuse_iterators("params", ms)
    return ((path, x) for path, x in traverse(*ms) if isinstance(x, Param))


def params(*ms: object) -> list[Param]:
    """Find every parameter of models, functions and containers.

    Parameters
    ----------
    *ms
        Layers, chains, objects with attributes, dataclasses, containers, functions (with their closures and the
        globals that they name), or parameters.

    Returns
    -------
    list of Param
        In order of definition, without repetition.

    Raises
    ------
    ValueError
        If there is none.
    TypeError
        If one is a generator or another iterator.

    Notes
    -----
    Flux's `params(m)`.  It does not enter modules, classes, properties, plain arrays or iterators.

    Examples
    --------
    >>> [p.shape for p in params(Chain(Dense(3, 2), Dense(2, 1)))]
    [(2, 3), (2,), (1, 2), (1,)]
    """
    found = [p for _, p in named_params(*ms)]
    if not found:
        what = ", ".join(type(m).__name__ for m in ms) or "nothing"
        raise ValueError(f"params() found no parameter in {what}: parameters are made by param(...) and by layers")
    return found


def state(*ms: object) -> list[State]:
    """Find all that changes in training: parameters, running statistics and random generators.

    Parameters
    ----------
    *ms
        As for `params`.

    Returns
    -------
    list
        Of `Param`, ndarray (the running statistics themselves) and `numpy.random.Generator`, without repetition.

    Examples
    --------
    >>> from fluxmagic import BatchNorm, state
    >>> [x.shape for x in state(BatchNorm(3))]  # mean, var, γ, β
    [(3,), (3,), (3,), (3,)]
    """
    result: list[State] = []
    for _, x in traverse(*ms):
        if isinstance(x, (Param, np.random.Generator)):
            result.append(x)
        else:
            result.extend(getattr(x, k) for k in buffer_names(x))
    return result


def reset(*ms: object, rng: np.random.Generator | int) -> list[Param]:
    """Draw the weights of every layer anew: each that has `reset(rng)`, in order of definition.

    Parameters
    ----------
    *ms
        As for `params`.
    rng : numpy.random.Generator or int
        What layers draw from; the same seed gives the same weights, whatever they were before.

    Returns
    -------
    list of Param
        Parameters that are in no such layer: they keep their values.

    Examples
    --------
    >>> from fluxmagic.layers import reset
    >>> m = Dense(3, 2, rng=0)
    >>> before = m.W.data.copy()
    >>> reset(m, rng=1)
    []
    >>> bool((m.W.data == before).any())
    False
    """
    rng = np.random.default_rng(rng)
    found: list[Any] = [x for _, x in traverse(*ms)]
    drawn: set[Param] = set()
    for x in found:
        own = {k: v for k, v in getattr(x, "__dict__", {}).items() if isinstance(v, Param)}
        if callable(getattr(type(x), "reset", None)) and (own or buffer_names(x)):
            x.reset(rng)
            if replaced := [k for k, v in own.items() if getattr(x, k, None) is not v]:
                vars(x).update(own)
                name = f"{type(x).__name__}.reset puts another object in the place of {replaced[0]}"
                raise TypeError(f"{name}, which is what is trained: assign values, self.{replaced[0]}.data = …")
            drawn.update(own.values())
    return [x for x in found if isinstance(x, Param) and x not in drawn]


def loadparams(m: object, xs: Iterable[ArrayLike]) -> None:
    """Assign values to the parameters of a model, after all of them are checked.

    Parameters
    ----------
    m
        As for `params`.
    xs : iterable of array_like
        For each of `params(m)`, in that order, an array of its shape.

    Raises
    ------
    ValueError
        If their number or a shape differs, or a value is too large for the parameter's dtype.
    TypeError
        If one does not hold real numbers.

    Examples
    --------
    >>> layer = Dense(2, 1)
    >>> loadparams(layer, [np.ones((1, 2)), np.zeros(1)])
    >>> layer([1.0, 2.0]).data
    array([3.], dtype=float32)
    """
    found = list(named_params(m))
    if not found:
        params(m)
    values = [np.array(data(x)) for x in xs]  # copies, since xs may be the parameters in another order
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

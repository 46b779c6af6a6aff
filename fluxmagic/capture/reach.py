"""What a loss can reach: where its arrays, numbers and layers lie, what they are, and whether the loss changes them.

A replayed step reads arrays where they lie.  Anything else that a loss reads is a constant of its program, so every
place is looked at before each step.
"""

from __future__ import annotations

import builtins
import dis
import functools
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from fluxmagic.layers.traversal import global_names, is_foreign, traverse
from fluxmagic.tracker import Tracked
from fluxmagic.tracker.operation import Op

__all__ = [
    "ABSENT",
    "MOST_ITEMS",
    "NUMBERS",
    "WITHOUT_PLACES",
    "Place",
    "Reach",
    "arrays_in",
    "is_ours",
    "is_the_users",
    "methods",
    "swapped",
    "users_classes",
]

NUMBERS = (int, float, complex, str, bytes, bool, type(None), np.generic)
MOST_ITEMS = 64
"""Items of a list or dict that are looked at; in a larger one the next verification notices a change."""


SLOT = types.MemberDescriptorType
METHODS = (property, classmethod, staticmethod, types.FunctionType)
CONTAINERS = (dict, list, tuple, deque)
WITHOUT_PLACES = (Tracked, np.random.Generator, set, frozenset, Op, types.MethodType)

ABSENT = object()
"""Lies where nothing does."""


class Place(NamedTuple):
    """Where a value lies: a cell of a closure, an item of a dict or list, or an attribute.

    Attributes
    ----------
    path : str
        As a user would write it.
    kind : str
        "cell", "item", "attribute" or "default", of an argument.
    owner : object
    key : object
        The key or the attribute's name; of a cell None.
    value : object
        What lies there.
    """

    path: str
    kind: str
    owner: Any
    key: Any
    value: object

    def put(self, value: object) -> None:
        """Assign, past properties and `__setattr__`; ABSENT removes."""
        if value is ABSENT:
            if self.kind == "item":
                self.owner.pop(self.key, None)
            else:
                delattr(self.owner, "cell_contents" if self.kind == "cell" else self.key)
        elif self.kind == "cell":
            self.owner.cell_contents = value
        elif isinstance(self.owner, type):
            type.__setattr__(self.owner, self.key, value)
        elif self.kind == "attribute" and self.key not in getattr(self.owner, "__dict__", ()):
            object.__setattr__(self.owner, self.key, value)  # a slot
        elif self.kind == "default":
            defaults = list(self.owner.__defaults__)
            defaults[self.key] = value
            self.owner.__defaults__ = tuple(defaults)
        else:
            (self.owner if self.kind == "item" else vars(self.owner))[self.key] = value

    @property
    def current(self) -> object:
        """What lies there now."""
        try:
            if self.kind == "cell":
                return self.owner.cell_contents
            if self.kind == "attribute":
                return getattr(self.owner, self.key)
            return (self.owner.__defaults__ if self.kind == "default" else self.owner)[self.key]
        except (ValueError, LookupError, AttributeError):
            return ABSENT

    @property
    def is_writable(self) -> bool:
        """Whether `put` can assign here."""
        if self.kind == "attribute":
            if self.key in getattr(self.owner, "__dict__", ()):
                return True
            slot = getattr(type(self.owner), str(self.key), None)
            return isinstance(slot, SLOT) and not isinstance(self.owner, type)
        return self.kind != "item" or not isinstance(self.owner, tuple)


class Reach:
    """All that a loss can reach now, through functions, objects, methods, modules and classes.

    Attributes
    ----------
    places : list of Place
        Each once.
    objects : list of (str, object)
        All but data, by their paths.
    """

    def __init__(self, loss: object) -> None:
        self.places: list[Place] = []
        self.objects: list[tuple[str, object]] = []
        self._seen: set[tuple[int, object]] = set()
        entered: dict[int, object] = {}
        self._roots = [loss]
        classes: set[type] = set()
        while self._roots:
            found = list(traverse(*self._roots, seen=entered))
            self.objects += found
            self._roots = []
            for path, x in found:
                self._add(_places_of(x, path))
                for cls in users_classes(type(x).__mro__):
                    if cls not in classes:
                        classes.add(cls)
                        self._add(_of_class(cls))
                        self._roots += methods(cls)

    def _add(self, places: Iterable[Place]) -> None:
        for place in places:
            key = id(place.owner), place.key
            if key in self._seen:
                continue
            self._seen.add(key)
            self.places.append(place)
            if isinstance(place.value, CONTAINERS):  # `traverse` passes over those of plain data
                self._add(_items(place.value, place.path))
            if isinstance(place.owner, (types.ModuleType, type)) and not is_foreign(place.owner):
                self._roots.append(place.value)  # nor does it enter these


@functools.lru_cache(maxsize=1024)
def users_classes(mro: tuple[type, ...]) -> tuple[type, ...]:
    """Return those of a class and its bases that are neither foreign nor of this package."""
    return tuple(filter(is_the_users, mro[:-1]))


def methods(cls: type) -> Iterator[types.FunctionType]:
    """Yield the functions of a class: methods, getters, static and class methods."""
    for v in list(vars(cls).values()):
        f = getattr(v, "fget", None) or getattr(v, "__func__", v)
        if isinstance(f, types.FunctionType):
            yield f


def _of_class(cls: type) -> Iterator[Place]:
    for k, v in list(vars(cls).items()):
        if isinstance(v, METHODS):
            if (value := getattr(cls, k)) is getattr(cls, k):  # a class method is another one each time
                yield Place(f"{cls.__name__}.{k}", "attribute", cls, k, value)
        elif not (k.startswith("__") and k.endswith("__")) and k != "_abc_impl" and not isinstance(v, SLOT):
            yield Place(f"{cls.__name__}.{k}", "attribute", cls, k, v)


def _places_of(x: object, path: str) -> Iterator[Place]:
    if isinstance(x, types.FunctionType):
        return iter(()) if is_ours(x) else _of_function(x, path)
    if isinstance(x, functools.partial):
        return chain(_items(x.args, f"{path}.args"), _items(x.keywords, f"{path}.keywords"))
    if isinstance(x, CONTAINERS) and (is_foreign(type(x)) or is_ours(type(x))):
        return _items(x, path)
    return iter(()) if isinstance(x, WITHOUT_PLACES) else _of_object(x, path)


def _items(x: object, path: str) -> Iterator[Place]:
    if isinstance(x, CONTAINERS) and len(x) <= MOST_ITEMS:
        items = x.items() if isinstance(x, dict) else enumerate(x)
        yield from (Place(f"{path}[{k!r}]", "item", x, k, v) for k, v in list(items))


def is_ours(x: object) -> bool:
    """Whether something is of this package."""
    name = x.__name__ if isinstance(x, types.ModuleType) else str(getattr(x, "__module__", None))
    return name.partition(".")[0] == "fluxmagic"


def is_the_users(x: object) -> bool:
    """Whether a class, function or module is neither foreign nor of this package."""
    return not is_foreign(x) and not is_ours(x)


def _of_function(f: types.FunctionType, path: str) -> Iterator[Place]:
    """Yield what a function names: closure, globals, and attributes of modules and classes; and its code."""
    yield Place(f"{path or f.__name__}.__code__", "attribute", f, "__code__", f.__code__)
    for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
        place = Place(name, "cell", cell, None, None)
        yield place._replace(value=place.current)
    for name in global_names(f.__code__):
        yield Place(name, "item", f.__globals__, name, f.__globals__.get(name, ABSENT))
        if name not in f.__globals__ and isinstance(value := vars(builtins).get(name, ABSENT), NUMBERS):
            yield Place(name, "item", vars(builtins), name, value)
    yield from _of_namespaces(f)
    arguments = f.__code__.co_varnames[: f.__code__.co_argcount]
    defaults = f.__defaults__ or ()
    yield from (Place(arguments[k - len(defaults)], "default", f, k, v) for k, v in enumerate(defaults))
    if f.__kwdefaults__:
        yield Place(f"{path}.__kwdefaults__", "attribute", f, "__kwdefaults__", f.__kwdefaults__)
    yield from (Place(k, "item", f.__kwdefaults__, k, v) for k, v in (f.__kwdefaults__ or {}).items())
    for k, v in f.__dict__.items():
        yield Place(f"{path}.{k}", "attribute", f, k, v)


def _of_namespaces(f: types.FunctionType) -> Iterator[Place]:
    """Yield the attributes of user's modules and classes that a function names."""
    named = {k: sys.modules[k] for k in imported_names(f.__code__) if k in sys.modules}
    named |= {k: f.__globals__[k] for k in global_names(f.__code__) if k in f.__globals__}
    for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
        with suppress(ValueError):
            named[name] = cell.cell_contents
    for name, x in named.items():
        if isinstance(x, types.ModuleType) or (isinstance(x, type) and is_the_users(x)):
            for k in _attribute_names(f.__code__):
                # a module's own `__getattr__` may import or warn
                value = vars(x).get(k, ABSENT) if isinstance(x, types.ModuleType) else getattr(x, k, ABSENT)
                if value is not ABSENT and value is getattr(x, k):  # a class method is another one each time
                    yield Place(f"{name}.{k}", "attribute", x, k, value)


@functools.lru_cache(maxsize=1024)
def imported_names(code: types.CodeType) -> tuple[str, ...]:
    """Return the modules that a function imports when it is called."""
    names = [i.argval for i in dis.get_instructions(code) if i.opname == "IMPORT_NAME"]
    return (*names, *(n for c in code.co_consts if isinstance(c, types.CodeType) for n in imported_names(c)))


def _attribute_names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for c in code.co_consts:
        if isinstance(c, types.CodeType):
            yield from _attribute_names(c)


def _of_object(x: object, path: str) -> Iterator[Place]:
    """Yield an object's attributes and items, its class, and the numbers and arrays that it has from there."""
    yield from _items(x, path)
    if type(x) in users_classes(type(x).__mro__):
        yield Place(f"{path}.__class__", "attribute", x, "__class__", type(x))
        yield Place(f"{path}.__class__.__mro__", "attribute", type(x), "__mro__", type(x).__mro__)
    own = getattr(x, "__dict__", {})
    yield from (Place(f"{path}.{k}", "attribute", x, k, v) for k, v in list(own.items()))
    for cls in type(x).__mro__[:-1]:
        for k, v in list(vars(cls).items()):
            if k.startswith("__") or k in own:
                continue
            if isinstance(v, SLOT):
                yield Place(f"{path}.{k}", "attribute", x, k, getattr(x, k, ABSENT))
            elif isinstance(v, (*NUMBERS, np.ndarray)):
                yield Place(f"{path}.{k}", "attribute", x, k, v)


def arrays_in(x: object) -> Iterator[np.ndarray]:
    """Yield an array, or those in a tuple."""
    if isinstance(x, np.ndarray):
        yield x
    elif isinstance(x, tuple) and (type(x) is tuple or hasattr(x, "_fields")):
        for part in x:
            yield from arrays_in(part)


@contextmanager
def swapped(found: Iterable[Place], other: Callable[[np.ndarray], object]) -> Iterator[None]:
    """Within it, other objects lie in the places of arrays, of those in tuples too."""

    def swap(x: object) -> object:
        if type(x) is np.ndarray and x.dtype.kind in "fiub":
            return other(x)
        if isinstance(x, tuple) and (type(x) is tuple or hasattr(x, "_fields")):
            parts = tuple(map(swap, x))
            if any(a is not b for a, b in zip(x, parts, strict=True)):
                return parts if type(x) is tuple else x._make(parts)  # type: ignore[attr-defined]
        return x

    done: list[tuple[Place, object]] = []
    try:
        for place in found:
            if place.is_writable and place.current is place.value and (now := swap(place.value)) is not place.value:
                done.append((place, now))
                place.put(now)
        yield
    finally:
        for place, now in done:
            if place.current is now:  # the loss has assigned nothing here
                place.put(place.value)

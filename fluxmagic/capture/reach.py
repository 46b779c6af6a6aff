"""What a loss can reach: where its arrays, numbers and layers lie, what they are, and whether the loss changes them.

A replayed step reads arrays where they lie.  Anything else that a loss reads is a constant of its program, so every
place is looked at before each step.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np

from fluxmagic.layers.traversal import global_names, is_foreign, traverse
from fluxmagic.tracker import Tracked
from fluxmagic.tracker.operation import Op

__all__ = ["Place", "difference", "fingerprint", "places", "swapped"]

NUMBERS = (int, float, complex, str, bytes, bool, type(None), np.generic)
MOST_ITEMS = 64
"""Items of a list or dict that are looked at; in a larger one the next verification notices a change."""


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
        """Assign, past properties and `__setattr__`."""
        if self.kind == "cell":
            self.owner.cell_contents = value
        elif self.kind == "item":
            self.owner[self.key] = value
        elif self.kind == "attribute":
            vars(self.owner)[self.key] = value

    @property
    def is_writable(self) -> bool:
        """Whether `put` can assign here."""
        if self.kind == "attribute":
            return self.key in getattr(self.owner, "__dict__", ())
        return self.kind != "default"


def places(loss: object) -> Iterator[Place]:
    """Yield the places that a loss can reach, once each."""
    seen: set[tuple[int, object]] = set()
    stack = [_all_places(loss)]
    while stack:
        place = next(stack[-1], None)
        if place is None:
            stack.pop()
        elif (key := (id(place.owner), place.key)) not in seen:
            seen.add(key)
            yield place
            stack.append(_items(place.value, place.path))  # `traverse` passes over containers of plain data


def _all_places(loss: object) -> Iterator[Place]:
    classes: set[type] = set()
    for path, x in traverse(loss):
        if isinstance(x, types.FunctionType):
            if not _is_ours(x):
                yield from _of_function(x, path)
        elif isinstance(x, (dict, list)):
            yield from _items(x, path)
        elif not isinstance(x, (Tracked, np.random.Generator, tuple, set, frozenset, Op, types.MethodType)):
            yield from _of_object(x, path)
            classes.update(c for c in type(x).__mro__ if not is_foreign(c) and not _is_ours(c))
    for cls in classes:  # a search for parameters does not enter classes
        for f in vars(cls).values():
            f = getattr(f, "fget", None) or getattr(f, "__func__", f)
            if isinstance(f, types.FunctionType):
                yield from _of_function(f, "")


def _items(x: object, path: str) -> Iterator[Place]:
    if isinstance(x, (dict, list)) and len(x) <= MOST_ITEMS:
        items = x.items() if isinstance(x, dict) else enumerate(x)
        yield from (Place(f"{path}[{k!r}]", "item", x, k, v) for k, v in list(items))


def _is_ours(x: object) -> bool:
    return str(getattr(x, "__module__", None)).partition(".")[0] == "fluxmagic"


def _of_function(f: types.FunctionType, path: str) -> Iterator[Place]:
    """Yield what a function names: closure, globals, and attributes of modules and classes."""
    for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
        with suppress(ValueError):  # not bound yet
            yield Place(name, "cell", cell, None, cell.cell_contents)
    for name in dict.fromkeys(global_names(f.__code__)):
        if name not in f.__globals__:
            continue
        value = f.__globals__[name]
        yield Place(name, "item", f.__globals__, name, value)
        if isinstance(value, (types.ModuleType, type)) and not is_foreign(value) and not _is_ours(value):
            names = [k for k in f.__code__.co_names if k in vars(value)]
            yield from (Place(f"{name}.{k}", "attribute", value, k, vars(value)[k]) for k in names)
    arguments = f.__code__.co_varnames[: f.__code__.co_argcount]
    defaults = f.__defaults__ or ()
    yield from (Place(arguments[k - len(defaults)], "default", f, k, v) for k, v in enumerate(defaults))
    yield from (Place(k, "item", f.__kwdefaults__, k, v) for k, v in (f.__kwdefaults__ or {}).items())
    for k, v in f.__dict__.items():
        yield Place(f"{path}.{k}", "attribute", f, k, v)


def _of_object(x: object, path: str) -> Iterator[Place]:
    """Yield an object's attributes, also those that it has from its class as yet: numbers, modes."""
    for k, v in list(getattr(x, "__dict__", {}).items()):
        yield Place(f"{path}.{k}", "attribute", x, k, v)
    for cls in type(x).__mro__[:-1]:
        for k, v in list(vars(cls).items()):
            if k.startswith("__") or k in getattr(x, "__dict__", ()):
                continue
            if isinstance(v, types.MemberDescriptorType):  # a slot
                if hasattr(x, k):
                    yield Place(f"{path}.{k}", "attribute", x, k, getattr(x, k))
            elif isinstance(v, (*NUMBERS, np.ndarray)):
                yield Place(f"{path}.{k}", "attribute", x, k, v)


@contextmanager
def swapped(found: Iterable[Place], other: Callable[[np.ndarray], object]) -> Iterator[None]:
    """Within it, another object lies in the place of each array."""
    done: list[Place] = []
    try:
        for place in found:
            if type(place.value) is np.ndarray and place.value.dtype.kind in "fiub" and place.is_writable:
                done.append(place)
                place.put(other(place.value))
        yield
    finally:
        for place in done:
            place.put(place.value)


# -- has the loss changed something? -------------------------------------------------------------------

Fingerprint = dict[object, tuple[str, object]]


def fingerprint(loss: object) -> Fingerprint:
    """Say what lies in the places of a loss: plain data by value, all else by identity; generators by their state."""
    found: Fingerprint = {}
    for place in places(loss):
        found[id(place.owner), place.key] = place.path, _mark(place.value)
    for path, x in traverse(loss):
        if isinstance(x, (list, dict, set)):
            found[id(x)] = path, len(x)
        elif isinstance(x, np.random.Generator):
            found[id(x)] = path, repr(x.bit_generator.state)
    return found


def _mark(x: object, depth: int = 4) -> object:
    if isinstance(x, NUMBERS):
        return repr(x)
    if isinstance(x, (list, tuple, set, frozenset, dict)) and len(x) <= MOST_ITEMS and depth:
        keys = list(x) if isinstance(x, dict) else range(len(x))
        return keys, [_mark(item, depth - 1) for item in (x.values() if isinstance(x, dict) else x)]
    return id(x), len(x) if isinstance(x, (list, dict, set)) else None


def difference(
    before: Fingerprint, after: Fingerprint, generators: Iterable[object], bound: Collection[str] = ()
) -> str | None:
    """Name the first place in which something else lies; known generators and names that are bound aside."""
    known = {*map(id, generators)}
    for key in (*before, *after):
        a, b = before.get(key), after.get(key)
        if isinstance(key, tuple) and key[1] in bound:
            continue
        if key not in known and (a is None or b is None or a[1] != b[1]):
            path = (a or b or ("", None))[0]
            return _element(path.lstrip("."), a and a[1], b and b[1])
    return None


def _element(path: str, before: object, after: object) -> str:
    """Name the item of a container that differs."""
    if isinstance(before, tuple) and isinstance(after, tuple) and before[0] == after[0] and isinstance(before[1], list):
        key, a, b = next((k, a, b) for k, a, b in zip(before[0], before[1], after[1]) if a != b)
        return _element(f"{path}[{key!r}]", a, b)
    return path

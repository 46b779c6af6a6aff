"""What has to hold before a program may stand for a step; each guard is a line of its text."""

from __future__ import annotations

import copy
import enum
from collections import deque
from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from fluxmagic.capture.reach import ABSENT, NUMBERS, Place
from fluxmagic.capture.text import Writer
from fluxmagic.layers.training_mode import evaluating_threads
from fluxmagic.tracker import Param

__all__ = ["changed_place", "kind_of", "of_batch", "of_parameters", "of_places"]

MOST_PLACES = 256


def kind_of(x: object) -> Hashable:
    """Return what programs are kept by: layouts of the arrays in a batch, and all else by value."""
    if type(x) is np.ndarray:
        return x.shape, x.dtype, x.strides
    if isinstance(x, (tuple, list)) and type(x) in (tuple, list):
        return type(x), tuple(map(kind_of, x))
    if not isinstance(x, (*NUMBERS, enum.Enum)):
        raise TypeError(f"a {type(x).__name__} may change")
    return type(x), repr(x)  # 0.0 and -0.0 differ


def of_batch(
    writer: Writer, batch: Sequence[object], compiled: bool
) -> tuple[list[str], list[str], dict[int, np.ndarray]]:
    """Return the arguments of a program, the lines that look at the batch and take it apart, and arrays.

    The layouts of the arrays, by their numbers, are left to machine code.
    """
    lines: list[str] = []
    layouts: dict[int, np.ndarray] = {}
    numbers = iter(range(len(writer.program.inputs)))
    arrays = {writer.name(v.array, "a"): v.array for v in writer.program.values if v.source == "external"}

    def take_apart(x: object, name: str) -> str:
        if type(x) is np.ndarray:
            number = next(numbers)
            name = f"x{number}"
            for other, a in arrays.items():  # a loss may ask whether they are one
                if a is not None and (a.shape, a.dtype, a.strides) == (x.shape, x.dtype, x.strides):
                    return_none.append(f"if ({name} is {other}) is not {x is a}: return None")
            arrays[name] = x
            if compiled and x.dtype is np.dtype(x.dtype.type):  # one object, by which machine code knows it
                layouts[number] = x
                return name
            shape, dtype, strides = (writer.name(a, "g", ("g", a)) for a in (x.shape, x.dtype, x.strides))
            return_none.append(
                f"if type({name}) is not {writer.name(np.ndarray)} or {name}.shape != {shape} "
                f"or {name}.dtype != {dtype} or {name}.strides != {strides}: return None"
            )
        elif type(x) in (tuple, list):
            kind = writer.name(type(x))
            inside = [f"{name}_{k}" for k in range(len(x))]  # type: ignore[arg-type]
            lines.append(f"if type({name}) is not {kind} or len({name}) != {len(inside)}: return None")
            at = len(lines)
            inside = [take_apart(part, part_name) for part, part_name in zip(x, inside, strict=True)]  # type: ignore[call-overload]
            if inside:
                lines.insert(at, f"{', '.join(inside)}, = {name}")
        else:
            kind, value = writer.name(type(x)), writer.name(x)
            return_none.append(
                f"if {name} is not {value} and (type({name}) is not {kind} or repr({name}) != {repr(x)!r}): return None"
            )
        return name

    return_none: list[str] = []
    arguments = [take_apart(x, f"b{k}") for k, x in enumerate(batch)]
    return arguments, lines + return_none, layouts


def of_parameters(writer: Writer, params: Sequence[Param]) -> Iterator[str]:
    """Write what looks at the gradients (cleared, and not handed out since), and at test mode."""
    for p in params:
        name = writer.name(p, "p")
        exposed = "not " if p.grad_exposed else ""
        yield f"if not {name}.grad_is_zero or {exposed}{name}.grad_exposed: return None"
    yield f"if {writer.name(evaluating_threads, 'evaluating')}: return None"


def of_places(writer: Writer, places: Sequence[Place]) -> Iterator[str]:
    """Write what looks at everything that the loss can reach: each has to be the same object."""
    containers = {id(p.value): p.value for p in places if isinstance(p.value, (list, dict, set, deque))}
    for x in containers.values():
        if isinstance(x, (list, deque)):
            yield f"if len({writer.name(x, 'w')}) != {len(x)}: return None"
        elif isinstance(x, set):
            yield f"if {writer.name(x, 'w')} != {writer.name(copy.copy(x))}: return None"
        else:  # their order, too
            yield f"if [*{writer.name(x, 'w')}] != {writer.name([*x])}: return None"
    absent = writer.name(ABSENT)
    for place in places:
        if place.value is ABSENT and place.kind != "item":
            continue
        owner = writer.name(place.owner, "w")
        if place.kind == "cell":
            read = f"{owner}.cell_contents"
        elif place.kind == "attribute":
            read = f"{owner}.{place.key}"
        elif place.kind == "default":
            read = f"{owner}.__defaults__[{place.key}]"
        elif isinstance(place.owner, (list, deque)):
            read = f"{owner}[{place.key}]"
        else:
            get = writer.name(place.owner.get, "get", (id(place.owner), "get"))
            read = f"{get}({writer.text(place.key)}, {absent})"
        yield f"if {read} is not {writer.name(place.value, 'c')}: return None"


def changed_place(places: Sequence[Place]) -> str | None:
    """Name the first place in which another object lies now."""
    return next((p.path.lstrip(".") for p in places if p.current is not p.value), None)

"""Dataclasses ↔ JSON: the type of a field says how its value is written, read and checked.

A type is `int` (from 0), `float`, `bool`, `str`, `object` (any JSON), a union, `list[A]`, `tuple[A, B]`, `dict[A, B]`,
a dataclass, or `Annotated[A, rule]`, where the rule decodes.  A field with a default may be missing in JSON.
Decoding makes nothing larger than the JSON that it reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from fluxmagic.runs.archive import ArchiveError

__all__ = ["OneOf", "ShortText", "Whole", "decode", "encode", "mismatch", "shown"]

T = TypeVar("T")


class Rule(Protocol):
    """Decodes the values of an annotated type."""

    def decode(self, x: object, name: str) -> object: ...


@dataclasses.dataclass(frozen=True)
class Whole:
    """An integer within bounds."""

    low: int = 0
    high: int = 1 << 62

    def decode(self, x: object, name: str) -> int:
        if type(x) is not int or not self.low <= x <= self.high:
            raise mismatch(name, x, f"an integer from {self.low}")
        return x


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of several texts."""

    choices: tuple[str, ...]

    def decode(self, x: object, name: str) -> str:
        if not isinstance(x, str) or x not in self.choices:
            raise mismatch(name, x, f"one of {', '.join(self.choices)}")
        return x


@dataclasses.dataclass(frozen=True)
class ShortText:
    """Printable text of limited length: messages quote it."""

    longest: int = 150

    def decode(self, x: object, name: str) -> str:
        if not isinstance(x, str) or len(x) > self.longest or not x.isprintable():
            raise mismatch(name, x, "a short text")
        return x


def encode(x: object) -> Any:
    """Convert a value to what JSON holds; half of a surrogate pair is escaped."""
    if type(x) in (int, float, bool, NoneType):
        return x
    if isinstance(x, str):
        return x.encode(errors="backslashreplace").decode()
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        return {f.name: encode(getattr(x, f.name)) for f in dataclasses.fields(x)}
    if isinstance(x, dict):
        return {encode(k): encode(v) for k, v in x.items()}
    if isinstance(x, (tuple, list)):
        return [encode(v) for v in x]
    if isinstance(x, np.ndarray):
        return {"ndarray": x.tolist(), "dtype": x.dtype.str}
    return x.item() if isinstance(x, np.generic) else x


def decode(cls: type[T], x: object, name: str) -> T:
    """Convert JSON to a dataclass.

    Raises
    ------
    ArchiveError
        Naming the first value that its type does not allow.
    """
    found = _of_type(x, dict, name)
    hints, fields = _hints(cls), dataclasses.fields(cls)  # type: ignore[arg-type]
    required = {f.name for f in fields if f.default is dataclasses.MISSING}
    wrong = required - found.keys() | found.keys() - hints.keys()
    if wrong:
        raise ArchiveError(f"{shown(name)} has too much or too little: {', '.join(map(shown, sorted(wrong)[:9]))}")
    return cls(**{k: _decode(hints[k], v, k) for k, v in found.items()})


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _decode(kind: Any, x: object, name: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return args[1].decode(x, name)
    if origin is list:
        return [_decode(args[0], v, name) for v in _of_type(x, list, name)]
    if origin is dict:
        return {_decode(args[0], k, name): _decode(args[1], v, k) for k, v in _of_type(x, dict, name).items()}
    if origin is tuple:
        row = _of_type(x, list, name)
        if len(row) != len(args):
            raise mismatch(name, x, f"a list of {len(args)}")
        return tuple(_decode(a, v, name) for a, v in zip(args, row, strict=True))
    if origin in (Union, UnionType):
        return _decode_union(args, x, name)
    return _SCALARS[kind](x, name) if kind in _SCALARS else decode(kind, x, name)


def _decode_union(kinds: tuple[Any, ...], x: object, name: str) -> Any:
    if len(kinds) == 2 and NoneType in kinds:
        return None if x is None else _decode(kinds[kinds[0] is NoneType], x, name)
    for kind in kinds:
        with suppress(ArchiveError):
            return _decode(kind, x, name)
    nouns = (getattr(get_origin(k) or k, "__name__", "text") for k in kinds)
    raise mismatch(name, x, f"one of {', '.join(nouns)}")


def _of_type(x: object, kind: type[T], name: str) -> T:
    if type(x) is not kind:
        raise mismatch(name, x, f"of type {kind.__name__}")
    return x


def _number(x: object, name: str) -> object:
    return x if type(x) is float else Whole(-(1 << 62)).decode(x, name)


_SCALARS: dict[object, Callable[[object, str], object]] = {
    int: Whole().decode,
    float: _number,
    bool: lambda x, name: _of_type(x, bool, name),
    str: lambda x, name: _of_type(x, str, name),
    NoneType: lambda x, name: _of_type(x, NoneType, name),
    object: lambda x, name: x,
}


def shown(x: object) -> str:
    """Quote a value of a file, at most 80 characters of it."""
    text = f"a {type(x).__name__} of {len(x)}" if isinstance(x, (list, dict)) else repr(x)
    return text if len(text) < 80 else f"{text[:80]}…"


def mismatch(name: object, x: object, expected: str) -> ArchiveError:
    """Make the error that says what is in a file, and what may be."""
    return ArchiveError(f"{shown(name)} is {shown(x)}, not {expected}")

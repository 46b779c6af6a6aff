"""Dataclasses ↔ JSON: the type of a field says how its value is written, read and checked.

A type is `None`, `int` (from 0), `float`, `bool`, `str`, `object` (any JSON), a union, `list[A]`, `tuple[A, B]`,
`dict[A, B]`, a dataclass, or `Annotated[A, limit]`.  Nothing becomes larger than the JSON that it is read from.
A field with a default may be missing: a field that is added to a format has one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from fluxmagic.runs.archive import ArchiveError

__all__ = ["Limit", "decode", "encode", "mismatch", "one_of", "short_text", "whole"]

T = TypeVar("T")
Type = Any
"""A type of those above; what `typing` makes of them has no common class."""


class Limit(NamedTuple):
    """A condition on a value, and what it allows in words."""

    holds: Callable[[Any], bool]
    allowed: str

    def decode(self, x: object, name: str) -> Any:  # noqa: ANN401
        """Return a value that is allowed."""
        if not self.holds(x):
            raise mismatch(name, x, self.allowed)
        return x


def whole(low: int = 0, high: int = 1 << 62) -> Limit:
    """Limit an integer."""
    return Limit(lambda x: type(x) is int and low <= x <= high, f"an integer from {low}")


def one_of(*texts: str) -> Limit:
    """Limit a text to these."""
    return Limit(lambda x: isinstance(x, str) and x in texts, f"one of {', '.join(texts)}")


short_text = Limit(lambda x: isinstance(x, str) and len(x) < 150 and x.isprintable(), "a short text")
_LIMITS: dict[Type, Limit] = {
    NoneType: Limit(lambda x: x is None, "null"),
    int: whole(),
    float: Limit(lambda x: type(x) is float or (type(x) is int and abs(x) <= 1 << 62), "a number"),
    bool: Limit(lambda x: isinstance(x, bool), "true or false"),
    str: Limit(lambda x: isinstance(x, str), "a text"),
    object: Limit(lambda x: True, ""),
    list: Limit(lambda x: isinstance(x, list), "a list"),
    dict: Limit(lambda x: isinstance(x, dict), "an object"),
}


def encode(x: object) -> Any:  # noqa: ANN401
    """Convert a value to what JSON can hold.  Half of a surrogate pair is escaped."""
    if type(x) in (int, float, bool, NoneType):
        return x
    if isinstance(x, str):
        return x.encode(errors="backslashreplace").decode()
    if isinstance(x, (tuple, list)):
        return [encode(v) for v in x]
    if isinstance(x, np.ndarray):
        return {"ndarray": x.tolist(), "dtype": x.dtype.str}
    if isinstance(x, np.generic):
        return x.item()
    items = x.items() if isinstance(x, dict) else vars(x).items()  # a dataclass
    return {encode(k): encode(v) for k, v in items}


def decode(cls: Callable[..., T], x: object, name: str) -> T:
    """Convert JSON to a dataclass; raises `ArchiveError` at the first value that its type does not allow."""
    found, hints = _LIMITS[dict].decode(x, name), _hints(cls)
    optional = {f.name for f in fields(cls) if f.default is not MISSING or f.default_factory is not MISSING}  # type: ignore[arg-type]
    wrong = sorted(k for k in found.keys() ^ hints.keys() if k in found or k not in optional)
    if wrong:
        raise ArchiveError(f"{_shown(name)} has too much or too little: {', '.join(map(_shown, wrong[:9]))}")
    return cls(**{k: _decode(hints[k], v, k) for k, v in found.items()})


@cache
def _hints(cls: Type) -> dict[str, Type]:
    return get_type_hints(cls, include_extras=True)


@cache
def _parts(kind: Type) -> tuple[Type, tuple[Type, ...]]:
    return get_origin(kind), get_args(kind)


def _decode(kind: Type, x: object, name: str) -> object:
    origin, args = _parts(kind)
    if origin is Annotated:
        return args[1].decode(x, name)
    if origin in (Union, UnionType):
        return _decode_union(args, x, name)
    if origin is dict:
        return {_decode(args[0], k, name): _decode(args[1], v, k) for k, v in _LIMITS[dict].decode(x, name).items()}
    if origin is None:
        return _LIMITS[kind].decode(x, name) if kind in _LIMITS else decode(kind, x, name)
    row = _LIMITS[list].decode(x, name)
    if origin is list:
        return [_decode(args[0], v, name) for v in row]
    if len(row) != len(args):
        raise mismatch(name, x, f"a list of {len(args)}")
    return tuple(_decode(a, v, name) for a, v in zip(args, row, strict=True))


def _decode_union(kinds: tuple[Type, ...], x: object, name: str) -> object:
    wrong = []
    for kind in kinds:
        try:
            return _decode(kind, x, name)
        except ArchiveError as error:
            wrong.append(str(error))
    raise ArchiveError("; or ".join(wrong))


def _shown(x: object) -> str:
    text = f"a {type(x).__name__} of {len(x)}" if isinstance(x, (list, dict)) else repr(x)
    return text if len(text) < 80 else f"{text[:80]}…"


def mismatch(name: object, x: object, allowed: str) -> ArchiveError:
    """Make the error that says what is in a file, and what may be."""
    return ArchiveError(f"{_shown(name)} is {_shown(x)}, not {allowed}")

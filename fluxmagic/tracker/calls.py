"""Calls of NumPy functions: arguments in the form that rules take, and errors that say what does not fit."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

from fluxmagic.tracker.aliases import Call, Function
from fluxmagic.tracker.node import Node, data

_CALLED = r"[\w.<>]+\(\) (?=got an? |takes |missing )"


def is_call_error(error: Exception) -> bool:
    """Say whether Python raised an error because arguments do not fit a signature."""
    return isinstance(error, TypeError) and re.match(_CALLED, str(error)) is not None


def wrong_call(name: str, error: Exception) -> Exception:
    """Give Python's error of a call that does not fit, with the operation's name in place of a private one."""
    text = re.sub(_CALLED, "", str(error))
    option = re.fullmatch(r"got an unexpected keyword argument '(\w+)'.*", text)
    if option:
        return TypeError(f"{name}: {option[1]}= does not go with tracked arrays")
    return TypeError(f"{name}() {text}")


def same_kind(error: Exception, text: str) -> Exception:
    """Give an error of the same kind with another text."""
    try:
        return type(error)(text)
    except Exception:
        return ValueError(text)


def with_shapes(name: str, values: Iterable[Any], error: Exception) -> Exception:
    """Give NumPy's error, of its own kind, with the operation and the shapes."""
    if is_call_error(error):
        return wrong_call(name, error)
    shapes = " and ".join(str(np.shape(data(v))) for v in values if isinstance(v, (np.ndarray, np.number, Node)))
    return same_kind(error, f"{name} of shapes {shapes}: {error}")


def missing_rule(what: str) -> TypeError:
    """Give the error of a function without a gradient rule."""
    return TypeError(
        f"{what} has no gradient rule: give it one with fluxmagic.tracker.custom_gradient, "
        "or leave the tape with .data if no gradient is wanted"
    )


def reject_out(name: str, options: dict[str, Any]) -> None:
    """Take `out=` from the options, and refuse it: an array that is written in place has no place in the graph."""
    out = options.pop("out", None)
    if out is not None and not (isinstance(out, tuple) and all(o is None for o in out)):
        raise TypeError(
            f"{name}: out= does not go with tracked arrays; "
            "take the result, and for a parameter W use update(W, Δ) or W.data[...] = value"
        )


def reject_tracked(name: str, options: dict[str, Any]) -> None:
    """Refuse a tracked option, whose gradient would be lost."""
    for k, v in options.items():
        if isinstance(v, Node):
            raise TypeError(f"{name}: no gradient passes through {k}=; give it as a plain array (.data)")


def only_given(f: Function, options: dict[str, Any]) -> dict[str, Any]:
    """Leave out the options that f does not know and that are None, which NumPy takes as not given."""
    if all(v is not None for v in options.values()):
        return options
    known = signature(f).parameters
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return options
    return {k: v for k, v in options.items() if v is not None or k in known}


def out_by_name(function: Function, args: tuple[Any, ...], options: dict[str, Any]) -> Call:
    """Give `out` and what follows it by name: the rules' functions have no such argument."""
    out = _out_position(function)
    if len(args) <= out:
        return args, options
    names = list(signature(function).parameters)[out : len(args)]
    return args[:out], {**dict(zip(names, args[out:], strict=False)), **options}


@cache
def _out_position(function: Function) -> int:
    try:
        names = list(signature(function).parameters)
    except ValueError:  # written in C, without a signature
        return sys.maxsize
    return names.index("out") if "out" in names else sys.maxsize


@cache
def signature(function: Function) -> inspect.Signature:
    """Give a function's signature, from memory after the first time."""
    return inspect.signature(function)

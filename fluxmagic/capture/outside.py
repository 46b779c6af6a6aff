"""What a program cannot stand for: values that may change unseen, and calls that reach beyond Python's objects."""

from __future__ import annotations

import functools
import gc
import os
import random
import re
import sys
import types
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from fluxmagic.capture.lines import is_users, package
from fluxmagic.capture.reach import MOST_ITEMS, NUMBERS, Place, arrays_in, is_ours, is_the_users
from fluxmagic.capture.recording import Recorder
from fluxmagic.layers.traversal import is_foreign
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.optimise.train import train

__all__ = ["CallsOutside", "hidden_in", "refusing_calls"]

CONTAINERS = (list, tuple, dict, set, frozenset, deque)
CONSTANT = (
    *(types.FunctionType, types.MethodType, types.ModuleType, types.CodeType, types.MethodDescriptorType),
    *(types.WrapperDescriptorType, types.GetSetDescriptorType, types.MemberDescriptorType, types.SimpleNamespace),
    *(functools.partial, functools.cached_property, property, classmethod, staticmethod, slice, range, random.Random),
    *(type(...), type(NotImplemented), np.dtype, np.random.Generator, np.random.RandomState, type(np.sum)),
)
"""Kinds that stay as they are, and those of which all parts are looked at."""
CONSTANT_MODULES = {"abc", "_collections", "collections", "dataclasses", "datetime", "enum", "fractions"}
CONSTANT_MODULES |= {"operator", "pathlib", "re", "types", "typing"}
"""Where all classes are of such kinds."""
STATIC_TYPE = 1 << 9  # this bit of `__flags__` is not set: a type written in C


def hidden_in(found: Sequence[Place]) -> str | None:
    """Name a value in the places of a loss that may change with nothing to show it."""
    swapped = {id(a) for place in found if place.is_writable for a in arrays_in(place.value)}
    for place in found:
        if isinstance(place.owner, types.ModuleType) and is_foreign(place.owner):
            continue  # what a library keeps for itself
        if hasattr(type(place.value), "__next__"):
            return f"the loss can read the iterator {place.path.lstrip('.')}"
        inside = place.value if isinstance(place.value, (set, frozenset)) else ()
        if any(map(_is_hidden, (place.value, *inside))) or any(id(a) not in swapped for a in arrays_in(place.value)):
            return f"the loss can read {_shown(place)}, which may change unseen"
    return None


def _shown(place: Place) -> str:
    x = place.value
    size = f" of {len(x)} items" if isinstance(x, CONTAINERS) and len(x) > MOST_ITEMS else ""
    return f"{place.path.lstrip('.')}, a {type(x).__name__}{size}"


def _is_hidden(x: object) -> bool:
    cls = type(x)
    if isinstance(x, np.ndarray):
        return cls is not np.ndarray or x.dtype.kind not in "fiub"
    if isinstance(x, np.ufunc):
        return set("".join(x.types)) <= set("O->")  # of a user's function
    if isinstance(x, types.BuiltinFunctionType):
        return not isinstance(x.__self__, (types.ModuleType, type, np.ufunc, re.Pattern, *NUMBERS))
    if isinstance(x, random.SystemRandom):
        return True
    if isinstance(x, type):
        return is_the_users(cls)  # its metaclass
    if isinstance(x, (*CONTAINERS, *NUMBERS)):
        is_large = isinstance(x, CONTAINERS) and len(x) > MOST_ITEMS
        return is_large or isinstance(x, np.void) or (bool(getattr(x, "__dict__", None)) and not is_ours(cls))
    if cls is object or is_ours(cls) or isinstance(x, CONSTANT) or cls.__module__ in CONSTANT_MODULES:
        return False
    if is_foreign(cls):
        return True
    return any(not base.__flags__ & STATIC_TYPE for base in cls.__mro__[:-1])


# -- calls -----------------------------------------------------------------------------------------------------------

ENDS = {"return", "c_return", "c_exception"}
OS = os.getenv.__code__.co_filename
TRAINING = {
    train.__code__: "calls train()",
    Optimiser.__init__.__code__: "makes an optimiser",
    Optimiser.__call__.__code__: "calls an optimiser",
}
"""What changes parameters in memory of its own, or moves them there."""
FILES = {OS, *(code.co_filename for code in TRAINING)}
HARMLESS = {list, dict, set, tuple, str, np.ndarray, np.ufunc}
"""Types whose methods do not reach beyond themselves, for speed."""
SYSTEM = {"_io", "io", "posix", "nt", "time", "_socket", "select", "_contextvars"}
FROM_USERS_CODE = {
    "builtins": {"print", "input", "globals", "locals", "vars", "eval", "exec", "__import__", "breakpoint"},
    "_thread": {"start_new_thread"},
    "_warnings": {"warn", "warn_explicit"},
    "datetime": {"now", "today", "utcnow"},
}


class CallsOutside(BaseException):
    """A loss is about to call what a program does not.  No Exception: code that catches those must not catch it."""


@contextmanager
def refusing_calls(recorder: Recorder) -> Iterator[None]:
    """Within it a call of the system's functions is refused before it is made: files, clocks, output, names by text."""

    def look(
        frame: types.FrameType, event: str, f: types.BuiltinFunctionType
    ) -> None:  # 5,000 times a recording, 0.1 µs each
        if event in ENDS or (event == "call" and frame.f_code.co_filename not in FILES):
            return
        if event == "call" and (what := TRAINING.get(frame.f_code)):
            recorder.refuse(what)
            raise CallsOutside
        if event == "c_call" and type(f.__self__) in HARMLESS:
            return
        if (name := _outside(frame, event, f)) and recorder.listens and not _is_importing(frame):
            while frame.f_back is not None and not is_users(frame):
                if package(frame) == "fluxmagic":  # it makes the default generator
                    return
                name, frame = frame.f_code.co_name, frame.f_back
            recorder.refuse(f"calls {name}()")
            raise CallsOutside

    if sys.getprofile() is not None:  # someone measures
        yield
        return
    collects = gc.isenabled()
    gc.disable()  # whose callbacks are not the loss's
    recorder.watch = look
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(None)
        recorder.watch = None
        if collects:
            gc.enable()


def _is_importing(frame: types.FrameType | None) -> bool:
    while frame is not None and not package(frame).startswith(("importlib", "_frozen_importlib")):
        frame = frame.f_back
    return frame is not None


def _outside(frame: types.FrameType, event: str, f: object) -> str | None:
    """Name a function of the system that is called."""
    if event == "call":
        return frame.f_code.co_name
    owner, name = getattr(f, "__self__", None), getattr(f, "__name__", "")
    module = getattr(f, "__module__", None) or getattr(owner, "__module__", None)
    if module in SYSTEM and not (module == "_contextvars" and package(frame) == "numpy"):
        return str(name)
    if module == "builtins" and name == "getattr" and is_users(frame) and _names_a_namespace(frame):
        return "getattr"
    return str(name) if name in FROM_USERS_CODE.get(str(module), ()) and is_users(frame) else None


def _names_a_namespace(frame: types.FrameType) -> bool:
    """Tell whether a function names a module or class of the user, of which only named attributes are looked at."""
    named = [frame.f_globals.get(name) for name in frame.f_code.co_names]
    return any(isinstance(x, (types.ModuleType, type)) and is_the_users(x) for x in named)

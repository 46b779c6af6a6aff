"""Places in the user's code, for messages."""

from __future__ import annotations

import functools
import inspect
import sys
from types import FrameType

__all__ = ["described", "is_called_by_package", "is_users", "package", "user_line"]

INTERNAL = (sys.stdlib_module_names - {"__main__"}) | {"fluxmagic", "numpy"}


def described(where: tuple[str, int]) -> str:
    """Say where something is: `line 3`, of a cell, or `line 3 of model.py`."""
    path, number = where
    name = path.replace("\\", "/").rpartition("/")[2]
    return f"line {number}" if path.startswith("<") or "ipykernel_" in path else f"line {number} of {name}"


def package(frame: FrameType) -> str:
    """Return the package whose code a frame runs."""
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def is_users(frame: FrameType) -> bool:
    """Tell whether a frame runs code of the user."""
    return "__name__" not in frame.f_globals or not _is_internal(frame.f_globals["__name__"])


@functools.cache
def _is_internal(module: str) -> bool:
    return str(module).partition(".")[0] in INTERNAL


def is_called_by_package() -> bool:
    """Tell whether the caller of the function that asks is one of this package."""
    frame = inspect.currentframe()
    for _ in range(2):
        frame = frame and frame.f_back
    return frame is not None and package(frame) == "fluxmagic"


def user_line() -> tuple[str, int]:
    """Return the file and line of the user's code that led here, or the outermost ones."""
    frame = inspect.currentframe()
    assert frame is not None
    while frame.f_back is not None and "__name__" in frame.f_globals and _is_internal(frame.f_globals["__name__"]):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno

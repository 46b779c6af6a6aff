"""Places in the user's code, for messages."""

from __future__ import annotations

import inspect
import sys
from types import FrameType

__all__ = ["is_called_by_package", "is_users", "package", "user_line"]

INTERNAL = (sys.stdlib_module_names - {"__main__"}) | {"fluxmagic", "numpy"}


def package(frame: FrameType) -> str:
    """Return the package whose code a frame runs."""
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def is_users(frame: FrameType) -> bool:
    """Tell whether a frame runs code of the user."""
    return package(frame) not in INTERNAL


def is_called_by_package() -> bool:
    """Tell whether the caller of the function that asks is one of this package."""
    frame = inspect.currentframe()
    for _ in range(2):
        frame = frame and frame.f_back
    return frame is not None and package(frame) == "fluxmagic"


def user_line() -> str:
    """Say where in the user's code this is: `line 3`, of a cell, or `line 3 of model.py`."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_back is not None and not is_users(frame):
        frame = frame.f_back
    if frame is None:
        return "a line"
    path = frame.f_code.co_filename
    in_cell = path.startswith("<") or "ipykernel_" in path
    name = path.replace("\\", "/").rpartition("/")[2]
    return f"line {frame.f_lineno}" if in_cell else f"line {frame.f_lineno} of {name}"

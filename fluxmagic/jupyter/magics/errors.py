"""Errors of this package as one line, where that says it all; `tracebacks` cuts those of the user's code."""

from __future__ import annotations

import contextlib
import math
import os
import traceback
from collections.abc import Iterator
from pathlib import Path

from IPython.core.error import UsageError

from fluxmagic.jupyter.driving.trainable import Trainable
from fluxmagic.jupyter.ipython_compat import Shell

__all__ = ["refusals_as_usage_errors", "train_here"]

PACKAGE_DIR = str(Path(__file__).parents[2]) + os.sep
OUR_FILES = PACKAGE_DIR, contextlib.__file__  # their frames are not the user's


def train_here(run: Trainable, shell: Shell, panel: bool = True, speed: float = math.inf) -> None:
    """Train a run to its end in this cell; an error of an option is a line that names it."""
    from fluxmagic.jupyter.driving.loop import train_in_cell  # matplotlib takes its time

    try:
        train_in_cell(run, shell, panel=panel, speed=speed)
    except Exception as error:
        option = getattr(error, "option", None)
        if option is None or run.steps:
            raise
        message = str(error).removeprefix(f"{option} ").removeprefix(f"{option}: ")
        raise UsageError(f"--{option}: {type(error).__name__}: {' '.join(message.split())}") from None


@contextlib.contextmanager
def refusals_as_usage_errors() -> Iterator[None]:
    """Make an error of this package a line without a traceback; errors in the user's own code keep theirs."""
    try:
        yield
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(str(error)) from None
    except (TypeError, ValueError, RuntimeError) as error:
        if all(frame.filename.startswith(OUR_FILES) for frame in traceback.extract_tb(error.__traceback__)):
            raise UsageError(str(error)) from None
        raise

"""Errors as a user of the magics sees them: no frames of this package, and one line where that says it all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from types import TracebackType

from IPython.core.error import UsageError

from fluxmagic.jupyter.ipython_compat import Shell
from fluxmagic.optimise import NotFinite
from fluxmagic.runs import Run

__all__ = ["refusals_as_usage_errors", "shorten_traceback", "train_here"]

PACKAGE_DIR = os.path.dirname(os.path.dirname(__file__)) + os.sep
OUR_FILES = PACKAGE_DIR, contextlib.__file__  # their frames are not the user's


def train_here(run: Run, shell: Shell, panel: bool = True) -> None:
    """Train a run to its end in this cell; an error of an option is a line that names it."""
    from fluxmagic.jupyter.loop import train_in_cell  # matplotlib takes its time

    def train() -> None:
        try:
            train_in_cell(run, shell, panel=panel)
        except Exception as error:
            option = getattr(error, "option", None)
            if option is None or run.steps:
                raise
            message = str(error).removeprefix(f"{option} ").removeprefix(f"{option}: ")
            raise UsageError(f"--{option}: {type(error).__name__}: {' '.join(message.split())}") from None

    shorten_traceback(shell, train)


def shorten_traceback(shell: Shell, f: Callable[[], object]) -> None:
    """Call a function; the traceback of an error goes from this cell straight to the user's own line."""
    try:
        f()
    except (NotFinite, KeyboardInterrupt, UsageError) as error:
        raise error.with_traceback(None) from None
    except Exception as error:
        first = next((tb for tb in _frames(error) if tb.tb_frame.f_globals is shell.user_ns), error.__traceback__)
        raise error.with_traceback(first) from error.__cause__


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
        if all(tb.tb_frame.f_code.co_filename.startswith(OUR_FILES) for tb in _frames(error)):
            raise UsageError(str(error)) from None
        raise


def _frames(error: BaseException) -> Iterator[TracebackType]:
    tb = error.__traceback__
    while tb is not None:
        yield tb
        tb = tb.tb_next

"""Requests: changes of a run that any thread may ask for, made between two batches by whoever steps the run.

A request is checked when it is asked for.  If no batch is being worked on it is carried out at once, and what it
raises reaches the caller.  Otherwise the caller goes on, and an error is a warning: it ends no training.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable

__all__ = ["Request"]

_lock = threading.Lock()


class Request:
    """A change that was asked for.

    Parameters
    ----------
    what : str
        For the warning.
    action : callable
        Of no arguments.
    """

    def __init__(self, what: str, action: Callable[[], None]) -> None:
        self.what = what
        self._action = action
        self._error: Exception | None = None
        self._left = False  # the caller has gone on

    def __call__(self) -> None:
        """Carry it out."""
        try:
            self._action()
        except Exception as error:
            with _lock:
                self._error = error
                left = self._left
            if left:
                told = f"{self.what} was asked for and has failed: {type(error).__name__}: {error}"
                warnings.warn(told, RuntimeWarning, stacklevel=2)

    def leave(self) -> None:
        """Go on without waiting for it; if it has failed already, raise its error."""
        with _lock:
            self._left = True
            error, self._error = self._error, None
        if error is not None:
            raise error

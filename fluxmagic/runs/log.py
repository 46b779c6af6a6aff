"""A run's log: lines of JSON, flushed one by one, so that a killed process loses nothing that was shown."""

from __future__ import annotations

import json
import math
import os
import weakref
from typing import Any

from fluxmagic.runs.archive import regular

__all__ = ["Log"]


class Log:
    """Appends lines of JSON to a file.

    Parameters
    ----------
    path : path
        Of a regular file; lines are appended to one that is there.

    Raises
    ------
    OSError
        If it cannot be written, or is a folder, a device or a pipe.
    """

    def __init__(self, path: Any) -> None:
        self.path = os.fspath(path)
        regular(self.path)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self.close = weakref.finalize(self, os.close, self._file)
        self._left = b""  # what could not be written yet: the disk was full
        if os.lseek(self._file, 0, os.SEEK_END):
            os.lseek(self._file, -1, os.SEEK_END)
            if os.read(self._file, 1) != b"\n":
                self._left = b"\n"  # the process that wrote here before was killed within a line

    def write(self, **entry: Any) -> None:
        """Write one line, after what an earlier error has left.

        Raises
        ------
        OSError
            If the disk is full, or the like.  The line is kept, and written before the next one.
        """
        line = json.dumps({k: _plain(v) for k, v in entry.items()}, ensure_ascii=False) + "\n"
        self._left += line.encode(errors="backslashreplace")
        while self._left:
            self._left = self._left[os.write(self._file, self._left) :]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON knows no NaN
    return getattr(value, "__name__", "schedule") if callable(value) else value

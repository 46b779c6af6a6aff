"""A run's log: lines of JSON, flushed one by one, so that a killed process loses nothing that was shown."""

from __future__ import annotations

import json
import math
import os
import weakref
from typing import Any

__all__ = ["Log"]


class Log:
    """Appends lines of JSON to a file.

    Parameters
    ----------
    path : path
    """

    def __init__(self, path: Any) -> None:
        self.path = os.fspath(path)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self.close = weakref.finalize(self, os.close, self._file)
        if os.lseek(self._file, 0, os.SEEK_END):
            os.lseek(self._file, -1, os.SEEK_END)
            if os.read(self._file, 1) != b"\n":
                os.write(self._file, b"\n")  # whoever wrote here before was killed within a line

    def write(self, **entry: Any) -> None:
        """Write one line."""
        line = json.dumps({k: _plain(v) for k, v in entry.items()}, ensure_ascii=False) + "\n"
        left = memoryview(line.encode())
        while left:
            left = left[os.write(self._file, left) :]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON knows no NaN
    return getattr(value, "__name__", "schedule") if callable(value) else value

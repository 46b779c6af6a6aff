"""A log of a run: lines of JSON, each written at once, so that a killed process has logged all that it showed."""

from __future__ import annotations

import json
import math
import os
import weakref

from fluxmagic.runs.archive import AnyPath, regular

__all__ = ["Log"]


class Log:
    """Appends lines of JSON to a regular file; raises `OSError` if that cannot be written."""

    def __init__(self, path: AnyPath) -> None:
        self.path = os.fspath(path)
        regular(self.path)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self.close = weakref.finalize(self, os.close, self._file)
        self._unwritten = b""
        if os.lseek(self._file, 0, os.SEEK_END):
            os.lseek(self._file, -1, os.SEEK_END)
            if os.read(self._file, 1) != b"\n":
                self._unwritten = b"\n"  # an earlier process was killed within a line

    def write(self, **entry: object) -> None:
        """Write one line; after an error, such as a full disk, the next call writes it first."""
        line = json.dumps({k: _to_json(v) for k, v in entry.items()}, ensure_ascii=False) + "\n"
        self._unwritten += line.encode(errors="backslashreplace")
        while self._unwritten:
            self._unwritten = self._unwritten[os.write(self._file, self._unwritten) :]


def _to_json(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no NaN
    return getattr(value, "__name__", "schedule") if callable(value) else value

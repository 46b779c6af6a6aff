"""A run's log: lines of JSON, flushed one by one, so that a killed process loses nothing that was shown."""

from __future__ import annotations

import json
import math
import os
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
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - open as long as the run

    def write(self, **entry: Any) -> None:
        """Write one line."""
        self._file.write(json.dumps({k: _plain(v) for k, v in entry.items()}, ensure_ascii=False) + "\n")
        self._file.flush()


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON knows no NaN
    return getattr(value, "__name__", "schedule") if callable(value) else value

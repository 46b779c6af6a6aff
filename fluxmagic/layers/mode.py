"""Training or testing: what Dropout and BatchNorm ask."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["testing"]


class _Mode(threading.local):
    testing = False


_mode = _Mode()


@contextmanager
def testing() -> Iterator[None]:
    """Within it every layer of this thread is in test mode: no dropout, running statistics, nothing changes."""
    before, _mode.testing = _mode.testing, True
    try:
        yield
    finally:
        _mode.testing = before


def is_testing() -> bool:
    """Whether this thread is within `testing`."""
    return _mode.testing

"""A number that a loss may read and that nothing shows: the standard library keeps it."""

from __future__ import annotations

import decimal


def hide(n: int) -> None:
    """Set it; a fixture puts it back after each test."""
    decimal.getcontext().prec = n + 1


def hidden() -> int:
    """Return it."""
    return decimal.getcontext().prec - 1

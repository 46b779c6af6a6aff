"""Colours of contestants and paths."""

from __future__ import annotations

__all__ = ["COLOURS", "colour_of"]

COLOURS = ("#37459b", "#ea8904", "#99194b", "#19c576", "#ca00ff", "#aa8ceb", "#de96c1", "#7f5803")
"""Any two differ by 29 or more in CIELAB, also to readers without one of the three kinds of cones."""


def colour_of(number: int) -> str:
    """Give the colour of a contestant."""
    return COLOURS[number % len(COLOURS)]

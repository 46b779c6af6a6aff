"""Docstrings by family: what several functions share is written once."""

from __future__ import annotations

import re
from collections.abc import Callable
from inspect import cleandoc
from typing import TypeVar

__all__ = ["with_sections"]

F = TypeVar("F", bound=object)

_ORDER = ("Parameters", "Returns", "Raises", "See Also", "Notes", "References", "Examples")
_TITLE = re.compile(r"^([A-Z][A-Za-z ]*)\n-{3,}\n", re.MULTILINE)


def with_sections(shared: str) -> Callable[[F], F]:
    """Make a decorator that adds the numpydoc sections of a family to a function's docstring.

    What the function describes itself follows the shared text of the same section.
    """
    _, *sections = _TITLE.split(cleandoc(shared))

    def add(function: F) -> F:
        if function.__doc__:  # there is none under python -OO
            function.__doc__ = _merge(function.__doc__, sections)
        return function

    return add


def _merge(own: str, shared: list[str]) -> str:
    """Return a docstring with titles and bodies that a family shares, in numpydoc's order."""
    summary, *sections = _TITLE.split(cleandoc(own))
    bodies: dict[str, list[str]] = {}
    for found in (shared, sections):
        for title, body in zip(found[::2], found[1::2], strict=True):
            bodies.setdefault(title, []).append(body.strip())
    parts = [summary.strip()]
    for title in sorted(bodies, key=_ORDER.index):
        gap = "\n\n" if title == "Notes" else "\n"
        parts.append(f"{title}\n{'-' * len(title)}\n" + gap.join(bodies[title]))
    return "\n\n".join(parts)

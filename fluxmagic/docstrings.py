"""Docstrings by family: what several functions share is written once."""

from __future__ import annotations

import re
from collections.abc import Callable
from inspect import cleandoc
from typing import TypeVar

__all__ = ["merge_docstrings", "with_sections"]

F = TypeVar("F", bound=Callable[..., object])

_ORDER = ("Parameters", "Returns", "Raises", "See Also", "Notes", "References", "Examples")
_TITLE = re.compile(r"^([A-Z][A-Za-z ]*)\n-{3,}\n", re.MULTILINE)


def with_sections(shared: str) -> Callable[[F], F]:
    """Make a decorator that adds the numpydoc sections of a family to a function's docstring.

    What the function describes itself follows the shared text of the same section.
    """

    def add(function: F) -> F:
        if function.__doc__:  # there is none under python -OO
            function.__doc__ = merge_docstrings(function.__doc__, shared)
        return function

    return add


def merge_docstrings(own: str, shared: str) -> str:
    """Return a docstring with the sections of both texts in numpydoc's order."""
    summary, *own_sections = _TITLE.split(cleandoc(own))
    _, *shared_sections = _TITLE.split(cleandoc(shared))
    bodies: dict[str, list[str]] = {}
    for sections in (shared_sections, own_sections):
        for title, body in zip(sections[::2], sections[1::2], strict=True):
            bodies.setdefault(title, []).append(body.strip())
    parts = [summary.strip()]
    for title in sorted(bodies, key=_ORDER.index):
        gap = "\n\n" if title == "Notes" else "\n"
        parts.append(f"{title}\n{'-' * len(title)}\n" + gap.join(bodies[title]))
    return "\n\n".join(parts)

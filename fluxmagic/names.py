"""Greek letters, and the ASCII words that stand for them wherever a user types one."""

from __future__ import annotations

import unicodedata

__all__ = ["ascii_name", "canonical"]


def canonical(name: str) -> str:
    """A name as Python's own source would have it: NFKC folds ϵ to ε.  Once, for each name that comes as a string."""
    return unicodedata.normalize("NFKC", name)


def ascii_name(name: str) -> str:
    """Spell out Greek letters: η is eta, β1 beta1, ε epsilon."""
    return "".join(
        unicodedata.name(c).removeprefix("GREEK SMALL LETTER ").lower() if "α" <= c <= "ω" else c
        for c in canonical(name)
    )

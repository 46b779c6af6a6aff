"""Greek letters, and their ASCII names."""

from __future__ import annotations

import unicodedata

__all__ = ["ascii_name", "canonical"]


def canonical(name: str) -> str:
    """Normalise a name as Python's parser does: NFKC folds ϵ to ε.  Apply it once to each name given as a string."""
    return unicodedata.normalize("NFKC", name)


def ascii_name(name: str) -> str:
    """Spell out Greek letters: η is eta, β1 beta1, ε epsilon."""
    return "".join(
        unicodedata.name(c).removeprefix("GREEK SMALL LETTER ").lower() if "α" <= c <= "ω" else c
        for c in canonical(name)
    )

"""A table that a notebook shows as HTML and a terminal as text."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Table"]

Row = Sequence[str]


class Table:
    """Rows of text under a head, and over a foot if there is one."""

    def __init__(self, head: Row, rows: Sequence[Row], foot: Row | None = None) -> None:
        self.head = head
        self.rows = rows
        self.foot = [] if foot is None else [foot]

    def __repr__(self) -> str:
        rows = [self.head, *self.rows, *self.foot]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)

    def _repr_html_(self) -> str:
        parts = (("thead", "th", [self.head]), ("tbody", "td", self.rows), ("tfoot", "th", self.foot))
        return f"<table>{''.join(_part(part, tag, rows) for part, tag, rows in parts if rows)}</table>"


def _part(part: str, tag: str, rows: Sequence[Row]) -> str:
    from html import escape  # takes as long to import as all layers

    lines = ("".join(f'<{tag} style="text-align:left">{escape(cell)}</{tag}>' for cell in row) for row in rows)
    return f"<{part}>{''.join(f'<tr>{line}</tr>' for line in lines)}</{part}>"

"""A legend whose values change with every frame: names and values in rows above the axes, drawn as text alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Text

from fluxmagic.jupyter.pictures.axes import FONT, INK, LEGEND_ROW, set_plain_text, shorten

__all__ = ["WIDEST", "Legend", "rows_of_names"]

HANDLE, PAD, BETWEEN = 0.22, 0.07, 0.18  # inches: a line's sample, its distance to the text, the distance to the next
CHARACTER = 0.57 * FONT / 72  # inches, of an ordinary one
NAME, VALUE = 32, 7  # characters that a name has at most, and a value at least, so that the rows stand still
WIDEST = "0" * VALUE + " so far"


class Legend:
    """The names and values of lines, in rows above axes; `artists` are to be drawn with every frame.

    Rows have the axes' width if no `width` is given; that, and the distance `above` the axes, are in inches.
    """

    def __init__(self, ax: Axes, lines: Mapping[str, Line2D], width: float | None = None, above: float = 0.0) -> None:
        self.ax, self._width, self._above = ax, width, above
        self.texts: dict[str, Text] = {}
        self.samples: dict[str, Line2D] = {}
        inches = ax.figure.dpi_scale_trans
        for name, line in lines.items():
            (sample,) = ax.plot([], [], color=line.get_color(), lw=3, alpha=line.get_alpha(), ls=line.get_linestyle())
            sample.set(solid_capstyle="butt", transform=inches, clip_on=False, animated=True)
            self.texts[name] = ax.text(0, 0, "", color=INK, va="center", fontsize=FONT, transform=inches, animated=True)
            self.samples[name] = sample
        self.artists: list[Artist] = [*self.samples.values(), *self.texts.values()]

    def show(self, values: Mapping[str, str]) -> None:
        """Show names with values, and no others."""
        for name, text in self.texts.items():
            text.set_visible(name in values)
            self.samples[name].set_visible(name in values)
        for name, value in values.items():
            set_plain_text(self.texts[name], f"{shorten(name, NAME)} {value}".rstrip())
        left, _, right, top = np.divide(self.ax.bbox.extents, self.ax.figure.dpi)
        rows = _rows([(name, self.texts[name].get_text()) for name in values], self._width or right - left)
        for i, row in enumerate(rows):
            x, y = left, top + self._above + 0.17 + LEGEND_ROW * (len(rows) - 1 - i)
            for name, words in row:
                self.samples[name].set_data([x, x + HANDLE], [y, y])
                self.texts[name].set_position((x + HANDLE + PAD, y))
                x += _width(name, words)


def rows_of_names(values: Mapping[str, str], width: float) -> int:
    """Give the number of rows that names with values, as wide as these or of `VALUE` characters, take in inches."""
    return len(_rows([(name, f"{name} {value}") for name, value in values.items()], width))


def _rows(entries: Iterable[tuple[str, str]], width: float) -> list[list[tuple[str, str]]]:
    """Lay names with their words in rows."""
    rows: list[list[tuple[str, str]]] = [[]]
    x = 0.0
    for entry in entries:
        if rows[-1] and x + _width(*entry) - BETWEEN > width:
            rows.append([])
            x = 0.0
        rows[-1].append(entry)
        x += _width(*entry)
    return rows


def _width(name: str, words: str) -> float:
    least = min(len(name), NAME) + (0 if name == "earlier" else VALUE + 1)
    return HANDLE + PAD + max(least, len(words)) * CHARACTER + BETWEEN

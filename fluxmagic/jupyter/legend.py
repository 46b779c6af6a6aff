"""A legend whose values change with every frame: names and values in a row above the axes, drawn as text alone."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Text

from fluxmagic.jupyter.axes import FONT, INK, set_plain_text, shorten

__all__ = ["Legend"]

HANDLE, PAD, BETWEEN = 0.22, 0.07, 0.2  # inches: a line's sample, its distance to the text, the distance to the next
CHARACTER = 0.6 * FONT / 72  # inches, of an ordinary one
VALUE = 8  # characters that a value has at least, so that the row stands still


class Legend:
    """The names and values of lines.

    Parameters
    ----------
    ax : Axes
        It stands above them.
    lines : dict of Line2D
        By name.

    Attributes
    ----------
    texts : dict of Text
    artists : list of Artist
        To be drawn again if it `has_changed`.
    """

    def __init__(self, ax: Axes, lines: Mapping[str, Line2D]) -> None:
        self.ax = ax
        self.texts: dict[str, Text] = {}
        self.samples: dict[str, Line2D] = {}
        self._slots: dict[str, int] = {}
        inches = ax.figure.dpi_scale_trans
        for name, line in lines.items():
            (sample,) = ax.plot([], [], color=line.get_color(), lw=3, alpha=line.get_alpha(), solid_capstyle="butt")
            sample.set(transform=inches, clip_on=False, animated=True)
            text = ax.text(0, 0, "", color=INK, va="center", fontsize=FONT, transform=inches, animated=True)
            self.samples[name], self.texts[name] = sample, set_plain_text(text, name)
        self.has_changed = True
        self._shown: list[str] = []
        self.artists: list[Artist] = [*self.samples.values(), *self.texts.values()]

    def show(self, values: Mapping[str, str]) -> None:
        """Show names with values, and no others."""
        before = self._shown
        for name, text in self.texts.items():
            text.set_visible(name in values)
            self.samples[name].set_visible(name in values)
        names = list(values)
        longest = int(self.ax.bbox.width / self.ax.figure.dpi * 1.1 / len(names) / CHARACTER) - VALUE - 3
        for name in names:
            set_plain_text(self.texts[name], f"{shorten(name, max(longest, 6))} {values[name]}".rstrip())
            self._slots[name] = max(self._slots.get(name, 0), len(self.texts[name].get_text()))
        self._shown = [self.texts[name].get_text() for name in names]
        self.has_changed = before != self._shown
        if self.has_changed:
            self._place(names)

    def _place(self, names: list[str]) -> None:
        dpi = self.ax.figure.dpi
        x, y = self.ax.bbox.x0 / dpi, self.ax.bbox.y1 / dpi + 0.17
        for name in names:
            self.samples[name].set_data([x, x + HANDLE], [y, y])
            x += HANDLE + PAD
            self.texts[name].set_position((x, y))
            x += self._slots[name] * CHARACTER + BETWEEN

"""The picture of a sweep: a map for two dials, points with their spread for one, otherwise all points in order."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fluxmagic.jupyter import axes
from fluxmagic.jupyter.formatting import format_number, format_value
from fluxmagic.jupyter.png import png
from fluxmagic.jupyter.presentation import Controls
from fluxmagic.sweep import Sweep, uniform

__all__ = ["SweepPicture"]

MAX_WRITTEN = 120  # cells of a map that have their number written in
MAX_TICKS = 10


class SweepPicture:
    """What is known of the objective, drawn anew for each frame.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
    """

    figure: Figure

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self._width = axes.WIDTH

    def follow(self, controls: Controls) -> None:
        """Draw the sweep of the controls, as wide as their page."""
        self.sweep = controls.run  # type: ignore[assignment]
        self._width = axes.width_on(getattr(controls, "width", round(axes.WIDTH * axes.DPI)))

    def frame(self) -> bytes:
        """Draw it as it is now."""
        self._draw()
        canvas = axes.canvas_of(self.figure)
        canvas.draw()
        return png(np.asarray(canvas.buffer_rgba()))

    def picture(self) -> bytes:
        """Draw it as it stays."""
        self._draw()
        return axes.sharp_png(self.figure)

    @property
    def is_unfinished(self) -> bool:
        """Whether another frame would show more: never."""
        return False

    @property
    def rich(self) -> list[dict[str, str]]:
        """What is shown below the picture: nothing."""
        return []

    def close(self) -> None:
        """Do nothing: nothing is cached."""

    def _draw(self) -> None:
        with axes.default_style():
            self.figure = axes.make_figure(self._width)
            ax = self.figure.add_axes((0.12, 0.2, 0.84, 0.7))
            axes.strip_axes(ax)
            dials = [k for k, v in self.sweep.grid.axes.items() if not isinstance(v, uniform)]
            if len(dials) == 2 == len(self.sweep.grid.axes):
                self._draw_map(ax, dials)
            elif len(self.sweep.grid.axes) == 1:
                self._draw_dial(ax, next(iter(self.sweep.grid.axes)))
            else:
                self._draw_ranking(ax)

    def _scores(self) -> dict[int, float]:
        return {point: value for value, point in self.sweep.ranking if math.isfinite(value)}

    def _draw_map(self, ax: Axes, dials: list[str]) -> None:
        """Draw a cell for each point, coloured by the objective; what diverged or failed is crossed."""
        sweep = self.sweep
        across, down = ([label(v) for v in sweep.grid.values[k]] for k in dials)
        cells = np.full((len(down), len(across)), np.nan)
        scores, places = self._scores(), {}
        for number, point in enumerate(sweep.grid.points):
            for i, j in cells_of(sweep, point, dials):
                places[i, j] = number
                cells[i, j] = scores.get(number, np.nan)
        good = cells[np.isfinite(cells)]
        use_log = bool(good.size) and good.min() > 0 and good.max() > 10 * good.min()
        shown = np.log(cells) if use_log else cells
        colours = "viridis" if sweep.sign < 0 else "viridis_r"
        ax.imshow(np.ma.masked_invalid(shown), cmap=colours, aspect="auto", origin="lower", interpolation="nearest")
        ax.set_xlim(-0.5, len(across) - 0.5)
        ax.set_ylim(-0.5, len(down) - 0.5)
        lost = {p for p in set(places.values()) - scores.keys() if self._is_lost(p)}
        crossed = [(j, i) for (i, j), p in places.items() if p in lost]
        if crossed:
            ax.plot(*zip(*crossed), ls="", marker="x", color=axes.BAD, ms=9, mew=2)
        if scores:
            best = next(p for _, p in sweep.ranking)
            i, j = next(place for place, p in places.items() if p == best)
            ax.plot([j], [i], ls="", marker="s", mfc="none", mec=axes.EVENT, ms=20, mew=2.5)
        if cells.size <= MAX_WRITTEN:
            for (i, j), p in places.items():
                if p in scores:
                    axes.add_halo(
                        ax.text(j, i, format_number(scores[p]), ha="center", va="center", fontsize=axes.SMALL)
                    )
        set_ticks(ax.set_xticks, across)
        set_ticks(ax.set_yticks, down)
        ax.set_xlabel(dials[0], color=axes.INK)
        ax.set_ylabel(dials[1], color=axes.INK)
        axes.set_plain_text(ax.set_title("", color=axes.INK, fontsize=axes.FONT, loc="left"), self._title())

    def _is_lost(self, point: int) -> bool:
        return any(t.spec.point == point and t.state in ("diverged", "failed") for t in self.sweep.trials)

    def _title(self) -> str:
        over = f", median over {self.sweep.seeds} seeds" if (self.sweep.seeds or 1) > 1 else ""
        return f"{self.sweep.setup.objective}{over}"

    def _draw_dial(self, ax: Axes, dial: str) -> None:
        """Draw the objective of each trial against a dial, and a line through the medians."""
        sweep = self.sweep
        trials = [t for t in sweep.trials if math.isfinite(t.objective)]
        values = [sweep.grid.points[t.spec.point].get(dial, math.nan) for t in trials]
        listed = sweep.grid.values[dial]
        numeric = isinstance(listed, uniform) or all(isinstance(v, (int, float)) and math.isfinite(v) for v in listed)
        names = [] if isinstance(listed, uniform) else [label(v) for v in listed]
        x = np.array([float(v) if numeric else names.index(label(v)) for v in values])
        y = np.array([t.objective for t in trials])
        ax.set_autoscale_on(True)
        ax.plot(x, y, ls="", marker="o", ms=5, color=axes.LOSS, alpha=0.6)
        at = np.unique(x)
        ax.plot(at, [np.median(y[x == v]) for v in at], color=axes.LOSS, lw=1.8)
        if numeric and at.size > 2 and at.min() > 0 and at.max() > 30 * at.min():
            ax.set_xscale("log")
        if not numeric:
            set_ticks(ax.set_xticks, names)
        if y.size and y.min() > 0 and y.max() > 30 * y.min():
            ax.set_yscale("log")
        ax.set_xlabel(dial, color=axes.INK)
        axes.set_plain_text(ax.set_title("", color=axes.INK, fontsize=axes.FONT, loc="left"), self._title())

    def _draw_ranking(self, ax: Axes) -> None:
        """Draw the objective of all points, best first."""
        values = [v for v, _ in self.sweep.ranking if math.isfinite(v)]
        ax.set_autoscale_on(True)
        ax.plot(np.arange(1, len(values) + 1), values, marker="o", ms=4, color=axes.LOSS)
        ax.set_xlabel("points, best first", color=axes.INK)
        axes.set_plain_text(ax.set_title("", color=axes.INK, fontsize=axes.FONT, loc="left"), self._title())


def label(value: object) -> str:
    """Give the label of a value on an axis."""
    return format_value(value)


def cells_of(sweep: Sweep, point: dict[str, object], dials: list[str]) -> list[tuple[int, int]]:
    """Give row and column of a point in a map; a dial that its optimiser lacks fills the whole row or column."""
    places: list[list[int]] = []
    for k in dials:
        values = sweep.grid.values[k]
        found = [i for i, v in enumerate(values) if k not in point or v is point[k] or v == point[k]]
        places.append(found)
    return [(i, j) for j in places[0] for i in places[1]]


def set_ticks(set_: Callable[..., object], labels: list[str]) -> None:
    """Write labels at some of the places."""
    step = -(-len(labels) // MAX_TICKS)
    set_(range(0, len(labels), step), labels[::step])

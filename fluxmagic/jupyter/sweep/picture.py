"""The picture of a sweep: objective over the swept dials at the left, the curves of its trials at the right.

What changes is drawn onto a cached background of axes.
"""

from __future__ import annotations

import time

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from fluxmagic.jupyter.controls.transport import Controls
from fluxmagic.jupyter.driving.presentation import Presentation
from fluxmagic.jupyter.pictures import axes
from fluxmagic.jupyter.pictures.limits import (
    Axis,
    Limits,
    before_divergence,
    data_range,
    is_wide,
    loss_range,
    still_fit,
    with_margin,
)
from fluxmagic.jupyter.pictures.png import png
from fluxmagic.jupyter.sweep.controls import SweepControls
from fluxmagic.jupyter.sweep.points import BAD, Dial, Points, ink_on
from fluxmagic.jupyter.sweep.words import best_of, objective, progress, summary
from fluxmagic.sweep import Sweep
from fluxmagic.sweep.trial import Trial

__all__ = ["PRESENTATION", "SweepPicture"]

LEFT = 3.75  # inches, of the axes of dials
SHARE = 0.015  # of the time of the sweep, for frames; buttons are not a part of them
MAX_CURVES, MAX_BINS = 100, 100  # and points of a curve
MAX_NUMBERS = 9, 12  # columns and rows of a map whose cells have room for numbers
MAX_TICKS, MAX_LETTERS = 12, 30  # of an axis of dials; beyond, its labels are turned


class SweepPicture:
    """The picture of a sweep."""

    axis = Axis(0.08, 0.98, 0.0, 1.0)  # no time line is below it

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.points = Points(sweep)
        self.chosen: int | None = None  # the point that a user has chosen
        self.has_dials = self.points.kind != "table"  # a page may have buttons for the objective over dials
        self._curves: dict[int, tuple[int, np.ndarray]] = {}
        self._png, self._asked = b"", False  # whether a user waits for a frame
        self._spent = self._at = 0.0
        self._cost = 0.05  # seconds of a frame
        self._width = axes.WIDTH
        self._build()

    @property
    def is_unfinished(self) -> bool:
        """Whether another frame may show more though no trial has ended since."""
        return self.sweep.state == "running"

    @property
    def rich(self) -> list[dict[str, str]]:
        """Nothing is shown below the picture."""
        return []

    def follow(self, controls: Controls) -> None:
        """Draw as the controls say."""
        assert isinstance(controls, SweepControls)
        self._asked |= self.chosen != controls.chosen
        before = self.has_dials, self._width, self.chosen is None
        self._width = axes.width_on(controls.width)
        self.chosen, self.has_dials = controls.chosen, self.points.kind not in ("table", "cells")
        if before != (self.has_dials, self._width, self.chosen is None):
            self._build()

    def close(self) -> None:
        """A sweep leaves no curve for later ones."""

    # -- the figure ----------------------------------------------------------------------------------------

    def _build(self) -> None:
        with axes.default_style():
            beside = self.has_dials and self._width == axes.WIDTH  # otherwise below
            self._height = axes.ROW * (1 if beside or not self.has_dials else 2)
            self.figure = axes.make_figure(self._width, self._height)
            left = axes.LEFT + (LEFT + axes.GAP if beside else 0)
            self._curve_ax = self._add_axes(left, 0, self._width - left - axes.RIGHT)
            axes.style_steps(self._curve_ax)
            self._add_curves(self._curve_ax)
            self._dial_ax: Axes | None = None
            if self.has_dials:
                across = LEFT if beside else self._width - axes.LEFT - axes.RIGHT
                self._dial_ax = self._add_axes(axes.LEFT, 0 if beside else axes.ROW, across)
            self._moving: list[Artist] = []
            if self._dial_ax is not None:
                self._style_dials(self._dial_ax)
        self._limits: Limits | None = None
        self._background = object()

    def _add_axes(self, left: float, bottom: float, width: float) -> Axes:
        """Add axes, in inches."""
        bottom, height = bottom + axes.BOTTOM, axes.ROW - axes.BOTTOM - axes.TOP
        across, up = self._width, self._height
        ax = self.figure.add_axes((left / across, bottom / up, width / across, height / up))
        axes.strip_axes(ax)
        return ax

    def _add_curves(self, ax: Axes) -> None:
        self._faint = LineCollection([], colors=axes.INK, alpha=0.35, linewidths=0.9, animated=True, gid="trials")
        ax.add_collection(self._faint, autolim=False)
        self._lines = {
            name: ax.plot([], [], color=colour, lw=2, animated=True, gid=name)[0]
            for name, colour in (("best", axes.LOSS), ("chosen", axes.VALID))
        }
        legend = ax.legend(
            handles=[Line2D([], [], color=axes.INK, alpha=0.6), *self._lines.values()][: 2 + (self.chosen is not None)],
            labels=["loss of a trial", "best", "chosen"][: 2 + (self.chosen is not None)],
            loc="lower left",
            bbox_to_anchor=(0, 0.99),
            ncols=3,
            frameon=False,
            fontsize=axes.SMALL,
            labelcolor=axes.INK,
            handlelength=1.2,
            columnspacing=1,
            borderpad=0.1,
        )
        for line in legend.get_lines():
            line.set_animated(False)

    def _style_dials(self, ax: Axes) -> None:
        dials = self.points.dials
        _style_axis(ax, "x", dials[0], self.points.at[:, 0])
        if len(dials) == 2:
            _style_axis(ax, "y", dials[1], self.points.at[:, 1])
        else:
            ax.grid(color=axes.INK, alpha=0.22, lw=0.6)
        axes.set_plain_text(ax.title, "")
        ax.title.set(color=axes.INK, fontsize=axes.SMALL, animated=True, ha="left", position=(0, 1))

    # -- what is shown -------------------------------------------------------------------------------------

    def _update(self) -> None:
        """Bring curves and dials up to date."""
        self.points.update()
        begun = [t for t in self.sweep.trials if t.step and t.progress is not None]
        drawn = begun[:: -(-len(begun) // MAX_CURVES) or 1]
        curves = [self._curve(t) for t in drawn]
        self._faint.set_segments([c for c in curves if len(c) > 1])
        for name, point in (("best", self.points.best), ("chosen", self.chosen)):
            trial = None if point is None else best_of(self.sweep, point)
            line = np.empty((0, 2)) if trial is None or trial.progress is None else self._curve(trial)
            self._lines[name].set_data(line[:, 0], line[:, 1])
            curves.append(line)
        self._set_limits(curves)
        if self._dial_ax is not None:
            for artist in self._moving:
                artist.remove()
            self._moving = self._draw_dials(self._dial_ax)

    def _curve(self, trial: Trial) -> np.ndarray:
        """Give steps and mean losses of a trial: shape (bins, 2)."""
        step, found = self._curves.get(trial.spec.index, (-1, np.empty((0, 2))))
        if step != trial.step and trial.progress is not None:
            loss = np.asarray(trial.progress.record.loss, float)
            size = -(-len(loss) // MAX_BINS) or 1
            starts = np.arange(0, len(loss), size)
            counts = np.diff(np.append(starts, len(loss)))
            means = np.add.reduceat(loss, starts) / counts if len(loss) else loss
            found = np.stack([starts + (counts + 1) / 2, means], 1)[np.isfinite(means)]
            self._curves[trial.spec.index] = trial.step, found
        return found

    def _set_limits(self, curves: list[np.ndarray]) -> None:
        """Let the axes hold curves and objectives, moving them seldom."""
        known = [c for c in curves if len(c)]
        # a last batch of few rows may have a very small loss
        losses = [before_divergence(c[c[:, 1] >= np.quantile(c[:, 1], 0.03), 1])[0] for c in known]
        log = is_wide(losses, self._limits is not None and self._limits.log)
        right = max([2.0, *(t.spec.steps or 0 for t in self.sweep.trials[:1]), *(c[-1, 0] for c in known)])
        low = [self.points.low, self.points.high] if self.points.kind == "line" else []
        wide = is_wide([x[np.isfinite(x)] for x in low], False) if low else False
        bottom, top = loss_range([x[np.isfinite(x)] for x in low], wide) if low else (0.0, 1.0)
        data = Limits(0.0, float(right), *loss_range(losses, log), bottom, top, log)
        if self._limits is not None and still_fit(self._limits, data):
            return
        self._limits = data._replace(right=data.right * 1.1)
        self._limits = self._limits._replace(low=(ends := with_margin(data.low, data.high, log))[0], high=ends[1])
        axes.scale_losses(self._curve_ax, *ends, log)
        self._curve_ax.set_xlim(-0.01 * right, right)
        if low and self._dial_ax is not None:
            axes.scale_losses(self._dial_ax, *with_margin(bottom, top, wide), wide)
        self._moved = True

    def _title(self) -> str:
        points, value = self.points, self.points.value
        seeds = f", median of {self.sweep.seeds} seeds" if (self.sweep.seeds or 1) > 1 else ""
        known = value[np.isfinite(value)]
        if len(known) < 2 or points.kind == "line" or _has_numbers(points):
            return objective(self.sweep) + seeds
        ends = (known.max(), known.min()) if self.sweep.sign < 0 else (known.min(), known.max())
        return f"{objective(self.sweep)}: {ends[0]:.3g} is bright, {ends[1]:.3g} dark"

    def _draw_dials(self, ax: Axes) -> list[Artist]:
        """Draw the objective over the dials; return what was drawn."""
        points = self.points
        axes.set_plain_text(ax.title, self._title())
        colours = points.colours
        found: list[Artist] = []
        if points.kind == "line":
            x, known = points.at[:, 0], np.isfinite(points.value)
            order = np.argsort(x[known], kind="stable")
            spread = [[(a, b), (a, c)] for a, b, c in zip(x, points.low, points.high, strict=True) if c > b]
            bars = LineCollection(spread, colors=axes.INK, linewidths=4, alpha=0.5)
            found = [
                ax.add_collection(bars, autolim=False),
                *ax.plot(x[known][order], points.value[known][order], color=axes.LOSS, lw=1.5, marker="o", ms=5),
                *ax.plot(
                    x[points.bad], np.ones(points.bad.sum()), color=axes.BAD, ls="", marker="X", ms=8,
                    transform=ax.get_xaxis_transform(), clip_on=False,
                ),
            ]  # fmt: skip
        elif points.kind == "scatter":
            shown = [i for i, c in enumerate(colours) if c]
            x, y = points.at[shown].T
            found = [ax.scatter(x, y, s=60, c=[colours[i] for i in shown], edgecolors=axes.INK, lw=0.7)]
        else:
            found = _draw_cells(ax, points, colours)
        found += self._draw_outlines(ax)
        for artist in found:
            artist.set_animated(True)
        return found

    def _draw_outlines(self, ax: Axes) -> list[Artist]:
        """Mark the best point, the present and the chosen one."""
        found: list[Artist] = []
        points = self.points
        marks = ((points.present, ":", "black"), (points.best, "-", "black"), (self.chosen, "-", axes.VALID))
        for point, dashes, colour in marks:
            if point is None:
                continue
            if points.kind in ("cells", "map"):
                places = np.array(points.places[point])
                (x, y), (w, h) = places.min(0) - 0.5, np.ptp(places, 0) + 1
                for width, ink, style in ((4.5, "white", "-"), (2, colour, dashes)):
                    box = Rectangle((x, y), w, h, fill=False, ec=ink, lw=width, ls=style, clip_on=False, zorder=5)
                    found.append(ax.add_patch(box))
            else:
                x, y = points.at[point] if points.kind == "scatter" else (points.at[point, 0], points.value[point])
                for edge, ink in ((4.5, "white"), (2, colour)):
                    found += ax.plot([x], [y], marker="o", ms=12, mfc="none", mec=ink, mew=edge, ls="")
        return found

    # -- drawing -------------------------------------------------------------------------------------------

    def _artists(self) -> list[Artist]:
        title = [] if self._dial_ax is None else [self._dial_ax.title]
        return [*self._moving, *title, self._faint, *self._lines.values()]

    def frame(self) -> bytes:
        """Draw the sweep as it is now, as a PNG; the last one again where that would take more than its share."""
        seconds = self.sweep.seconds
        if seconds < self._at:  # it was begun again
            self._spent = 0.0
        self._at = seconds
        if self.sweep.state == "running" and not self._asked and self._spent + self._cost > SHARE * seconds:
            return self._png
        began = time.perf_counter()
        self._png, self._asked = self._frame(), False
        self._cost = time.perf_counter() - began
        self._spent += self._cost
        return self._png

    @np.errstate(all="ignore")
    def _frame(self) -> bytes:
        self._moved = self._limits is None
        self._update()
        canvas = axes.canvas_of(self.figure)
        if self._moved:
            canvas.draw()
            self._background = canvas.copy_from_bbox(self.figure.bbox)
        canvas.restore_region(self._background)
        axes.draw_artists(self._artists())
        begun = any(t.step for t in self.sweep.trials)
        return png(np.asarray(canvas.buffer_rgba())) if begun else b""

    @np.errstate(all="ignore")
    def picture(self) -> bytes:
        """Draw the sweep as it stays, as a PNG: sharper, with the objective over the dials."""
        live = self.has_dials, self._width
        self.has_dials, self._width = self.points.kind != "table", axes.WIDTH
        self._build()
        self._update()
        for artist in self._artists():
            artist.set_animated(False)
        drawn = axes.sharp_png(self.figure)
        self.has_dials, self._width = live
        self._build()
        return drawn


def _style_axis(ax: Axes, which: str, dial: Dial, at: np.ndarray) -> None:
    """Give an axis the entries of a list, or the scale of a distribution."""
    axis = getattr(ax, f"{which}axis")
    getattr(ax, f"set_{which}label")(dial.name, color=axes.INK, fontsize=axes.FONT, labelpad=2)
    limits = getattr(ax, f"set_{which}lim")
    if dial.values is None:
        getattr(ax, f"set_{which}scale")("log" if dial.log else "linear")
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        limits(*with_margin(*data_range([at], dial.log), dial.log))
        return
    n, labels = len(dial.values), dial.labels
    every = -(-n // MAX_TICKS)
    axis.set_ticks(range(0, n, every), labels[::every], fontsize=axes.SMALL)
    axis.set_major_formatter(FuncFormatter(lambda x, _: axes.shorten(labels[round(x)], 12) if 0 <= x < n else ""))
    if which == "x" and n // every * max(map(len, labels)) > MAX_LETTERS:
        ax.tick_params(axis="x", labelrotation=35, pad=0)
        for text in axis.get_ticklabels():
            text.set(ha="right", rotation_mode="anchor")
        ax.xaxis.set_label_coords(-0.04, -0.03)
    limits(-0.5, n - 0.5)


def _has_numbers(points: Points) -> bool:
    """Tell whether the cells of a map have room for numbers."""
    columns, rows = (len(d.values or ()) for d in points.dials)
    return points.kind == "cells" and columns <= MAX_NUMBERS[0] and rows <= MAX_NUMBERS[1]


def _draw_cells(ax: Axes, points: Points, colours: list[str]) -> list[Artist]:
    columns, rows = (len(d.values or ()) for d in points.dials)
    pixels = np.zeros((rows, columns, 4))
    numbers: list[Artist] = []
    for i, place in ((i, place) for i, places in enumerate(points.places) for place in places if colours[i]):
        colour, (x, y) = colours[i], map(int, place)
        pixels[y, x] = [*(int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)), 1]
        if _has_numbers(points):
            words = "✕" if colour == BAD else f"{points.value[i]:.2g}"
            numbers.append(ax.text(x, y, words, color=ink_on(colour), fontsize=8, ha="center", va="center"))
    mesh = QuadMesh(
        np.stack(np.meshgrid(np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5), 2), edgecolors="none"
    )
    mesh.set_facecolor([(r, g, b, a) for r, g, b, a in pixels.reshape(-1, 4).tolist()])
    return [ax.add_collection(mesh, autolim=False), *numbers]


PRESENTATION = Presentation(SweepPicture, SweepControls, progress, summary)

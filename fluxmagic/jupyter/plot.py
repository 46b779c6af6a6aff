"""The curve of a run: one Agg figure, drawn often and cheaply.

The lines are drawn onto a cached background of axes, legend, earlier runs and marks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from fluxmagic.jupyter import axes
from fluxmagic.jupyter.downsample import MinMaxSeries, RunSeries, loss_series
from fluxmagic.jupyter.marks import Mark, draw_marks, find_marks
from fluxmagic.jupyter.png import png
from fluxmagic.runs import Run

__all__ = ["Curve"]

MAX_EPOCH_DOTS = 60  # evaluations until which each has a dot


class Limits(NamedTuple):
    """Ends of the axes: steps, loss, metrics."""

    end: float
    low: float
    high: float
    bottom: float
    top: float


class Curve:
    """The curve of a run.

    Parameters
    ----------
    run : Run
    earlier : iterable of Run or MinMaxSeries
        Runs, or their losses, to be drawn in grey behind it.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        Drawn with Agg; `pyplot` does not know it.  The `gid` of a line is "loss", "raw loss", "valid" or the name of a
        metric.
    earlier : list of MinMaxSeries
        The losses of the earlier runs.
    log : bool
        Whether the loss axis is logarithmic.
    smoothing : float
        The share of the smoothed loss that is kept from step to step, in [0, 1).

    Examples
    --------
    >>> from fluxmagic import SGD, Curve, Run, param
    >>> W = param(2.0)
    >>> run = Run(lambda x: (W * x) ** 2, [1.0] * 5, SGD([W], 0.1))
    >>> run.train()
    >>> picture = Curve(run)
    """

    def __init__(self, run: Run, earlier: Iterable[Run | MinMaxSeries] = ()) -> None:
        self.run = run
        self.log = False
        self.smoothing = 0.9
        self.earlier = [s for s in (loss_series(r) for r in earlier if r is not run) if s.n]
        self._series = RunSeries(run)
        with axes.default_style():
            self.figure, self._ax = axes.make_axes()
            self._add_lines()
        self._marks: list[Mark] = []
        self._mark_artists: list[Artist] = []
        self._limits: Limits | None = None
        self._settings: tuple[bool, float] | None = None
        self._axes_drawn: Any = None  # pixels of the axes and the legend
        self._background: Any = None  # these with marks

    def _add_lines(self) -> None:
        names = list(self._series.evaluations)
        self._metric_ax: Axes | None = None
        if any(k != "valid" for k in names):
            self._metric_ax = self._ax.twinx()
            axes.strip_axes(self._metric_ax)
            self._metric_ax.tick_params(left=False)
        self._raw = self._add_line(self._ax, "raw loss", color=axes.LOSS, alpha=0.35, lw=0.9)
        self._evaluations = {}
        colours = iter(axes.METRICS * len(names))
        for k in names:
            ax, colour = (self._ax, axes.VALID) if k == "valid" else (self._metric_ax, next(colours))
            assert ax is not None
            self._evaluations[k] = self._add_line(ax, k, color=colour, lw=1.6, marker=".", ms=4)
        self._smooth = self._add_line(self._ax, "loss", color=axes.LOSS, lw=1.8)
        named = {"loss": self._smooth, **self._evaluations}
        for series in self.earlier:
            x, y = series.moving_average(self.smoothing)
            (named["earlier"],) = self._ax.plot(x, y, color=axes.INK, alpha=0.45, lw=1.2, zorder=1)
        legend = self._ax.legend(
            list(named.values()),
            ["x"] * len(named),
            loc="lower left",
            bbox_to_anchor=(-0.01, 0.99),
            ncols=8,
            frameon=False,
            labelcolor=axes.INK,
            fontsize=9,
            handlelength=1.4,
            columnspacing=1.4,
        )
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_animated(False)
        axes.label_legend(legend, named)

    @staticmethod
    def _add_line(ax: Axes, name: str, **style: Any) -> Line2D:
        """Add a line that `draw` of the figure leaves out: each frame draws it onto the background."""
        return ax.plot([], [], solid_joinstyle="round", animated=True, gid=name, **style)[0]

    @property
    def loss(self) -> MinMaxSeries:
        """The loss so far, as it is drawn."""
        self._series.update()
        return self._series.loss

    # -- what is shown -------------------------------------------------------------------------------------

    def _update(self) -> None:
        series = self._series
        series.update()
        self._raw.set_data(*series.loss.line())
        self._smooth.set_data(*series.loss.moving_average(self.smoothing))
        for k, evaluations in series.evaluations.items():
            self._evaluations[k].set_data(*evaluations.line())
            self._evaluations[k].set_marker("." if evaluations.n <= MAX_EPOCH_DOTS else "")

    def _data_limits(self) -> Limits:
        losses = [self._smooth, *(line for k, line in self._evaluations.items() if k == "valid")]
        ys = [np.asarray(line.get_ydata()) for line in losses]
        ys += [s.moving_average(self.smoothing)[1] for s in self.earlier]
        raw = np.concatenate([self._series.loss.low, self._series.loss.high])
        raw = raw[np.isfinite(raw)]
        if len(raw):
            ys.append(np.quantile(raw, [0.01, 0.99]))  # a single spike is cut off
        metrics = [np.asarray(line.get_ydata()) for k, line in self._evaluations.items() if k != "valid"]
        end = max([self.run.steps, 1, *(s.n for s in self.earlier)])
        return Limits(float(end), *axes.data_range(ys, self.log), *axes.data_range(metrics, False))

    def _set_limits(self, final: bool = False) -> bool:
        """Let the axes hold the data, moving them seldom; tell whether they were moved."""
        end, low, high, bottom, top = data = self._data_limits()
        settings = (self.log, self.smoothing)
        if self._limits and not final and settings == self._settings and _still_fit(self._limits, data, self.log):
            return False
        if final:
            end = max(end, 2.0)
        else:
            total = self.run.total_steps or 0
            end = float(total) if self.run.steps * 4 > total > 0 else end * 1.8 + 40
            end = max(end, float(self.run.steps))
        low, high = axes.with_margin(low, high, self.log)
        bottom, top = axes.with_margin(bottom, top, False)
        self._ax.set_yscale("log" if self.log else "linear")
        self._ax.set_xlim(-0.01 * end, end)
        self._ax.set_ylim(low, high)
        if self._metric_ax is not None:
            self._metric_ax.set_ylim(bottom, top)
        self._settings = settings
        self._limits = Limits(end, low, high, bottom, top)
        return True

    def _set_marks(self) -> bool:
        """Bring the marks up to date; tell whether they changed."""
        assert self._limits is not None
        marks = find_marks(self.run, self._limits.end)
        if marks == self._marks:
            return False
        for artist in self._mark_artists:
            artist.remove()
        self._marks, self._mark_artists = marks, draw_marks(self._ax, marks)
        return True

    # -- drawing -------------------------------------------------------------------------------------------

    @np.errstate(all="ignore")
    def frame(self, *, full: bool = False) -> bytes:
        """Draw the curve as it is now, as a PNG; cheap unless the axes have to move.

        Parameters
        ----------
        full : bool
            Draw the axes too; the pixels are the same.
        """
        self._update()
        figure = self.figure
        canvas: Any = figure.canvas
        moved = self._set_limits() or full
        if moved:
            canvas.draw()
            self._axes_drawn = canvas.copy_from_bbox(figure.bbox)
        if self._set_marks() or moved:
            canvas.restore_region(self._axes_drawn)
            for artist in self._mark_artists:
                self._ax.draw_artist(artist)
            self._background = canvas.copy_from_bbox(figure.bbox)
        canvas.restore_region(self._background)
        for line in (self._raw, self._smooth, *self._evaluations.values()):
            assert line.axes is not None
            line.axes.draw_artist(line)
        return png(np.asarray(canvas.buffer_rgba()))

    @np.errstate(all="ignore")
    def picture(self) -> bytes:
        """Draw the curve as it stays, as a PNG: sharper, and the axes close around it."""
        self._update()
        self._set_limits(final=True)
        self._set_marks()
        drawn = axes.sharp_png(self.figure)
        self._limits = None  # the next frame has axes of its own
        return drawn

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return self.picture(), axes.DISPLAY_SIZE

    def __repr__(self) -> str:
        return f"Curve({self.run!r})"


def _still_fit(limits: Limits, data: Limits, log: bool) -> bool:
    """Tell whether limits hold the data, and the loss fills enough of them."""
    inside = data.end <= limits.end and limits.low <= data.low and data.high <= limits.high
    inside = inside and limits.bottom <= data.bottom and data.top <= limits.top
    return inside and _extent(data, log) > 0.4 * _extent(limits, log)


def _extent(limits: Limits, log: bool) -> float:
    return math.log(limits.high) - math.log(limits.low) if log else limits.high - limits.low

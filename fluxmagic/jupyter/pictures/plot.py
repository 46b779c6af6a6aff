"""The curve of a run: one Agg figure, drawn often and cheaply.

The lines are drawn onto a cached background of axes, earlier runs and marks.  Where two numbers are trained the loss
stands beside it as contours.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from numpy.typing import ArrayLike

from fluxmagic.jupyter.formatting import format_number, shown_loss
from fluxmagic.jupyter.pictures import axes
from fluxmagic.jupyter.pictures.beside import shown_beside
from fluxmagic.jupyter.pictures.contours import MOST, Contours, PathSeries
from fluxmagic.jupyter.pictures.downsample import MinMaxSeries, RunSeries, loss_series, stretch_series
from fluxmagic.jupyter.pictures.legend import Legend, rows_of_names
from fluxmagic.jupyter.pictures.limits import (
    EMPTY,
    Axis,
    Limits,
    before_divergence,
    data_range,
    is_wide,
    loss_range,
    still_fit,
    with_margin,
    within,
)
from fluxmagic.jupyter.pictures.marks import Mark, draw_marks, find_marks
from fluxmagic.jupyter.pictures.overlay import Overlay
from fluxmagic.jupyter.pictures.png import png
from fluxmagic.jupyter.pictures.shown import ShownAxes, ShownValue
from fluxmagic.runs import Run
from fluxmagic.runs.loss_map import LossMap, names_of_two, trains_two_numbers

__all__ = ["Curve"]

MAX_EPOCH_DOTS = 60  # evaluations until which each has a dot
MAP_SECONDS = 0.01  # of a frame, in which the map of the loss is computed
IDLE_MAP_SECONDS = 0.1  # likewise, where the run does not wait for it
FINAL_MAP_SECONDS = 1.0  # for what is left of it, when the picture is to stay


class Curve:
    """The curve of a run.

    Parameters
    ----------
    run : Run
    earlier : iterable of Run or MinMaxSeries
        Runs, or their losses, to be drawn in grey behind it.  So are steps that the run has left by going back.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        Drawn with Agg; `pyplot` does not know it.  The `gid` of a line is "loss", "raw loss", "valid" or the name of a
        metric.
    earlier : list of MinMaxSeries
        The losses of the earlier runs.
    log : bool or None
        Whether the loss axis is logarithmic; None: where the range in view exceeds two decades.
    window : int or None
        The last steps that are in view; None: all.
    shown : list of ShownValue
        What is to be seen beside the curve; a page shows the `rich` ones by itself.
    leaves_time : bool
        Whether the run is slower than it could be: what takes long is drawn more often then.
    page_width : int
        The pixels that a page has for it: where they are few, its text is larger.
    smoothing : float
        The share of the smoothed loss that is kept from step to step, in [0, 1).  Where an epoch has one batch the
        loss has no noise, and nothing is smoothed.

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
        self.log: bool | None = None
        self.window: int | None = None
        self.smoothing = 0.9
        self.leaves_time = False
        self.page_width = round(axes.WIDTH * axes.DPI)
        self.earlier = [s for s in (loss_series(r) for r in earlier if r is not run) if s.n]
        self._series = RunSeries(run)
        self._grey: list[MinMaxSeries] = []  # the earlier ones, and what the run has left
        self._path = PathSeries()
        self.shown = [ShownValue(run, f) for f in shown_beside(run)]
        for value in self.shown:
            value.update()
        self._map: LossMap | None = None
        self._build()

    def _build(self) -> None:
        """Make the figure, for what there is to be seen now."""
        if self._map is None and trains_two_numbers(self.run):
            self._map = LossMap(self.run)
        metrics = [k for k in self._series.evaluations if k != "valid"]
        with axes.default_style():
            in_axes = [value for value in self.shown if not value.is_rich]
            has_map, second, width = self._map is not None, bool(metrics), axes.width_on(self.page_width)
            rows = partial(rows_of_names, ["loss", *self._series.evaluations, "earlier"])
            self.figure, self._ax, beside = axes.make_curve_figure(
                has_map, len(in_axes), second=second, width=width, rows_of_legend=rows
            )
            axes.style_steps(self._ax)
            self._metric_ax = _add_metric_axes(self._ax, metrics)
            self._curve_axes = [ax for ax in (self._ax, self._metric_ax) if ax is not None]
            for ax in self._curve_axes:
                ax.set_animated(True)
            self._contours = None if self._map is None else Contours(beside[0], self._map, names_of_two(self.run))
            self._shown_axes = [ShownAxes(ax, v) for ax, v in zip(beside[has_map:], in_axes, strict=True)]
            self._add_lines()
        self._marks: list[Mark] = []
        self._mark_lines: list[Artist] = []
        self._labels: list[Annotation] = []
        self._overlay: Overlay | None = None  # pixels of the labels
        self._grey_artists: list[Line2D] = []
        self._grey_of: object = None  # the record whose lines they are
        self._limits: Limits | None = None
        self._settings: object = None
        # pixels of what is beside; these with the curve's axes; with contours and marks; with the legend
        self._beside_drawn = self._axes_drawn = self._background = self._named = object()

    def _add_lines(self) -> None:
        self._raw = _add_line(self._ax, "raw loss", color=axes.LOSS, alpha=0.35, lw=0.9)
        self._evaluations = {}
        colours = iter(axes.METRICS * len(self._series.evaluations))
        for k in self._series.evaluations:
            ax, colour = (self._ax, axes.VALID) if k == "valid" else (self._metric_ax, next(colours))
            assert ax is not None
            self._evaluations[k] = _add_line(ax, k, color=colour, lw=1.6, marker=".", ms=5)
        self._smooth = _add_line(self._ax, "loss", color=axes.LOSS, lw=1.8)
        grey = Line2D([], [], color=axes.INK, alpha=0.5)
        self._legend = Legend(self._ax, {"loss": self._smooth, **self._evaluations, "earlier": grey})

    @property
    def loss(self) -> MinMaxSeries:
        """The loss so far, as it is drawn."""
        self._series.update()
        return self._series.loss

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to be seen before the first step."""
        return not (self.run.steps or self._grey or trains_two_numbers(self.run) or self.shown)

    @property
    def is_unfinished(self) -> bool:
        """Whether another frame would show more of the same state: the map of the loss is being computed."""
        return self._map is not None and not self._map.is_done

    @property
    def axis(self) -> Axis:
        """Where the axis of steps was drawn, and from where to where it goes."""
        place, (left, right) = self._ax.get_position(), self._ax.get_xlim()
        return Axis(place.x0, place.x1, left, right)

    # -- what is shown -------------------------------------------------------------------------------------

    @property
    def _β(self) -> float:
        """The smoothing; none where the loss has no noise."""
        return self.smoothing if self.run.has_noise else 0.0

    def _update(self) -> bool:
        """Bring the lines up to date, in another figure where the page needs one; tell whether earlier ones changed."""
        tells = self._map is None and trains_two_numbers(self.run)  # the first loss has told
        if tells or self.figure.get_figwidth() != axes.width_on(self.page_width):
            self._build()
        changed = self._set_grey()
        series, β = self._series, self._β
        series.update()
        loss = series.loss if self.window is None else series.latest(self.window, β)
        self._raw.set_data(*(loss.line() if β else np.empty((2, 0))))
        self._smooth.set_data(*(loss.moving_average(β) if β else loss.line()))
        values = {"loss": shown_loss(self.run) if self.run.steps else ""}
        for k, evaluations in series.evaluations.items():
            self._evaluations[k].set_data(*evaluations.line())
            self._evaluations[k].set_marker("." if evaluations.n <= MAX_EPOCH_DOTS else "")
            value = self.run.last_evaluation.get(k)
            values[k] = "" if value is None else format_number(value)
        if self._grey:
            values["earlier"] = ""
        self._legend.show(values)
        return changed

    def _data_limits(self) -> Limits:
        steps = max(self.run.steps, 1)
        left = 0 if self.window is None else max(0, steps - self.window)
        lines = [self._smooth, *(line for k, line in self._evaluations.items() if k == "valid")]
        losses = [_in_view(*line.get_data(), left) for line in lines]
        grey = [_in_view(*s.moving_average(self._β), left) for s in self._grey]
        losses += within(grey, losses)
        was = self._limits is not None and self._limits.log
        log = is_wide([before_divergence(y)[0] for y in losses], was) if self.log is None else self.log
        metrics = [_in_view(*line.get_data(), left) for k, line in self._evaluations.items() if k != "valid"]
        right = max([steps, *(s.x[-1] for s in self._grey if s.n and self.window is None)])
        raw = before_divergence(_in_view(*self._raw.get_data(), left))[0]
        if len(raw):
            losses.append(np.quantile(raw, [0.01, 0.99]))  # a single spike is cut off
        return Limits(left, float(right), *loss_range(losses, log), *data_range(metrics, False), log)

    def _set_limits(self, final: bool = False) -> bool:
        """Let the axes hold the data, moving them seldom; tell whether they were moved."""
        data = self._data_limits()
        settings = (self.log, self.window, self._β)
        if self._limits and not final and settings == self._settings and still_fit(self._limits, data):
            return False
        right = max(data.right, 2.0)
        if not final:
            ends = [right / (1 - 0.9 * EMPTY)] + [float(total) for total in [self.run.total_steps] if total]
            right = max(right, min(ends))
        left = right - (self.window or 0) / (1 - EMPTY) if data.left else 0.0
        low, high = with_margin(data.low, data.high, data.log)
        bottom, top = with_margin(data.bottom, data.top, False)
        axes.scale_losses(self._ax, low, high, data.log)
        self._ax.set_xlim(left - 0.01 * (right - left), right)
        if self._metric_ax is not None:
            self._metric_ax.set_ylim(bottom, top)
        self._settings = settings
        self._limits = Limits(left, right, low, high, bottom, top, data.log)
        return True

    def _set_grey(self) -> bool:
        """Bring the earlier lines up to date; tell whether they changed.  Who goes back makes another record."""
        record = self.run.record
        if record is self._grey_of and self._settings == (self.log, self.window, self._β):
            return False
        self._grey_of = record
        left = self.run.abandoned
        self._grey = [*self.earlier, *map(stretch_series, left)]
        if self._contours is not None:
            self._contours.leave((s.path[-MOST:] for s in left if s.path is not None), axes.LOSS)
        for artist in self._grey_artists:
            artist.remove()
        self._grey_artists = []
        for series in self._grey:
            x, y = series.moving_average(self._β)
            self._grey_artists += self._ax.plot(x, y, color=axes.INK, alpha=0.5, lw=1.2, zorder=1, gid="earlier")
        return True

    def _set_marks(self, moved: bool) -> bool:
        """Bring the marks up to date; tell whether they changed."""
        assert self._limits is not None
        marks = find_marks(self.run, self._limits.left, self._limits.right)
        if marks == self._marks and not moved:
            return False
        for artist in (*self._mark_lines, *self._labels):
            artist.remove()
        self._marks = marks
        self._mark_lines, self._labels = draw_marks(self._metric_ax or self._ax, marks)
        return True

    def _set_contours(self, seconds: float) -> tuple[bool, bool]:
        """Move the ball, and compute more of the map; tell whether axes, and whether contours have changed."""
        if self._contours is None:
            return False, False
        return self._contours.show([self._path.trail(self.run, "loss", axes.LOSS)], seconds)

    def _set_shown(self, *, final: bool = False) -> bool:
        """Evaluate what is shown beside the curve; tell whether a picture or a text of it has changed."""
        changed = False
        for value in self.shown:
            value.update(idle=self.leaves_time, final=final)
        for ax in self._shown_axes:
            changed |= ax.show()
        return changed

    # -- drawing -------------------------------------------------------------------------------------------

    @np.errstate(all="ignore")
    def frame(self, *, full: bool = False) -> bytes:
        """Draw the curve as it is now, as a PNG; cheap unless the axes have to move.

        Parameters
        ----------
        full : bool
            Draw the axes too; the pixels are the same.
        """
        grey = self._update()
        canvas = axes.canvas_of(self.figure)
        idle = self.leaves_time or self.run.state != "running"
        map_moved, changed = self._set_contours(IDLE_MAP_SECONDS if idle else MAP_SECONDS)
        changed |= self._set_shown()
        new = self._limits is None
        moved = self._set_limits() or full or grey or map_moved
        if new or full or map_moved:
            canvas.draw()  # without the curve's axes, which move more often
            self._beside_drawn = canvas.copy_from_bbox(self.figure.bbox)
        if moved:
            canvas.restore_region(self._beside_drawn)
            for ax in self._curve_axes:
                ax.draw(canvas.get_renderer())
            self._axes_drawn = canvas.copy_from_bbox(self.figure.bbox)
        if self._set_marks(moved):
            self._overlay = Overlay(canvas, self._labels)
            moved = True
        if moved or changed:
            canvas.restore_region(self._axes_drawn)
            axes.draw_artists([*self._mark_lines, *(self._contours.ground if self._contours else ())])
            axes.draw_artists(artist for ax in self._shown_axes for artist in ax.ground)
            self._background = canvas.copy_from_bbox(self.figure.bbox)
        if moved or changed or self._legend.has_changed:
            canvas.restore_region(self._background)
            axes.draw_artists(self._legend.artists)
            self._named = canvas.copy_from_bbox(self.figure.bbox)
        canvas.restore_region(self._named)
        axes.draw_artists([self._raw, self._smooth, *self._evaluations.values()])
        axes.draw_artists(self._contours.moving if self._contours else ())
        pixels = np.asarray(canvas.buffer_rgba())
        if self._overlay is not None:
            self._overlay.blend(pixels)
        return png(pixels)

    @np.errstate(all="ignore")
    def picture(self) -> bytes:
        """Draw the curve as it stays, as a PNG: sharper, and the axes close around it."""
        self._update()
        self._set_contours(FINAL_MAP_SECONDS)
        self._set_shown(final=True)
        self._set_limits(final=True)
        self._set_marks(True)
        for ax in self._curve_axes:
            ax.set_animated(False)
        drawn = axes.sharp_png(self.figure)
        for ax in self._curve_axes:
            ax.set_animated(True)
        self._limits = None  # the next frame has axes of its own
        return drawn

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return self.picture(), axes.DISPLAY_SIZE

    def __repr__(self) -> str:
        return f"Curve({self.run!r})"


def _add_metric_axes(ax: Axes, metrics: list[str]) -> Axes | None:
    """Add a second y-axis; it has the colour of its line, where it has one line."""
    if not metrics:
        return None
    second = ax.twinx()
    axes.strip_axes(second)
    if len(metrics) == 1:
        second.tick_params(axis="y", colors=axes.METRICS[0], which="both")
    return second


def _add_line(ax: Axes, name: str, **style: Any) -> Line2D:  # noqa: ANN401
    """Add a line that `draw` of the figure leaves out: each frame draws it onto the background."""
    return ax.plot([], [], solid_joinstyle="round", animated=True, gid=name, **style)[0]


def _in_view(x: ArrayLike, y: ArrayLike, left: float) -> np.ndarray:
    """Give the values of a line at the right of a step."""
    values: np.ndarray = np.asarray(y, float)[np.asarray(x, float) > left]
    return values

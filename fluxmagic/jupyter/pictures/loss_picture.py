"""What the pictures of a run and of a race share: losses over steps, drawn often and cheaply.

Lines are drawn onto a cached background of axes, marks and legend.  Where two numbers are trained the loss stands
beside them as contours, with a ball for each run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fluxmagic.jupyter.driving.trainable import Trainable
from fluxmagic.jupyter.pictures import axes
from fluxmagic.jupyter.pictures.contours import Contours, Surface, Trail
from fluxmagic.jupyter.pictures.downsample import MinMaxSeries
from fluxmagic.jupyter.pictures.legend import Legend
from fluxmagic.jupyter.pictures.limits import (
    EMPTY,
    Axis,
    Limits,
    before_divergence,
    is_wide,
    losses_fit,
    still_fit,
    with_margin,
)
from fluxmagic.jupyter.pictures.marks import Mark, Marks
from fluxmagic.jupyter.pictures.png import png
from fluxmagic.runs import Run
from fluxmagic.runs.loss_map import LossMap, names_of_two, trains_two_numbers

if TYPE_CHECKING:
    from fluxmagic.jupyter.controls.transport import Controls

__all__ = ["LossPicture", "add_line"]

MAP_SECONDS = 0.01  # of a frame, in which the map of the loss is computed
IDLE_MAP_SECONDS = 0.1  # likewise, where training does not wait for it
ROOM = 0.2  # of the range of losses, at an end of their axis that had to move
FINAL_MAP_SECONDS = 1.0  # for what is left of it, when the picture is to stay


class LossPicture:
    """Losses over steps; a class that is derived from it makes the figure and the lines, and reads what is new.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        Drawn with Agg; `pyplot` does not know it.
    log : bool or None
        Whether the loss axis is logarithmic; None: where the range in view exceeds two decades.
    window : int or None
        The last steps that are in view; None: all.
    smoothing : float
        The share of the smoothed loss that is kept from step to step, in [0, 1).  Where an epoch has one batch the
        loss has no noise, and nothing is smoothed.
    leaves_time : bool
        Whether training is slower than it could be: what takes long is drawn more often then.
    page_width : int
        The pixels that a page has for it: where they are few, its text is larger.
    """

    def __init__(self, trained: Trainable, runs: Sequence[Run]) -> None:
        self._trained, self._runs = trained, runs
        self.log: bool | None = None
        self.window: int | None = None
        self.smoothing = 0.9
        self.leaves_time = False
        self.page_width = axes.DISPLAY_SIZE["width"]
        self._map: LossMap | None = None
        self._build()

    def _build(self) -> None:
        """Make the figure, for what there is to be seen now."""
        if self._map is None and trains_two_numbers(self._runs[0]):
            self._map = LossMap(self._runs[0])
        self._metric_ax: Axes | None = None
        with axes.default_style():
            self.figure, self._ax, beside = self._make_figure(axes.width_on(self.page_width))
            axes.style_steps(self._ax)
            names = names_of_two(self._runs[0]) if self._map else ()
            self._contours = Contours(beside[0], names) if self._map else None
            self._moving, self._legend = self._add_artists(beside[self._map is not None :])
        self._marks = Marks(self._metric_ax or self._ax)
        self._curve_axes = [ax for ax in (self._ax, self._metric_ax) if ax is not None]
        for ax in self._curve_axes:
            ax.set_animated(True)
        self._left: list[Line2D] = []
        self._left_of: object = None  # the records whose lines they are, and their smoothing
        self._limits: Limits | None = None
        self._limits_of: object = None
        # pixels of what is beside; these with the curve's axes, but for that of steps, which moves more often, or None;
        # with all axes; with contours and marks
        self._losses_drawn: object = None
        self._beside_drawn = self._axes_drawn = self._background = object()

    # -- what a class adds ---------------------------------------------------------------------------------

    def _make_figure(self, width: float) -> tuple[Figure, Axes, list[Axes]]:
        """Make a figure of a width in inches; see `make_curve_figure`."""
        raise NotImplementedError

    def _add_artists(self, beside: list[Axes]) -> tuple[Sequence[Line2D], Legend]:
        """Add the lines, which move, and the legend; `beside` are the axes that have no contours."""
        raise NotImplementedError

    def _read(self) -> None:
        """Read what is new into the lines and the legend."""
        raise NotImplementedError

    def _left_series(self) -> Iterable[tuple[MinMaxSeries, str, float, Run]]:
        """Give what runs have left, and earlier runs, with colour and opacity, and the run that tells of noise."""
        raise NotImplementedError

    def _data_limits(self) -> Limits:
        """Give what the axes have to hold."""
        raise NotImplementedError

    def _trails(self) -> list[Trail]:
        """Give the paths of two numbers."""
        raise NotImplementedError

    def _set_beside(self, final: bool) -> tuple[bool, Iterable[Artist]]:
        """Bring up to date what stands beside; tell whether it has changed, and give what is to be drawn of it."""
        return False, ()

    def _find_marks(self) -> list[Mark]:
        """Give the marks that the axis of steps has to show."""
        return []

    # -- what is shown -------------------------------------------------------------------------------------

    def follow(self, controls: Controls) -> None:
        """Draw as the controls say."""
        self.page_width, self.leaves_time = controls.width, controls.pace.is_limited
        for name, value in controls.view.items():
            setattr(self, name, value)

    @property
    def axis(self) -> Axis:
        """Where the axis of steps was drawn, and from where to where it goes."""
        place, (left, right) = self._ax.get_position(), self._ax.get_xlim()
        return Axis(place.x0, place.x1, left, right)

    @property
    def rich(self) -> list[dict[str, str]]:
        """What is shown below the picture."""
        return []

    def close(self) -> None:
        """Learn that it is shown no more."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to be seen before the first step."""
        return not (self._trained.steps or self._left or self._map)

    @property
    def is_unfinished(self) -> bool:
        """Whether another frame would show more of the same state: the map of the loss is being computed."""
        return self._map is not None and not self._map.is_done

    def _β(self, run: Run) -> float:
        """Give the smoothing; none where the loss has no noise."""
        return self.smoothing if run.has_noise else 0.0

    def _update(self) -> bool:
        """Bring the lines up to date, in another figure where the page needs one; tell whether those left changed."""
        tells = self._map is None and trains_two_numbers(self._runs[0])  # the first loss has told
        if tells or self.figure.get_figwidth() != axes.width_on(self.page_width):
            self._build()
        changed = self._set_left()
        self._read()
        return changed

    def _set_left(self) -> bool:
        """Bring the lines that were left up to date; tell whether they changed.  Who goes back makes another record."""
        left_of = [run.record for run in self._runs], self.smoothing
        if left_of == self._left_of:
            return False
        self._left_of = left_of
        for line in self._left:
            line.remove()
        self._left = []
        for series, colour, alpha, run in self._left_series():
            x, y = series.moving_average(self._β(run))
            self._left += self._ax.plot(x, y, color=colour, alpha=alpha, lw=1.2, zorder=1, gid="earlier")
        return True

    @property
    def _end(self) -> float:
        """The last step of all lines."""
        lines = [np.asarray(line.get_xdata(), float) for line in self._left]
        return float(max([self._trained.steps, 1, *(x[-1] for x in lines if len(x))]))

    def _is_log(self, losses: Iterable[np.ndarray]) -> bool:
        was = self._limits is not None and self._limits.log
        return is_wide([before_divergence(y)[0] for y in losses], was) if self.log is None else self.log

    def _set_limits(self, final: bool = False) -> bool:
        """Let the axes hold the data, moving them seldom; tell whether they were moved."""
        data = self._data_limits()
        limits_of = self.log, self.window, self.smoothing
        was = None if final or limits_of != self._limits_of else self._limits
        if was and still_fit(was, data):
            return False
        right = max(data.right, 2.0)
        if not final:
            ends = [right / (1 - 0.9 * EMPTY)] + [float(total) for total in [self._trained.total_steps] if total]
            right = max(right, min(ends))
        left = right - (self.window or 0) / (1 - EMPTY) if data.left else 0.0
        self._ax.set_xlim(left - 0.01 * (right - left), right)
        if was and losses_fit(was, data):
            self._limits = was._replace(left=left, right=right)
            return True
        low, high = with_margin(data.low, data.high, data.log)
        if was and was.log == data.log:  # an end that had to move will have to again
            bottom, top = with_margin(data.low, data.high, data.log, ROOM)
            low, high = bottom if data.low < was.low else low, top if data.high > was.high else high
        bottom, top = with_margin(data.bottom, data.top, False)
        axes.scale_losses(self._ax, low, high, data.log)
        if self._metric_ax is not None:
            self._metric_ax.set_ylim(bottom, top)
        self._limits_of = limits_of
        self._limits = Limits(left, right, low, high, bottom, top, data.log)
        self._losses_drawn = None
        return True

    def _set_contours(self, seconds: float) -> tuple[bool, bool]:
        """Move the balls, and compute more of the map; tell whether axes, and whether contours have changed."""
        if self._map is None or self._contours is None:
            return False, False
        losses, trails = self._map, self._trails()
        for trail in trails:
            losses.hold(trail.to_be_held(losses.view))
        losses.advance(seconds)
        minima = () if losses.landscape is None else losses.landscape.minima
        return self._contours.show(trails, Surface(losses.title, losses.view, losses.grid, minima))

    # -- drawing -------------------------------------------------------------------------------------------

    @np.errstate(all="ignore")
    def frame(self, *, full: bool = False) -> bytes:
        """Draw the losses as they are now, as a PNG; cheap unless the axes have to move.

        Parameters
        ----------
        full : bool
            Draw the axes too; the pixels are the same.
        """
        left = self._update()
        canvas = axes.canvas_of(self.figure)
        idle = self.leaves_time or self._trained.state != "running"
        map_moved, changed = self._set_contours(IDLE_MAP_SECONDS if idle else MAP_SECONDS)
        beside_changed, beside = self._set_beside(False)
        changed |= beside_changed
        new = self._limits is None
        moved = self._set_limits() or full or left or map_moved
        if new or full or map_moved:
            canvas.draw()  # without the curve's axes, which move more often
            self._beside_drawn = canvas.copy_from_bbox(self.figure.bbox)
        if self._losses_drawn is None or full or map_moved or left or (moved and self._left):
            canvas.restore_region(self._beside_drawn)
            self._ax.xaxis.set_visible(False)
            for ax in self._curve_axes:
                ax.draw(canvas.get_renderer())
            self._ax.xaxis.set_visible(True)
            self._losses_drawn = canvas.copy_from_bbox(self.figure.bbox)
        if moved:
            canvas.restore_region(self._losses_drawn)
            self._ax.xaxis.draw(canvas.get_renderer())
            self._axes_drawn = canvas.copy_from_bbox(self.figure.bbox)
        changed |= self._marks.show(self._find_marks(), moved)
        if moved or changed:
            canvas.restore_region(self._axes_drawn)
            axes.draw_artists([*self._marks.lines, *(self._contours.ground if self._contours else ()), *beside])
            self._background = canvas.copy_from_bbox(self.figure.bbox)
        canvas.restore_region(self._background)
        paths = self._contours.moving if self._contours else ()
        axes.draw_artists([*self._legend.artists, *self._moving, *paths, *self._marks.labels])
        return b"" if self.is_empty else png(np.asarray(canvas.buffer_rgba()))

    @np.errstate(all="ignore")
    def picture(self) -> bytes:
        """Draw the losses as they stay, as a PNG: wider, sharper, and the axes close around them."""
        self.page_width = axes.DISPLAY_SIZE["width"]
        self._update()
        self._set_contours(FINAL_MAP_SECONDS)
        self._set_beside(True)
        self._set_limits(True)
        self._marks.show(self._find_marks(), True)
        for ax in self._curve_axes:
            ax.set_animated(False)
        drawn = axes.sharp_png(self.figure)
        for ax in self._curve_axes:
            ax.set_animated(True)
        self._limits = None  # the next frame has axes of its own
        return drawn


def add_line(ax: Axes, name: str, **style: Any) -> Line2D:  # noqa: ANN401
    """Add a line that `draw` of the figure leaves out: each frame draws it onto the background."""
    return ax.plot([], [], solid_joinstyle="round", animated=True, gid=name, **style)[0]

"""The picture of a race: a line for each contestant, and where two numbers are trained a ball for each on contours."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.lines import Line2D

from fluxmagic.jupyter.driving.presentation import Controls
from fluxmagic.jupyter.pictures import axes
from fluxmagic.jupyter.pictures.contours import Contours, PathSeries, Trail
from fluxmagic.jupyter.pictures.downsample import RunSeries, stretch_series
from fluxmagic.jupyter.pictures.limits import (
    EMPTY,
    Limits,
    before_divergence,
    is_wide,
    loss_range,
    still_fit,
    with_margin,
)
from fluxmagic.jupyter.pictures.png import png
from fluxmagic.jupyter.race.colours import COLOURS, colour_of
from fluxmagic.jupyter.race.words import loss_of
from fluxmagic.race import Race
from fluxmagic.runs import Run
from fluxmagic.runs.loss_map import LossMap, names_of_two, trains_two_numbers

__all__ = ["RacePicture"]

MAP_SECONDS, FINAL_MAP_SECONDS = 0.01, 1.0  # of a frame, and of the picture that stays, to compute the map of the loss
VALUE, CHARACTER, SAMPLE, LINE = 9, 0.6 * axes.SMALL / 72, 0.5, 0.23  # characters, and inches, of the legend
SPARE = 0.15  # inches that are free above the axes, where no title stands there


class _Lane:
    """What is drawn of a contestant."""

    def __init__(self, run: Run, number: int) -> None:
        self.run, self.colour = run, colour_of(number)
        self.dashes = "-" if number < len(COLOURS) else (0, (4, 1.5))
        self.series, self.path = RunSeries(run), PathSeries()

    def make_lines(self) -> None:
        """Make lines for new axes."""
        self.loss, self.valid, self.turns, self.end = self.moving = tuple(
            Line2D([], [], color=self.colour, animated=True, gid=gid, **style)
            for gid, style in (
                ("loss", {"lw": 1.8, "ls": self.dashes}),
                ("valid", {"lw": 1.3, "ls": ":"}),
                ("turns", {"ls": "", "marker": "D", "ms": 5, "mec": "white", "mew": 0.8}),
                ("end", {"ls": "", "marker": "X", "ms": 9, "mec": "white", "mew": 0.8}),
            )
        )

    def update(self, β: float) -> None:
        """Read what is new."""
        run = self.run
        self.series.update()
        x, y = self.series.loss.moving_average(β) if run.has_noise else self.series.loss.line()
        self.loss.set_data(x, y)
        if "valid" in self.series.evaluations:
            self.valid.set_data(*self.series.evaluations["valid"].line())
        turned = [e.step for e in run.events if e.step > 0]
        self.turns.set_data(turned, np.interp(turned, x, y) if len(x) else [])
        good = np.isfinite(y)
        diverged = bool(run.record.rejected) and good.any()
        self.end.set_data((x[good][-1:], y[good][-1:]) if diverged else ([], []))

    def losses(self) -> list[np.ndarray]:
        """Give what the axis of losses has to show."""
        return [np.asarray(line.get_ydata(), float) for line in (self.loss, self.valid)]

    def trail(self, name: str) -> Trail:
        """Give the path of two numbers."""
        return self.path.trail(self.run, name, self.colour)


class RacePicture:
    """The curves of a race, drawn onto a cached background of axes, legend, contours, and lines that were left.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
    log : bool or None
        Whether the loss axis is logarithmic; None: where the losses exceed two decades.
    smoothing : float
    page_width : int
        The pixels that a page has for it: where they are few, its text is larger.
    """

    def __init__(self, race: Race) -> None:
        self.race = race
        self.log: bool | None = None
        self.smoothing = 0.9
        self.page_width = round(axes.WIDTH * axes.DPI)
        self._lanes = {key: _Lane(run, i) for i, (key, run) in enumerate(race.runs.items())}
        self._map: LossMap | None = None
        self._build()

    def _build(self) -> None:
        """Make the figure, for what there is to be seen now."""
        if self._map is None and trains_two_numbers(self.race[0]):
            self._map = LossMap(self.race[0])
        with axes.default_style():
            self.figure, self._ax, beside = axes.make_curve_figure(
                self._map is not None, width=axes.width_on(self.page_width)
            )
            axes.style_steps(self._ax)
            self._ax.set_animated(True)
            self._contours = None if self._map is None else Contours(beside[0], self._map, names_of_two(self.race[0]))
            self._make_room()
            for lane in self._lanes.values():
                lane.make_lines()
                for line in lane.moving:
                    self._ax.add_line(line)
        self._left: list[Artist] = []
        self._left_of: object = None  # the records whose lines they are
        self._limits: Limits | None = None
        self._named: list[str] = []
        self._map_drawn = self._background = object()

    @property
    def is_unfinished(self) -> bool:
        """Whether another frame would show more of the same state: the map of the loss is being computed."""
        return self._map is not None and not self._map.is_done

    @property
    def rich(self) -> list[dict[str, str]]:
        """Nothing is shown below the picture."""
        return []

    def follow(self, controls: Controls) -> None:
        """Draw as the controls say."""
        self.page_width = controls.width

    def close(self) -> None:
        """A race leaves no curve for later ones."""

    # -- what is shown -------------------------------------------------------------------------------------

    def _update(self) -> bool:
        """Bring the lines up to date, in another figure where the page needs one; tell whether those left changed."""
        tells = self._map is None and trains_two_numbers(self.race[0])  # the first loss has told
        if tells or self.figure.get_figwidth() != axes.width_on(self.page_width):
            self._build()
        for lane in self._lanes.values():
            lane.update(self.smoothing)
        return self._set_left()

    def _set_left(self) -> bool:
        """Bring the lines that a restart has left up to date; tell whether they changed."""
        records = [run.record for run in self.race]
        if records == self._left_of:
            return False
        self._left_of = records
        for artist in self._left:
            artist.remove()
        self._left = []
        for lane in self._lanes.values():
            for stretch in lane.run.abandoned:
                series = stretch_series(stretch)
                x, y = series.moving_average(self.smoothing) if lane.run.has_noise else series.line()
                self._left += self._ax.plot(x, y, color=lane.colour, alpha=0.3, lw=1.2, zorder=1, gid="left")
        return True

    def _set_limits(self, final: bool) -> bool:
        """Let the axes hold the data, moving them seldom; tell whether they were moved."""
        losses = [y for lane in self._lanes.values() for y in lane.losses()]
        was = self._limits is not None and self._limits.log
        log = is_wide([before_divergence(y)[0] for y in losses], was) if self.log is None else self.log
        right = float(max(self.race.steps, 2, *(x[-1] for x in self._left_ends())))
        data = Limits(0.0, right, *loss_range(losses, log), 0.0, 1.0, log)
        if self._limits and not final and still_fit(self._limits, data):
            return False
        if not final:
            right = max(right, min(right / (1 - 0.9 * EMPTY), float(self.race.total_steps or np.inf)))
        low, high = with_margin(data.low, data.high, log)
        axes.scale_losses(self._ax, low, high, log)
        self._ax.set_xlim(-0.01 * right, right)
        self._limits = Limits(0.0, right, low, high, 0.0, 1.0, log)
        return True

    def _left_ends(self) -> list[np.ndarray]:
        return [x for line in self._left if isinstance(line, Line2D) and len(x := np.asarray(line.get_xdata()))]

    def _make_room(self) -> None:
        """Add a strip for the legend above the axes."""
        width, height = self.figure.get_size_inches()
        longest = max(map(len, self._lanes)) + VALUE
        self._columns = max(1, min(len(self._lanes), int(width / (longest * CHARACTER + SAMPLE))))
        strip = LINE * -(-len(self._lanes) // self._columns) - (SPARE if self._map is None else 0)
        self.figure.set_size_inches(width, height + strip)
        share = height / (height + strip)
        for ax in self.figure.axes:
            x, y, w, h = ax.get_position().bounds
            ax.set_position((x, y * share, w, h * share))

    def _set_legend(self, names: list[str]) -> bool:
        """Name the lines; tell whether the names changed."""
        if names == self._named:
            return False
        self._named = names
        for earlier in self.figure.legends:
            earlier.remove()
        legend = self.figure.legend(
            [Line2D([], [], color=lane.colour, ls=lane.dashes, lw=3) for lane in self._lanes.values()],
            ["x"] * len(names),
            loc="upper left",
            bbox_to_anchor=(0.06, 1.01),
            ncols=self._columns,
            frameon=False,
            labelcolor=axes.INK,
            fontsize=axes.SMALL,
            handlelength=1.3,
            labelspacing=0.25,
        )
        for text, name in zip(legend.get_texts(), names, strict=True):
            axes.set_plain_text(text, name)
        return True

    def _set_contours(self, seconds: float) -> tuple[bool, bool]:
        if self._contours is None:
            return False, False
        return self._contours.show([lane.trail(key) for key, lane in self._lanes.items()], seconds)

    # -- drawing -------------------------------------------------------------------------------------------

    @np.errstate(all="ignore")
    def frame(self, *, full: bool = False) -> bytes:
        """Draw the race as it is now, as a PNG; cheap unless the axes have to move.

        `full` draws the axes too; the pixels are the same.
        """
        left = self._update()
        canvas = axes.canvas_of(self.figure)
        map_moved, changed = self._set_contours(MAP_SECONDS)
        if self._set_legend(list(self._lanes)) or map_moved or full:
            canvas.draw()  # without the curve's axes, which move more often
            self._map_drawn = canvas.copy_from_bbox(self.figure.bbox)
            changed = True
        if self._set_limits(False) or left or changed:
            canvas.restore_region(self._map_drawn)
            axes.draw_artists(self._contours.ground if self._contours else ())
            self._ax.draw(canvas.get_renderer())
            self._background = canvas.copy_from_bbox(self.figure.bbox)
        canvas.restore_region(self._background)
        for lane in self._lanes.values():
            axes.draw_artists(lane.moving)
        axes.draw_artists(self._contours.moving if self._contours else ())
        is_empty = not (self.race.steps or self._contours)
        return b"" if is_empty else png(np.asarray(canvas.buffer_rgba()))

    @np.errstate(all="ignore")
    def picture(self) -> bytes:
        """Draw the race as it stays, as a PNG: sharper, the axes close around it, values in the legend."""
        self.page_width = round(axes.WIDTH * axes.DPI)
        self._update()
        self._set_contours(FINAL_MAP_SECONDS)
        self._set_limits(True)
        self._set_legend([f"{key}  {loss_of(self.race, key)}".rstrip() for key in self._lanes])
        self._ax.set_animated(False)
        drawn = axes.sharp_png(self.figure)
        self._ax.set_animated(True)
        self._limits = None  # the next frame has axes of its own
        return drawn

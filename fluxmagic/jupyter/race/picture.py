"""The picture of a race: a line for each contestant, and where two numbers are trained a ball for each on contours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fluxmagic.jupyter.driving.presentation import Presentation
from fluxmagic.jupyter.pictures import axes
from fluxmagic.jupyter.pictures.contours import PathSeries, Trail
from fluxmagic.jupyter.pictures.downsample import MinMaxSeries, RunSeries, stretch_series
from fluxmagic.jupyter.pictures.legend import Legend, rows_of_names
from fluxmagic.jupyter.pictures.limits import Limits, loss_range, within
from fluxmagic.jupyter.pictures.loss_picture import LossPicture, add_line
from fluxmagic.jupyter.race.controls import RaceControls
from fluxmagic.jupyter.race.words import COLOURS, colour_of, loss_of, progress, summary
from fluxmagic.race import Race
from fluxmagic.runs import Run

__all__ = ["PRESENTATION", "RacePicture"]

STYLES: dict[str, dict[str, Any]] = {
    "loss": {"lw": 1.8},
    "valid": {"lw": 1.3, "ls": ":"},
    "turns": {"ls": "", "marker": "D", "ms": 5, "mec": "white", "mew": 0.8},
    "end": {"ls": "", "marker": "X", "ms": 9, "mec": "white", "mew": 0.8},
}


class _Lane:
    """What is drawn of a contestant."""

    def __init__(self, run: Run, number: int) -> None:
        self.run, self.number, self.colour = run, number, colour_of(number)
        self.series, self.path = RunSeries(run), PathSeries()

    def add_lines(self, ax: Axes) -> tuple[Line2D, ...]:
        """Add lines to new axes."""
        self.loss, self.valid, self.turns, self.end = lines = tuple(
            add_line(ax, name, color=self.colour, **style) for name, style in STYLES.items()
        )
        self.end.set_clip_on(False)
        self.loss.set_linestyle("-" if self.number < len(COLOURS) else (0, (4, 1.5)))
        return lines

    def read(self, β: float) -> None:
        """Read what is new."""
        run = self.run
        self.series.update()
        x, y = self.series.loss.moving_average(β) if β else self.series.loss.line()
        self.loss.set_data(x, y)
        if "valid" in self.series.evaluations:
            self.valid.set_data(*self.series.evaluations["valid"].line())
        turned = [e.step for e in run.events if e.step > 0]
        self.turns.set_data(turned, np.interp(turned, x, y) if len(x) else [])

    @property
    def losses(self) -> list[np.ndarray]:
        """What the axis of losses has to show."""
        return [np.asarray(line.get_ydata(), float) for line in (self.loss, self.valid)]

    @property
    def has_diverged(self) -> bool:
        """Whether a loss was not finite."""
        return bool(self.run.record.rejected)

    def mark_end(self, top: float) -> None:
        """Mark where it has diverged; at the top of the axes where that is beyond."""
        x, y = np.asarray(self.loss.get_data(), float)
        good = np.isfinite(y) & self.has_diverged
        self.end.set_data(x[good][-1:], np.minimum(y[good][-1:], top))


class RacePicture(LossPicture):
    """The curves of a race; its attributes are those of a `LossPicture`."""

    def __init__(self, race: Race) -> None:
        self.race = race
        self._lanes = {key: _Lane(run, i) for i, (key, run) in enumerate(race.runs.items())}
        self._values = dict.fromkeys(self._lanes, "")  # in the legend
        super().__init__(race, list(race))

    def picture(self) -> bytes:
        self.page_width = axes.DISPLAY_SIZE["width"]
        self._values = {key: f" {loss_of(self.race, key)}" for key in self._lanes}
        self._build()  # with room for the values
        drawn = super().picture()
        self._values = dict.fromkeys(self._lanes, "")
        return drawn

    def _make_figure(self, width: float) -> tuple[Figure, Axes, list[Axes]]:
        self._across = width - axes.LEFT - axes.RIGHT
        self._above = 0.3 if self._map and width >= axes.NARROW else 0.0  # inches: a title stands beside
        rows = rows_of_names(self._values, self._across) - (not self._above)
        return axes.make_curve_figure(self._map is not None, width=width, strip=axes.LEGEND_ROW * rows)

    def _add_artists(self, beside: list[Axes]) -> tuple[Sequence[Line2D], Legend]:
        moving = [line for lane in self._lanes.values() for line in lane.add_lines(self._ax)]
        losses = {key: lane.loss for key, lane in self._lanes.items()}
        return moving, Legend(self._ax, losses, self._across, self._above)

    def _read(self) -> None:
        for lane in self._lanes.values():
            lane.read(self._β(lane.run))
        self._legend.show(self._values)

    def _left_series(self) -> Iterator[tuple[MinMaxSeries, str, float, Run]]:
        for lane in self._lanes.values():
            for stretch in lane.run.abandoned:
                yield stretch_series(stretch), lane.colour, 0.3, lane.run

    def _data_limits(self) -> Limits:
        lanes = self._lanes.values()
        losses = [y for lane in lanes if not lane.has_diverged for y in lane.losses]
        losses += within((y for lane in lanes if lane.has_diverged for y in lane.losses), losses)
        log = self._is_log(losses)
        return Limits(0.0, self._end, *loss_range(losses, log), 0.0, 1.0, log)

    def _set_limits(self, final: bool = False) -> bool:
        moved = super()._set_limits(final)
        assert self._limits is not None
        for lane in self._lanes.values():
            lane.mark_end(self._limits.high)
        return moved

    def _trails(self) -> list[Trail]:
        return [lane.path.trail(lane.run, key, lane.colour) for key, lane in self._lanes.items()]


PRESENTATION = Presentation(RacePicture, RaceControls, progress, summary)

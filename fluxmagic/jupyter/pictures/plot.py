"""The curve of a run: its loss, what was evaluated, marks of what was changed, and what is shown beside it."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from fluxmagic.jupyter.formatting import format_number, shown_loss
from fluxmagic.jupyter.pictures import axes
from fluxmagic.jupyter.pictures.beside import shown_beside
from fluxmagic.jupyter.pictures.contours import MOST, PathSeries, Trail
from fluxmagic.jupyter.pictures.downsample import MinMaxSeries, RunSeries, loss_series, stretch_series
from fluxmagic.jupyter.pictures.legend import WIDEST, Legend, rows_of_names
from fluxmagic.jupyter.pictures.limits import Limits, before_divergence, data_range, loss_range, within
from fluxmagic.jupyter.pictures.loss_picture import LossPicture, add_line
from fluxmagic.jupyter.pictures.marks import Mark, find_marks
from fluxmagic.jupyter.pictures.shown import ShownAxes, ShownValue
from fluxmagic.runs import Run

__all__ = ["Curve", "forget_curves", "recent_curves"]

MAX_EPOCH_DOTS = 60  # evaluations until which each has a dot


class Curve(LossPicture):
    """The curve of a run.

    Parameters
    ----------
    run : Run
    earlier : iterable of Run or MinMaxSeries
        Runs, or their losses, to be drawn in grey behind it.  So are steps that the run has left by going back.

    Attributes
    ----------
    figure, log, window, smoothing : optional
        As of a `LossPicture`.  The `gid` of a line of the figure is "loss", "raw loss", "valid" or a metric's name.
    earlier : list of MinMaxSeries
        The losses of the earlier runs.
    shown : list of ShownValue
        What is to be seen beside the curve; a page shows the `rich` ones by itself.

    Examples
    --------
    >>> W = param(2.0)
    >>> run = Run(lambda x: (W * x) ** 2, [1.0] * 5, SGD([W], 0.1))
    >>> run.train()
    >>> picture = Curve(run)
    """

    def __init__(self, run: Run, earlier: Iterable[Run | MinMaxSeries] = ()) -> None:
        self.run = run
        self.earlier = [s for s in (loss_series(r) for r in earlier if r is not run) if s.n]
        self._series = RunSeries(run)
        self._path = PathSeries()
        self.shown = [ShownValue(run, f) for f in shown_beside(run)]
        for value in self.shown:
            value.update()
        super().__init__(run, [run])

    def _make_figure(self, width: float) -> tuple[Figure, Axes, list[Axes]]:
        in_axes = sum(not value.is_rich for value in self.shown)
        second = any(k != "valid" for k in self._series.evaluations)
        rows = partial(rows_of_names, {"loss": WIDEST, **dict.fromkeys(self._series.evaluations, ""), "earlier": ""})
        return axes.make_curve_figure(self._map is not None, in_axes, second=second, width=width, rows_of_legend=rows)

    def _add_artists(self, beside: list[Axes]) -> tuple[Sequence[Line2D], Legend]:
        in_axes = [value for value in self.shown if not value.is_rich]
        self._shown_axes = [ShownAxes(ax, v) for ax, v in zip(beside, in_axes, strict=True)]
        metrics = [k for k in self._series.evaluations if k != "valid"]
        self._metric_ax = _add_metric_axes(self._ax, metrics)
        self._raw = add_line(self._ax, "raw loss", color=axes.LOSS, alpha=0.35, lw=0.9)
        self._evaluations = {}
        colours = iter(axes.METRICS * len(metrics))
        for k in self._series.evaluations:
            ax, colour = (self._ax, axes.VALID) if k == "valid" else (self._metric_ax, next(colours))
            assert ax is not None
            self._evaluations[k] = add_line(ax, k, color=colour, lw=1.6, marker=".", ms=5)
        self._smooth = add_line(self._ax, "loss", color=axes.LOSS, lw=1.8)
        grey = Line2D([], [], color=axes.INK, alpha=0.5)
        legend = Legend(self._ax, {"loss": self._smooth, **self._evaluations, "earlier": grey})
        return [self._raw, self._smooth, *self._evaluations.values()], legend

    @property
    def is_empty(self) -> bool:
        return super().is_empty and not self.shown

    @property
    def rich(self) -> list[dict[str, str]]:
        return [{**v.rendered.rich, "text/plain": v.rendered.text} for v in self.shown if v.is_rich]

    def close(self) -> None:
        self._series.update()
        for old in [r for r in _recent if r[1]() is self.run]:
            _recent.remove(old)
        _recent.append((self.run.name, weakref.ref(self.run), self._series.loss))

    # -- what is shown -------------------------------------------------------------------------------------

    def _read(self) -> None:
        series, β = self._series, self._β(self.run)
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
        if self._left:
            values["earlier"] = ""
        self._legend.show(values)

    def _left_series(self) -> Iterator[tuple[MinMaxSeries, str, float, Run]]:
        left = self.run.abandoned
        if self._contours is not None:
            self._contours.leave((s.path[-MOST:] for s in left if s.path is not None), axes.LOSS)
        for series in (*self.earlier, *map(stretch_series, left)):
            yield series, axes.INK, 0.5, self.run

    def _data_limits(self) -> Limits:
        steps = max(self.run.steps, 1)
        left = 0 if self.window is None else max(0, steps - self.window)
        lines = [self._smooth, *(line for k, line in self._evaluations.items() if k == "valid")]
        losses = [_in_view(*line.get_data(), left) for line in lines]
        losses += within([_in_view(*line.get_data(), left) for line in self._left], losses)
        log = self._is_log(losses)
        metrics = [_in_view(*line.get_data(), left) for k, line in self._evaluations.items() if k != "valid"]
        right = steps if self.window else self._end
        raw = before_divergence(_in_view(*self._raw.get_data(), left))[0]
        if len(raw):
            losses.append(np.quantile(raw, [0.01, 0.99]))  # a single spike is cut off
        return Limits(left, right, *loss_range(losses, log), *data_range(metrics, False), log)

    def _find_marks(self) -> list[Mark]:
        assert self._limits is not None
        return find_marks(self.run, self._limits.left, self._limits.right)

    def _trails(self) -> list[Trail]:
        return [self._path.trail(self.run, "loss", axes.LOSS)]

    def _set_beside(self, final: bool) -> tuple[bool, Iterable[Artist]]:
        for value in self.shown:
            value.update(idle=self.leaves_time, final=final)
        changed = [ax.show() for ax in self._shown_axes]
        return any(changed), [artist for ax in self._shown_axes for artist in ax.ground]

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return self.picture(), axes.DISPLAY_SIZE

    def __repr__(self) -> str:
        return f"Curve({self.run!r})"


# What was shown last: the runs themselves may be large, and are not held.
_recent: deque[tuple[str | None, weakref.ref[Run], MinMaxSeries]] = deque(maxlen=3)


def recent_curves(run: Run) -> list[MinMaxSeries]:
    """Give the losses of recent runs of the same name, and of those that this is a branch of; to be drawn in grey."""
    stems, stem = set(), run.parent
    while stem is not None:
        stems.add(stem)
        stem = stem.parent
    recent = [(name, ref(), loss) for name, ref, loss in _recent]
    return [loss for name, other, loss in recent if other is not run and (name == run.name or other in stems)]


def forget_curves() -> None:
    """Forget all recent runs."""
    _recent.clear()


def _add_metric_axes(ax: Axes, metrics: list[str]) -> Axes | None:
    """Add a second y-axis; it has the colour of its line, where it has one line."""
    if not metrics:
        return None
    second = ax.twinx()
    axes.strip_axes(second)
    if len(metrics) == 1:
        second.tick_params(axis="y", colors=axes.METRICS[0], which="both")
    return second


def _in_view(x: ArrayLike, y: ArrayLike, left: float) -> np.ndarray:
    """Give the values of a line at the right of a step."""
    values: np.ndarray = np.asarray(y, float)[np.asarray(x, float) > left]
    return values

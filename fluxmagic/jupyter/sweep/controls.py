"""The controls of a sweep: the map's cells as buttons, one trial that is selected, its numbers, *Take weights*."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from html import escape
from typing import Any, Unpack

from fluxmagic.jupyter import widgets as w
from fluxmagic.jupyter.formatting import format_number
from fluxmagic.jupyter.layout import row
from fluxmagic.jupyter.sweep.picture import cells_of, label
from fluxmagic.jupyter.sweep.words import describe, progress
from fluxmagic.jupyter.transport import Button, Options, TransportControls
from fluxmagic.sweep import Sweep
from fluxmagic.sweep.trial import Trial

__all__ = ["SweepControls"]

Widget = Any
"""A button: ipywidgets has no types."""

MAX_BUTTONS = 400  # cells; a larger map has one selector
WORST, BEST = (68, 1, 84), (253, 231, 37)  # the ends of viridis


class SweepControls(TransportControls):
    """Controls of a sweep; see `TransportControls` for the parameters.

    Attributes
    ----------
    run : Sweep
    selected : int
        The number of a trial.
    """

    run: Sweep

    def __init__(self, sweep: Sweep, **options: Unpack[Options]) -> None:
        self.selected: int | None = None
        self._shown: dict[int, str] = {}
        super().__init__(sweep, progress, **options)

    def body(self) -> Sequence[w.Widget]:
        self._cells: dict[int, list[Widget]] = {}
        self._numbers = w.HTML(layout=w.Layout(width="auto", flex="1 1 20em"))
        return [*self._map(), row([self._numbers, *self.group("selected")]), self.image]

    def _map(self) -> list[w.Widget]:
        """Make the rows of a map of two dials, the largest value above; or a selector of points."""
        sweep = self.run
        dials = list(sweep.grid.axes)
        values = [sweep.grid.values[k] for k in dials]
        if len(dials) != 2 or not all(isinstance(v, list) for v in values) or math.prod(map(len, values)) > MAX_BUTTONS:
            points = [(f"{t.spec.index}: {describe(sweep, t)}", t.spec.index) for t in sweep.trials[:MAX_BUTTONS]]
            selector = w.Dropdown(description="trial", options=[("best", -1), *points], value=-1)
            selector.observe(lambda change: self.requests.add(partial(self._select, change["new"])), "value")
            return [row([selector])]
        places = {place: p for p, point in enumerate(sweep.grid.points) for place in cells_of(sweep, point, dials)}
        rows = []
        for i in reversed(range(len(values[1]))):
            head = w.HTML(escape(f"{dials[1]} {label(values[1][i])}"), layout=w.Layout(width="8em"))
            rows.append(row([head, *(self._cell(places.get((i, j))) for j in range(len(values[0])))]))
        foot = [w.HTML(escape(label(v)), layout=w.Layout(flex="1 1 3em", min_width="0")) for v in values[0]]
        rows.append(row([w.HTML(escape(dials[0]), layout=w.Layout(width="8em")), *foot]))
        return rows

    def _cell(self, point: int | None) -> w.Widget:
        layout = w.Layout(flex="1 1 3em", width="auto", min_width="0", padding="0", margin="1px")
        button = w.Button(description="", layout=layout, disabled=point is None)
        if point is not None:
            self._cells.setdefault(point, []).append(button)
            button.on_click(lambda _: self.requests.add(partial(self._select_point, point)))
        return button

    def _select_point(self, point: int) -> bool:
        own = [t for t in self.run.trials if t.spec.point == point]
        best = min(own, key=lambda t: (math.isnan(t.score(self.run.sign)), t.score(self.run.sign), t.spec.index))
        return self._select(best.spec.index)

    def _select(self, index: int) -> bool:
        """Select a trial; the dials of a run whose map it is are turned to its values."""
        self.selected = None if index < 0 else index
        run = self.run.around
        if run is not None and index >= 0:
            values = {k: v for k, v in self.run.point(self.run.trials[index]).items() if k != "opt"}
            run.set(**values)
            self.show_message(
                f"{run.name or 'the run'} now has {', '.join(f'{k} {label(v)}' for k, v in values.items())}"
            )
        return False

    @property
    def trial(self) -> Trial | None:
        """The selected trial; the best one if none is."""
        if self.selected is not None:
            return self.run.trials[self.selected]
        return self.run.best_trial if any(t.state == "done" for t in self.run.trials) else None

    def show_body(self) -> None:
        sweep, trial = self.run, self.trial
        ranking = {p: value for value, p in sweep.ranking if math.isfinite(value)}
        order = {p: i / max(len(ranking) - 1, 1) for i, p in enumerate(ranking)}
        states = {t.spec.point: t.state for t in sweep.trials}
        for point, buttons in self._cells.items():
            look = (states[point], ranking.get(point, math.nan))
            if self._shown.get(point) != f"{look} {order.get(point)}":
                self._shown[point] = f"{look} {order.get(point)}"
                for button in buttons:
                    self._show_cell(button, *look, order.get(point))
        self._numbers.value = "" if trial is None else escape(numbers(sweep, trial))

    def _show_cell(self, button: Widget, state: str, value: float, place: float | None) -> None:
        known = math.isfinite(value)
        button.description = format_number(value) if known else {"diverged": "✕", "failed": "!"}.get(state, "")
        button.tooltip = f"{self.run.setup.objective} {value:.6g}, {state}" if known else state
        if place is not None:
            r, g, b = (round(x * place + y * (1 - place)) for x, y in zip(WORST, BEST))
            button.style.button_color = f"rgb({r},{g},{b})"
            button.style.text_color = "white" if place > 0.5 else "black"


def numbers(sweep: Sweep, trial: Trial) -> str:
    """Give what is known of a trial, in one line."""
    parts = [f"trial {trial.spec.index}: {describe(sweep, trial)}", trial.state]
    if not math.isnan(trial.objective):
        parts.append(f"{sweep.setup.objective} {format_number(trial.objective)}")
    parts += [f"{k} {format_number(v)}" for k, v in trial.values.items() if k != sweep.setup.objective]
    return ", ".join([*parts, f"{trial.step:,} steps", *([str(trial.error)] if trial.error else [])])


def take(controls: SweepControls) -> bool:
    trial = controls.trial
    assert trial is not None
    controls.run[trial.spec.index].take()
    controls.show_message(f"the weights are those of trial {trial.spec.index}")
    return False


def can_take(controls: SweepControls) -> bool:
    trial = controls.trial
    return trial is not None and trial.progress is not None and controls.run.state != "running"


SweepControls.buttons = (
    Button("Take weights", "download", "give the weights the values of this trial", "selected", take, can_take, "9em"),
)

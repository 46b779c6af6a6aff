"""The controls of a sweep: its points as buttons or selectors, the numbers of the chosen one, and its weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape

from fluxmagic.jupyter.controls import widgets as w
from fluxmagic.jupyter.controls.layout import make_choice, row, set_visible
from fluxmagic.jupyter.controls.sliders import set_options
from fluxmagic.jupyter.controls.transport import (
    PAUSE,
    Button,
    Controls,
    always,
    close,
    play,
    restart,
    stop,
)
from fluxmagic.jupyter.formatting import format_value
from fluxmagic.jupyter.sweep.board import Board
from fluxmagic.jupyter.sweep.points import Points
from fluxmagic.jupyter.sweep.words import best_of, describe, numbers, progress
from fluxmagic.sweep import Sweep

__all__ = ["SweepControls"]


class SweepControls(Controls):
    """Controls of a sweep; `chosen` is the number of the point that was chosen."""

    run: Sweep
    unit = "trial"
    progress = staticmethod(progress)

    def body(self) -> Sequence[w.Widget]:
        self.chosen: int | None = None
        set_visible(self._speed, False)
        self._points = Points(self.run)
        self._board = Board(self._points, lambda point: self.requests.add(partial(self.choose, point)))
        self._selectors = []
        if self._points.kind in ("map", "line"):
            for dial in self._points.dials:
                self._selectors += [self._selector(dial.name, dial.labels)] if dial.values else []
        self._numbers = w.HTML(layout=w.Layout(flex="1 1 20em"))
        self._choice = row([*self.group("choice"), self._numbers])
        return [self._board.box, row(self._selectors), self._choice, self.image]

    def _selector(self, name: str, labels: list[str]) -> w.Widget:
        found = make_choice(name, [("", -1), *((label, i) for i, label in enumerate(labels))], -1)
        found.observe(self._on_select, "value")
        return found

    def _on_select(self, change: w.Change) -> None:
        self.requests.add(self._select)

    def _select(self) -> bool:
        at = [s.value for s in self._selectors]
        found = [i for i, place in enumerate(self._points.at.astype(int).tolist()) if place == at]
        return bool(found) and self.choose(found[0])

    def choose(self, point: int) -> bool:
        """Choose a point; in a map around a run this turns the run's dials."""
        sweep = self.run
        if point >= len(sweep.grid.points):
            return False
        self.chosen = point
        run, dials = sweep.around, {k: v for k, v in sweep.grid.points[point].items() if k in sweep.grid.axes}
        if run is not None:
            run.set(**dials)
            values = ", ".join(f"{k} {format_value(v)}" for k, v in dials.items())
            self.show_message(f"{run.name or 'the run'} goes on with {values}")
        return True

    def show_body(self) -> None:
        self._board.show(self.name, self.chosen)
        set_visible(self._choice, self.chosen is not None)
        if self.chosen is None:
            return
        trial = best_of(self.run, self.chosen)
        lines = numbers(self.run, self.run.of_point(self.chosen))
        words = [f"trial {trial.spec.index}: {describe(self.run, trial)}", *lines]
        self._numbers.value = "<br>".join(map(escape, words))
        at = self._points.at[self.chosen].astype(int).tolist()
        for selector, i in zip(self._selectors, at, strict=False):
            if selector.value != i:
                set_options(selector, selector.options, i, self._on_select)


def take(controls: SweepControls) -> None:
    """Give the model the weights of the chosen trial."""
    assert controls.chosen is not None
    trial = best_of(controls.run, controls.chosen)
    controls.run[trial.spec.index].take()
    controls.show_message(f"the weights are those of trial {trial.spec.index}: {describe(controls.run, trial)}")


def can_take(controls: SweepControls) -> bool:
    if controls.chosen is None or controls.playing or controls.run.state == "running":
        return False
    return best_of(controls.run, controls.chosen).progress is not None


def can_play(controls: SweepControls) -> bool:
    return controls.playing or not controls.run.finished


def has_begun(controls: SweepControls) -> bool:
    return any(t.step or t.ended for t in controls.run.trials)


STOP_TIP = "end the sweep: what is not done is cancelled"
TAKE_TIP = "give the weights the values that this trial ended with; while the sweep is paused, or done"
SweepControls.transport = (
    Button("Play", "play", "go on", "transport", play, can_play, "6.5em", other=PAUSE, is_other=lambda c: c.playing),
    Button("Stop", "stop", STOP_TIP, "transport", stop, lambda c: not (c.run.finished or c.stopped)),
    Button("Restart", "undo", "begin again with all trials", "transport", restart, has_begun, "7em"),
    Button("Close", "times", "leave the last picture and a summary", "close", close, always),
)
SweepControls.buttons = (Button("Take weights", "download", TAKE_TIP, "choice", take, can_take, "9em"),)

"""The controls of a run: its dials, its time line, and how its curve is drawn.

A button is a row of `BUTTONS`, a way to draw the curve a row of `VIEWS`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator, Sequence
from html import escape
from itertools import chain, count
from string import ascii_lowercase
from typing import NamedTuple

from IPython.core.getipython import get_ipython

from fluxmagic.jupyter.controls import widgets as w
from fluxmagic.jupyter.controls.code_view import code_view
from fluxmagic.jupyter.controls.dials import Dials, overridden_schedules
from fluxmagic.jupyter.controls.layout import TimeLine, make_choice, row, set_visible
from fluxmagic.jupyter.controls.sliders import PositionSlider, exact
from fluxmagic.jupyter.controls.start_fields import StartFields
from fluxmagic.jupyter.controls.transport import Button, Controls, always, has_steps, more
from fluxmagic.jupyter.formatting import progress
from fluxmagic.runs import Run
from fluxmagic.runs.run import saved_script

__all__ = ["BUTTONS", "VIEWS", "RunControls"]


class RunControls(Controls):
    """Controls of a run."""

    run: Run
    progress = staticmethod(progress)

    def body(self) -> Sequence[w.Widget]:
        if self.run.opt_class is None:
            self.show_message(f"{self.run.opt_name} is {self.run.opt_kind}: it has no dials")
        self.view = {v.name: v.options[v.chosen] for v in VIEWS}
        self.position = PositionSlider("step", STEP_TIP, self.clock)
        self._start = StartFields(lambda: self.run, self.requests)
        self.dials = Dials(self)
        self._time_line = TimeLine(self.position.slider, self._start.box, self.name)
        self.code = w.HTML(layout=w.Layout(display="none", width="100%"))
        self._overridden = w.HTML(layout=w.Layout(margin="2px 6px"))  # the schedules that are off
        self._schedule = row([self._overridden, *self.group("schedule")])
        views = [self._view_widget(v) for v in VIEWS]
        views[0].layout.margin = "2px 2px 2px auto"
        return [
            self.dials.box,
            self._schedule,
            self.image,
            self._time_line.box,
            row([*self.group("rewind"), self.position.field, *self.group("history"), *views]),
            self.code,
        ]

    def menus(self) -> Sequence[w.Widget]:
        return [self.dials.optimiser]

    def _view_widget(self, v: View) -> w.Widget:
        widget = make_choice(v.label, list(v.options), v.chosen, v.tooltip)
        self.on_value(widget, lambda word: self.view.update({v.name: v.options[word]}))
        return widget

    def go_on_from(self, run: Run, message: str = "") -> None:
        """Control a run that was brought to another state, or a branch: it can go on."""
        self.run = run
        self.stopped = False
        self.position.follow()
        self.show_message(message)

    def show_body(self) -> None:
        axis = self.axis
        left, right = max(0, math.ceil(axis.left)), max(1, math.floor(axis.right))
        self.position.show(self.run.steps, left, right)
        self._time_line.place(axis.place(left), axis.place(right))
        self.dials.show()
        self._start.show()
        overridden = escape(" and ".join(overridden_schedules(self.run)))
        self._overridden.value = f"{overridden}: turned by hand, the schedule is off" if overridden else ""
        set_visible(self._schedule, bool(overridden))

    def restart(self) -> None:
        self._start.restart()


# -- what buttons do; False: the picture needs no answer -----------------------------------------------------


def rewind(controls: RunControls) -> None:
    controls.run.rewind(controls.position.slider.value)
    controls.go_on_from(controls.run)


def undo(controls: RunControls) -> None:
    controls.run.undo()
    controls.go_on_from(controls.run, f"back on the steps that were left: step {controls.run.steps:,}")


def branch(controls: RunControls) -> None:
    old = controls.run
    if old.finished:
        raise ValueError("the run has come to its end: rewind it first, and branch from there")
    namespace = getattr(get_ipython(), "user_ns", {})
    name = unused_name(old, namespace)
    namespace[name] = new = old.branch(name)
    old.pause()
    controls.go_on_from(new, f"{name} goes on from step {new.steps:,}; {old.name or 'the run before'} rests")


def recover(controls: RunControls) -> None:
    run = controls.run
    run.recover()
    η = run.values.get("η")
    message = f"Play goes on from step {run.steps:,}" + ("" if η is None else f" with η {exact(η)}")
    controls.go_on_from(run, message)


def toggle_code(controls: RunControls) -> bool:
    controls.code.value = "" if controls.code.value else code_view(saved_script(controls.run), controls.name)
    set_visible(controls.code, bool(controls.code.value))
    return False


def restore_schedules(controls: RunControls) -> None:
    controls.run.set(**overridden_schedules(controls.run))


def can_recover(controls: RunControls) -> bool:
    run = controls.run
    return run.state == "failed" and run.record.rejected[-1:] == [run.steps]


STEP_TIP = "where Rewind goes back to; at its right end it follows the run"
REWIND_TIP = "weights, optimiser and data as they were then"
UNDO_TIP = "back to the steps that Rewind or Restart has left; again, and forward"
BRANCH_TIP = "a second run from here; this one rests"
RECOVER_TIP = "after a loss that was not finite: back to the last good state, with a smaller η"
RESTORE_TIP = "let the schedule turn the dial again"
BUTTONS = (
    Button("Rewind", "backward", REWIND_TIP, "rewind", rewind, has_steps),
    Button("Undo", "reply", UNDO_TIP, "history", undo, lambda c: bool(c.run.abandoned)),
    Button("Branch", "random", BRANCH_TIP, "history", branch, lambda c: bool(c.run.steps) and not c.run.finished),
    Button("Recover", "medkit", RECOVER_TIP, "history", recover, can_recover, "7em", visible=can_recover),
    Button("Code", "code", "a script that does the same again", "history", toggle_code, always),
    more("what is off by default, and ϵ", "dials that are in use", lambda c: c.run.opt_class is not None),
    Button("Give back", "undo", RESTORE_TIP, "schedule", restore_schedules, always, "7em"),
)
RunControls.buttons = BUTTONS


class View(NamedTuple):
    """A row of the table of ways to draw the curve: values of an attribute of `Curve`, by the words for them."""

    name: str
    label: str
    tooltip: str
    options: dict[str, object]
    chosen: str = "auto"


SMOOTHING = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
LAST = (100, 1000, 10_000, 100_000)
VIEWS = (
    View("log", "y", "scale of the loss axis", {"auto": None, "linear": False, "log": True}),
    View("window", "x", "steps in view", {"all": None, **{f"last {n:,}": n for n in LAST}}, "all"),
    View(
        "smoothing",
        "smoothing",
        "share of the smoothed loss that is kept from step to step",
        {"off": 0.0, **{f"{v:g}": v for v in SMOOTHING}},
        "0.9",
    ),
)


def unused_name(run: Run, taken: Container[str]) -> str:
    """Give a branch the first unused name of run_b, run_c, …."""
    stem = run.name if run.name is not None and run.name.isidentifier() else "run"
    if run.parent is not None:
        stem = re.sub(r"_([b-z]|\d+)$", "", stem)  # a branch's branch is not run_b_b
    names: Iterator[str] = (f"{stem}_{end}" for end in chain(ascii_lowercase[1:], map(str, count(27))))
    return next(name for name in names if name not in taken and name != run.name)

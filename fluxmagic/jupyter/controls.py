"""The controls of a run: buttons, sliders, progress and messages.

What a user does is a request, made on any thread; the driver of the run processes requests between two batches.
A button is a row of `BUTTONS`.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Container, Iterator
from functools import partial
from html import escape
from itertools import chain, count
from string import ascii_lowercase
from typing import NamedTuple

from IPython.core.getipython import get_ipython

from fluxmagic.jupyter import widgets as w
from fluxmagic.jupyter.draw_budget import Clock
from fluxmagic.jupyter.formatting import format_number, format_value, progress
from fluxmagic.jupyter.layout import ControlWidgets, make_button, set_visible, wrapped_row
from fluxmagic.jupyter.pace import Pace
from fluxmagic.jupyter.page_requests import PageRequests
from fluxmagic.jupyter.sliders import HyperparameterSlider, PositionSlider, set_options
from fluxmagic.optimise import OPTIMISERS, Optimiser
from fluxmagic.runs import Run
from fluxmagic.runs.script import saved_script

__all__ = ["BUTTONS", "Button", "RunControls"]


class RunControls:
    """Controls of a run.

    Parameters
    ----------
    run : Run
    playing : bool
        Whether the run is being driven already.
    closable : bool
        Whether there is a button to close them.
    wake : callable, optional
        Called after a request was made, on its thread.
    speed : float
        Steps a second at most.
    clock : callable, optional

    Attributes
    ----------
    run : Run
        Its driver looks here again after requests were processed: Branch puts another one in its place.
    box : ipywidgets.VBox
    playing : bool
        Whether the run is to go on by itself.
    pending_steps : int
        Single steps that were asked for.
    stopped, closed : bool
        Whether Stop or Close was pressed.
    log, smoothing : bool, float
        How the curve is to be drawn.
    """

    def __init__(
        self,
        run: Run,
        *,
        playing: bool = False,
        closable: bool = False,
        wake: Callable[[], None] | None = None,
        speed: float = math.inf,
        clock: Clock = time.monotonic,
    ) -> None:
        self.run = run
        self.playing = playing
        self.pace = Pace(speed)
        self.pending_steps = 0
        self.stopped = self.closed = False
        self.log = False
        self.smoothing = 0.9
        self.position = PositionSlider("step", "where Rewind goes back to; at its right end it follows the run", clock)
        self._clock = clock
        self._requests = PageRequests(wake)
        self._sliders: dict[type[Optimiser], tuple[dict[str, HyperparameterSlider], w.Widget]] = {}
        self._effective_rate = w.Label()
        self._rows = [row for row in BUTTONS if closable or row.act is not close]
        self._buttons = {row.label: make_button(*row[:3], row.width) for row in self._rows}
        groups = {g: [self._buttons[row.label] for row in self._rows if row.group == g] for g in GROUPS}
        self.widgets = ControlWidgets(groups, self.position.slider, self.smoothing)
        self.box = self.widgets.box
        for row in self._rows:
            self._buttons[row.label].on_click(partial(self._on_click, row.label))
        for name, widget in self.widgets.settings.items():
            widget.observe(partial(self._on_setting, name), "value")
        self._chosen = run.opt_name
        self.widgets.optimiser.options = self._optimiser_names()
        self.widgets.optimiser.value = run.opt_name
        self.widgets.optimiser.disabled = run.opt_class is None
        self.widgets.optimiser.observe(self._on_optimiser, "value")
        self._ids: set[str] = set()
        self._receive_from_page(self.box)
        self._receive_from_page(self._effective_rate)
        if run.opt_class is None:
            self.show_message(f"{run.opt_name} is {run.opt_kind}: it has no dials")
        self.show()

    def _optimiser_names(self) -> list[str]:
        names = list(OPTIMISERS)
        return names if self.run.opt_name in names else [self.run.opt_name, *names]

    def _receive_from_page(self, top: w.Widget) -> None:
        for model in w.models(top):
            self._ids.add(model.model_id)
            if isinstance(model, w.FromPage):
                model.receive = self._requests.add_state

    # -- what the user does: on any thread -----------------------------------------------------------------

    def press(self, label: str) -> None:
        """Request what a button does."""
        act = next(row.act for row in self._rows if row.label == label)
        self._requests.add(lambda: act(self))

    def _on_click(self, label: str, _: w.Widget) -> None:
        self.press(label)

    def _on_setting(self, name: str, change: w.Change) -> None:
        self._requests.add(lambda: self._set_view(name, change["new"]))

    def _on_optimiser(self, change: w.Change) -> None:
        new = change["new"]
        if new != self._chosen:
            self._chosen = new
            self._requests.add(lambda: self._swap(new))

    def set_value(self, name: str, value: float) -> bool:
        """Request another value of a hyper-parameter."""
        self._requests.add(lambda: self._set(name, value))
        return False

    # -- processing: between two batches -------------------------------------------------------------------

    def process_requests(self) -> bool:
        """Do what was requested.

        Returns
        -------
        bool
            Whether the curve is to answer.
        """
        answer = self._requests.process(self._show_error)
        if self.box.comm is None:
            self.closed = True
        return answer

    def _show_error(self, error: Exception) -> None:
        self.show_message(f"{type(error).__name__}: {error}", error=True)
        self.show()

    def _set(self, name: str, value: float) -> bool:
        self.run.set(**{name: value})
        self.show_message("")
        return True

    def _swap(self, name: str) -> bool:
        self.run.swap(name)
        self.show_message("")
        return True

    def _set_view(self, name: str, value: float) -> bool:
        setattr(self, name, value)
        return True

    def go_on_from(self, run: Run, message: str = "") -> bool:
        """Control a run that was brought to another state, or a branch: it can go on."""
        self.run, self.stopped = run, False
        self.position.follow()
        self.show_message(message)
        return True

    # -- showing -------------------------------------------------------------------------------------------

    def show_message(self, words: str, *, error: bool = False) -> None:
        """Show a message; "" removes it."""
        style = 'role="alert" style="color: var(--jp-error-color1, #c33)"' if error else 'role="status"'
        self.widgets.message.value = f"<span {style}>{escape(words)}</span>"
        set_visible(self.widgets.message, bool(words))

    def show(self, share: float | None = None) -> None:
        """Show where the run is, and the values of its hyper-parameters.

        Parameters
        ----------
        share : float, optional
            Of the time, that was spent drawing.
        """
        run, widgets = self.run, self.widgets
        total = run.total_steps or 0
        widgets.progress.value = 1.0 if run.finished else (run.steps / total if total else 0.0)
        widgets.progress_text.value = escape(progress(run))
        if share is not None and run.rate:
            widgets.cost.value = f"{format_number(1000 / run.rate)} ms/step · drawing {100 * share:.1f} %"
        for row in self._rows:
            self._buttons[row.label].disabled = not row.enabled(self)
        self.position.show(run.steps)
        if run.opt_class is not None and not self._requests:
            self._show_optimiser(run.opt_class)

    def _show_optimiser(self, cls: type[Optimiser]) -> None:
        run, widgets = self.run, self.widgets
        if run.opt_name != widgets.optimiser.value:
            self._chosen = run.opt_name
            set_options(widgets.optimiser, self._optimiser_names(), run.opt_name, self._on_optimiser)
        values = run.values
        if cls not in self._sliders:
            self._sliders[cls] = self._make_sliders(cls, values)
        sliders, box = self._sliders[cls]
        if widgets.sliders.children != (box,):
            widgets.sliders.children = (box,)
        overridden = escape(" and ".join(overridden_schedules(run)))
        widgets.overridden.value = f"{overridden}: turned by hand, the schedule is off" if overridden else ""
        set_visible(widgets.schedule, bool(overridden))
        for k, slider in sliders.items():
            slider.show(values[k])
        rate = values["η"] / (1 - values["ρ"]) if {"η", "ρ"} <= values.keys() else None
        self._effective_rate.value = "" if rate is None else f"η/(1−ρ) = {format_number(rate)}"

    def _make_sliders(
        self, cls: type[Optimiser], values: dict[str, float]
    ) -> tuple[dict[str, HyperparameterSlider], w.Widget]:
        sliders = {
            k: HyperparameterSlider(h, values[k], self.set_value, self._requests.add, self._clock)
            for k, h in cls.hypers.items()
        }
        box = wrapped_row([w.HBox([s.box, self._effective_rate]) if k == "ρ" else s.box for k, s in sliders.items()])
        self._receive_from_page(box)
        return sliders, box

    def has_comm(self, comm: str) -> bool:
        """Tell whether a comm is that of one of the widgets, a layout or a style."""
        return comm in self._ids

    def close(self) -> None:
        """Take the widgets off the page."""
        for top in (self.box, self._effective_rate, *(box for _, box in self._sliders.values())):
            for model in list(w.models(top)):
                model.close()


# -- what buttons do: tell whether the curve is to answer ----------------------------------------------------


def play(controls: RunControls) -> bool:
    controls.playing = True
    controls.show_message("")
    return False


def pause(controls: RunControls) -> bool:
    controls.playing = False
    controls.run.pause()
    return False


def step(controls: RunControls) -> bool:
    if controls.playing:
        return pause(controls)
    controls.pending_steps += 1
    return False


def stop(controls: RunControls) -> bool:
    controls.playing, controls.stopped = False, True
    controls.run.stop()
    return False


def close(controls: RunControls) -> bool:
    controls.closed = True
    controls.run.pause()
    return False


def rewind(controls: RunControls) -> bool:
    controls.run.rewind(controls.position.slider.value)
    return controls.go_on_from(controls.run)


def branch(controls: RunControls) -> bool:
    old = controls.run
    if old.finished:
        raise ValueError("the run has come to its end: rewind it first, and branch from there")
    namespace = getattr(get_ipython(), "user_ns", {})
    name = unused_name(old, namespace)
    namespace[name] = new = old.branch(name)
    old.pause()
    return controls.go_on_from(new, f"{name} goes on from step {new.steps:,}; {old.name or 'the run before'} rests")


def recover(controls: RunControls) -> bool:
    run = controls.run
    run.recover()
    η = run.values.get("η")
    message = f"Play goes on from step {run.steps:,}" + ("" if η is None else f" with η {format_value(η)}")
    return controls.go_on_from(run, message)


def toggle_code(controls: RunControls) -> bool:
    code = controls.widgets.code
    shown = code.layout.display != "none"
    code.value = "" if shown else saved_script(controls.run)
    set_visible(code, not shown)
    return False


def restore_schedules(controls: RunControls) -> bool:
    controls.run.set(**overridden_schedules(controls.run))
    return True


# -- when they are enabled -----------------------------------------------------------------------------------


def always(controls: RunControls) -> bool:
    return True


def is_open(controls: RunControls) -> bool:
    return not (controls.run.finished or controls.stopped)


def has_steps(controls: RunControls) -> bool:
    return controls.run.steps > 0


def can_branch(controls: RunControls) -> bool:
    return has_steps(controls) and not controls.run.finished


def can_recover(controls: RunControls) -> bool:
    run = controls.run
    return run.state == "failed" and run.record.rejected[-1:] == [run.steps]


class Button(NamedTuple):
    """A row of the table of buttons; `group` says where in the layout it stands."""

    label: str
    icon: str
    tooltip: str
    group: str
    act: Callable[[RunControls], bool]
    enabled: Callable[[RunControls], bool]
    width: str = "6em"


GROUPS = ("transport", "rewind", "history", "schedule")
PAUSE_TIP = "stop after this batch, and be able to go on"
REWIND_TIP = "weights, optimiser and data as they were then"
RECOVER_TIP = "after a loss that was not finite: back to the last good state, with a smaller η"
RESTORE_TIP = "let the schedule turn the dial again"
BUTTONS = (
    Button("Play", "play", "go on", "transport", play, lambda c: is_open(c) and not c.playing),
    Button("Pause", "pause", PAUSE_TIP, "transport", pause, lambda c: is_open(c) and c.playing),
    Button("Step", "step-forward", "take one step", "transport", step, is_open),
    Button("Stop", "stop", "end the training", "transport", stop, is_open),
    Button("Close", "times", "leave the last frame and a summary", "transport", close, always),
    Button("Rewind", "backward", REWIND_TIP, "rewind", rewind, has_steps),
    Button("Branch", "random", "a second run from here; this one rests", "history", branch, can_branch),
    Button("Recover", "medkit", RECOVER_TIP, "history", recover, can_recover),
    Button("Copy as code", "code", "a script that does the same again", "history", toggle_code, always, "9em"),
    Button("Give back", "undo", RESTORE_TIP, "schedule", restore_schedules, always, "7em"),
)


def overridden_schedules(run: Run) -> dict[str, Callable[[int], float]]:
    """Give the schedules that hyper-parameters of the active optimiser followed until they were set, by name."""
    found: dict[tuple[str, str], Callable[[int], float]] = {}
    opt = run.record.opt
    for _, name, old, new in run.record.events:
        if name == "opt":
            opt = new
        elif callable(new):
            found.pop((opt, name), None)
        elif callable(old):
            found[opt, name] = old
    return {name: schedule for (of, name), schedule in found.items() if of == opt}


def unused_name(run: Run, taken: Container[str]) -> str:
    """Give a branch the first unused name of run_b, run_c, …."""
    stem = run.name if run.name is not None and run.name.isidentifier() else "run"
    if run.parent is not None:
        stem = re.sub(r"_([b-z]|\d+)$", "", stem)  # a branch's branch is not run_b_b
    names: Iterator[str] = (f"{stem}_{end}" for end in chain(ascii_lowercase[1:], map(str, count(27))))
    return next(name for name in names if name not in taken and name != run.name)

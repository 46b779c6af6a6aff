"""The dials of a run: its optimiser, and a slider and a number field for each hyper-parameter."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from fluxmagic.jupyter.controls import widgets as w
from fluxmagic.jupyter.controls.layout import grid, make_choice, set_visible
from fluxmagic.jupyter.controls.sliders import HyperparameterSlider, set_options
from fluxmagic.jupyter.controls.transport import Controls
from fluxmagic.jupyter.formatting import format_number
from fluxmagic.optimise import OPTIMISERS, Hyper, Optimiser
from fluxmagic.runs import Run

__all__ = ["Dials", "make_sliders", "overridden_schedules"]


class Dials:
    """The dials of the run of controls: a menu of optimisers, and a box of sliders.  What is turned is a request."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._made: dict[type[Optimiser], tuple[dict[str, HyperparameterSlider], w.Widget]] = {}
        tooltip = "which optimiser updates the parameters"
        self.optimiser = make_choice("optimiser", self._names(), self._run.opt_name, tooltip, "14em")
        self.optimiser.disabled = self._run.opt_class is None
        self._on_optimiser = controls.on_value(self.optimiser, self._swap)
        self._effective_rate = w.HTML(layout=w.Layout(margin="5px 8px"))
        self.box = w.Box(layout=w.Layout(width="100%"))
        controls.hear(self._effective_rate)

    @property
    def _run(self) -> Run:
        run: Run = self._controls.run
        return run

    def _names(self) -> list[str]:
        names = list(OPTIMISERS)
        return names if self._run.opt_name in names else [self._run.opt_name, *names]

    # -- what the user does --------------------------------------------------------------------------------

    def _swap(self, name: str) -> None:
        self._run.swap(name)
        self._controls.show_message("")

    # -- showing -------------------------------------------------------------------------------------------

    def show(self) -> None:
        """Show the optimiser and the values in force."""
        run, cls = self._run, self._run.opt_class
        if cls is None:
            return
        if run.opt_name != self.optimiser.value:
            set_options(self.optimiser, self._names(), run.opt_name, self._on_optimiser)
        values = run.values
        if cls not in self._made:
            self._made[cls] = self._make(cls, values)
        sliders, box = self._made[cls]
        if self.box.children != (box,):
            self.box.children = (box,)
        for k, slider in sliders.items():
            slider.show(values[k])
            used = not slider.foldable or values[k] != slider.hyper.default
            set_visible(slider.box, used or self._controls.unfolded)
        rate = values["η"] / (1 - values["ρ"]) if {"η", "ρ"} <= values.keys() else None
        self._effective_rate.value = "" if rate is None else f"η/(1−ρ) = {escape(format_number(rate))}"

    def _make(self, cls: type[Optimiser], values: dict[str, float]) -> tuple[dict[str, HyperparameterSlider], w.Widget]:
        sliders = make_sliders(self._controls, lambda: self._run, cls, values)
        ordered = sorted(sliders.items(), key=lambda item: (item[0] != "η", item[1].foldable))
        boxes = [s.box for _, s in ordered]
        if "ρ" in sliders:
            boxes.insert(boxes.index(sliders["ρ"].box) + 1, self._effective_rate)
        box = grid(boxes, first_is_wide=ordered[0][0] == "η")
        self._controls.hear(box)
        return sliders, box


def make_sliders(
    controls: Controls, run: Callable[[], Run], cls: type[Optimiser], values: dict[str, float]
) -> dict[str, HyperparameterSlider]:
    """Make the sliders of an optimiser; they turn the run that is controlled then."""

    def turn(name: str, value: float, drag: bool) -> None:
        (run().drag if drag else run().set)(**{name: value})
        controls.show_message("")

    def make(h: Hyper) -> HyperparameterSlider:
        return HyperparameterSlider(h, values[h.name], turn, controls.requests.add, presses=lambda: controls.presses)

    return {k: make(h) for k, h in cls.hypers.items()}


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

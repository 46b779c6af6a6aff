"""The dials of a run: its optimiser, and a slider and a number field for each hyper-parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from html import escape

from fluxmagic.jupyter.controls import widgets as w
from fluxmagic.jupyter.controls.layout import grid, row, set_visible
from fluxmagic.jupyter.controls.page_requests import PageRequests
from fluxmagic.jupyter.controls.sliders import HyperparameterSlider, set_options
from fluxmagic.jupyter.formatting import format_number
from fluxmagic.optimise import OPTIMISERS, Optimiser
from fluxmagic.runs import Run

__all__ = ["Dials", "overridden_schedules"]

MORE = "what is off by default, and ϵ"


class Dials:
    """The dials of a run.  What is turned is a request.

    Parameters
    ----------
    run : Run
    requests : PageRequests
    hear : callable
        Gets the widgets that are made for another optimiser.
    show_message : callable

    Attributes
    ----------
    run : Run
        May be replaced, by a branch.
    box : Widget
    """

    def __init__(
        self,
        run: Run,
        requests: PageRequests,
        hear: Callable[[w.Widget], object] = lambda top: None,
        show_message: Callable[[str], object] = lambda words: None,
    ) -> None:
        self.run = run
        self._requests = requests
        self._hear, self._show_message = hear, show_message
        self._made: dict[type[Optimiser], tuple[dict[str, HyperparameterSlider], w.Widget]] = {}
        self._unfolded = False
        self._chosen = run.opt_name
        self.optimiser = w.Dropdown(
            description="optimiser",
            tooltip="which optimiser updates the parameters",
            options=self._names(),
            value=run.opt_name,
            disabled=run.opt_class is None,
            style={"description_width": "6.5em"},
            layout=w.Layout(width="16em"),
        )
        self.optimiser.observe(self._on_optimiser, "value")
        self._effective_rate = w.HTML(layout=w.Layout(margin="5px 8px"))
        self._more = w.Button(description="more", icon="caret-right", tooltip=MORE, layout=w.Layout(width="6em"))
        self._more.layout.margin = "2px 2px 2px auto"
        self._more.on_click(lambda _: requests.add(self._fold))
        self._room = w.Box(layout=w.Layout(width="100%"))
        self.box = w.VBox([row([self.optimiser, self._more]), self._room])
        self.box.layout.width = "100%"
        hear(self._effective_rate)

    def _names(self) -> list[str]:
        names = list(OPTIMISERS)
        return names if self.run.opt_name in names else [self.run.opt_name, *names]

    # -- what the user does --------------------------------------------------------------------------------

    def _on_optimiser(self, change: w.Change) -> None:
        new = change["new"]
        if new != self._chosen:
            self._chosen = new
            self._requests.add(partial(self._swap, new))

    def _swap(self, name: str) -> bool:
        self.run.swap(name)
        self._show_message("")
        return True

    def _turn(self, name: str, value: float, drag: bool) -> bool:
        (self.run.drag if drag else self.run.set)(**{name: value})
        self._show_message("")
        return True

    def _fold(self) -> bool:
        self._unfolded = not self._unfolded
        return False

    # -- showing -------------------------------------------------------------------------------------------

    def show(self) -> None:
        """Show the optimiser and the values in force."""
        run, cls = self.run, self.run.opt_class
        set_visible(self._more, cls is not None)
        if cls is None:
            return
        if run.opt_name != self.optimiser.value:
            self._chosen = run.opt_name
            set_options(self.optimiser, self._names(), run.opt_name, self._on_optimiser)
        values = run.values
        if cls not in self._made:
            self._made[cls] = self._make(cls, values)
        sliders, box = self._made[cls]
        if self._room.children != (box,):
            self._room.children = (box,)
        for k, slider in sliders.items():
            slider.show(values[k])
            used = not slider.foldable or values[k] != slider.hyper.default
            set_visible(slider.box, used or self._unfolded)
        self._more.description, self._more.icon = ("less", "caret-down") if self._unfolded else ("more", "caret-right")
        rate = values["η"] / (1 - values["ρ"]) if {"η", "ρ"} <= values.keys() else None
        self._effective_rate.value = "" if rate is None else f"η/(1−ρ) = {escape(format_number(rate))}"

    def _make(self, cls: type[Optimiser], values: dict[str, float]) -> tuple[dict[str, HyperparameterSlider], w.Widget]:
        sliders = {
            k: HyperparameterSlider(h, values[k], self._turn, self._requests.add, factors=k == "η")
            for k, h in cls.hypers.items()
        }
        ordered = sorted(sliders.items(), key=lambda item: (item[0] != "η", item[1].foldable))
        boxes = [s.box for _, s in ordered]
        if "ρ" in sliders:
            boxes.insert(boxes.index(sliders["ρ"].box) + 1, self._effective_rate)
        box = grid(boxes, first_is_wide=ordered[0][0] == "η")
        self._hear(box)
        return sliders, box

    def tops(self) -> Iterator[w.Widget]:
        """Give the widgets that hold all others."""
        yield self.box
        yield self._effective_rate
        yield from (box for _, box in self._made.values())


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

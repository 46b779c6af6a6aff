"""The controls of a race: a row for each contestant, with its colour, its name, its dials, its loss."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from fluxmagic.jupyter.controls import widgets as w
from fluxmagic.jupyter.controls.dials import make_sliders
from fluxmagic.jupyter.controls.layout import row, set_visible
from fluxmagic.jupyter.controls.sliders import HyperparameterSlider
from fluxmagic.jupyter.controls.start_fields import StartFields
from fluxmagic.jupyter.controls.transport import Controls, more
from fluxmagic.jupyter.race.words import colour_of, loss_of, progress
from fluxmagic.optimise import Optimiser
from fluxmagic.race import Race

__all__ = ["RaceControls"]

SWATCH = "display: inline-block; width: 1.1em; height: 0.8em; margin-right: 0.5em; border-radius: 2px; background: "
NARROW = 600  # px of a page, where dials take so many rows that they stand below the picture
MAX_DIALS = 2  # of a contestant, that are in sight while they have their defaults


class _Row:
    """The widgets of a contestant.  What is turned or pressed is a request."""

    def __init__(self, controls: RaceControls, key: str, number: int) -> None:
        self._controls, self.key = controls, key
        self.run = controls.run.runs[key]
        name = f'<span style="{SWATCH}{colour_of(number)}"></span>{escape(key)}'
        self._loss = w.HTML(layout=w.Layout(width="7em"))
        self._room = w.Box(layout=w.Layout(flex="1 1 28em", flex_flow="row wrap", min_width="0", grid_gap="0 1em"))
        self._room.add_class("fluxmagic-dials")  # a readout where the slider is dragged
        self._take = w.Button(layout=w.Layout(width="5.5em", padding="0", margin="2px 8px 2px 2px"))
        self._take.on_click(lambda _: controls.requests.add(self._press))
        self._class: type[Optimiser] | None = None
        self._dials: dict[str, HyperparameterSlider] = {}
        # on a narrow page the dials go below the other three
        self.box = row([w.HTML(name, layout=w.Layout(width="11.5em")), self._loss, self._take, self._room])

    def _press(self) -> None:
        """Take the contestant's weights, or let it go on after it has diverged."""
        race: Race = self._controls.run
        if race.waiting.get(self.key) == "diverged":
            race.recover(self.key)
            self._controls.show_message(f"{self.key} goes on from step {self.run.steps:,}, with a smaller η")
        else:
            self.run.take()
            self._controls.show_message(f"the weights are those of {self.key}; race.take() gives back the earlier ones")

    def _make_dials(self, cls: type[Optimiser], values: dict[str, float]) -> None:
        self._class = cls
        self._dials = make_sliders(self._controls, lambda: self.run, cls, values)
        for k, dial in self._dials.items():
            dial.field.placeholder = f"{self.key} {k}"
            dial.slider.style.description_width = "auto"
            dial.box.layout.width, dial.box.layout.flex = "auto", "3 1 18em" if k == "η" else "2 1 12em"
        ordered = sorted(self._dials, key=lambda k: self._dials[k].foldable)
        self._always = [k for k in ordered if not self._dials[k].foldable][:MAX_DIALS]
        self._room.children = tuple(self._dials[k].box for k in ordered)
        self._controls.hear(self._room)

    def show(self, *, unfolded: bool, can_take: bool) -> None:
        """Show the loss and the values in force."""
        run, reason = self.run, self._controls.run.waiting.get(self.key)
        self._loss.value = escape(loss_of(self._controls.run, self.key))
        cls, values = run.opt_class, run.values
        if cls is not None and cls is not self._class:
            self._make_dials(cls, values)
        for k, dial in self._dials.items():
            dial.show(values[k])
            set_visible(dial.box, unfolded or k in self._always or values[k] != dial.hyper.default)
        diverged = reason == "diverged"
        self._take.description = "Recover" if diverged else "Take"
        take = f"while the race is paused, or done: give the weights the values of {self.key}"
        self._take.tooltip = f"let {self.key} go on, with a smaller η" if diverged else take
        self._take.disabled = not (diverged or (can_take and run.steps))


class RaceControls(Controls):
    """Controls of a race."""

    run: Race
    progress = staticmethod(progress)

    def body(self) -> Sequence[w.Widget]:
        self._contestants = [_Row(self, key, i) for i, key in enumerate(self.run.runs)]
        self._start = StartFields(lambda: self.run[0], self.requests, self.run.restart)
        self._dials = w.VBox([r.box for r in self._contestants], layout=w.Layout(width="100%"))
        return [self._dials, self.image, self._start.box]

    def restart(self) -> None:
        self._start.restart()

    def show_body(self) -> None:
        for r in self._contestants:
            r.show(unfolded=self.unfolded, can_take=not self.playing and self.run.state != "running")
        self._dials.layout.order = "1" if self.width < NARROW else None
        self._start.show()


RaceControls.buttons = (more("all dials", "the first two dials of each, and those that were turned"),)

"""Dials: a slider and a number field for a hyper-parameter, made from its declaration; the time line of a run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from functools import partial

from fluxmagic.jupyter.controls import widgets as w
from fluxmagic.jupyter.controls.page_requests import Request
from fluxmagic.jupyter.driving.draw_budget import Clock
from fluxmagic.optimise import Hyper

__all__ = ["MEMORY_VALUES", "HyperparameterSlider", "PositionSlider", "exact", "set_options"]

# Values of a memory: about evenly in the logarithm of 1 - value, at numbers that people use.
MEMORY_VALUES = [
    round(1 - m * 10.0 ** -(p + 1), p + 3) for p in range(4) for m in (10, 8, 7, 6, 5, 4, 3, 2.5, 2, 1.5, 1.2)
]
# Numbers of a decade, about evenly in the logarithm, likewise.
DECADE = (1, 1.1, 1.25, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 2.8, 3.2, 3.5, 4, 4.5, 5, 5.6, 6.3, 7, 8, 9)
ON_OFF_VALUES = [float(f"{m}e{p}") for p in range(-6, 3) for m in (1, 2, 5)]  # beside "off"
LINEAR_VALUES = 200

DRAG_SECONDS = 1.0  # between two moves of one drag, where a page does not tell whether a pointer is held

Observer = Callable[[w.Change], None]


class HyperparameterSlider:
    """A slider and a number field for a hyper-parameter.

    The slider is heard while it is dragged: what it sets while a pointer is held, or within a second of its last value
    without another press, goes on with that change.  The field takes any value, and shows the value in force to the
    last digit.  `turn` is a request, of the name, the new value, and whether that goes on with the change before;
    `enqueue` takes requests; `presses` gives how often a pointer was pressed or released.
    """

    def __init__(
        self,
        hyper: Hyper,
        value: float,
        turn: Callable[[str, float, bool], object],
        enqueue: Callable[[Request], object] = lambda request: request(),
        *,
        presses: Callable[[], int] = lambda: 0,
        clock: Clock = time.monotonic,
    ) -> None:
        self.hyper = hyper
        self._clock, self._presses = clock, presses
        self._moved = 0, -math.inf  # after how many presses, and when, a hand has moved the slider
        self.off = hyper.off if hyper.off is not None else (0.0 if hyper.default == 0 == hyper.low else None)
        # whether the dial may be out of sight while its value is the default
        self.foldable = self.off is not None or hyper.ascii == "epsilon"
        self._turn = turn
        self._enqueue = enqueue
        self._value = value
        self._stops = self._make_stops(value)
        tooltip = f"{hyper.name}: {hyper.doc}"
        self.slider = w.SelectionSlider(
            description=hyper.name,
            tooltip=tooltip,
            options=self._options(),
            value=value,
            readout=False,  # the field is beside it
            style={"description_width": "6.5em"},
            layout=w.Layout(width="auto", flex="1 1 9em", min_width="0"),
        )
        self.field = w.Text(
            value=self._written(value),
            tooltip=tooltip,
            placeholder=hyper.name,
            continuous_update=False,
            layout=w.Layout(width="6.5em", flex="0 0 auto"),
        )
        self.slider.observe(self._on_slider, "value")
        self.field.observe(self._on_field, "value")
        buttons = [self._factor(k, f) for k, f in (("÷2", 0.5), ("×2", 2.0)) if hyper.name == "η"]
        self.box = w.HBox([self.slider, self.field, *buttons], layout=w.Layout(width="100%", align_items="center"))

    def _factor(self, label: str, factor: float) -> w.Widget:
        layout = w.Layout(width="2.8em", padding="0", flex="0 0 auto")
        button = w.Button(description=label, tooltip=f"{self.hyper.name} {label}", layout=layout)
        button.on_click(lambda _: self._enqueue(lambda: self._multiply(factor)))
        return button

    # -- what the slider stops at --------------------------------------------------------------------------

    def _make_stops(self, value: float) -> list[float]:
        """Give values that the hyper-parameter may have, evenly on its scale, beyond a value."""
        h = self.hyper
        if h.scale == "memory":
            stops = MEMORY_VALUES
        elif self.off is not None:
            stops = [*ON_OFF_VALUES, self.off]
        elif h.scale == "log":
            exponents = [math.log10(v) for v in (h.default, value) if v > 0]
            decades = range(math.floor(min(exponents[0] - 3, *exponents)), math.ceil(max(exponents[0] + 2, *exponents)))
            stops = [float(f"{m}e{p}") for p in decades for m in DECADE] + [10.0**decades.stop]
        else:
            reach = 4 * max(abs(h.default), 1)
            low = min(h.low if math.isfinite(h.low) else h.default - reach, value)
            high = max(h.high if math.isfinite(h.high) else h.default + reach, value)
            stops = [low + (high - low) * i / LINEAR_VALUES for i in range(LINEAR_VALUES + 1)]
        return [v for v in stops if h.allows(v)]

    def _options(self) -> list[tuple[str, float]]:
        return [(self._written(v), v) for v in sorted({*self._stops, self._value, self.hyper.default})]

    def _written(self, value: float) -> str:
        return "off" if value == self.off else exact(value)

    # -- what the user does --------------------------------------------------------------------------------

    def _on_slider(self, change: w.Change) -> None:
        (pressed, at), (presses, now) = self._moved, self._moved = self._moved, (self._presses(), self._clock())
        is_held = presses % 2 == 1
        self._change(change["new"], presses == pressed and (is_held or now < at + DRAG_SECONDS))

    def _on_field(self, change: w.Change) -> None:
        text = change["new"].strip()
        if text in ("", self._written(self._value)):
            return
        try:
            self._change(self.off if text == "off" and self.off is not None else float(text))
        except ValueError:
            self._enqueue(lambda: self._refuse(text))

    def _change(self, value: float, drag: bool = False) -> None:
        if value != self._value:
            self._enqueue(partial(self._turn, self.hyper.name, value, drag))

    def _refuse(self, text: str) -> None:
        allowed = self.hyper.range + ", or off" * (self.off is not None)
        raise ValueError(f"{self.hyper.name} is a number ({allowed}), not {text!r}")

    def _multiply(self, factor: float) -> None:
        value = self._value * factor
        self.show(value)  # a second click multiplies this value, though no request was processed yet
        self._turn(self.hyper.name, value, False)

    # -- showing -------------------------------------------------------------------------------------------

    def show(self, value: float) -> None:
        """Show the run's value."""
        if value != value:
            return
        self._value = value
        slider = self.slider
        self.field.value = self._written(value)
        if slider.value == value:
            return
        if value not in [v for _, v in slider.options]:
            if value > 0 and not self._stops[0] <= value <= self._stops[-1]:
                self._stops = self._make_stops(value)
            set_options(slider, self._options(), value, self._on_slider)
        slider.value = value


class PositionSlider:
    """A slider over the steps of a run: it follows the run until the user moves it, and again from its right end."""

    def __init__(self, label: str, tooltip: str, clock: Clock = time.monotonic) -> None:
        self.slider = w.IntSlider(description=label, tooltip=tooltip, min=0, max=1, disabled=True, readout=False)
        layout = w.Layout(width="6em")
        self.field = w.Text(placeholder=label, tooltip=tooltip, value="0", continuous_update=False, layout=layout)
        self._clock = clock
        self._steps = 0  # of the run, when it was last shown
        self._moved_at: float | None = None  # when the user moved it; None while it follows
        self.slider.observe(self._on_widget, "value")
        self.field.observe(self._on_field, "value")

    def follow(self) -> None:
        """Follow the run again."""
        self._moved_at = None

    def _on_widget(self, change: w.Change) -> None:
        new = change["new"]
        if self._moved_at is not None or new != self._steps:
            self._moved_at = None if new >= self._steps else self._clock()
        self._write()

    def _on_field(self, change: w.Change) -> None:
        text = change["new"].replace(",", "").strip()
        if text.isdecimal() and int(text) <= self._steps:
            self.slider.value = int(text)
        self._write()

    def _write(self) -> None:
        self.field.value = f"{self.slider.value:,}"

    def show(self, steps: int, start: int = 0, end: int = 0) -> None:
        """Show the steps of the run, on a scale that goes from `start` to `end`, or as far as the run."""
        slider = self.slider
        if slider.value > steps:
            self.follow()
        self._steps = steps
        if self._moved_at is not None and self._clock() < self._moved_at + DRAG_SECONDS:
            return
        end = max(steps, end, start + 1)  # a slider has a length
        if self._moved_at is None:
            slider.max = max(slider.max, end)  # first, and alone: a page cuts a value off at the end that it knows
            slider.value = steps
        slider.min, slider.max = min(start, slider.value), end
        slider.disabled = self.field.disabled = not steps
        self._write()


def exact(value: float) -> str:
    """Write a number to the last digit, as short as possible."""
    return repr(float(value)).removesuffix(".0")


def set_options(widget: w.Widget, options: Iterable[object], value: object, observer: Observer) -> None:
    """Give a selection other options; on the way it selects the first, which the observer does not see."""
    widget.unobserve(observer, "value")
    widget.options = options
    widget.value = value
    widget.observe(observer, "value")

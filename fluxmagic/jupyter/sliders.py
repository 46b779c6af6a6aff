"""Sliders: of a hyper-parameter, made from its declaration, and of the steps of a run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

from fluxmagic.jupyter import widgets as w
from fluxmagic.jupyter.draw_budget import Clock
from fluxmagic.jupyter.formatting import format_value
from fluxmagic.jupyter.page_requests import Request
from fluxmagic.optimise import Hyper

__all__ = ["MEMORY_VALUES", "HyperparameterSlider", "PositionSlider", "set_options"]

# Values of a memory: about evenly in the logarithm of 1 - value, at numbers that people use.
MEMORY_VALUES = [
    round(1 - m * 10.0 ** -(p + 1), p + 3) for p in range(4) for m in (10, 8, 7, 6, 5, 4, 3, 2.5, 2, 1.5, 1.2)
]
ON_OFF_VALUES = [float(f"{m}e{p}") for p in range(-6, 3) for m in (1, 2, 5)]  # beside "off"

DRAG_SECONDS = 1.0  # that the scale of a slider which is being dragged does not grow
ECHO_SECONDS = 0.5  # in which a page has answered what it was shown

Observer = Callable[[w.Change], None]


class HyperparameterSlider:
    """A slider for a hyper-parameter.

    A page rounds a value to the slider's steps, and sends that back, late perhaps: that is no change by the user.

    Parameters
    ----------
    hyper : Hyper
    value : float
    on_change : callable
        Of the name and the new value; called when the user moves the slider.
    enqueue : callable, optional
        Of what a click asks for; default: do it at once.
    clock : callable, optional

    Attributes
    ----------
    slider, box : ipywidgets.Widget
        The slider, and it with its buttons.
    """

    def __init__(
        self,
        hyper: Hyper,
        value: float,
        on_change: Callable[[str, float], bool],
        enqueue: Callable[[Request], object] = lambda request: request(),
        clock: Clock = time.monotonic,
    ) -> None:
        self.hyper = hyper
        self.off = hyper.off if hyper.off is not None else (0.0 if hyper.default == 0 == hyper.low else None)
        self._on_change = on_change
        self._clock = clock
        self._value = value
        self._shown: list[tuple[float, float]] = []  # the last values that were shown, and when
        self.slider = self._make(value)
        self.slider.observe(self._on_widget, "value")
        self.box = self.slider
        if hyper.scale == "log" and self.off is None:
            self.box = w.HBox([self.slider, *(self._factor(k, f, enqueue) for k, f in (("÷2", 0.5), ("×2", 2.0)))])

    def _factor(self, label: str, factor: float, enqueue: Callable[[Request], object]) -> w.Widget:
        layout = w.Layout(width="2.4em", padding="0", margin="2px 1px")
        button = w.Button(description=label, tooltip=f"{self.hyper.name} {label}", layout=layout)
        button.on_click(lambda _: enqueue(lambda: self._multiply(factor)))
        return button

    def _make(self, value: float) -> w.Widget:
        h = self.hyper
        style = {"description": h.name, "tooltip": f"{h.name}: {h.doc}", "style": {"description_width": "7em"}}
        layout = w.Layout(width="21.5em", flex="0 0 auto")
        if h.scale == "memory" or self.off is not None:
            return w.SelectionSlider(options=self._options(value), value=value, layout=layout, **style)
        if h.scale == "log":
            exponent, at = math.log10(h.default), math.log10(max(value, 1e-300))
            low, high = float(math.floor(min(exponent - 3, at))), float(math.ceil(max(exponent + 2, at)))
            kind, step = w.FloatLogSlider, 0.05
        else:
            reach = 4 * max(abs(h.default), 1)
            low = min(h.low if math.isfinite(h.low) else h.default - reach, value)
            high = max(h.high if math.isfinite(h.high) else h.default + reach, value)
            kind, step = w.FloatSlider, (high - low) / 200
        return kind(value=value, min=low, max=high, step=step, readout_format=".3", layout=layout, **style)

    def _options(self, value: float) -> list[tuple[str, float]]:
        h = self.hyper
        if h.scale == "memory":
            values = {v for v in MEMORY_VALUES if h.low <= v < h.high}
        else:
            values = {v for v in (*ON_OFF_VALUES, self.off) if v is not None and h.low <= v <= h.high}
        return [("off" if v == self.off else format_value(v), v) for v in sorted(values | {value, h.default})]

    def _on_widget(self, change: w.Change) -> None:
        new, now = change["new"], self._clock()
        late = any(self._same_when_rounded(new, v) for v, shown_at in self._shown if now - shown_at < ECHO_SECONDS)
        if not late and not self._same_when_rounded(new, self._value):
            self._value = new
            self._on_change(self.hyper.name, new)

    def _same_when_rounded(self, shown: float, value: float) -> bool:
        if shown == value:
            return True
        if isinstance(self.slider, w.FloatLogSlider):
            return value > 0 and abs(math.log10(shown / value)) < 0.51 * self.slider.step
        return isinstance(self.slider, w.FloatSlider) and abs(shown - value) < 0.51 * self.slider.step

    def _multiply(self, factor: float) -> bool:
        value = self._value * factor  # the page has rounded what the slider shows
        self.show(value)  # a second click multiplies this value, though no request was processed yet
        return self._on_change(self.hyper.name, value)

    def show(self, value: float) -> None:
        """Show the run's value."""
        slider = self.slider
        if value != value or (value == self._value and self._same_when_rounded(slider.value, value)):
            return
        self._value = value
        self._shown = [*self._shown[-3:], (value, self._clock())]
        if isinstance(slider, w.SelectionSlider):
            if value not in [v for _, v in slider.options]:
                set_options(slider, self._options(value), value, self._on_widget)
        elif isinstance(slider, w.FloatLogSlider):
            if value <= 0:
                return
            slider.min = min(slider.min, math.floor(math.log10(value)))
            slider.max = max(slider.max, math.ceil(math.log10(value)))
        else:
            slider.min, slider.max = min(slider.min, value), max(slider.max, value)
        slider.value = value


class PositionSlider:
    """A slider over the steps of a run: it follows the run until the user moves it, and again from its right end.

    Attributes
    ----------
    slider : ipywidgets.IntSlider
    """

    def __init__(self, label: str, tooltip: str, clock: Clock = time.monotonic) -> None:
        self.slider = w.IntSlider(
            description=label,
            tooltip=tooltip,
            min=0,
            max=1,
            disabled=True,
            style={"description_width": "3em"},
            layout=w.Layout(width="18em"),
        )
        self._clock = clock
        self._followed = 0  # the step that it was moved to with the run
        self._moved_at: float | None = None  # when the user moved it; None while it follows
        self.slider.observe(self._on_widget, "value")

    def follow(self) -> None:
        """Follow the run again."""
        self._moved_at = None

    def _on_widget(self, change: w.Change) -> None:
        new = change["new"]
        if self._moved_at is not None or new != self._followed:
            self._moved_at = None if new == self.slider.max else self._clock()

    def show(self, steps: int) -> None:
        """Reach as far as the run."""
        slider = self.slider
        if slider.value > steps:
            self.follow()
        if self._moved_at is not None and self._clock() < self._moved_at + DRAG_SECONDS:
            return
        if self._moved_at is None:
            self._followed = steps
            slider.max = max(slider.max, steps)  # first, and alone: a page cuts a value off at the end that it knows
            slider.value = steps
        slider.max = max(steps, 1)  # a page has no sliders without a length
        slider.disabled = not steps


def set_options(widget: w.Widget, options: Iterable[object], value: object, observer: Observer) -> None:
    """Give a selection other options; on the way it selects the first, which the observer does not see."""
    widget.unobserve(observer, "value")
    widget.options = options
    widget.value = value
    widget.observe(observer, "value")

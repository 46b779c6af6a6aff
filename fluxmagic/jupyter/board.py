"""The panel's widgets, made from what optimisers declare.

A page's message may come on any thread: it only queues a request.  Who drives the run serves the queue
between two batches, and shows on the widgets what the run made of it.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from html import escape
from itertools import chain, count
from string import ascii_lowercase
from typing import Any

from IPython.core.getipython import get_ipython

from fluxmagic.jupyter import text
from fluxmagic.jupyter import widgets as w
from fluxmagic.optimise import OPTIMISERS, Hyper
from fluxmagic.runs import Run
from fluxmagic.runs.script import saved_script

__all__ = ["Board", "Dial"]

GRID = [round(1 - m * 10.0 ** -(p + 1), p + 3) for p in range(4) for m in (10, 8, 7, 6, 5, 4, 3, 2.5, 2, 1.5, 1.2)]
"""Where a dial for a memory can stand: about evenly in the logarithm of 1 - value, at numbers that people use."""

CALM = 1.0
"""Seconds that the scale of a slider which is being dragged does not grow."""

STEPS = [float(f"{m}e{p}") for p in range(-6, 3) for m in (1, 2, 5)]
"""Where a dial can stand that can also be off."""


ECHO = 0.5  # seconds in which a page has answered what it was shown


class Dial:
    """A slider for a hyper-parameter.

    Parameters
    ----------
    hyper : Hyper
    value : float
    turned : callable
        Of the name and the new value; called when the user moves it.
    queue : callable, optional
        Of what a click asks for, to be done when the board is served; default: at once.
    """

    def __init__(
        self,
        hyper: Hyper,
        value: float,
        turned: Callable[[str, float], None],
        queue: Callable[[Callable[[], None]], None] = lambda request: request(),
    ) -> None:
        self.hyper = hyper
        self.turned = turned
        self.off = hyper.off if hyper.off is not None else (0.0 if hyper.default == 0 == hyper.low else None)
        self.slider = self._slider(value)
        self._value = value
        self._shown: tuple[tuple[float, float], ...] = ()  # and when: a page's answers may come late
        self.slider.observe(self._moved, "value")
        self.box: Any = self.slider
        if hyper.scale == "log" and self.off is None:
            buttons = []
            for sign, factor in (("÷2", 0.5), ("×2", 2.0)):
                layout = w.Layout(width="2.4em", padding="0", margin="2px 1px")
                b = w.Button(description=sign, tooltip=f"{hyper.name} {sign}", layout=layout)
                b.on_click(lambda _, factor=factor: queue(lambda: self._scale(factor)))
                buttons.append(b)
            self.box = w.HBox([self.slider, *buttons])

    def _slider(self, value: float) -> Any:
        h = self.hyper
        common: dict[str, Any] = {
            "description": h.name,
            "tooltip": f"{h.name}: {h.doc}",
            "style": {"description_width": "7em"},
            "layout": w.Layout(width="21.5em", flex="0 0 auto"),
        }
        if h.scale == "memory" or self.off is not None:
            return w.SelectionSlider(options=self._options(value), value=value, **common)
        if h.scale == "log":
            exponent = math.log10(h.default)
            return w.FloatLogSlider(
                value=value,
                min=math.floor(min(exponent - 3, math.log10(max(value, 1e-300)))),
                max=math.ceil(max(exponent + 2, math.log10(max(value, 1e-300)))),
                step=0.05,
                readout_format=".3",
                **common,
            )
        low = h.low if math.isfinite(h.low) else h.default - 4 * max(abs(h.default), 1)
        high = h.high if math.isfinite(h.high) else h.default + 4 * max(abs(h.default), 1)
        low, high = min(low, value), max(high, value)
        return w.FloatSlider(value=value, min=low, max=high, step=(high - low) / 200, readout_format=".3", **common)

    def _options(self, value: float) -> list[tuple[str, float]]:
        h = self.hyper
        if h.scale == "memory":
            values = {v for v in GRID if h.low <= v < h.high}
        else:
            assert self.off is not None
            values = {v for v in STEPS if h.low <= v <= h.high} | {self.off}
        if math.isinf(self.off or 0.0):  # a bound grows until it is off
            return [(text.dial(v), v) for v in sorted(values | {value, h.default})]
        names = {v: text.dial(v) for v in values | {value, h.default}}
        if self.off == 0:
            names[0.0] = "off"
        return [(name, v) for v, name in sorted(names.items())]

    def _moved(self, change: Any) -> None:
        late = any(self._stands_for(change["new"], v) for v, at in self._shown if time.monotonic() - at < ECHO)
        if not late and not self._stands_for(change["new"], self._value):
            self._value = change["new"]
            self.turned(self.hyper.name, change["new"])

    def _stands_for(self, shown: float, value: float) -> bool:
        """A page rounds a value to the slider's steps, and sends that back: nobody has turned anything."""
        if shown == value:
            return True
        if isinstance(self.slider, w.FloatLogSlider):
            return value > 0 and abs(math.log10(shown / value)) < 0.51 * self.slider.step
        return isinstance(self.slider, w.FloatSlider) and abs(shown - value) < 0.51 * self.slider.step

    def _scale(self, factor: float) -> None:
        value = self._value * factor  # not what the page has rounded it to
        self.show(value)  # two clicks are two factors, also if nobody served the first one yet
        self.turned(self.hyper.name, value)

    def show(self, value: float) -> None:
        """Stand where the run's value is."""
        if value != value or (value == self._value and self._stands_for(self.slider.value, value)):
            return
        self._value = value
        self._shown = (*self._shown[-3:], (value, time.monotonic()))
        slider = self.slider
        if isinstance(slider, w.SelectionSlider):
            if value not in [v for _, v in slider.options]:
                _offer(slider, self._options(value), value, self._moved)
        elif isinstance(slider, w.FloatLogSlider):
            if value <= 0:
                return
            slider.min = min(slider.min, math.floor(math.log10(value)))
            slider.max = max(slider.max, math.ceil(math.log10(value)))
        else:
            slider.min, slider.max = min(slider.min, value), max(slider.max, value)
        slider.value = value


class Board:
    """Buttons, dials, progress and messages of a run.

    Parameters
    ----------
    run : Run
    playing : bool
        Whether the run is on its way already.
    closable : bool
        Whether there is a button to close it.
    wake : callable, optional
        Called after a request was queued, on whatever thread that was.

    Attributes
    ----------
    run : Run
        Whoever drives it looks here again when something was served: Branch goes on with another one.
    box : ipywidgets.VBox
    playing : bool
        Whether the run is to go on by itself.
    single : int
        Steps asked for one by one.
    stopped, closed : bool
        Whether Stop or Close was pressed.
    log : bool
    smoothing : float
        How the curve is to be shown.
    """

    def __init__(
        self, run: Run, *, playing: bool = False, closable: bool = False, wake: Callable[[], None] | None = None
    ) -> None:
        self.run = run
        self.playing = playing
        self.single = 0
        self.stopped = self.closed = False
        self.log = False
        self.smoothing = 0.9
        self._wake = wake or (lambda: None)
        self._requests: deque[Callable[[], bool | None]] = deque()
        self._received: dict[Any, dict[str, Any]] = {}  # states that a page sent and that can still be added to
        self._receiving = threading.Lock()
        self._applying: int | None = None  # the thread that applies one of them
        self._following: list[Callable[[], bool | None]] = []  # what that asked for
        self._dials: dict[type, tuple[dict[str, Dial], Any]] = {}
        self._buttons = {
            name: self._button(name, icon, tip, act)
            for name, icon, tip, act in (
                ("Play", "play", "go on", self._play),
                ("Pause", "pause", "stop after this batch, and be able to go on", self._pause),
                ("Step", "step-forward", "take one step", self._step),
                ("Stop", "stop", "end the training", self._stop),
                *((("Close", "times", "leave the last frame and a summary", self._close),) if closable else ()),
            )
        }
        self._bar = w.FloatProgress(min=0.0, max=1.0, layout=w.Layout(width="8em", height="1.1em", margin="auto 6px"))
        self._where = w.HTML(layout=w.Layout(margin="2px 6px"))
        self._cost = w.Label(layout=w.Layout(margin="0 0 0 auto"))
        self._choice = w.Dropdown(
            description="optimiser",
            tooltip="which optimiser updates the parameters",
            options=self._names(),
            value=run.opt_name,
            style={"description_width": "6em"},
            layout=w.Layout(width="16em"),
            disabled=run.opt_class is None,
        )
        self._chosen = run.opt_name
        self._choice.observe(self._choose, "value")
        self._effective = w.Label()
        self._logy = w.Checkbox(
            description="log-y", indent=False, layout=w.Layout(width="5em", margin="2px 4px 2px 1.5em")
        )
        self._logy.observe(lambda c: self._queue(lambda: self._look(log=c["new"])), "value")
        self._smoothing = w.SelectionSlider(
            description="smoothing",
            tooltip="share of the smoothed loss that is kept from step to step",
            options=[(f"{v:g}", v) for v in (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)],
            value=self.smoothing,
            style={"description_width": "6em"},
            layout=w.Layout(width="19em"),
        )
        self._smoothing.observe(lambda c: self._queue(lambda: self._look(smoothing=c["new"])), "value")
        self._at = w.IntSlider(
            description="step",
            tooltip="where Rewind goes back to; at its right end it goes along with the run",
            min=0,
            max=1,
            disabled=True,
            style={"description_width": "3em"},
            layout=w.Layout(width="18em"),
        )
        self._followed = 0  # where the slider was put by `show`
        self._held: float | None = None  # when the user moved it last; None while it goes along with the run
        self._at.observe(self._hold, "value")
        self._rewind = self._button("Rewind", "backward", "weights, optimiser and data as they were then", self._back)
        self._branch = self._button("Branch", "random", "a second run from here; this one rests", self._fork)
        tip = "after a loss that was not finite: back to the last good state, with a smaller η"
        self._recover = self._button("Recover", "medkit", tip, self._mend)
        self._copy = self._button("Copy as code", "code", "a script that does the same again", self._write)
        self._copy.layout.width = "9em"
        self._code = w.Textarea(description="code", layout=w.Layout(display="none", width="100%", height="14em"))
        self._place = w.VBox()
        self._message = w.HTML(layout=w.Layout(display="none"))
        self._off = w.HTML(layout=w.Layout(margin="2px 6px"))
        back = self._button("Give back", "undo", "let the schedule turn the dial again", self._give_back)
        back.layout.width = "7em"
        self._schedule = w.HBox([self._off, back], layout=w.Layout(display="none", align_items="center"))
        wrap = w.Layout(flex_flow="row wrap", align_items="center", width="100%")
        self.box = w.VBox(
            [
                w.Box([*self._buttons.values(), self._bar, self._where], layout=wrap),
                w.Box([self._choice, self._logy, self._smoothing], layout=wrap),
                self._place,
                w.Box([self._rewind, self._at, self._branch, self._recover, self._copy, self._cost], layout=wrap),
                self._code,
                self._schedule,
                self._message,
            ],
            layout=w.Layout(width="100%", overflow="hidden"),
        )
        self._listen(self.box)
        if run.opt_class is None:
            self.say(f"{run.opt_name} is {run.opt_kind}: it has no dials")
        self.show()

    def _names(self) -> list[str]:
        names = list(OPTIMISERS)
        return names if self.run.opt_name in names else [self.run.opt_name, *names]

    @staticmethod
    def _button(name: str, icon: str, tip: str, act: Callable[[], None]) -> Any:
        button = w.Button(description=name, icon=icon, tooltip=tip, layout=w.Layout(width="6em", padding="0"))
        button.on_click(lambda _: act())
        return button

    # -- what the user does: on any thread -----------------------------------------------------------------

    def _queue(self, request: Callable[[], bool | None]) -> None:
        if self._applying == threading.get_ident():
            self._following.append(request)
            return
        with self._receiving:
            self._received.clear()  # what comes later is to be applied after this request
            self._requests.append(request)
        self._wake()

    def _listen(self, top: Any) -> None:
        for x in self._widgets(top):
            x.receive = self._receive

    def _receive(self, widget: Any, state: dict[str, Any]) -> None:
        """Queue a state that a page sent; of several in a row the last one of each widget counts."""
        with self._receiving:
            if widget in self._received:
                self._received[widget].update(state)
                return
            self._received[widget] = state

            def request() -> bool:
                with self._receiving:
                    if self._received.get(widget) is state:
                        del self._received[widget]
                self._applying = threading.get_ident()
                try:
                    widget.apply(state)
                finally:
                    self._applying = None
                following, self._following = self._following, []
                moved = [f() for f in following]
                return any(moved)

            self._requests.append(request)
        self._wake()

    def _play(self) -> None:
        def go() -> bool:
            self.playing = True
            self.say("")
            return False

        self._queue(go)

    def _pause(self) -> None:
        def halt() -> bool:
            self.playing = False
            self.run.pause()
            return False

        self._queue(halt)

    def _step(self) -> None:
        def once() -> bool:
            if self.playing:
                self.playing = False
                self.run.pause()
            else:
                self.single += 1
            return False

        self._queue(once)

    def _stop(self) -> None:
        def end() -> bool:
            self.playing, self.stopped = False, True
            self.run.stop()
            return False

        self._queue(end)

    def _close(self) -> None:
        def leave() -> bool:
            self.closed = True
            self.run.pause()
            return False

        self._queue(leave)

    def _hold(self, change: Any) -> None:
        new = change["new"]
        if self._held is not None or new != self._followed:
            self._held = None if new == self._at.max else time.monotonic()

    def _back(self) -> None:
        def back() -> bool:
            self.run.rewind(self._at.value)
            self.stopped, self._held = False, None
            self.say("")
            return True

        self._queue(back)

    def _fork(self) -> None:
        self._queue(self._go_on_with_a_branch)

    def _mend(self) -> None:
        self._queue(self._go_back_to_good)

    def _give_back(self) -> None:
        def give() -> bool:
            self.run.set(**_beaten(self.run))
            return True

        self._queue(give)

    def _write(self) -> None:
        def write() -> bool:
            shown = self._code.layout.display != "none"
            self._code.value = "" if shown else saved_script(self.run)
            self._code.layout.display = "none" if shown else None
            return False

        self._queue(write)

    def _choose(self, change: Any) -> None:
        new = change["new"]
        if new != self._chosen:
            self._chosen = new
            self._queue(lambda: self._swap(new))

    def _turned(self, name: str, value: float) -> None:
        self._queue(lambda: self._turn(name, value))

    # -- what comes of it: between two batches -------------------------------------------------------------

    def _turn(self, name: str, value: float) -> bool:
        self.run.set(**{name: value})
        self.say("")
        return True

    def _swap(self, name: str) -> bool:
        self.run.swap(name)
        self.say("")
        return True

    def _go_on_with_a_branch(self) -> bool:
        old = self.run
        if old.finished:
            raise ValueError("the run has come to its end: rewind it first, and branch from there")
        ns = getattr(get_ipython(), "user_ns", {})
        name = _free(old, ns)
        new = old.branch(name)
        old.pause()
        ns[name] = self.run = new
        self.stopped, self._held = False, None
        self.say(f"{name} goes on from step {new.steps:,}; {old.name or 'the run before'} rests")
        return True

    def _go_back_to_good(self) -> bool:
        self.run.recover()
        self.stopped, self._held = False, None
        η = self.run.values.get("η")
        self.say(f"Play goes on from step {self.run.steps:,}" + ("" if η is None else f" with η {text.dial(η)}"))
        return True

    def _look(self, **settings: Any) -> bool:
        vars(self).update(settings)
        return True

    def serve(self) -> bool:
        """Do what was asked for.

        Returns
        -------
        bool
            Whether something changed that the curve is to answer.
        """
        moved = False
        while self._requests:
            request = self._requests.popleft()
            try:
                moved |= bool(request())
            except Exception as error:  # a dial that cannot be turned so does not end the training
                self.say(f"{type(error).__name__}: {error}", wrong=True)
                self.show()
        if self.box.comm is None:
            self.closed = True
        return moved

    # -- what is shown -------------------------------------------------------------------------------------

    def say(self, words: str, *, wrong: bool = False) -> None:
        """Show a message; "" removes it."""
        style = 'role="alert" style="color: var(--jp-error-color1, #c33)"' if wrong else 'role="status"'
        self._message.value = f"<span {style}>{escape(words)}</span>"
        self._message.layout.display = None if words else "none"

    def show(self, share: float | None = None) -> None:
        """Show where the run is, and what its dials are set to.

        Parameters
        ----------
        share : float, optional
            Of the time, that was spent drawing.
        """
        run = self.run
        total = run.total_steps or 0
        self._bar.value = 1.0 if run.finished else (run.steps / total if total else 0.0)
        self._where.value = escape(text.progress(run))
        if share is not None and run.rate:
            self._cost.value = f"{text.number(1000 / run.rate)} ms/step · drawing {100 * share:.1f} %"
        over = run.finished or self.stopped
        for name, disabled in (
            ("Play", self.playing or over),
            ("Pause", not self.playing or over),
            ("Step", over),
            ("Stop", over),
        ):
            self._buttons[name].disabled = disabled
        self._show_steps()
        cls = run.opt_class
        if cls is None or self._requests:
            return
        if run.opt_name != self._choice.value:
            self._chosen = run.opt_name
            _offer(self._choice, self._names(), run.opt_name, self._choose)
        if cls not in self._dials:
            dials = {k: Dial(h, run.values[k], self._turned, self._queue) for k, h in cls.hypers.items()}
            boxes = [w.HBox([d.box, self._effective]) if k == "ρ" else d.box for k, d in dials.items()]
            layout = w.Layout(flex_flow="row wrap", align_items="center", width="100%")
            self._dials[cls] = dials, w.Box(boxes, layout=layout)
            self._listen(self._dials[cls][1])
        dials, box = self._dials[cls]
        if self._place.children != (box,):
            self._place.children = (box,)
        off = escape(" and ".join(_beaten(run)))
        self._off.value = f"{off}: turned by hand, the schedule is off" if off else ""
        self._schedule.layout.display = None if off else "none"
        values = run.values
        for k, dial in dials.items():
            dial.show(values[k])
        ρ = values.get("ρ")
        self._effective.value = (
            "" if ρ is None or "η" not in values else f"η/(1−ρ) = {text.number(values['η'] / (1 - ρ))}"
        )

    def _show_steps(self) -> None:
        """Let the slider reach as far as the run, and stand there unless the user has put it elsewhere."""
        slider, steps = self._at, self.run.steps
        if self._held is not None and slider.value > steps:
            self._held = None
        if self._held is not None and time.monotonic() < self._held + CALM:
            return
        if self._held is None:
            self._followed = steps
            slider.max = max(slider.max, steps)  # first, and alone: a page cuts a value off at the end that it knows
            slider.value = steps
        slider.max = max(steps, 1)  # a page has no sliders without a length
        slider.disabled = self._rewind.disabled = not steps
        self._branch.disabled = not steps or self.run.finished
        refused = self.run.record.rejected
        self._recover.disabled = self.run.state != "failed" or refused[-1:] != [steps]

    def owns(self, comm: str) -> bool:
        """Whether a comm is that of one of the widgets."""
        return any(x.model_id == comm for x in self._widgets(self.box))

    def _widgets(self, top: Any) -> Iterator[Any]:
        yield top
        for child in getattr(top, "children", ()):
            yield from self._widgets(child)

    def close(self) -> None:
        """Take the widgets off the page."""
        tops = [self.box, self._effective, *(box for _, box in self._dials.values())]
        widgets = [x for top in tops for x in self._widgets(top)]
        for x in widgets:
            for part in (x.layout, getattr(x, "style", None), x):
                if part is not None:
                    part.close()


def _beaten(run: Run) -> dict[str, Callable[[int], float]]:
    """The schedules that dials of the optimiser in force followed until they were turned, by name."""
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


def _free(run: Run, ns: Mapping[str, Any]) -> str:
    """A name for a branch: run_b, run_c, …, the first that nothing has yet."""
    stem = run.name if run.name is not None and run.name.isidentifier() else "run"
    if run.parent is not None:
        stem = re.sub(r"_([b-z]|\d+)$", "", stem)  # a branch's branch is not run_b_b
    names = (f"{stem}_{end}" for end in chain(ascii_lowercase[1:], count(27)))
    return next(name for name in names if name not in (*ns, run.name))


def _offer(widget: Any, options: Any, value: Any, observer: Callable[[Any], None]) -> None:
    """Give a selection other options: which, on the way, selects the first."""
    widget.unobserve(observer, "value")
    widget.options = options
    widget.value = value
    widget.observe(observer, "value")

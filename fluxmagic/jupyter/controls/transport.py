"""What the controls of anything trainable share: Play, Step, Stop, Restart, speed, progress, the picture, a message.

What a user does is a request, made on any thread; the driver processes requests between two batches.
A button is a row of a table; `RunControls` shows how a class adds its own.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from operator import attrgetter
from typing import Any, ClassVar, NamedTuple

from fluxmagic.jupyter.controls import widgets as w
from fluxmagic.jupyter.controls.layout import WIDTH, make_button, make_choice, panel_box, row, set_visible
from fluxmagic.jupyter.controls.page_requests import PageRequests
from fluxmagic.jupyter.controls.sliders import set_options
from fluxmagic.jupyter.driving.draw_budget import Clock
from fluxmagic.jupyter.driving.pace import SPEEDS, Pace
from fluxmagic.jupyter.driving.trainable import Trainable
from fluxmagic.jupyter.formatting import format_number
from fluxmagic.jupyter.pictures.limits import Axis

__all__ = [
    "PAUSE", "TRANSPORT", "Button", "Controls", "always", "close", "has_steps", "more", "play", "restart",
    "stop",
]  # fmt: skip

TICK_MILLISECONDS = 500
FIRST_STEP = "step 1 is being computed"
LOADED_ANEW = (
    "this page was loaded anew: outputs of the cell do not reach it any more. The panel goes on, and at its end keeps "
    "picture and summary; the run, as the last line of another cell, shows them too."
)


class Button(NamedTuple):
    """A row of a table of buttons.

    `group` says where in the layout it stands; `other` is its face (label, icon, tooltip) while `is_other`.
    `act` gives False where the picture needs no answer.
    """

    label: str
    icon: str
    tooltip: str
    group: str
    act: Callable[[Any], object]
    enabled: Callable[[Any], bool]
    width: str = "6em"
    visible: Callable[[Any], bool] | None = None
    other: tuple[str, str, str] | None = None
    is_other: Callable[[Any], bool] = bool


class Controls:
    """Controls of anything trainable: its driver and its view ask these.

    A class that is derived from it lays out `body`, and shows its own state in `show_body`.  `wake` is called after a
    request was made, on its thread.
    """

    progress: ClassVar[Any]  # a function of the trainable and its speed, to one line of text
    buttons: ClassVar[tuple[Button, ...]] = ()
    transport: ClassVar[tuple[Button, ...]] = ()  # in place of `TRANSPORT`
    unit: ClassVar[str] = "step"  # what the trainable counts
    unfolded = False  # whether all dials are in sight
    run: Any  # a `Trainable`; its driver looks here after requests were processed: Branch puts another one in its place
    image: w.Widget  # the picture
    box: w.Widget  # all of it

    def __init__(
        self,
        run: Trainable,
        *,
        playing: bool = False,
        closable: bool = False,
        wake: Callable[[], None] | None = None,
        speed: float = math.inf,
        clock: Clock = time.monotonic,
    ) -> None:
        self.run, self.clock = run, clock
        self.playing = playing  # whether the training is to go on by itself
        self.pending_steps = 0  # single ones that were asked for
        self.stopped = self.closed = False  # whether that button was pressed
        self.pace = Pace(speed)
        self.view: dict[str, object] = {}  # how the picture is to be drawn: values of its attributes
        self.axis = Axis(0.08, 0.98, 0.0, 1.0)  # the picture's axis of steps, above the time line
        self.width = WIDTH  # of the box in a page, in px
        self.presses = 0  # of a pointer, and releases: odd while it is held
        self.was_loaded_anew = False  # the page: outputs do not reach it
        self._page = ""
        self._share = 0.0  # of the processor's time, that was spent drawing
        self.name = f"fluxmagic-{os.urandom(6).hex()}"  # the class of the box in a page, of these controls alone
        self.requests = PageRequests(wake)
        self._models: dict[str, w.Widget] = {}  # widgets, layouts and styles, by their comms
        self._rows = [r for r in (*(self.transport or TRANSPORT), *self.buttons) if closable or r.act is not close]
        self._buttons = {r.label: make_button(*r[:3], r.width) for r in self._rows}
        for r in self._rows:
            self._buttons[r.label].on_click(lambda _, label=r.label: self.press(label))
        for button in self.group("close"):
            button.layout.margin = "2px 2px 2px auto"
        self.image = w.Image(format="png", layout=w.Layout(width="100%", margin="0", display="none"))
        self._words = w.HTML(layout=w.Layout(width="auto", margin="0 2px"))
        self._message, self._failure = (w.HTML(layout=w.Layout(display="none")) for _ in range(2))
        self._tick = w.Play(interval=TICK_MILLISECONDS, max=10**6, layout=w.Layout(display="none"))
        self._speed = make_choice("speed", self._speeds(), speed, "steps a second", "9.5em")
        self._on_speed = self.on_value(self._speed, lambda speed: setattr(self.pace, "speed", speed))
        field = w.Text(continuous_update=False)
        self.on_value(field, self._hear_page)
        body = self.body()
        menus = [self._speed, *self.menus(), *self.group("more")]
        transport = row([*self.group("transport"), *menus, self._tick, *self.group("close")])
        self.box = panel_box([transport, self._words, self._message, self._failure, *body], self.name, field)
        self.hear(self.box)
        self.show()

    # -- what a class adds ---------------------------------------------------------------------------------

    def body(self) -> Sequence[w.Widget]:
        """Give the widgets below the transport."""
        return [self.image]

    def menus(self) -> Sequence[w.Widget]:
        """Give the menus beside that of the speed; `body` was called before."""
        return ()

    def show_body(self) -> None:
        """Show what `body` has; called where no request waits."""

    def restart(self) -> None:
        """Bring the training back to its start."""
        self.run.restart()

    def group(self, name: str) -> list[w.Widget]:
        """Give the buttons of a group."""
        return [self._buttons[r.label] for r in self._rows if r.group == name]

    def hear(self, top: w.Widget) -> None:
        """Let what a page sends of a widget, and of all below it, be a request; they are closed with the controls."""
        for model in w.models(top):
            self._models[model.model_id] = model
            if isinstance(model, w.FromPage):
                model.receive = self.requests.add_state

    # -- what the user does: on any thread -----------------------------------------------------------------

    def press(self, label: str) -> None:
        """Request what a button does."""
        act = next(r.act for r in self._rows if r.label == label)
        self.requests.add(lambda: act(self))

    def on_value(self, widget: w.Widget, act: Callable[[Any], object]) -> Callable[[w.Change], None]:
        """Let each new value of a widget be a request; return the observer."""

        def observe(change: w.Change) -> None:
            self.requests.add(partial(act, change["new"]))

        widget.observe(observe, "value")
        return observe

    # -- processing: between two batches -------------------------------------------------------------------

    @property
    def heard(self) -> bool:
        """Whether the page has sent anything: a hidden widget of it ticks."""
        return self.requests.heard

    def process_requests(self) -> bool:
        """Do what was requested; tell whether the picture is to answer."""
        waiting = bool(self.requests)
        answer = self.requests.process(self._show_error)
        if self.heard and self._tick.playing:
            self._tick.playing = False
        if self.box.comm is None:
            self.closed = True
        if waiting:  # at once: dials of another optimiser are used before the next picture
            self.show()
        return answer

    def _show_error(self, error: Exception) -> None:
        self.show_message(f"{type(error).__name__}: {error}", error=True)

    def _hear_page(self, text: str) -> None:
        """Take the width of the box, when its page was loaded, and how often a pointer was pressed or released."""
        width, page, presses = text.split()
        self.width, self.presses = int(width), int(presses)
        if self._page not in ("", page):
            self.was_loaded_anew = True
            self.show_message(LOADED_ANEW)
        self._page = page

    def _speeds(self) -> list[tuple[str, float]]:
        return [(_written(v), v) for v in sorted({*SPEEDS, self.pace.speed})]

    # -- showing -------------------------------------------------------------------------------------------

    def show_message(self, words: str, *, error: bool = False) -> None:
        """Show a message; "" removes it."""
        self._message.value = _with_role("alert" if error else "status", words)
        set_visible(self._message, bool(words))

    def show_failure(self, words: str) -> None:
        """Show what ended the training; where it has failed, until it has gone on or is recovered."""
        has_failed = self.run.state == "failed"
        self._failure.value = _with_role("alert", words) if has_failed else ""
        self.show_message("" if has_failed else words, error=True)

    def show(self, share: float | None = None) -> None:
        """Show where the training is, and the values in force; `share` of the processor's time was spent drawing."""
        self.show_words(share)
        if self.run.state != "failed":
            self._failure.value = ""
        set_visible(self._failure, bool(self._failure.value))
        if self.pace.speed != self._speed.value:
            set_options(self._speed, self._speeds(), self.pace.speed, self._on_speed)
        for r in self._rows:
            self._show_button(r, self._buttons[r.label])
        if not self.requests:
            self.show_body()

    def show_words(self, share: float | None = None) -> None:
        """Show where the training is, in one message to the page."""
        if not self.heard:  # a page starts it when it sees the change, and that is after it has made the widget
            self._tick.playing = not self._tick.playing
        run = self.run
        total = run.total_steps or 0
        done = 1.0 if run.finished else (run.steps / total if total else 0.0)
        first = self.playing and not run.steps and run.state != "failed"
        words = FIRST_STEP.replace("step", self.unit) if first else self.progress(run, self.pace.speed)
        self._share = self._share if share is None else share
        cost = f"{format_number(1000 / run.rate)} ms/{self.unit}" if run.rate else ""
        if cost and self._share and not self.pace.is_limited:
            cost += f" · drawing {100 * self._share:.1f} %"
        self._words.value = (
            f'<div class="fluxmagic-words"><progress value="{done:.3f}"></progress><div>{escape(words)}</div>'
            f"<span>{escape(cost)}</span></div>"
        )

    def _show_button(self, r: Button, button: w.Widget) -> None:
        button.disabled = not r.enabled(self)
        if r.visible is not None:
            set_visible(button, r.visible(self))
        if r.other is not None:
            face = r.other if r.is_other(self) else r[:3]
            button.description, button.icon, button.tooltip = face

    def has_comm(self, comm: str) -> bool:
        """Tell whether a comm is that of one of the widgets, a layout or a style."""
        return comm in self._models

    def close(self, words: str = "") -> None:
        """Take the widgets off the page; one that was loaded anew keeps the picture, and words."""
        closed = {*self._models.values()}
        if self.was_loaded_anew:
            style, field, *_ = self.box.children
            self.box.children = style, field, self.image, w.HTML(f"<pre>{escape(words)}</pre>")
            closed -= {*w.models(self.box)}
        for model in closed:
            model.close()


def _with_role(role: str, words: str) -> str:
    return f'<span role="{role}">{escape(words)}</span>'


def _written(speed: float) -> str:
    if speed == math.inf:
        return "max"
    return f"{speed / 1000:g}k" if speed >= 1000 else f"{speed:g}"


# -- what buttons do; False: the picture needs no answer -----------------------------------------------------


def play(controls: Controls) -> bool:
    """Play, or pause what plays; what is finished goes on for as long again."""
    run = controls.run
    controls.show_message("")
    if controls.playing:
        controls.playing = False
        run.pause()
    else:
        if run.finished:
            run.extend()
        controls.playing, controls.stopped = True, False
    return False


def step(controls: Controls) -> bool:
    if controls.playing:
        return play(controls)
    if controls.run.finished:
        controls.run.extend()
    controls.pending_steps += 1
    controls.stopped = False
    return False


def stop(controls: Controls) -> bool:
    controls.playing, controls.stopped = False, True
    controls.run.stop()
    return False


def restart(controls: Controls) -> None:
    controls.restart()
    controls.show_message("")
    controls.stopped = False


def close(controls: Controls) -> bool:
    controls.closed = True
    controls.run.pause()
    return False


def more(what: str, less: str, visible: Callable[[Any], bool] | None = None) -> Button:
    """Make the button that unfolds dials; the arguments are tooltips."""
    other = "less", "caret-down", less
    unfolded = attrgetter("unfolded")
    return Button("more", "caret-right", what, "more", toggle, always, "6em", visible, other, unfolded)


def toggle(controls: Controls) -> bool:
    controls.unfolded = not controls.unfolded
    return False


def always(controls: Controls) -> bool:
    return True


def has_steps(controls: Controls) -> bool:
    return bool(controls.run.steps)


PAUSE = ("Pause", "pause", "stop after this batch, and be able to go on")
RESTART_TIP = "start weights, fresh optimiser state, dials as they are; the old curve stays in grey"
TRANSPORT = (
    Button("Play", "play", "go on", "transport", play, always, "6.5em", other=PAUSE, is_other=lambda c: c.playing),
    Button("Step", "step-forward", "take one step", "transport", step, always),
    Button("Stop", "stop", "end the training", "transport", stop, lambda c: not (c.run.finished or c.stopped)),
    Button("Restart", "undo", RESTART_TIP, "transport", restart, has_steps, "7em"),
    Button("Close", "times", "leave the last picture and a summary", "close", close, always),
)

"""What shows training while it is driven: a line of text, a picture, or a picture below controls.

A view only reads what it shows; its `presentation` has the picture, the words and the controls.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Literal, Protocol

from IPython.core import display_functions

from fluxmagic.jupyter.axes import DISPLAY_SIZE
from fluxmagic.jupyter.draw_budget import Clock, DrawBudget
from fluxmagic.jupyter.ipykernel_compat import parent_message
from fluxmagic.jupyter.ipython_compat import Shell
from fluxmagic.jupyter.presentation import Controls, presentation
from fluxmagic.jupyter.trainable import Trainable

__all__ = ["ImageView", "TextView", "View", "WidgetView", "frontend_kind", "make_view"]

METADATA = {"image/png": DISPLAY_SIZE}
LINE_SECONDS = 1.0  # between two lines of text; where they cannot be overwritten they get rarer

Bundle = dict[str, str | bytes]  # by MIME type


class Output(Protocol):
    """An output of a cell that can be changed, and shown in another cell as well."""

    def update(self, data: object, **options: object) -> None: ...
    def display(self, data: object, **options: object) -> None: ...


display: Callable[..., Output] = display_functions.display


class View(Protocol):
    """What a driver asks of a view; `controls` is None where there are no buttons."""

    run: Trainable

    @property
    def controls(self) -> Controls | None: ...

    def refresh_if_due(self) -> None: ...
    def draw(self) -> None: ...
    def open_again(self) -> None: ...  # in another cell as well
    def close(self) -> None: ...  # leaves the last frame and the summary


class TextView:
    """A terminal: a line of text now and then."""

    controls: Controls | None = None

    def __init__(self, run: Trainable, clock: Clock = time.perf_counter, overwrite: bool | None = None) -> None:
        self.run = run
        self.presentation = presentation(run)
        self.clock = clock
        self.overwrite = sys.stdout.isatty() if overwrite is None else overwrite
        self._width = 0
        self._interval = LINE_SECONDS
        self._next = clock() + self._interval

    def refresh_if_due(self) -> None:
        if self.clock() >= self._next:
            self.draw()

    def draw(self) -> None:
        line = self.presentation.progress(self.run)
        if self.overwrite:
            print("\r" + line.ljust(self._width), end="", flush=True)
            self._width = len(line)
        else:
            print(line, flush=True)
            self._interval *= 1.5
        self._next = self.clock() + self._interval

    def open_again(self) -> None:
        pass

    def close(self) -> None:
        if self._width:
            print("\r" + " " * self._width + "\r", end="")
        if self.run.steps:
            print(self.presentation.summary(self.run), flush=True)


class ImageView:
    """A page that shows pictures: two outputs, the curve and the progress, updated in place."""

    controls: Controls | None = None

    def __init__(self, run: Trainable, clock: Clock = time.perf_counter) -> None:
        self.run = run
        self.presentation = presentation(run)
        self.problem = ""  # why the curve is not drawn
        self.picture = self.presentation.picture(run)
        self._png: bytes | None = None
        self._draw_curve(
            self.picture.frame
        )  # the first frame costs as much as ten others, and is not on the run's time
        self._open()
        self.budget = DrawBudget(clock)

    def _open(self) -> None:
        self._picture = _show(self._image())
        self._words = _show(_plain(self.presentation.progress(self.run)))

    def open_again(self) -> None:
        self._draw_curve(self.picture.frame)
        self._picture.display(self._image(), raw=True, metadata=METADATA)
        self._words.display(_plain(self.presentation.progress(self.run)), raw=True)

    def _draw_curve(self, draw: Callable[[], bytes]) -> None:
        """Draw the curve; after an error the last picture stays, and the training goes on."""
        try:
            self._png = draw()
            problem = ""
        except Exception as error:
            problem = f"the curve cannot be drawn: {type(error).__name__}: {' '.join(str(error).split())}"
        if problem != self.problem:
            self.problem = problem
            self._report(problem)

    def _report(self, problem: str) -> None:
        """Show why the curve is not drawn; here it stands beside the progress."""

    def _image(self) -> Bundle:
        """Give the last picture; nothing before the first step."""
        if self._png is None or not self.run.steps:
            return _plain("")
        return {"image/png": self._png, "text/plain": f"curve of {self.run!r}"}

    def refresh_if_due(self) -> None:
        budget = self.budget
        if budget.due():
            start = budget.clock()
            self.draw()
            budget.spend(budget.clock() - start)

    def draw(self) -> None:
        self._draw_curve(self.picture.frame)
        self._picture.update(self._image(), raw=True, metadata=METADATA)
        self._show_progress()

    def _show_progress(self) -> None:
        self._words.update(self._with_problem(self.presentation.progress(self.run)), raw=True)

    def _with_problem(self, words: str) -> Bundle:
        return _plain("\n".join(filter(None, (words, self.problem))))

    def close(self) -> None:
        """Leave the last frame and the summary; nothing of a run without a step."""
        self.picture.close()
        if self.run.steps:
            self._draw_curve(self.picture.picture)
        picture, words = self._final_outputs()
        picture.update(self._image(), raw=True, metadata=METADATA)
        words.update(
            self._with_problem(self.presentation.summary(self.run)) if self.run.steps else _plain(""), raw=True
        )

    def _final_outputs(self) -> tuple[Output, Output]:
        """Give the outputs of the last picture and the summary."""
        return self._picture, self._words


class WidgetView(ImageView):
    """A page with widgets: controls above the curve."""

    controls: Controls

    def __init__(self, run: Trainable, controls: Controls | None = None, clock: Clock = time.perf_counter) -> None:
        self.controls = presentation(run).controls(run, playing=True) if controls is None else controls
        try:
            super().__init__(run, clock)
        except BaseException:
            self.controls.close()
            raise

    def _open(self) -> None:
        # at the end the picture takes the place of the controls, and the summary that of the picture
        self._controls_output = display(self.controls.box, display_id=True)
        self._picture = _show(self._image())

    def open_again(self) -> None:
        self._draw_curve(self.picture.frame)
        self._controls_output.display(self.controls.box)
        self._picture.display(self._image(), raw=True, metadata=METADATA)

    def _report(self, problem: str) -> None:
        self.controls.show_message(problem, error=True)

    def refresh_if_due(self) -> None:
        if self.controls.process_requests():
            self.budget.boost()
            self._apply_controls()
        super().refresh_if_due()

    def draw(self) -> None:
        self._apply_controls()
        super().draw()

    def _apply_controls(self) -> None:
        """Show the controls' run, which Branch changes, as the controls say."""
        if self.run is not self.controls.run:
            self.run, self._png = self.controls.run, None
        self.picture.follow(self.controls)

    def _show_progress(self) -> None:
        self.controls.show(self.budget.share)

    def close(self) -> None:
        try:
            super().close()
        finally:
            self.controls.close()

    def _final_outputs(self) -> tuple[Output, Output]:
        return self._controls_output, self._picture


def _show(data: Bundle) -> Output:
    return display(data, raw=True, display_id=True, metadata=METADATA if "image/png" in data else {})


def _plain(words: str) -> Bundle:
    return {"text/plain": words}


def frontend_kind(shell: Shell | None) -> Literal["widgets", "page", "terminal"]:
    """Tell what shows outputs: a page with widgets, a page that takes no input, or a terminal."""
    if getattr(shell, "kernel", None) is None:
        return "terminal"
    return "widgets" if parent_message(shell).get("content", {}).get("allow_stdin") else "page"


def make_view(run: Trainable, shell: Shell | None, controls: Callable[[], Controls] | None = None) -> View:
    """Make the view that the front end can show; without `controls`, one that takes no input."""
    kind = frontend_kind(shell)
    if kind == "terminal":
        return TextView(run)
    return ImageView(run) if kind == "page" or controls is None else WidgetView(run, controls())

"""What shows training while it is driven: a line of text, a picture, or a picture below controls.

A view only reads what it shows; its `presentation` has the picture, the words and the controls.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from IPython.core import display_functions
from IPython.core.getipython import get_ipython

from fluxmagic.jupyter.controls.layout import set_visible, what_is_left
from fluxmagic.jupyter.controls.transport import FIRST_STEP, Controls
from fluxmagic.jupyter.driving.draw_budget import Clock, DrawBudget
from fluxmagic.jupyter.driving.presentation import Picture, presentation
from fluxmagic.jupyter.driving.trainable import Trainable
from fluxmagic.jupyter.ipykernel_compat import parent_message
from fluxmagic.jupyter.ipython_compat import Shell
from fluxmagic.jupyter.pictures.axes import DISPLAY_SIZE

__all__ = ["ImageView", "TextView", "View", "WidgetView", "display_result", "frontend_kind", "make_view"]

METADATA = {"image/png": DISPLAY_SIZE}
WORDS_SECONDS = 0.25  # between two updates of the words
LEFT_SECONDS = 3.0  # between two pictures for a notebook that may be saved meanwhile
LINE_SECONDS = 1.0  # between two lines of text; where they cannot be overwritten they get rarer

Bundle = Mapping[str, object]  # by MIME type


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
    @property
    def is_unfinished(self) -> bool: ...  # another frame would show more of the same state

    def refresh_if_due(self) -> None: ...
    def draw(self) -> None: ...
    def open_again(self) -> None: ...  # in another cell as well
    def close(self) -> None: ...  # leaves the last frame and the summary


class TextView:
    """A terminal: a line of text now and then."""

    controls: Controls | None = None
    is_unfinished = False

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
    """A page that shows pictures: two outputs, the picture and the progress, updated in place."""

    controls: Controls | None = None

    def __init__(self, run: Trainable, budget: DrawBudget | None = None, clock: Clock = time.perf_counter) -> None:
        self.run = run
        self.presentation = presentation(run)
        self.problem = ""  # why there is no picture
        self.picture = self.presentation.picture(run)
        self._png: bytes | None = None
        self._draw_picture(self.picture.frame)  # the first costs as much as ten others, and is not on the run's time
        self._clock = clock
        self._outputs = _show(self._top()), _show(self._below())
        self._rich = [(_show(bundle), bundle) for bundle in self.picture.rich]
        self._next_words = clock()
        self._drawn_at = -1  # step
        self.budget = budget or DrawBudget()

    @property
    def leaves_time(self) -> bool:
        """Whether the training is slower than it could be."""
        return False

    @property
    def is_unfinished(self) -> bool:
        return self.picture.is_unfinished

    def _top(self) -> Bundle:
        """Give what the first output has while it is trained."""
        return self._image()

    def _below(self) -> Bundle:
        """Give what the second output has while it is trained."""
        return self._with_problem(self.presentation.progress(self.run) if self.run.steps else FIRST_STEP)

    def open_again(self) -> None:
        self._draw()
        for output, bundle in (*zip(self._outputs, (self._top(), self._below()), strict=True), *self._rich):
            output.display(bundle, **_options(bundle))

    def _draw_picture(self, draw: Callable[[], bytes]) -> None:
        """Draw the picture; after an error the last one stays, and the training goes on."""
        try:
            self._png = draw()
            problem = ""
        except Exception as error:
            problem = f"the curve cannot be drawn: {type(error).__name__}: {' '.join(str(error).split())}"
        if problem != self.problem:
            self.problem = problem
            self._report(problem)

    def _report(self, problem: str) -> None:
        """Show why there is no picture; here it stands beside the progress."""

    def _image(self) -> Bundle:
        """Give the last picture; nothing before the first step."""
        if self._png is None or not self.run.steps:
            return _plain("")
        return {"image/png": self._png, "text/plain": f"curve of {self.run!r}"}

    def refresh_if_due(self) -> None:
        """Draw if something has changed and the budget allows it; show the words four times a second."""
        if self.budget.due(self.leaves_time) and (self.run.steps != self._drawn_at or self.is_unfinished):
            with self.budget.drawing():
                self._draw()
        if self._clock() >= self._next_words:
            with self.budget.writing():
                self._show_progress()
            self._next_words = self._clock() + WORDS_SECONDS

    def draw(self) -> None:
        self._draw()
        self._show_progress()

    def _draw(self) -> None:
        self._drawn_at = self.run.steps
        self._draw_picture(self.picture.frame)
        self._show_picture()
        self._show_rich()

    def _show_rich(self) -> None:
        """Show what has changed below the picture."""
        for i, ((output, before), bundle) in enumerate(zip(self._rich, self.picture.rich, strict=False)):
            if bundle != before:
                output.update(bundle, raw=True)
                self._rich[i] = output, bundle

    def _show_picture(self) -> None:
        self._outputs[0].update(self._image(), raw=True, metadata=METADATA)

    def _show_progress(self) -> None:
        self._outputs[1].update(self._below(), raw=True)

    def _with_problem(self, words: str) -> Bundle:
        return _plain("\n".join(filter(None, (words, self.problem))))

    def close(self) -> None:
        """Leave the last frame and the summary; nothing of a run without a step."""
        self.picture.close()
        if self.run.steps:
            self._draw_picture(self.picture.picture)
            self._show_rich()
        picture, words = self._outputs
        picture.update(self._image(), raw=True, metadata=METADATA)
        left = self._with_problem(self.presentation.summary(self.run)) if self.run.steps else _plain("")
        words.update(left, raw=True)


class WidgetView(ImageView):
    """A page with widgets: controls with the picture among them.

    A notebook keeps no widgets.  A second output has the last picture and the words for a notebook that is saved and
    opened again; a page hides it while the controls are there, and shows it in their place when they are not.
    """

    controls: Controls

    def __init__(
        self,
        run: Trainable,
        controls: Controls | None = None,
        budget: DrawBudget | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.controls = presentation(run).controls(run, playing=True) if controls is None else controls
        self._left_at = clock()
        try:
            super().__init__(run, budget, clock)
            self._show_picture()
        except BaseException:
            self.controls.close()
            raise

    @property
    def leaves_time(self) -> bool:
        return self.controls.pace.is_limited or self.run.state != "running"

    def _top(self) -> Bundle:
        """Give the controls as an output; where there are no widgets only its text is seen."""
        view = {"version_major": 2, "version_minor": 0, "model_id": self.controls.box.model_id}
        return {"application/vnd.jupyter.widget-view+json": view, "text/plain": f"controls of {self.run!r}"}

    def _below(self) -> Bundle:
        """Give what a notebook has that is opened again: picture and words, as one output."""
        words = self.presentation.summary(self.run) if self.run.steps else repr(self.run)
        png = None if self._png is None or not self.run.steps else self._png
        return {"text/html": what_is_left(self.controls.name, png, words), "text/plain": words}

    def _report(self, problem: str) -> None:
        self.controls.show_message(problem, error=True)

    def refresh_if_due(self) -> None:
        if self.controls.process_requests():
            self.budget.boost()
            self._drawn_at = -1
        super().refresh_if_due()

    def draw(self) -> None:
        super().draw()
        self._leave()

    def _draw(self) -> None:
        """Draw the controls' run, which Branch changes, as the controls say."""
        if self.run is not self.controls.run:
            self.picture.close()
            self.run, self._png = self.controls.run, None
            self.picture = self.presentation.picture(self.run)
        self.picture.follow(self.controls)
        super()._draw()
        self.controls.axis = self.picture.axis
        self.controls.show(self.budget.share)

    def _show_picture(self) -> None:
        image = self.controls.image
        if self._png:
            image.value = self._png
        set_visible(image, bool(self._png))
        if self._clock() >= self._left_at + LEFT_SECONDS:
            self._leave()

    def _leave(self) -> None:
        self._left_at = self._clock()
        self._outputs[1].update(self._below(), raw=True)

    def _show_progress(self) -> None:
        self.controls.show_words(self.budget.share)

    def close(self) -> None:
        try:
            super().close()
            self.controls.image.value = self._png or b""
        finally:
            self.controls.close(self.presentation.summary(self.run))


def _show(bundle: Bundle) -> Output:
    return display(bundle, display_id=True, **_options(bundle))


def _options(bundle: Bundle) -> dict[str, object]:
    return {"raw": True, "metadata": METADATA if "image/png" in bundle else {}}


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


def display_result(run: Trainable, picture: Picture | None = None) -> None:
    """Show the picture and the summary at the end of a cell; in a terminal, which has no pictures, the repr."""
    if frontend_kind(get_ipython()) == "terminal":
        print(repr(run))
        return
    how = presentation(run)
    if run.steps:
        drawn = (picture or how.picture(run)).picture()
        display({"image/png": drawn, "text/plain": repr(run)}, raw=True, metadata=METADATA)
    display(_plain(how.summary(run)), raw=True)

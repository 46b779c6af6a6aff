"""What shows a run while it is driven: a line of text, a picture, or a picture below controls.

A view only reads the run; of the controls it applies how the curve is to be drawn.
"""

from __future__ import annotations

import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal, Protocol

from IPython.core import display_functions

from fluxmagic.jupyter import formatting
from fluxmagic.jupyter.axes import DISPLAY_SIZE
from fluxmagic.jupyter.controls import RunControls
from fluxmagic.jupyter.downsample import MinMaxSeries
from fluxmagic.jupyter.draw_budget import Clock, DrawBudget
from fluxmagic.jupyter.ipykernel_compat import parent_message
from fluxmagic.jupyter.ipython_compat import Shell
from fluxmagic.jupyter.plot import Curve
from fluxmagic.runs import Run

__all__ = ["ImageView", "TextView", "View", "WidgetView", "frontend_kind", "make_view", "recent_curves"]

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

    run: Run
    controls: RunControls | None

    def refresh_if_due(self) -> None: ...
    def draw(self) -> None: ...
    def open_again(self) -> None: ...  # in another cell as well
    def close(self) -> None: ...  # leaves the last frame and the summary


class TextView:
    """A terminal: a line of text now and then."""

    controls: RunControls | None = None

    def __init__(self, run: Run, clock: Clock = time.perf_counter, overwrite: bool | None = None) -> None:
        self.run = run
        self.clock = clock
        self.overwrite = sys.stdout.isatty() if overwrite is None else overwrite
        self._width = 0
        self._interval = LINE_SECONDS
        self._next = clock() + self._interval

    def refresh_if_due(self) -> None:
        if self.clock() >= self._next:
            self.draw()

    def draw(self) -> None:
        line = formatting.progress(self.run)
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
            print(formatting.summary(self.run), flush=True)


class ImageView:
    """A page that shows pictures: two outputs, the curve and the progress, updated in place."""

    controls: RunControls | None = None

    def __init__(self, run: Run, earlier: Iterable[MinMaxSeries] = (), clock: Clock = time.perf_counter) -> None:
        self.run = run
        self.earlier = list(earlier)
        self.problem = ""  # why the curve is not drawn
        self.curve = Curve(run, self.earlier)
        self._png: bytes | None = None
        self._draw_curve(self.curve.frame)  # the first frame costs as much as ten others, and is not on the run's time
        self._open()
        self.budget = DrawBudget(clock)

    def _open(self) -> None:
        self._picture = _show(self._image())
        self._words = _show(_plain(formatting.progress(self.run)))

    def open_again(self) -> None:
        self._draw_curve(self.curve.frame)
        self._picture.display(self._image(), raw=True, metadata=METADATA)
        self._words.display(_plain(formatting.progress(self.run)), raw=True)

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
        self._draw_curve(self.curve.frame)
        self._picture.update(self._image(), raw=True, metadata=METADATA)
        self._show_progress()

    def _show_progress(self) -> None:
        self._words.update(self._with_problem(formatting.progress(self.run)), raw=True)

    def _with_problem(self, words: str) -> Bundle:
        return _plain("\n".join(filter(None, (words, self.problem))))

    def close(self) -> None:
        """Leave the last frame and the summary; nothing of a run without a step."""
        remember_curve(self.run, self.curve.loss)
        if self.run.steps:
            self._draw_curve(self.curve.picture)
        picture, words = self._final_outputs()
        picture.update(self._image(), raw=True, metadata=METADATA)
        words.update(self._with_problem(formatting.summary(self.run)) if self.run.steps else _plain(""), raw=True)

    def _final_outputs(self) -> tuple[Output, Output]:
        """Give the outputs of the last picture and the summary."""
        return self._picture, self._words


class WidgetView(ImageView):
    """A page with widgets: controls above the curve."""

    controls: RunControls

    def __init__(
        self,
        run: Run,
        earlier: Iterable[MinMaxSeries] = (),
        controls: RunControls | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.controls = RunControls(run, playing=True) if controls is None else controls
        try:
            super().__init__(run, earlier, clock)
        except BaseException:
            self.controls.close()
            raise

    def _open(self) -> None:
        # at the end the picture takes the place of the controls, and the summary that of the picture
        self._controls_output = display(self.controls.box, display_id=True)
        self._picture = _show(self._image())

    def open_again(self) -> None:
        self._draw_curve(self.curve.frame)
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
        """Show the controls' run, which Branch changes, and draw its curve as the controls say."""
        controls = self.controls
        if self.run is not controls.run:
            remember_curve(self.run, self.curve.loss)
            self.earlier.append(self.curve.loss)
            self.run, self._png = controls.run, None
            self.curve = Curve(self.run, self.earlier)
        self.curve.log, self.curve.smoothing = controls.log, controls.smoothing

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


def make_view(run: Run, shell: Shell | None, controls: Callable[[], RunControls] | None = None) -> View:
    """Make the view of a run that the front end can show; without `controls`, one that takes no input."""
    kind = frontend_kind(shell)
    if kind == "terminal":
        return TextView(run)
    earlier = recent_curves(run)
    return ImageView(run, earlier) if kind == "page" or controls is None else WidgetView(run, earlier, controls())


# What was shown last: the runs themselves may be large, and are not held.
_recent: deque[tuple[str | None, weakref.ref[Run], MinMaxSeries]] = deque(maxlen=3)


def recent_curves(run: Run) -> list[MinMaxSeries]:
    """Give the losses of recent runs of the same name, and of the one that this is a branch of; to be drawn in grey."""
    others = [(name, ref(), loss) for name, ref, loss in _recent]
    return [
        loss
        for name, other, loss in others
        if other is not run and (name == run.name or (other is not None and other is run.parent))
    ]


def remember_curve(run: Run, loss: MinMaxSeries) -> None:
    """Keep the losses of a run that is shown no more."""
    for old in [r for r in _recent if r[1]() is run]:
        _recent.remove(old)
    _recent.append((run.name, weakref.ref(run), loss))


def forget_curves() -> None:
    """Forget all recent runs."""
    _recent.clear()

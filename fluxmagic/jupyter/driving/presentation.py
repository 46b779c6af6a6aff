"""How a `Trainable` is shown: its pictures, its words, its controls.

A class that a page can show has a row in `PRESENTATIONS`: a module whose `PRESENTATION` says how.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from fluxmagic.jupyter.controls.widgets import Widget
from fluxmagic.jupyter.driving.pace import Pace
from fluxmagic.jupyter.driving.trainable import Trainable

__all__ = ["PRESENTATIONS", "Controls", "Picture", "Presentation", "presentation"]


class Controls(Protocol):
    """What a driver and a view ask of controls; a button, a slider makes requests, which the driver lets be processed.

    Attributes
    ----------
    run : Trainable
        Its driver looks here again after requests were processed: Branch puts another one in its place.
    box, image : Widget
        All of them, and the picture among them.
    name : str
        The class of the box in a page, of these controls alone.
    pace : Pace
        The speed that was chosen.
    width : int
        The pixels that the page has for the picture.
    playing : bool
        Whether the training is to go on by itself.
    pending_steps : int
        Single steps that were asked for.
    stopped, closed : bool
        Whether Stop or Close was pressed.
    heard : bool
        Whether the page has sent anything.
    """

    @property
    def run(self) -> Trainable: ...

    @property
    def heard(self) -> bool: ...

    box: Widget
    image: Widget
    name: str
    pace: Pace
    width: int
    playing: bool
    pending_steps: int
    stopped: bool
    closed: bool

    def press(self, label: str) -> None:
        """Request what a button does."""

    def process_requests(self) -> bool:
        """Do what was requested; tell whether the picture is to answer."""

    def show(self, share: float | None = None) -> None:
        """Show where the training is, and the values in force; `share` of the time was spent drawing."""

    def show_words(self, share: float | None = None) -> None:
        """Show where the training is, at little cost."""

    def show_message(self, words: str, *, error: bool = False) -> None:
        """Show a message; "" removes it."""

    def show_failure(self, words: str) -> None:
        """Show why the training has failed, until it has gone on or is recovered."""

    def has_comm(self, comm: str) -> bool:
        """Tell whether a comm is that of one of the widgets."""

    def close(self) -> None:
        """Take the widgets off the page."""


class Picture(Protocol):
    """A picture that is drawn often, and stays."""

    def follow(self, controls: Controls) -> None:
        """Draw what the controls show, and as they say."""

    def frame(self) -> bytes:
        """Draw it as it is now, cheaply, as a PNG; empty if there is nothing to be seen yet."""

    def picture(self) -> bytes:
        """Draw it as it stays, as a PNG."""

    @property
    def is_unfinished(self) -> bool:
        """Whether another frame would show more of the same state."""

    @property
    def rich(self) -> list[dict[str, str]]:
        """What is shown below the picture: SVG, HTML, by MIME type, as of the last frame."""

    def close(self) -> None:
        """Learn that it is shown no more."""


class Presentation(NamedTuple):
    """How the instances of a class are shown; each function gets one of them.

    `controls` takes `playing`, `closable`, `wake` and `speed` beside.
    """

    picture: Callable[[Any], Picture]
    controls: Callable[..., Controls]
    progress: Callable[[Any], str]
    summary: Callable[[Any], str]


PRESENTATIONS = {
    "Run": "fluxmagic.jupyter.driving.run_presentation",
    "Race": "fluxmagic.jupyter.race.presentation",
    "Sweep": "fluxmagic.jupyter.sweep.presentation",
}
"""The modules, by the names of classes; they are imported when one is shown."""


def presentation(trainable: Trainable) -> Presentation:
    """Give how a trainable is shown."""
    name = next(cls.__name__ for cls in type(trainable).__mro__ if cls.__name__ in PRESENTATIONS)
    found: Presentation = import_module(PRESENTATIONS[name]).PRESENTATION
    return found

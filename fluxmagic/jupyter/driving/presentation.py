"""How a `Trainable` is shown: its pictures, its words, its controls.

A class that a page can show has a row in `PRESENTATIONS`: a module whose `PRESENTATION` says how.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from fluxmagic.jupyter.controls.transport import Controls
from fluxmagic.jupyter.driving.trainable import Trainable
from fluxmagic.jupyter.pictures.limits import Axis

__all__ = ["PRESENTATIONS", "Picture", "Presentation", "presentation"]


class Picture(Protocol):
    """A picture that is drawn often, and stays."""

    def follow(self, controls: Controls) -> None:
        """Draw as the controls say."""

    def frame(self) -> bytes:
        """Draw it as it is now, cheaply, as a PNG; empty if there is nothing to be seen yet."""

    def picture(self) -> bytes:
        """Draw it as it stays, as a PNG."""

    @property
    def axis(self) -> Axis:
        """Where the axis of steps was drawn."""

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
    "Race": "fluxmagic.jupyter.race.picture",
    "Sweep": "fluxmagic.jupyter.sweep.picture",
}
"""The modules, by the names of classes; they are imported when one is shown."""


def presentation(trainable: Trainable) -> Presentation:
    """Give how a trainable is shown."""
    name = next(cls.__name__ for cls in type(trainable).__mro__ if cls.__name__ in PRESENTATIONS)
    found: Presentation = import_module(PRESENTATIONS[name]).PRESENTATION
    return found

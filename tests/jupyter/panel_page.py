"""A panel as a page sees it: by labels, not by names in the code.  For panels in this process, kernels and browsers."""

from __future__ import annotations

import html
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets

from fluxmagic.jupyter.controls.run_controls import RunControls


class PanelPage(ABC):
    """What a user does with a panel, and reads from it."""

    @abstractmethod
    def press(self, label: str) -> Any:
        """Click a button."""

    @abstractmethod
    def turn(self, label: str, value: float) -> Any:
        """Type a value into a number field, or move a slider that has none."""

    @abstractmethod
    def choose(self, option: str) -> Any:
        """Choose an optimiser."""

    @abstractmethod
    def is_enabled(self, label: str) -> bool:
        """Tell whether a button can be clicked."""

    @abstractmethod
    def texts(self) -> list[str]:
        """Give the HTML of all texts that are shown."""

    @abstractmethod
    def wait_a_moment(self) -> None:
        """Let the panel go on; take in what it shows."""

    @property
    def message(self) -> str:
        """The message, as text; "" where none is shown."""
        return plain(next((t for t in self.texts() if "role=" in t), ""))

    @property
    def overridden(self) -> str:
        """Which schedules are said to be off."""
        return next((t for t in self.texts() if "the schedule is off" in t), "")

    @property
    def steps(self) -> int:
        """The number of steps in the progress; -1 where there is none."""
        found = [m for t in self.texts() if (m := re.search(r"(?:· |>|^)step ([\d,]+)", t))]
        return int(found[-1][1].replace(",", "")) if found else -1

    def until(self, condition: Callable[[], Any], seconds: float = 30.0) -> Any:
        """Wait until a condition holds; give its value."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, f"it did not come to pass within {seconds} s: {self.describe()}"
            self.wait_a_moment()
        return value

    def onward(self, steps: int = 20) -> None:
        """Wait until the panel shows that n more steps were taken."""
        here = max(self.steps, 0)
        self.until(lambda: self.steps >= here + steps)

    def describe(self) -> str:
        """Say what is shown, for a failed test."""
        return str(self.texts())


def plain(markup: str) -> str:
    """Give the text of markup."""
    return html.unescape(re.sub(r"<[^>]*>", "", markup))


class ControlsPage(PanelPage):
    """Controls in this process; a request is processed when the test says so, or by `do`."""

    def __init__(self, controls: RunControls) -> None:
        self.controls = controls

    def shown(self, top: Any = None) -> Iterator[Any]:
        """Give the widgets that are not hidden."""
        top = self.controls.box if top is None else top
        if top.layout.display != "none":
            yield top
            for child in getattr(top, "children", ()):
                yield from self.shown(child)

    def find(self, label: str, kind: Any = ipywidgets.DOMWidget) -> Any:
        """Give the widget that has a label."""
        return next(x for x in self.shown() if getattr(x, "description", None) == label and isinstance(x, kind))

    def has(self, label: str) -> bool:
        """Tell whether a widget with a label is shown."""
        return any(getattr(x, "description", None) == label for x in self.shown())

    def press(self, label: str) -> None:
        self.find(label, ipywidgets.Button).click()

    def send(self, label: str, **state: Any) -> None:
        """Send a state, as a page does."""
        self.find(label).set_state(state)

    def field(self, label: str) -> Any:
        """Give the number field of a dial."""
        return next(x for x in self.shown() if isinstance(x, ipywidgets.Text) and x.placeholder == label)

    def type(self, label: str, text: str) -> None:
        """Type a text into the number field of a dial."""
        self.field(label).set_state({"value": text})

    def turn(self, label: str, value: float) -> None:
        if isinstance(self.find(label), ipywidgets.IntSlider):
            self.send(label, value=value)
        else:
            self.type(label, repr(value))

    def drag(self, label: str, value: float) -> None:
        """Move the slider of a dial to one of its stops."""
        self.send(label, index=[v for _, v in self.find(label).options].index(value))

    def choose(self, option: str, label: str = "optimiser") -> None:
        options = [o if isinstance(o, str) else o[0] for o in self.find(label).options]
        self.send(label, index=options.index(option))

    def is_enabled(self, label: str) -> bool:
        return not self.find(label, ipywidgets.Button).disabled

    def enabled(self) -> list[str]:
        """Give the labels of the buttons that can be clicked."""
        self.controls.show()
        return [x.description for x in self.shown() if isinstance(x, ipywidgets.Button) and not x.disabled]

    def value(self, label: str) -> Any:
        """Give what a slider or a box shows."""
        return self.find(label).value

    def process(self) -> bool:
        """Process requests, and show the result; tell whether the curve is to answer."""
        answer = self.controls.process_requests()
        self.controls.show()
        return answer

    def texts(self) -> list[str]:
        return [x.value for x in self.shown() if isinstance(x, ipywidgets.HTML)]

    def wait_a_moment(self) -> None:
        self.process()

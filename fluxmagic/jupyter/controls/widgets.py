"""The panel's widgets: ipywidgets that leave what a page sends to a queue.

A page may send anything, at any time, on another thread.  Only `value` and `index` count, and they are applied
where the queue says so: between two batches, on the thread that trains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import ipywidgets
from ipywidgets import Widget

__all__ = ["Change", "FromPage", "State", "Widget", "models"]

State = dict[str, Any]
Change = dict[str, Any]  # what an observer gets: "old", "new", "owner", …

ACCEPTED = ("value", "index")  # what a page may set


class FromPage:
    """What a page sets of a widget goes to `receive`, with the widget; without that it is applied at once."""

    receive: Callable[[FromPage, State], None] | None = None

    def set_state(self, sync_data: State) -> None:
        """Take a state that a page sent: ipywidgets calls it."""
        accepted = {k: v for k, v in sync_data.items() if k in ACCEPTED}
        if accepted:
            (self.receive or type(self).apply)(self, accepted)
        if rejected := [k for k in sync_data if k not in ACCEPTED]:
            self._correct(rejected)

    def apply(self, state: State) -> None:
        """Take on a state, as far as the widget can have it."""
        try:
            super().set_state(state)  # type: ignore[misc]
        except Exception:  # traitlets has put back what was there
            self._correct(list(state))

    def _correct(self, names: list[str]) -> None:
        """Tell the page what the state is."""
        with suppress(Exception):
            self.send_state([k for k in names if k in self.keys])  # type: ignore[attr-defined]


def models(top: Widget) -> Iterator[Widget]:
    """Give a widget and all below it, with their layouts and styles."""
    yield top
    for name in ("layout", "style"):
        if (part := getattr(top, name, None)) is not None:
            yield part
    for child in getattr(top, "children", ()):
        yield from models(child)


def _from_page(cls: type) -> type[Any]:
    return type(cls.__name__, (FromPage, cls), {})


Box, HBox, VBox = map(_from_page, (ipywidgets.Box, ipywidgets.HBox, ipywidgets.VBox))
Button, Dropdown, Text = map(_from_page, (ipywidgets.Button, ipywidgets.Dropdown, ipywidgets.Text))
IntSlider, SelectionSlider = map(_from_page, (ipywidgets.IntSlider, ipywidgets.SelectionSlider))
HTML, Image, Play = map(_from_page, (ipywidgets.HTML, ipywidgets.Image, ipywidgets.Play))
Layout = _from_page(ipywidgets.Layout)

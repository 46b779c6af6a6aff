"""Stand-ins for a clock and for the outputs of a cell."""

from __future__ import annotations

import ipywidgets


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self):
        return self.now


class Output:
    """An output of a cell: keeps what is shown in it."""

    def __init__(self, *args, **options):
        self.data = list(args)

    def update(self, data, **options):
        self.data.append(data)

    display = update


def open_widgets():
    """Give the ids of all widgets that are not closed."""
    return set(ipywidgets.Widget.get_manager_state()["state"])

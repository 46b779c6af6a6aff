"""Two number fields for where a run of two numbers starts."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from fluxmagic.jupyter.controls import widgets as w
from fluxmagic.jupyter.controls.layout import row, set_visible
from fluxmagic.jupyter.controls.page_requests import PageRequests
from fluxmagic.jupyter.controls.sliders import exact
from fluxmagic.runs import Run
from fluxmagic.runs.loss_map import names_of_two, trains_two_numbers

__all__ = ["StartFields"]


class StartFields:
    """The start of a run, to be edited.  Before the first step it is applied at once, later by Restart.

    `box` is out of sight unless exactly two numbers are trained.  `restart` takes the start that was chosen, in place
    of the run's own method: that of a race.
    """

    def __init__(
        self,
        run: Callable[[], Run],
        requests: PageRequests,
        restart: Callable[[list[float] | None], object] | None = None,
    ) -> None:
        self._run = run
        self._restart = restart
        self.chosen: list[float] | None = None  # what was typed and is not yet the run's start
        self._requests = requests
        self._shown = [math.nan, math.nan]
        layout = {"width": "12em", "margin": "2px 0 2px 12px"}
        self._fields = [w.Text(continuous_update=False, layout=w.Layout(**layout)) for _ in range(2)]
        for i, field in enumerate(self._fields):
            field.tooltip = "where the run starts; Restart goes there"
            field.style.description_width = "auto"
            field.observe(partial(self._on_field, i), "value")
        self.box = row(self._fields)
        self.box.layout.width, self.box.layout.margin = "auto", "0 0 0 auto"
        set_visible(self.box, False)

    def _on_field(self, i: int, change: w.Change) -> None:
        text = change["new"].strip()
        if text != exact(self._shown[i]):
            self._requests.add(partial(self._choose, i, text))

    def _choose(self, i: int, text: str) -> None:
        start = list(self.chosen or self._start())
        try:
            start[i] = float(text)
        except ValueError:
            start[i] = math.nan
        if not math.isfinite(start[i]):
            raise ValueError(f"{self._fields[i].description} is a finite number, not {text!r}")
        self.chosen = start
        if not self._run().steps:
            self.restart()

    def restart(self) -> None:
        """Restart the run, at the start that was chosen."""
        (self._restart or self._run().restart)(self.chosen)
        self.chosen = None

    def _start(self) -> list[float]:
        run = self._run()
        path = run.record.path
        return list(path[:2]) if path else [float(x) for p in run.params for x in p.value.flat]

    def show(self) -> None:
        """Show the start."""
        run = self._run()
        known = trains_two_numbers(run)
        set_visible(self.box, known)
        if known:
            self._shown = self.chosen or self._start()
            for field, name, x in zip(self._fields, names_of_two(run), self._shown, strict=True):
                field.description, field.value = f"start {name}", exact(x)

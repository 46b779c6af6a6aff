"""What is known of the points of a sweep so far: objective and spread, where they stand on axes, and their colours."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps

from fluxmagic.jupyter.formatting import format_value
from fluxmagic.sweep import Sweep, loguniform, uniform

__all__ = ["BAD", "MAX_CELLS", "Dial", "Points", "ink_on"]

MAX_CELLS = 400  # that are buttons
WIDE = 20  # ratio of objectives from which on their colours are on a logarithmic scale
BAD = "#9a9a9a"
COLOURS = colormaps["viridis"]
"""Its lightness rises evenly: it is read without one of the three kinds of cones, and in grey."""


def ink_on(colour: str) -> str:
    """Give the colour of text that is read on a colour: black or white."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
    return "#000000" if linear > 0.18 else "#ffffff"


class Dial:
    """An axis of a sweep: a list has its entries at 0, 1, …, a distribution has a scale, and no `values`."""

    def __init__(self, name: str, swept: Sequence[Any] | uniform) -> None:
        self.name = name
        self.values = None if isinstance(swept, uniform) else list(swept)
        self.log = isinstance(swept, loguniform)

    @property
    def labels(self) -> list[str]:
        """The entries in words."""
        values = self.values or []
        return [_label(v, values) for v in values]

    def places(self, point: Mapping[str, Any]) -> list[float]:
        """Give where a point stands; where its optimiser lacks this dial, that is at each entry."""
        if self.values is None:
            return [point.get(self.name, math.nan)]
        if self.name not in point:
            return [float(i) for i in range(len(self.values))]
        return [float(self.values.index(point[self.name]))]


def _label(value: object, values: Sequence[object]) -> str:
    """Write a value with three digits, or as many as tell it from the others and from 1."""
    if isinstance(value, type):
        return value.__name__
    if not isinstance(value, float) or not math.isfinite(value):
        return format_value(value)
    others = [v for v in values if isinstance(v, float) and v != value] + [1.0] * (value != 1)
    for digits in range(3, 10):
        if (written := f"{value:.{digits}g}") not in [f"{v:.{digits}g}" for v in others]:
            return written
    return f"{value:.3g}"


class Points:
    """The points of a sweep: where they stand, `value`, `low` and `high` of the objective over the seeds, colours."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.dials = [Dial(k, v) for k, v in sweep.grid.axes.items()]
        points = sweep.grid.points
        self.places = [list(itertools.product(*(d.places(p) for d in self.dials))) for p in points]
        # the first of the places of each, of shape (points, dials)
        self.at = np.array([places[0] for places in self.places]).reshape(len(points), -1)
        self._trials: object = None
        self.update()

    @property
    def kind(self) -> str:
        """How they are shown: "cells", "map", "scatter", "line" or "table"."""
        lists = [d.values is not None for d in self.dials]
        if len(lists) == 2 and all(lists):
            return "cells" if math.prod(len(d.values or ()) for d in self.dials) <= MAX_CELLS else "map"
        return {1: "line", 2: "scatter"}.get(len(lists), "table")

    def update(self) -> None:
        """Read what is new."""
        sweep = self.sweep
        if self._trials is not sweep.trials:  # it begins, again
            self._trials, self._open = sweep.trials, list(sweep.trials)
            self.value, self.low, self.high = np.full((3, len(sweep.grid.points)), np.nan)
            self.bad = np.zeros(len(sweep.grid.points), bool)  # all trials that have ended diverged or failed
        news = {t.spec.point for t in self._open if t.step or t.state != "waiting"}
        self._open = [t for t in self._open if not t.ended]
        for point in news:
            scores = [s for t in sweep.of_point(point) if not math.isnan(s := t.score(sweep.sign))]
            good = [sweep.sign * s for s in scores if math.isfinite(s)]
            self.bad[point] = bool(scores) and not good
            if good:
                median = sweep.sign * float(np.median(scores))
                self.value[point] = median if math.isfinite(median) else np.nan
                self.bad[point] = not math.isfinite(median)
                self.low[point], self.high[point] = min(good), max(good)

    @property
    def shades(self) -> np.ndarray:
        """How good each point is, from 0 for the worst to 1 for the best; NaN without an objective."""
        value = self.value
        known = value[np.isfinite(value)]
        if not len(known):
            return value
        low, high = float(known.min()), float(known.max())
        if low > 0 and high > WIDE * low:
            value, low, high = np.log(value), math.log(low), math.log(high)
        share = (value - low) / (high - low) if high > low else np.where(np.isfinite(value), 0.0, np.nan)
        return share if self.sweep.sign < 0 else 1 - share

    @property
    def colours(self) -> list[str]:
        """The colour of each point; "" without an objective."""
        rgb = (COLOURS(np.nan_to_num(self.shades))[:, :3] * 255).round().astype(int)
        found = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in rgb]
        known = np.isfinite(self.value)
        return [BAD if b else c if k else "" for c, k, b in zip(found, known, self.bad, strict=True)]

    @property
    def best(self) -> int | None:
        """The point of the best trial that is done."""
        return None if not np.isfinite(self.value).any() else int(np.nanargmax(self.shades))

    @property
    def present(self) -> int | None:
        """The point at which the run stands whose dials are mapped."""
        if self.sweep.around is None:
            return None
        now = self.sweep.around.values
        same = (all(now.get(d.name) == p[d.name] for d in self.dials) for p in self.sweep.grid.points)
        return next((i for i, s in enumerate(same) if s), None)

"""What is swept: axes of values or distributions, and the points that they make."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fluxmagic.greek import canonical
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.runs.optimisers import check_values, optimiser_class
from fluxmagic.runs.problem import positive
from fluxmagic.runs.record import Setting
from fluxmagic.tracker import Param

__all__ = ["LENGTHS", "MAX_TRIALS", "Grid", "Point", "loguniform", "uniform"]

MAX_TRIALS = 100_000
LENGTHS = ("epochs", "steps")

Point = dict[str, Setting]
"""The value of each axis: of "opt" a class; without the dials that this optimiser lacks."""


@dataclass(frozen=True)
class uniform:  # noqa: N801 - called like a function
    """Draw numbers evenly between low and high.

    Parameters
    ----------
    low, high : float
        Finite, low < high.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"{self!r}: low and high are finite, and low < high")

    def draw(self, rng: np.random.Generator) -> float:
        """Draw a number."""
        return float(rng.uniform(self.low, self.high))


@dataclass(frozen=True)
class loguniform(uniform):  # noqa: N801
    """Draw numbers between low and high with evenly spread logarithms.

    Parameters
    ----------
    low, high : float
        Finite, 0 < low < high.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low <= 0:
            raise ValueError(f"{self!r}: low is above 0")

    def draw(self, rng: np.random.Generator) -> float:
        """Draw a number."""
        drawn = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        return min(max(drawn, self.low), self.high)


def _is_list(x: object) -> bool:
    return isinstance(x, (list, tuple, range)) or (isinstance(x, np.ndarray) and x.ndim == 1)


class Grid:
    """The axes of a sweep, checked, and its points, in the order of the axes, the first one slowest.

    `given` is the grid of `Sweep`, whose values are checked in the dtype of `params`, too.  `samples` points are drawn,
    from lists evenly.  `values` has a list or a distribution for every name, `axes` those of what is swept.
    """

    def __init__(
        self,
        given: Mapping[str, Any],
        params: Iterable[Param],
        samples: int | None,
        rng: np.random.Generator,
        most: int = MAX_TRIALS,
    ) -> None:
        self._params = list(params)
        entries = {canonical(k): v for k, v in given.items()}
        entries = entries if "opt" in entries else {"opt": "SGD", **entries}
        opts = _entries("opt", entries["opt"])
        if isinstance(opts, uniform):
            raise TypeError("opt: give a list of optimisers, not a distribution")
        self.classes = [optimiser_class(o) for o in opts]
        self.values: dict[str, Any] = {}
        self.axes: dict[str, Any] = {}
        for typed, value in entries.items():
            name = typed if typed in ("opt", *LENGTHS) else self._dial(typed)
            if name in self.values:
                raise TypeError(f"{name} is given twice")
            self.values[name] = self.classes if name == "opt" else self._checked(name, _entries(name, value))
            if isinstance(value, uniform) or _is_list(value):
                self.axes[name] = self.values[name]
                _refuse_equal(name, self.values[name])
        drawn = [k for k, v in self.values.items() if isinstance(v, uniform)]
        if drawn and samples is None:
            raise ValueError(f"{drawn[0]} is a distribution: say how many points to draw, samples=N")
        if samples is not None and not drawn:
            raise ValueError("samples counts draws from loguniform(a, b) or uniform(a, b), and no dial has one")
        if samples is None:
            self.points = self._product(most)
        else:
            self.points = [self._draw(rng) for _ in range(min(positive("samples", samples), most + 1))]
            if len(self.points) > most:
                raise ValueError(f"samples={samples:,} is too many: at most {most:,}")

    def _dial(self, typed: str) -> str:
        """Give the own name of a dial that one of the optimisers has."""
        errors = []
        for cls in self.classes:
            try:
                return next(iter(cls.canonical({typed: 0})))
            except TypeError as error:
                errors.append(str(error))
        raise TypeError("; ".join(dict.fromkeys(errors)))

    def _checked(self, name: str, values: Sequence[Any] | uniform) -> list[Setting] | uniform:
        """Check values, or the ends of a distribution."""
        if name in LENGTHS:
            if isinstance(values, uniform):
                raise TypeError(f"{name}: give a list of integers, not a distribution")
            return [positive(name, v) for v in values]
        ends = [values.low, values.high] if isinstance(values, uniform) else values
        checked = []
        for i, v in enumerate(ends):
            for cls in self.classes:
                if name in cls.hypers:
                    try:
                        number = check_values(cls, {name: v}, params=self._params)[name]
                    except (TypeError, ValueError) as error:
                        where = f" (entry {i} of {len(ends)})" if len(ends) > 1 else ""
                        raise type(error)(f"{error}{where}") from None
            checked.append(number)
        return values if isinstance(values, uniform) else checked

    def _product(self, most: int) -> list[Point]:
        """Give the points; a dial that an optimiser lacks is not varied for it."""
        own = [{k: range(len(v)) if _has(c, k) else [0] for k, v in self.values.items()} for c in self.classes]
        places = [list((at | {"opt": [i]}).values()) for i, at in enumerate(own)]
        n = sum(math.prod(map(len, at)) for at in places)
        if n > most:
            raise ValueError(
                f"the grid has {n:,} points, and at most {most:,} are possible: give fewer values, or draw points with "
                "samples=N from loguniform(a, b) or uniform(a, b)"
            )
        found = sorted(at for each in places for at in itertools.product(*each))
        return [_point({k: v[j] for (k, v), j in zip(self.values.items(), at, strict=True)}) for at in found]

    def _draw(self, rng: np.random.Generator) -> Point:
        values = self.values.items()
        return _point({k: v.draw(rng) if isinstance(v, uniform) else v[rng.integers(len(v))] for k, v in values})


def _has(cls: type[Optimiser], name: str) -> bool:
    return name in cls.hypers or name in ("opt", *LENGTHS)


def _point(values: Point) -> Point:
    """Leave out the dials that the optimiser lacks."""
    return {k: v for k, v in values.items() if _has(values["opt"], k)}


def _entries(name: str, value: Any) -> Sequence[Any] | uniform:  # noqa: ANN401 - what a user gives
    if isinstance(value, uniform):
        return value
    if isinstance(value, np.ndarray) and value.ndim > 1:
        raise ValueError(f"{name}: an array of shape {value.shape}; give one of one dimension")
    entries = (value.tolist() if isinstance(value, np.ndarray) else list(value)) if _is_list(value) else [value]
    if not entries:
        raise ValueError(f"{name}: an empty list; give at least one value")
    return entries


def _refuse_equal(name: str, values: Sequence[Any] | uniform) -> None:
    """Refuse entries that would be trained twice."""
    first: dict[object, int] = {}
    for i, v in enumerate([] if isinstance(values, uniform) else values):
        j = first.setdefault(v if isinstance(v, Hashable) else id(v), i)
        if j != i:
            word = v.__name__ if isinstance(v, type) else v
            raise ValueError(f"{name}: entries {j} and {i} are equal, {word}; give each once (seeds=N repeats points)")

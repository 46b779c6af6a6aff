"""What a step has changed while it was recorded, as it was before."""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from fluxmagic.capture.reach import Place

__all__ = ["Surroundings", "Undo"]


class Undo:
    """Arrays and generators, each with a copy from before its first change."""

    def __init__(self) -> None:
        self._arrays: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # by their ids
        self._draws: list[tuple[np.random.Generator, Any]] = []

    def keep(self, a: np.ndarray) -> None:
        """Copy an array that is about to be written."""
        if id(a) not in self._arrays:
            self._arrays[id(a)] = a, a.copy()

    def keep_generator(self, rng: np.random.Generator) -> None:
        """Keep the state of a generator before a draw."""
        if all(known is not rng for known, _ in self._draws):
            self._draws.append((rng, rng.bit_generator.state))

    @property
    def generators(self) -> list[np.random.Generator]:
        """The generators that were drawn from."""
        return [rng for rng, _ in self._draws]

    def contents(self, a: np.ndarray) -> np.ndarray:
        """Return an array as it was before it was written; the array itself if it was not."""
        return self._arrays[id(a)][1] if id(a) in self._arrays else a

    def bits(self, places: Sequence[Place]) -> list[object]:
        """Return what is compared of the present states and contents; but for arrays that were made in the step."""
        stay = {id(place.value) for place in places}
        arrays = (a.tobytes() for a, _ in self._arrays.values() if id(a) in stay)
        return [*arrays, *(repr(rng.bit_generator.state) for rng, _ in self._draws)]

    def restore(self) -> None:
        """Put all back."""
        for a, before in self._arrays.values():
            a[...] = before
        for rng, state in self._draws:
            rng.bit_generator.state = state


class Surroundings:
    """What lies in the places of a loss, what containers and objects there hold, and all generators."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        values: list[Any] = [*{id(x): x for p in places for x in (p.value, p.owner)}.values()]
        objects = (x for x in values if hasattr(x, "__dict__") and not isinstance(x, (type, ModuleType)))
        values = [p.value for p in places] + [vars(x) for x in objects]
        self._contents = [(x, copy.copy(x)) for x in values if isinstance(x, (list, dict, set, deque))]
        self._states: list[tuple[Any, Any]] = [(random.setstate, random.getstate())]
        for x in (np.random, *values):
            if isinstance(x, random.Random):
                self._states.append((x.setstate, x.getstate()))
            elif isinstance(x, np.random.Generator):
                bits = x.bit_generator
                self._states.append((partial(setattr, bits, "state"), bits.state))
            elif x is np.random or isinstance(x, np.random.RandomState):
                self._states.append((x.set_state, x.get_state()))

    def restore(self) -> None:
        """Put it back: containers first, since a place may be an item that was removed."""
        for x, before in self._contents:
            if len(x) != len(before) or any(a is not b for a, b in zip(_parts(x), _parts(before), strict=True)):
                x.clear()
                (x.extend if isinstance(x, (list, deque)) else x.update)(before)
        for place in self._places:
            if place.is_writable and place.current is not place.value:
                place.put(place.value)
        for put, state in self._states:
            put(state)


def _parts(x: Any) -> list[object]:  # noqa: ANN401 - a container
    return [*x, *x.values()] if isinstance(x, dict) else [*x]

"""What a step has changed while it was recorded, as it was before."""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from fluxmagic.capture.reach import Place

__all__ = ["Surroundings", "Undo"]


class Undo:
    """Arrays and generators, each with a copy from before its first change."""

    def __init__(self) -> None:
        self._arrays: list[tuple[np.ndarray, np.ndarray]] = []
        self._draws: list[tuple[np.random.Generator, Any]] = []

    def keep(self, a: np.ndarray) -> None:
        """Copy an array that is about to be written."""
        if all(known is not a for known, _ in self._arrays):
            self._arrays.append((a, a.copy()))

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
        return next((before for known, before in self._arrays if known is a), a)

    def restore(self) -> None:
        """Put all back."""
        for a, before in self._arrays:
            a[...] = before
        for rng, state in self._draws:
            rng.bit_generator.state = state


class Surroundings:
    """What lies in the places of a loss, what containers there hold, and generators that are not announced."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        values: list[Any] = [*{id(p.value): p.value for p in places}.values()]
        self._contents = [(x, copy.copy(x)) for x in values if type(x) in (list, dict, set, deque)]
        self._states: list[tuple[Any, Any]] = [(random.setstate, random.getstate())]
        for x in (np.random, *values):
            if isinstance(x, random.Random):
                self._states.append((x.setstate, x.getstate()))
            elif x is np.random or isinstance(x, np.random.RandomState):
                self._states.append((x.set_state, x.get_state()))

    def restore(self) -> None:
        """Put it back: containers first, since a place may be an item that was removed."""
        for x, before in self._contents:
            x.clear()
            (x.extend if isinstance(x, (list, deque)) else x.update)(before)
        for place in self._places:
            if place.is_writable and place.current is not place.value:
                place.put(place.value)
        for put, state in self._states:
            put(state)

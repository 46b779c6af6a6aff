"""What a step has changed while it was recorded, as it was before."""

from __future__ import annotations

import copy
import pickle
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from fluxmagic.capture.reach import WITHOUT_PLACES, Place, Reach, is_the_users

__all__ = ["Surroundings", "Undo"]


Container = list[Any] | dict[Any, Any] | set[Any] | deque[Any]


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
    """What lies in the places of a loss, what containers, objects and classes there hold, and all generators."""

    def __init__(self, within: Reach, watched: Sequence[Place]) -> None:
        self._places = watched
        found = {id(x): (path, x) for path, x in (*within.objects, *((p.path, p.value) for p in within.places))}
        self._contents: list[tuple[str, Any, Any]] = []
        self._states: list[tuple[str, Any, Callable[[], Any], Callable[[Any], object], Any]] = []
        for path, x in (*GLOBAL_GENERATORS.items(), *found.values()):
            if (access := _state_of(x)) is not None:
                self._states.append((path, x, *access, access[0]()))
            elif isinstance(x, (list, dict, set, deque)):
                self._contents.append((path, x, copy.copy(x)))
            elif hasattr(x, "__dict__") and not isinstance(x, (type, ModuleType, *WITHOUT_PLACES)):
                self._contents.append((path, vars(x), dict(vars(x))))
        spaces = {id(x): x for p in within.places for x in (p.owner, p.value) if isinstance(x, (type, ModuleType))}
        self._namespaces = [(x, set(vars(x))) for x in spaces.values() if is_the_users(x)]

    def changed(self, known: Iterable[object]) -> str | None:
        """Name the first place or container in which something else lies, or generator that moved; known ones aside."""
        for place in self._places:
            if place.current is not place.value:
                return place.path.lstrip(".")
        for path, x, before in self._contents:
            if not _same(x, before):
                added = [k for k in x if k not in before] if isinstance(x, dict) else []
                return ".".join([path, *map(str, added[:1])]).lstrip(".")
        for namespace, names in self._namespaces:
            if added := [k for k in vars(namespace) if k not in names]:
                return f"{namespace.__name__}.{added[0]}"
        others = (s for s in self._states if all(x is not s[1] for x in known))
        return next((path for path, _, get, _, before in others if pickle.dumps(get()) != pickle.dumps(before)), None)

    def restore(self) -> None:
        """Put it back: containers first, since a place may be an item that was removed."""
        for _, x, before in self._contents:
            if not _same(x, before):
                x.clear()
                (x.extend if isinstance(x, (list, deque)) else x.update)(before)
        for place in self._places:
            if place.is_writable and place.current is not place.value:
                place.put(place.value)
        for namespace, names in self._namespaces:
            for k in set(vars(namespace)) - names:
                delattr(namespace, k)
        for *_, put, before in self._states:
            put(before)


GLOBAL_GENERATORS = {
    "Python's global generator (random.…)": random.getstate.__self__,  # type: ignore[attr-defined]
    "NumPy's global generator (np.random.…)": np.random.get_state.__self__,  # type: ignore[attr-defined]
}


def _state_of(x: object) -> tuple[Callable[[], Any], Callable[[Any], object]] | None:
    """Return what reads the state of a generator, and what puts it back."""
    if isinstance(x, random.Random):
        return x.getstate, x.setstate
    if isinstance(x, np.random.Generator):
        return (lambda: x.bit_generator.state), partial(setattr, x.bit_generator, "state")
    return (x.get_state, x.set_state) if isinstance(x, np.random.RandomState) else None


def _same(x: Container, before: Container) -> bool:
    if len(x) != len(before):
        return False
    if isinstance(x, dict) and any(x.get(k, before) is not v for k, v in before.items()):  # type: ignore[union-attr]
        return False
    return all(a is b for a, b in zip(x, before, strict=True))

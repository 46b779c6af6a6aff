"""The random generators that fluxmagic draws from: the default one, and how draws are repeated.

Layers and `batches` draw through `note_draw`, so that `checkpoint` and a refused step can repeat a draw.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TypeAlias

import numpy as np

__all__ = ["as_generator", "seed"]

Draws: TypeAlias = "list[tuple[np.random.Generator, Mapping[str, object]]]"
"""Generators, each with its state before the first draw."""


@cache
def _default() -> np.random.Generator:
    return np.random.default_rng()  # at the first use: `numpy.random` takes a third of NumPy's import time


def seed(n: int | None = None) -> None:
    """Seed the default generator: initial weights, the order of batches and dropout follow from it.

    Parameters
    ----------
    n : int, optional
        Any non-negative integer; None takes fresh entropy from the system.

    Examples
    --------
    >>> import fluxmagic
    >>> fluxmagic.seed(0)
    """
    as_generator().bit_generator.state = np.random.default_rng(n).bit_generator.state


def as_generator(rng: np.random.Generator | int | None = None) -> np.random.Generator:
    """Return the default generator, the one given, or a new one from an integer seed."""
    if rng is None:
        return current(_default())
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool):
        return np.random.default_rng(rng)
    raise TypeError(f"rng is a numpy.random.Generator, an integer seed or None, not {type(rng).__name__}")


class _Override(threading.local):
    generator: np.random.Generator | None = None


_override = _Override()


def current(rng: np.random.Generator) -> np.random.Generator:
    """Return the generator that this thread uses for rng: `using` replaces the default one."""
    return _override.generator if rng is _default() and _override.generator is not None else rng


class using:  # noqa: N801 - a context, called like a function
    """Replace the default generator in this thread; None changes nothing."""

    def __init__(self, rng: np.random.Generator | None) -> None:
        self._rng = rng
        self._before: list[np.random.Generator | None] = []

    def __enter__(self) -> None:
        self._before.append(_override.generator)
        if self._rng is not None:
            _override.generator = self._rng

    def __exit__(self, *error: object) -> None:
        _override.generator = self._before.pop()


class _Log(threading.local):
    draws: Draws | None = None
    replaying = False
    watch: Callable[[np.random.Generator], np.random.Generator] | None = None


_log = _Log()


def note_draw(rng: np.random.Generator) -> np.random.Generator:
    """Note the state of rng before a draw, and return the generator to draw from."""
    rng = current(rng)
    if _log.draws is not None and all(r is not rng for r, _ in _log.draws):
        _log.draws.append((rng, rng.bit_generator.state))
    return rng if _log.watch is None else _log.watch(rng)


@contextmanager
def watching_draws(watch: Callable[[np.random.Generator], np.random.Generator]) -> Iterator[None]:
    """In this thread `note_draw` returns what `watch` makes of a generator."""
    outer, _log.watch = _log.watch, watch
    try:
        yield
    finally:
        _log.watch = outer


class record_draws:  # noqa: N801 - a class, since a run enters it for every step
    """Collect the state of each generator before its first draw."""

    def __enter__(self) -> Draws:
        self._outer = _log.draws
        self._draws: Draws = []
        _log.draws = self._draws
        return self._draws

    def __exit__(self, *error: object) -> None:
        _log.draws = outer = self._outer
        if outer is not None:
            outer.extend(d for d in self._draws if all(d[0] is not r for r, _ in outer))


def restore(draws: Draws) -> None:
    """Set the generators to the recorded states."""
    for rng, state in draws:
        rng.bit_generator.state = state


@contextmanager
def replay_draws(draws: Draws) -> Iterator[None]:
    """Set the generators to the recorded states; on exit restore their present states."""
    now = [(rng, rng.bit_generator.state) for rng, _ in draws]
    restore(draws)
    outer, _log.replaying = _log.replaying, True
    try:
        yield
    finally:
        _log.replaying = outer
        restore(now)


def is_replaying() -> bool:
    """Tell whether draws are being replayed: a repeated computation leaves no second trace (running statistics)."""
    return _log.replaying

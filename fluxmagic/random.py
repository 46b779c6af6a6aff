"""The generators that fluxmagic draws from: a default one, and how to draw the same again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

__all__ = ["generator", "seed"]


@cache
def _default() -> np.random.Generator:
    # not before it is asked for: NumPy takes a third of its own time to load its generators
    return np.random.default_rng()


def seed(n: int | None = None) -> None:
    """Seed the default generator: initial weights, the order of batches and dropout follow from it.

    Parameters
    ----------
    n : int, optional
        Any non-negative integer; none takes fresh entropy from the system.

    Examples
    --------
    >>> import fluxmagic
    >>> fluxmagic.seed(0)
    """
    generator().bit_generator.state = np.random.default_rng(n).bit_generator.state


def generator(rng: np.random.Generator | int | None = None) -> np.random.Generator:
    """The generator to use: the default one, the one given, or a new one from an integer seed."""
    if rng is None:
        return resolved(_default())
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool):
        return np.random.default_rng(rng)
    raise TypeError(f"rng is a numpy.random.Generator, an integer seed or None, not {type(rng).__name__}")


class _Own(threading.local):
    generator: np.random.Generator | None = None


_own = _Own()


def resolved(rng: np.random.Generator) -> np.random.Generator:
    """The generator that stands for this one in this thread: another one than the default within `own`."""
    return _own.generator if rng is _default() and _own.generator is not None else rng


class own:  # noqa: N801
    """Within it this thread draws from a generator of its own wherever it would draw from the default one.

    Parameters
    ----------
    rng : numpy.random.Generator, optional
        None changes nothing.
    """

    def __init__(self, rng: np.random.Generator | None) -> None:
        self._rng = rng
        self._before: list[np.random.Generator | None] = []

    def __enter__(self) -> None:
        self._before.append(_own.generator)
        if self._rng is not None:
            _own.generator = self._rng

    def __exit__(self, *error: object) -> None:
        _own.generator = self._before.pop()


class _Log(threading.local):
    draws: list[tuple[np.random.Generator, Any]] | None = None
    again = False


_log = _Log()


def drawing(rng: np.random.Generator) -> np.random.Generator:
    """Announce a draw from rng, so that a checkpoint can repeat it.  To be called by layers that draw."""
    rng = resolved(rng)
    if _log.draws is not None and all(r is not rng for r, _ in _log.draws):
        _log.draws.append((rng, rng.bit_generator.state))
    return rng


class recorded:  # noqa: N801 - used like the functions around it; a class, since a run enters it for every step
    """Note the state that each generator was in before it was first drawn from."""

    def __enter__(self) -> list[tuple[np.random.Generator, Any]]:
        self._outer = _log.draws
        self._draws: list[tuple[np.random.Generator, Any]] = []
        _log.draws = self._draws
        return self._draws

    def __exit__(self, *error: object) -> None:
        _log.draws = outer = self._outer
        if outer is not None:
            outer.extend(d for d in self._draws if all(d[0] is not r for r, _ in outer))


@contextmanager
def replayed(draws: list[tuple[np.random.Generator, Any]]) -> Iterator[None]:
    """Put the generators back as `recorded` found them; afterwards as they were."""
    now = [(rng, rng.bit_generator.state) for rng, _ in draws]
    for rng, state in draws:
        rng.bit_generator.state = state
    outer, _log.again = _log.again, True
    try:
        yield
    finally:
        _log.again = outer
        for rng, state in now:
            rng.bit_generator.state = state


def replaying() -> bool:
    """Whether this is within `replayed`: something is computed once more, and must leave no second trace."""
    return _log.again

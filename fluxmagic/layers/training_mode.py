"""Training or testing: what Dropout and BatchNorm ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from fluxmagic.layers.traversal import refuse_iterators, traverse

__all__ = ["HasTestMode", "evaluating", "testmode"]


_evaluating_threads: set[int] = set()
"""The threads that are within `evaluating`: as a rule none, which shows sooner than what a thread keeps for itself."""


@contextmanager
def evaluating() -> Iterator[None]:
    """Within it every layer of this thread is in test mode: no dropout, running statistics, nothing changes."""
    me = get_ident()
    before = me in _evaluating_threads
    _evaluating_threads.add(me)
    try:
        yield
    finally:
        if not before:
            _evaluating_threads.remove(me)


def is_evaluating() -> bool:
    """Whether this thread is within `evaluating`."""
    return bool(_evaluating_threads) and get_ident() in _evaluating_threads


class HasTestMode:
    """A layer that does one thing in training and another in testing."""

    test_mode = False
    """What `testmode` sets."""

    @property
    def training(self) -> bool:
        """Whether to do what is done in training."""
        return not (self.test_mode or is_evaluating())


class testmode:  # noqa: N801 - called like a function, and read like one
    """Put the layers of a model into test mode: `Dropout` hands its input through, `BatchNorm` uses its
    running statistics, and nothing changes.

    Parameters
    ----------
    m
        A layer, chain, function or container, as for `params`.
    on : bool
        False puts them back into training mode, in which layers are made.

    Raises
    ------
    TypeError
        If m is a generator, or another iterator.

    Notes
    -----
    Flux's `testmode!(m)`.  It acts at once and for good; as a context (`with testmode(m): ...`) until the end
    of the block, when each layer returns to the mode it was in.  Validation by a `Run` needs neither.

    Examples
    --------
    >>> from fluxmagic import Dropout, testmode
    >>> m = Dropout(0.5)
    >>> with testmode(m):
    ...     m([1.0, 2.0])
    array([1., 2.])
    """

    def __init__(self, m: Any, on: bool = True) -> None:
        refuse_iterators("testmode", [m])
        self._before = [(x, x.test_mode) for _, x in traverse(m) if isinstance(x, HasTestMode)]
        self._on = bool(on)
        for x, _ in self._before:
            x.test_mode = self._on

    def __enter__(self) -> testmode:
        return self

    def __exit__(self, *_: object) -> None:
        for x, before in self._before:
            x.test_mode = before

    def __repr__(self) -> str:
        layers = ", ".join(repr(x) for x, _ in self._before) or "no layer"
        return f"{layers}: in {'test' if self._on else 'training'} mode"

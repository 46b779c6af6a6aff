"""Training mode and test mode of layers, and of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident

from fluxmagic.layers.traversal import refuse_iterators, traverse

__all__ = ["HasTestMode", "evaluating", "testmode"]


evaluating_threads: set[int] = set()
"""The threads inside `evaluating`.  Usually empty, and then faster to test than a thread-local value."""


@contextmanager
def evaluating() -> Iterator[None]:
    """Put every layer that this thread calls into test mode: no dropout, running statistics, no change of state."""
    me = get_ident()
    before = me in evaluating_threads
    evaluating_threads.add(me)
    try:
        yield
    finally:
        if not before:
            evaluating_threads.remove(me)


def is_evaluating() -> bool:
    """Tell whether this thread is inside `evaluating`."""
    return bool(evaluating_threads) and get_ident() in evaluating_threads


class HasTestMode:
    """Base of layers that act differently in training and in test mode."""

    test_mode = False
    """The mode of this layer, which `testmode` sets."""

    @property
    def training(self) -> bool:
        """Whether this call is in training mode."""
        return not (self.test_mode or is_evaluating())


class testmode:  # noqa: N801 - called like a function, and read like one
    """Put the layers of a model into test mode.

    `Dropout` returns its input, `BatchNorm` uses its running statistics, and no state changes.

    Parameters
    ----------
    m
        A layer, chain, function or container, as for `params`.
    on : bool
        False returns them to training mode, the mode of new layers.

    Raises
    ------
    TypeError
        If m is a generator or another iterator.

    Notes
    -----
    Flux's `testmode!(m)`.  The mode stays set; as a context (`with testmode(m): ...`) each layer returns to its
    earlier mode at the end of the block.  Validation by a `Run` needs neither.

    Examples
    --------
    >>> m = Dropout(0.5)
    >>> with testmode(m):
    ...     m([1.0, 2.0])
    array([1., 2.])
    """

    def __init__(self, m: object, on: bool = True) -> None:
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

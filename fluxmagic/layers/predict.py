"""Predictions of a model for many rows of data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from fluxmagic import generators
from fluxmagic.layers.batches import as_rows, check_size
from fluxmagic.layers.training_mode import HasTestMode, evaluating
from fluxmagic.layers.traversal import buffer_names, traverse
from fluxmagic.tracker import data
from fluxmagic.tracker.aliases import Array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["predict"]


def predict(m: Callable[[Array], Array], X: ArrayLike, *, size: int = 1024) -> np.ndarray:
    """Compute a model's output for each row of X in test mode, some rows at a time.

    Parameters
    ----------
    m : callable
        A layer, a chain or any function that takes an array of rows and returns as many rows.
    X : array_like
        One row for each sample: an array, list, pandas object, tracked array, or memory map, of which only `size`
        rows at a time are read.
    size : int
        The number of rows in one call of the model.  It affects rounding only, unless the model mixes rows.

    Returns
    -------
    ndarray
        Plain, of shape (n, ...), a copy.

    Raises
    ------
    ValueError
        If the model does not return one row for each row of X, or size is not positive.
    TypeError
        If m is not callable, X has no rows, or the model's output is not one array.

    Notes
    -----
    As in a run's validation there is no dropout, running statistics are used, and neither they nor random
    generators change.

    Examples
    --------
    >>> m = Chain(Dense(3, 8, relu), Dropout(0.5), Dense(8, 2), softmax)
    >>> predict(m, np.ones((5, 3))).shape
    (5, 2)
    """
    if not callable(m):
        raise TypeError(f"predict(m, X): m is a model or another callable, not a {type(m).__name__}")
    size, X = check_size("predict", size), as_rows("predict", X)
    parts: list[np.ndarray] = []
    with _unchanged(m):
        for i in range(0, len(X) or 1, size):  # also without a row: the model determines the shape of the output
            x = np.array(X[i : i + size])
            y = data(m(x))
            if isinstance(y, (tuple, dict)):
                raise TypeError(f"predict takes models with one array as output, not a {type(y).__name__}")
            y = np.array(y)  # a copy, since the model may return its input, or one array each time
            if y.shape[:1] != x.shape[:1]:
                raise ValueError(
                    f"predict: the model returned an output of shape {y.shape} for {len(x)} rows of shape {x.shape[1:]}"
                    "; it has to return one row for each"
                )
            if parts and y.shape[1:] != parts[0].shape[1:]:
                raise ValueError(f"predict: the model returned rows of shape {y.shape[1:]} after {parts[0].shape[1:]}")
            parts.append(y)
    return np.concatenate(parts)


@contextmanager
def _unchanged(m: object) -> Iterator[None]:
    """Enter test mode; on exit restore generators and running statistics.

    Layers with a test mode change nothing in it, and are left alone: another thread may be training the model.
    """
    found = [x for _, x in traverse(m)]
    alone = {id(v) for x in found if isinstance(x, HasTestMode) for v in vars(x).values()}
    found = [x for x in found if not isinstance(x, HasTestMode) and id(x) not in alone]
    states = [(x, x.bit_generator.state) for x in found if isinstance(x, np.random.Generator)]
    buffers = [getattr(x, k) for x in found for k in buffer_names(x)]
    saved = [(live, np.array(live)) for live in buffers]
    try:
        import copy  # takes a sixtieth of this package's import

        with evaluating(), generators.using(copy.deepcopy(generators.as_generator())):
            yield
    finally:
        for rng, state in states:
            rng.bit_generator.state = state
        for live, before in saved:
            live[...] = before

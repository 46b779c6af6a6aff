"""Loss and metrics on data that is not trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fluxmagic.layers import state
from fluxmagic.layers.batches import batches
from fluxmagic.layers.mode import testing
from fluxmagic.runs.snapshot import generator_states, restore_generators
from fluxmagic.tracker import data

__all__ = ["validate"]

CHUNK = 1024  # rows at a time


def validate(
    functions: dict[str, Callable[..., Any]], valid: Any, last: Any, generators: list[np.random.Generator]
) -> dict[str, float]:
    """Means of functions over validation data, in test mode; changes nothing and keeps no graph.

    Parameters
    ----------
    functions : dict
        From name to a function of a batch, to a number.
    valid : array, tuple of arrays, iterable of batches, or function that returns such, or None
    last : tuple or array
        What to take where `valid` is None.
    generators : list of Generator
        That are to be left as they are; so are those of `valid`.

    Returns
    -------
    dict
        From name to the mean over the rows.
    """
    own = [] if isinstance(valid, (list, tuple, np.ndarray)) else state(valid)
    before = generator_states([*generators, *(x for x in own if isinstance(x, np.random.Generator))])
    totals = dict.fromkeys(functions, 0.0)
    rows = 0
    try:
        with testing():
            for d, n in _chunks(valid, last):
                rows += n
                for name, f in functions.items():
                    totals[name] += n * float(data(f(*d) if type(d) is tuple else f(d)))
    finally:
        restore_generators(before)
    return {name: total / rows if rows else math.nan for name, total in totals.items()}


def _chunks(valid: Any, last: Any) -> Iterator[tuple[Any, int]]:
    valid = valid() if callable(valid) else valid
    if valid is None:
        yield last, 1
    elif isinstance(valid, batches) or (not isinstance(valid, tuple) and not hasattr(valid, "__array__")):
        for d in valid:
            first = d[0] if type(d) is tuple else d
            yield d, len(first) if np.ndim(data(first)) else 1
    else:
        arrays = tuple(np.asarray(data(a)) for a in (valid if isinstance(valid, tuple) else (valid,)))
        if len({len(a) for a in arrays}) > 1:
            raise ValueError(f"valid: arrays of different lengths: {', '.join(str(len(a)) for a in arrays)}")
        for i in range(0, len(arrays[0]), CHUNK):
            rows = tuple(a[i : i + CHUNK] for a in arrays)
            yield rows if isinstance(valid, tuple) else rows[0], len(rows[0])

"""Loss and metrics on data that is not trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from fluxmagic.layers import state
from fluxmagic.layers.batches import batches
from fluxmagic.layers.training_mode import evaluating
from fluxmagic.runs.cursor import Batch, Data, generator_states, restore_generators
from fluxmagic.runs.record import count_rows
from fluxmagic.tracker import data

__all__ = ["evaluate", "named"]


def evaluate(
    functions: Mapping[str, Callable[..., Any]], valid: Data, last: Batch, generators: list[np.random.Generator]
) -> dict[str, float]:
    """Evaluate functions on the whole of the validation data, in test mode; change nothing and keep no graph.

    The function "valid" is the loss.  Arrays are passed whole, in one call; of batches the mean is taken, weighted by
    their rows; without validation data the last batch is.  Generators stay as they are, those of `valid` too.  An error
    has a note, and an attribute `option`, that say for which option of the run it was raised.
    """
    own = [] if isinstance(valid, (list, tuple, np.ndarray)) else state(valid)
    generators = [*generators, *(x for x in own if isinstance(x, np.random.Generator))]
    before = generator_states(generators)
    totals = dict.fromkeys(functions, 0.0)
    rows = 0
    try:
        with evaluating():
            chunks = _chunks(valid, last)
            while True:
                with named("valid"):
                    d, n = next(chunks, (None, -1))
                if n < 0:
                    break
                rows += n
                for name, f in functions.items():
                    with named(_option(name)):
                        totals[name] += n * _number(f(*d) if isinstance(d, tuple) else f(d), name)
    finally:
        restore_generators(generators, before)
    return {name: total / rows if rows else math.nan for name, total in totals.items()}


@contextmanager
def named(option: str) -> Iterator[None]:
    """Say in an error for which option of the run it was."""
    try:
        yield
    except MemoryError as error:
        if getattr(error, "option", None) is not None:
            raise
        advice = "the validation data is evaluated in one call; give it in parts: valid=batches(X, Y, 1024)"
        told = MemoryError(f"{option}: {str(error) or 'out of memory'}. {advice}")
        told.option = option  # type: ignore[attr-defined]
        raise told from error
    except Exception as error:
        if getattr(error, "option", None) is None:
            error.add_note(f"(in {option})")
            error.option = option  # type: ignore[attr-defined]
        raise


def _option(name: str) -> str:
    return name if name == "valid" else f"metric {name}"


def _number(value: object, name: str) -> float:
    x = data(value)
    if isinstance(x, (str, bytes)) or np.ndim(x) != 0:
        kind = f"an array of shape {np.shape(x)}" if np.ndim(x) else f"the text {x!r}"
        raise TypeError(f"{_option(name)} gives {kind}, and has to give a number")
    try:
        return float(x)
    except (TypeError, ValueError):
        raise TypeError(f"{_option(name)} gives a {type(x).__name__}, and has to give a number") from None


def _chunks(valid: Data, last: Batch) -> Iterator[tuple[Any, int]]:
    valid = valid() if callable(valid) else valid
    if valid is None:
        yield tuple(last) if isinstance(last, list) else last, 1
    elif isinstance(valid, batches) or (not isinstance(valid, tuple) and not hasattr(valid, "__array__")):
        d = None
        for d in valid:
            yield tuple(d) if isinstance(d, (tuple, list)) else d, count_rows(d)
        if d is None:
            raise ValueError("valid has no batch: a generator can be gone through once; pass a list, or a function")
    else:
        arrays = tuple(np.asarray(data(a)) for a in (valid if isinstance(valid, tuple) else (valid,)))
        if len({len(a) for a in arrays}) > 1:
            raise ValueError(f"valid: arrays of different lengths: {', '.join(str(len(a)) for a in arrays)}")
        yield arrays if isinstance(valid, tuple) else arrays[0], 1

"""Checks of what `train` and a run are given, and explanations of a loss or a batch that fails."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.tracker import data

__all__ = [
    "Batch",
    "Loss",
    "as_callbacks",
    "as_list",
    "as_optimisers",
    "explain_batch_error",
    "not_finite_in",
    "wrong_loss",
]

Batch = object
"""The arguments of a loss, as a tuple or list, or its single argument."""

Loss = Callable[..., Any]
"""A function of a batch, to a tracked scalar."""


def as_list(x: object) -> list[Any]:
    """Return one object, or several, as a list; None is an empty one."""
    if x is None:
        return []
    return list(x) if isinstance(x, (list, tuple)) else [x]


def as_optimisers(opt: object) -> list[Any]:
    """Return one or several optimisers, or functions in their place, as a list; refuse anything else."""
    opts = as_list(opt)
    if not opts:
        raise TypeError(f"opt is an optimiser or a function, or a list with at least one of them, not {opt!r}")
    for o in opts:
        if isinstance(o, type):
            raise TypeError(f"opt is the class {o.__name__}: make an optimiser of it, {o.__name__}(params(m))")
        if not callable(o):
            raise TypeError(f"opt is an optimiser or a function, not a {type(o).__name__}: SGD(params(m)) makes one")
        if not isinstance(o, Optimiser) and not _takes(o):
            raise TypeError(
                f"opt is called without arguments, and this {type(o).__name__} takes some: of a model make an "
                "optimiser, SGD(params(model))"
            )
    return opts


def as_callbacks(cb: object) -> list[Callable[[float], object]]:
    """Return one or several callbacks as functions of the loss, whether or not they take it."""
    callbacks: list[Callable[[float], object]] = []
    for f in as_list(cb):
        if not callable(f):
            raise TypeError(f"cb is a function or a list of functions, and {f!r} is a {type(f).__name__}")
        callbacks.append(f if _takes(f, 0.0) else _without_argument(f))
    return callbacks


def _without_argument(f: Callable[[], object]) -> Callable[[float], object]:
    return lambda loss: f()


def _takes(f: Callable[..., object], *args: object) -> bool:
    """Tell whether a function can be called with these arguments; without any if it does not say."""
    try:
        inspect.signature(f).bind(*args)
    except TypeError:
        return False
    except ValueError:
        return not args
    return True


def wrong_loss(l: object) -> str:
    """Explain a loss that is not a tracked array."""
    if l is None:
        return "the loss function returns None: let it return the loss"
    if isinstance(l, str):
        return f"the loss function returns the text {l[:40]!r}: let it return a number computed from parameters"
    if isinstance(l, (tuple, list, dict)):
        return (
            f"the loss function returns a {type(l).__name__} of {len(l)}: let it return the loss alone, a scalar "
            "(what else is to be seen goes into a metric or a callback)"
        )
    shape = getattr(l, "shape", ())
    what = f"array of shape {shape}" if shape else type(l).__name__
    return (
        f"the loss reaches no parameter: it is a plain {what}. Is the model made of params, "
        "and does the loss stay on the tape (no .data, float() or math functions)?"
    )


def not_finite_in(loss: Loss, d: Batch) -> str | None:
    """Say where a batch has NaN or infinite numbers, by the names of the loss's arguments; None if it has none."""
    args = d if isinstance(d, (tuple, list)) else (d,)
    names = getattr(loss, "batch_names", None)  # of a cell, whose loss takes the batch as one
    if names is not None and len(args) == 1 and isinstance(args[0], (tuple, list)) and len(args[0]) == len(names):
        args = args[0]
    if names is None:
        with suppress(TypeError, ValueError):
            names = list(inspect.signature(loss).bind(*args).arguments)
        names = names or []
    if len(names) != len(args):
        names = [f"argument {i + 1} of the loss" for i in range(len(args))]
    found = []
    for name, x in zip(names, args, strict=True):
        try:
            a = np.asarray(data(x))
        except (TypeError, ValueError):
            continue
        if a.dtype.kind != "f" or np.isfinite(a).all():
            continue
        nan = np.isnan(a)
        bad, what = (nan, "NaN") if nan.any() else (np.isinf(a), "infinite")
        n = int(bad.sum())
        first = [int(i) for i in np.argwhere(bad)[0]]
        if a.ndim > 2:
            place = f"index {tuple(first)}"
        else:
            place = ", ".join(f"{axis} {i}" for axis, i in zip(("row", "column"), first))
        found.append(f"{name} has {n:,} {what}" + (f" ({'the first: ' * (n > 1)}{place})" if place else ""))
    return ", ".join(found) or None


def explain_batch_error(error: BaseException, d: Batch) -> None:
    """Raise a TypeError with the fix, if the call of the loss failed for the number of its arguments."""
    trace = error.__traceback__
    if not isinstance(error, TypeError) or trace is None or trace.tb_next is not None or "argument" not in str(error):
        return  # it comes from within the loss
    if "takes 0 positional" in str(error):
        raise TypeError(f"{error}: a loss without a batch is trained with data = [()] * steps") from None
    if isinstance(d, (tuple, list)):
        what = f"a {type(d).__name__} of {len(d)}"
    else:
        shape = np.shape(d) if hasattr(d, "shape") else ()
        what = f"one array of shape {shape}" if shape else f"one {type(d).__name__}"
    raise TypeError(
        f"{error}: the batch is {what}, and a tuple is what has one part for each argument: batches(X, Y, 32) cuts "
        "arrays into such, and [(X, Y)] is a single one"
    ) from None

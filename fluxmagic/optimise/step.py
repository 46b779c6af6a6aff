"""One checked step: loss, reverse pass, checks, update.  All of it happens, or nothing changes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from fluxmagic.optimise.errors import NotFinite
from fluxmagic.optimise.inputs import Batch, Loss, explain_batch_error, not_finite_in, wrong_loss
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.tracker import Param, Tracked, leaves
from fluxmagic.tracker.reverse import back_counting

if TYPE_CHECKING:
    from fluxmagic.optimise.interrupts import InterruptGuard

__all__ = ["train_step", "without_fp_warnings", "zero_grads"]


def without_fp_warnings() -> np.errstate:
    """Return a context in which NumPy does not warn of overflow and the like: NotFinite says more."""
    return np.errstate(**{kind: "ignore" for kind, what in np.geterr().items() if what == "warn"})  # type: ignore[arg-type]


def check_loss(l: object, step: int) -> float:
    """Return the loss as a float; raise if it is not tracked, not a scalar, or not finite."""
    if not isinstance(l, Tracked):
        raise TypeError(wrong_loss(l))
    if l.value.shape != ():
        raise ValueError(f"the loss has shape {l.shape}, and has to be a scalar: reduce it with .sum() or .mean()")
    value = float(l.value)
    if not math.isfinite(value):
        raise NotFinite(step, value)
    return value


def backward_and_update(
    l: Tracked,
    value: float,
    step: int,
    opts: list[Any],
    guard: InterruptGuard,
    strict: bool = False,
    backward: Callable[[Tracked], int] = back_counting,
) -> None:
    """Reverse pass, check of the gradients, update; the update is shielded from interrupts."""
    touched = backward(l)
    guard.shielded = True
    first = opts[0]
    alone = len(opts) == 1 and isinstance(first, Optimiser)
    bad = first.first_nonfinite_grad() if alone else _first_nonfinite_grad(l, opts)
    if bad is not None:
        raise NotFinite(step, value, bad)
    if strict and touched > first.n_reached:
        raise TypeError(
            "the loss has come to depend on a parameter that it did not depend on in the first batch: "
            "name all that are to be trained with --params"
        )
    if step == 1 and not any(opt.n_reached if isinstance(opt, Optimiser) else True for opt in opts):
        name = first.name if alone else "any of the optimisers"
        raise TypeError(
            f"the loss depends on parameters, but on none that {name} trains: make the optimiser of those of the "
            f"model, {first.name}(params(model)), and anew where the model was made anew"
        )
    try:
        if alone:
            first.update()
        else:
            _update_each(l, opts)
    except NotFinite as error:
        error.step, error.loss = step, value
        raise


def _update_each(l: Tracked, opts: list[Any]) -> None:
    """Call several optimisers, or a function; each gets the gradient of the batch, also of shared parameters."""
    if len(opts) == 1:
        opts[0]()
        return
    mine = [set(opt.params if isinstance(opt, Optimiser) else leaves(l)) for opt in opts]
    cleared = set()
    for i, opt in enumerate(opts):
        kept = [(p, p.grad_is_zero, p.gradient.copy()) for p in mine[i].intersection(set().union(*mine[i + 1 :]))]
        try:
            (opt.update if isinstance(opt, Optimiser) else opt)()
        except NotFinite as error:
            error.kept = error.kept and i == 0
            raise
        for p, fresh, gradient in kept:
            if p.grad_is_zero:
                cleared.add(p)
                p.grad_is_zero = fresh
                p.gradient[...] = gradient
    for p in cleared:
        p.zero_grad()


def _first_nonfinite_grad(l: Tracked, opts: list[Any]) -> Param | None:
    """Return the first parameter with a gradient that is not finite; a function trains all that the loss depends on."""
    for opt in opts:
        if isinstance(opt, Optimiser):
            bad = opt.first_nonfinite_grad()
        else:
            bad = next((p for p in leaves(l) if not np.isfinite(p.grad).all()), None)
        if bad is not None:
            return bad
    return None


def _find_largest(error: NotFinite, l: object) -> None:
    """Note the parameter with the largest gradient; after a loss that is not finite the reverse pass comes first."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if error.parameter is None or error.what != "gradient":  # a rule may have overwritten it
            zero_grads([], l)
            with suppress(Exception):  # a gradient rule may refuse such numbers
                back_counting(l)
        for p in leaves(l):
            size = float(np.abs(p.grad).max(initial=0.0))
            if error.largest is None or (math.isfinite(error.largest_gradient) and not size <= error.largest_gradient):
                error.largest, error.largest_gradient = p, size  # NaN is not at most the value before


def zero_grads(opts: Iterable[object], l: object = None) -> None:
    """Clear the gradients of optimisers, and of all parameters that a loss depends on."""
    for opt in opts:
        if isinstance(opt, Optimiser):
            opt.clear()
    for p in leaves(l):
        p.zero_grad()


def train_step(
    loss: Loss,
    d: Batch,
    opts: list[Any],
    step: int,
    guard: InterruptGuard,
    strict: bool = False,
    on_loss: Callable[[Tracked], None] | None = None,
    backward: Callable[[Tracked], int] = back_counting,
) -> float:
    """Take one step, whole or not at all: the loss of a batch, checks, reverse pass, checks, update.

    Parameters
    ----------
    d
        The batch; a tuple or list has the loss's arguments.
    opts : list
        Optimisers, and plain functions that stand for one.
    step : int
        Its number, from 1; for errors.
    guard : InterruptGuard
        Exposed for the loss and the reverse pass; shielded from the update on, and when the step returns or fails.
    strict : bool
        Refuse a loss that depends on parameters of no optimiser.
    on_loss : callable, optional
        Called with a scalar loss before it is checked to be finite; may fill `opts`.
    backward : callable
        The reverse pass, which counts the parameters that it reaches; `fluxmagic.capture` records it.
    """
    l = None
    try:
        guard.shielded = False
        l = loss(*d) if isinstance(d, (tuple, list)) else loss(d)
        if on_loss is not None and isinstance(l, Tracked) and l.value.shape == ():
            with guard.shield():
                on_loss(l)
        value = check_loss(l, step)
        backward_and_update(l, value, step, opts, guard, strict, backward)
    except NotFinite as error:
        guard.shielded = True
        error.reason = not_finite_in(loss, d)
        _find_largest(error, l)
        zero_grads(opts, l)
        raise
    except BaseException as error:
        guard.shielded = True
        zero_grads(opts, l)
        explain_batch_error(error, d)
        raise
    return value

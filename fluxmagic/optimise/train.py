"""The training loop, and the functions that users call in it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import ParamSpec, TypeVar

from fluxmagic.optimise.errors import Stop
from fluxmagic.optimise.inputs import Batch, Loss, as_callbacks, as_optimisers
from fluxmagic.optimise.interrupts import InterruptGuard
from fluxmagic.optimise.step import train_step, without_fp_warnings, zero_grads
from fluxmagic.tracker import Tracked

__all__ = ["stop", "throttle", "train"]

P = ParamSpec("P")
R = TypeVar("R")
Updates = Callable[[], object] | Sequence[Callable[[], object]]
Callbacks = Callable[..., object] | Sequence[Callable[..., object]] | None


def stop() -> None:
    """End the training loop at once; to be called in a callback, or in the loss, whose step is not taken then.

    Examples
    --------
    >>> import fluxmagic
    >>> from fluxmagic import param, SGD, train
    >>> W = param(1.0)
    >>> train(lambda x: (W - x) ** 2, [0.0] * 100, SGD([W], 0.1), cb=lambda l: l < 0.1 and fluxmagic.stop())
    >>> f"{W:.2f}"
    '0.21'
    """
    raise Stop("stop() ends a training loop, and none is running")


def throttle(f: Callable[P, R], seconds: float) -> Callable[P, R | None]:
    """Make a function that calls f at most once in the given time; otherwise it does nothing.

    Parameters
    ----------
    f : callable
    seconds : float

    Returns
    -------
    callable
        Of f's arguments; returns what f returns, or None.
    """
    last = -math.inf

    @wraps(f)
    def throttled(*args: P.args, **options: P.kwargs) -> R | None:
        nonlocal last
        now = time.monotonic()
        if now - last < seconds:
            return None
        last = now
        return f(*args, **options)

    return throttled


def train(loss: Loss, data: Iterable[Batch], opt: Updates, *, cb: Callbacks = None) -> None:
    """For each d in data: compute loss(*d), check it, run the reverse pass, call opt, call cb.

    Parameters
    ----------
    loss : callable
        Of a batch, to a scalar.
    data : iterable
        Of tuples (named ones too) or lists, the loss's arguments; or of single arrays.
    opt : callable or list of them
        An optimiser, or any function that updates the parameters and clears their gradients.  Of several, each
        gets the gradient of the batch, also for parameters that it shares with another.
    cb : callable or list of them, optional
        Called after each update; one that takes an argument gets the loss as a float.

    Raises
    ------
    NotFinite
        If a loss or a gradient is not finite, or a weight or an optimiser's state would not be after the update;
        nothing is updated.
    TypeError, ValueError
        If the loss reaches no parameter, or is no scalar, or does not take the batch; if opt or cb cannot be called.
    KeyboardInterrupt
        After an interrupt, when the batch is done.  In a task of an event loop it is asyncio.CancelledError; a
        handler of one's own for SIGINT is called in its place, and decides.

    Notes
    -----
    Flux's `Flux.train!(loss, data, opt; cb = () -> ())`.

    Examples
    --------
    >>> from fluxmagic import param, SGD, train
    >>> W = param(1.0)
    >>> train(lambda x: (W - x) ** 2, [0.0] * 10, SGD([W], 0.1))
    >>> f"{W:.3f}"
    '0.107'
    """
    opts, callbacks = as_optimisers(opt), as_callbacks(cb)
    if not callable(loss):
        raise TypeError(f"loss is a function of a batch, not a {type(loss).__name__}")
    try:
        batches = iter(data)
    except TypeError:
        raise TypeError(f"data gives batches when iterated over, and a {type(data).__name__} does not") from None

    def start(l: Tracked) -> None:
        zero_grads(opts, l)  # what was collected before is not of this batch

    on_loss: Callable[[Tracked], None] | None = start
    with without_fp_warnings(), InterruptGuard() as guard:
        try:
            for step, d in enumerate(batches, 1):
                value = train_step(loss, d, opts, step, guard, False, on_loss)
                guard.shielded = False
                on_loss = None
                for f in callbacks:
                    f(value)
                if guard.presses:
                    guard.check()
        except Stop:
            pass

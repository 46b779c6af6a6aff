"""The training loop, and the functions that users call in it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial, wraps
from typing import ParamSpec, TypeVar

from fluxmagic.optimise import providers
from fluxmagic.optimise.errors import Stop
from fluxmagic.optimise.inputs import Batch, Loss, as_callbacks, as_optimisers
from fluxmagic.optimise.step import train_step, without_fp_warnings, zero_grads
from fluxmagic.tracker import Tracked

__all__ = ["stop", "throttle", "train"]

P = ParamSpec("P")
R = TypeVar("R")
Updates = Callable[[], object] | Sequence[Callable[[], object]]
Callbacks = Callable[..., object] | Sequence[Callable[..., object]] | None


def stop() -> None:
    """End the training loop at once.  Call it in a callback, or in the loss, whose step is then not taken.

    Examples
    --------
    >>> import fluxmagic
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


def captures(capture: bool | None) -> bool:
    """Tell whether steps are to be captured; by default if the environment has FLUXMAGIC_CAPTURE=1."""
    return os.environ.get("FLUXMAGIC_CAPTURE") == "1" if capture is None else bool(capture)


def train(
    loss: Loss, data: Iterable[Batch], opt: Updates, *, cb: Callbacks = None, capture: bool | None = None
) -> None:
    """Train: for each d in data compute loss(*d), check it, run the reverse pass, call opt, call cb.

    Parameters
    ----------
    loss : callable
        Of a batch, to a scalar.
    data : iterable
        Of tuples (named ones too) or lists, the loss's arguments; or of single arrays.
    opt : callable or list of them
        An optimiser, or any function that updates the parameters and clears their gradients.  Each of several
        gets the gradient of the batch, also for shared parameters.
    cb : callable or list of them, optional
        Called after each update; one that takes an argument gets the loss as a float.
    capture : bool, default False
        Record the step and replay it, in the same bits; see `fluxmagic.capture`.

    Raises
    ------
    NotFinite
        If a loss, a gradient, an updated weight or an optimiser's state is not finite; nothing is updated.
    TypeError, ValueError
        If the loss reaches no parameter, is not a scalar, or does not take the batch; if opt or cb cannot be called.
    KeyboardInterrupt
        After an interrupt, when the batch is done; asyncio.CancelledError in a task of an event loop.  A handler for
        SIGINT that was installed before is called in its place.

    Notes
    -----
    Flux's `Flux.train!(loss, data, opt; cb = () -> ())`.

    Examples
    --------
    >>> W = param(1.0)
    >>> train(lambda x: (W - x) ** 2, [0.0] * 10, SGD([W], 0.1))
    >>> f"{W:.3f}"
    '0.107'
    """
    from fluxmagic.optimise.interrupts import InterruptGuard  # loads `signal`: a thirtieth of an import of fluxmagic

    opts, callbacks = as_optimisers(opt), as_callbacks(cb)
    if not callable(loss):
        raise TypeError(f"loss is a function of a batch, not a {type(loss).__name__}")
    try:
        batches = iter(data)
    except TypeError:
        raise TypeError(f"data gives batches when iterated over, and a {type(data).__name__} does not") from None

    take, captured, d = partial(train_step, loss), None, None
    if captures(capture):
        captured = providers.captured_step(loss, opts)
        take = captured.take

    def start(l: Tracked) -> None:
        zero_grads(opts, l)  # gradients from before

    with without_fp_warnings(), InterruptGuard() as guard:
        try:
            for step, d in enumerate(batches, 1):
                value = take(d, opts, step, guard, False, start if step == 1 else None)
                guard.shielded = False
                for f in callbacks:
                    f(value)
                if guard.presses:
                    guard.check()
        except Stop:
            pass
        finally:
            if captured is not None and captured.differs(d, guard):
                captured.warn()

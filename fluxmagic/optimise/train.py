"""The training loop: one checked step, and what goes around it."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import wraps
from types import CodeType, FrameType, TracebackType
from typing import Any, ClassVar

import numpy as np

from fluxmagic.optimise.batch_errors import say_how_data_is_given
from fluxmagic.optimise.errors import NotFinite
from fluxmagic.optimise.inputs import as_callbacks, as_optimisers, not_finite_in, wrong_loss
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.tracker import Param, Tracked, leaves
from fluxmagic.tracker.gradients import depth
from fluxmagic.tracker.reverse import backward

__all__ = ["NotFinite", "Stop", "stop", "throttle", "train"]


class Stop(Exception):
    """What `stop` raises."""


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


def throttle(f: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    """A function that calls f, but at most once in so many seconds; otherwise it does nothing.

    Parameters
    ----------
    f : callable
    seconds : float

    Returns
    -------
    callable
        Of f's arguments; hands back what f returns, or None.
    """
    last = -math.inf

    @wraps(f)
    def throttled(*args: Any, **options: Any) -> Any:
        nonlocal last
        now = time.monotonic()
        if now - last < seconds:
            return None
        last = now
        return f(*args, **options)

    return throttled


def quiet() -> Any:
    """Within it NumPy does not warn of overflow and the like: a step is checked, and NotFinite says more."""
    return np.errstate(**{kind: "ignore" for kind, what in np.geterr().items() if what == "warn"})  # type: ignore[arg-type]


class Interrupts:
    """A guard around a loop: Ctrl-C (or ■) lets the batch end; a second one stops at once, but in no update.

    It puts an interrupt off, and then hands it to the handler that was there before.  Python's own raises
    KeyboardInterrupt.  An event loop's cancels the cell or the task that awaits: in a task that loop would not
    survive a KeyboardInterrupt.

    Costs nothing per step but a look at `pending`.  Outside the main thread it does nothing.

    Parameters
    ----------
    leave : bool
        The loop ends with an interrupt.  False for a turn of a few milliseconds, whose driver decides.
    """

    whole: ClassVar[set[CodeType]] = set()
    """Functions in which, and in whatever they call, a second interrupt waits."""
    atoms: ClassVar[set[CodeType]] = set()
    """Functions between whose own lines it waits, but not in what they call."""
    breakable: ClassVar[set[CodeType]] = set()
    """Functions in which it does not wait, even where one that is `whole` has called them."""

    def __init__(self, leave: bool = True) -> None:
        self.leave = leave
        self.pending = 0
        self._before: Any = None
        self._around: Interrupts | None = None

    def __enter__(self) -> Interrupts:
        self.pending = 0
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if callable(before):  # somebody who ignores Ctrl-C, or handles it outside Python, goes on doing so
                self._before = before
                around = getattr(before, "__self__", None)
                self._around = around if isinstance(around, Interrupts) else None
                signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.pending += 1
        if self.pending > 2 or (self.pending == 2 and self._may_break(frame)):
            self._deliver(frame)

    def _may_break(self, frame: FrameType | None) -> bool:
        if frame is not None and frame.f_code in self.atoms:
            return False
        while frame is not None:
            if frame.f_code in self.breakable:
                return True
            if frame.f_code in self.whole:
                return False
            frame = frame.f_back
        return True

    def _deliver(self, frame: FrameType | None) -> None:
        guard = self
        while guard._around is not None:
            guard = guard._around
        guard._before(signal.SIGINT, frame)

    def check(self) -> None:
        """Deliver what was put off.

        Raises
        ------
        KeyboardInterrupt
            If the handler from before raises it, as Python's own does.
        asyncio.CancelledError
            If that handler has left it to an event loop, and this is a loop in one of its tasks.
        """
        if not self.pending:
            return
        self.pending = 0
        if self._around is not None and not self.leave:
            self._around.pending += 1  # the loop around this turn leaves
            return
        self._deliver(None)
        asyncio = sys.modules.get("asyncio")
        if self.leave and asyncio is not None:
            with suppress(RuntimeError):  # no event loop is running
                if asyncio.current_task() is not None:
                    raise asyncio.CancelledError("interrupted")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is None:
            return
        signal.signal(signal.SIGINT, self._before)
        try:
            if kind is None:
                self.check()
        finally:
            self._before = self._around = None


def interrupted(error: BaseException) -> bool:
    """Whether this is how an interrupt ends a loop, see `Interrupts.check`."""
    asyncio = sys.modules.get("asyncio")
    return isinstance(error, KeyboardInterrupt) or (asyncio is not None and isinstance(error, asyncio.CancelledError))


def checked(l: Any, step: int) -> float:
    """The loss as a float.

    Raises
    ------
    TypeError
        If it is not tracked: no parameter was reached.
    ValueError
        If it is no scalar.
    NotFinite
    """
    if not isinstance(l, Tracked):
        raise TypeError(wrong_loss(l))
    if l.value.shape != ():
        raise ValueError(f"the loss has shape {l.shape}, and has to be a scalar: reduce it with .sum() or .mean()")
    value = float(l.value)
    if not math.isfinite(value):
        raise NotFinite(step, value)
    return value


def descend(l: Tracked, value: float, step: int, opts: list[Any], strict: bool = False) -> None:
    """Reverse pass, check of the gradients, update.

    With `strict`, a parameter that is not the optimiser's is an error.
    """
    touched = backward(l)
    first = opts[0]
    alone = len(opts) == 1 and isinstance(first, Optimiser)  # as nearly always
    bad = first.bad_gradient() if alone else _bad_gradient(l, opts)
    if bad is not None:
        raise NotFinite(step, value, bad)
    if strict and touched > first.reached:
        raise TypeError(
            "the loss has come to depend on a parameter that it did not depend on in the first batch: "
            "name all that are to be trained with --params"
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
    """Several optimisers, or a function in the place of one.  Each gets the gradient of the batch, also of parameters
    that it shares with others.
    """
    if len(opts) == 1:
        opts[0]()
        return
    mine = [set(opt.params if isinstance(opt, Optimiser) else leaves(l)) for opt in opts]
    cleared = set()
    for i, opt in enumerate(opts):
        kept = [(p, p.fresh, p.gradient.copy()) for p in mine[i].intersection(set().union(*mine[i + 1 :]))]
        try:
            (opt.update if isinstance(opt, Optimiser) else opt)()
        except NotFinite as error:
            error.kept = error.kept and i == 0
            raise
        for p, fresh, gradient in kept:
            if p.fresh:
                cleared.add(p)
                p.fresh = fresh
                p.gradient[...] = gradient
    for p in cleared:
        p.clear()


def _bad_gradient(l: Tracked, opts: list[Any]) -> Param | None:
    """The first parameter whose gradient is not finite; of a plain function it is known what the loss depends on."""
    for opt in opts:
        if isinstance(opt, Optimiser):
            bad = opt.bad_gradient()
        else:
            bad = next((p for p in leaves(l) if not np.isfinite(p.grad).all()), None)
        if bad is not None:
            return bad
    return None


def _blame(error: NotFinite, l: Any) -> None:
    """Find the largest gradient.  After a loss that was not finite the reverse pass is still to be done."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if error.parameter is None or error.what != "gradient":  # of which a rule may have left nothing
            clear([], l)
            with suppress(Exception):  # a gradient rule may not be made for such numbers
                backward(l)
        for p in leaves(l):
            size = float(np.abs(p.grad).max(initial=0.0))
            if error.largest is None or (math.isfinite(error.largest_gradient) and not size <= error.largest_gradient):
                error.largest, error.largest_gradient = p, size  # NaN, too, is not at most what was there


def clear(opts: Iterable[Any], l: Any = None) -> None:
    """Clear the gradients of a step that was refused or has failed."""
    for opt in opts:
        if isinstance(opt, Optimiser):
            opt.clear()
    for p in leaves(l):
        p.clear()


def take_step(
    loss: Callable[..., Any],
    d: Any,
    opts: list[Any],
    step: int,
    strict: bool = False,
    look: Callable[[Tracked], None] | None = None,
) -> float:
    """One step, whole or not at all: the loss of a batch, checks, reverse pass, checks, update.

    Parameters
    ----------
    loss : callable
    d : tuple, list or array
        The batch; a tuple or list has the loss's arguments.
    opts : list
        Optimisers, and plain functions that stand for one.
    step : int
        Its number, from 1; for errors.
    strict : bool
        The loss may depend on no other parameters than those of the one optimiser.
    look : callable, optional
        Called with a scalar loss before it is checked to be finite; may fill `opts`.

    Returns
    -------
    float
        The loss.
    """
    l = None
    try:
        depth.level += 1  # somebody is going to differentiate what a gradient within the loss gives
        try:
            l = loss(*d) if type(d) is tuple or isinstance(d, (tuple, list)) else loss(d)
        finally:
            depth.level -= 1
        if look is not None and isinstance(l, Tracked) and l.value.shape == ():
            look(l)
        value = checked(l, step)
        descend(l, value, step, opts, strict)
    except NotFinite as error:
        error.reason = not_finite_in(loss, d)
        _blame(error, l)
        clear(opts, l)
        raise
    except BaseException as error:
        clear(opts, l)
        say_how_data_is_given(error, d)
        raise
    return value


Interrupts.whole.add(descend.__code__)
Interrupts.breakable.add(backward.__code__)
Interrupts.atoms.add(take_step.__code__)


def train(loss: Callable[..., Any], data: Iterable[Any], opt: Any, *, cb: Any = None) -> None:
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
        clear(opts, l)  # what was collected before is not of this batch

    look: Any = start
    with quiet(), Interrupts() as interrupts:
        try:
            for step, d in enumerate(batches, 1):
                value = take_step(loss, d, opts, step, False, look)
                look = None
                for f in callbacks:
                    f(value)
                if interrupts.pending:
                    interrupts.check()
        except Stop:
            pass

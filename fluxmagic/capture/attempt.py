"""A step that is asked for, taken the ordinary way or recorded on the way."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fluxmagic.capture import reach
from fluxmagic.capture.calls import replace
from fluxmagic.capture.loss_program import CannotReplay, Recording
from fluxmagic.capture.recorded import Recorded
from fluxmagic.capture.recording import Recorder, followed_rules
from fluxmagic.capture.undo import Surroundings
from fluxmagic.optimise.inputs import Batch, Loss
from fluxmagic.optimise.interrupts import InterruptGuard
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.optimise.step import train_step
from fluxmagic.tracker import Param, Tracked, leaves
from fluxmagic.tracker.reverse import back_counting

__all__ = ["Attempt", "LossView", "NotRecorded", "record"]


class NotRecorded(Exception):
    """The recording failed; the step was not taken, and all is as before."""


class Attempt(NamedTuple):
    """The arguments of `train_step` beside the loss; `batch` are the arguments of the loss."""

    d: Batch
    batch: Sequence[object]
    opts: list[Any]
    step: int
    guard: InterruptGuard
    strict: bool = False
    on_loss: Callable[[Tracked], None] | None = None

    def take(self, loss: Loss, backward: Callable[[Tracked], int] = back_counting) -> float:
        """Take the ordinary step."""
        return train_step(loss, self.d, self.opts, self.step, self.guard, self.strict, self.on_loss, backward)


@dataclass
class LossView:
    """A loss, and what the body of a notebook's cell says of itself.

    Attributes
    ----------
    loss : callable
    recorded : callable
        The same, but names that it binds are restored.
    bind : callable or None
        Binds the names of a batch, as a cell's loss does beside its value.
    reads : object
        Where the search for what it can reach begins.
    bound : set of str
        The global names that it binds.
    """

    loss: Loss
    recorded: Loss
    bind: Callable[..., object] | None
    reads: object
    bound: frozenset[str]

    @classmethod
    def of(cls, loss: Any) -> LossView:  # noqa: ANN401
        """Look at a loss."""
        return cls(
            loss,
            getattr(loss, "without_rebinding", loss),
            getattr(loss, "bind", None),
            getattr(loss, "body", loss),
            frozenset(getattr(loss, "rebound_names", ())),
        )

    def places(self) -> list[reach.Place]:
        """Return the places that it can reach, but for the names that it binds, and for items of tuples."""
        found = (p for p in reach.places(self.reads) if not isinstance(p.owner, tuple))
        return [p for p in found if not (p.kind == "item" and p.key in self.bound)]


def record(view: LossView, attempt: Attempt) -> tuple[float, Recording]:
    """Take an ordinary step, and record it; return its loss and the recording.

    Raises
    ------
    NotRecorded
        If the step failed while it was recorded.
    """
    recorder, result, unreached, done = Recorder(), None, list[Param](), False
    params = list(dict.fromkeys(p for opt in attempt.opts for p in opt.params))
    places, before = view.places(), reach.fingerprint(view.reads)
    users = {type(opt) for opt in attempt.opts if not reach.is_ours(type(opt))}
    rules = [(cls.__name__, f, reach.fingerprint(f)) for cls in users for _, _, f in reach.methods(cls)]
    states, surroundings = _global_generators(), Surroundings(places)

    @contextmanager
    def live() -> Iterator[None]:
        with recorder.recording(), _recorded_params(params, recorder), reach.swapped(places, recorder.external):
            yield

    def loss(*batch: object) -> Any:  # noqa: ANN401
        nonlocal result
        with live():
            l = view.recorded(*replace(batch, lambda x: recorder.input(x) if type(x) is np.ndarray else x))
            if isinstance(l, Tracked):
                if any(type(p.value) is not Recorded for p in leaves(l)):
                    recorder.refuse_at_all("the loss depends on a parameter that the optimiser does not train")
                result = l.value.number if type(l.value) is Recorded else None
        return l

    def backward(l: Tracked) -> int:
        nonlocal unreached, done
        with live():
            n = back_counting(l)
        unreached, done = [p for p in params if p.grad_is_zero], True
        return n

    try:
        try:
            with followed_rules():
                value = attempt.take(loss, backward)
        finally:
            _put_plain(view)
    except BaseException as error:
        if done:
            raise
        recorder.undo.restore()
        if isinstance(error, Exception):
            surroundings.restore()
            raise NotRecorded(f"{type(error).__name__} while the step was recorded: {error}") from None
        raise
    if recorder.reason is None:
        recorder.reason = _hidden_changes(view, before, recorder, states) or _changes_of_rules(rules)
    return value, Recording(recorder, result, unreached, places)


def _put_plain(view: LossView) -> None:
    """Put plain arrays in the places where the loss has kept recorded ones."""

    def plain(x: object) -> object:
        if type(x) is tuple and any(type(part) is Recorded for part in x):
            return tuple(map(plain, x))
        return x.array if type(x) is Recorded else x

    for place in list(reach.places(view.reads)):
        if place.is_writable and (now := plain(place.value)) is not place.value:
            place.put(now)


def _hidden_changes(view: LossView, before: reach.Fingerprint, recorder: Recorder, states: object) -> str | None:
    """Say what the step has changed, or kept, beside its result."""
    after = reach.fingerprint(view.reads)
    if changed := reach.difference(before, after, recorder.undo.generators, view.bound):
        return f"the loss changes {changed}"
    if name := reach.iterator_in(view.reads):
        return f"the loss can read the iterator {name}"
    if states != _global_generators():
        return "the loss draws from Python's or NumPy's global generator"
    if kept := recorder.alive():
        return f"the loss keeps {len(kept)} of its arrays for later"
    return None


def _changes_of_rules(rules: Sequence[tuple[str, object, reach.Fingerprint]]) -> str | None:
    """Say what the rule of a user's optimiser has changed beside its state."""
    for name, rule, before in rules:
        if changed := reach.difference(before, reach.fingerprint(rule), ()):
            return f"the rule of {name} changes {changed}"
        if iterator := reach.iterator_in(rule):
            return f"the rule of {name} can read the iterator {iterator}"
    return None


def _global_generators() -> object:
    module = sys.modules.get("numpy.random")
    state = module.get_state() if module else None
    return random.getstate(), None if state is None else (state[1].tobytes(), *state[2:])


@contextmanager
def _recorded_params(params: Sequence[Param], recorder: Recorder) -> Iterator[None]:
    before = [(p, p.value, p.gradient) for p in params]
    try:
        for p, value, gradient in before:
            p.value = recorder.external(value)
            p.gradient = recorder.external(gradient)  # type: ignore[assignment]
        yield
    finally:
        for p, value, gradient in before:
            p.value, p.gradient = value, gradient


def check_optimisers(opts: Sequence[object]) -> None:
    """Raise CannotReplay for what stands for an optimiser, and for optimisers that share parameters."""
    for opt in opts:
        if not isinstance(opt, Optimiser):
            raise CannotReplay(f"{getattr(opt, '__name__', opt)} is a function in place of an optimiser")
    params = [p for opt in opts if isinstance(opt, Optimiser) for p in opt.params]
    if len({*map(id, params)}) < len(params):
        raise CannotReplay("several optimisers train one parameter")
    if not {"raise", "call", "print", "log"}.isdisjoint(np.geterr().values()):
        raise CannotReplay("NumPy is set to raise or report floating-point errors (np.seterr)")

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
from fluxmagic.capture.outside import CallsOutside, hidden_in, refusing_calls
from fluxmagic.capture.recorded import Recorded
from fluxmagic.capture.recording import FollowedOp, Recorder
from fluxmagic.capture.undo import Surroundings
from fluxmagic.optimise.inputs import Batch, Loss
from fluxmagic.optimise.interrupts import InterruptGuard
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.optimise.step import train_step
from fluxmagic.tracker import Param, Tracked, leaves
from fluxmagic.tracker.aliases import Option
from fluxmagic.tracker.operation import ops_become
from fluxmagic.tracker.reverse import back_counting

__all__ = ["Attempt", "LossView", "NotRecorded", "record"]


class NotRecorded(Exception):
    """The recording failed; the step was not taken, and all is as before; `started` tells if `on_loss` was called."""

    def __init__(self, reason: str, started: bool = False) -> None:
        super().__init__(reason)
        self.started = started


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

    def watched(self, places: Sequence[reach.Place]) -> list[reach.Place]:
        """Return the places that are looked at in each step: but for names that it binds, and items of tuples."""
        found = (p for p in places if not isinstance(p.owner, tuple))
        return [p for p in found if not (p.kind == "item" and p.key in self.bound)]


def record(view: LossView, attempt: Attempt) -> tuple[float, Recording]:
    """Take an ordinary step, and record it; return its loss and the recording.

    What can be replayed is computed once more, on plain arrays, and compared before anything is updated: a loss may
    look at the type of its arrays.

    Raises
    ------
    NotRecorded
        If the step cannot be replayed, fails while it is recorded, or is another one then.
    """
    within = reach.Reach(view.reads)
    if reason := hidden_in(within.places):
        raise NotRecorded(reason)
    users = {cls for opt in attempt.opts for cls in reach.users_classes(type(opt).__mro__)}
    rules = [(cls.__name__, f, reach.Reach(f).fingerprint()) for cls in users for f in reach.methods(cls)]
    taken = _RecordedStep(view, attempt, within)
    value, recorder = taken.take(), taken.recorder
    if kept := recorder.alive():
        recorder.reason = f"the loss keeps {len(kept)} of its arrays for later"
    recorder.reason = recorder.reason or _changes_of_rules(rules)
    return value, Recording(recorder, taken.result, taken.unreached, taken.places)


class _RecordedStep:
    """A step on recorded arrays, and what it has to put back."""

    def __init__(self, view: LossView, attempt: Attempt, within: reach.Reach) -> None:
        self.view, self.attempt, self.recorder = view, attempt, Recorder()
        self.params = list(dict.fromkeys(p for opt in attempt.opts for p in opt.params))
        self.unreached: list[Param] = []
        self.result: int | None = None
        self.places = view.watched(within.places)
        self.started = self.done = False
        self.before = within.fingerprint()
        self.surroundings, self.gradients = Surroundings(self.places), Gradients(self.params)
        self.states = _global_generators()

    def take(self) -> float:
        """Take the step; where it is not recorded, put all back and raise NotRecorded."""
        recorder = self.recorder
        try:
            try:
                with ops_become(FollowedOp):
                    on_loss = None if self.attempt.on_loss is None else self.on_loss
                    return self.attempt._replace(on_loss=on_loss).take(self.loss, self.backward)
            finally:
                if recorder.alive():
                    _put_plain(self.view)
        except BaseException as error:
            if self.done:
                raise
            recorder.undo.restore()
            if not isinstance(error, (Exception, CallsOutside)):
                raise
            self.gradients.restore()
            self.surroundings.restore()
            reason = recorder.reason or str(error)
            if not isinstance(error, (NotRecorded, CallsOutside)):
                reason = f"{type(error).__name__} while the step was recorded: {error}"
            raise NotRecorded(reason, self.started) from None

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within it, recorded arrays lie in the places of plain ones."""
        recorder = self.recorder
        swapped = reach.swapped(self.places, recorder.external)
        with recorder.recording(), _recorded_params(self.params, recorder), swapped, refusing_calls(recorder):
            yield

    def loss(self, *batch: object) -> Option:
        recorder = self.recorder
        with self.recording():
            l = self.view.recorded(*replace(batch, lambda x: recorder.input(x) if type(x) is np.ndarray else x))
            if isinstance(l, Tracked):
                if any(type(p.value) is not Recorded for p in leaves(l)):
                    recorder.refuse_at_all("the loss depends on a parameter that the optimiser does not train")
                self.result = l.value.number if type(l.value) is Recorded else None
        return l

    def on_loss(self, l: Tracked) -> None:
        assert self.attempt.on_loss is not None
        self.attempt.on_loss(l)
        self.gradients, self.started = Gradients(self.params), True  # it clears what was there before

    def backward(self, l: Tracked) -> int:
        with self.recording():
            n = back_counting(l)
        self.unreached = [p for p in self.params if p.grad_is_zero]
        recorder = self.recorder
        reason = recorder.reason or _hidden_changes(self.view, self.before, recorder, self.states)
        if reason is not None:
            raise NotRecorded(reason)
        found = self.bits(l)
        recorder.undo.restore()
        self.gradients.restore()
        again = self.view.recorded(*self.attempt.batch)
        back_counting(again)
        if self.bits(again) != found:
            raise NotRecorded("on plain arrays the loss does something else")
        self.done = True
        return n

    def bits(self, l: Tracked) -> object:
        """Return what is compared: the loss, gradients, arrays and generators."""
        return repr(float(l.data)), self.gradients.bits(), self.recorder.undo.bits(self.places)


class Gradients:
    """The gradients of parameters, as they are now."""

    def __init__(self, params: Sequence[Param]) -> None:
        self._kept = [(p, p.grad_is_zero, p.gradient.copy()) for p in params]

    def restore(self) -> None:
        """Put them back."""
        for p, is_zero, gradient in self._kept:
            p.grad_is_zero = is_zero
            p.gradient[...] = gradient

    def bits(self) -> list[bytes | None]:
        """Return what is compared of the present ones."""
        return [None if p.grad_is_zero else p.gradient.tobytes() for p, _, _ in self._kept]


def _put_plain(view: LossView) -> None:
    """Put plain arrays in the places where the loss has kept recorded ones."""

    def plain(x: object) -> object:
        if isinstance(x, tuple) and any(type(part) is Recorded for part in x):
            return reach.remake(x, map(plain, x))
        return x.array if type(x) is Recorded else x

    for place in reach.Reach(view.reads).places:
        if place.is_writable and (now := plain(place.value)) is not place.value:
            place.put(now)


def _hidden_changes(view: LossView, before: reach.Fingerprint, recorder: Recorder, states: object) -> str | None:
    """Say what the step has changed, or kept, beside its result."""
    after = reach.Reach(view.reads).fingerprint()
    if changed := reach.difference(before, after, recorder.undo.generators, view.bound):
        return f"the loss changes {changed}"
    if states != _global_generators():
        return "the loss draws from Python's or NumPy's global generator"
    return None


def _changes_of_rules(rules: Sequence[tuple[str, object, reach.Fingerprint]]) -> str | None:
    """Say what the rule of a user's optimiser has changed beside its state."""
    for name, rule, before in rules:
        after = reach.Reach(rule)
        if changed := reach.difference(before, after.fingerprint(), ()):
            return f"the rule of {name} changes {changed}"
        if hidden := hidden_in(after.places):
            return hidden.replace("the loss", f"the rule of {name}")
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

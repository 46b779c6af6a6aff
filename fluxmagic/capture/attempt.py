"""A step that is asked for, taken the ordinary way or recorded on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from fluxmagic.capture.calls import replace
from fluxmagic.capture.loss_program import CannotReplay, Recording
from fluxmagic.capture.outside import CallsOutside, hidden_in, refusing_calls
from fluxmagic.capture.reach import Place, Reach, methods, swapped, users_classes
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


class LossView(NamedTuple):
    """A loss, and what the body of a notebook's cell says of itself."""

    loss: Loss
    recorded: Loss
    """The same, but names that it binds are restored."""
    bind: Callable[..., object] | None
    """Binds the names of a batch, as a cell's loss does beside its value."""
    reads: object
    """Where the search for what it can reach begins."""
    bound: frozenset[str]
    """The global names that it binds."""

    @classmethod
    def of(cls, loss: Any) -> LossView:  # noqa: ANN401
        """Look at a loss."""
        recorded, body = getattr(loss, "without_rebinding", loss), getattr(loss, "body", loss)
        return cls(loss, recorded, getattr(loss, "bind", None), body, frozenset(getattr(loss, "rebound_names", ())))

    def watched(self, places: Sequence[Place]) -> list[Place]:
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
    within = Reach(view.reads)
    if reason := hidden_in(within.places):
        raise NotRecorded(reason)
    users = {cls for opt in attempt.opts for cls in users_classes(type(opt).__mro__)}
    rules = [(cls.__name__, Reach(f)) for cls in users for f in methods(cls)]
    before = [(name, rule.places, Surroundings(rule, rule.places)) for name, rule in rules]
    taken = _RecordedStep(view, attempt, within)
    value, recorder = taken.take(), taken.recorder
    if kept := recorder.alive():
        recorder.reason = f"the loss keeps {len(kept)} of its arrays for later"
    recorder.reason = recorder.reason or _changes_of_rules(before)
    return value, Recording(recorder, taken.result, taken.unreached, taken.places)


class _RecordedStep:
    """A step on recorded arrays, and what it has to put back."""

    def __init__(self, view: LossView, attempt: Attempt, within: Reach) -> None:
        self.view, self.attempt, self.recorder = view, attempt, Recorder()
        self.params = list(dict.fromkeys(p for opt in attempt.opts for p in opt.params))
        others = {x: path for path, x in within.objects if isinstance(x, Param) and x not in set(self.params)}
        self.others = [(p, path, _slots(p)) for p, path in others.items()]
        self.unreached: list[Param] = []
        self.result: int | None = None
        self.places = view.watched(within.places)
        self.started = self.done = False
        self.surroundings = Surroundings(within, self.places)
        self.were_zero = [p.grad_is_zero for p in self.params]

    def take(self) -> float:
        """Take the step; where it is not recorded, put all back and raise NotRecorded."""
        recorder = self.recorder
        try:
            with ops_become(FollowedOp):
                on_loss = None if self.attempt.on_loss is None else self.on_loss
                return self.attempt._replace(on_loss=on_loss).take(self.loss, self.backward)
        except BaseException as error:
            if self.done:
                raise
            self.restore()
            self.surroundings.restore()
            if not isinstance(error, (Exception, CallsOutside)):
                raise
            reason = recorder.reason or str(error)
            if not isinstance(error, (NotRecorded, CallsOutside)):
                reason = f"{type(error).__name__} while the step was recorded: {error}"
            raise NotRecorded(reason, self.started) from None

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within it, recorded arrays lie in the places of plain ones."""
        recorder = self.recorder
        params = [*self.params, *(p for p, *_ in self.others)]
        own = [Place("", "attribute", p, k, getattr(p, k)) for p in params for k in ("value", "gradient")]
        with recorder.recording(), swapped([*own, *self.places], recorder.external), refusing_calls(recorder):
            yield

    def restore(self) -> None:
        """Put back arrays, among them gradients, and generators."""
        self.recorder.undo.restore()
        for p, _, slots in self.others:
            for k, v in zip(SLOTS, slots, strict=True):
                setattr(p, k, v)
        for p, was_zero in zip(self.params, self.were_zero, strict=True):
            p.grad_is_zero = was_zero

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
        self.were_zero, self.started = [p.grad_is_zero for p in self.params], True  # it clears what was there before

    def backward(self, l: Tracked) -> int:
        with self.recording():
            n = back_counting(l)
        self.unreached = [p for p in self.params if p.grad_is_zero]
        recorder = self.recorder
        if recorder.reason is None and (changed := self.changed()):
            recorder.reason = f"the loss changes {changed}"
        if recorder.reason is not None:
            raise NotRecorded(recorder.reason)
        found = self.bits(l)
        self.restore()
        again = self.view.recorded(*self.attempt.batch)
        back_counting(again)
        if self.bits(again) != found:
            raise NotRecorded("on plain arrays the loss does something else")
        self.done = True
        return n

    def changed(self) -> str | None:
        """Name what the step has changed beside its result."""
        undo = self.recorder.undo
        for p, path, slots in self.others:
            if any(a is not b or undo.contents(a) is not a for a, b in zip(_slots(p), slots, strict=True)):
                return path
        return self.surroundings.changed(undo.generators)

    def bits(self, l: Tracked) -> object:
        """Return what is compared: the loss, gradients, arrays and generators."""
        gradients = [None if p.grad_is_zero else p.gradient.tobytes() for p in self.params]
        return repr(float(l.data)), gradients, self.recorder.undo.bits(self.places)


SLOTS = ("value", *Param.__slots__)


def _slots(p: Param) -> list[Any]:
    return [getattr(p, k) for k in SLOTS]


def _changes_of_rules(rules: Sequence[tuple[str, Sequence[Place], Surroundings]]) -> str | None:
    """Say what the rule of a user's optimiser has changed beside its state, or may read that changes unseen."""
    for name, places, before in rules:
        if changed := before.changed(()):
            return f"the rule of {name} changes {changed}"
        if hidden := hidden_in(places):
            return hidden.replace("the loss", f"the rule of {name}")
    return None


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

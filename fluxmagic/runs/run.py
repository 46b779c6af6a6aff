"""A run: training as an object that can be stepped, turned, paused and looked at.

It knows nothing of Jupyter.  Drivers call `step`, `train` or `advance`; viewers only read; dials only ask.
"""

from __future__ import annotations

import math
import os
import threading
import time
import warnings
import weakref
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from operator import index
from typing import Any

import numpy as np

from fluxmagic import generators
from fluxmagic.layers import named_params
from fluxmagic.layers.training_mode import is_evaluating
from fluxmagic.optimise.errors import NotFinite, Stop
from fluxmagic.optimise.inputs import as_callbacks
from fluxmagic.optimise.interrupts import InterruptGuard, is_interrupt
from fluxmagic.optimise.optimiser import OPTIMISERS, Optimiser
from fluxmagic.optimise.step import train_step, without_fp_warnings, zero_grads
from fluxmagic.runs import back, checkpoint, script
from fluxmagic.runs.back import NotRepeated
from fluxmagic.runs.control import Request
from fluxmagic.runs.cursor import END, DataCursor, GeneratorStates, generator_states, restore_generators
from fluxmagic.runs.early_stopping import Condition, out_of_patience
from fluxmagic.runs.environment import environment
from fluxmagic.runs.evaluate import evaluate, named
from fluxmagic.runs.history import History
from fluxmagic.runs.lines import Abandoned, Line, Stretch
from fluxmagic.runs.log import Log
from fluxmagic.runs.optimisers import OptimiserSet, check_values, optimiser_class
from fluxmagic.runs.record import Best, Event, Record, count_rows
from fluxmagic.runs.script import CellSource
from fluxmagic.runs.snapshots import SnapshotStore
from fluxmagic.runs.state import Snapshot, TrainingState, Values
from fluxmagic.runs.turns import Turns
from fluxmagic.tracker import Param, Tracked, leaves

__all__ = ["NotRepeated", "Run"]

TURN = 0.02  # seconds that a run keeps an event loop for itself
RECENT = 200  # steps among which `recover` looks for a good one
FOREVER = 1 << 60  # steps
STRETCH = 1000  # steps at most that are taken in one go
RESERVED = frozenset(("step", "epoch", "seconds", "loss", "valid", "opt"))
_ownership = threading.RLock()  # held while it is decided whose weights they are
GROWN = 10.0  # a loss that has grown so many times tells that the weights have left


class Run:
    """Training that can be stepped, turned, paused and looked at.

    Parameters
    ----------
    loss : callable
        Of a batch, to a scalar.
    data : iterable, or function without arguments, or None
        Gives the batches of an epoch: tuples, the loss's arguments, or single arrays.  It is gone through
        afresh every epoch; a function is called to make it.  None: the loss takes no batch, `steps` says how often
        it is computed, and every step is an epoch for `until` and `patience`.
    opt : Optimiser, type, str or callable
        An optimiser; or the class or name of one, which is then given the parameters of the first batch's
        loss; or any function that updates parameters and clears their gradients.
    epochs : int, default 1
    steps : int, optional
        In place of `epochs`: the run ends after so many steps, in the middle of an epoch too.
    valid : array or tuple of arrays, iterable of batches, or function that returns such, optional
        What the loss is validated on after every epoch.  Arrays are passed whole, in one call; where they are too
        large for that, give `batches(X, Y, size)`: of batches the mean is taken, weighted by their rows.
    metrics : dict, optional
        From name to a function of a batch, to a number; evaluated on `valid` (without it on the last batch).
    model : optional
        What is trained, for names in errors; default: what the loss refers to.
    seed : int, optional
        Of the generator of its own that the run draws from in place of the default one: order of the data, dropout.
        Without it that generator is seeded from the default one at the first step.
    name : str, optional
    hypers : dict, optional
        As `**dials`.
    until : function of the run, or Condition, optional
        The run ends after an epoch for which it is true; a `Condition` is a function of `epoch_values`.
    patience : int, optional
        The run ends when the validation loss (without `valid` the mean loss over the epoch's rows) has had no new
        minimum for so many epochs.  With `until` or `patience` the weights of the best epoch are put back when the
        run ends, but for a pause or an error; when it goes on it first takes up those of its last step.
    strict : bool
        A parameter that turns up after the first batch is an error, if the optimiser trains all that the first
        batch's loss depends on.
    snapshot_bytes : int
        Memory for snapshots beside that of the start.
    log : path, optional
        A file to which a line of JSON is written for every step, epoch and turn.
    turns : Turns or iterable of Event, optional
        Turns of another run, to be made after the same steps.
    **dials : float or callable
        Hyper-parameters by name, where `opt` is a class or a name.

    Attributes
    ----------
    history : History
        Arrays by name, a row for each step.
    events : list of Event
        `(step, name, old, new)` for each dial turned and each optimiser swapped in.
    opt : Optimiser or callable or None
        The one in force; None before the first batch where the class or name of one was given.
    state : str
        "ready", "running", "paused", "stopped", "done" or "failed".
    steps, epoch : int
        Steps taken; the epoch that the next step belongs to, from 1.
    shown_loss : float
        The loss to show: the last whole epoch's mean over its rows; in the first epoch, as `so_far` says, the
        mean so far.
    epoch_losses : ndarray
        That mean for each whole epoch.
    best : Best or None
        The best epoch, `(name, value, epoch, step)`: by validation loss where there is one, otherwise by its mean.
    epoch_values : dict
        What `until` may ask for after an epoch: loss, valid, metrics, epoch, step.
    total_steps, step_limit : int or None
        Steps of the whole run, as far as known; `steps`, as it was given.
    turns : Turns
        The events as an object to give to another run.
    abandoned : list of Stretch
        What rewinds and restarts have left, `(start, loss)`, for drawing.

    Examples
    --------
    >>> from fluxmagic import SGD, Run, param
    >>> W = param(1.0)
    >>> run = Run(lambda x: (W - x) ** 2, [0.0] * 10, SGD([W], 0.1))
    >>> run.step()
    1.0
    >>> run.set(η=0.2)
    >>> run.train()
    >>> run
    Run(SGD, done, epoch 1/1, 10 steps)
    >>> run.events
    [Event(step=1, name='η', old=0.1, new=0.2)]
    >>> run.history["loss"][:3].round(3)
    array([1.  , 0.64, 0.23])
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        data: Iterable[Any] | Callable[[], Iterable[Any]] | None,
        opt: Any,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        valid: Any = None,
        metrics: Mapping[str, Callable[..., Any]] | None = None,
        model: Any = None,
        seed: int | None = None,
        name: str | None = None,
        hypers: Mapping[str, Any] | None = None,
        until: Callable[[Run], Any] | None = None,
        patience: int | None = None,
        strict: bool = False,
        snapshot_bytes: int = 64_000_000,
        log: Any = None,
        turns: Iterable[Any] = (),
        **dials: Any,
    ) -> None:
        if not callable(loss):
            raise TypeError(f"loss is a function of a batch, not a {type(loss).__name__}")
        self.loss = loss
        self.data = data
        if steps is not None and epochs is not None:
            raise ValueError("a run ends after its epochs or after its steps: give one of the two")
        if data is None:
            if steps is None:
                raise ValueError("a loss that takes no batch is computed so many times: give steps")
            if valid is not None or metrics:
                raise ValueError("valid and metrics are evaluated after an epoch of data, and data is None")
        #: None where `step_limit` says when the run ends
        self.epochs: Any = None if steps is not None else _positive("epochs", 1 if epochs is None else epochs)
        self.step_limit: int | None = None if steps is None else _positive("steps", steps)
        self.valid = valid
        self.metrics = dict(metrics or {})
        self.model = model
        self.seed = seed
        self.name = name
        self.id = os.urandom(8).hex()  # by which a file is known to be of this run
        self.until = until
        self.patience = None if patience is None else _positive("patience", patience)
        if isinstance(valid, Iterator):
            raise TypeError("valid is a generator, which can be gone through once: pass a list, or a function")
        if isinstance(data, Iterator) and (self.epochs or 1) > 1:
            raise ValueError(
                f"the data is a {type(data).__name__}, which can be gone through once, and epochs is {epochs}: pass a "
                "list, batches(...), or a function that makes it"
            )
        if not all(isinstance(k, str) for k in self.metrics):
            raise TypeError(f"the names of metrics are text, and these are {', '.join(map(repr, self.metrics))}")
        taken = sorted(self.metrics.keys() & RESERVED.union(*(cls.hypers for cls in OPTIMISERS.values())))
        if taken:
            raise ValueError(f"a metric cannot be named {taken[0]}: that is another column of the history")
        for what, f in (("until", until), *((f"the metric {k}", f) for k, f in self.metrics.items())):
            if f is not None and not callable(f):
                raise TypeError(f"{what} is a function, not a {type(f).__name__}")
        self.parent: Run | None = None  # the run that this one is a branch of
        self.parted = 0  # after how many of its steps
        self.source: CellSource | None = None  # the text of the cell that the run was made from
        self.state = "ready"
        self._strict = strict
        self._closed = False  # no parameter is to turn up any more
        twice = sorted(dials.keys() & (hypers or {}).keys())
        if twice:
            raise TypeError(f"{twice[0]} is given twice")
        optimisers = OptimiserSet.of(opt, {**(hypers or {}), **dials})
        self.training = TrainingState(
            optimisers, DataCursor(data), None if seed is None else np.random.default_rng(seed)
        )
        self.record = Record(
            optimisers.initial, optimisers.initial_settings, optimisers.initial_updates, stepwise=data is None
        )
        self.record.plan = Turns(turns)
        self.record.plan.check(optimisers.cls)
        self.snapshots = SnapshotStore(snapshot_bytes)
        self._abandoned = Abandoned(snapshot_bytes)
        self._initial: tuple[Values, GeneratorStates] | None = None  # just before the first step
        self._best: tuple[int, Values] | None = None  # after how many steps, and what it was
        self._behind: tuple[int, Values] | None = None  # the same, where the step before was judged
        self._environment: dict[str, Any] = {}
        self._requests: deque[Request] = deque()
        self._coming: deque[type[Optimiser]] = deque()  # what the requests will put in force
        self._asking = threading.Lock()
        self._lock = threading.RLock()  # held while a batch is worked on
        self._draws: GeneratorStates = []  # the generators that this step has drawn from, as they were before
        self._waiting: deque[None] = deque()  # one for each thread that waits for the lock
        self._busy = False  # a batch is being worked on
        self._asked = ""  # "pause" or "stop"
        self._asks = 0  # how often that was said
        self._moves = False  # somebody drives the run
        self._works = False  # it is being brought to another of its states
        self._guard = InterruptGuard()
        self.driver: Any = None  # who waits for it in place of `wait` and `await`
        self._stood = "ready"  # the state that its driver found it in
        self._seconds = 0.0
        self.log = Log(log) if log is not None else None

    # -- looking -------------------------------------------------------------------------------------------

    @property
    def history(self) -> History:
        """Arrays by name, a row for each step."""
        return History(self.record)

    @property
    def events(self) -> list[Event]:
        """What was changed on the way: `(step, name, old, new)`."""
        return list(self.record.events)

    @property
    def turns(self) -> Turns:
        """The turns as an object: `Run(..., turns=other.turns)` makes them in another run."""
        return Turns(self.record.events)

    @property
    def steps(self) -> int:
        """Steps taken."""
        return len(self.record.loss)

    @property
    def epoch(self) -> int:
        """The epoch that the next step belongs to, from 1."""
        return self.record.epochs_done + 1

    @property
    def total_steps(self) -> int | None:
        """How many steps the run has in all, as far as that is known."""
        if self.step_limit is not None:
            return self.step_limit
        return self.epochs * self.steps_per_epoch if self.steps_per_epoch else None

    @property
    def steps_per_epoch(self) -> int | None:
        """How many batches an epoch has, where the data says so or one was gone through."""
        if self.record.stepwise or self.training.cursor.length is not None:
            return self.training.cursor.length or 1
        starts = self.record.epochs
        return starts[1] - starts[0] if len(starts) > 1 else None

    @property
    def seconds(self) -> float:
        """Time spent training."""
        return self.record.seconds[-1] if self.record.seconds else 0.0

    @property
    def rate(self) -> float:
        """Steps a second over the last five seconds of training; 0 before the first step."""
        seconds = self.record.seconds
        if not seconds:
            return 0.0
        first = bisect_left(seconds, seconds[-1] - 5.0)
        before = seconds[first - 1] if first else 0.0
        return (len(seconds) - first) / max(seconds[-1] - before, 1e-9)

    @property
    def last_check(self) -> dict[str, float]:
        """Validation loss and metrics at the end of the last epoch that was done; empty without."""
        return dict(self.record.evaluations[-1][1]) if self.record.evaluations else {}

    @property
    def shown_loss(self) -> float:
        """The loss to show: the mean over the rows of the last whole epoch.

        In the first epoch it is the mean so far, and `so_far` is true; NaN before the first step.
        """
        return self.record.shown_loss

    @property
    def so_far(self) -> bool:
        """Whether `shown_loss` is the mean of an epoch that is not over: the first one."""
        return not self.record.stepwise and len(self.record.epochs) == 1

    @property
    def epoch_losses(self) -> np.ndarray:
        """The mean loss over the rows of each whole epoch, of shape (epochs done,)."""
        return np.array(self.record.loss[:] if self.record.stepwise else self.record.means[:], np.float64)

    @property
    def best(self) -> Best | None:
        """The best epoch, `(name, value, epoch, step)`; None before the first whole epoch.

        It is the one with the smallest validation loss, where there is one (`name` is "valid"), and otherwise the
        one with the smallest mean loss (`name` is "loss").
        """
        return self.record.best

    @property
    def epoch_values(self) -> dict[str, float]:
        """What `until` may ask for: loss (the last whole epoch's mean), valid, the metrics, epoch and step."""
        record = self.record
        done = len(record.loss) if record.stepwise else len(record.means)
        return {"loss": self.shown_loss, **self.last_check, "epoch": done, "step": self.steps}

    @property
    def last_loss(self) -> float:
        """The loss of the last step, of one batch: not what to show as the result; NaN before the first."""
        return self.record.loss[-1] if self.record.loss else math.nan

    @property
    def opt(self) -> Any:
        """The optimiser in force; None before the first batch where the class or name of one was given."""
        return self.training.optimisers.opt

    @property
    def opt_name(self) -> str:
        """The name of the optimiser in force."""
        return self.training.optimisers.name

    @property
    def opt_class(self) -> type[Optimiser] | None:
        """Its class, if it is an Optimiser."""
        return self.training.optimisers.cls

    @property
    def opt_kind(self) -> str:
        """What it is where it is no single Optimiser, in words."""
        return "a list of optimisers" if isinstance(self.opt, (list, tuple)) else "a plain function"

    @property
    def values(self) -> dict[str, float]:
        """The hyper-parameters in force, by name."""
        return self.training.optimisers.values

    @property
    def params(self) -> list[Param]:
        """What is trained; empty before the first batch where the optimiser was given by name."""
        return self.training.params or self.training.optimisers.params

    def __repr__(self) -> str:
        name = f"{self.name!r}, " if self.name else ""
        if self.step_limit is not None:
            where = f"{self.steps:,}/{self.step_limit:,} steps"
        else:
            where = f"epoch {min(self.epoch, self.epochs)}/{self.epochs}, {self.steps:,} steps"
        return f"Run({name}{self.opt_name}, {self.state}, {where})"

    # -- asking --------------------------------------------------------------------------------------------

    def set(self, **hypers: Any) -> None:
        """Turn dials.  Applied between two batches and written down; may be called from any thread.

        Parameters
        ----------
        **hypers : float or callable
            By their Greek or ASCII names, as the optimiser's constructor takes them.

        Raises
        ------
        TypeError
            If the optimiser in force lacks one.
        ValueError
            If one is out of bounds.  Nothing was changed then.
        """
        with self._asking:
            cls = self._class_then("it has no dials")
            given = check_values(cls, hypers, self.training.optimisers.updates, self.params)
            request = Request(f"set({', '.join(given)})", lambda: self._turn(given))
            self._requests.append(request)
        self._serve_if_idle()
        request.leave()

    def swap(self, opt: str | type[Optimiser], **hypers: Any) -> None:
        """Go on with another optimiser.  The weights stay; one used before comes back with its own state and values.

        Parameters
        ----------
        opt : str or type
            The name or class of a registered optimiser.
        **hypers : float or callable
            Dials to turn at once.
        """
        with self._asking:
            cls = optimiser_class(opt)
            self._class_then("its parameters are not known, so none can take over")
            given = check_values(cls, hypers, params=self.params)
            made = self.training.optimisers.prepare(cls)  # here, so that what its constructor raises reaches the caller

            def act() -> None:
                try:
                    self._swap(cls, made)
                finally:
                    self._coming.popleft()
                self._turn(given)

            request = Request(f"swap({cls.__name__})", act)
            self._coming.append(cls)
            self._requests.append(request)
        self._serve_if_idle()
        request.leave()

    def _class_then(self, otherwise: str) -> type[Optimiser]:
        """The optimiser that will be in force when all requests have been served."""
        cls = ([self.opt_class, *self._coming])[-1]
        if cls is None:
            raise TypeError(f"{self.opt_name} is {self.opt_kind}: {otherwise}")
        return cls

    def pause(self) -> None:
        """Let the loop end after the batch; `train` goes on from there."""
        self._asked, self._asks = "pause", self._asks + 1
        if self.state == "ready":
            self.state = "paused"

    def stop(self) -> None:
        """End the run after the batch.  With `until` or `patience` the best epoch's weights are put back."""
        self._asked, self._asks = "stop", self._asks + 1
        if self.state in ("ready", "paused"):
            self.state = "stopped"
            if not self._busy:
                self.keep_best()

    def _serve(self) -> None:
        while self._requests:
            self._requests.popleft()()

    def _serve_if_idle(self) -> None:
        """Do what was asked for, unless somebody is at work, who will."""
        while self._requests and not self._busy and self._lock.acquire(blocking=False):
            try:
                self._serve()
            finally:
                self._lock.release()

    @contextmanager
    def _between(self) -> Iterator[None]:
        """Between two batches, whichever thread works on them."""
        self._waiting.append(None)
        try:
            self._lock.acquire()
        finally:
            self._waiting.pop()
        try:
            with self.training.using_rng:
                if not self._busy:
                    self._serve()
                    self._notice()
                yield
        finally:
            self._lock.release()
        if self._requests:
            self._serve_if_idle()

    def _turn(self, given: Mapping[str, Any]) -> None:
        self._notice()
        for name, new in given.items():
            self._note(name, self.training.optimisers.set_value(name, new), new)

    def _swap(self, cls: type[Optimiser], made: Optimiser | None = None) -> None:
        self._notice()
        old, before = self.opt_name, self.opt_class
        self.training.optimisers.activate(cls, made)
        self._note("opt", old, self.opt_name, self.opt_class is not before)

    def _note(self, name: str, old: Any, new: Any, changed: bool = False) -> None:
        if old != new or changed:  # a class that was defined again has the same name
            event = Event(self.steps, name, old, new)
            if name == "opt":
                event.cls = self.opt_class
            self.record.events.append(event)
            if self.log:
                self.log.write(event=name, step=self.steps, old=old, new=new)

    def _notice(self) -> None:
        """Write down what was changed on the optimiser itself, past `set`."""
        for name, old, new in self.training.optimisers.direct_changes():
            self._note(name, old, new)

    # -- stepping ------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether all epochs, or steps, are done."""
        if self.step_limit is not None:
            return len(self.record.loss) >= self.step_limit
        return self.record.epochs_done >= self.epochs  # type: ignore[no-any-return]

    def _begin(self) -> None:
        """Before the first step."""
        self._find_parts()
        self._initial = self.training.values(), generator_states(self.training.generators)
        self.training.optimisers.zero_grads()
        self._environment = environment()

    def _find_parts(self) -> None:
        """What changes in training beside the parameters: running statistics and generators."""
        roots = [self.loss] if self.model is None else [self.model, self.loss]
        if not isinstance(self.data, (list, tuple)):
            roots.append(self.data)
        self.training.find_parts(roots)

    def _look(self, l: Tracked) -> None:
        """At the first batch's loss: what is trained is what it depends on, unless the optimiser says so."""
        found = list(leaves(l))
        if not found:
            raise TypeError("the loss reaches no parameter")
        self._try_options(float(l.value))
        assert self._initial is not None
        optimisers = self.training.optimisers
        trained = optimisers.params or found
        self._own(trained, self._initial)
        self.training.params = trained
        if self.opt is None:
            zero_grads([], l)
            optimisers.build(found)
        self._closed = self._strict and optimisers.cls is not None and set(found) <= set(trained)
        values = self.training.values()._replace(buffers=self._initial[0].buffers)
        states, active = optimisers.initial_states(), optimisers.initial_key
        self.snapshots.add(Snapshot(0, values, self._initial[1], states, active, -1, []))

    def _try_options(self, loss: float) -> None:
        """Evaluate what the options name, before anything has changed: what is wrong shows here."""
        values = self._evaluate()
        if isinstance(self.until, Condition):
            self.until.holds({"loss": loss, **values, "epoch": 0, "step": 0})

    def _evaluate(self) -> dict[str, float]:
        """Validation loss and metrics."""
        loss = getattr(self.loss, "without_rebinding", self.loss)  # a cell's loss binds names
        functions = {**({} if self.valid is None else {"valid": loss}), **self.metrics}
        cursor = self.training.cursor
        with self._guard.shield(False):
            return evaluate(functions, self.valid, cursor.last, cursor.generators) if functions else {}

    def _go(
        self, n: int = FOREVER, until: float = math.inf, callbacks: Sequence[Callable[..., Any]] = ()
    ) -> float | None:
        """Take n steps, or fewer: to the end, or until `pause`, `stop`, an interrupt or that time; the last loss."""
        guard = self._guard
        value = None
        while n > 0 and not (self._asked or self.finished):
            if self._waiting:
                time.sleep(1e-4)  # a lock is not fair: without this, who waits might do so for long
            with self._lock, self.training.using_rng:
                self._serve()
                self._go_on()
                self._make_turns()
                before = self.steps
                self._busy = True
                try:
                    self._stretch(min(1 if callbacks else n, self._room()), until)
                finally:
                    self._busy = False
                taken = self.steps - before
                value = self.last_loss if taken else value
            n -= taken
            if taken:
                with guard.shield(False):
                    for f in callbacks:
                        f(value)
            if guard.presses:
                guard.check()
                if not guard.ends_loop:
                    break  # the loop around this turn has been told
            if time.perf_counter() >= until:
                break
        return value

    def _make_turns(self) -> None:
        """Make the turns of another run that are due."""
        record = self.record
        if record.plan and record.planned < self.steps:
            record.planned = self.steps
            for event in record.plan.due(self.steps):
                cls = self.opt_class
                if event.name == "opt" or (cls is not None and event.name in cls.hypers):
                    back.make(self, event)
                else:
                    told = f"after step {event.step} {event.name} was to be turned, which {self.opt_name} does not have"
                    warnings.warn(told, RuntimeWarning, stacklevel=2)

    def _room(self) -> int:
        """Steps to the next turn of another run, or to the end."""
        ends = (self.step_limit, self.record.plan.next_after(self.steps) if self.record.plan else None)
        return min((end - self.steps for end in ends if end is not None), default=FOREVER)

    def _stretch(self, n: int, until: float = math.inf, old: Record | None = None) -> None:
        """At most n steps, to the end of the epoch, until that time, or until somebody wants something.

        With an old record they are computed again, and what was checked then is taken over.  A step of a small
        model takes 50 µs: what is done beside it is done with that in mind.
        """
        if self._initial is None and self.snapshots.start is None:
            self._begin()
        record, feed, gear, shelf = self.record, self.training.cursor, self.training.optimisers, self.snapshots
        closed, draws, clock = self._closed, self._draws, time.perf_counter
        look = self._look if shelf.start is None else None
        guard = self._guard
        judged = record.stepwise and old is None and (self.until is not None or self.patience is not None)
        first = len(record.loss) + 1
        before = clock()
        for step in range(first, first + (1 if look else min(n, STRETCH))):
            if gear.watched.version != gear.version:
                self._notice()
            d = feed.next(guard)
            while d is END:
                if self._end_epoch(old):
                    return
                d = feed.next(guard)
            buffers = Values([], [(a, a.copy()) for a in self.training.buffers])
            if draws:
                draws.clear()  # what was drawn for the data is not drawn again
            refused = None
            try:
                value = train_step(self.loss, d, gear.opts, step, guard, closed, look)
            except NotFinite as error:
                buffers.restore()
                record.rejected.append(step)
                value, refused = error.loss, error
            except BaseException:
                buffers.restore()
                restore_generators(draws)
                feed.push_back(d)
                raise
            now = clock()
            self._seconds = seconds = self._seconds + now - before
            before = now
            record.loss.append(value)
            record.rows.append(count_rows(d))
            record.seconds.append(seconds)
            feed.position = place = feed.position + 1
            self.training.step = step
            if self.log:
                self.log.write(step=step, loss=value, seconds=seconds)
            if refused is not None:
                try:
                    self._explain(refused)
                    raise refused
                finally:
                    refused = None  # the error holds this frame
            if judged:
                self._judge()
            if place == feed.length and (old is None or old.ended(step)) and feed.next(guard) is END:
                self._end_epoch(old)
                self._seconds += clock() - now
                record.seconds[-1] = self._seconds
                until = now  # that was the last of the epoch
            if step % shelf.stride == 0 and old is None:
                shelf.add(self.training.capture())
                before = clock()
            if now >= until or self._asked or self._requests or self._waiting or guard.presses:
                return

    def _explain(self, error: NotFinite) -> None:
        """Tell what only the run knows: parameters' names, and the last loss that was finite."""
        names = self._names()
        error.name = names.get(id(error.parameter))
        error.largest_name = names.get(id(error.largest))
        losses = self.record.loss
        error.last_loss = next((l for l in reversed(losses) if math.isfinite(l)), math.nan)

    def _end_epoch(self, old: Record | None = None) -> bool:
        """Validate, and turn to the next epoch; whether the run has come to its end."""
        record = self.record
        if not self.training.cursor.position:
            again = ": a generator can be gone through once; pass a list, batches(...), or a function"
            raise ValueError("the data gave no batch" + again * (self.epoch > 1))
        checks = self._evaluate() if old is None else old.evaluations_at(self.steps)
        # an error in validation leaves the epoch unended: the next step validates once more
        self.training.cursor.end_epoch()
        record.end_epoch(checks)
        if old is not None:
            return self.finished
        if self.until is not None or self.patience is not None:
            self._judge()
        if self.finished:
            self.state = "done"
        if self.log:  # the disk may be full
            self.log.write(epoch=self.epoch - 1, step=self.steps, seconds=self._seconds, **checks)
        return self.finished or self.state == "stopped"

    def _judge(self) -> None:
        """Keep the best weights, and see whether it is enough."""
        record, best = self.record, self.record.best
        if record.stepwise or (best is not None and best.step == self.steps):
            now = self.steps, self.training.values()
            if best is not None and best.step == self.steps:
                self._best = self._behind if record.stepwise else now
            self._behind = now
        with named("until"):
            enough = self.until is not None and self.until(self)
        if enough or out_of_patience(record, self.patience):
            self._asked = "stop"
            self.state = "stopped"

    def keep_best(self) -> None:
        """Put the best epoch's weights and running statistics back, as the end of a run does.

        Nothing happens without `until` and `patience`, or before the first whole epoch.  When the run goes on it
        first takes up the state of its last step: it ends in the bits of one longer run.

        Raises
        ------
        NotRepeated
            If they have to be computed again, after a load or a rewind, and a step gives another loss.
        """
        with self._between():
            if self._busy:
                raise RuntimeError(
                    "the loss, the metrics and until cannot put weights back: a batch is being worked on"
                )
            record, best = self.record, self.record.best
            wanted = self.until is not None or self.patience is not None
            if not wanted or best is None or self.training.last is not None or best.step == self.steps:
                return
            # an epoch's weights are those at its end; a loss without a batch belongs to those before its step
            step = best.step - record.stepwise
            if self._best is None or self._best[0] != step:
                with self._working():
                    self._best = step, back.kept_after(self, step, record)
            self.training.show(self._best[1])
            record.kept = step

    def _go_on(self) -> None:
        """Take up the last step's state, where the best epoch's was put in its place."""
        if self.training.last is not None:
            self.training.show_last()
            self.record.kept = None

    def put_back(self, step: int) -> None:
        """Put the weights and running statistics back as they were after a step; all else goes on from here.

        Parameters
        ----------
        step : int
            From 0, the start, to `steps`.

        Raises
        ------
        ValueError
            If the run has not been there, or cannot be repeated.
        NotRepeated
            If a step that is computed again gives another loss.
        """
        with back.unless_it_fails(self, "put back", lambda: self._check_step("put_back", step)):
            self._go_on()
            self._put_back(int(step), self.record)

    def _put_back(self, step: int, record: Record) -> None:
        if step == self.steps:
            return
        best = self._best
        (best[1] if best is not None and best[0] == step else back.kept_after(self, step, record)).restore()
        self.record.restored_weights.append((self.steps, step))

    def step(self, n: int = 1) -> float | None:
        """Take n steps, or as many as are left, or as are taken before `pause`, `stop` or an interrupt.

        Returns
        -------
        float or None
            The loss of the last one; None if the run had ended.

        Raises
        ------
        NotFinite
            If a loss or a gradient is not finite: the loss is a row of the history, nothing was updated.
        KeyboardInterrupt
            After an interrupt, when the batch is done.
        """
        n = index(n)
        value = None
        with self._moving():
            value = self._go(n)
            self._rest(gone=n > 0)
        return value

    @contextmanager
    def _moving(self, *, leave: bool = True) -> Iterator[None]:
        """Around whatever takes steps: the weights are this run's.  `leave` is `InterruptGuard.ends_loop`."""
        if isinstance(self.loss, checkpoint.MissingLoss):
            self.loss()
        asks = self._asks
        with self._between(), _ownership:
            if self._moves:
                raise RuntimeError("this run is being driven already")
            self.training.own_rng()
            self._own(self.params)
            self._moves = True
            self._stood = self.state
            if not self.finished:
                # what was asked for before this call is over; what is asked for from now on counts
                if self.state != "running" and self._asks == asks:
                    self._asked = ""
                self.state = "running"
        self._guard.ends_loop = leave
        try:
            with without_fp_warnings(), generators.record_draws() as self._draws, self._guard, self._guard.shield():
                try:
                    yield
                except Stop:  # in a callback, or in the loss: a cell's body
                    self._asked = "stop"
                    self._rest()
                except BaseException as error:
                    if is_interrupt(error):
                        self.keep_best()
                    raise
        except BaseException as error:
            self.state = "paused" if is_interrupt(error) else "failed"
            raise
        finally:
            self._moves = False
            if self._requests:
                self._serve_if_idle()

    def _rest(self, gone: bool = True) -> None:
        """Say how the run stands when its driver lets go; put the best weights back if it has ended."""
        if self.finished:
            self.state = "done"
        elif self._asked == "stop":
            self.state = "stopped"
        else:
            self.state = "paused" if gone or self._stood in ("ready", "running") else self._stood
        if self.state in ("done", "stopped"):
            self.keep_best()

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Around what brings the run to another of its states: the weights are its own for the time."""
        with _ownership:
            self._own(self.training.params)
            works, self._works = self._works, True
        try:
            yield
        finally:
            self._works = works

    def _own(self, params: list[Param], found: tuple[Values, GeneratorStates] | None = None) -> None:
        """Weights belong to one active run: another one over them is parked, and this one gets its own back."""
        with _ownership:
            others = {
                id(r): r for p in params if p.run_ref is not None and (r := p.run_ref()) is not None and r is not self
            }
            for other in others.values():
                if other.state == "running" or other._moves or other._works:
                    raise RuntimeError(
                        f"these weights are being trained by {other!r}: two runs cannot be active over shared "
                        "parameters. Pause or stop that one first"
                    )
            for other in others.values():
                other.training.park(found)
            self.training.unpark()
            for p in params:
                p.run_ref = weakref.ref(self)

    def take(self) -> None:
        """Make a parked run the active one: its parameters have its values again.

        Raises
        ------
        RuntimeError
            While this run, or another one over these parameters, is being trained.
        """
        with self._between():
            if self._moves or self.state == "running":
                raise RuntimeError(f"{self!r} is being trained: its weights are in its parameters already")
            self._own(self.params)

    def train(self, *, cb: Any = None) -> None:
        """Run to the end, until `pause` or `stop`, or until an interrupt.

        Parameters
        ----------
        cb : callable or list of them, optional
            Called after each step; one that takes an argument gets the loss.

        Raises
        ------
        NotFinite
        KeyboardInterrupt
            After an interrupt, when the batch is done.
        """
        callbacks = as_callbacks(cb)
        with self._moving():
            self._go(callbacks=callbacks)
            self._rest()

    def advance(self, seconds: float) -> None:
        """Go on for about so long, for a step at least: for a driver that shares its thread.

        The state stays "running" but after `pause`, `stop` or the end, which end it early.
        """
        with self._moving(leave=False):
            self._go(until=time.perf_counter() + seconds)
            if self.finished or self._asked:
                self._rest()

    def wait(self) -> None:
        """Train to the end in the calling cell, taking over from whatever drives the run."""
        if self.driver is not None:
            self.driver.wait()
        else:
            self.train()

    def __await__(self) -> Generator[Any, None, None]:
        """Train to the end, with the event loop free for others."""
        return (self._alone() if self.driver is None else self.driver.join()).__await__()

    async def _alone(self) -> None:
        import asyncio  # which takes longer to load than all the rest here

        try:
            while not self.finished:
                self.advance(TURN)
                if self.state != "running":
                    break
                await asyncio.sleep(0)
        finally:
            if self.state == "running":  # it was cancelled, as ■ does
                self._rest()
                self.keep_best()

    # -- going back ------------------------------------------------------------------------------------------

    def _check_step(self, name: str, step: int) -> None:
        if not isinstance(step, (int, np.integer)) or isinstance(step, bool) or not 0 <= step <= self.steps:
            raise ValueError(f"{name}({step!r}): the run has steps 0 … {self.steps}")

    def rewind(self, step: int) -> None:
        """Go back to where the run was after so many steps: weights, optimiser, random state, place in the data.

        Turns made at that very moment are undone too.  What lies between two snapshots is computed again.

        Parameters
        ----------
        step : int
            From 0, the start, to `steps`.

        Raises
        ------
        ValueError
            If the run has not been there, or cannot be repeated.
        NotRepeated
            If a step that is computed again gives another loss.  The run is as it was before then.
        """
        with back.unless_it_fails(self, "go back to", lambda: self._check_step("rewind", step)) as left:
            self._rewind(int(step), left)
        if self.state != "running":
            self.state = "paused"
        if self.log:
            self.log.write(rewind=int(step))

    def _rewind(self, step: int, left: Line) -> None:
        back.again(self, self.snapshots.latest_at(step), left.record, step)
        self.snapshots.drop_after(step)
        self._behind = None
        if self._best is not None and self._best[0] > step:
            self._best = None
        if step == left.now.step and left.shown is not None:
            self.record.kept = left.record.kept
            self.training.show(left.shown)
        if step < left.now.step or left.record.changed_at(step):
            self._abandoned.leave(left, step)

    def undo(self) -> None:
        """Come back to where the run was before the last rewind or restart; a second undo comes back from there.

        Steps that were taken since then are kept for that: nothing is lost.

        Raises
        ------
        ValueError
            If there was no rewind or restart.
        """

        def check() -> None:
            if self._abandoned.last is None:
                raise ValueError("there is nothing to undo: the run was neither rewound nor restarted")

        with back.unless_it_fails(self, "undo", check) as here:
            assert self._abandoned.last is not None
            line, parted = self._abandoned.last
            self.snapshots.drop_after(parted)
            back.take_up(self, line)
            self._abandoned.exchange(here)
        if self.state != "running":
            self.state = "paused" if line.state == "running" else line.state
        if self.log:
            self.log.write(undo=self.steps)

    def restart(self) -> None:
        """Go back to the start, and keep the dials: those that differ are turned there, before the first step.

        Weights, optimiser, random state and place in the data are those of the start.  `undo` comes back.

        Raises
        ------
        ValueError
            If the run has not taken a step, or cannot be repeated.
        """
        with back.unless_it_fails(self, "restart") as left:
            cls, settings = self.opt_class, self.training.optimisers.settings
            if self.steps:
                self._rewind(0, left)
            self.record.plan = Turns()  # from here on it is steered by hand
            if cls is not None:
                if self.opt_class is not cls:
                    self._swap(cls)
                now = self.training.optimisers.settings
                self._turn({name: value for name, value in settings.items() if value != now[name]})
        if self.state != "running":
            self.state = "paused"
        if self.log:
            self.log.write(restart=0)

    @property
    def abandoned(self) -> list[Stretch]:
        """The steps that rewinds and restarts have left, oldest first: eight at most, for drawing."""
        return self._abandoned.stretches

    def reset_weights(self) -> None:
        """Put back the weights and running statistics that the run started from, for another run to begin with.

        This run is parked with its own, which come back when it goes on.
        """
        start = self.snapshots.start
        if start is not None:
            self._own(self.training.params)
            self.training.park()
            start.values.restore()

    def replay(self) -> None:
        """Go through the whole run again, from the start, with its recorded turns; ends in the same bits.

        Raises
        ------
        NotRepeated
            Naming the first step that differs; the run is as it was before then.

        Warns
        -----
        UserWarning
            If the machine, NumPy or the number of BLAS threads is not what it was.
        """
        changed = [
            f"{k} was {was}, now is {now}"
            for k, now in environment().items()
            if (was := self._environment.get(k, now)) != now
        ]
        if changed:
            warnings.warn("replay may differ in the last bits: " + "; ".join(changed), stacklevel=2)
        with back.unless_it_fails(self, "replay") as before:
            record, start = before.record, self.snapshots.start
            assert start is not None
            back.again(self, start, record, len(record.loss))
            back.redo(self, record, len(record.loss))
            if not back.other_numerics(self):
                back.same_bits(self, before.now)
            self.record = record
            self.training.show(before.shown)

    def branch(
        self,
        name: str,
        opt: str | type[Optimiser] | None = None,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        **hypers: Any,
    ) -> Run:
        """A second run from here, with other settings.  One of the two is active; the other one keeps its own state.

        Parameters
        ----------
        name : str
            The new run's name.
        opt : str or type, optional
            Another optimiser to go on with.
        epochs, steps : int, optional
            Of the new run in all; default: as many as of this one.
        **hypers : float or callable
            Dials to turn at once.

        Returns
        -------
        Run
            With this run's history so far.
        """
        if epochs is None and steps is None:
            epochs, steps = self.epochs, self.step_limit
        with back.unless_it_fails(self, "branch from") as mine:
            new = Run(
                self.loss,
                self.data,
                self.training.optimisers.fresh_copy(self.training.params),
                epochs=epochs,
                steps=steps,
                valid=self.valid,
                metrics=self.metrics,
                model=self.model,
                name=name,
                until=self.until,
                patience=self.patience,
                strict=self._strict,
            )
            new.parent, new.parted, new.source = self, self.steps, self.source
            new.training.use_rng(self.training.rng)
            new.training.params, new.training.buffers = self.training.params, self.training.buffers
            new.training.cursor.generators = self.training.generators
            new._closed, new._initial, new._environment = self._closed, self._initial, self._environment
            new.snapshots = self.snapshots.copy()
            new._best, new._seconds = self._best, self._seconds
            here = self.training.capture()
            new.record = self.record.copy(self.steps, here=True)
            new.training.restore(here)
            new.training.parked = here.values, here.generators
            new.state = "paused"
            if mine.shown is not None:
                mine.shown.restore()
            if opt is not None:
                new.swap(opt, **hypers)
            elif hypers:
                new.set(**hypers)
        return new

    def recover(self, **hypers: Any) -> None:
        """After a loss or gradient that was not finite: back to the last good state, and on more carefully.

        If the loss had grown to ten times what it was, or this is the second time in a row, the weights are
        bad already, and the run goes back to before the smallest of the last 200 losses.  If not, it was the
        batch: the run goes on with the next one.

        Parameters
        ----------
        **hypers : float
            Dials to turn; default: a tenth of η.

        Raises
        ------
        ValueError
            If the last step was not refused.
        """
        record = self.record
        if not record.rejected or record.rejected[-1] != self.steps:
            raise ValueError("there is nothing to recover from: the last step went well")
        if not hypers and "η" in self.values:
            hypers = {"η": self.values["η"] / 10}
        refused = set(record.rejected)
        good = [s for s in range(max(1, self.steps - RECENT), self.steps) if s not in refused]
        if good and self.training.cursor.repeatable:
            best = min(good, key=lambda s: record.loss[s - 1])
            if self.steps - 1 in refused or record.loss[good[-1] - 1] > GROWN * record.loss[best - 1]:
                with suppress(NotRepeated):  # then it stays where it is, which is as good as can be had
                    self.rewind(best - 1)
        if hypers:
            self.set(**hypers)
        self.state = "paused"

    def snapshot(self) -> dict[str, np.ndarray]:
        """The weights as they are between two steps, never in the middle of one; from any thread.

        Returns
        -------
        dict
            From the parameter's place in the model to a copy of its value.
        """
        with self._between():
            parked = self.training.parked
            weights = parked[0].params if parked else [(p, p.value.copy()) for p in self.params]
            names = self._names()
            return {names.get(id(p), str(i)): value.copy() for i, (p, value) in enumerate(weights)}

    # -- files and code --------------------------------------------------------------------------------------

    def save(self, path: Any) -> None:
        """Write the run to a file: how it began, what was done, where it stands.

        Parameters
        ----------
        path : path
            Any suffix.  What is there is replaced only when the new file is whole and on the disk.

        Raises
        ------
        ValueError
            If no step was taken yet.
        TypeError
            If the optimiser is a plain function.
        OSError
            If it cannot be written: a folder, a full disk.
        """
        start = self.snapshots.start
        if start is None:
            raise ValueError("the run has not taken a step yet: there is nothing to save")
        if self.opt_class is None:
            raise TypeError(f"{self.opt_name} is {self.opt_kind}, and only a run with one optimiser can be saved")
        with self._between():
            if self._busy and self.training.cursor.tell()[0] >= 0 and not is_evaluating():
                raise RuntimeError(
                    "a run cannot be saved by its own loss, in the middle of a step: save it in a callback"
                )
            self._notice()
            file = checkpoint.Checkpoint.of(
                self.training,
                self.record,
                start,
                self._names(),
                id=self.id,
                name=self.name,
                epochs=self.epochs,
                steps=self.step_limit,
                seed=self.seed,
                state="paused" if self.state == "running" else self.state,
                environment=self._environment,
            )
        file.write(path)

    @classmethod
    def load(
        cls,
        path: Any,
        loss: Callable[..., Any] | None = None,
        data: Any = None,
        params: Iterable[Param] | None = None,
        schedules: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Run:
        """The run that `save` wrote.  All is checked before a single weight is assigned.

        Parameters
        ----------
        path : path
        loss, data : optional
            As the run had them: code is not in the file.  Without loss, data and params the run can be looked at
            (history, events, curve, compare), and not trained.
        params : iterable of Param, optional
            What it trains, of the same shapes and dtypes, in the same order.
        schedules : dict, optional
            Schedules that are functions of one's own, by hyper-parameter; a list where there were several, in the
            order in which they came.
        **options
            As for `Run`: valid, metrics, model.

        Returns
        -------
        Run
            Where it stood; the parameters have the values that they had then.

        Raises
        ------
        ArchiveError
            A ValueError that lists all that does not fit.
        TypeError
            If only some of loss, data and params are given.

        Warns
        -----
        UserWarning
            If weights or an optimiser's state were not finite when the run was saved.
        """
        with checkpoint.reading(path, loss, data, params, schedules) as file:
            run = cls(file.loss, file.data, file.record.opt, **file.arguments, **options)
            run._resume_from(file)
        return run

    def _resume_from(self, file: checkpoint.Loaded) -> None:
        """Become a run that was saved."""
        if not isinstance(self.loss, checkpoint.MissingLoss):
            self._find_parts()
        start, now, shown = file.fit(self.training, self._names())
        self._own(file.params)
        file.restore(self.training, now, shown)
        self.record = file.record
        self.record.complete()
        self.id = file.saved.id or self.id
        self.state, self._environment = file.saved.state, file.saved.environment
        self._seconds = self.seconds
        self.snapshots.add(start)
        self._closed = self._strict and self.training.optimisers.cls is not None

    def as_code(self, module: str = "experiment", path: Any = "run.npz") -> str:
        """A script that does again what was done by hand, and ends in the same bits.

        Parameters
        ----------
        module : str
            The module that has `loss`, `data` and `model` (for a `%%train` run: what the cell names; the cell's
            body is in the script).
        path : path
            Where the run is saved; see `save`.

        Returns
        -------
        str
        """
        with self._between():
            return script.write_script(
                self.record,
                path,
                module,
                name=self.name,
                numerics=self._environment.get("numerics", 1),
                cell=self.source,
                has_data=self.data is not None,
                has_model=self.model is not None,
                part=script.trained_part(self._names(), {id(p) for p in self.training.params}),
            )

    def _names(self) -> Mapping[int, str]:
        if isinstance(self.loss, checkpoint.MissingLoss):
            return self.loss.names
        return {id(p): path for path, p in named_params(self.loss if self.model is None else self.model)}


def _positive(name: str, value: Any) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is a positive integer, not {value!r}")
    return int(value)

"""A run: training as an object that can be stepped, turned, paused and looked at.

It knows nothing of Jupyter.  Drivers call `step`, `train` or `advance`; viewers only read; dials only ask.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from fluxmagic import random
from fluxmagic.layers import batches, named_params
from fluxmagic.layers.mode import testing
from fluxmagic.optimise.optimiser import OPTIMISERS, Optimiser
from fluxmagic.optimise.train import Interrupts, NotFinite, Stop, as_list, callback, clear, take_step
from fluxmagic.runs.history import Event, History, Record
from fluxmagic.tracker import Param, Tracked, data, leaves

__all__ = ["Run"]

CHUNK = 1024  # rows that validation takes at a time


class Run:
    """Training that can be stepped, turned, paused and looked at.

    Parameters
    ----------
    loss : callable
        Of a batch, to a scalar.
    data : iterable, or function without arguments
        Gives the batches of an epoch: tuples, the loss's arguments, or single arrays.  It is gone through
        afresh every epoch; a function is called to make it.
    opt : Optimiser, type, str or callable
        An optimiser; or the class or name of one, which is then given the parameters of the first batch's
        loss; or any function that updates parameters and clears their gradients.
    epochs : int
    valid : array or tuple of arrays, iterable of batches, or function that returns such, optional
        What the loss is validated on after every epoch, `CHUNK` rows at a time.
    metrics : dict, optional
        From name to a function of a batch, to a number; evaluated on `valid` (without it on the last batch).
    model : optional
        What is trained, for names in errors; default: what the loss refers to.
    seed : int, optional
        Seeds the default generator when the run starts: order of the data, dropout.
    name : str, optional

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
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        data: Iterable[Any] | Callable[[], Iterable[Any]],
        opt: Any,
        *,
        epochs: int = 1,
        valid: Any = None,
        metrics: Mapping[str, Callable[..., Any]] | None = None,
        model: Any = None,
        seed: int | None = None,
        name: str | None = None,
        hypers: Mapping[str, Any] | None = None,
        strict: bool = False,
    ) -> None:
        if not callable(loss):
            raise TypeError(f"loss is a function of a batch, not a {type(loss).__name__}")
        if not (isinstance(epochs, (int, np.integer)) and not isinstance(epochs, bool)) or epochs < 1:
            raise ValueError(f"epochs is a positive integer, not {epochs!r}")
        if not callable(data) and not isinstance(data, Iterable):
            raise TypeError(f"data gives batches when iterated over, and a {type(data).__name__} does not")
        self.loss = loss
        self.data = data
        self.epochs = int(epochs)
        self.valid = valid
        self.metrics = dict(metrics or {})
        self.model = model
        self.seed = seed
        self.name = name
        self.state = "ready"
        self.last_step_at = 0.0
        self.opt: Any = None
        self._strict = strict  # parameters that turn up after the first batch are an error
        self._opts: list[Any] = []
        self._shelf: dict[str, Optimiser] = {}
        self._wish: tuple[type[Optimiser], dict[str, Any]] | None = None
        self._known: list[Param] | None = None
        self._requests: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()  # held while a batch is worked on
        self._asked = ""  # "pause" or "stop"
        self._batches: Iterator[Any] | None = None
        self._length: int | None = None
        self._place = 0  # batches taken of this epoch
        self._seconds = 0.0
        self._last: Any = None  # the last batch, for metrics without validation data
        self._seen: dict[str, float] = {}  # hyper-parameters as they were when last written down
        opt = OPTIMISERS.get(opt, opt) if isinstance(opt, str) else opt
        if isinstance(opt, str):
            raise ValueError(f"there is no optimiser {opt}; there are {', '.join(OPTIMISERS)}")
        if isinstance(opt, type) and issubclass(opt, Optimiser):
            given = opt.named(hypers or {})
            for k, v in given.items():
                if not callable(v):
                    given[k] = opt.hypers[k].check(v)
            self._wish = (opt, given)
            self._record = Record(opt.__name__, {k: given.get(k, h.default) for k, h in opt.hypers.items()})
        else:
            if hypers:
                raise TypeError("hypers go with the name or class of an optimiser; this one is made already")
            if not callable(opt) and not (isinstance(opt, (list, tuple)) and all(map(callable, opt))):
                raise TypeError(f"opt is an optimiser or a function, not a {type(opt).__name__}")
            self.opt = opt
            self._opts = as_list(opt)
            values: dict[str, Any] = {}
            if isinstance(opt, Optimiser):
                self._shelf[opt.name] = opt
                self._seen = opt.values
                values = {**opt.values, **opt.schedules}
            self._record = Record(opt.name if isinstance(opt, Optimiser) else _label(opt), values)

    # -- looking -------------------------------------------------------------------------------------------

    @property
    def history(self) -> History:
        """Arrays by name, a row for each step."""
        return History(self._record)

    @property
    def events(self) -> list[Event]:
        """What was changed on the way: `(step, name, old, new)`."""
        return list(self._record.events)

    @property
    def steps(self) -> int:
        """Steps taken."""
        return len(self._record.loss)

    @property
    def epoch(self) -> int:
        """The epoch that the next step belongs to, from 1."""
        return len(self._record.epochs)

    @property
    def steps_per_epoch(self) -> int | None:
        """How many batches an epoch has, where the data says so or one was gone through."""
        if self._length is not None:
            return self._length
        starts = self._record.epochs
        return starts[1] - starts[0] if len(starts) > 1 else None

    @property
    def seconds(self) -> float:
        """Time spent training."""
        return self._record.seconds[-1] if self._record.seconds else 0.0

    @property
    def last_loss(self) -> float:
        """The loss of the last step; NaN before the first."""
        return self._record.loss[-1] if self._record.loss else math.nan

    @property
    def opt_name(self) -> str:
        """The name of the optimiser in force."""
        if isinstance(self.opt, Optimiser):
            return self.opt.name
        return self._wish[0].__name__ if self._wish else _label(self.opt)

    @property
    def opt_class(self) -> type[Optimiser] | None:
        """Its class, if it is an Optimiser."""
        if isinstance(self.opt, Optimiser):
            return type(self.opt)
        return self._wish[0] if self._wish else None

    @property
    def values(self) -> dict[str, float]:
        """The hyper-parameters in force, by name."""
        if isinstance(self.opt, Optimiser):
            return self.opt.values
        if self._wish:
            cls, given = self._wish
            return {k: (v(0) if callable(v := given.get(k, h.default)) else v) for k, h in cls.hypers.items()}
        return {}

    @property
    def params(self) -> list[Param]:
        """What is trained; empty before the first batch where the optimiser was given by name."""
        return list(dict.fromkeys(p for o in self._opts if isinstance(o, Optimiser) for p in o.params))

    def __repr__(self) -> str:
        name = f"{self.name!r}, " if self.name else ""
        return f"Run({name}{self.opt_name}, {self.state}, epoch {min(self.epoch, self.epochs)}/{self.epochs}, {self.steps:,} steps)"

    # -- asking --------------------------------------------------------------------------------------------

    def _ask(self, request: Callable[[], None]) -> None:
        """Do it between two batches: now, if none is being worked on."""
        self._requests.append(request)
        if self._lock.acquire(blocking=False):
            try:
                self._serve()
            finally:
                self._lock.release()

    def _serve(self) -> None:
        while self._requests:
            self._requests.popleft()()

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
        cls = self.opt_class
        if cls is None:
            raise TypeError(f"{self.opt_name} is a plain function: it has no dials")
        given = cls.named(hypers)
        for k, v in given.items():
            if not callable(v):
                given[k] = cls.hypers[k].check(v)
        self._ask(lambda: self._turn(given))

    def swap(self, opt: str | type[Optimiser], **hypers: Any) -> None:
        """Go on with another optimiser.  The weights stay; one used before comes back with its own state and values.

        Parameters
        ----------
        opt : str or type
            The name or class of a registered optimiser.
        **hypers : float or callable
            Dials to turn at once.
        """
        cls = OPTIMISERS.get(opt) if isinstance(opt, str) else opt
        if not (isinstance(cls, type) and issubclass(cls, Optimiser)):
            raise ValueError(f"there is no optimiser {opt}; there are {', '.join(OPTIMISERS)}")
        if self.opt_class is None:
            raise TypeError(f"{self.opt_name} is a plain function: its parameters are not known, so none can take over")
        given = cls.named(hypers)
        for k, v in given.items():
            if not callable(v):
                given[k] = cls.hypers[k].check(v)
        self._ask(lambda: self._swap(cls, given))

    def pause(self) -> None:
        """Let the loop end after the batch; `train` goes on from there."""
        self._asked = "pause"
        if self.state == "ready":
            self.state = "paused"

    def stop(self) -> None:
        """End the run after the batch."""
        self._asked = "stop"
        if self.state in ("ready", "paused"):
            self.state = "stopped"

    def _turn(self, given: dict[str, Any]) -> None:
        for k, new in given.items():
            if self._wish is not None:
                cls, wish = self._wish
                old = wish.get(k, cls.hypers[k].default)
                wish[k] = new
            else:
                old = self.opt.schedules.get(k, getattr(self.opt, k))
                setattr(self.opt, k, new)
            self._note(k, old, new)
        if self._wish is None:
            self._seen = self.opt.values

    def _swap(self, cls: type[Optimiser], given: dict[str, Any]) -> None:
        old = self.opt_name
        if self._wish is not None:
            self._wish = (cls, {})
        elif type(self.opt) is not cls:
            params = self.opt.params
            self.opt = self._shelf.get(cls.__name__)
            if type(self.opt) is not cls:
                self.opt = self._shelf[cls.__name__] = cls(params)
            self._opts = [self.opt]
        if old != cls.__name__:
            self._note("opt", old, cls.__name__)
        self._turn(given)

    def _note(self, name: str, old: Any, new: Any) -> None:
        if callable(old) or callable(new) or old != new:
            self._record.events.append(Event(self.steps, name, old, new))

    def _notice(self) -> None:
        """Write down what was changed on the optimiser itself, past `set`."""
        opt = self.opt
        if isinstance(opt, Optimiser) and opt._values != self._seen:
            for k, new in opt._values.items():
                if k not in opt._schedules:
                    self._note(k, self._seen.get(k, new), new)
            self._seen = opt.values

    # -- stepping ------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch > self.epochs

    def _look(self, l: Tracked) -> None:
        """At the first batch's loss: what is trained is what it depends on."""
        assert self._wish is not None
        cls, given = self._wish
        found = list(leaves(l))
        if not found:
            raise TypeError("the loss reaches no parameter")
        clear([], l)
        self.opt = cls(found, **given)
        self._opts.append(self.opt)
        self._shelf[cls.__name__] = self.opt
        self._seen = self.opt.values
        self._wish = None
        if self._strict:
            self._known = found

    def _begin(self) -> None:
        """Before the first step."""
        if self.seed is not None:
            random.seed(self.seed)
        clear(self._opts)

    def _next_batch(self) -> Any:
        """The next batch, or None where the data has ended."""
        if self._batches is None:
            source = self.data() if callable(self.data) else self.data
            self._length = len(source) if hasattr(source, "__len__") else None
            self._batches = iter(source)
            self._place = 0
        return next(self._batches, _END)

    def _end_epoch(self) -> None:
        record = self._record
        if not self._place:
            raise ValueError(
                "the data gave no batch"
                + (
                    ": a generator can be gone through once; pass a list, batches(...), or a function"
                    if self.epoch > 1
                    else ""
                )
            )
        self._batches = None
        checks = self._validate()
        if checks:
            record.checks.append((self.steps, checks))
        record.epochs.append(self.steps)
        if self.finished:
            self.state = "done"

    def _one(self) -> float | None:
        """One step; None where the data has ended, and with it the run."""
        with self._lock:
            if self._requests:
                self._serve()
            self._notice()
            record = self._record
            if not record.loss and self._batches is None and self.state != "failed":
                self._begin()
            start = time.perf_counter()
            d = self._next_batch()
            while d is _END:
                self._end_epoch()
                if self.finished:
                    return None
                d = self._next_batch()
            self._place += 1
            step = self.steps + 1
            try:
                value = take_step(
                    self.loss, d, self._opts, step, known=self._known, look=self._look if self._wish else None
                )
            except NotFinite as error:
                record.loss.append(error.loss)
                record.refused.append(step)
                self._tick(start)
                self.state = "failed"
                error.name = self._name_of(error.parameter)
                raise
            except BaseException as error:
                self._place -= 1
                if not isinstance(error, KeyboardInterrupt):
                    self.state = "failed"
                raise
            record.loss.append(value)
            if self._opts and isinstance(self.opt, Optimiser) and self.opt._schedules:
                self._seen = self.opt.values
            self._last = d
            if self._place == self._length:
                self._end_epoch()
            self._tick(start)
            return value

    def _tick(self, start: float) -> None:
        self._seconds += time.perf_counter() - start
        self._record.seconds.append(self._seconds)

    def step(self, n: int = 1) -> float | None:
        """Take n steps, or as many as are left.

        Returns
        -------
        float or None
            The loss of the last one; None if the run had ended.

        Raises
        ------
        NotFinite
            If a loss or a gradient is not finite: the loss is a row of the history, nothing was updated.
        """
        value = None
        with self._moving():
            for _ in range(n):
                if self.finished:
                    break
                taken = self._one()
                value = value if taken is None else taken
        if not self.finished and self.state != "stopped":
            self.state = "paused"
        return value

    @contextmanager
    def _moving(self) -> Iterator[None]:
        if self.state == "running":
            raise RuntimeError("this run is being driven already")
        if self.state != "done":
            self.state = "running"
        try:
            yield
        except KeyboardInterrupt:
            self.state = "paused"
            raise
        except BaseException:
            self.state = "failed"
            raise

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
        callbacks = [callback(f) for f in as_list(cb)]
        self._asked = ""
        with self._moving(), Interrupts() as interrupts:
            try:
                while not self.finished:
                    value = self._one()
                    if value is not None:
                        for f in callbacks:
                            f(value)
                    if interrupts.pending:
                        interrupts.check()
                    if self._asked:
                        break
            except Stop:
                self._asked = "stop"
        self._rest()

    def advance(self, seconds: float) -> None:
        """Go on for about so long: for a driver that shares its thread.  Ends early at `pause`, `stop`, the end."""
        self._asked = ""
        with self._moving():
            until = time.perf_counter() + seconds
            while not self.finished and not self._asked and time.perf_counter() < until:
                self._one()
        self._rest()

    def _rest(self) -> None:
        if self.finished:
            self.state = "done"
        else:
            self.state = "stopped" if self._asked == "stop" else "paused"

    def _name_of(self, p: Param | None) -> str | None:
        if p is None:
            return None
        return next((path for path, q in named_params(self.loss if self.model is None else self.model) if q is p), None)

    # -- validation ----------------------------------------------------------------------------------------

    def _validate(self) -> dict[str, float]:
        """Loss and metrics on the validation data, in test mode; changes nothing and keeps no graph."""
        if self.valid is None and not self.metrics:
            return {}
        state = random.generator().bit_generator.state
        functions = {**({} if self.valid is None else {"valid": self.loss}), **self.metrics}
        totals = dict.fromkeys(functions, 0.0)
        weight = 0
        try:
            with testing():
                for d, n in self._chunks():
                    weight += n
                    for name, f in functions.items():
                        value = data(f(*d) if type(d) is tuple else f(d))
                        totals[name] += n * float(value)
        finally:
            random.generator().bit_generator.state = state
        return {name: total / weight if weight else math.nan for name, total in totals.items()}

    def _chunks(self) -> Iterator[tuple[Any, int]]:
        valid = self.valid() if callable(self.valid) else self.valid
        if valid is None:
            yield self._last, 1
        elif isinstance(valid, batches) or (not isinstance(valid, tuple) and not hasattr(valid, "__array__")):
            for d in valid:
                yield d, len(d[0] if type(d) is tuple else d)
        else:
            arrays = valid if isinstance(valid, tuple) else (valid,)
            arrays = tuple(np.asarray(data(a)) for a in arrays)
            lengths = {len(a) for a in arrays}
            if len(lengths) > 1:
                raise ValueError(f"valid: arrays of different lengths: {', '.join(str(len(a)) for a in arrays)}")
            for i in range(0, len(arrays[0]), CHUNK):
                rows = tuple(a[i : i + CHUNK] for a in arrays)
                yield rows if isinstance(valid, tuple) else rows[0], len(rows[0])


_END = object()


def _label(opt: Any) -> str:
    return getattr(opt, "__name__", None) or type(opt).__name__

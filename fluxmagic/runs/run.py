"""A run: training as an object that can be stepped, turned, paused and looked at.

It knows nothing of Jupyter.  Drivers call `step`, `train` or `advance`; viewers only read; dials only ask.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
import warnings
import weakref
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from fluxmagic import random
from fluxmagic.layers import named_params, state
from fluxmagic.optimise.optimiser import OPTIMISERS, Optimiser
from fluxmagic.optimise.train import Interrupts, NotFinite, Stop, as_list, callback, clear, take_step
from fluxmagic.runs.code import Source, as_code
from fluxmagic.runs.environment import environment
from fluxmagic.runs.files import load, save
from fluxmagic.runs.history import Event, History, Record
from fluxmagic.runs.log import Log
from fluxmagic.runs.snapshot import Shelf, Snapshot, copies, generator_states, restore_generators
from fluxmagic.runs.validation import validate
from fluxmagic.tracker import Param, Tracked, leaves

__all__ = ["NotRepeated", "Run"]

TURN = 0.02  # seconds that a run keeps an event loop for itself


class NotRepeated(RuntimeError):
    """A step that was computed again gave another loss; the run is as it was before.

    Attributes
    ----------
    step : int
        The first step that differs.
    """

    def __init__(self, step: int, old: float, new: float) -> None:
        self.step = step
        super().__init__(
            f"step {step} does not repeat: its loss was {old!r}, and now is {new!r}. Something that the loss or the "
            "data depends on changed outside the run (random numbers of one's own, weights or data changed by hand)"
        )


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
    hypers : dict, optional
        Hyper-parameters, where `opt` is a class or a name.
    until : function without arguments, optional
        The run ends after an epoch for which it is true.
    patience : int, optional
        The run ends when the validation loss (without `valid` the epoch's mean loss) has had no new minimum for
        so many epochs.  With `until` or `patience` the weights of the best epoch are put back in the end.
    strict : bool
        A parameter that turns up after the first batch is an error.
    snapshot_bytes : int
        Memory for snapshots beside that of the start.
    log : path, optional
        A file to which a line of JSON is written for every step, epoch and turn.

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
        until: Callable[[], Any] | None = None,
        patience: int | None = None,
        strict: bool = False,
        snapshot_bytes: int = 64_000_000,
        log: Any = None,
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
        self.until = until
        self.patience = patience
        self.log = Log(log) if log is not None else None
        self.parent: Run | None = None  # the run that this one is a branch of
        self.source: Source | None = None  # the text of the cell that the run was made from
        self.opt: Any = None
        self._strict = strict
        self._opts: list[Any] = []
        self._shelf: dict[str, Optimiser] = {}
        self._wish: tuple[type[Optimiser], dict[str, Any]] | None = None
        self._known: list[Param] | None = None
        self._trained: list[Param] = []
        self._statistics: list[np.ndarray] = []
        self._generators: list[np.random.Generator] = []
        self._snapshots = Shelf(snapshot_bytes)
        self._at_start: tuple[list[Any], list[Any]] | None = None  # statistics and generators before the first step
        self._epoch_start: list[Any] = []
        self._parked: tuple[list[Any], list[Any], list[Any]] | None = None
        self._best: tuple[float, int, list[Any]] | None = None  # loss, after how many steps, weights and statistics
        self._ending = False  # the best weights are to be put back
        self._again: Any = None  # a batch whose step was broken off by an error
        self._environment: dict[str, Any] = {}
        self._requests: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()  # held while a batch is worked on
        self._asked = ""  # "pause" or "stop"
        self._batches: Iterator[Any] | None = None
        self._length: int | None = None
        self._place = 0  # batches taken of this epoch
        self._seconds = 0.0
        self._last: Any = None  # the last batch, for metrics without validation data
        self._moves = False
        self._driver: Any = None  # who waits for it in place of `wait` and `await`
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
            else:
                self._shelf = {f"{o.name} {i}": o for i, o in enumerate(self._opts) if isinstance(o, Optimiser)}
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
    def rate(self) -> float:
        """Steps a second over the last five seconds of training; 0 before the first step."""
        seconds = self._record.seconds
        if not seconds:
            return 0.0
        first = bisect_left(seconds, seconds[-1] - 5.0)
        before = seconds[first - 1] if first else 0.0
        return (len(seconds) - first) / max(seconds[-1] - before, 1e-9)

    @property
    def last_check(self) -> dict[str, float]:
        """Validation loss and metrics at the end of the last epoch that was done; empty without."""
        return dict(self._record.checks[-1][1]) if self._record.checks else {}

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
        return self._trained or list(dict.fromkeys(p for o in self._opts if isinstance(o, Optimiser) for p in o.params))

    def __repr__(self) -> str:
        name = f"{self.name!r}, " if self.name else ""
        epoch = f"epoch {min(self.epoch, self.epochs)}/{self.epochs}"
        return f"Run({name}{self.opt_name}, {self.state}, {epoch}, {self.steps:,} steps)"

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
            if self.log:
                self.log.write(event=name, step=self.steps, old=old, new=new)

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
        """At the first batch's loss: what is trained is what it depends on, unless the optimiser says so."""
        found = list(leaves(l))
        if not found:
            raise TypeError("the loss reaches no parameter")
        trained = self.params or found
        self._own(trained)
        self._trained = trained
        if self._wish is not None:
            cls, given = self._wish
            clear([], l)
            self.opt = cls(found, **given)
            self._opts.append(self.opt)
            self._shelf[cls.__name__] = self.opt
            self._seen = self.opt.values
            self._wish = None
            if self._strict:
                self._known = found
        assert self._at_start is not None
        statistics, generators = self._at_start
        weights = copies(trained, [])[0]
        self._snapshots.put(Snapshot(0, weights, statistics, generators, self._opt_states(), self._opt_key(), -1, []))

    def _begin(self) -> None:
        """Before the first step."""
        if self.seed is not None:
            random.seed(self.seed)
        clear(self._opts)
        self._find_roots()
        self._at_start = copies([], self._statistics)[1], generator_states(self._generators)
        self._environment = environment()

    def _find_roots(self) -> None:
        """What changes in training beside the parameters: running statistics and generators."""
        roots = [self.loss if self.model is None else self.model]
        if not isinstance(self.data, (list, tuple)):
            roots.append(self.data)
        found = state(*roots)
        self._statistics = [x for x in found if isinstance(x, np.ndarray)]
        self._generators = [x for x in found if isinstance(x, np.random.Generator)]
        if all(g is not random.generator() for g in self._generators):
            self._generators.append(random.generator())

    def _next_batch(self) -> Any:
        """The next batch; `_END` where the epoch has ended."""
        if self._again is not None:
            d, self._again = self._again[0], None
            return d
        if self._batches is None:
            self._epoch_start = generator_states(self._generators)
            self._open()
        assert self._batches is not None
        return next(self._batches, _END)

    def _open(self) -> None:
        """Begin to go through the data."""
        source: Any = self.data() if callable(self.data) else self.data
        self._length = len(source) if hasattr(source, "__len__") else None
        self._batches = iter(source)
        self._place = 0

    def _end_epoch(self, old: Record | None = None) -> None:
        """Validate, and turn to the next epoch; with an old record what it says is taken over."""
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
        self._place = 0
        if old is not None:
            checks = dict(old.checks).get(self.steps, {})
        else:
            functions = {**({} if self.valid is None else {"valid": self.loss}), **self.metrics}
            checks = validate(functions, self.valid, self._last) if functions else {}
        if checks:
            record.checks.append((self.steps, checks))
        first = record.epochs[-1]
        record.epochs.append(self.steps)
        if old is None:
            if self.log:
                self.log.write(epoch=self.epoch - 1, step=self.steps, seconds=self._seconds, **checks)
            if self.until is not None or self.patience is not None:
                self._judge(checks.get("valid", float(np.mean(record.loss[first:]))))
        if self.finished:
            self.state = "done"

    def _judge(self, loss: float) -> None:
        """Keep the best weights, and see whether it is enough."""
        if self._best is None or loss < self._best[0]:
            self._best = loss, self.steps, [*copies(self._trained, self._statistics)]
        starts = self._record.epochs
        since = len(starts) - 1 - starts.index(self._best[1]) if self._best[1] in starts else 0
        enough = self.until is not None and bool(self.until())
        if enough or (self.patience is not None and since >= self.patience):
            self._asked = "stop"
            self.state = "stopped"
        self._ending = self._asked == "stop" or self.finished

    def _put_back(self) -> None:
        """The weights of the best epoch, at the end of a run that looks for them."""
        self._ending = False
        assert self._best is not None
        weights, statistics = self._best[2]
        for place, value in [(p.value, v) for p, v in weights] + statistics:
            place[...] = value

    def _one(self) -> float | None:
        """One step; None where the data has ended, and with it the run."""
        with self._lock:
            return self._step()

    def _step(self, old: Record | None = None) -> float | None:
        if self._requests:
            self._serve()
        self._notice()
        record = self._record
        if self._at_start is None:
            self._begin()
        start = time.perf_counter()
        d = self._next_batch()
        while d is _END:
            self._end_epoch(old)
            if self._ending:
                self._put_back()
            if self.finished or self.state == "stopped":
                return None
            d = self._next_batch()
        step = self.steps + 1
        look = self._look if self._snapshots.start is None else None
        try:
            value = take_step(self.loss, d, self._opts, step, known=self._known, look=look)
        except NotFinite as error:
            self._place += 1
            record.loss.append(error.loss)
            record.refused.append(step)
            self._tick(start)
            error.name = self._name_of(error.parameter)
            raise
        except BaseException:
            self._again = (d,)
            raise
        self._place += 1
        record.loss.append(value)
        if isinstance(self.opt, Optimiser) and self.opt._schedules:
            self._seen = self.opt.values
        self._last = d
        if self._place == self._length:
            self._end_epoch(old)
        self._tick(start)
        if step % self._snapshots.every == 0:
            self._snapshots.put(self._snapshot())
        if self._ending:
            self._put_back()
        return value

    def _tick(self, start: float) -> None:
        self._seconds += time.perf_counter() - start
        self._record.seconds.append(self._seconds)
        if self.log:
            self.log.write(step=self.steps, loss=self.last_loss, seconds=self._seconds)

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
        before = self.state
        with self._moving():
            for _ in range(n):
                if self.finished:
                    break
                taken = self._one()
                value = value if taken is None else taken
                if self.state == "stopped":
                    break
        if self.state == "running" and before != "running":
            self.state = "paused"
        return value

    @contextmanager
    def _moving(self) -> Iterator[None]:
        """Around whatever takes steps: the weights are this run's for the time."""
        if self._moves:
            raise RuntimeError("this run is being driven already")
        self._own(self.params)
        self._moves = True
        if not self.finished:
            self.state = "running"
        try:
            yield
        except KeyboardInterrupt:
            self.state = "paused"
            raise
        except BaseException:
            self.state = "failed"
            raise
        finally:
            self._moves = False

    def _own(self, params: list[Param]) -> None:
        """Weights belong to one active run: another one over them is parked, and this one gets its own back."""
        others = {id(r): r for p in params if p.owner is not None and (r := p.owner()) is not None and r is not self}
        for other in others.values():
            if other.state == "running":
                raise RuntimeError(
                    f"these weights are being trained by {other!r}: two runs cannot be active over shared parameters. "
                    "Pause or stop that one first"
                )
        for other in others.values():
            other._park()
        if self._parked is not None:
            for p, value in self._parked[0]:
                p.value[...] = value
            for live, value in self._parked[1]:
                live[...] = value
            restore_generators(self._parked[2])
            self._parked = None
        for p in params:
            p.owner = weakref.ref(self)

    def _park(self) -> None:
        if self._parked is None:
            self._parked = (*copies(self._trained, self._statistics), generator_states(self._generators))

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
                while not self.finished and not self._asked:
                    value = self._one()
                    if value is not None:
                        for f in callbacks:
                            f(value)
                    if interrupts.pending:
                        interrupts.check()
            except Stop:
                self._asked = "stop"
        self._rest()

    def advance(self, seconds: float) -> None:
        """Go on for about so long: for a driver that shares its thread.

        The state stays "running" but after `pause`, `stop` or the end, which end it early.
        """
        if self.state != "running":  # between two calls it may have been asked to pause
            self._asked = ""
        with self._moving():
            until = time.perf_counter() + seconds
            while not self.finished and not self._asked and time.perf_counter() < until:
                self._one()
        if self.finished or self._asked:
            self._rest()

    def wait(self) -> None:
        """Train to the end in the calling cell, taking over from whatever drives the run."""
        if self._driver is not None:
            self._driver.wait()
        else:
            self.train()

    def __await__(self) -> Generator[Any, None, None]:
        """Train to the end, with the event loop free for others."""
        return (self._alone() if self._driver is None else self._driver.join()).__await__()

    async def _alone(self) -> None:
        while not self.finished:
            self.advance(TURN)
            if self.state != "running":
                break
            await asyncio.sleep(0)

    def _rest(self) -> None:
        if self.finished:
            self.state = "done"
        else:
            self.state = "stopped" if self._asked == "stop" else "paused"

    def _name_of(self, p: Param | None) -> str | None:
        return None if p is None else self._names().get(id(p))

    # -- going back ------------------------------------------------------------------------------------------

    def _opt_states(self) -> dict[str, Any]:
        return {key: (o.state_dict(), o.schedules) for key, o in self._shelf.items()}

    def _opt_key(self) -> str:
        return self.opt.name if isinstance(self.opt, Optimiser) else ""

    def _snapshot(self) -> Snapshot:
        weights, statistics = copies(self._trained, self._statistics)
        return Snapshot(
            self.steps,
            weights,
            statistics,
            generator_states(self._generators),
            self._opt_states(),
            self._opt_key(),
            -1 if self._batches is None else self._place,
            self._epoch_start,
        )

    def _restore(self, s: Snapshot) -> None:
        """Put all back as it was at a snapshot, but for the record."""
        self._again = None
        self._batches = None
        self._place = 0
        if s.place >= 0:
            restore_generators(s.epoch_start)
            self._go_to(s.place)
        self._epoch_start = s.epoch_start
        s.restore_arrays()
        for key in list(self._shelf):
            if key not in s.opts:
                del self._shelf[key]
        for key, (kept, schedules) in s.opts.items():
            if key not in self._shelf:
                self._shelf[key] = OPTIMISERS[kept["name"]](self._trained)
            self._shelf[key].load_state_dict(kept)
            self._shelf[key]._schedules = dict(schedules)
        if s.opt:
            self.opt = self._shelf[s.opt]
            self._opts = [self.opt]
            self._seen = self.opt.values
        clear(self._opts)
        restore_generators(s.generators)

    def _go_to(self, place: int) -> None:
        """Begin the epoch anew, and go on to a place in it."""
        self._open()
        for _ in range(place):
            if self._next_batch() is _END:
                raise ValueError(f"the data has come to an end before batch {place}, which the run has been at")
        self._place = place

    def _again_from(self, s: Snapshot, record: Record, until: int) -> None:
        """From a snapshot, compute again what the record says, and compare."""
        self._restore(s)
        self._record = record.copy(s.step)
        self._seconds = self._record.seconds[-1] if s.step else 0.0
        for step in range(s.step, until):
            self._redo(record, step)
            refused = step + 1 in record.refused
            try:
                self._step(record)
            except NotFinite:
                if not refused:
                    raise NotRepeated(step + 1, record.loss[step], self.last_loss) from None
            old, new = record.loss[step], self.last_loss
            if old != new and not (math.isnan(old) and math.isnan(new)):
                raise NotRepeated(step + 1, old, new)
            self._record.seconds[step] = record.seconds[step]
        self._seconds = self.seconds

    def _redo(self, record: Record, step: int) -> None:
        """The turns that were made after so many steps."""
        for event in record.events:
            if event.step == step:
                if event.name == "opt":
                    self._swap(OPTIMISERS[event.new], {})
                else:
                    self._turn({event.name: event.new})

    @contextmanager
    def _unless_it_fails(self) -> Iterator[Snapshot]:
        """Around what goes back: if it fails, all is as before."""
        if self._snapshots.start is None:
            raise ValueError("the run has not taken a step yet: there is nothing to go back to")
        if isinstance(self.data, Iterator):
            raise ValueError("the data is a generator, which cannot be gone through again: the run cannot be repeated")
        with self._lock:
            self._own(self._trained)
            before, record, seconds = self._snapshot(), self._record, self._seconds
            asked, log, until, patience = self._asked, self.log, self.until, self.patience
            self.log = None
            try:
                yield before
            except BaseException:
                self._record, self._seconds = record, seconds
                self._restore(before)
                raise
            finally:
                self._asked, self.log, self.until, self.patience = asked, log, until, patience

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
        if not isinstance(step, (int, np.integer)) or isinstance(step, bool) or not 0 <= step <= self.steps:
            raise ValueError(f"rewind({step!r}): the run has steps 0 … {self.steps}")
        with self._unless_it_fails():
            record = self._record
            self._again_from(self._snapshots.before(step), record, int(step))
            self._snapshots.cut(int(step))
            if self._best is not None and self._best[1] > step:
                self._best = None
        if self.state != "running":
            self.state = "paused"
        if self.log:
            self.log.write(rewind=int(step))

    def reset_weights(self) -> None:
        """Put back the weights and running statistics that the run started from, for another run to begin with.

        This run is parked with its own, which come back when it goes on.
        """
        start = self._snapshots.start
        if start is not None:
            self._own(self._trained)
            self._park()
            start.restore_arrays()

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
        with self._unless_it_fails() as before:
            record = self._record
            start = self._snapshots.start
            assert start is not None
            self._again_from(start, record, len(record.loss))
            self._redo(record, len(record.loss))
            if self._best is None:
                self._compare(before)
            else:
                for p, value in before.weights:  # the best weights were put back in the end
                    p.value[...] = value
            self._record = record

    def _compare(self, before: Snapshot) -> None:
        for p, value in before.weights:
            if p.value.tobytes() != value.tobytes():
                raise NotRepeated(self.steps, math.nan, math.nan)

    def branch(self, name: str, opt: str | type[Optimiser] | None = None, **hypers: Any) -> Run:
        """A second run from here, with other settings.  One of the two is active; the other one keeps its own state.

        Parameters
        ----------
        name : str
            The new run's name.
        opt : str or type, optional
            Another optimiser to go on with.
        **hypers : float or callable
            Dials to turn at once; `epochs` is taken as the new run's.

        Returns
        -------
        Run
            With this run's history so far.
        """
        if self._snapshots.start is None:
            raise ValueError("the run has not taken a step yet: there is nothing to branch from")
        if isinstance(self.data, Iterator):
            raise ValueError("the data is a generator, which cannot be gone through twice: the run cannot be branched")
        epochs = hypers.pop("epochs", self.epochs)
        with self._lock:
            self._own(self._trained)
            new = Run(
                self.loss,
                self.data,
                list(self._opts) if self.opt_class is None else type(self.opt)(self._trained),
                epochs=epochs,
                valid=self.valid,
                metrics=self.metrics,
                model=self.model,
                name=name,
                until=self.until,
                patience=self.patience,
            )
            new.parent = self
            new._strict, new._known, new._trained = self._strict, self._known, self._trained
            new._statistics, new._generators = self._statistics, self._generators
            new._at_start, new._environment = self._at_start, self._environment
            new._snapshots = self._snapshots.copy()
            new._length, new._last, new._best = self._length, self._last, self._best
            here = self._snapshot()
            new._record = self._record.copy(self.steps, here=True)
            new._seconds = self._seconds
            new._restore(here)
            new._parked = (here.weights, here.statistics, here.generators)
            new.state = "paused"
        if opt is not None:
            new.swap(opt, **hypers)
        elif hypers:
            new.set(**hypers)
        return new

    def recover(self, **hypers: Any) -> None:
        """After a loss or gradient that was not finite: go on from the last good state, more carefully.

        Parameters
        ----------
        **hypers : float
            Dials to turn; default: a tenth of η.

        Raises
        ------
        ValueError
            If the last step was not refused.
        """
        refused = self._record.refused
        if not refused or refused[-1] != self.steps:
            raise ValueError("there is nothing to recover from: the last step went well")
        if not hypers and "η" in self.values:
            hypers = {"η": self.values["η"] / 10}
        self.set(**hypers)
        self.state = "paused"

    def snapshot(self) -> dict[str, np.ndarray]:
        """The weights as they are between two steps, never in the middle of one; from any thread.

        Returns
        -------
        dict
            From the parameter's place in the model to a copy of its value.
        """
        with self._lock:
            names = self._names()
            return {names.get(id(p), str(i)): p.value.copy() for i, p in enumerate(self.params)}

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
        save(self, path)

    @classmethod
    def load(
        cls,
        path: Any,
        loss: Callable[..., Any],
        data: Any,
        params: Iterable[Param],
        schedules: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Run:
        """The run that `save` wrote.  All is checked before a single weight is assigned.

        Parameters
        ----------
        path : path
        loss, data
            As the run had them: code is not in the file.
        params : iterable of Param
            What it trains, of the same shapes and dtypes, in the same order.
        schedules : dict, optional
            Schedules that are functions of one's own, by hyper-parameter.
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
        """
        return load(cls, path, loss, data, list(params), schedules, options)

    def _take_up(
        self,
        record: Record,
        params: list[Param],
        start: Snapshot,
        now: Snapshot,
        *,
        environment: dict[str, Any],
        state: str,
    ) -> None:
        """Become a run that was saved."""
        self._own(params)
        self._wish = None
        self._trained = params
        self._record = record
        self._seconds = self.seconds
        self._environment = environment
        self._at_start = start.statistics, start.generators
        self._snapshots.put(start)
        self._restore(now)
        self._known = params if self._strict else None
        self.state = state

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
        return as_code(self, module, path)

    def _names(self) -> dict[int, str]:
        return {id(p): path for path, p in named_params(self.loss if self.model is None else self.model)}


_END = object()


def _label(opt: Any) -> str:
    return getattr(opt, "__name__", None) or type(opt).__name__

"""Races: optimisers side by side over the same parameters.

Contestants are runs that take turns (`turns`).  One thread at a time drives a race; any thread asks for `pause` and
`stop`, and turns the dials of a contestant.
"""

from __future__ import annotations

import copy
import inspect
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from operator import index
from typing import Any

from numpy.typing import ArrayLike

from fluxmagic import generators
from fluxmagic.layers import named_params
from fluxmagic.lazy import LazyMethod
from fluxmagic.optimise.interrupts import InterruptGuard, is_interrupt
from fluxmagic.optimise.optimiser import as_params
from fluxmagic.race.contestants import Contestant, distinct_keys, find_key, read_contestants
from fluxmagic.race.turns import TurnTaking
from fluxmagic.runs import Run
from fluxmagic.runs.cursor import Data, DataCursor
from fluxmagic.runs.driver import Joinable
from fluxmagic.runs.optimisers import OptimiserSet
from fluxmagic.runs.ownership import acquire
from fluxmagic.runs.record import Setting
from fluxmagic.runs.state import TrainingState
from fluxmagic.tracker import Param

__all__ = ["Race"]

LARGE_BYTES = 1_000_000_000  # of parked state: said before the race begins
SNAPSHOT_BYTES = 64_000_000  # of all contestants

Option = Any
"""An option of `Run`."""


class Race(Joinable):
    """Train the same parameters by several optimisers at once.

    All begin with the same weights, running statistics and generators, and get the same batches.  Each ends in the bits
    of the same run alone.  Between the steps of a race the parameters have their values from before it.

    Parameters
    ----------
    loss : callable
        Of a batch, to a scalar.
    data : iterable, or function without arguments, or None
        Gives the batches of an epoch, as for `Run`.
    params : list of Param or None
        What is trained; None for what the first batch's loss depends on.
    contestants : list
        Names or classes of optimisers, or pairs of one and a dict of its hyper-parameters.
    seed : int, optional
        Of the order of the data and of dropout, the same for all.  Default: drawn from the default generator, which is
        left as it is.
    name : str, optional
    **options : optional
        As of a `Run`: epochs or steps, valid, metrics, model, until, patience, strict, turns, capture.  They hold for
        each; `until` and `patience` end one contestant alone.

    Attributes
    ----------
    runs : dict of Run
        By key: the optimiser, and the dials that differ from those of others of its class.  `race[key]` takes a part of
        a key too, `race[0]` is the first contestant.
    state : str
        "ready", "running", "paused", "stopped", "done" or "failed".

    Raises
    ------
    TypeError, ValueError
        If a contestant or an option is wrong, two contestants are alike, or the data can be gone through only once.

    Warns
    -----
    RuntimeWarning
        If the weights and states of all contestants take more than 1 GB.

    Examples
    --------
    >>> w = param([-1.2, 1.0])
    >>> contestants = [("SGD", dict(η=0.001)), ("Momentum", dict(η=0.0005)), ("ADAM", dict(η=0.1))]
    >>> race = Race(lambda: landscapes.rosenbrock(w), None, [w], contestants, steps=300)
    >>> race.train()
    >>> race
    Race(SGD, Momentum, ADAM; done, 300/300 steps)
    >>> w.data
    array([-1.2,  1. ])
    >>> race["ADAM"].take()
    >>> f"{landscapes.rosenbrock(w):.2f}"
    '0.19'
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        data: Data,
        params: Iterable[Param] | None,
        contestants: Iterable[object],
        *,
        seed: int | None = None,
        name: str | None = None,
        **options: Option,
    ) -> None:
        if isinstance(data, Iterator):
            raise TypeError(
                f"the data is a {type(data).__name__}, which can be gone through once, and every contestant does: pass "
                "a list, batches(...), or a function that makes it"
            )
        unknown = options.keys() - (inspect.signature(Run).parameters.keys() - {"opt", "hypers", "dials", "log"})
        if unknown:
            raise TypeError(
                f'a race has no {min(unknown)}; a dial goes with its contestant, as in ("SGD", dict(η=0.1))'
            )
        entered = read_contestants(contestants)
        trained = None if params is None else as_params(params, "a race")
        model = options.get("model")
        known = [p for _, p in named_params(loss if model is None else model)] if trained is None else trained
        _warn_if_large(known, entered)
        if seed is None:  # as a run draws it
            seed = int(copy.deepcopy(generators.as_generator()).integers(1 << 63))
        options = {"snapshot_bytes": SNAPSHOT_BYTES // len(entered), "strict": trained is None, **options}
        self.runs: dict[str, Run] = {}
        for key, (cls, hypers) in zip(distinct_keys(entered), entered):
            opt, dials = (cls, hypers) if trained is None else (cls(trained, **hypers), {})
            self.runs[key] = Run(loss, data, opt, seed=seed, name=key, hypers=dials, **options)
        self.name, self.seed, self.state = name, seed, "ready"
        self.training = TrainingState(OptimiserSet(), DataCursor(None))  # the user's values
        self._driving = threading.Lock()
        self._halt = ""
        self._turns = TurnTaking(self, self.runs.values(), known)

    # -- what can be read ----------------------------------------------------------------------------------

    def __getitem__(self, key: str | int) -> Run:
        """Give a contestant by its number, its key, or a part of its key that no other one has."""
        return self.runs[find_key(key, self.runs)] if isinstance(key, str) else list(self.runs.values())[index(key)]

    def __contains__(self, x: object) -> bool:
        """Tell whether `race[x]` gives a contestant, or x is one."""
        with suppress(LookupError):
            x = self[x] if isinstance(x, (str, int)) else x
        return x in self.runs.values()

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs.values())

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def in_use(self) -> bool:
        """Whether the race trains at this moment, and another run cannot have the parameters."""
        return self.state == "running" and not self._driving.locked()

    @property
    def waiting(self) -> dict[str, str]:
        """The contestants that take no more steps, by key, and why: "done", "diverged" or "ended"."""
        return {key: reason for key, run in self.runs.items() if (reason := _why_waiting(run))}

    @property
    def finished(self) -> bool:
        """Whether no contestant has a step to take."""
        return len(self.waiting) == len(self)

    @property
    def steps(self) -> int:
        """Steps of the contestant that is ahead."""
        return max(run.steps for run in self)

    @property
    def total_steps(self) -> int | None:
        """The steps of the whole race, as far as known."""
        return self[0].total_steps

    @property
    def rate(self) -> float:
        """Steps of each contestant a second of training; 0 before the first."""
        seconds = [1 / run.rate for run in self if run.rate]
        return 1 / sum(seconds) if seconds else 0.0

    @property
    def params(self) -> list[Param]:
        """What is trained; before the first batch what the loss refers to, if none were given."""
        return self._turns.params

    _ipython_display_ = LazyMethod("fluxmagic.jupyter.driving.views", "display_result")

    def __repr__(self) -> str:
        total = f"/{self.total_steps:,}" if self.total_steps else ""
        return f"Race({', '.join(self.runs)}; {self.state}, {self.steps:,}{total} steps)"

    # -- requests, from any thread -------------------------------------------------------------------------

    def pause(self) -> None:
        """Pause when each contestant has had its turn; `train` goes on from there."""
        self._ask("pause")

    def stop(self) -> None:
        """End when each contestant has had its turn.  With `until` or `patience` their best weights are put back."""
        self._ask("stop")

    def _ask(self, halt: str) -> None:
        if self.state in ("ready", "paused") and not self._driving.locked():
            with self._driven():
                self._halt = halt
                self._finish()
        else:
            self._halt = halt

    # -- steps ---------------------------------------------------------------------------------------------

    def step(self, n: int = 1) -> None:
        """Take n steps with each contestant, or fewer: to its end, `pause`, `stop` or an interrupt.

        A contestant whose loss is not finite waits; the others go on.

        Raises
        ------
        RuntimeError
            If the race, or another run, trains these parameters already; or if the loss or the data draws from a
            generator that is not the contestant's own.
        """
        with self._driven():
            self._advance(goal=self.steps + index(n))
            self._finish()

    def train(self) -> None:
        """Train to the end, `pause`, `stop` or an interrupt; errors are those of `step`."""
        with self._driven():
            self._advance()
            self._finish()

    def advance(self, seconds: float, steps: int | None = None) -> None:
        """Train for about so long, one turn at least and `steps` at most: for a driver that shares its thread.

        The state stays "running", unless the race ends, pauses or stops.
        """
        with self._driven(ends_loop=False):
            goal = math.inf if steps is None else self.steps + steps
            self._advance(goal, time.perf_counter() + seconds)
            if self._halt or self.finished:
                self._finish()

    def restart(self, start: ArrayLike | None = None) -> None:
        """Go back to the start, or to other numbers, with the present dials; see `Run.restart`."""
        state = self.state
        with self._driven():
            if start is not None and self.steps == 0:
                self._advance(goal=1)  # they cannot go back before they have begun
            for run in self:
                if run.steps:
                    run.restart(start)
            self.state = state if state == "running" else "paused"

    def recover(self, key: str | int, **hypers: Setting) -> None:
        """Let a contestant that diverged go on, by default with a tenth of its η; see `Run.recover`."""
        state, run = self.state, self[key]
        with self._driven():
            run.recover(**hypers)
            self.state = state if state == "running" else "paused"

    def extend(self) -> None:
        """Let the contestants go on for as many epochs, or steps, again."""
        for run in self:
            run.extend()

    def keep_best(self) -> None:
        """Put the best epoch's weights back in each contestant, as the end of a run does; see `Run.keep_best`."""
        with self._driven():
            for run in self:
                run.keep_best()
            self.state = self._state_before

    def take(self) -> None:
        """Give the parameters their values from before the race again, after `race[key].take()`."""
        if self.state == "running":
            raise RuntimeError(f"{self!r} is being trained: pause it first")
        acquire(self, self.training.params)

    @contextmanager
    def _driven(self, ends_loop: bool = True) -> Iterator[None]:
        """Let contestants have the parameters within it."""
        with InterruptGuard(ends_loop) as guard, guard.shield():
            if not self._driving.acquire(blocking=False):
                raise RuntimeError("this race is being driven already")
            try:
                self._guard = guard
                if self.state != "running":
                    self._state_before, self._halt = self.state, ""  # a halt from before is over
                self._turns.begin(first=self.state != "running")
                yield
                self._turns.check_noise()
            except BaseException as error:
                self.state = "paused" if is_interrupt(error) else "failed"
                if is_interrupt(error):
                    for run in self:
                        run.keep_best()
                raise
            finally:
                self._turns.end(last=self.state != "running")
                self._driving.release()

    def _advance(self, goal: float = math.inf, until: float = math.inf) -> None:
        """Let the contestants take turns: up to that step, the end, a halt, an interrupt or that time."""
        self.state = "running"
        while not self._halt and (active := [run for run in self if not _why_waiting(run)]):
            least = min(run.steps for run in active)
            if least >= goal:
                return
            end = int(min(least + self._turns.slice, goal))
            for run in active:
                if end > run.steps and not self._guard.presses:
                    self._turns.take(run, end)
            pressed = self._guard.presses
            self._guard.check()
            if pressed or time.perf_counter() >= until:
                return

    def _finish(self) -> None:
        """Set the state when a driver ends; put the best values back if the race has ended."""
        self.state = "done" if self.finished else "stopped" if self._halt == "stop" else "paused"
        self._halt = ""
        if self.state != "paused":
            for run in self:
                run.keep_best()


def _why_waiting(run: Run) -> str:
    if run.state == "failed" and run.record.rejected[-1:] == [run.steps]:
        return "diverged"
    return "done" if run.finished else "ended" if run.state == "stopped" else ""


def _warn_if_large(params: list[Param], contestants: list[Contestant]) -> None:
    weights = sum(p.value.nbytes for p in params)
    total = weights * (1 + sum(1 + len(cls.state) for cls, _ in contestants))
    if total > LARGE_BYTES:
        warnings.warn(
            f"the weights and optimiser states of {len(contestants)} contestants take {total / 1e9:.1f} GB: the start "
            "once, and weights and state for each",
            RuntimeWarning,
            stacklevel=3,
        )

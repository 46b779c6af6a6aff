"""A sweep: one model trained many times, with other dials, optimisers or seeds, in this process or elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from fluxmagic import generators
from fluxmagic.optimise.inputs import as_callbacks
from fluxmagic.optimise.interrupts import InterruptGuard, is_interrupt
from fluxmagic.optimise.optimiser import as_params
from fluxmagic.runs import Run
from fluxmagic.runs.archive import AnyPath
from fluxmagic.runs.cursor import Data
from fluxmagic.runs.driver import Joinable
from fluxmagic.runs.problem import as_metrics, positive, refuse_given
from fluxmagic.sweep import saving
from fluxmagic.sweep.grid import LENGTHS, MAX_TRIALS, Grid
from fluxmagic.sweep.places import On, check_place, place_of
from fluxmagic.sweep.scheduler import SLICE_SECONDS, Scheduler
from fluxmagic.sweep.setup import Setup, Spec, prepare
from fluxmagic.sweep.trial import Trial, drop_weights, halved, rung
from fluxmagic.sweep.views import SweepViews
from fluxmagic.tracker import Param

__all__ = ["Sweep"]

Option = Any
"""As `Run` takes it."""
RUN_OPTIONS = {"until", "patience", "capture", "turns"}
WAIT_SECONDS = 0.1  # for a report, between looks at what was asked for


class Sweep(SweepViews, Joinable):
    """Train a model at each point of a grid, from the same start; the model stays as it is.

    Parameters
    ----------
    loss, data, valid, metrics, model
        As for `Run`.
    params : list of Param, optional
        What is trained; default: the parameters of the first batch's loss.
    grid : dict
        From "opt", "epochs", "steps" or a hyper-parameter to a list of values, of which every combination is tried, to
        one value, or to `loguniform(a, b)` or `uniform(a, b)`, from which `samples` points are drawn.
    epochs, steps : int, optional
        The length of each trial, as for `Run`.
    seeds : int, optional
        Repeat each point with that many seeds, from `seed` on: layers draw their weights anew by `reset`, and each run
        its order of the data and dropout.  Without it every trial begins with the weights as they are.
    seed : int, optional
        Of the draws and of each trial's run.  Default: 0 with `seeds`, otherwise one from the default generator.
    samples : int, optional
        The number of points to draw, where the grid has a distribution.
    max, min : str, optional
        A metric that ranks the points; default: the least validation loss, without `valid` the least mean loss over
        the rows of the last epoch.  Points are ranked by the median over their seeds.
    halving : int, optional
        After 1/halving² and 1/halving of its steps keep ⌈n/halving⌉ of n points.
    on : int, Executor or Client, optional
        That many processes of this machine (`loky`), a `concurrent.futures.Executor`, or a Dask client; default: trials
        take turns in this process.
    timeout : float, optional
        Seconds for each trial, from which on it has failed.
    name : str, optional
    budget : int
        Bytes for the weights of trials; beyond it those of the best are kept, and others computed again on demand.
    **options
        Of `Run`: until, patience, capture, turns.

    Attributes
    ----------
    trials : list of Trial
        State, objective and so on; `sweep[i]` is the `Run`.
    state : str
        "ready", "running", "paused", "stopped", "done" or "failed".
    kept : list of Param
        Parameters that no layer draws anew, with `seeds`.
    around : Run or None
        The run whose dials it maps.
    level : int
        Rungs of `halving` that were passed.
    shipped : int
        Bytes of functions, model and arrays that workers were sent, when the sweep has left them.

    Examples
    --------
    >>> W = param(1.0)
    >>> sweep = Sweep(lambda x: (W - x) ** 2, [0.0] * 5, [W], {"η": [0.01, 0.1, 0.4]})
    >>> sweep.train()
    >>> sweep
    Sweep(3 trials, done: 3 done; best: trial 2, SGD, η 0.4, loss 0.2083)
    >>> sweep.best.take()
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        data: Data,
        params: Iterable[Param] | None = None,
        grid: Mapping[str, Any] | None = None,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        seeds: int | None = None,
        seed: int | None = None,
        samples: int | None = None,
        valid: Data = None,
        metrics: Mapping[str, Callable[..., Any]] | None = None,
        max: str | None = None,
        min: str | None = None,
        halving: int | None = None,
        on: On = None,
        timeout: float | None = None,
        model: object = None,
        name: str | None = None,
        budget: int = 1_000_000_000,
        **options: Option,
    ) -> None:
        _check_names(grid, options)
        metrics = as_metrics(metrics)
        objective = _objective(max, min, {*metrics, *(("valid",) if valid is not None else ()), "loss"})
        trained = [] if params is None else as_params(params, "a sweep")
        setup = Setup(loss, data, trained, valid, metrics, model, objective, options)
        _ = setup.problem  # its checks
        if isinstance(data, Iterator):
            raise TypeError("the data is a generator, which one trial would exhaust: pass a list, or a function")
        if halving is not None and positive("halving", halving) < 2:
            raise ValueError("halving is 2 or more: each rung keeps one point in that many")
        if timeout is not None and not (isinstance(timeout, (int, float)) and timeout > 0):
            raise ValueError(f"timeout is a positive number of seconds, not {timeout!r}")
        if seed is not None and not (isinstance(seed, (int, np.integer)) and seed >= 0):
            raise ValueError(f"seed is one integer, 0 or more, not {seed!r}; seeds=N takes the N seeds from it on")
        check_place(on)
        seeds = None if seeds is None else positive("seeds", seeds)
        n = seeds or 1
        if seed is None:
            seed = 0 if seeds is not None else _next_seed()
        grid, lengths = dict(grid or {}), {k: v for k, v in (("epochs", epochs), ("steps", steps)) if v is not None}
        if len(lengths) + len(grid.keys() & set(LENGTHS)) > 1:
            raise ValueError("the length of a trial is given twice: give epochs or steps, once")
        grid.update(lengths)
        points = Grid(grid, trained, samples, np.random.default_rng(seed), MAX_TRIALS // n)
        trials = [Trial(s) for s in _specs(points, range(seed, seed + n), data is None)]
        super().__init__(setup, points, trials, 1.0 if max is None else -1.0, seeds)
        self.on, self.timeout, self.budget, self.halving = on, timeout, budget, halving
        self.seed, self.samples, self.name = seed, samples, name
        self.around: Run | None = None
        self.shipped = 0
        self.kept: list[Param] = []
        self._held = 0  # bytes of weights of trials that have ended
        self._halt = ""
        self._scheduler: Scheduler | None = None  # while the sweep is in a place

    # -- training ------------------------------------------------------------------------------------------

    def train(self, *, cb: Option = None) -> None:
        """Train all trials to their ends, or to `pause`, `stop` or an interrupt; go on with what is not done.

        `cb`, a function or a list, is called several times a second; one that takes an argument gets the sweep.  A
        trial that fails or diverges does not end the sweep.
        """
        self._drive(callbacks=as_callbacks(cb))

    def step(self, n: int = 1) -> None:
        """Train until n more trials have ended, and pause."""
        self._drive(most=n)
        if self.state == "running":
            self._leave("paused")

    def advance(self, seconds: float, steps: int | None = None) -> None:
        """Train for about that many seconds, or until `steps` more trials have ended; the state stays "running"."""
        self._drive(until=time.perf_counter() + seconds, most=steps, ends_loop=False)

    def pause(self) -> None:
        """Pause after the slice in hand; from any thread.  What is on its way is dropped, and computed again."""
        self._ask("pause")

    def stop(self) -> None:
        """Stop after the slice in hand, from any thread: what is not done is cancelled.  `train` goes on with it."""
        self._ask("stop")

    def _ask(self, halt: str) -> None:
        if self.state == "running":
            self._halt = halt
        elif self.state in ("ready", "paused"):
            self._leave("paused" if halt == "pause" else "stopped")

    def keep_best(self) -> None:
        """End the sweep after an interrupt: what is not done is cancelled."""
        if self.state in ("running", "paused"):
            self._leave("stopped")

    def restart(self) -> None:
        """Begin again with all trials."""
        self._leave("paused")
        self.trials, self.starts = [Trial(t.spec) for t in self.trials], {}
        self.seconds, self.state, self.level, self._held = 0.0, "ready", 0, 0
        self._runs.clear()

    def extend(self) -> None:
        """Raise a RuntimeError: trials have ended."""
        raise RuntimeError("the trials of a sweep have ended: make a sweep with more epochs, or train sweep.best on")

    def _drive(
        self,
        *,
        until: float | None = None,
        most: int | None = None,
        callbacks: Iterable[Callable[..., Any]] = (),
        ends_loop: bool = True,
    ) -> None:
        began = time.perf_counter()
        self._begin()
        before = self.steps  # without those that were cancelled, and go on
        try:
            with InterruptGuard(ends_loop) as guard, guard.shield():
                while not self._halt and (scheduler := self._next()):
                    left = SLICE_SECONDS if until is None else max(until - time.perf_counter(), 0.0)
                    scheduler.work(min(left, WAIT_SECONDS), min(left, SLICE_SECONDS))
                    self._keep_within_budget(scheduler)
                    with guard.shield(False):
                        for f in callbacks:
                            f(self)
                    if guard.presses:
                        guard.check()
                        break
                    late = until is not None and time.perf_counter() >= until
                    if late or (most is not None and self.steps - before >= most):
                        break
        except BaseException as error:
            self._leave("stopped" if is_interrupt(error) else "failed")
            raise
        finally:
            self.seconds += time.perf_counter() - began
        if self._halt:
            self._leave("paused" if self._halt == "pause" else "stopped")
        elif all(t.ended for t in self.trials):
            self._leave("done")

    def _begin(self) -> None:
        if not self.starts:
            specs = [t.spec for t in self.trials]
            prepared = prepare(self.setup, specs, resets=self.seeds is not None)
            if self.halving and prepared.steps_per_epoch is None and any(s.steps is None for s in specs):
                raise ValueError("halving counts steps, and the data has no len: give steps in place of epochs")
            self.starts, self.kept, self.steps_per_epoch = prepared
        if self.state != "running":
            self._halt = ""
            for t in self.trials:
                if t.state == "cancelled":
                    t.state = "waiting"
            self.state = "running"
        if self._scheduler is None:
            place = place_of(self.on, self.setup, self.starts, [t.spec for t in self.trials])
            self._scheduler = Scheduler(place, [], self.timeout)

    def _next(self) -> Scheduler | None:
        """Give the scheduler, with the trials of the next rung where those of one are done; None at the end."""
        scheduler = self._scheduler
        assert scheduler is not None
        while scheduler.finished:
            live = [t for t in self.trials if not t.ended]
            if not live:
                return None
            targets = [(t, rung(t.spec, self.halving, self.level, self.steps_per_epoch)) for t in live]
            todo = [(t, until) for t, until in targets if until is None or t.step < until]
            scheduler.add(todo)
            if not todo:
                assert self.halving is not None
                compared = [t for t in self.trials if t.state != "stopped early"]
                scheduler.ended += halved(compared, self.halving, self.sign)
                self.level += 1
        return scheduler

    def _keep_within_budget(self, scheduler: Scheduler) -> None:
        """Drop the weights of the worst trials, where those of all do not fit."""
        ended, scheduler.ended = scheduler.ended, []
        self._held += sum(t.progress.nbytes for t in ended if t.progress is not None)
        if self._held > self.budget:  # not at every end
            self._held -= drop_weights(self.trials, self.sign, self._held - 0.9 * self.budget)

    def _leave(self, state: str) -> None:
        if self._scheduler is not None:
            self.shipped += self._scheduler.leave()
            self._scheduler = None
        if state == "stopped":
            for t in self.trials:
                t.end("cancelled")
        self.state = state

    # -- files ---------------------------------------------------------------------------------------------

    def save(self, path: AnyPath) -> None:
        """Write the sweep to a file of any suffix, in the format of runs: its grid, starts, and trials that have ended.

        What is there is replaced only when the new file is whole and on the disk.
        """
        if not self.starts:
            raise ValueError("the sweep has not begun: there is nothing to save")
        saving.save(path, self)

    @classmethod
    def load(
        cls,
        path: AnyPath,
        loss: Callable[..., Any],
        data: Data,
        params: Iterable[Param],
        schedules: Mapping[str, Any] | None = None,
        **options: Option,
    ) -> Sweep:
        """Read the sweep that `save` wrote; `train` goes on with what is not done.  The model stays as it is.

        Loss, data and parameters are as the sweep had them; `schedules` has the user's own schedules by
        hyper-parameter, `options` are those of `Sweep` that the file does not have: valid, metrics, model, until,
        patience, on, timeout.  What does not fit is an ArchiveError, a ValueError.
        """
        refuse_given(options, {"grid", "epochs", "steps", "max", "min", *saving.OPTIONS})
        params = list(params)
        with saving.reading(path, schedules, params) as file:
            sweep = cls(loss, data, params, file.grid(), **options, **file.options)
            sweep.starts = file.enter(sweep.trials, sweep.setup)
        sweep.steps_per_epoch, sweep.level = file.saved.steps_per_epoch, file.saved.level
        sweep.state = "done" if sweep.finished else "stopped"
        return sweep


def _check_names(grid: object, options: Mapping[str, Any]) -> None:
    unknown = sorted(options.keys() - RUN_OPTIONS)
    if unknown or not isinstance(grid or {}, Mapping):
        wrong = f"a sweep has no {unknown[0]}" if unknown else f"the grid is a dict, not a {type(grid).__name__}"
        raise TypeError(f'{wrong}; what is tried goes into the grid: {{"opt": "Momentum", "η": [0.01, 0.1]}}')


def _objective(max: str | None, min: str | None, known: set[str]) -> str:
    if max is not None and min is not None:
        raise ValueError("one metric ranks the points: give max or min")
    name = max or min or ("valid" if "valid" in known else "loss")
    if name not in known:
        option = "validation data" if name == "valid" else "it as a metric"
        raise ValueError(f"{name} ranks the points, and is none of {', '.join(sorted(known))}: give {option}")
    return name


def _next_seed() -> int:
    """Give the seed that a run would draw from the default generator, which stays as it is."""
    default = generators.as_generator()
    before = default.bit_generator.state
    try:
        return int(default.integers(1 << 63))
    finally:
        default.bit_generator.state = before


def _specs(grid: Grid, seeds: range, stepwise: bool) -> Iterator[Spec]:
    index = 0
    for number, point in enumerate(grid.points):
        hypers = {k: v for k, v in point.items() if k not in ("opt", *LENGTHS)}
        for seed in seeds:
            yield Spec(index, number, seed, point["opt"], hypers, point.get("epochs"), point.get("steps"))
            index += 1

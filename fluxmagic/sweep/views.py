"""What can be read of a sweep: its trials, their runs, the best one, the table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any, overload
from weakref import WeakValueDictionary

import numpy as np

from fluxmagic.lazy import LazyMethod
from fluxmagic.runs import Run
from fluxmagic.runs.archive import AnyPath
from fluxmagic.runs.environment import environment
from fluxmagic.runs.history import Columns
from fluxmagic.sweep.desk import limit_blas
from fluxmagic.sweep.grid import Grid
from fluxmagic.sweep.setup import Setup, Starts, borrowed
from fluxmagic.sweep.trial import ENDS, Trial, rank, resume
from fluxmagic.tracker import Param

__all__ = ["SweepViews"]


class Table(Columns):
    """One row for each trial: its point, seed, dials, state, objective, evaluation and length.

    Keys are `trial`, `point`, `seed`, `opt`, each swept dial (NaN where the optimiser does not have it, text for a
    schedule), `state`, `objective`, `valid` and the metrics where they are evaluated, `steps`, `seconds`, `error`.
    A metric that is named like another column is `error (metric)`.
    """

    title = "a sweep's table"

    def __init__(self, trials: Sequence[Trial], axes: Sequence[str]) -> None:
        self._trials, self.length = trials, len(trials)
        self._axes = [a for a in axes if a not in ("opt", "steps")]

    def __iter__(self) -> Iterator[str]:
        yield from ("trial", "point", "seed", "opt", *self._axes, "state", "objective")
        yield from dict.fromkeys(_column(k) for t in list(self._trials) for k in t.values)
        yield from ("steps", "seconds", "error")

    def __getitem__(self, key: str) -> np.ndarray:
        cells = super().__getitem__(key).tolist()
        if any(isinstance(c, str) for c in cells):
            cells = [c if isinstance(c, str) else f"{c:g}" for c in cells]
        return np.array(cells)

    def __repr__(self) -> str:
        return f"Table({self.length} trials: {', '.join(self)})"

    def rows(self, key: str, a: int, b: int) -> np.ndarray:
        return np.array([_cell(t, key) for t in self._trials[a:b]], object)


OWN = {"trial", "point", "seed", "opt", "epochs", "state", "objective", "steps", "seconds", "error"}


def _column(metric: str) -> str:
    return f"{metric} (metric)" if metric in OWN else metric


def _cell(trial: Trial, key: str) -> object:
    spec, error = trial.spec, trial.error
    own = {
        "trial": spec.index,
        "point": spec.point,
        "seed": spec.seed,
        "opt": spec.cls.__name__,
        "epochs": spec.epochs,
        "state": trial.state,
        "objective": trial.objective,
        "steps": trial.step,
        "seconds": trial.seconds,
        "error": "" if error is None else f"{type(error).__name__}: {error}",
    }
    value = {**spec.hypers, **{_column(k): v for k, v in trial.values.items()}, **own}.get(key, math.nan)
    return repr(value) if callable(value) else value


class TrialRun(Run):
    """A run of which the sweep kept record and final weights.

    Attributes
    ----------
    whole : bool
        Optimiser, place in the data and all else are there.
    """

    whole = True

    def complete(self) -> None:
        """Compute all steps again, once, and compare them with the record."""
        if self.whole:
            return
        state, self.whole = self.state, True
        threads = self.environment.get("BLAS threads")
        try:
            with ExitStack() as stack:
                if threads != environment()["BLAS threads"]:
                    with suppress(ImportError):
                        stack.enter_context(limit_blas(threads))
                self.rewind(self.steps)
        except BaseException:
            self.whole = False
            raise
        finally:
            self.state = state


class SweepViews:
    """Read-only views of the trials of a sweep."""

    halving: int | None
    samples: int | None
    seed: int

    def __init__(self, setup: Setup, grid: Grid, trials: list[Trial], sign: float, seeds: int | None) -> None:
        self.setup, self.grid, self.trials = setup, grid, trials
        self.sign = sign  # -1 if a large objective is good, otherwise 1
        self.seeds = seeds
        self.name: str | None = None
        self.state = "ready"
        self.seconds = 0.0
        self.starts: Starts = {}  # none before the sweep begins
        self.steps_per_epoch: int | None = None
        self.level = 0
        self._runs: WeakValueDictionary[int, TrialRun] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self.trials)

    @overload
    def __getitem__(self, i: int) -> Run: ...
    @overload
    def __getitem__(self, i: slice) -> list[Run]: ...
    def __getitem__(self, i: int | slice) -> Run | list[Run]:
        """Give the run of a trial, parked: history, events, final weights; `take` activates it; a list for a slice."""
        if isinstance(i, slice):
            return [self[j] for j in range(len(self))[i]]
        trial = self.trials[i]
        run = self._runs.get(trial.spec.index)
        if run is None or run.steps != trial.step:
            run = self._runs[trial.spec.index] = self._make_run(trial)
        return run

    def _make_run(self, trial: Trial) -> TrialRun:
        """Make the run of a trial, parked; the model stays as it is."""
        line, spec, setup = trial.progress, trial.spec, self.setup
        if line is None:
            reason = f": {trial.error}" if trial.error else ""
            raise LookupError(f"trial {spec.index} is {trial.state}, and has not taken a step{reason}")
        with borrowed(setup):
            run = setup.run(spec, self.starts[spec.seed], TrialRun)
            run.name = f"trial {spec.index}"
            resume(run, line, self.starts[spec.seed])
            run.whole = bool(line.now.optimisers)
            if not trial.has_weights:
                run.complete()
        return run

    def __iter__(self) -> Iterator[Run]:
        return (self[i] for i in range(len(self)))

    @property
    def best_trial(self) -> Trial:
        """The best trial that is done, of the best point that has one."""
        done = [t for t in self.trials if t.state == "done"]
        points = {t.spec.point for t in done}
        for _, point in rank(self.trials, self.sign):
            if point in points:
                return min((t for t in done if t.spec.point == point), key=lambda t: (t.score(self.sign), t.spec.index))
        raise LookupError(f"no trial is done: {self.summary}")

    @property
    def best(self) -> Run:
        """The run of the best trial."""
        return self[self.best_trial.spec.index]

    @property
    def ranking(self) -> list[tuple[float, int]]:
        """Median objective over its seeds and number of each point, best first."""
        return [(self.sign * score, point) for score, point in rank(self.trials, self.sign)]

    @property
    def table(self) -> Table:
        """A read-only mapping of columns, a row for each trial."""
        return Table(self.trials, list(self.grid.axes))

    @property
    def counts(self) -> dict[str, int]:
        """How many trials are in each state."""
        found = Counter(t.state for t in self.trials)
        return {s: found[s] for s in ("waiting", "running", *ENDS) if found[s]}

    @property
    def summary(self) -> str:
        """The counts in words."""
        return ", ".join(f"{n} {state}" for state, n in self.counts.items())

    def of_point(self, point: int) -> list[Trial]:
        """Give the trials of a point, one for each seed."""
        n = self.seeds or 1
        return self.trials[n * point : n * (point + 1)]

    @property
    def params(self) -> list[Param]:
        """What is trained."""
        return self.setup.params

    @property
    def steps(self) -> int:
        """Trials that have ended."""
        return sum(t.ended for t in self.trials)

    @property
    def total_steps(self) -> int:
        """Trials in all."""
        return len(self.trials)

    @property
    def finished(self) -> bool:
        """Whether all trials have ended, none of them cancelled."""
        return all(t.ended and t.state != "cancelled" for t in self.trials)

    @property
    def rate(self) -> float:
        """Trials a second."""
        return self.steps / self.seconds if self.seconds else 0.0

    def describe(self, trial: Trial) -> str:
        """Give the optimiser and the swept dials of a trial, and the seed if there are several."""
        values = self.point(trial)
        words = [values.pop("opt")]
        words += (f"{k} {v:g}" if isinstance(v, (int, float)) else f"{k} {v}" for k, v in values.items())
        return ", ".join(words + [f"seed {trial.spec.seed}"] * ((self.seeds or 1) > 1))

    def point(self, trial: Trial) -> dict[str, Any]:
        """Give the optimiser's name and the swept values of a trial."""
        found = self.grid.points[trial.spec.point]
        swept = {k: found[k] for k in self.grid.axes if k in found and k != "opt"}
        return {"opt": trial.spec.cls.__name__, **swept}

    _ipython_display_ = LazyMethod("fluxmagic.jupyter.driving.views", "display_result")

    def __repr__(self) -> str:
        name = f"{self.name!r}, " if self.name else ""
        text = f"{name}{len(self)} trials, {self.state}: {self.summary}"
        if any(t.state == "done" for t in self.trials):
            t = self.best_trial
            text += f"; best: trial {t.spec.index}, {self.describe(t)}, {self.setup.objective} {t.objective:.4g}"
        return f"Sweep({text})"

    def to_csv(self, path: AnyPath) -> None:
        """Write the table to a file; see `Table.to_csv`."""
        self.table.to_csv(path)

"""What can be read of a sweep: its trials, their runs, the best one, the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, overload
from weakref import WeakValueDictionary

from fluxmagic.lazy import LazyMethod
from fluxmagic.runs import Run
from fluxmagic.runs.archive import AnyPath
from fluxmagic.sweep.grid import Grid
from fluxmagic.sweep.setup import Setup, Starts
from fluxmagic.sweep.table import Table
from fluxmagic.sweep.trial import ENDS, Trial, rank
from fluxmagic.sweep.trial_run import TrialRun, make_run
from fluxmagic.tracker import Param

__all__ = ["SweepViews"]


class SweepViews:
    """Read-only views of the trials of a sweep."""

    name: str | None
    state: str
    seconds: float
    seeds: int | None
    seed: int
    samples: int | None
    sign: float
    grid: Grid
    setup: Setup
    starts: Starts
    trials: list[Trial]
    halving: int | None
    steps_per_epoch: int | None
    level: int
    _runs: WeakValueDictionary[int, TrialRun]

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
            run = make_run(trial, self.setup, self.starts)
            self._runs[trial.spec.index] = run
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
        dials = [f"{k} {v:g}" if isinstance(v, (int, float)) else f"{k} {v}" for k, v in self.point(trial).items()]
        return ", ".join([*dials, *([f"seed {trial.spec.seed}"] if (self.seeds or 1) > 1 else [])])

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
            found = self.describe(t).removeprefix("opt ")
            text += f"; best: trial {t.spec.index}, {found}, {self.setup.objective} {t.objective:.4g}"
        return f"Sweep({text})"

    def to_csv(self, path: AnyPath) -> None:
        """Write the table to a file; see `Table.to_csv`."""
        self.table.to_csv(path)

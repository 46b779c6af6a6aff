"""The trials of a sweep as a read-only mapping of columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from fluxmagic.runs.history import Columns
from fluxmagic.sweep.trial import Trial

__all__ = ["Table"]


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

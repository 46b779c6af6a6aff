"""The trials of a sweep as a read-only mapping of columns."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from fluxmagic.runs import archive
from fluxmagic.runs.archive import AnyPath
from fluxmagic.runs.columns import Columns
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
        self._trials = trials
        self._axes = [a for a in axes if a not in ("opt", "steps")]

    def __iter__(self) -> Iterator[str]:
        yield from ("trial", "point", "seed", "opt", *self._axes, "state", "objective")
        yield from dict.fromkeys(_column(k) for t in list(self._trials) for k in t.values)
        yield from ("steps", "seconds", "error")

    def __getitem__(self, key: str) -> np.ndarray:
        if key not in list(self):
            raise KeyError(key)
        cells = [_cell(t, key) for t in self._trials]
        if any(isinstance(c, str) for c in cells):
            cells = [c if isinstance(c, str) else f"{c:g}" for c in cells]
        return np.array(cells)

    def __repr__(self) -> str:
        return f"Table({len(self._trials)} trials: {', '.join(self)})"

    def to_csv(self, path: AnyPath) -> None:
        """Write all columns to a file: UTF-8, numbers in full, nothing for NaN; whole or not at all."""
        archive.write_atomically(path, self._write)

    def _write(self, file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        out = csv.writer(text, lineterminator="\n")
        keys = list(self)
        out.writerow(keys)
        for t in self._trials:
            cells = [_cell(t, k) for k in keys]
            out.writerow(["" if c != c else c for c in cells])
        text.flush()
        text.detach()


OWN = {"trial", "point", "seed", "opt", "epochs", "state", "objective", "steps", "seconds", "error"}


def _column(metric: str) -> str:
    return f"{metric} (metric)" if metric in OWN else metric


def _cell(trial: Trial, key: str) -> Any:  # noqa: ANN401 - a number or a text
    spec = trial.spec
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
        "error": "" if trial.error is None else f"{type(trial.error).__name__}: {trial.error}",
    }
    value = (
        own[key]
        if key in own
        else {**{_column(k): v for k, v in trial.values.items()}, **spec.hypers}.get(key, math.nan)
    )
    return repr(value) if callable(value) else value

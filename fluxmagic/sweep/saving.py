"""A sweep in a file: its grid, its starts, and the trials that have ended.  The format is that of runs; no pickle."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from fluxmagic.optimise import schedules as ready_made
from fluxmagic.runs import archive
from fluxmagic.runs.archive import AnyPath, ArchiveError
from fluxmagic.runs.checkpoint import load_generators, load_values, make_generator, save_values
from fluxmagic.runs.lines import Line
from fluxmagic.runs.saved_run import COLUMNS, SavedRecord, Setting, Settings, to_file
from fluxmagic.runs.schema import decode, encode, one_of, whole
from fluxmagic.runs.state import ModelState, Snapshot, Values
from fluxmagic.sweep.grid import LENGTHS, Grid, loguniform, uniform
from fluxmagic.sweep.setup import Setup, Starts
from fluxmagic.sweep.trial import ENDS, Trial
from fluxmagic.sweep.views import SweepViews
from fluxmagic.tracker import Param
from fluxmagic.version import __version__

__all__ = ["OPTIONS", "Loaded", "reading", "save"]

OPTIONS = ("samples", "seeds", "seed", "halving", "name")
"""Arguments of a sweep that a file holds, beside its grid, and what ranks the points."""
KEPT = ENDS[:-1]
"""States of trials that a file holds; the others begin again."""


@dataclass(frozen=True)
class Axis:
    """Values of a dial, or of "opt" or a length; or the ends of a distribution."""

    values: list[Setting | str]
    swept: bool
    distribution: Annotated[str, one_of("", "uniform", "loguniform")]


@dataclass(frozen=True)
class SavedTrial:
    """A trial that has ended, but for its arrays; without a record where it took no step."""

    index: int
    state: Annotated[str, one_of(*KEPT)]
    step: int
    objective: float
    values: dict[str, float]
    error: str | None
    seconds: float
    has_weights: bool
    record: SavedRecord | None
    status: str
    environment: dict[str, object]
    generators: list[dict[str, object]]


@dataclass(frozen=True)
class Saved:
    """A sweep but for its arrays."""

    fluxmagic: str
    name: str | None
    axes: dict[str, Axis]
    samples: int | None
    seeds: int | None
    seed: Annotated[int, whole(high=1 << 4096)]
    objective: str
    largest: bool
    halving: int | None
    level: int
    steps_per_epoch: int | None
    params: int
    buffers: int
    starts: list[tuple[Annotated[int, whole(high=1 << 4096)], list[dict[str, object]]]]
    trials: list[SavedTrial]


def _own(grid: Grid) -> dict[str, list[Callable[[int], float]]]:
    """Give the user's own schedules by hyper-parameter."""
    found: dict[str, list[Callable[[int], float]]] = {}
    for name, values in grid.values.items():
        if name != "opt" and not isinstance(values, uniform):
            own = [v for v in values if callable(v) and not ready_made.is_ready_made(v)]
            found.update({name: own} if own else {})
    return found


def save(path: AnyPath, sweep: SweepViews) -> None:
    """Write a sweep to a file, whole or not at all."""
    grid, setup, own = sweep.grid, sweep.setup, _own(sweep.grid)
    arrays: dict[str, np.ndarray] = {}
    for seed, start in sweep.starts.items():
        save_values(f"start/{seed}", start.values, arrays)
    saved = Saved(
        fluxmagic=__version__,
        name=sweep.name,
        axes={k: _axis(grid, k, own) for k in grid.values},
        samples=sweep.samples,
        seeds=sweep.seeds,
        seed=sweep.seed,
        objective=setup.objective,
        largest=sweep.sign < 0,
        halving=sweep.halving,
        level=sweep.level,
        steps_per_epoch=sweep.steps_per_epoch,
        params=len(setup.params),
        buffers=len(setup.buffers),
        starts=[(seed, start.generators) for seed, start in sweep.starts.items()],
        trials=[_save_trial(t, own, arrays) for t in sweep.trials if t.state in KEPT],
    )
    archive.write(path, "sweep", encode(saved), arrays)


def _axis(grid: Grid, name: str, own: Mapping[str, list[Callable[[int], float]]]) -> Axis:
    values = grid.values[name]
    if isinstance(values, uniform):
        return Axis([values.low, values.high], True, type(values).__name__)
    listed = [v.__name__ for v in values] if name == "opt" else [to_file(name, v, own) for v in values]
    return Axis(listed, name in grid.axes, "")


def _save_trial(t: Trial, own: Mapping[str, Any], arrays: dict[str, np.ndarray]) -> SavedTrial:
    line, i = t.progress, t.spec.index
    saved: tuple[Any, ...] = None, "failed", {}, []
    if line is not None:
        record = copy.copy(line.record)
        record.values = {**record.values, **{k: v for k, v in t.spec.hypers.items() if callable(v)}}  # not copies
        arrays.update({f"{i}/{k}": np.array(getattr(record, k)) for k in COLUMNS})
        save_values(str(i), line.now.values, arrays)
        saved = SavedRecord.of(record, own), line.state, line.environment, line.now.generators
    error = None if t.error is None else f"{type(t.error).__name__}: {t.error}"
    return SavedTrial(i, t.state, t.step, t.objective, dict(t.values), error, t.seconds, t.has_weights, *saved)


class Loaded:
    """A file that was read, with the user's own schedules; what does not fit is an ArchiveError."""

    def __init__(self, path: AnyPath, schedules: Mapping[str, Any] | None, narrow: bool) -> None:
        meta, self._arrays = archive.read(path, "sweep")
        for k in archive.HEADER:
            meta.pop(k)
        self.saved = decode(Saved, meta, "the sweep")
        self._settings = Settings(schedules or {}, narrow=narrow, updates=0)

    def grid(self) -> dict[str, Any]:
        """Give what the sweep was made with; `Grid` checks it."""
        saved = self.saved
        if "opt" not in saved.axes:
            raise ArchiveError("it has no optimiser")
        classes = [self._settings.optimiser(v) for v in saved.axes["opt"].values]
        grid: dict[str, Any] = {}
        for name, axis in saved.axes.items():
            values: Any = classes if name == "opt" else axis.values
            if axis.distribution:
                values = {"uniform": uniform, "loguniform": loguniform}[axis.distribution](*values)
            elif name not in ("opt", *LENGTHS):
                cls = next((c for c in classes if name in c.hypers), classes[0])
                values = [self._settings.one(cls, name, v) for v in axis.values]
            grid[name] = values if axis.swept else values[0]
        if self._settings.missing:
            again = ", ".join(f'"{k}": [{n} functions]' for k, n in self._settings.missing.items())
            raise ArchiveError(f"schedules that are your own functions have to be passed again: schedules={{{again}}}")
        return grid

    @property
    def options(self) -> dict[str, Any]:
        """Give the other arguments of the sweep."""
        s = self.saved
        ranks = {"max" if s.largest else "min": s.objective}
        return {k: getattr(s, k) for k in OPTIONS} | ranks

    def enter(self, trials: list[Trial], setup: Setup) -> Starts:
        """Bring trials to where they ended, if all fits the model; give the starts by seed."""
        saved = self.saved
        if (saved.params, saved.buffers) != (len(setup.params), len(setup.buffers)):
            raise ArchiveError(f"it is of {saved.params} parameters, and {len(setup.params)} were given")
        rngs = setup.generators
        starts = {
            seed: ModelState(load_values(f"start/{seed}", setup, self._arrays), load_generators(rngs, states))
            for seed, states in saved.starts
        }
        if {t.spec.seed for t in trials} != starts.keys():
            raise ArchiveError("its starts are not those of its seeds")
        for s in saved.trials:
            trial = trials[s.index]
            if s.record is not None:
                trial.progress = self._progress(s, s.record, setup)
            trial.step, trial.objective, trial.values, trial.seconds = s.step, s.objective, s.values, s.seconds
            trial.end(s.state, None if s.error is None else RuntimeError(s.error))
        return starts

    def _progress(self, s: SavedTrial, saved: SavedRecord, setup: Setup) -> Line:
        columns = {k: self._arrays[f"{s.index}/{k}"] for k in COLUMNS}
        record = saved.record(columns, self._settings)
        rngs = [make_generator(g.get("bit_generator")) for g in s.generators]
        values = load_values(str(s.index), setup, self._arrays) if s.has_weights else Values([], [])
        now = Snapshot(len(record.loss), values, load_generators(rngs, s.generators), {}, record.active, -1, [])
        return Line(record, None, now, None, None, s.status, s.environment)


@contextmanager
def reading(path: AnyPath, schedules: Mapping[str, Any] | None, params: list[Param]) -> Iterator[Loaded]:
    """Read a file for a sweep that is made within this context; an error of what it holds names the path."""
    file = Loaded(path, schedules, any(p.dtype == np.float32 for p in params))
    try:
        yield file
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ArchiveError(f"{path}: {error}") from error

"""A run in a file: how it began, what was done, where it stands.

`Checkpoint` is what a file holds, `Loaded` what follows from it for a training state: all is checked before a
parameter changes.  Neither knows a `Run`.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.runs import archive
from fluxmagic.runs.archive import ArchiveError
from fluxmagic.runs.cursor import generator_states, restore_generators
from fluxmagic.runs.format_1 import upgrade
from fluxmagic.runs.optimisers import OptimiserState
from fluxmagic.runs.record import Record
from fluxmagic.runs.saved_run import (
    OwnSchedules,
    SavedGenerator,
    SavedOptimiser,
    SavedRecord,
    SavedRun,
    SavedSnapshot,
    Settings,
    setting_to_file,
)
from fluxmagic.runs.schema import OneOf, Whole, decode, encode
from fluxmagic.runs.script import own_schedules
from fluxmagic.runs.state import Snapshot, TrainingState, Values
from fluxmagic.tracker import Param, param
from fluxmagic.version import __version__

__all__ = ["Checkpoint", "Loaded", "MissingLoss", "reading"]


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds."""

    run: SavedRun
    arrays: dict[str, np.ndarray]

    @classmethod
    def of(
        cls, training: TrainingState, record: Record, start: Snapshot, names: Mapping[int, str], **about: Any
    ) -> Checkpoint:
        """Copy a run between two steps.

        Parameters
        ----------
        names : mapping
            From a parameter's id to its name.
        **about
            id, name, epochs, steps, seed, state and environment of the run.
        """
        own = own_schedules(record)
        arrays = {"loss": np.array(record.loss), "rows": np.array(record.rows), "seconds": np.array(record.seconds)}
        name, seed = about["name"], about["seed"]
        if isinstance(seed, (np.random.Generator, np.random.BitGenerator, np.random.SeedSequence)):
            seed = SavedGenerator(type(np.random.default_rng(seed).bit_generator).__name__)
        else:
            seed = np.asarray(seed).tolist()  # None and large numbers stay what they are
        if training.last is not None:
            _save_values("shown", training.current[0], arrays)
        saved = SavedRun(
            fluxmagic=__version__,
            params=[names.get(id(p)) for p in training.params],
            buffers=len(training.buffers),
            record=SavedRecord.of(record, own),
            start=_save_snapshot("start", start, arrays, own),
            now=_save_snapshot("now", training.capture(), arrays, own),
            **about | {"name": None if name is None else str(name), "seed": seed},
        )
        return cls(saved, arrays)

    def write(self, path: Any) -> None:
        """Write the file, or leave what is there."""
        archive.write(path, "run", encode(self.run), self.arrays)

    @classmethod
    def read(cls, path: Any) -> Checkpoint:
        """Read a file of any version."""
        meta, arrays = archive.read(path, "run")
        header = {k: meta.pop(k) for k in archive.HEADER}
        if header["version"] == 1:
            meta, arrays = upgrade(meta, arrays)
        return cls(decode(SavedRun, meta, "the run"), arrays)


def _save_snapshot(prefix: str, s: Snapshot, arrays: dict[str, np.ndarray], own: OwnSchedules) -> SavedSnapshot:
    _save_values(prefix, s.values, arrays)
    optimisers = {}
    for key, (_, state, schedules) in s.optimisers.items():
        for k, values in state["arrays"].items():
            arrays.update({f"{prefix}/optimisers/{key}/{k}/{i}": a for i, a in enumerate(values)})
        saved = {k: setting_to_file(k, v, own) for k, v in schedules.items()}
        optimisers[key] = SavedOptimiser(state["n"], state["hypers"], state["numbers"], saved)
    states = ([state for _, state in pairs] for pairs in (s.generators, s.epoch_start))
    return SavedSnapshot(optimisers, s.position, *states)


def _save_values(prefix: str, values: Values, arrays: dict[str, np.ndarray]) -> None:
    for kind, pairs in values._asdict().items():
        arrays.update({f"{prefix}/{kind}/{i}": a for i, (_, a) in enumerate(pairs)})


class MissingLoss:
    """Stands for the loss of a run that is only looked at; `names` are the parameters' by their ids."""

    def __init__(self, path: Any, names: dict[int, str]) -> None:
        self.path = path
        self.names = names

    def __call__(self, *batch: Any) -> Any:
        raise RuntimeError(
            f"this run was loaded to be looked at: it cannot train or replay. Run.load({str(self.path)!r}, loss, data, "
            "params) gives one that can"
        )


@contextmanager
def reading(
    path: Any,
    loss: Callable[..., Any] | None,
    data: Any,
    params: Iterable[Param] | None,
    schedules: Mapping[str, Any] | None,
) -> Iterator[Loaded]:
    """Read a file for a run that is made within this context: what does not fit raises `ArchiveError` with the path.

    Raises
    ------
    TypeError
        If only some of loss, data and params are given, or a schedule is not a function.
    """
    to_look_at = loss is None and data is None and params is None
    if not to_look_at and (loss is None or params is None):
        raise TypeError("Run.load takes all of loss, data and params, or none of them to look at the run")
    for name, schedule in (schedules or {}).items():
        if not all(map(callable, schedule if isinstance(schedule, (list, tuple)) else [schedule])):
            raise TypeError(f"schedules: {name} is a function of the number of updates, or a list, not {schedule!r}")
    try:
        file = Checkpoint.read(path)
        saved, values = file.run, [file.arrays[f"now/params/{i}"] for i in range(len(file.run.params))]
        settings = Settings(
            schedules or (None if to_look_at else {}),
            narrow=any(a.dtype == np.float32 for a in values),
            updates=saved.record.updates + len(file.arrays["loss"]),
        )
        record = saved.record.record(file.arrays, settings)
        if not to_look_at and (data is None) != record.stepwise:
            has = "takes no batch: data is None" if record.stepwise else "has data: give it"
            raise ArchiveError(f"the loss of this run {has}")
        found = list(map(param, values)) if to_look_at else list(params or ())
        if to_look_at:
            names = {id(p): name for p, name in zip(found, saved.params, strict=True) if name is not None}
            loss, data = MissingLoss(path, names), lambda: itertools.repeat(())
        yield Loaded(path, saved, file.arrays, record, settings, loss, data, found)
    except ArchiveError as error:
        if str(path) in str(error):
            raise
        raise ArchiveError(f"{path}: {error}") from None
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise ArchiveError(f"{path}: not as a saved run should be ({type(error).__name__}: {error})") from error


@dataclass
class Loaded:
    """A run that was read: `fit` compares it with a training state, `restore` changes that state.

    Attributes
    ----------
    loss, data
        As given, or what stands for them.
    params : list of Param
        As given; after `fit` in the order of the file.
    """

    path: Any
    saved: SavedRun
    arrays: dict[str, np.ndarray]
    record: Record
    settings: Settings
    loss: Any
    data: Any
    params: list[Param]
    wrong: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> dict[str, Any]:
        """What the run is made with, beside loss, data and optimiser."""
        seed: object = self.saved.seed
        if isinstance(seed, SavedGenerator):
            seed = _generator(seed.bit_generator)  # its state is restored
        return {"epochs": self.saved.epochs, "steps": self.saved.steps, "seed": seed, "name": self.saved.name}

    def make_parts(self, training: TrainingState) -> None:
        """Make the buffers and generators of a run that is only looked at."""
        training.buffers = [self.arrays[f"now/buffers/{i}"].copy() for i in range(self.saved.buffers)]
        training.cursor.generators = [_generator(s["bit_generator"]) for s in self.saved.now.generators]

    def fit(self, training: TrainingState, names: Mapping[int, str]) -> tuple[Snapshot, Snapshot, Values | None]:
        """Check that all fits; give the snapshots of start and end, and the values that are shown in place of these.

        Raises
        ------
        ArchiveError
            Listing all that does not fit.

        Warns
        -----
        UserWarning
            If values are not finite.
        """
        record, wrong = self.record, self.wrong
        self.params = training.params = self._in_file_order(names)
        in_epoch = len(record.loss) - record.epochs[-1]
        positions = (in_epoch,) if in_epoch else (-1, 0)
        self._compare_numbers(training)
        now = self._snapshot("now", len(record.loss), record.active, positions, training)
        if not wrong:
            start = self._snapshot("start", 0, record.opt, (-1,), training)
            shown = None if record.kept is None else self._values("shown", training)
        if self.settings.missing:
            functions = {k: "…" if n == 1 else f"[{n} functions]" for k, n in sorted(self.settings.missing.items())}
            again = ", ".join(f'"{k}": {given}' for k, given in functions.items())
            wrong.append(f"own schedules have to be passed again: Run.load(…, schedules={{{again}}})")
        if wrong:
            raise ArchiveError(f"{self.path} does not fit: {'; '.join(wrong)}")
        bad = [k for k, a in self.arrays.items() if "/" in k and a.dtype.kind == "f" and not np.isfinite(a).all()]
        if bad:
            warnings.warn(f"{self.path}: not finite, as it was saved: {', '.join(bad)}", stacklevel=4)
        return start, now, shown

    def restore(self, training: TrainingState, now: Snapshot, shown: Values | None) -> None:
        """Bring a state to where the run stood; after an error it is as before."""
        before, generators = training.values(), generator_states(training.generators)
        try:
            with training.using_rng:
                training.restore(now)
                training.show(shown)
        except BaseException:  # the data may be too short
            before.restore()
            restore_generators(generators)
            raise

    def _in_file_order(self, names: Mapping[int, str]) -> list[Param]:
        """The parameters by name, if both sides know all names; otherwise as given."""
        here = {names[id(p)]: p for p in self.params if id(p) in names}
        there = [name for name in self.saved.params if name is not None]
        if len(self.saved.params) == len(self.params) == len(here) and here.keys() == set(there):
            return [here[name] for name in there]
        return self.params

    def _compare_numbers(self, training: TrainingState) -> None:
        """Compare what there is of parameters, buffers and generators."""
        saved = self.saved
        if len(self.params) != len(saved.params):
            self.wrong.append(f"it is of {len(saved.params)} parameters, and {len(self.params)} were given")
        shapes = [a.shape for a in training.buffers]
        there = [self.arrays[f"now/buffers/{i}"].shape for i in range(saved.buffers)]
        if shapes != there:
            self.wrong.append(f"running statistics are of shapes {shapes}, in the file {there}")
        kinds = [type(g.bit_generator).__name__ for g in training.generators]
        for name, s in (("start", saved.start), ("now", saved.now)):
            for states in (s.generators, s.epoch_start) if s.epoch_start or s.position >= 0 else (s.generators,):
                found = [state.get("bit_generator") for state in states]
                if found != kinds:
                    self.wrong.append(f"random generators are {kinds}, in the file at {name} {found}")

    def _values(self, prefix: str, training: TrainingState) -> Values:
        pairs: dict[str, list[Any]] = {"params": [], "buffers": []}
        for kind, found in pairs.items():
            for i, live in enumerate(getattr(training, kind)):
                if kind == "params" and i >= len(self.saved.params):
                    break
                value = self.arrays[f"{prefix}/{kind}/{i}"]
                if value.shape != live.shape or value.dtype != live.dtype:
                    name = (kind == "params" and self.saved.params[i]) or f"{kind}[{i}]"
                    there = f"in the file {value.dtype} of shape {value.shape}"
                    self.wrong.append(f"{name} is {live.dtype} of shape {live.shape}, {there}")
                found.append((live, value))
        return Values(**pairs)

    def _snapshot(
        self, prefix: str, step: int, active: str, positions: tuple[int, ...], training: TrainingState
    ) -> Snapshot:
        saved: SavedSnapshot = getattr(self.saved, prefix)
        if saved.position not in positions or active not in saved.optimisers:
            raise ArchiveError(f"{prefix} is not the state after step {step}, with {active} as the active optimiser")
        values = self._values(prefix, training)
        optimisers = {} if self.wrong else {k: self._optimiser(prefix, k, s) for k, s in saved.optimisers.items()}
        generators, epoch_start = (
            [(g, generator_state(g, s)) for g, s in zip(training.generators, states, strict=False)]
            for states in (saved.generators, saved.epoch_start)
        )
        return Snapshot(step, values, generators, optimisers, active, saved.position, epoch_start)

    def _optimiser(self, prefix: str, key: str, saved: SavedOptimiser) -> OptimiserState:
        cls = self.settings.optimiser(key)
        schedules = {k: self.settings.one(cls, k, v) for k, v in saved.schedules.items()}
        hypers = {k: h.default for k, h in cls.hypers.items()} | saved.hypers
        arrays = {
            k: [self.arrays[f"{prefix}/optimisers/{key}/{k}/{i}"] for i in range(len(self.params))] for k in cls.state
        }
        state = {"name": key, "n": saved.n, "hypers": hypers, "numbers": saved.numbers, "arrays": arrays}
        trial = cls(self.params)
        try:
            trial.load_state_dict(state)
        except ValueError as error:
            self.wrong.append(str(error))
        else:
            if not _can_go_on(trial, saved.numbers):
                self.wrong.append(f"{key} cannot go on from {saved.numbers}")
        return OptimiserState(cls, state, schedules)


def _can_go_on(opt: Optimiser, numbers: Mapping[str, float]) -> bool:
    """Whether a rule of the package can make an update from its numbers, which are all shares."""
    if not type(opt).__module__.startswith("fluxmagic."):
        return True
    try:
        return all(0 <= x <= 1 for x in numbers.values()) and all(map(math.isfinite, opt.constants()))
    except (TypeError, ArithmeticError):
        return False


def _generator(kind: object) -> np.random.Generator:
    cls = getattr(np.random, str(kind), None)
    if not (isinstance(cls, type) and issubclass(cls, np.random.BitGenerator) and cls is not np.random.BitGenerator):
        raise ArchiveError(f"{kind} is not a bit generator of NumPy")
    return np.random.Generator(cls())


# NumPy takes a larger position, and reads outside of its memory then.
_HIGHEST = {"pos": 624, "buffer_pos": 4, "has_uint32": 1, "uinteger": (1 << 32) - 1}


def generator_state(generator: np.random.Generator, saved: dict[str, Any]) -> Any:
    """Convert a saved state: it has to survive a trial."""
    inner = saved["state"]
    for k, high in _HIGHEST.items():
        if k in saved or k in inner:
            Whole(high=high).decode(saved[k] if k in saved else inner[k], k)
    trial = type(generator.bit_generator)()
    trial.state = _with_arrays({**saved, "state": _with_arrays(inner)})
    if encode(trial.state) != saved:
        raise ArchiveError(f"{saved['bit_generator']} does not take the state that the file has for it")
    return trial.state


def _with_arrays(state: dict[str, Any]) -> dict[str, Any]:
    def array(x: dict[str, Any]) -> np.ndarray:
        return np.array(x["ndarray"], OneOf(("<u4", "<u8")).decode(x["dtype"], "dtype"))

    return {k: array(v) if isinstance(v, dict) and "ndarray" in v else v for k, v in state.items()}

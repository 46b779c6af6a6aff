"""A run in a file: how it began, what was done, where it stands.  All is checked before a parameter changes.

It knows a loop's parts, and no `Run`.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from fluxmagic.optimise.optimiser import Optimiser, as_params
from fluxmagic.runs import archive
from fluxmagic.runs.archive import AnyPath, ArchiveError
from fluxmagic.runs.cursor import Data, GeneratorStates
from fluxmagic.runs.format_1 import upgrade
from fluxmagic.runs.lines import Line
from fluxmagic.runs.loop import Loop
from fluxmagic.runs.optimisers import OptimiserState
from fluxmagic.runs.problem import MissingLoss, Problem
from fluxmagic.runs.saved_run import (
    COLUMNS,
    OwnSchedules,
    SavedGenerator,
    SavedOptimiser,
    SavedRecord,
    SavedRun,
    SavedSnapshot,
    Settings,
    to_file,
)
from fluxmagic.runs.schema import decode, encode, mismatch, whole
from fluxmagic.runs.script import own_schedules
from fluxmagic.runs.state import Model, Snapshot, TrainingState, Values
from fluxmagic.tracker import Param, param
from fluxmagic.version import __version__

__all__ = ["SavedFile", "copied", "load_generators", "make_generator", "reading"]


def copied(loop: Loop, **about: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:  # noqa: ANN401
    """Copy a run between two steps, for `archive.write`; `about` is its id, name, seed and state."""
    record, training, start = loop.record, loop.state, loop.snapshots.start
    assert start is not None
    own, names, name, seed = own_schedules(record), loop.problem.names(), about["name"], about["seed"]
    if isinstance(seed, (np.random.Generator, np.random.BitGenerator, np.random.SeedSequence)):
        about["seed"] = SavedGenerator(type(np.random.default_rng(seed).bit_generator).__name__)
    else:
        about["seed"] = np.asarray(seed).tolist()  # None and large numbers stay what they are
    about["name"] = None if name is None else str(name)
    arrays = {k: np.array(getattr(record, k)) for k in COLUMNS}
    if training.last is not None:
        save_values("shown", training.current.values, arrays)
    saved = SavedRun(
        fluxmagic=__version__,
        epochs=loop.problem.epochs,
        steps=loop.problem.step_limit,
        environment=loop.environment,
        capture=loop.captured.wanted,
        params=[names.get(id(p)) for p in training.params],
        buffers=len(training.buffers),
        record=SavedRecord.of(record, own),
        start=_save_snapshot("start", start, arrays, own),
        now=_save_snapshot("now", training.capture(), arrays, own),
        **about,
    )
    return encode(saved), arrays


def _save_snapshot(prefix: str, s: Snapshot, arrays: dict[str, np.ndarray], own: OwnSchedules) -> SavedSnapshot:
    save_values(prefix, s.values, arrays)
    optimisers = {}
    for key, (_, state, schedules) in s.optimisers.items():
        for k, values in state["arrays"].items():
            arrays.update({f"{prefix}/optimisers/{key}/{k}/{i}": a for i, a in enumerate(values)})
        saved = {k: to_file(k, v, own) for k, v in schedules.items()}
        optimisers[key] = SavedOptimiser(state["n"], state["hypers"], state["numbers"], saved)
    return SavedSnapshot(optimisers, s.position, s.generators, s.epoch_start if s.position >= 0 else [])


def save_values(prefix: str, values: Values, arrays: dict[str, np.ndarray]) -> None:
    """Add copied values to the arrays of a file."""
    for kind, found in values._asdict().items():
        arrays.update({f"{prefix}/{kind}/{i}": a for i, a in enumerate(found)})


def load_values(prefix: str, model: Model, arrays: Mapping[str, np.ndarray]) -> Values:
    """Give the values that `save_values` added; each has the shape and dtype of its place in the model."""
    params = [load_array(f"{prefix}/params/{i}", p, arrays) for i, p in enumerate(model.params)]
    return Values(params, [load_array(f"{prefix}/buffers/{i}", a, arrays) for i, a in enumerate(model.buffers)])


def load_array(name: str, like: Param | np.ndarray, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Give an array of a file that has this shape and dtype."""
    a = arrays[name]
    if (a.shape, a.dtype) != (like.shape, like.dtype):
        ours = f"{like.dtype} of shape {like.shape}"
        raise ArchiveError(f"{name} is {a.dtype} of shape {a.shape}, and the model has {ours}")
    return a


@contextmanager
def reading(
    path: AnyPath,
    loss: Callable[..., Any] | None,
    data: Data,
    params: Iterable[Param] | None,
    schedules: Mapping[str, Any] | None,
) -> Iterator[SavedFile]:
    """Read a file for a run that is made within this context; what does not fit raises `ArchiveError` with the path."""
    to_look_at = loss is None and data is None and params is None
    if not to_look_at and (loss is None or params is None):
        raise TypeError("Run.load takes all of loss, data and params, or none of them to look at the run")
    params = None if params is None else as_params(params, "Run.load")
    for name, schedule in (schedules or {}).items():
        if not all(map(callable, schedule if isinstance(schedule, (list, tuple)) else [schedule])):
            raise TypeError(f"schedules: {name} is a function of the number of updates, or a list, not {schedule!r}")
    try:
        yield SavedFile(path, loss, data, params, schedules or {})
    except ArchiveError as error:
        if str(path) in str(error):
            raise
        raise ArchiveError(f"{path}: {error}") from None
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise ArchiveError(f"{path}: not as a saved run should be ({type(error).__name__}: {error})") from error


class SavedFile:
    """A run that was read.  Loss, data and params are as given, or what stands for them."""

    def __init__(
        self,
        path: AnyPath,
        loss: Callable[..., Any] | None,
        data: Data,
        params: list[Param] | None,
        schedules: Mapping[str, Any],
    ) -> None:
        meta, arrays = archive.read(path, "run")
        header = {k: meta.pop(k) for k in archive.HEADER}
        if header["version"] == 1:
            meta, arrays = upgrade(meta, arrays)
        self.path, self.arrays = path, arrays
        self.saved = saved = decode(SavedRun, meta, "the run")
        values = [arrays[f"now/params/{i}"] for i in range(len(saved.params))]
        narrow, updates = any(a.dtype == np.float32 for a in values), saved.record.updates + len(arrays["loss"])
        self.settings = Settings(schedules, narrow=narrow, updates=updates)
        self.record = saved.record.record(arrays, self.settings)
        if params is None or loss is None:
            params = list(map(param, values))
            names = {id(p): name for p, name in zip(params, saved.params, strict=True) if name is not None}
            loss, data = MissingLoss(path, names), lambda: itertools.repeat(())
        elif (data is None) != self.record.stepwise:
            has = "takes no batch: data is None" if self.record.stepwise else "has data: give it"
            raise ArchiveError(f"the loss of this run {has}")
        self.loss, self.data, self.params = loss, data, params

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the run beside loss, data and optimiser."""
        seed = self.saved.seed  # the state of a generator is restored
        given = make_generator(seed.bit_generator) if isinstance(seed, SavedGenerator) else seed
        return {"seed": given, **{k: getattr(self.saved, k) for k in ("epochs", "steps", "name", "capture")}}

    def line(self, training: TrainingState, problem: Problem) -> Line:
        """Check that all fits a new run, and give where the saved one stood; warn of values that are not finite."""
        if isinstance(self.loss, MissingLoss):
            training.buffers = [a.copy() for a in self._buffers()]
            training.cursor.generators = [make_generator(s["bit_generator"]) for s in self.saved.now.generators]
        else:
            training.find_parts(problem.roots)
        self.sort_params(problem.names())
        training.params = self.params
        wrong = list(self._misfits(training))
        if wrong:
            raise ArchiveError(f"{self.path} does not fit: {'; '.join(wrong)}")
        record = self.record
        n, in_epoch = len(record.loss), len(record.loss) - record.epochs[-1]
        start = self._snapshot("start", training, 0, record.opt, (-1,))
        now = self._snapshot("now", training, n, record.active, (in_epoch,) if in_epoch else (-1, 0))
        shown = None if record.kept is None else load_values("shown", training, self.arrays)
        bad = [k for k, a in self.arrays.items() if "/" in k and a.dtype.kind == "f" and not np.isfinite(a).all()]
        if bad:
            warnings.warn(f"{self.path}: not finite, as it was saved: {', '.join(bad)}", stacklevel=5)
        return Line(record, start, now, shown, None, self.saved.state, self.saved.environment)

    def sort_params(self, names: Mapping[int, str]) -> None:
        """Put the parameters in the order of the file, if their names, by their ids, are those of the file."""
        here = {names[id(p)]: p for p in self.params if id(p) in names}
        there = [name for name in self.saved.params if name is not None]
        if len(self.saved.params) == len(self.params) == len(here) and here.keys() == set(there):
            self.params = [here[name] for name in there]

    def _buffers(self) -> list[np.ndarray]:
        return [self.arrays[f"now/buffers/{i}"] for i in range(self.saved.buffers)]

    def _misfits(self, training: TrainingState) -> Iterator[str]:
        """Yield what does not fit of that which the user gave."""
        names = self.saved.params
        if len(self.params) != len(names):
            yield f"it is of {len(names)} parameters, and {len(self.params)} were given"
        for i, (p, name) in enumerate(zip(self.params, names, strict=False)):
            a = self.arrays[f"now/params/{i}"]
            if (p.shape, p.dtype) != (a.shape, a.dtype):
                there = f"in the file {a.dtype} of shape {a.shape}"
                yield f"parameter {name or i} is {p.dtype} of shape {p.shape}, {there}"
        shapes, saved_shapes = ([a.shape for a in arrays] for arrays in (training.buffers, self._buffers()))
        if shapes != saved_shapes:
            yield f"running statistics are of shapes {shapes}, in the file {saved_shapes}"
        kinds = [type(g.bit_generator).__name__ for g in training.generators]
        saved_kinds = [s.get("bit_generator") for s in self.saved.now.generators]
        if kinds != saved_kinds:
            yield f"random generators are {kinds}, in the file {saved_kinds}"
        if self.settings.missing and not isinstance(self.loss, MissingLoss):
            functions = {k: "…" if n == 1 else f"[{n} functions]" for k, n in sorted(self.settings.missing.items())}
            again = ", ".join(f'"{k}": {given}' for k, given in functions.items())
            yield f"schedules that are your own functions have to be passed again: Run.load(…, schedules={{{again}}})"

    def _snapshot(
        self, prefix: str, training: TrainingState, step: int, active: str, positions: tuple[int, ...]
    ) -> Snapshot:
        saved: SavedSnapshot = getattr(self.saved, prefix)
        if saved.position not in positions or active not in saved.optimisers:
            raise ArchiveError(f"{prefix} is not the state after step {step}, with {active} as the active optimiser")
        generators = load_generators(training.generators, saved.generators)
        epoch_start = load_generators(training.generators, saved.epoch_start) if saved.position >= 0 else []
        optimisers = {k: self._optimiser(prefix, k, s) for k, s in saved.optimisers.items()}
        values = load_values(prefix, training, self.arrays)
        return Snapshot(step, values, generators, optimisers, active, saved.position, epoch_start)

    def _optimiser(self, prefix: str, key: str, saved: SavedOptimiser) -> OptimiserState:
        cls = self.settings.optimiser(key)
        schedules = {k: self.settings.one(cls, k, v) for k, v in saved.schedules.items()}
        hypers = {k: h.default for k, h in cls.hypers.items()} | saved.hypers
        prefix = f"{prefix}/optimisers/{key}"
        arrays = {
            k: [load_array(f"{prefix}/{k}/{i}", p, self.arrays) for i, p in enumerate(self.params)] for k in cls.state
        }
        state = {"name": key, "n": saved.n, "hypers": hypers, "numbers": saved.numbers, "arrays": arrays}
        trial = cls(self.params)
        trial.load_state_dict(state)
        if not _can_go_on(trial, saved.numbers):
            raise ArchiveError(f"{key} cannot go on from {saved.numbers}")
        return OptimiserState(cls, state, schedules)


def _can_go_on(opt: Optimiser, numbers: Mapping[str, float]) -> bool:
    """Whether a rule of the package can make an update from its numbers, which are all shares."""
    if not type(opt).__module__.startswith("fluxmagic."):
        return True
    try:
        return all(0 <= x <= 1 for x in numbers.values()) and all(map(math.isfinite, opt.constants()))
    except (TypeError, ArithmeticError):
        return False


def make_generator(kind: object) -> np.random.Generator:
    cls = getattr(np.random, str(kind), None)
    if not (isinstance(cls, type) and issubclass(cls, np.random.BitGenerator) and cls is not np.random.BitGenerator):
        raise ArchiveError(f"{kind} is not a bit generator of NumPy")
    return np.random.Generator(cls())


# NumPy takes a larger position, and reads outside of its memory then.
_HIGHEST = {"pos": 624, "buffer_pos": 4, "has_uint32": 1, "uinteger": (1 << 32) - 1}


def load_generators(generators: list[np.random.Generator], saved: list[dict[str, Any]]) -> GeneratorStates:
    """Convert states: another generator has to take each, and to give it again."""
    found: GeneratorStates = []
    for g, state in zip(generators, saved, strict=True):
        for k, x in {**state["state"], **state}.items():
            if k in _HIGHEST:
                whole(high=_HIGHEST[k]).decode(x, k)
        trial = type(g.bit_generator)()
        own = trial.state
        trial.state = _with_arrays({**state, "state": _with_arrays(state["state"], own["state"])}, own)
        found.append(trial.state)
        if encode(trial.state) != state:
            raise ArchiveError(f"{state['bit_generator']} does not take the state that the file has for it")
    return found


def _with_arrays(state: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Make the arrays of a state, of the dtypes and shapes that a generator's own state has."""
    arrays = {k: np.array(state[k]["ndarray"], a.dtype) for k, a in own.items() if isinstance(a, np.ndarray)}
    for k, a in arrays.items():
        if a.shape != own[k].shape:
            raise mismatch(k, f"of shape {a.shape}", f"{own[k].shape}")
    return state | arrays

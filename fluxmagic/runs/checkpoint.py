"""Runs in files: what a run was, how it began and where it stands."""

from __future__ import annotations

import dataclasses
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from fluxmagic.layers.training_mode import is_evaluating
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.optimise.schedules import is_ready_made
from fluxmagic.runs import archive, back
from fluxmagic.runs.archive import ArchiveError
from fluxmagic.runs.cursor import generator_states, restore_generators
from fluxmagic.runs.decode import SavedRun, SavedSnapshot, decode, generator_state
from fluxmagic.runs.optimisers import OptimiserState
from fluxmagic.runs.record import Record
from fluxmagic.runs.script import own_schedules
from fluxmagic.runs.state import Snapshot, Values
from fluxmagic.tracker import Param, param
from fluxmagic.version import __version__

__all__ = ["NotGiven", "load", "save"]


def save(run: Any, path: Any) -> None:
    """Write a run to a file; see `Run.save`."""
    start = run.snapshots.start
    if start is None:
        raise ValueError("the run has not taken a step yet: there is nothing to save")
    if run.opt_class is None:
        raise TypeError(f"{run.opt_name} is {run.opt_kind}, and only a run with one optimiser can be saved")
    with run._between():
        if run._busy and run.training.cursor.tell()[0] >= 0 and not is_evaluating():
            raise RuntimeError("a run cannot be saved by its own loss, in the middle of a step: save it in a callback")
        run._notice()
        meta, arrays = _encode(run, start)
    archive.write(path, "run", meta, arrays)


def _encode(run: Any, start: Snapshot) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """All of a run, between two steps; copies, which no thread changes while they are written."""
    record: Record = run.record
    own = own_schedules(record)
    arrays = {"loss": np.array(record.loss), "rows": np.array(record.rows), "seconds": np.array(record.seconds)}
    names = run._names()
    meta = {
        "id": run.id,
        "fluxmagic": __version__,
        "name": None if run.name is None else str(run.name),
        "epochs": run.epochs,
        "steps": run.step_limit,
        "stepwise": record.stepwise,
        "seed": _seed_to_json(run.seed),
        "state": "paused" if run.state == "running" else run.state,
        "environment": run._environment,
        "params": [{"name": names.get(id(p)), "shape": p.shape, "dtype": str(p.dtype)} for p in run.training.params],
        "statistics": [a.shape for a in run.training.buffers],
        "generators": [type(g.bit_generator).__name__ for g in run.training.generators],
        "opt": record.opt,
        "values": {k: _dial_to_json(k, v, own) for k, v in record.values.items()},
        "updates": record.updates,
        "refused": record.rejected,
        "put_back": record.restored_weights,
        "kept": record.kept,
        "plan": [(s, k, None, _dial_to_json(k, new, own)) for s, k, _, new in record.plan],
        "planned": record.planned,
        "epoch_starts": record.epochs,
        "checks": record.evaluations,
        "events": [(s, k, *(_dial_to_json(k, x, own) for x in turn)) for s, k, *turn in record.events],
        "start": _pack("start", start, arrays, own),
        "now": _pack("now", run.training.capture(), arrays, own),
    }
    shown = back.line(run).shown
    if shown is not None:
        _pack_arrays("kept", shown, arrays)
    return _plain(meta), arrays


def _pack_arrays(prefix: str, values: Values, arrays: dict[str, np.ndarray]) -> None:
    for i, (_, value) in enumerate(values.params):
        arrays[f"{prefix}/weights/{i}"] = value
    for i, (_, value) in enumerate(values.buffers):
        arrays[f"{prefix}/statistics/{i}"] = value


def _pack(prefix: str, s: Snapshot, arrays: dict[str, np.ndarray], own: Mapping[str, list[Any]]) -> dict[str, Any]:
    _pack_arrays(prefix, s.values, arrays)
    opts = {}
    for key, (_, kept, schedules) in s.optimisers.items():
        for k, values in kept["arrays"].items():
            for i, value in enumerate(values):
                arrays[f"{prefix}/opts/{key}/{k}/{i}"] = value
        opts[key] = {k: v for k, v in kept.items() if k != "arrays"}
        opts[key]["schedules"] = {k: _dial_to_json(k, v, own) for k, v in schedules.items()}
    return {
        "step": s.step,
        "opts": opts,
        "opt": s.active,
        "place": s.position,
        "generators": [state for _, state in s.generators],
        "epoch_start": [state for _, state in s.epoch_start],
    }


def _plain(x: Any) -> Any:
    """Something that JSON can hold."""
    if type(x) in (int, float, bool, type(None)):
        return x
    if isinstance(x, str):
        return x.encode(errors="backslashreplace").decode()  # half a surrogate pair is no text
    if isinstance(x, dict):
        return {_plain(k): _plain(v) for k, v in x.items()}
    if isinstance(x, (tuple, list)):
        return [_plain(v) for v in x]
    if isinstance(x, np.ndarray):
        return {"ndarray": x.tolist(), "dtype": x.dtype.str}
    if isinstance(x, np.generic):
        return x.item()
    return x


def _dial_to_json(name: str, x: Any, own: Mapping[str, list[Any]]) -> Any:
    """A dial's value; the user's own schedule leaves a mark, with its number where there were several."""
    if not callable(x):
        return x
    if is_ready_made(x):
        return {"schedule": type(x).__name__, "with": dataclasses.asdict(x)}
    which = next((i for i, f in enumerate(own.get(name, [])) if f is x), 0)
    return {"schedule": None, "which": which} if which else {"schedule": None}


def _seed_to_json(seed: Any) -> Any:
    """A seed of any kind that NumPy takes."""
    if isinstance(seed, np.random.SeedSequence):
        return {k: getattr(seed, k) for k in ("entropy", "spawn_key", "pool_size", "n_children_spawned")}
    if isinstance(seed, (np.random.Generator, np.random.BitGenerator)):
        return {"bit_generator": type(getattr(seed, "bit_generator", seed)).__name__}
    return np.asarray(seed).tolist()  # None and large numbers stay what they are


def _seed(x: Any) -> Any:
    if not isinstance(x, dict):
        return x
    if "bit_generator" in x:
        return _generator(x["bit_generator"])  # its state is among those of the run's generators
    return np.random.SeedSequence(**x)


def _generator(kind: str) -> np.random.Generator:
    cls = getattr(np.random, kind, None)
    if not (isinstance(cls, type) and issubclass(cls, np.random.BitGenerator) and cls is not np.random.BitGenerator):
        raise ArchiveError(f"{kind} is no generator of NumPy's")
    return np.random.Generator(cls())


class NotGiven:
    """In place of the loss of a run that was loaded to be looked at.

    Attributes
    ----------
    names : dict
        From a parameter's id to its name in the file.
    """

    def __init__(self, path: Any) -> None:
        self.path = path
        self.names: dict[int, str] = {}

    def __call__(self, *batch: Any) -> Any:
        raise RuntimeError(
            f"this run was loaded to be looked at: it cannot train or replay. Run.load({str(self.path)!r}, loss, data, "
            "params) gives one that can"
        )


def load(
    cls: type[Any],
    path: Any,
    loss: Callable[..., Any] | None,
    data: Any,
    params: Iterable[Param] | None,
    schedules: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> Any:
    """Read a run from a file; see `Run.load`."""
    look = loss is None and data is None and params is None
    if not look and (loss is None or params is None):
        raise TypeError("Run.load takes all of loss, data and params, or none of them to look at the run")
    for name, schedule in (schedules or {}).items():
        if not all(map(callable, schedule if isinstance(schedule, (list, tuple)) else [schedule])):
            raise TypeError(f"schedules: {name} is a function of the number of updates, or a list, not {schedule!r}")
    meta, arrays = archive.read(path, "run")
    try:
        saved = decode(meta, arrays, schedules or (None if look else {}))
        if not look and (data is None) != saved.record.stepwise:
            has = "takes no batch: data is None" if saved.record.stepwise else "has data: give it"
            raise ArchiveError(f"the loss of this run {has}")
        if not look:
            return _build(cls, path, saved, arrays, loss, data, list(params or ()), options)
        missing = NotGiven(path)
        found = [param(arrays[f"now/weights/{i}"]) for i in range(len(saved.params))]
        missing.names = {id(p): name for p, (name, *_) in zip(found, saved.params, strict=True) if name is not None}
        return _build(cls, path, saved, arrays, missing, lambda: itertools.repeat(()), found, options)
    except ArchiveError as error:
        if str(path) in str(error):
            raise
        raise ArchiveError(f"{path}: {error}") from None
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise ArchiveError(f"{path}: not as a saved run should be ({type(error).__name__}: {error})") from error


def _build(
    cls: type[Any],
    path: Any,
    saved: SavedRun,
    arrays: dict[str, np.ndarray],
    loss: Any,
    data: Any,
    params: list[Param],
    options: Mapping[str, Any],
) -> Any:
    # First all checks, on what was read and on a run that nobody has seen yet; then the weights.
    run = cls(
        loss,
        data,
        saved.record.opt,
        epochs=saved.epochs,
        steps=saved.steps,
        seed=_seed(saved.seed),
        name=saved.name,
        **dict(options),
    )
    run.id = saved.id or run.id
    if isinstance(loss, NotGiven):
        run.training.buffers = [arrays[f"now/statistics/{i}"].copy() for i in range(len(saved.statistics))]
        run.training.cursor.generators = [_generator(kind) for kind in saved.generators]
    else:
        run._find_parts()
        params = _by_name(run, params, [name for name, *_ in saved.params])
    wrong = _misfits(run, params, saved)
    snapshots = [] if wrong else [_unpack(k, getattr(saved, k), arrays, params, run, wrong) for k in ("start", "now")]
    kept = saved.record.kept is not None and not wrong
    shown = _unpack_arrays("kept", arrays, params, run, wrong) if kept else None
    if saved.missing:
        again = ", ".join(f'"{k}": {"…" if n == 1 else f"[{n} functions]"}' for k, n in sorted(saved.missing.items()))
        wrong.append(
            f"schedules that are functions of one's own have to be passed again: Run.load(…, schedules={{{again}}})"
        )
    if wrong:
        raise ArchiveError(f"{path} does not fit: " + "; ".join(wrong))
    bad = [k for k, a in arrays.items() if "/" in k and a.dtype.kind == "f" and not np.isfinite(a).all()]
    if bad:
        warnings.warn(f"{path}: not finite, as it was saved: {', '.join(bad)}", stacklevel=4)
    run._environment = {"numerics": 1, **saved.environment}
    run.training.params = params
    before, states = run.training.values(), generator_states(run.training.generators)
    try:
        run._take_up(saved.record, params, *snapshots, saved.state, shown)
    except BaseException:  # the data, it may be, is too short
        before.restore()
        restore_generators(states)
        raise
    return run


def _misfits(run: Any, params: list[Param], saved: SavedRun) -> list[str]:
    """What is not as it was when the run was saved."""
    wrong = []
    if len(params) != len(saved.params):
        wrong.append(f"it is of {len(saved.params)} parameters, and {len(params)} were given")
    for i, (p, (name, shape, dtype)) in enumerate(zip(params, saved.params, strict=False)):
        if p.shape != shape or str(p.dtype) != dtype:
            wrong.append(f"parameter {name or i} is {p.dtype} of shape {p.shape}, in the file {dtype} of shape {shape}")
    shapes = [a.shape for a in run.training.buffers]
    if shapes != saved.statistics:
        wrong.append(f"running statistics are of shapes {shapes}, in the file {saved.statistics}")
    kinds = [type(g.bit_generator).__name__ for g in run.training.generators]
    if kinds != saved.generators:
        wrong.append(f"random generators are {kinds}, in the file {saved.generators}")
    return wrong


def _by_name(run: Any, params: list[Param], names: list[str | None]) -> list[Param]:
    """The parameters in the order of the file, where both sides know their names; otherwise as they were given."""
    by_id = {id(p): p for p in params}
    here = {path: by_id[i] for i, path in run._names().items() if i in by_id}
    if len(names) == len(params) == len(here) and here.keys() == set(names):
        return [here[n] for n in names if n is not None]
    return params


def _unpack_arrays(
    prefix: str, arrays: dict[str, np.ndarray], params: list[Param], run: Any, wrong: list[str]
) -> Values:
    weights, statistics = [], []
    for i, p in enumerate(params):
        value = arrays[f"{prefix}/weights/{i}"]
        if value.shape != p.shape or value.dtype != p.dtype:
            wrong.append(f"{prefix}/weights/{i} is {value.dtype} of shape {value.shape}")
        weights.append((p, value))
    for i, live in enumerate(run.training.buffers):
        value = arrays[f"{prefix}/statistics/{i}"]
        if value.shape != live.shape or value.dtype != live.dtype:
            wrong.append(f"{prefix}/statistics/{i} is {value.dtype} of shape {value.shape}")
        statistics.append((live, value))
    return Values(weights, statistics)


def _can_go_on(opt: Optimiser, numbers: Mapping[str, float]) -> bool:
    """Whether a rule of ours can make an update from the numbers that it keeps, all of which are shares."""
    if not type(opt).__module__.startswith("fluxmagic."):
        return True
    try:
        return all(0 <= x <= 1 for x in numbers.values()) and all(map(math.isfinite, opt.constants()))
    except (TypeError, ArithmeticError):
        return False


def _unpack(
    prefix: str,
    saved: SavedSnapshot,
    arrays: dict[str, np.ndarray],
    params: list[Param],
    run: Any,
    wrong: list[str],
) -> Snapshot:
    values = _unpack_arrays(prefix, arrays, params, run, wrong)
    opts: dict[str, OptimiserState] = {}
    for key, (opt, kept, schedules) in saved.opts.items():
        found = {k: [arrays[f"{prefix}/opts/{key}/{k}/{i}"] for i in range(len(params))] for k in opt.state}
        state = {**kept, "arrays": found}
        trial = opt(params)  # one that nobody uses, to see whether it goes
        try:
            trial.load_state_dict(state)
        except ValueError as error:
            wrong.append(str(error))
        else:
            if not _can_go_on(trial, kept["numbers"]):
                wrong.append(f"{key} cannot go on from {kept['numbers']}")
        opts[key] = OptimiserState(opt, state, schedules)
    n = len(run.training.generators)
    if len(saved.generators) != n or len(saved.epoch_start) not in ((n,) if saved.place >= 0 else (0, n)):
        wrong.append(f"{prefix} has states of {len(saved.generators)} and {len(saved.epoch_start)} generators, not {n}")
    generators, epoch_start = (
        [(g, generator_state(g, s)) for g, s in zip(run.training.generators, states, strict=False)]
        for states in (saved.generators, saved.epoch_start)
    )
    return Snapshot(saved.step, values, generators, opts, saved.opt, saved.place, epoch_start)

"""Runs in files: what a run was, how it began and where it stands."""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fluxmagic.optimise import schedules as ready_made
from fluxmagic.optimise.optimiser import OPTIMISERS
from fluxmagic.runs import archive, back
from fluxmagic.runs.archive import ArchiveError
from fluxmagic.runs.record import Event, Record
from fluxmagic.runs.snapshot import OptState, Snapshot, copies, generator_states, put, restore_generators
from fluxmagic.tracker import Param

__all__ = ["load", "save"]


def save(run: Any, path: Any) -> None:
    """Write a run to a file; see `Run.save`."""
    start = run._snapshots.start
    if start is None:
        raise ValueError("the run has not taken a step yet: there is nothing to save")
    if run.opt_class is None:
        raise TypeError(f"{run.opt_name} is a plain function, whose state is not known: such a run cannot be saved")
    with run._between():
        record: Record = run._record
        arrays = {"loss": np.array(record.loss), "rows": np.array(record.rows), "seconds": np.array(record.seconds)}
        names = run._names()
        meta = {
            "name": run.name,
            "epochs": run.epochs,
            "seed": run.seed,
            "state": "paused" if run.state == "running" else run.state,
            "environment": run._environment,
            "params": [{"name": names.get(id(p)), "shape": p.shape, "dtype": str(p.dtype)} for p in run._trained],
            "statistics": [a.shape for a in run._statistics],
            "generators": [type(g.bit_generator).__name__ for g in run._generators],
            "opt": record.opt,
            "values": _plain(record.values),
            "updates": record.updates,
            "refused": record.refused,
            "put_back": record.put_back,
            "epoch_starts": record.epochs,
            "checks": record.checks,
            "events": [_plain(tuple(e)) for e in record.events],
            "start": _pack("start", start, arrays),
            "now": _pack("now", back.snapshot(run), arrays),
        }
    archive.write(path, "run", meta, arrays)


def _pack(prefix: str, s: Snapshot, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    for i, (_, value) in enumerate(s.weights):
        arrays[f"{prefix}/weights/{i}"] = value
    for i, (_, value) in enumerate(s.statistics):
        arrays[f"{prefix}/statistics/{i}"] = value
    opts = {}
    for key, (_, kept, schedules) in s.opts.items():
        for k, values in kept["arrays"].items():
            for i, value in enumerate(values):
                arrays[f"{prefix}/opts/{key}/{k}/{i}"] = value
        opts[key] = {**{k: v for k, v in kept.items() if k != "arrays"}, "schedules": _plain(schedules)}
    return {
        "step": s.step,
        "opts": opts,
        "opt": s.opt,
        "place": s.place,
        "generators": [_plain(state) for _, state in s.generators],
        "epoch_start": [_plain(state) for _, state in s.epoch_start],
    }


def _plain(x: Any) -> Any:
    """Something that JSON can hold; a schedule of one's own leaves a mark only."""
    if isinstance(x, Mapping):
        return {k: _plain(v) for k, v in x.items()}
    if isinstance(x, (tuple, list)):
        return [_plain(v) for v in x]
    if isinstance(x, np.ndarray):
        return {"ndarray": x.tolist(), "dtype": x.dtype.str}
    if isinstance(x, np.generic):
        return x.item()
    if callable(x):
        if type(x).__name__ in ready_made.__all__ and dataclasses.is_dataclass(x) and not isinstance(x, type):
            return {"schedule": type(x).__name__, "with": dataclasses.asdict(x)}
        return {"schedule": None}
    return x


class _Reader:
    """Turns what JSON held back into what it stood for."""

    def __init__(self, schedules: Mapping[str, Any]) -> None:
        self.schedules = dict(schedules)
        self.missing: set[str] = set()

    def value(self, x: Any, name: str) -> Any:
        if not isinstance(x, dict) or "schedule" not in x:
            return x
        if x["schedule"] is not None:
            if x["schedule"] not in ready_made.__all__:
                raise ArchiveError(f"unknown schedule {x['schedule']!r}")
            return getattr(ready_made, x["schedule"])(**x["with"])
        if name not in self.schedules:
            self.missing.add(name)
            return None
        return self.schedules[name]

    def values(self, d: Mapping[str, Any]) -> dict[str, Any]:
        return {k: self.value(v, k) for k, v in d.items()}


def _state(x: Any) -> Any:
    """A generator's state."""
    if isinstance(x, dict):
        if set(x) == {"ndarray", "dtype"}:
            return np.array(x["ndarray"], x["dtype"])
        return {k: _state(v) for k, v in x.items()}
    return x


def load(
    cls: type[Any],
    path: Any,
    loss: Callable[..., Any],
    data: Any,
    params: list[Param],
    schedules: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> Any:
    """Read a run from a file; see `Run.load`."""
    meta, arrays = archive.read(path, "run")
    try:
        return _build(cls, path, meta, arrays, loss, data, list(params), schedules or {}, options)
    except ArchiveError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise ArchiveError(f"{path}: not as a saved run should be ({type(error).__name__}: {error})") from error


def _build(
    cls: type[Any],
    path: Any,
    meta: dict[str, Any],
    arrays: dict[str, np.ndarray],
    loss: Callable[..., Any],
    data: Any,
    params: list[Param],
    schedules: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Any:
    # First all checks, on what was read and on a run that nobody has seen yet; then the weights.
    wrong: list[str] = []
    names = [meta["opt"], *(e[3] for e in meta["events"] if e[1] == "opt")]
    unknown = [n for n in dict.fromkeys(names) if n not in OPTIMISERS]
    if unknown:
        raise ArchiveError(f"{path}: unknown optimiser {', '.join(unknown)}: define the class first")
    reader = _Reader(schedules)
    record = _record(meta, arrays, reader)
    run = cls(loss, data, meta["opt"], epochs=meta["epochs"], seed=meta["seed"], name=meta["name"], **dict(options))
    run._find_roots()
    params = _by_name(run, params, [p["name"] for p in meta["params"]])
    if len(params) != len(meta["params"]):
        wrong.append(f"it is of {len(meta['params'])} parameters, and {len(params)} were given")
    for i, (p, saved) in enumerate(zip(params, meta["params"], strict=False)):
        if list(p.shape) != list(saved["shape"]) or str(p.dtype) != saved["dtype"]:
            was = f"{saved['dtype']} of shape {tuple(saved['shape'])}"
            wrong.append(f"parameter {saved['name'] or i} is {p.dtype} of shape {p.shape}, in the file {was}")
    if [list(a.shape) for a in run._statistics] != [list(s) for s in meta["statistics"]]:
        wrong.append(
            f"running statistics are of shapes {[a.shape for a in run._statistics]}, in the file {meta['statistics']}"
        )
    kinds = [type(g.bit_generator).__name__ for g in run._generators]
    if kinds != meta["generators"]:
        wrong.append(f"random generators are {kinds}, in the file {meta['generators']}")
    for name, a in arrays.items():
        if name not in ("loss", "seconds") and a.dtype.kind == "f" and not np.isfinite(a).all():
            wrong.append(f"{name} is not finite")
    snapshots = [] if wrong else [_unpack(k, meta[k], arrays, params, run, reader, wrong) for k in ("start", "now")]
    if reader.missing:
        wrong.append(
            f"schedules of one's own have to be passed again: schedules={{{', '.join(sorted(reader.missing))}: …}}"
        )
    if wrong:
        raise ArchiveError(f"{path} does not fit: " + "; ".join(wrong))
    run._environment = {"numerics": 1, **meta["environment"]}
    before = copies(params, run._statistics), generator_states(run._generators)
    try:
        run._take_up(record, params, *snapshots, meta["state"])
    except BaseException:  # the data, it may be, is too short
        put(*before[0])
        restore_generators(before[1])
        raise
    return run


def _record(meta: dict[str, Any], arrays: dict[str, np.ndarray], reader: _Reader) -> Record:
    """What was done."""
    record = Record(meta["opt"], reader.values(meta["values"]), int(meta["updates"]))
    record.loss, record.seconds = (array("d", arrays[k].tolist()) for k in ("loss", "seconds"))
    n = len(record.loss)
    record.rows = array("I", arrays["rows"].tolist() if "rows" in arrays else [1] * n)
    record.refused, record.epochs = _steps(meta["refused"], n), _steps(meta["epoch_starts"], n)
    record.checks = [
        (_steps([step], n)[0], {k: float(v) for k, v in values.items()}) for step, values in meta["checks"]
    ]
    record.put_back = [(after, best) for best, after in (_steps(pair[::-1], n) for pair in meta["put_back"])]
    _steps([event[0] for event in meta["events"]], n)
    record.events = [Event(s, str(k), reader.value(old, k), reader.value(new, k)) for s, k, old, new in meta["events"]]
    if (
        not len(record.seconds) == len(record.rows) == n
        or record.epochs[0] != 0
        or meta["now"]["step"] != n
        or meta["start"]["step"] != 0
    ):
        raise ArchiveError("its columns are not of one length")
    return record


def _steps(steps: Any, n: int) -> list[int]:
    """Step numbers, checked."""
    if not all(type(s) is int and 0 <= s <= n for s in steps) or sorted(steps) != list(steps):
        raise ArchiveError(f"{steps} are not steps of a run of {n}")
    return list(steps)


def _by_name(run: Any, params: list[Param], names: list[str | None]) -> list[Param]:
    """The parameters in the order of the file, where both sides know their names; otherwise as they were given."""
    here = {path: i for i, path in run._names().items()}
    by_id = {id(p): p for p in params}
    if len(names) == len(params) and all(n in here and here[n] in by_id for n in names):
        return [by_id[here[n]] for n in names if n is not None]
    return params


def _unpack(
    prefix: str,
    meta: dict[str, Any],
    arrays: dict[str, np.ndarray],
    params: list[Param],
    run: Any,
    reader: _Reader,
    wrong: list[str],
) -> Snapshot:
    weights, statistics = [], []
    for i, p in enumerate(params):
        value = arrays[f"{prefix}/weights/{i}"]
        if value.shape != p.shape or value.dtype != p.dtype:
            wrong.append(f"{prefix}/weights/{i} is {value.dtype} of shape {value.shape}")
        weights.append((p, value))
    for i, live in enumerate(run._statistics):
        value = arrays[f"{prefix}/statistics/{i}"]
        if value.shape != live.shape or value.dtype != live.dtype:
            wrong.append(f"{prefix}/statistics/{i} is {value.dtype} of shape {value.shape}")
        statistics.append((live, value))
    opts: dict[str, Any] = {}
    for key, kept in meta["opts"].items():
        opt = OPTIMISERS[kept["name"]]
        state = {
            "name": kept["name"],
            "n": kept["n"],
            "hypers": kept["hypers"],
            "numbers": kept["numbers"],
            "arrays": {k: [arrays[f"{prefix}/opts/{key}/{k}/{i}"] for i in range(len(params))] for k in opt.state},
        }
        try:
            opt(params).load_state_dict(state)  # one that nobody uses, to see whether it goes
        except ValueError as error:
            wrong.append(str(error))
        opts[key] = OptState(opt, state, reader.values(kept["schedules"]))
    if meta["opt"] and meta["opt"] not in opts:
        wrong.append(f"its optimiser {meta['opt']} has no state")
    for g, kept in zip(run._generators, meta["generators"], strict=True):
        type(g.bit_generator)().state = _state(kept)
    return Snapshot(
        int(meta["step"]),
        weights,
        statistics,
        [(g, _state(s)) for g, s in zip(run._generators, meta["generators"], strict=True)],
        opts,
        meta["opt"],
        int(meta["place"]),
        [(g, _state(s)) for g, s in zip(run._generators, meta["epoch_start"], strict=bool(meta["epoch_start"]))],
    )

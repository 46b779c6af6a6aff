"""What a file says of a run: checked against what it may be, then turned back into what it stood for.

Nothing is built here that a file could make large: every loop is over something that the file holds.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fluxmagic.greek import ascii_name
from fluxmagic.optimise import schedules as ready_made
from fluxmagic.optimise.optimiser import OPTIMISERS, Optimiser
from fluxmagic.runs.archive import ArchiveError
from fluxmagic.runs.record import Event, Record
from fluxmagic.runs.turns import Turns

__all__ = ["SavedRun", "SavedSnapshot", "decode", "generator_state"]

STATES = ("ready", "paused", "stopped", "done", "failed")
LARGEST = 1 << 62  # of whole numbers that are counted with
LARGEST_SEED = 1 << 4096
_HIGHEST = {"pos": 624, "buffer_pos": 4, "has_uint32": 1, "uinteger": (1 << 32) - 1}
"""In a generator's state.  NumPy takes a larger position, and reads outside of its memory then."""


@dataclass(frozen=True)
class SavedSnapshot:
    """A snapshot as it is in a file, but for its arrays."""

    step: int
    opts: dict[str, tuple[type[Optimiser], dict[str, Any], dict[str, Any]]]  # class, state without arrays, schedules
    opt: str
    place: int
    generators: list[Any]
    epoch_start: list[Any]


@dataclass(frozen=True)
class SavedRun:
    """A run as it is in a file, but for the arrays of its snapshots."""

    id: str
    name: str | None
    epochs: int | None
    steps: int | None
    seed: Any
    state: str
    environment: dict[str, Any]
    params: list[tuple[str | None, tuple[int, ...], str]]  # name, shape, dtype
    statistics: list[tuple[int, ...]]
    generators: list[str]
    record: Record
    start: SavedSnapshot
    now: SavedSnapshot
    missing: dict[str, int]  # dials that followed a schedule which is not given, and how many of them there were


def decode(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray], schedules: Mapping[str, Any] | None) -> SavedRun:
    """Check all that describes a run.

    Parameters
    ----------
    meta : dict
        As JSON held it.
    arrays : dict of ndarray
        `loss`, `seconds` and, in files since they are counted, `rows`, each of a number for each step.
    schedules : dict, optional
        From a dial's name to the user's own schedule, or a list of them in the order in which they came.  None: what
        is missing is replaced by one that gives NaN.

    Raises
    ------
    ArchiveError
        At the first thing that it may not be.
    """
    reader = _Reader(schedules)
    params = [_mapping("a parameter", p, "name", "shape", "dtype") for p in _list("params", meta["params"])]
    reader.narrow = any(p["dtype"] == "float32" for p in params)
    record = _record(meta, arrays, reader)
    in_force = next((e.new for e in reversed(record.events) if e.name == "opt"), record.opt)
    steps, seed = meta.get("steps"), meta["seed"]
    if isinstance(seed, dict):
        _seed_sequence(seed)
    elif seed is not None:
        for x in seed if isinstance(seed, list) else [seed]:
            _whole("seed", x, high=LARGEST_SEED)
    start, now = (_snapshot(k, meta[k], reader) for k in ("start", "now"))
    in_epoch = len(record.loss) - record.epochs[-1]
    for snapshot, what, step, opt, places in (
        (start, "start", 0, record.opt, (-1,)),
        (now, "now", len(record.loss), in_force, (in_epoch,) if in_epoch else (-1, 0)),
    ):
        if (snapshot.step, snapshot.opt) != (step, opt) or snapshot.place not in places:
            raise _wrong(what, f"step {snapshot.step}, {snapshot.opt}, place {snapshot.place}", f"step {step}, {opt}")
        if snapshot.opt not in snapshot.opts:
            raise ArchiveError(f"its optimiser {snapshot.opt} has no state")
    return SavedRun(
        _text("id", meta.get("id", "")),
        None if meta["name"] is None else _text("name", meta["name"]),
        None if steps is not None else _whole("epochs", meta["epochs"], low=1),
        None if steps is None else _whole("steps", steps, low=1),
        seed,
        _one_of("state", meta["state"], STATES),
        _environment(meta["environment"]),
        [
            (None if p["name"] is None else _text("name", p["name"]), _shape(p["shape"]), _text("dtype", p["dtype"]))
            for p in params
        ],
        [_shape(s) for s in _list("statistics", meta["statistics"])],
        [_text("generators", g) for g in _list("generators", meta["generators"])],
        record,
        start,
        now,
        reader.missing,
    )


def generator_state(generator: np.random.Generator, x: Any) -> Any:
    """A generator's state, of the form that this generator's own state has."""
    state = _like("generator", generator.bit_generator.state, x)
    type(generator.bit_generator)().state = state  # one that nobody uses, to see whether it goes
    return state


def _like(what: str, template: Any, x: Any) -> Any:
    if isinstance(template, dict):
        _mapping(what, x, *template)
        return {k: _like(k, v, x[k]) for k, v in template.items()}
    if isinstance(template, np.ndarray):
        _mapping(what, x, "ndarray", "dtype")
        numbers = _list(what, x["ndarray"])
        if x["dtype"] != template.dtype.str or len(numbers) != template.size:
            raise _wrong(what, f"{len(numbers)} × {x['dtype']!r}", f"{template.size} × {template.dtype.str}")
        return np.array([_whole(what, n, high=np.iinfo(template.dtype).max) for n in numbers], template.dtype)
    if isinstance(template, (int, np.integer)):
        return _whole(what, x, high=_HIGHEST.get(what, (1 << 128) - 1))
    if x != template:
        raise _wrong(what, x, template)
    return x


# -- what is in it -----------------------------------------------------------------------------------------------------


def _record(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray], reader: _Reader) -> Record:
    """What was done."""
    loss, seconds = arrays["loss"], arrays["seconds"]
    n = len(loss)
    rows = arrays.get("rows", np.ones(n, np.uint32))
    for k, a in (("loss", loss), ("seconds", seconds), ("rows", rows)):
        if a.shape != (n,) or a.dtype.kind not in ("u" if k == "rows" else "f"):
            raise _wrong(k, f"{a.dtype} of shape {a.shape}", f"a number for each of {n} steps")
    if not np.isfinite(seconds).all():
        raise ArchiveError("its seconds are not finite")
    cls = reader.optimiser(meta["opt"])
    updates = _whole("updates", meta["updates"])
    reader.updates = updates + n
    values = _mapping("values", meta["values"], *cls.hypers)
    record = Record(cls.__name__, {k: reader.dial(cls, k, v) for k, v in values.items()}, updates)
    record.loss, record.seconds = array("d", loss.tolist()), array("d", seconds.tolist())
    record.rows = array("I", rows.tolist())
    record.rejected = _steps("refused", meta["refused"], n, low=1)
    record.epochs = [0, *_steps("epoch_starts", _list("epoch_starts", meta["epoch_starts"])[1:], n, low=1)]
    if meta["epoch_starts"][0] != 0:
        raise ArchiveError("its first epoch does not begin at step 0")
    checks = [_pair("checks", c) for c in _list("checks", meta["checks"])]
    steps = _steps("checks", [step for step, _ in checks], n, low=1)
    record.evaluations = [
        (step, {_text("metric", k): _number(k, v) for k, v in _mapping("checks", found).items()})
        for step, (_, found) in zip(steps, checks, strict=True)
    ]
    put_back = [_pair("put_back", p) for p in _list("put_back", meta["put_back"])]
    after = _steps("put_back", [a for a, _ in put_back], n, low=1, twice=True)
    record.restored_weights = [
        (a, _whole("put_back", best, high=a)) for a, (_, best) in zip(after, put_back, strict=True)
    ]
    kept = meta.get("kept")
    record.kept = None if kept is None else _whole("kept", kept, high=n)
    record.stepwise = _one_of("stepwise", meta.get("stepwise", False), (False, True))
    record.planned = _whole("planned", meta.get("planned", -1), low=-1, high=n)
    record.plan = _plan(_list("plan", meta.get("plan", [])), cls, reader)
    record.events = _events(_list("events", meta["events"]), n, cls, reader)
    return record


def _plan(events: list[Any], cls: type[Optimiser], reader: _Reader) -> Turns:
    """Turns that are to be made: what was in force before them in another run says nothing here."""
    found = []
    for e in events:
        if len(_list("a turn", e)) != 4:
            raise _wrong("a turn", e, "step, name, old, new")
        step, name, _, new = e
        if name == "opt":
            cls = reader.optimiser(new)
        else:
            new = reader.dial(cls, name, new)
        found.append(Event(_whole("a turn's step", step), name, None, new))
    try:
        return Turns(found)
    except ValueError as error:
        raise ArchiveError(str(error)) from None


def _events(events: list[Any], n: int, cls: type[Optimiser], reader: _Reader) -> list[Event]:
    """Turns and swaps, each against the optimiser in force then."""
    for e in events:
        if len(_list("an event", e)) != 4:
            raise _wrong("an event", e, "step, name, old, new")
    _steps("events", [e[0] for e in events], n, twice=True)
    found = []
    for step, name, old, new in events:
        if name == "opt":
            if old != cls.__name__:
                raise _wrong("opt", old, f"{cls.__name__}, which was in force at step {step}")
            cls = reader.optimiser(new)
        else:
            old, new = (reader.dial(cls, name, x) for x in (old, new))
        found.append(Event(step, name, old, new))
    return found


def _snapshot(what: str, x: Any, reader: _Reader) -> SavedSnapshot:
    _mapping(what, x, "step", "opts", "opt", "place", "generators", "epoch_start")
    opts = {}
    for key, kept in _mapping("opts", x["opts"]).items():
        cls = reader.optimiser(key)
        _mapping(key, kept, "name", "n", "hypers", "numbers", "schedules")
        _one_of("name", kept["name"], (key,))
        schedules = _mapping("schedules", kept["schedules"])
        opts[key] = (
            cls,
            {
                "name": key,
                "n": _whole("n", kept["n"]),
                "hypers": {k: _number(k, v) for k, v in _mapping("hypers", kept["hypers"], *cls.hypers).items()},
                "numbers": {k: _number(k, v) for k, v in _mapping("numbers", kept["numbers"], *cls.numbers).items()},
            },
            {k: reader.dial(cls, k, v, only_schedules=True) for k, v in schedules.items()},
        )
    return SavedSnapshot(
        _whole("step", x["step"]),
        opts,
        _text("opt", x["opt"]),
        _whole("place", x["place"], low=-1),
        _list("generators", x["generators"]),
        _list("epoch_start", x["epoch_start"]),
    )


class _Reader:
    """Turns names and values back into optimisers, numbers and schedules.

    Attributes
    ----------
    narrow : bool
        Some parameter is float32: values are in bounds there, too.
    updates : int
        At most so many were done: a schedule is checked from 0 to there.
    missing : dict of str to int
        Dials that followed schedules of the user's own which were not passed, and how many of them there were.
    """

    def __init__(self, schedules: Mapping[str, Any] | None) -> None:
        self.given: dict[str, list[Any]] | None = None
        if schedules is not None:
            self.given = {ascii_name(k): list(v) if isinstance(v, (list, tuple)) else [v] for k, v in schedules.items()}
        self.narrow = False
        self.updates = 0
        self.missing: dict[str, int] = {}
        self._unknown: dict[tuple[str, int], UnknownSchedule] = {}

    def optimiser(self, name: Any) -> type[Optimiser]:
        if not isinstance(name, str) or name not in OPTIMISERS:
            shown = name if isinstance(name, str) and name.isidentifier() and len(name) < 80 else _shown(name)
            raise ArchiveError(f"unknown optimiser {shown}: define the class first")
        return OPTIMISERS[name]

    def dial(self, cls: type[Optimiser], name: Any, x: Any, *, only_schedules: bool = False) -> Any:
        """A dial's value: a number within its bounds, or a schedule."""
        if not isinstance(name, str) or name not in cls.hypers:
            raise _wrong("dial", name, f"one of {cls.__name__}: {', '.join(cls.hypers)}")
        hyper = cls.hypers[name]
        if not isinstance(x, dict):
            if only_schedules:
                raise _wrong(name, x, "a schedule")
            try:
                return hyper.check(x, self.narrow)
            except (TypeError, ValueError, OverflowError):
                raise _wrong(name, x, hyper.range) from None
        if x.keys() <= {"schedule", "which"} and x.get("schedule", ...) is None:
            return self._own(name, _whole("which", x.get("which", 0), high=9999))
        _mapping("schedule", x, "schedule", "with")
        kind = getattr(ready_made, _one_of("schedule", x["schedule"], ready_made.__all__))
        try:
            schedule = kind(**{k: _number(k, v) for k, v in _mapping("with", x["with"]).items()})
            for n in (0, self.updates):
                hyper.check(schedule(n), self.narrow, may_vanish=True)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ArchiveError(f"a schedule of {name} cannot be taken: {error}") from None
        return schedule

    def _own(self, name: str, which: int) -> Any:
        given = (self.given or {}).get(ascii_name(name), [])
        if which < len(given):
            return given[which]
        if self.given is not None:
            self.missing[name] = max(self.missing.get(name, 0), which + 1)
        return self._unknown.setdefault((name, which), UnknownSchedule())


class UnknownSchedule:
    """A function of the user's own, which a file does not hold."""

    def __call__(self, n: int) -> float:
        return math.nan


# -- what a value may be -----------------------------------------------------------------------------------------------


def _shown(x: Any) -> str:
    text = repr(x) if not isinstance(x, (list, dict)) else f"a {type(x).__name__} of {len(x)}"
    return text if len(text) < 80 else f"{text[:80]}…"


def _wrong(what: Any, x: Any, right: Any) -> ArchiveError:
    return ArchiveError(f"{_shown(what)} is {_shown(x)}, not {right}")


def _whole(what: str, x: Any, low: int = 0, high: int = LARGEST) -> int:
    if type(x) is not int or not low <= x <= high:
        raise _wrong(what, x if type(x) is not int or abs(x) < LARGEST else "larger", f"a whole number from {low}")
    return x


def _number(what: str, x: Any) -> float:
    if type(x) is float:
        return x
    if type(x) is not int or abs(x) > LARGEST:
        raise _wrong(what, "larger" if type(x) is int else x, "a number")
    return x


def _text(what: str, x: Any) -> str:
    if not isinstance(x, str):
        raise _wrong(what, x, "text")
    return x


def _one_of(what: str, x: Any, right: tuple[Any, ...] | list[str]) -> Any:
    if not isinstance(x, (str, bool)) or x not in right:
        raise _wrong(what, x, f"one of {', '.join(map(str, right))}")
    return x


def _list(what: str, x: Any) -> list[Any]:
    if not isinstance(x, list):
        raise _wrong(what, x, "a list")
    return x


def _pair(what: str, x: Any) -> list[Any]:
    if len(_list(what, x)) != 2:
        raise _wrong(what, x, "a pair")
    return x  # type: ignore[no-any-return]


def _mapping(what: str, x: Any, *keys: str) -> dict[str, Any]:
    """A dictionary, of these keys if there are any."""
    if not isinstance(x, dict):
        raise _wrong(what, x, "a dictionary")
    if keys and x.keys() != set(keys):
        different = ", ".join(_shown(k) for k in sorted(x.keys() ^ set(keys))[:9])
        raise ArchiveError(f"{_shown(what)} has too much or too little: {different}")
    return x


def _steps(what: str, steps: Any, n: int, *, low: int = 0, twice: bool = False) -> list[int]:
    """Step numbers in order, each once unless `twice` says otherwise."""
    for step in _list(what, steps):
        if type(step) is not int or not low <= step <= n:
            raise _wrong(what, step, f"a step of a run of {n}")
    if any(b < a or (a == b and not twice) for a, b in pairwise(steps)):
        raise ArchiveError(f"{what} are not steps in order")
    return list(steps)


def _shape(x: Any) -> tuple[int, ...]:
    return tuple(_whole("a shape", n) for n in _list("a shape", x))


def _seed_sequence(x: dict[str, Any]) -> None:
    """A `SeedSequence`, or the kind of a generator that a run was given."""
    if x.keys() == {"bit_generator"}:
        _text("seed", x["bit_generator"])
        return
    _mapping("seed", x, "entropy", "spawn_key", "pool_size", "n_children_spawned")
    entropy = x["entropy"]
    for k in [*(entropy if isinstance(entropy, list) else [entropy]), *_list("spawn_key", x["spawn_key"])]:
        _whole("seed", k, high=LARGEST_SEED)
    _whole("pool_size", x["pool_size"], high=1 << 10)
    _whole("n_children_spawned", x["n_children_spawned"])


def _environment(x: Any) -> dict[str, Any]:
    for k, v in _mapping("environment", x).items():
        if type(v) not in (str, int, float, type(None)):
            raise _wrong(k, v, "text or a number")
        if not f"{k}{v}".isprintable() or len(f"{k}{v}") > 300:  # it is quoted in a warning
            raise _wrong("environment", v, "a short text")
    return dict(x)

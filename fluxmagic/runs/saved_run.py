"""What a file says of a run, version 2: its schema, and the record and settings that follow from it once checked.

`schema` converts these dataclasses to JSON and back.  Nothing here knows a run, a parameter or a path.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Annotated, Any

import numpy as np

from fluxmagic.greek import ascii_name
from fluxmagic.optimise import schedules as ready_made
from fluxmagic.optimise.optimiser import OPTIMISERS, Optimiser
from fluxmagic.runs.archive import ArchiveError
from fluxmagic.runs.record import Event, Record
from fluxmagic.runs.schema import OneOf, ShortText, Whole, mismatch, shown
from fluxmagic.runs.turns import Turns

__all__ = ["OwnSchedules", "SavedGenerator", "SavedOptimiser", "SavedRecord", "SavedRun", "SavedSnapshot", "Settings"]

OwnSchedules = Mapping[str, list[Callable[[int], float]]]
"""The user's own schedules of each hyper-parameter, in the order in which they came."""


@dataclass(frozen=True)
class ReadyMade:
    """A schedule of `fluxmagic.optimise`."""

    schedule: Annotated[str, OneOf(tuple(ready_made.__all__))]
    arguments: dict[str, float]


@dataclass(frozen=True)
class OwnSchedule:
    """A user's own schedule, by its number."""

    own: Annotated[int, Whole(high=9999)]


Setting = float | ReadyMade | OwnSchedule
Change = tuple[int, str, Setting | str | None, Setting | str | None]
"""After how many steps, of which hyper-parameter (or "opt"), from what, to what."""


@dataclass(frozen=True)
class SavedOptimiser:
    """The state of an optimiser but for its arrays."""

    n: int
    hypers: dict[str, float]
    numbers: dict[str, float]
    schedules: dict[str, ReadyMade | OwnSchedule]


@dataclass(frozen=True)
class SavedSnapshot:
    """A snapshot but for its arrays, and for what the record says."""

    optimisers: dict[str, SavedOptimiser]
    position: Annotated[int, Whole(-1)]
    generators: list[dict[str, object]]
    epoch_start: list[dict[str, object]]


@dataclass(frozen=True)
class SavedGenerator:
    """A seed that is a generator: its state is in the snapshots."""

    bit_generator: str


SeedInt = Annotated[int, Whole(high=1 << 4096)]
Positive = Annotated[int, Whole(1)]
Short = Annotated[str, ShortText()]


@dataclass(frozen=True)
class SavedRun:
    """A run but for its arrays.  `params` are names; `buffers` is a number."""

    id: str
    fluxmagic: str
    name: str | None
    epochs: Positive | None
    steps: Positive | None
    seed: SeedInt | list[SeedInt] | SavedGenerator | None
    state: Annotated[str, OneOf(("ready", "paused", "stopped", "done", "failed"))]
    environment: dict[Short, Short | int | float | None]
    params: list[str | None]
    buffers: int
    record: SavedRecord
    start: SavedSnapshot
    now: SavedSnapshot

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ArchiveError("the run has to end after its epochs or after its steps: one of the two is a number")


@dataclass(frozen=True)
class SavedRecord:
    """A record, attribute by attribute, but for its columns `loss`, `rows` and `seconds`."""

    opt: str
    values: dict[str, Setting]
    updates: int
    stepwise: bool
    rejected: list[int]
    epochs: list[int]
    evaluations: list[tuple[int, dict[str, float]]]
    events: list[Change]
    restored_weights: list[tuple[int, int]]
    kept: int | None
    plan: list[Change]
    planned: Annotated[int, Whole(-1)]

    @classmethod
    def of(cls, record: Record, own: OwnSchedules) -> SavedRecord:
        """Copy a record."""

        def changes(events: Iterable[Event]) -> list[Change]:
            return [(s, k, setting_to_file(k, old, own), setting_to_file(k, new, own)) for s, k, old, new in events]

        copied = {f.name: getattr(record, f.name) for f in fields(cls)}
        copied = {k: list(v) if isinstance(v, list) else v for k, v in copied.items()}
        copied["values"] = {k: setting_to_file(k, v, own) for k, v in record.values.items()}
        copied["events"] = changes(record.events)
        copied["plan"] = changes(e._replace(old=None) for e in record.plan)
        return cls(**copied)

    def record(self, columns: Mapping[str, np.ndarray], settings: Settings) -> Record:
        """Check all, and make the record."""
        n = len(columns["loss"])
        for k, kind in (("loss", "f"), ("seconds", "f"), ("rows", "u")):
            a = columns[k]
            if a.shape != (n,) or a.dtype.kind != kind:
                raise mismatch(k, f"{a.dtype} of shape {a.shape}", f"a number for each of {n} steps")
        if not np.isfinite(columns["seconds"]).all():
            raise ArchiveError("its seconds are not finite")
        self._check_steps(n)
        cls = settings.optimiser(self.opt)
        record = Record(self.opt, settings.all(cls, self.values), self.updates, stepwise=self.stepwise)
        for k, code in (("loss", "d"), ("seconds", "d"), ("rows", "I")):
            setattr(record, k, array(code, columns[k].tolist()))
        for k in ("rejected", "epochs", "evaluations", "restored_weights", "kept", "planned"):
            setattr(record, k, getattr(self, k))
        record.events = settings.events(cls, self.events)
        record.plan = Turns(settings.events(cls, self.plan, planned=True))
        return record

    def _check_steps(self, n: int) -> None:
        if self.epochs[:1] != [0]:
            raise ArchiveError("its first epoch does not begin at step 0")
        for name, low, distance, steps in (
            ("epochs", 1, 1, self.epochs[1:]),
            ("rejected", 1, 1, self.rejected),
            ("evaluations", 1, 1, [step for step, _ in self.evaluations]),
            ("restored_weights", 1, 0, [step for step, _ in self.restored_weights]),
            ("events", 0, 0, [change[0] for change in self.events]),
            ("kept", 0, 0, [self.kept or 0]),
            ("planned", -1, 0, [self.planned]),
        ):
            if steps and not (low <= min(steps) and max(steps) <= n):
                raise mismatch(name, f"from step {min(steps)} to {max(steps)}", f"from {low} to {n}")
            if any(b - a < distance for a, b in pairwise(steps)):
                raise ArchiveError(f"{name} has steps that are not in order")
        if any(best > after for after, best in self.restored_weights):
            raise ArchiveError("restored_weights has weights of steps that were not taken yet")


def setting_to_file(name: str, value: Any, own: OwnSchedules) -> Any:
    """Convert a number or a schedule; the name of an optimiser stays."""
    if not callable(value):
        return value
    if ready_made.is_ready_made(value):
        return ReadyMade(type(value).__name__, asdict(value))
    return OwnSchedule(next((i for i, f in enumerate(own.get(name, [])) if f is value), 0))


class Settings:
    """Gives optimisers by name, and numbers and schedules within the bounds of their hyper-parameters.

    Attributes
    ----------
    missing : dict of str to int
        Hyper-parameters with own schedules that were not given, and how many each has.
    """

    def __init__(self, given: Mapping[str, Any] | None, *, narrow: bool, updates: int) -> None:
        self._given = {ascii_name(k): v if isinstance(v, (list, tuple)) else [v] for k, v in (given or {}).items()}
        self._to_look_at = given is None
        self._narrow = narrow  # a parameter is float32
        self._updates = updates  # a schedule is checked at 0 and there
        self._unknown: dict[tuple[str, int], UnknownSchedule] = {}
        self.missing: dict[str, int] = {}

    def optimiser(self, name: object) -> type[Optimiser]:
        """Give the registered class of a name."""
        if not isinstance(name, str) or name not in OPTIMISERS:
            quoted = name if isinstance(name, str) and name.isidentifier() and len(name) < 80 else shown(name)
            raise ArchiveError(f"unknown optimiser {quoted}: define the class first")
        return OPTIMISERS[name]

    def all(self, cls: type[Optimiser], saved: Mapping[str, Setting]) -> dict[str, Any]:
        """Give all settings of an optimiser; one that the file does not know has its default."""
        return {k: h.default for k, h in cls.hypers.items()} | {k: self.one(cls, k, v) for k, v in saved.items()}

    def one(self, cls: type[Optimiser], name: str, x: object) -> Any:
        """Give one setting."""
        if name not in cls.hypers:
            raise mismatch("hyper-parameter", name, f"one of {cls.__name__}: {', '.join(cls.hypers)}")
        if isinstance(x, OwnSchedule):
            return self._own(name, x.own)
        check = cls.hypers[name].check
        try:
            if not isinstance(x, ReadyMade):
                return check(x, self._narrow)
            schedule: Callable[[int], float] = getattr(ready_made, x.schedule)(**x.arguments)
            for n in (0, self._updates):
                check(schedule(n), self._narrow, may_vanish=True)
            return schedule
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ArchiveError(f"a setting of {name} is not possible: {error}") from None

    def events(self, cls: type[Optimiser], changes: list[Change], *, planned: bool = False) -> list[Event]:
        """Give events, each checked for the optimiser that is active then; a planned one has no old value."""
        found = []
        for step, name, old, new in changes:
            before: Any = None
            if name == "opt":
                before = None if planned else cls.__name__
                if old != before:
                    raise mismatch("opt", old, f"{before}, which was active at step {step}")
                cls = self.optimiser(new)
            else:
                before = None if planned else self.one(cls, name, old)
                new = self.one(cls, name, new)
            found.append(Event(step, name, before, new))
        return found

    def _own(self, name: str, which: int) -> Any:
        given = self._given.get(ascii_name(name), [])
        if which < len(given):
            return given[which]
        if not self._to_look_at:
            self.missing[name] = max(self.missing.get(name, 0), which + 1)
        return self._unknown.setdefault((name, which), UnknownSchedule())


class UnknownSchedule:
    """Stands for an own schedule that a run which is only looked at does not need."""

    def __call__(self, n: int) -> float:
        return float("nan")

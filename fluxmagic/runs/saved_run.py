"""What a file says of a run, in version 2: the schema, and the record and settings that follow once it is checked.

`schema` converts the dataclasses to JSON and back.  Nothing here knows a run, a parameter or a path.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from typing import Annotated, Any

import numpy as np

from fluxmagic.greek import ascii_name
from fluxmagic.optimise import schedules as ready_made
from fluxmagic.optimise.optimiser import OPTIMISERS, Optimiser
from fluxmagic.runs.archive import ArchiveError
from fluxmagic.runs.optimisers import Turns
from fluxmagic.runs.record import Event, Record
from fluxmagic.runs.schema import mismatch, one_of, short_text, whole

__all__ = ["COLUMNS", "OwnSchedules", "SavedGenerator", "SavedOptimiser", "SavedRecord", "SavedRun", "SavedSnapshot"]
__all__ += ["Settings", "to_file"]

OwnSchedules = Mapping[str, list[Callable[[int], float]]]
"""The user's own schedules of each hyper-parameter, in the order in which they came."""


@dataclass(frozen=True)
class ReadyMade:
    """A schedule of `fluxmagic.optimise`."""

    schedule: Annotated[str, one_of(*ready_made.__all__)]
    arguments: dict[str, float]


@dataclass(frozen=True)
class OwnSchedule:
    """A schedule of the user's own, by its number."""

    own: Annotated[int, whole(high=9999)]


COLUMNS = {"loss": ("f", "d"), "rows": ("u", "I"), "seconds": ("f", "d")}
"""Of a record: the kinds of their arrays in a file, and their codes in a record."""
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
    position: Annotated[int, whole(-1)]
    generators: list[dict[str, object]]
    epoch_start: list[dict[str, object]]


@dataclass(frozen=True)
class SavedGenerator:
    """A seed that is a generator: its state is in the snapshots."""

    bit_generator: str


SeedInt = Annotated[int, whole(high=1 << 4096)]
Positive = Annotated[int, whole(1)]
Short = Annotated[str, short_text]


@dataclass(frozen=True)
class SavedRun:
    """A run but for its arrays: of parameters the names, of buffers the number."""

    id: str
    fluxmagic: str
    name: str | None
    epochs: Positive | None
    steps: Positive | None
    seed: SeedInt | list[SeedInt] | SavedGenerator | None
    state: Annotated[str, one_of("ready", "paused", "stopped", "done", "failed")]
    environment: dict[Short, Short | int | float | None]
    params: list[str | None]
    buffers: int
    record: SavedRecord
    start: SavedSnapshot
    now: SavedSnapshot
    capture: bool = False

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
    planned: Annotated[int, whole(-1)]
    retaken: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def of(cls, record: Record, own: OwnSchedules) -> SavedRecord:
        """Copy a record."""

        def changes(events: Iterable[Event]) -> list[Change]:
            return [(s, k, to_file(k, old, own), to_file(k, new, own)) for s, k, old, new in events]

        copied = {f.name: getattr(record, f.name) for f in fields(cls)}
        copied = {k: list(v) if isinstance(v, list) else v for k, v in copied.items()}
        copied["values"] = {k: to_file(k, v, own) for k, v in record.values.items()}
        copied["events"] = changes(record.events)
        copied["plan"] = changes(e._replace(old=None) for e in record.plan)
        return cls(**copied)

    def record(self, columns: Mapping[str, np.ndarray], settings: Settings) -> Record:
        """Check all, and make the record."""
        self._check_steps(len(columns["loss"]))
        cls = settings.optimiser(self.opt)
        record = Record(self.opt, settings.all(cls, self.values), self.updates, stepwise=self.stepwise)
        for k, (kind, code) in COLUMNS.items():
            a = columns[k]
            if a.shape != (len(columns["loss"]),) or a.dtype.kind != kind:
                raise mismatch(k, f"{a.dtype} of shape {a.shape}", f"a number for each of {len(columns['loss'])} steps")
            setattr(record, k, array(code, a.tolist()))
        if not np.isfinite(columns["seconds"]).all():
            raise ArchiveError("its seconds are not finite")
        for k in ("rejected", "epochs", "evaluations", "restored_weights", "kept", "planned", "retaken"):
            setattr(record, k, getattr(self, k))
        record.events = settings.events(cls, self.events)
        record.plan = Turns(settings.events(cls, self.plan, planned=True))
        record.complete()
        return record

    def _check_steps(self, n: int) -> None:
        for name, low, distance, steps in (
            ("the first epoch", 0, 0, self.epochs[:1]),
            ("epochs", 1, 1, self.epochs[1:]),
            ("rejected", 1, 1, self.rejected),
            ("evaluations", 1, 1, [step for step, _ in self.evaluations]),
            ("restored_weights", 1, 0, [step for step, _ in self.restored_weights]),
            ("events", 0, 0, [change[0] for change in self.events]),
            ("kept", 0, 0, [self.kept or 0]),
            ("retaken", 1, 0, [step for pair in self.retaken for step in pair]),
            ("planned", -1, 0, [self.planned]),
        ):
            if not all(low <= step <= n for step in steps) or any(b - a < distance for a, b in pairwise(steps)):
                raise ArchiveError(f"{name}: its steps are not in order, or not from {low} to {n}")
        if self.epochs[:1] != [0] or any(best > after for after, best in self.restored_weights):
            raise ArchiveError("the first epoch begins later than at 0, or restored weights are of a later step")


def to_file(name: str, value: Any, own: OwnSchedules) -> Any:  # noqa: ANN401
    """Convert a number or a schedule; the name of an optimiser stays."""
    if not callable(value):
        return value
    if ready_made.is_ready_made(value):
        return ReadyMade(type(value).__name__, asdict(value))
    return OwnSchedule(next((i for i, f in enumerate(own.get(name, [])) if f is value), 0))


class Settings:
    """Converts names to optimisers, and saved settings to numbers and schedules within their bounds.

    `given` has own schedules by hyper-parameter, one or a list; they are checked at 0 and at a number of updates.
    `narrow` says that a parameter is float32.
    """

    def __init__(self, given: Mapping[str, Any], *, narrow: bool, updates: int) -> None:
        self._own = {ascii_name(k): list(v) if isinstance(v, (list, tuple)) else [v] for k, v in given.items()}
        self._narrow, self._updates = narrow, updates
        self.missing: dict[str, int] = {}  # by hyper-parameter, how many own schedules are not given: they are NaN

    def optimiser(self, name: object) -> type[Optimiser]:
        """Give the registered class of a name."""
        if name not in OPTIMISERS:
            raise ArchiveError(f"unknown optimiser {name}: define the class first")
        return OPTIMISERS[name]

    def all(self, cls: type[Optimiser], saved: Mapping[str, Setting]) -> dict[str, Any]:
        """Give all settings of an optimiser; one that the file does not know has its default."""
        return {k: h.default for k, h in cls.hypers.items()} | {k: self.one(cls, k, v) for k, v in saved.items()}

    def one(self, cls: type[Optimiser], name: str, x: object) -> Any:  # noqa: ANN401
        """Give one setting."""
        if name not in cls.hypers:
            raise mismatch("a hyper-parameter", name, f"one of {cls.__name__}: {', '.join(cls.hypers)}")
        if isinstance(x, OwnSchedule):
            own = self._own.setdefault(ascii_name(name), [])
            if x.own >= len(own):
                self.missing[name] = x.own + 1
                own += [UnknownSchedule() for _ in range(x.own + 1 - len(own))]
            return own[x.own]
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
            active = cls
            if name == "opt":
                cls = self.optimiser(new)
                if not planned and old != active.__name__:
                    raise mismatch("opt", old, f"{active.__name__}, which was active at step {step}")
            else:
                old, new = (None if planned else self.one(cls, name, old)), self.one(cls, name, new)
            found.append(Event(step, name, old, new))
        return found


class UnknownSchedule:
    """Replaces an own schedule that is not given."""

    def __call__(self, n: int) -> float:
        return float("nan")

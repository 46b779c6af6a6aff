"""All that a training step depends on: parameters, buffers, generators, optimisers and the place in the data.

Only the thread that holds the run's boundary (`control`) changes a state.  It knows no run and no record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fluxmagic import generators
from fluxmagic.layers import state as changing_parts
from fluxmagic.runs.cursor import DataCursor, GeneratorStates, generator_states, restore_generators
from fluxmagic.runs.optimisers import OptimiserSet, OptimiserState
from fluxmagic.tracker import Param

__all__ = ["Snapshot", "TrainingState", "Values", "set_numbers"]


class Values(NamedTuple):
    """Parameters and buffers, each with a copy of its value."""

    params: list[tuple[Param, np.ndarray]]
    buffers: list[tuple[np.ndarray, np.ndarray]]

    def restore(self) -> None:
        """Assign the copies."""
        for p, value in self.params:
            p.data = value
        for buffer, value in self.buffers:
            buffer[...] = value


@dataclass(frozen=True)
class Snapshot:
    """The state of training after a number of steps, as copies."""

    step: int
    values: Values
    generators: GeneratorStates
    optimisers: dict[str, OptimiserState]  # by name, each that was used so far
    active: str  # the name of the active one
    position: int  # batches finished of the epoch; -1 where it has not begun
    epoch_start: GeneratorStates  # from which the order of the epoch's data follows

    @property
    def nbytes(self) -> int:
        """Bytes of the copies."""
        arrays = [a for pairs in self.values for _, a in pairs]
        for opt in self.optimisers.values():
            arrays.extend(a for kept in opt.state["arrays"].values() for a in kept)
        return sum(a.nbytes for a in arrays)


class TrainingState:
    """What a step reads and writes."""

    def __init__(self, optimisers: OptimiserSet, cursor: DataCursor, rng: np.random.Generator | None = None) -> None:
        self.step = 0  # steps taken
        self.params: list[Param] = []  # empty before the first loss
        self.buffers: list[np.ndarray] = []  # running statistics: the arrays of the layers themselves
        self.optimisers = optimisers
        self.cursor = cursor
        self.parked: tuple[Values, GeneratorStates] | None = None  # the own ones, while another state is active
        self.last: Values | None = None  # those after the last step, while `show` has put others in their place
        self.use_rng(rng)

    def use_rng(self, rng: np.random.Generator | None) -> None:
        """Draw from this generator in place of the default one."""
        self.rng = rng
        self.using_rng = generators.using(rng)

    def own_rng(self) -> None:
        """Make a generator from the default one, unless there is one: other draws do not change the run then."""
        if self.rng is None:
            self.use_rng(np.random.default_rng(generators.as_generator().integers(1 << 63)))

    @property
    def generators(self) -> list[np.random.Generator]:
        """The generators that a step may draw from."""
        return self.cursor.generators

    def find_parts(self, roots: Sequence[Any]) -> None:
        """Find buffers and generators in model, loss and data."""
        self.own_rng()
        found = changing_parts(*roots)
        self.buffers = [x for x in found if isinstance(x, np.ndarray)]
        with self.using_rng:
            used = [generators.current(x) for x in found if isinstance(x, np.random.Generator)]
            self.cursor.generators = list({id(g): g for g in [*used, generators.as_generator()]}.values())

    # -- values --------------------------------------------------------------------------------------------

    def values(self) -> Values:
        """Copy the values of parameters and buffers."""
        return Values([(p, p.value.copy()) for p in self.params], [(a, a.copy()) for a in self.buffers])

    @property
    def current(self) -> tuple[Values, GeneratorStates]:
        """The own values and generator states, active or parked."""
        return self.parked or (self.values(), generator_states(self.generators))

    def capture(self) -> Snapshot:
        """Copy the state after its last step, active or parked."""
        values, states = self.current
        position, epoch_start = self.cursor.tell()
        optimisers, active = self.optimisers.states(), self.optimisers.active_key
        return Snapshot(self.step, self.last or values, states, optimisers, active, position, epoch_start)

    def restore(self, s: Snapshot) -> None:
        """Return to a captured state."""
        self.last = None
        self.cursor.seek(s.position, s.epoch_start)
        s.values.restore()
        self.optimisers.restore(s.optimisers, s.active, self.params)
        self.optimisers.zero_grads()
        restore_generators(s.generators)
        self.step = s.step

    def show(self, values: Values | None) -> None:
        """Put other values in place of those after the last step, which return with `show_last`."""
        if values is None:
            return
        if self.parked is None:
            self.last = self.values()
            values.restore()
        else:
            self.last, self.parked = self.parked[0], (values, self.parked[1])

    def show_last(self) -> None:
        """Return to the values after the last step."""
        if self.last is not None:
            self.last.restore()
            self.last = None

    # -- other states over the same parameters -------------------------------------------------------------

    def park(self, before: tuple[Values, GeneratorStates] | None = None) -> None:
        """Copy the own values: another state becomes active.

        `before` has the buffers and generators as they were before that other state changed them.
        """
        if self.parked is None:
            values, states = self.current
            if before is not None:
                known = {id(x): kept for x, kept in [*before[0].buffers, *before[1]]}
                values = values._replace(buffers=[(a, known.get(id(a), kept)) for a, kept in values.buffers])
                states = [(g, known.get(id(g), kept)) for g, kept in states]
            self.parked = values, states

    def unpark(self) -> None:
        """Assign the own values again."""
        if self.parked is not None:
            values, states = self.parked
            values.restore()
            restore_generators(states)
            self.parked = None

    def __reduce__(self) -> tuple[Any, ...]:
        shown = None if self.last is None else self.current[0]
        made_of = self.optimisers, DataCursor(self.cursor.data), self.rng
        return TrainingState, made_of, (self.params, self.buffers, self.generators, self.capture(), shown)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.params, self.buffers, self.cursor.generators, now, shown = state
        self.restore(now)
        self.show(shown)


def set_numbers(params: Sequence[Param], numbers: np.ndarray) -> None:
    """Assign all numbers of parameters."""
    ends = np.cumsum([p.size for p in params])
    for p, part in zip(params, np.split(numbers, ends[:-1]), strict=True):
        p.data = part.reshape(p.shape)

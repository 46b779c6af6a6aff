"""All that a training step depends on: parameters, buffers, generators, optimisers and the place in the data.

Only the thread that holds the run's boundary (`control`) changes a state.  It knows no run and no record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fluxmagic import generators
from fluxmagic.layers import state as changing_parts
from fluxmagic.runs.cursor import DataCursor, GeneratorStates, generator_states, restore_generators
from fluxmagic.runs.optimisers import OptimiserSet, OptimiserState
from fluxmagic.tracker import Param

__all__ = ["Model", "ModelState", "Snapshot", "TrainingState", "Values", "set_numbers"]


class Values(NamedTuple):
    """Copies of the values of parameters and buffers, in the order in which a `Model` has them."""

    params: list[np.ndarray]
    buffers: list[np.ndarray]

    @property
    def nbytes(self) -> int:
        """Bytes of the copies."""
        return sum(a.nbytes for arrays in self for a in arrays)


class ModelState(NamedTuple):
    """What a model's next output depends on: values, and the states of its generators."""

    values: Values
    generators: GeneratorStates


class Model:
    """The places of values: nothing that is copied from here refers to them, so that it fits a copy of the model."""

    params: list[Param]
    buffers: list[np.ndarray]  # running statistics: the arrays of the layers themselves

    @property
    def generators(self) -> list[np.random.Generator]:
        """The generators that a step may draw from."""
        raise NotImplementedError

    def values(self) -> Values:
        """Copy the values of parameters and buffers."""
        return Values([p.value.copy() for p in self.params], [a.copy() for a in self.buffers])

    def assign(self, values: Values) -> None:
        """Assign copied values."""
        for p, value in zip(self.params, values.params, strict=True):
            p.data = value
        self.assign_buffers(values.buffers)

    def assign_buffers(self, values: list[np.ndarray]) -> None:
        """Assign copied values of the buffers."""
        for buffer, value in zip(self.buffers, values, strict=True):
            buffer[...] = value

    def model_state(self) -> ModelState:
        """Copy values and generator states."""
        return ModelState(self.values(), generator_states(self.generators))

    def assign_state(self, state: ModelState) -> None:
        """Assign copied values and generator states."""
        self.assign(state.values)
        restore_generators(self.generators, state.generators)


@dataclass(frozen=True)
class Snapshot:
    """The state of training after a number of steps, as copies without a reference to the run."""

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
        kept = (arrays for opt in self.optimisers.values() for arrays in opt.state["arrays"].values())
        return self.values.nbytes + sum(int(a.nbytes) for arrays in kept for a in arrays)


class TrainingState(Model):
    """What a step reads and writes."""

    def __init__(self, optimisers: OptimiserSet, cursor: DataCursor, rng: np.random.Generator | None = None) -> None:
        self.step = 0  # steps taken
        self.params: list[Param] = []  # empty before the first loss
        self.buffers: list[np.ndarray] = []
        self.optimisers = optimisers
        self.cursor = cursor
        self.parked: ModelState | None = None  # the own ones, while another state is active
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

    @property
    def current(self) -> ModelState:
        """The own values and generator states, active or parked."""
        return self.parked or self.model_state()

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
        self.assign(s.values)
        self.optimisers.restore(s.optimisers, s.active, self.params)
        self.optimisers.zero_grads()
        restore_generators(self.generators, s.generators)
        self.step = s.step

    def show(self, values: Values | None) -> None:
        """Put other values in place of those after the last step, which return with `show_last`."""
        if values is None:
            return
        if self.parked is None:
            self.last = self.values()
            self.assign(values)
        else:
            self.last, self.parked = self.parked.values, self.parked._replace(values=values)

    def show_last(self) -> None:
        """Return to the values after the last step."""
        if self.last is not None:
            self.assign(self.last)
            self.last = None

    # -- other states over the same parameters -------------------------------------------------------------

    def park(self, known: Mapping[int, Any] | None = None) -> None:
        """Copy the own values: another state becomes active.

        `known` has, by their ids, buffers and generators as they were before that other state changed them.
        """
        if self.parked is None:
            self.parked = self.model_state()
            for places, kept in ((self.buffers, self.parked.values.buffers), (self.generators, self.parked.generators)):
                kept[:] = [(known or {}).get(id(x), now) for x, now in zip(places, kept, strict=True)]

    def unpark(self) -> None:
        """Assign the own values again."""
        if self.parked is not None:
            self.assign_state(self.parked)
            self.parked = None

    def __reduce__(self) -> tuple[Any, ...]:
        shown = None if self.last is None else self.current.values
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

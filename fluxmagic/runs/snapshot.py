"""The state of a run at one moment, and a shelf of such moments that does not grow without bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.tracker import Param

__all__ = ["OptState", "Shelf", "Snapshot"]

GeneratorStates = list[tuple[np.random.Generator, Any]]


Kept = list[tuple[Any, np.ndarray]]
"""Parameters, or live arrays, and copies of their values."""


class OptState(NamedTuple):
    """All that an optimiser would need to go on: its class, its `state_dict`, its schedules."""

    cls: type[Optimiser]
    state: dict[str, Any]
    schedules: dict[str, Callable[[int], float]]


@dataclass(frozen=True)
class Snapshot:
    """All that a step depends on, as it was after `step` steps.  Copies: what goes on in training does not touch it.

    Attributes
    ----------
    step : int
    weights : list of (Param, ndarray)
    statistics : list of (ndarray, ndarray)
        The layers' live arrays (running means), and copies.
    generators : list of (Generator, state)
    opts : dict of OptState
        By name, for each optimiser used so far.
    opt : str
        The name of the one in force.
    place : int
        Batches taken of the epoch; -1 where the epoch has not begun.
    epoch_start : list of (Generator, state)
        The generators when the epoch began: the order of its data follows from them.
    """

    step: int
    weights: Kept
    statistics: Kept
    generators: GeneratorStates
    opts: dict[str, OptState]
    opt: str
    place: int
    epoch_start: GeneratorStates

    @property
    def nbytes(self) -> int:
        """Bytes that the copies take."""
        arrays = [a for _, a in self.weights] + [a for _, a in self.statistics]
        for opt in self.opts.values():
            arrays.extend(a for kept in opt.state["arrays"].values() for a in kept)
        return sum(a.nbytes for a in arrays)

    def restore_arrays(self) -> None:
        """Put weights and statistics back."""
        put(self.weights, self.statistics)


def put(weights: Kept, statistics: Kept) -> None:
    """Assign what `copies` kept."""
    for p, value in weights:
        p.data = value
    for live, value in statistics:
        live[...] = value


def copies(params: list[Param], statistics: list[np.ndarray]) -> tuple[Kept, Kept]:
    """Weights and statistics, copied."""
    return [(p, p.value.copy()) for p in params], [(a, a.copy()) for a in statistics]


def generator_states(generators: list[np.random.Generator]) -> GeneratorStates:
    """Generators and the states that they are in."""
    return [(g, g.bit_generator.state) for g in generators]


def restore_generators(states: GeneratorStates) -> None:
    """Put generators into the states that they were in."""
    for g, state in states:
        g.bit_generator.state = state


class Shelf:
    """Snapshots at growing distances: the start always, of the others as many as fit.

    Whenever there are too many, every second one goes, and the distance doubles.
    """

    most = 32

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.start: Snapshot | None = None
        self.every = 1
        self.others: list[Snapshot] = []

    def put(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, and thin out what is there."""
        if snapshot.step == 0:
            self.start = snapshot
            return
        self.others.append(snapshot)
        size = snapshot.nbytes
        while self.others and (len(self.others) > self.most or len(self.others) * size > self.budget):
            self.every *= 2
            self.others = [s for s in self.others if s.step % self.every == 0]
            if self.every > 1 << 40:
                break

    def before(self, step: int) -> Snapshot:
        """The last snapshot that is not after this step."""
        assert self.start is not None
        return max((s for s in self if s.step <= step), key=lambda s: s.step)

    def cut(self, step: int) -> None:
        """Forget what came after a step."""
        self.others = [s for s in self.others if s.step <= step]

    def __iter__(self) -> Iterator[Snapshot]:
        if self.start is not None:
            yield self.start
        yield from self.others

    def copy(self) -> Shelf:
        """Another shelf with the same snapshots, which are never written to."""
        new = Shelf(self.budget)
        new.start, new.every, new.others = self.start, self.every, list(self.others)
        return new

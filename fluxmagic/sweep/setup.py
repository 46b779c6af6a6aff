"""What all trials of a sweep share, what one trial is, and the model as it is at a start.

Trials in this process work on the user's own parameters, which `borrowed` puts back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fluxmagic import generators
from fluxmagic.layers import state
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.runs import Run
from fluxmagic.runs.cursor import Data, generator_states, restore_generators
from fluxmagic.runs.ownership import owners
from fluxmagic.runs.problem import Problem
from fluxmagic.runs.record import Setting
from fluxmagic.runs.state import Values
from fluxmagic.tracker import Param

__all__ = ["Arrays", "Setup", "Spec", "Start", "borrowed"]


R = TypeVar("R", bound=Run)


class Arrays(NamedTuple):
    """Values of parameters and running statistics, in the order in which a training state has them."""

    params: list[np.ndarray]
    buffers: list[np.ndarray]

    @classmethod
    def of(cls, values: Values) -> Arrays:
        """Leave the places out."""
        return cls([a for _, a in values.params], [a for _, a in values.buffers])

    def at(self, params: list[Param], buffers: list[np.ndarray]) -> Values:
        """Add the places."""
        return Values(list(zip(params, self.params, strict=True)), list(zip(buffers, self.buffers, strict=True)))


class Start(NamedTuple):
    """What a trial begins with: values, and the states of the generators that model and data hold."""

    values: Arrays
    generators: list[Mapping[str, Any]]


@dataclass(frozen=True)
class Spec:
    """What makes one trial: its number, that of its point, the seed, the optimiser, and its length."""

    index: int
    point: int
    seed: int
    cls: type[Optimiser]
    hypers: dict[str, Setting]
    epochs: int | None
    steps: int | None


@dataclass
class Setup:
    """What all trials share; `objective` is "valid", "loss" or a metric, `options` are those of `Run`."""

    loss: Callable[..., Any]
    data: Data
    params: list[Param]
    valid: Data = None
    metrics: dict[str, Callable[..., Any]] = field(default_factory=dict)
    model: object = None
    objective: str = "loss"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def problem(self) -> Problem:
        """Loss, data and evaluation; its length does not count."""
        return Problem(self.loss, self.data, self.model, self.valid, self.metrics, step_limit=1)

    @cached_property
    def _parts(self) -> tuple[list[np.ndarray], list[np.random.Generator]]:
        found = state(*self.problem.roots)
        default = generators.as_generator()
        return (
            [x for x in found if isinstance(x, np.ndarray)],
            [x for x in found if isinstance(x, np.random.Generator) and x is not default],
        )

    @property
    def buffers(self) -> list[np.ndarray]:
        """The running statistics of the layers."""
        return self._parts[0]

    @property
    def generators(self) -> list[np.random.Generator]:
        """The generators that model and data hold."""
        return self._parts[1]

    def start(self) -> Start:
        """Copy the present values and generator states."""
        buffers, rngs = self._parts
        values = Arrays([p.value.copy() for p in self.params], [a.copy() for a in buffers])
        return Start(values, [s for _, s in generator_states(rngs)])

    def assign(self, start: Start) -> None:
        """Bring the model to a start."""
        buffers, rngs = self._parts
        start.values.at(self.params, buffers).restore()
        restore_generators(list(zip(rngs, start.generators, strict=True)))

    def run(self, spec: Spec, start: Start, kind: type[R]) -> R:
        """Make the run of a trial, with the model at its start."""
        self.assign(start)
        return kind(
            self.loss,
            self.data,
            spec.cls(self.params, **spec.hypers),
            epochs=spec.epochs,
            steps=spec.steps,
            valid=self.valid,
            metrics=self.metrics,
            model=self.model,
            seed=spec.seed,
            snapshot_bytes=0,
            **self.options,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != "_parts"}


@contextmanager
def borrowed(setup: Setup) -> Iterator[None]:
    """Put the model back after the block as it was: values, statistics, generators, and the run that it belongs to.

    Raises
    ------
    RuntimeError
        If a run trains these parameters at this moment.
    """
    with ExitStack() as stack:
        others = owners(setup.params)
        for other in others:
            if other.in_use:
                raise RuntimeError(f"these weights are being trained by {other!r}: pause or stop that one first")
        refs = [p.run_ref for p in setup.params]
        before = setup.start()
        for other in others:
            if other.training.parked is None:
                other.training.park()
                stack.callback(other.training.unpark)

        def put_back() -> None:
            for now in owners(setup.params):
                if now not in others:
                    now.training.park()
            setup.assign(before)
            for p, ref in zip(setup.params, refs, strict=True):
                p.run_ref = ref

        stack.callback(put_back)
        yield

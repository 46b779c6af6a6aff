"""What all trials of a sweep share, what one trial is, and what comes before the first one.

Trials in this process work on the user's own parameters, which `borrowed` puts back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fluxmagic import generators
from fluxmagic.layers import reset, state
from fluxmagic.optimise.errors import NotFinite
from fluxmagic.optimise.interrupts import InterruptGuard
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.optimise.step import without_fp_warnings
from fluxmagic.runs import Run
from fluxmagic.runs.cursor import Data, DataCursor
from fluxmagic.runs.ownership import idle_owners, owners
from fluxmagic.runs.problem import Problem
from fluxmagic.runs.record import Setting
from fluxmagic.runs.state import Model, ModelState
from fluxmagic.tracker import Param, leaves

__all__ = ["Prepared", "Setup", "Spec", "Starts", "borrowed", "prepare"]

R = TypeVar("R", bound=Run)
Starts = Mapping[int, ModelState]
"""What trials begin with, by their seeds."""


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
class Setup(Model):
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
    def _found(self) -> list[Any]:
        return list(state(*self.problem.roots))

    @property
    def buffers(self) -> list[np.ndarray]:  # type: ignore[override]
        return [x for x in self._found if isinstance(x, np.ndarray)]

    @property
    def generators(self) -> list[np.random.Generator]:
        """Those that model and data hold."""
        default = generators.as_generator()
        return [x for x in self._found if isinstance(x, np.random.Generator) and x is not default]

    def find_params(self, seed: int = 0) -> None:
        """Train the parameters of the first batch's loss, unless they were given.  The model stays as it is."""
        if self.params:
            return
        with borrowed(self), generators.using(np.random.default_rng(seed)), without_fp_warnings():
            d = DataCursor(self.data).next(InterruptGuard())
            found = list(leaves(self.loss(*d) if isinstance(d, (tuple, list)) else self.loss(d)))
        if not found:
            raise TypeError("the loss reaches no parameter")
        self.params = found

    def run(self, spec: Spec, start: ModelState, kind: type[R]) -> R:
        """Make the run of a trial, with the model at its start."""
        self.assign_state(start)
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
        return {k: v for k, v in vars(self).items() if k != "_found"}


@contextmanager
def borrowed(setup: Setup) -> Iterator[None]:
    """Put the model back after the block as it was: values, statistics, generators, and the run that it belongs to.

    RuntimeError if a run trains these parameters at this moment.
    """
    with ExitStack() as stack:
        others = idle_owners(setup.params)
        refs = [p.run_ref for p in setup.params]
        before = setup.model_state()
        for other in others:
            if other.training.parked is None:
                other.training.park()
                stack.callback(other.training.unpark)

        def put_back() -> None:
            for now in owners(setup.params):
                if now not in others:
                    now.training.park()
            setup.assign_state(before)
            for p, ref in zip(setup.params, refs, strict=True):
                p.run_ref = ref

        stack.callback(put_back)
        yield


class Prepared(NamedTuple):
    """What is known before the first trial."""

    starts: Starts
    kept: list[Param]  # that no layer draws anew
    steps_per_epoch: int | None


def prepare(setup: Setup, specs: list[Spec], *, resets: bool) -> Prepared:
    """Try the first trial's first step, and make the start for each seed.  The model stays as it is.

    Where nothing differs between several seeds, that is a ValueError.
    """
    seeds = list(dict.fromkeys(s.seed for s in specs))
    setup.find_params(seeds[0])
    starts: dict[int, ModelState] = {}
    kept: list[Param] = []
    with borrowed(setup):
        original = setup.model_state()
        run = setup.run(specs[0], original, Run)
        with suppress(NotFinite):  # that is left to the trials
            run.step()
    rng = run.training.rng
    drawn = rng is not None and rng.bit_generator.state != np.random.default_rng(seeds[0]).bit_generator.state
    with borrowed(setup):
        for seed in seeds:
            setup.assign_state(original)
            if resets:
                ours = set(setup.params)
                kept = [p for p in reset(*setup.problem.roots, rng=seed) if p in ours]
            starts[seed] = setup.model_state()
    if len(seeds) > 1 and not drawn and _same(starts[seeds[0]], starts[seeds[1]]):
        raise ValueError(
            f"nothing differs between {len(seeds)} seeds: no layer draws weights anew by reset(rng), and neither data "
            "nor loss draws from the run's generator. Leave seeds out, or make the order of batches or dropout depend "
            "on it (batches without rng=)"
        )
    return Prepared(starts, kept, run.steps_per_epoch)


def _same(a: ModelState, b: ModelState) -> bool:
    return all(x.tobytes() == y.tobytes() for m, n in zip(a.values, b.values) for x, y in zip(m, n))

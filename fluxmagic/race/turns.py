"""Contestants take turns over the same parameters, and the user's values come back.

Each contestant is parked while another one trains.  One thread at a time does this, from `begin` to `end`.
"""

from __future__ import annotations

import math
import pickle
import random
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace

import numpy as np

from fluxmagic.capture.reach import Reach
from fluxmagic.optimise.errors import NotFinite
from fluxmagic.runs import Run
from fluxmagic.runs.optimisers import OptimiserState
from fluxmagic.runs.ownership import Owner, acquire, owners
from fluxmagic.runs.state import ModelState
from fluxmagic.tracker import Param

__all__ = ["TurnTaking"]

PARKING_SHARE = 0.02  # of the time by the least that was measured: some 4 % by the mean
MAX_SLICE = 200  # steps


class TurnTaking:
    """Give the parameters to one contestant after the other; the race's state of training has the user's values.

    A turn has `slice` steps, for which parking takes a small share of the time.
    """

    def __init__(self, race: Owner, runs: Collection[Run], params: list[Param]) -> None:
        self.race, self.runs, self.params = race, runs, params
        self.slice = 1
        self._parking = self._step = math.inf  # seconds: the least that a turn took beside its steps, and for one
        self._displaced: list[Owner] = []  # who had the parameters before
        self._generators: dict[str, object] = {}  # that contestants share
        self._noise: dict[str, bytes] = {}

    def begin(self, *, first: bool) -> None:
        """Note who has the parameters, if no turn was taken yet, and the generators that contestants share."""
        if not self._generators:
            run = next(iter(self.runs))
            self._generators = _find_generators(run.loss, run.data)
        if first:
            others = [o for o in owners(self.params) if o is not self.race]
            self._displaced = [o for o in others if o.training.params and o.training.parked is None]
            if any(o not in self.runs for o in others):
                self.race.training.parked = None  # others have trained the parameters since: the values are theirs
        self._noise = {name: _state(x) for name, x in self._generators.items()}

    def end(self, *, last: bool) -> None:
        """Assign the user's values; if no turn follows, those have the parameters again that had them before."""
        acquire(self.race, self.race.training.params)
        if last:
            for owner in self._displaced:
                acquire(owner, owner.training.params)

    def take(self, run: Run, goal: int) -> None:
        """Bring a contestant to a step, and adapt the slices.  One whose loss is not finite stays where it is."""
        if run.snapshots.start is None:
            self._take_first(run, goal)
            return
        start, before, n = time.perf_counter(), run.seconds, goal - run.steps
        with suppress(NotFinite):
            run.step(n, ends_loop=False)
        trained = run.seconds - before
        self._parking = min(self._parking, time.perf_counter() - start - trained)
        self._step = min(self._step, max(trained / n, 1e-9))
        self.slice = max(1, min(math.ceil(self._parking / PARKING_SHARE / self._step), MAX_SLICE))

    def _take_first(self, run: Run, goal: int) -> None:
        """Begin with the user's values."""
        acquire(self.race, self.race.training.params)
        try:
            with suppress(NotFinite):
                run.step(goal - run.steps, ends_loop=False)
        finally:
            if run.snapshots.start is not None:
                self._share_start(run)
        self.check_noise()

    def _share_start(self, run: Run) -> None:
        """Take the user's values from the start of the first contestant; the others hold no copies of their own."""
        start, mine = run.snapshots.start, self.race.training
        assert start is not None
        if not mine.params:
            mine.params, mine.buffers = run.training.params, run.training.buffers
            shared = {g: s for g, s in zip(run.training.generators, start.generators) if g is not run.training.rng}
            mine.cursor.generators, mine.parked = [*shared], ModelState(start.values, [*shared.values()])
            self.params, self._start = mine.params, start.values
        optimisers = {key: _without_memory(state) for key, state in start.optimisers.items()}
        run.snapshots.start = replace(start, values=self._start, optimisers=optimisers)

    def check_noise(self) -> None:
        """Raise a RuntimeError if something has drawn from a generator that contestants share since `begin`."""
        own = {id(g) for run in self.runs for g in run.training.generators}
        for name, x in self._generators.items():
            if id(x) not in own and _state(x) != self._noise[name]:
                raise RuntimeError(
                    f"the loss or the data draws from {name}: the contestants would not see the same noise. Draw from "
                    "a variable of your own, rng = np.random.default_rng(0), which each finds as it was at the start"
                )


def _without_memory(opt: OptimiserState) -> OptimiserState:
    """Let the arrays of a state at the start, which are zero, take no memory."""
    kept = opt.state["arrays"].items()
    arrays = {name: [np.broadcast_to(np.zeros((), a.dtype), a.shape) for a in each] for name, each in kept}
    return opt._replace(state={**opt.state, "arrays": arrays})


def _find_generators(*users: object) -> dict[str, object]:
    """Find the generators of the process, and those that a loss or data can reach, by what they are called."""
    found: dict[str, object] = {
        "NumPy's global generator (np.random.…)": np.random,
        "Python's global generator (random.…)": random,
    }
    for place in (p for user in users for p in Reach(user).places):
        if isinstance(place.value, (random.Random, np.random.RandomState, np.random.Generator)):
            found[f"{place.path.lstrip('.')}, a {type(place.value).__name__}"] = place.value
    return found


def _state(generator: object) -> bytes:
    if isinstance(generator, np.random.Generator):
        return pickle.dumps(generator.bit_generator.state)
    read = getattr(generator, "getstate", None) or getattr(generator, "get_state", None)
    return pickle.dumps(read and read())

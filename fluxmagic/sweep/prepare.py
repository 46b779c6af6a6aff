"""What comes before the first trial: one step is tried, and the starts are made.  The model stays as it is."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from fluxmagic import generators
from fluxmagic.layers import reset
from fluxmagic.optimise.errors import NotFinite
from fluxmagic.optimise.interrupts import InterruptGuard
from fluxmagic.optimise.step import without_fp_warnings
from fluxmagic.runs import Run
from fluxmagic.runs.cursor import DataCursor
from fluxmagic.sweep.setup import Setup, Spec, Start, borrowed
from fluxmagic.tracker import Param, leaves

__all__ = ["find_params", "prepare"]


def prepare(setup: Setup, specs: list[Spec], *, resets: bool) -> tuple[dict[int, Start], list[Param], int | None]:
    """Try the first trial's first step, and make the start for each seed.

    Beside the starts this gives the parameters that `resets` leaves as they are, and the steps of an epoch.  Where
    nothing differs between several seeds, that is a ValueError.
    """
    seeds = list(dict.fromkeys(s.seed for s in specs))
    run = _try(setup, specs[0])
    rng = run.training.rng
    drawn = rng is not None and rng.bit_generator.state != np.random.default_rng(seeds[0]).bit_generator.state
    starts: dict[int, Start] = {}
    kept: list[Param] = []
    with borrowed(setup):
        original = setup.start()
        for seed in seeds:
            setup.assign(original)
            if resets:
                ours = set(setup.params)
                kept = [p for p in reset(*setup.problem.roots, rng=seed) if p in ours]
            starts[seed] = setup.start()
    if len(seeds) > 1 and not drawn and _same(starts[seeds[0]], starts[seeds[1]]):
        raise ValueError(
            f"nothing differs between {len(seeds)} seeds: no layer draws weights anew by reset(rng), and neither data "
            "nor loss draws from the run's generator. Leave seeds out, or make the order of batches or dropout depend "
            "on it (batches without rng=)"
        )
    return starts, kept, run.steps_per_epoch


def _same(a: Start, b: Start) -> bool:
    return all(x.tobytes() == y.tobytes() for m, n in zip(a.values, b.values) for x, y in zip(m, n))


def _try(setup: Setup, spec: Spec) -> Run:
    """Take one step of a trial, and undo it; that it is not finite is left to the trials."""
    with borrowed(setup):
        params = setup.params or find_params(setup, spec.seed)
    setup.params = params
    with borrowed(setup):
        run = setup.run(spec, setup.start(), Run)
        with suppress(NotFinite):
            run.step()
    return run


def find_params(setup: Setup, seed: int) -> list[Param]:
    """Give the parameters of the first batch's loss."""
    with generators.using(np.random.default_rng(seed)), without_fp_warnings():
        d = DataCursor(setup.data).next(InterruptGuard())
        found = list(leaves(setup.loss(*d) if isinstance(d, (tuple, list)) else setup.loss(d)))
    if not found:
        raise TypeError("the loss reaches no parameter")
    return found

"""Around a run, which stays as it is: a map of its dials, the range test of η, its turns at other seeds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fluxmagic.lazy import LazyMethod
from fluxmagic.optimise.errors import NotFinite
from fluxmagic.optimise.hyper import Hyper
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.runs import Run
from fluxmagic.sweep.places import On
from fluxmagic.sweep.setup import Setup, Spec, borrowed
from fluxmagic.sweep.sweep import Sweep
from fluxmagic.sweep.trial import copy_line, resume

__all__ = ["Again", "RangeTest", "again", "find", "map_dials"]

VALUES = 9  # of each dial in a map
FACTOR = 10**0.5
SMOOTHING = 0.9


def map_dials(run: Run, *dials: str, steps: int = 100, on: On = None, train: bool = True) -> Sweep:
    """Sweep around the present dials of a run, from its present weights.

    Parameters
    ----------
    run : Run
        Paused first if it is running; it stays as it is.
    *dials : str
        One or two, Greek or ASCII: 9 values of each, by factors of √10, with the present one among them.  For ρ and
        β the factors are those of 1 - β.
    steps : int
        Of each trial.
    on : int, Executor or Client, optional
        As for `Sweep`.
    train : bool
        False gives the sweep before its first trial.

    Returns
    -------
    Sweep
        Its `around` is the run, its `present` the point of the present values.
    """
    cls = _class_of(run)
    _pause(run)
    if not dials:
        raise ValueError(f"name one or two dials to map: {', '.join(cls.hypers)}")
    settings = run.training.optimisers.settings
    names = list(cls.canonical(dict.fromkeys(dials, 0)))
    grid = {"opt": cls, **settings, **{n: _values_around(cls.hypers[n], run.values[n]) for n in names}}
    options = {"valid": run.valid, "metrics": run.metrics, "model": run.model, "name": f"{run.name or 'run'} map"}
    sweep = Sweep(run.loss, run.data, run.params or None, grid, steps=steps, on=on, **options)
    sweep.around = run
    if train:
        sweep.train()
    return sweep


def _values_around(hyper: Hyper, present: float) -> list[float]:
    """Give 9 values by factors of √10, within the bounds, with the present one among them."""
    memory = hyper.scale == "memory"
    x = 1 - present if memory else present
    if present == hyper.off or not 0 < x < math.inf:
        raise ValueError(f"{hyper.name} is {present:g}, which has no values around it by factors: set it first")
    ends = (1e-6, 1.0) if memory else (max(hyper.low, 1e-30), hyper.high)
    below = VALUES // 2
    while below and x * FACTOR**-below < ends[0] * (1 - 1e-9):
        below -= 1
    while below < VALUES - 1 and x * FACTOR ** (VALUES - 1 - below) > ends[1] * (1 + 1e-9):
        below += 1
    found = [x * FACTOR ** (i - below) for i in range(VALUES)]
    found[below] = x
    values = [max(1 - v, 0.0) for v in reversed(found)] if memory else found
    return [present if math.isclose(v, present, rel_tol=1e-12) else v for v in values]


# -- the range test ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RangeTest:
    """What `find` has seen.

    Attributes
    ----------
    values, loss, smoothed : ndarray
        Of each step: η, the loss of its batch, and the loss smoothed.
    suggestion : float or None
        None where no range is clear.
    range : (float, float) or None
        From where the loss begins to fall, to where it is smallest.
    """

    name: str
    values: np.ndarray
    loss: np.ndarray
    smoothed: np.ndarray
    suggestion: float | None
    range: tuple[float, float] | None

    _repr_png_ = LazyMethod("fluxmagic.jupyter.sweep.around", "draw_range_test")

    def __repr__(self) -> str:
        if self.suggestion is None or self.range is None:
            n = len(self.loss)
            return f"no clear range of {self.name}: the loss does not fall by more than its noise in {n} steps"
        where = "the loss falls while {} grows from {:.2g} to {:.2g}".format(self.name, *self.range)
        return f"{self.name} {self.suggestion:g} is suggested: {where}"


def find(run: Run, dial: str = "η", *, steps: int = 100, low: float = 1e-7, high: float = 10.0) -> RangeTest:
    """Test the range of learning rates from where a run stands: η grows by equal factors from step to step.

    Parameters
    ----------
    run : Run
        Paused first if it is running.  Weights, optimiser, generators, place in the data and history stay as they are,
        bit for bit.
    dial : str
        η.
    steps : int
        20 or more.
    low, high : float
        The first and last value.

    Returns
    -------
    RangeTest

    Notes
    -----
    The smoothed loss is an unbiased exponential average with factor 0.9.  The level before is the mean loss of the
    first quarter of the steps, the noise their standard deviation.  After that quarter the test ends early once the
    smoothed loss exceeds 4 times its smallest value there, or a loss is not finite.  The range is clear if the smoothed
    loss falls below that level by more than the noise and by 2 % of it.  It begins where a tenth of the fall is done,
    and ends at the smallest smoothed loss; suggested is a tenth of that end, within the range, to two digits.

    References
    ----------
    Smith: Cyclical learning rates for training neural networks.  https://arxiv.org/abs/1506.01186
    """
    cls = _class_of(run)
    name = next(iter(cls.canonical({dial: 0})))
    if name != "η":
        raise ValueError(f"find tests the range of η; {name} is not a learning rate")
    if steps < 20 or not 0 < low < high:
        raise ValueError(
            f"find takes 20 steps or more, from a value above 0 to a larger one: not {steps}, {low}, {high}"
        )
    _pause(run)
    values, first = np.geomspace(low, high, steps), steps // 4
    losses: list[float] = []
    smoothed: list[float] = []
    setup = Setup(run.loss, run.data, list(run.params), model=run.model)
    setup.find_params()
    with borrowed(setup):
        probe = _copy(run, setup, cls, steps)
        mean = 0.0
        for i, value in enumerate(values.tolist(), 1):
            probe.set(η=value)
            try:
                loss = probe.step()
            except NotFinite:
                break
            if loss is None:
                break
            losses.append(loss)
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            smoothed.append(mean / (1 - SMOOTHING**i))
            if i > first and smoothed[-1] > 4 * min(smoothed[first:]) > 0:
                break
    return _judge(name, values[: len(losses)], np.array(losses), np.array(smoothed), first)


def _judge(name: str, values: np.ndarray, loss: np.ndarray, smoothed: np.ndarray, first: int) -> RangeTest:
    clear = None
    if len(loss) > first:
        level, noise = float(loss[:first].mean()), float(loss[:first].std())
        best = first + int(np.argmin(smoothed[first:]))
        fall = level - float(smoothed[best])
        if fall > max(noise, 0.02 * abs(level)):
            begins = int(np.argmax(smoothed[: best + 1] <= level - fall / 10))
            clear = float(values[begins]), float(values[best])
    suggestion = None if clear is None else float(f"{min(max(clear[1] / 10, clear[0]), clear[1]):.1e}")
    return RangeTest(name, values, loss, smoothed, suggestion, clear)


def _copy(run: Run, setup: Setup, cls: type[Optimiser], steps: int) -> Run:
    """Make a second run that stands where the first one does."""
    start = setup.model_state()
    spec = Spec(0, 0, run.seed or 0, cls, run.training.optimisers.settings, None, run.steps + steps)
    new = setup.run(spec, start, Run)
    if run.snapshots.start is not None:
        resume(new, copy_line(run), start)
    return new


# -- turns at other seeds ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Again:
    """The turns of a run at several seeds, beside the same runs without them.

    Attributes
    ----------
    turned, plain : Sweep
        With and without the turns: trial i of both has the same seed.
    """

    turned: Sweep
    plain: Sweep

    @property
    def better(self) -> int:
        """At how many seeds the run is better with its turns; what diverges is worst."""
        sign = self.turned.sign
        pairs = zip(self.turned.trials, self.plain.trials, strict=True)
        return sum(a.score(sign) < b.score(sign) for a, b in pairs)

    @property
    def sentence(self) -> str:
        """What came of it, in one sentence."""
        n = len(self.turned)
        with_turns, without = (float(np.median([t.score(s.sign) for t in s.trials])) for s in (self.turned, self.plain))
        name = {"valid": "validation loss"}.get(self.turned.setup.objective, self.turned.setup.objective)
        verdict = "it was not luck" if _is_unlikely(self.better, n) else "that may be luck"
        return (
            f"With its turns the run is better in {self.better} of {n}: {verdict} (median {name} {with_turns:.4g} with "
            f"them, {without:.4g} without)."
        )

    def band(self, sweep: Sweep) -> tuple[np.ndarray, np.ndarray]:
        """Give steps, and the quartiles of the loss over the seeds at each: shape (steps, 3)."""
        losses = [np.array(t.progress.record.loss) for t in sweep.trials if t.progress is not None]
        table = np.full((len(losses), max(map(len, losses))), np.nan)
        for row, loss in zip(table, losses, strict=True):
            row[: len(loss)] = loss
        return np.arange(1, table.shape[1] + 1), np.nanquantile(table, (0.25, 0.5, 0.75), axis=0).T

    _repr_png_ = LazyMethod("fluxmagic.jupyter.sweep.around", "draw_again")

    def __repr__(self) -> str:
        return self.sentence


def _is_unlikely(better: int, n: int) -> bool:
    """Tell whether that number of n, or more, comes by tossing a coin in fewer than 5 of 100 cases."""
    at_least = sum(math.comb(n, k) for k in range(better, n + 1))
    return at_least / (1 << n) < 0.05


def again(run: Run, seeds: int = 32, *, seed: int = 0, on: On = None, cb: Callable[..., object] | None = None) -> Again:
    """Make the recorded turns of a run at other seeds, beside the same runs without the turns.

    Parameters
    ----------
    run : Run
        Paused first if it is running; it stays as it is.
    seeds : int
        Of new weights, order of the data and dropout, as in `Sweep`.
    seed : int
        The first one.
    on : int, Executor or Client, optional
        As for `Sweep`.
    cb : callable, optional
        As for `Sweep.train`.

    Returns
    -------
    Again

    Raises
    ------
    ValueError
        If the run has no turns, or nothing differs between the seeds.
    """
    if not run.turns:
        raise ValueError("the run has no turns: turn a dial while it trains, or sweep the dial: Sweep(…, seeds=32)")
    _pause(run)
    record, cls = run.record, _class_of(run)
    grid = {"opt": cls if cls.__name__ == record.opt else record.opt, **record.values}
    options = {"valid": run.valid, "metrics": run.metrics, "model": run.model, "steps": run.steps, "seeds": seeds}
    turned, plain = (
        Sweep(run.loss, run.data, run.params, grid, seed=seed, on=on, turns=turns, **options)
        for turns in (run.turns, ())
    )
    for sweep in (turned, plain):
        sweep.train(cb=cb)
    return Again(turned, plain)


def _class_of(run: Run) -> type[Optimiser]:
    cls = run.opt_class
    if cls is None:
        raise TypeError(f"{run.opt_name} is {run.opt_kind}, which has no dials")
    return cls


def _pause(run: Run) -> None:
    """Pause a run, and wait for its batch."""
    if run.state != "running":
        return
    run.pause()
    while run.control.driven and not run.control.is_held_here:
        time.sleep(0.01)
    if run.state == "running":  # its driver is between two turns
        run.advance(0.0)

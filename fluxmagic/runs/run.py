"""A run: training as an object that can be stepped, changed, paused and rewound.

Anything may read it (`views`) and ask it for changes (`set`, `swap`, `pause`, `stop`); one driver at a time steps it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from operator import index
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from fluxmagic.lazy import LazyMethod
from fluxmagic.optimise.inputs import as_callbacks
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.optimise.train import captures
from fluxmagic.runs import checkpoint, saving
from fluxmagic.runs.archive import AnyPath
from fluxmagic.runs.cursor import Data, DataCursor
from fluxmagic.runs.early_stopping import EarlyStopping
from fluxmagic.runs.lifecycle import Lifecycle
from fluxmagic.runs.log import Log
from fluxmagic.runs.loop import Loop
from fluxmagic.runs.optimisers import Opt, OptimiserSet
from fluxmagic.runs.problem import Problem, as_metrics
from fluxmagic.runs.record import Setting
from fluxmagic.runs.script import CellSource
from fluxmagic.runs.snapshots import SnapshotStore
from fluxmagic.runs.state import TrainingState
from fluxmagic.runs.timeline import Timeline
from fluxmagic.runs.turns import Turns
from fluxmagic.runs.views import RunViews
from fluxmagic.tracker import Param

__all__ = ["Driver", "Run"]


class Driver(Protocol):
    """What steps a run on its own: a panel."""

    def resume(self) -> None:
        """Go on after a pause."""

    def wait(self) -> None:
        """Train to the end, in the calling thread."""

    async def join(self) -> None:
        """Wait for the end."""


class Run(RunViews):
    """Training that can be stepped, changed, paused and rewound.

    Parameters
    ----------
    loss : callable
        Of a batch, to a scalar.
    data : iterable, or function without arguments, or None
        Gives the batches of an epoch: tuples, the loss's arguments, or single arrays; a function is called for it.
        None: the loss takes no batch, and every one of `steps` is an epoch for `until` and `patience`.
    opt : Optimiser, type, str or callable
        An optimiser; or the class or name of one, which then gets the parameters of the first batch's loss; or any
        function that updates parameters and clears their gradients.
    epochs : int, default 1
    steps : int, optional
        In place of `epochs`: the run ends after that many steps, in the middle of an epoch too.
    valid : array or tuple of arrays, iterable of batches, or function that returns such, optional
        Validation data for the loss, after every epoch.  Arrays are passed in one call; of batches, for larger data,
        the result is the mean, weighted by their rows.
    metrics : dict, optional
        From name to a function of a batch, to a number; evaluated on `valid` (without it on the last batch).
    model : optional
        What is trained, for names in errors; default: what the loss refers to.
    seed : int, optional
        Of the run's own generator for order of the data and dropout.  Default: seeded from the default generator.
    name : str, optional
    hypers : dict, optional
        As `**dials`.
    until : function of the run, or Condition, optional
        The run ends after an epoch for which it is true; a `Condition` is a function of `epoch_values`.
    patience : int, optional
        The run ends when the validation loss (without `valid` the mean loss over the epoch's rows) has had no new
        minimum for that many epochs.  With `until` or `patience` the weights of the best epoch are put back when the
        run ends, but for a pause or an error; when it goes on it first takes up those of its last step.
    strict : bool
        A parameter that turns up after the first batch is an error, if the optimiser trains all that the first
        batch's loss depends on.
    snapshot_bytes : int
        Memory for snapshots beside that of the start.
    log : path, optional
        A file for lines of JSON: one for each step, epoch and change.
    turns : Turns or iterable of Event, optional
        Changes of another run, to be made after the same steps.
    capture : bool, default False
        Record the step and replay it, in the same bits; see `fluxmagic.capture`.
    **dials : float or callable
        Hyper-parameters by name, if `opt` is a class or a name.

    Examples
    --------
    >>> from fluxmagic import SGD, Run, param
    >>> W = param(1.0)
    >>> run = Run(lambda x: (W - x) ** 2, [0.0] * 10, SGD([W], 0.1))
    >>> run.step()
    1.0
    >>> run.set(η=0.2)
    >>> run.train()
    >>> run
    Run(SGD, done, epoch 1/1, 10 steps)
    >>> run.events
    [Event(step=1, name='η', old=0.1, new=0.2)]
    >>> run.history["loss"][:3].round(3)
    array([1.  , 0.64, 0.23])
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        data: Iterable[Any] | Callable[[], Iterable[Any]] | None,
        opt: Opt,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        valid: Data = None,
        metrics: Mapping[str, Callable[..., Any]] | None = None,
        model: object = None,
        seed: int | None = None,
        name: str | None = None,
        hypers: Mapping[str, Any] | None = None,
        until: Callable[[Run], Any] | None = None,
        patience: int | None = None,
        strict: bool = False,
        snapshot_bytes: int = 64_000_000,
        log: AnyPath | None = None,
        turns: Iterable[Any] = (),
        capture: bool | None = None,
        **dials: Setting,
    ) -> None:
        problem = Problem(loss, data, model, valid, as_metrics(metrics), epochs, steps, strict)
        early = EarlyStopping(until, patience)
        twice = sorted(dials.keys() & (hypers or {}).keys())
        if twice:
            raise TypeError(f"{twice[0]} is given twice")
        optimisers = OptimiserSet.of(opt, {**(hypers or {}), **dials})
        rng = None if seed is None else np.random.default_rng(seed)
        state = TrainingState(optimisers, DataCursor(data), rng)
        snapshots = SnapshotStore(snapshot_bytes)
        self._loop = Loop(problem, state, Turns(turns), snapshots, None if log is None else Log(log), captures(capture))
        self._life = Lifecycle(self, self._loop, early)
        self._timeline = Timeline(self._life)
        self.seed = seed
        self.name = name
        self.id = os.urandom(8).hex()  # a file has it, and is known by it to be of this run
        self.parent: Run | None = None  # this one is a branch of it
        self.branched_at = 0  # after that many of the parent's steps
        self.source: CellSource | None = None  # the cell that made the run
        self.shows: list[Callable[..., object]] = []  # of a batch, or without arguments: to be seen beside the curve
        self.driver: Driver | None = None

    # -- requests, from any thread -------------------------------------------------------------------------

    def set(self, **hypers: Setting) -> None:
        """Set hyper-parameters, by Greek or ASCII names: checked at once, applied between two batches, recorded."""
        self._life.set(hypers)

    def swap(self, opt: str | type[Optimiser], **hypers: Setting) -> None:
        """Go on with another registered optimiser, and set its hyper-parameters.

        The weights stay.  An earlier optimiser comes back with its own state and values.
        """
        self._life.swap(opt, hypers)

    def pause(self) -> None:
        """End the loop after the batch; `train` goes on from there."""
        self._life.ask("pause")

    def stop(self) -> None:
        """End the run after the batch.  With `until` or `patience` the best epoch's weights are put back."""
        self._life.ask("stop")

    # -- steps ---------------------------------------------------------------------------------------------

    def step(self, n: int = 1, *, ends_loop: bool = True) -> float | None:
        """Take n steps, or fewer: to the end, `pause`, `stop` or an interrupt.

        Returns the loss of the last one, None if the run had ended.  A loss or gradient that is not finite is
        NotFinite: the loss is a row of the history, and nothing was updated.  An interrupt lets the batch end; without
        `ends_loop` it is left to the loop around this call.
        """
        return self._life.step(index(n), ends_loop)

    def train(self, *, cb: object = None) -> None:
        """Train to the end, `pause`, `stop` or an interrupt; errors are those of `step`.

        `cb`, a function or a list of them, is called after each step; one that takes an argument gets the loss.
        """
        self._life.train(as_callbacks(cb))

    def advance(self, seconds: float, steps: int | None = None) -> None:
        """Train for about so long, one step at least and `steps` at most: for a driver that shares its thread.

        The state stays "running", unless the run ends, pauses or stops.
        """
        self._life.advance(seconds, steps)

    def extend(self) -> None:
        """Let the run go on for as many epochs, or steps, again."""
        self.problem.extend()

    def wait(self) -> None:
        """Train to the end in the calling cell, in place of the driver."""
        if self.driver is not None:
            self.driver.wait()
        else:
            self.train()

    def __await__(self) -> Generator[Any, None, None]:
        """Train to the end, with the event loop free for others."""
        return (self._life.advance_to_end() if self.driver is None else self.driver.join()).__await__()

    # -- weights -------------------------------------------------------------------------------------------

    def take(self) -> None:
        """Activate a parked run: its parameters get its values.  RuntimeError while they are being trained."""
        self._life.take()

    def keep_best(self) -> None:
        """Put the best epoch's weights and running statistics back, as the end of a run does.

        Nothing happens without `until` and `patience`, or before the first whole epoch.  When the run goes on it
        first takes up the state of its last step: it ends in the bits of one longer run.
        """
        self._life.keep_best()

    def put_back(self, step: int) -> None:
        """Put weights and running statistics back as they were after a step; all else goes on from here."""
        self._timeline.put_back(step)

    def reset_weights(self) -> None:
        """Put back the weights and running statistics of the start, for another run.  This run is parked."""
        self._life.reset_weights()

    # -- going back ----------------------------------------------------------------------------------------

    def rewind(self, step: int) -> None:
        """Go back to the state after a step: weights, optimiser, random state, place in the data.

        Changes made at that very moment are undone too.  Steps since the last snapshot are computed again; one that
        gives another loss is a ReplayMismatch, and the run is as before.
        """
        self._timeline.rewind(step)

    def undo(self) -> None:
        """Come back from the last rewind or restart, also after new steps; a second undo exchanges the two again."""
        self._timeline.undo()

    def restart(self, start: ArrayLike | None = None) -> None:
        """Go back to the start with the present settings; those that differ are set before the first step.

        `start` has all numbers that are trained, in the order of `params`: from then on the run starts there.
        """
        self._timeline.restart(start)

    def replay(self) -> None:
        """Compute the whole run again with its recorded changes; it ends in the same bits.

        A step that differs is a ReplayMismatch, and the run is as before.  A warning names what differs in machine,
        NumPy, BLAS threads or numerics; under other numerics losses are compared to 1e-4.
        """
        self._timeline.replay()

    def recover(self, **hypers: Setting) -> None:
        """Go on after a loss or gradient that was not finite, with other settings: by default a tenth of η.

        If the loss had grown tenfold, or this is the second time in a row, the weights are bad, and the run goes back
        to before the smallest of the last 200 losses.  Otherwise it goes on with the next batch.
        """
        self._timeline.recover(hypers, self.set)

    def branch(
        self,
        name: str,
        opt: str | type[Optimiser] | None = None,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        **hypers: Setting,
    ) -> Run:
        """Make a second run that goes on from here, with another optimiser, length or settings.

        It has this run's history so far.  One of the two is active, the other one keeps its own state.
        """
        if epochs is None and steps is None:
            epochs, steps = self.epochs, self.step_limit
        options = {k: getattr(self, k) for k in ("valid", "metrics", "model", "until", "patience", "capture")}
        with self._timeline.going_back("branch from") as line:
            opts = self.training.optimisers.fresh_copy(self.training.params)
            new = Run(self.loss, self.data, opts, epochs=epochs, steps=steps, name=name, **options)
            new.parent, new.branched_at, new.source, new.shows = self, self.steps, self.source, self.shows
            self._timeline.branch_off(new._loop, new.early_stopping, line)
            new.state = "paused"
            if opt is not None:
                new.swap(opt, **hypers)
            elif hypers:
                new.set(**hypers)
        return new

    landscape = LazyMethod("fluxmagic.race.plane", "landscape")
    map = LazyMethod("fluxmagic.sweep.around", "map_dials")
    find = LazyMethod("fluxmagic.sweep.around", "find")
    again = LazyMethod("fluxmagic.sweep.around", "again")

    # -- files and code ------------------------------------------------------------------------------------

    def save(self, path: AnyPath) -> None:
        """Write the run to a file of any suffix: how it began, what was done, where it stands.

        What is there is replaced only when the new file is whole and on the disk.
        """
        saving.save(self._life, path, id=self.id, name=self.name, seed=self.seed)

    @classmethod
    def load(
        cls,
        path: AnyPath,
        loss: Callable[..., Any] | None = None,
        data: Data = None,
        params: Iterable[Param] | None = None,
        schedules: Mapping[str, Any] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> Run:
        """Read the run that `save` wrote.  All is checked before a single weight is assigned.

        Loss and data are as the run had them; `params` are of the same shapes and dtypes, in the same order, and get
        the values of the file.  Without these three the run can be looked at, and not trained.  `schedules` has the
        user's own schedules by hyper-parameter, a list if there were several; `options` are those of `Run`: valid,
        metrics.  What does not fit is an ArchiveError, a ValueError that lists it all.
        """
        with checkpoint.reading(path, loss, data, params, schedules) as file:
            run = cls(file.loss, file.data, file.record.opt, **file.arguments, **options)
            saving.resume(run._life, file)
            run.id = file.saved.id or run.id
        return run

    def as_code(self, module: str = "experiment", path: AnyPath = "run.npz") -> str:
        """Give a script that repeats what was done by hand, and ends in the same bits.

        `module` has `loss`, `data` and `model` (for a `%%train` run: what the cell names); `path` is that of `save`.
        """
        return saving.as_code(self._life, path, module, self.name, self.source)

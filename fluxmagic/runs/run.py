"""A run: training as an object.  Anything may read it (`views`) and ask it for changes; one driver at a time steps it.

`lifecycle` steps it, `timeline` goes back in it; here are its parts, its branches and its files.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from fluxmagic.layers.training_mode import is_evaluating
from fluxmagic.lazy import LazyMethod
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.optimise.train import captures
from fluxmagic.runs import archive, checkpoint, script
from fluxmagic.runs.archive import AnyPath, ArchiveError
from fluxmagic.runs.cursor import Data, DataCursor
from fluxmagic.runs.early_stopping import EarlyStopping
from fluxmagic.runs.lines import Abandoned, SnapshotStore
from fluxmagic.runs.log import Log
from fluxmagic.runs.loop import Loop
from fluxmagic.runs.optimisers import Opt, OptimiserSet, Turns
from fluxmagic.runs.problem import Problem, as_metrics, refuse_given
from fluxmagic.runs.record import Setting
from fluxmagic.runs.script import CellSource
from fluxmagic.runs.state import ModelState, TrainingState
from fluxmagic.runs.timeline import RewindableRun
from fluxmagic.tracker import Param

__all__ = ["Run", "saved_script"]


class Run(RewindableRun):
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
        snapshots, lines = SnapshotStore(snapshot_bytes), None if log is None else Log(log)
        super().__init__(Loop(problem, state, Turns(turns), snapshots, lines, captures(capture)), early)
        self._abandoned = Abandoned(snapshot_bytes)
        self.seed = seed
        self.name = name
        self.id = os.urandom(8).hex()  # a file has it, and is known by it to be of this run
        self.parent: Run | None = None  # this one is a branch of it
        self.branched_at = 0  # after that many of the parent's steps
        self.source: CellSource | None = None  # the cell that made the run
        self.shows: list[Callable[..., object]] = []  # of a batch, or without arguments: to be seen beside the curve

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
        with self._going_back("branch from") as line:
            opts = self.training.optimisers.fresh_copy(self.training.params)
            new = Run(self.loss, self.data, opts, epochs=epochs, steps=steps, name=name, **options)
            new.parent, new.branched_at, new.source, new.shows = self, self.steps, self.source, self.shows
            self._loop.branch_off(new._loop)
            new.early_stopping.resume(line.best)
            new.training.restore(line.now)
            new.training.parked = ModelState(line.now.values, line.now.generators)
            if line.shown is not None:
                self.training.assign(line.shown)
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
        self.complete()
        if self.snapshots.start is None:
            raise ValueError("the run has not taken a step yet: there is nothing to save")
        if self.opt_class is None:
            raise TypeError(f"{self.opt_name} is {self.opt_kind}, and only a run with one optimiser can be saved")
        with self._between():
            if self.control.in_batch and self.training.cursor.tell()[0] >= 0 and not is_evaluating():
                raise RuntimeError(
                    "a run cannot be saved by its own loss, in the middle of a step: save it in a callback"
                )
            self._loop.record_direct_changes()
            self.verify()
            state = "paused" if self.state == "running" else self.state
            about, arrays = checkpoint.copied(self._loop, id=self.id, name=self.name, seed=self.seed, state=state)
        archive.write(path, "run", about, arrays)

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
        user's own schedules by hyper-parameter, a list if there were several; `options` are those of `Run` that the
        file does not have: valid, metrics, model, until, patience, log.  What does not fit is an ArchiveError, a
        ValueError that lists it all.
        """
        refuse_given(options, {"epochs", "steps", "seed", "name", "capture"})
        with checkpoint.reading(path, loss, data, params, schedules) as file:
            run = cls(file.loss, file.data, file.record.opt, **file.arguments, **options)
            run.begin_at(lambda state: file.line(state, run.problem))
            run.id = file.saved.id or run.id
        return run

    def as_code(self, module: str = "experiment", path: AnyPath = "run.npz") -> str:
        """Give a script that repeats what was done by hand, and ends in the same bits.

        `module` has `loss`, `data` and `model` (for a `%%train` run: what the cell names); `path` is that of `save`.
        """
        with self._between():
            return script.write_script(self._loop, path, module, self.name, self.source)


def saved_script(run: Run, name: str | None = None) -> str:
    """Save a run beside the script that loads it; give the script, whose first line says where the run is.

    The file is NAME.npz in the working directory; NAME-2.npz, and so on, where that is not a file of this run.
    """
    stem = re.sub(r"[^\w.-]+", "_", str(name or run.name or "run")).strip("._") or "run"
    stem = stem.encode()[:200].decode(errors="ignore")
    names = itertools.chain([f"{stem}.npz"], (f"{stem}-{i}.npz" for i in itertools.count(2)))
    path = next(path for path in names if not os.path.lexists(path) or _is_of(run, path))
    run.save(path)
    return f"# The run is saved in {path}\n{run.as_code(path=path)}"


def _is_of(run: Run, path: str) -> bool:
    try:
        return archive.read(path, "run")[0].get("id") == run.id
    except (ArchiveError, OSError):
        return False

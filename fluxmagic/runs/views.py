"""What can be read of a run: its record, its optimiser, how far it is."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np

from fluxmagic.capture.report import Report
from fluxmagic.lazy import LazyMethod
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.runs.control import Control
from fluxmagic.runs.early_stopping import EarlyStopping
from fluxmagic.runs.history import History
from fluxmagic.runs.lines import SnapshotStore
from fluxmagic.runs.log import Log
from fluxmagic.runs.loop import Loop
from fluxmagic.runs.optimisers import Turns
from fluxmagic.runs.problem import Problem
from fluxmagic.runs.record import Best, Event, Record
from fluxmagic.runs.state import TrainingState
from fluxmagic.tracker import Param

__all__ = ["RunViews"]


def _part(path: str, doc: str) -> Any:  # noqa: ANN401 - what the class says of the attribute
    """Make an attribute of a run that is an attribute of one of its parts, "part.name"."""
    part, _, name = path.rpartition(".")
    owner = attrgetter(part)

    def get(run: RunViews) -> object:
        return getattr(owner(run), name)

    def set_(run: RunViews, value: object) -> None:
        setattr(owner(run), name, value)

    return property(get, set_, doc=doc)


class RunViews:
    """Attributes of a run that are those of its parts, and what follows from them."""

    _loop: Loop
    control: Control
    early_stopping: EarlyStopping
    state: str
    name: str | None

    problem: Problem = _part("_loop.problem", "Loss, data, evaluation and length.")
    record: Record = _part("_loop.record", "The record behind `history`.")
    training: TrainingState = _part("_loop.state", "All that the next step depends on.")
    snapshots: SnapshotStore = _part("_loop.snapshots", "Snapshots of the state.")
    environment: dict[str, Any] = _part("_loop.environment", "Numerics, machine, NumPy and BLAS of the recorded steps.")
    log: Log | None = _part("_loop.log", "The log, or None.")
    total_steps: int | None = _part("_loop.last_step", "The steps of the whole run, as far as known.")
    steps_per_epoch: int | None = _part(
        "_loop.steps_per_epoch", "The batches of an epoch, if the data has a len or one is over."
    )
    finished: bool = _part("_loop.is_finished", "Whether all epochs, or steps, are done.")
    capture: bool = _part("_loop.captured.wanted", "Whether steps are recorded and replayed.")
    captured: Report | None = _part(
        "_loop.captured.report", "How many steps were replayed, or why none; None of a run without `capture`."
    )

    loss: Callable[..., Any] = _part("problem.loss", "The loss.")
    data: Any = _part("problem.data", "The data, as given.")
    model: Any = _part("problem.model", "The model, as given.")
    valid: Any = _part("problem.valid", "The validation data, as given.")
    metrics: dict[str, Callable[..., Any]] = _part("problem.metrics", "Metrics by name.")
    epochs: int | None = _part("problem.epochs", "Epochs of the whole run; None if `step_limit` ends it.")
    step_limit: int | None = _part("problem.step_limit", "Steps of the whole run, if they were given.")
    until: Callable[[Any], Any] | None = _part("early_stopping.until", "The condition for the end, as given.")
    patience: int | None = _part("early_stopping.patience", "Epochs without a new minimum, as given.")

    opt: Any = _part(
        "training.optimisers.opt", "The active optimiser; None before the first batch if its class or name was given."
    )
    opt_name: str = _part("training.optimisers.name", "The name of the active optimiser.")
    opt_class: type[Optimiser] | None = _part(
        "training.optimisers.cls", "The class of the active optimiser; None for a function or a list."
    )
    opt_kind: str = _part("training.optimisers.kind", "What a function or a list is called in messages.")
    values: dict[str, float] = _part("training.optimisers.values", "The present hyper-parameters by name.")

    seconds: float = _part("record.elapsed", "Time spent training.")
    last_evaluation: dict[str, float] = _part(
        "record.last_evaluation", "Validation loss and metrics of the last epoch that is over; empty without."
    )
    shown_loss: float = _part(
        "record.shown_loss",
        """The loss to show: the mean over the rows of the last whole epoch.

        In the first epoch it is the mean so far, and `so_far` is true; NaN before the first step.
        """,
    )
    best: Best | None = _part(
        "record.best",
        """The best epoch, `(name, value, epoch, step)`; None before the first whole epoch.

        It has the smallest validation loss, if there is one (`name` is "valid"), or else the smallest mean loss.
        """,
    )

    @property
    def in_use(self) -> bool:
        """Whether the run trains, or goes back, at this moment."""
        return self.state == "running" or self.control.driven or self.control.recomputing

    @property
    def history(self) -> History:
        """Arrays by name, a row for each step."""
        return History(self.record)

    @property
    def events(self) -> list[Event]:
        """The changes so far: `(step, name, old, new)`, a drag as one; its values in between are in `turns`.

        "capture" tells of replayed steps that were taken again.
        """
        new = "taken again, and what the loss does outside the run with them"
        again = [Event(last, "capture", f"steps {first} to {last}", new) for first, last in self.record.retaken]
        return sorted([*self.record.gestures, *again], key=lambda e: e.step)

    @property
    def turns(self) -> Turns:
        """The changes as an object: `Run(..., turns=other.turns)` makes them in another run."""
        return Turns(self.record.events)

    @property
    def steps(self) -> int:
        """Steps taken."""
        return len(self.record.loss)

    @property
    def path(self) -> np.ndarray | None:
        """The two numbers at the start and after each step, of shape (steps + 1, 2), where exactly two are trained."""
        return None if self.record.path is None else np.array(self.record.path).reshape(-1, 2)

    @property
    def epoch(self) -> int:
        """The epoch that the next step belongs to, from 1."""
        return self.record.epochs_done + 1

    @property
    def has_noise(self) -> bool:
        """Whether losses are those of different batches: an epoch has more than one."""
        return not (self.record.stepwise or self.steps_per_epoch == 1)

    @property
    def rate(self) -> float:
        """Steps a second over the last five seconds of training; 0 before the first step."""
        seconds = self.record.seconds
        if not seconds:
            return 0.0
        first = bisect_left(seconds, seconds[-1] - 5.0)
        before = seconds[first - 1] if first else 0.0
        return (len(seconds) - first) / max(seconds[-1] - before, 1e-9)

    @property
    def so_far(self) -> bool:
        """Whether `shown_loss` is the mean of an unfinished epoch: the first one."""
        return not self.record.stepwise and len(self.record.epochs) == 1

    @property
    def epoch_losses(self) -> np.ndarray:
        """The mean loss over the rows of each whole epoch, of shape (epochs done,)."""
        return np.array(self.record.loss[:] if self.record.stepwise else self.record.means[:], np.float64)

    @property
    def epoch_values(self) -> dict[str, float]:
        """The numbers for `until`: loss (the last whole epoch's mean), valid, the metrics, epoch and step."""
        done = {"epoch": self.record.epochs_done, "step": self.steps}
        return {"loss": self.shown_loss, **self.last_evaluation, **done}

    @property
    def last_loss(self) -> float:
        """The loss of the last batch, which is not to be shown as a result; NaN before the first."""
        return self.record.loss[-1] if self.record.loss else math.nan

    @property
    def params(self) -> list[Param]:
        """What is trained; empty before the first batch if the optimiser was given by name."""
        return self._loop.state.params or self._loop.state.optimisers.params

    _ipython_display_ = LazyMethod("fluxmagic.jupyter.driving.run_presentation", "display_run")

    def __repr__(self) -> str:
        name = f"{self.name!r}, " if self.name else ""
        epochs, limit = self.problem.epochs, self.problem.step_limit
        if epochs is None:
            where = f"{self.steps:,}/{limit:,} steps"
        else:
            where = f"epoch {min(self.epoch, epochs)}/{epochs}, {self.steps:,} steps"
        return f"Run({name}{self.opt_name}, {self.state}, {where})"

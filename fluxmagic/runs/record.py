"""What happened in a run: losses and rows by step, evaluations by epoch, and every change of a hyper-parameter.

Only `loop` appends to a record; `history` and the views read it."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fluxmagic.tracker import Param

__all__ = ["Best", "Event", "Record", "Setting", "count_rows"]


Setting = Any
"""The value of a hyper-parameter: a number, None, or a schedule; of "opt" a name."""


class _Event(NamedTuple):
    step: int
    name: str
    old: Setting
    new: Setting


class Event(_Event):
    """A change after a number of steps: of a hyper-parameter or, under the name "opt", of the optimiser."""

    cls: Any = None
    """The class that was swapped in; a later one may have taken its name."""

    def goes_on_from(self, last: Event) -> bool:
        """Tell whether both are of one drag: their `old` is what the hand set out from."""
        return self.name == last.name and self.old == last.old != last.new


class Best(NamedTuple):
    """The best epoch so far."""

    name: str  # what was compared: "valid", the validation loss, where there is one; otherwise "loss", the mean
    value: float
    epoch: int  # from 1
    step: int  # steps at its end


def count_rows(d: object) -> int:
    """Count the rows of a batch: the length of its first array, list or slice, 1 if it has none."""
    first = d[0] if type(d) is tuple and d else d
    if type(first) is np.ndarray and first.ndim:
        return len(first)  # most are such, and it is done for every step
    if type(d) is float:
        return 1
    for x in d if isinstance(d, (tuple, list)) else (d,):
        rows = _rows(x)
        if rows is not None:
            return rows
    return 1


def _rows(x: object) -> int | None:
    shape = getattr(x, "shape", None)
    if shape is not None:
        return int(shape[0]) if shape else None
    if isinstance(x, (list, range)):
        return len(x)
    if isinstance(x, slice) and x.stop is not None:
        return len(range(*x.indices(max(x.stop, 0)))) or None  # what counts from the end says nothing
    parts = x if isinstance(x, tuple) else x.values() if isinstance(x, dict) else ()
    return next((rows for part in parts if (rows := _rows(part)) is not None), None)


class Record:
    """The growing record behind a history.  Appending costs a few list appends."""

    def __init__(
        self,
        opt: str,
        values: dict[str, Setting],
        updates: int = 0,
        *,
        plan: Any = (),  # noqa: ANN401 - a tuple of values that scripts write out
        stepwise: bool = False,
    ) -> None:
        self.opt = opt
        self.values = values
        self.updates = updates  # that the optimiser had done before
        self.stepwise = stepwise  # every step is an epoch: the loss takes no batch; the columns of epochs stay empty
        self.loss = array("d")
        self.rows = array("I")  # of each batch
        self.seconds = array("d")
        self.path: array[float] | None = None  # two numbers for the start and each step, where only these are trained
        self.rejected: list[int] = []  # steps whose loss or gradient was not finite: no update
        self.epochs: list[int] = [0]  # how many steps were done when each epoch began
        self.means = array("d")  # of the losses of each whole epoch, weighted by rows
        self.evaluations: list[tuple[int, dict[str, float]]] = []  # after how many steps: validation and metrics
        self.events: list[Event] = []
        self.restored_weights: list[tuple[int, int]] = []  # after how many steps, and the step whose they are
        self.retaken: list[tuple[int, int]] = []  # first and last of steps that were replayed, and then taken again
        self.kept: int | None = None  # the step whose weights were put back when the run ended here
        self.plan = plan  # `Turns` of another run, to be made at their steps
        self.planned = -1  # the last step at which that was done
        self._compared: tuple[int, Best | None] = 0, None  # epochs, and the best of them

    def copy(self, step: int, *, here: bool = False, epoch_over: bool = True) -> Record:
        """Copy the record as it was after a number of steps.

        With `here` also the changes made at that moment; without `epoch_over` not the end of an epoch,
        which data without a len shows only later.
        """
        new = Record(self.opt, self.values, self.updates, stepwise=self.stepwise)
        new.loss, new.rows, new.seconds = self.loss[:step], self.rows[:step], self.seconds[:step]
        new.path = None if self.path is None else self.path[: 2 * (step + 1)]
        new.rejected = [s for s in self.rejected if s <= step]
        new.epochs = [0, *(e for e in self.epochs[1:] if e < step + epoch_over)]
        new.means = self.means[: len(new.epochs) - 1]
        new.evaluations = [c for c in self.evaluations if c[0] < step + epoch_over]
        new.events = [e for e in self.events if e.step < step + here]
        new.restored_weights = [b for b in self.restored_weights if b[0] < step + here]
        new.retaken = [steps for steps in self.retaken if steps[1] <= step]
        new.plan, new.planned = self.plan, min(self.planned, step - 1 + here)
        return new

    def complete(self) -> None:
        """Add what a file does not hold."""
        self.means = array("d", map(self._mean, self.epochs, self.epochs[1:]))

    def begin_path(self, params: Iterable[Param]) -> None:
        """Follow the numbers that are trained, from here on."""
        self.path = array("d", (x for p in params for x in p.value.flat))

    def add_step(self, loss: float, rows: int, seconds: float, params: Iterable[Param]) -> None:
        """Record a step, and where the trained numbers are after it."""
        self.loss.append(loss)
        self.rows.append(rows)
        self.seconds.append(seconds)
        if self.path is not None:
            self.path.extend(x for p in params for x in p.value.flat)

    def end_epoch(self, checks: dict[str, float]) -> None:
        """Record the end of the present epoch, and its evaluation."""
        n = len(self.loss)
        if checks:
            self.evaluations.append((n, checks))
        self.means.append(self._mean(self.epochs[-1], n))
        self.epochs.append(n)

    @property
    def elapsed(self) -> float:
        """Seconds of training."""
        return self.seconds[-1] if self.seconds else 0.0

    @property
    def last_evaluation(self) -> dict[str, float]:
        """The latest evaluation; empty without."""
        return dict(self.evaluations[-1][1]) if self.evaluations else {}

    @property
    def gestures(self) -> list[Event]:
        """The events, each drag as one: at its first step, to its last value; none where it came back."""
        found: list[Event] = []
        for e in self.events:
            if found and e.goes_on_from(found[-1]):
                e = found.pop()._replace(new=e.new)
                if e.new == e.old:
                    continue
            found.append(e)
        return found

    @property
    def epochs_done(self) -> int:
        """Whole epochs."""
        return len(self.loss) if self.stepwise else len(self.epochs) - 1

    @property
    def active(self) -> str:
        """The name of the optimiser after the last step."""
        return next((e.new for e in reversed(self.events) if e.name == "opt"), self.opt)

    def ended(self, step: int) -> bool:
        """Tell whether an epoch ended after a step."""
        i = bisect_left(self.epochs, step, 1)
        return i < len(self.epochs) and self.epochs[i] == step

    def changed_at(self, step: int) -> bool:
        """Tell whether anything was changed right after a step."""
        return any(e.step == step for e in self.events) or any(after == step for after, _ in self.restored_weights)

    def evaluations_at(self, step: int) -> dict[str, float]:
        """Give the evaluation after a step."""
        i = bisect_left(self.evaluations, step, key=lambda check: check[0])
        return self.evaluations[i][1] if i < len(self.evaluations) and self.evaluations[i][0] == step else {}

    # -- losses to show ------------------------------------------------------------------------------------

    @property
    def shown_loss(self) -> float:
        """The last whole epoch's mean; in the first epoch the mean so far; NaN before the first step."""
        if self.stepwise:
            return self.loss[-1] if self.loss else math.nan
        return self.means[-1] if self.means else self._mean(0, len(self.rows))

    @property
    def best(self) -> Best | None:
        """The best epoch; None before the first one that is whole and has a finite value."""
        n, (compared, best) = self.epochs_done, self._compared
        losses = self.loss if self.stepwise else self.means
        for epoch in range(compared + 1, n + 1):
            step = epoch if self.stepwise else self.epochs[epoch]
            checks = {} if self.stepwise else self.evaluations_at(step)
            name = "valid" if "valid" in checks else "loss"  # a validation loss is not compared with a mean
            value = checks.get("valid", losses[epoch - 1])
            if math.isfinite(value) and (
                best is None or (value < best.value if name == best.name else name == "valid")
            ):
                best = Best(name, value, epoch, step)
        self._compared = n, best
        return best

    def _mean(self, start: int, end: int) -> float:
        """Return the mean of finite losses over the rows of steps, in one sum; NaN if there are none."""
        if end - start == 1 and self.rows[start]:
            return self.loss[start] if math.isfinite(self.loss[start]) else math.nan
        l, n = np.array(self.loss[start:end]), np.array(self.rows[start:end])
        finite = np.isfinite(l)
        if not finite.all():
            l, n = l[finite], n[finite]
        rows = int(n.sum())
        return float(l.dot(n)) / rows if rows else math.nan

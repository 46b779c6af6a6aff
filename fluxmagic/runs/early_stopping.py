"""Early stopping: `until`, `patience`, and the values of the best epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fluxmagic.runs.evaluate import named
from fluxmagic.runs.problem import positive
from fluxmagic.runs.record import Record
from fluxmagic.runs.state import TrainingState, Values

__all__ = ["Condition", "EarlyStopping", "out_of_patience"]


class HasValues(Protocol):
    """A run, for a `Condition`."""

    @property
    def epoch_values(self) -> dict[str, float]:
        """Numbers by name."""


class Condition:
    """An `until` that is a function of numbers, by name, in place of a function of the run.

    Before the first step a run tries it once, on an evaluation of the untrained model.

    Parameters
    ----------
    function : callable
        Of a dict with loss, valid, the metrics, epoch and step, as `Run.epoch_values` gives it.
    """

    def __init__(self, function: Callable[[Mapping[str, float]], Any]) -> None:
        self.function = function

    def __call__(self, run: HasValues) -> bool:
        """Tell whether it holds after the run's last whole epoch."""
        return self.holds(run.epoch_values)

    def holds(self, values: Mapping[str, float]) -> bool:
        """Tell whether it holds for these numbers; an error names `until`."""
        with named("until"):
            return bool(self.function(values))


def out_of_patience(record: Record, patience: int | None) -> bool:
    """Tell whether `patience` epochs have passed since the best one; steps, where every step is an epoch."""
    if patience is None:
        return False
    best = record.best
    return record.epochs_done - (best.epoch if best is not None else 0) >= patience


class EarlyStopping:
    """When a run ends before its epochs are done, and the values of its best epoch."""

    def __init__(self, until: Callable[[Any], Any] | None, patience: int | None) -> None:
        if until is not None and not callable(until):
            raise TypeError(f"until is a function, not a {type(until).__name__}")
        self.until = until  # of the run
        self.patience = None if patience is None else positive("patience", patience)
        self.best: tuple[int, Values] | None = None  # the best epoch's so far, and after which step they were copied
        self._previous: tuple[int, Values] | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether until or patience was given."""
        return self.until is not None or self.patience is not None

    def try_condition(self, values: Mapping[str, float]) -> None:
        """Try a `Condition` before the first step."""
        if isinstance(self.until, Condition):
            self.until.holds(values)

    def check(self, run: object, record: Record, state: TrainingState) -> bool:
        """Copy the values of a new best epoch, and tell whether the run is to end."""
        best = record.best
        is_best = best is not None and best.step == state.step
        if record.stepwise or is_best:
            now = state.step, state.values()
            if is_best:
                # A loss without a batch belongs to the values before its step.
                self.best = self._previous if record.stepwise else now
            self._previous = now
        with named("until"):
            enough = self.until is not None and self.until(run)
        return bool(enough) or out_of_patience(record, self.patience)

    def wanted_step(self, record: Record) -> int | None:
        """Give the step whose values a run that ends now goes back to; None if it keeps its last ones."""
        best = record.best
        if not self.is_wanted or best is None or best.step == len(record.loss):
            return None
        return best.step - record.stepwise

    def known(self, step: int) -> Values | None:
        """Give the values after a step, if they are those of the best epoch."""
        return self.best[1] if self.best is not None and self.best[0] == step else None

    def rewind(self, step: int) -> None:
        """Forget values from after a step."""
        self.resume(self.best if self.best is not None and self.best[0] <= step else None)

    def resume(self, best: tuple[int, Values] | None) -> None:
        """Go on from another line, whose best values are known or not."""
        self.best, self._previous = best, None

"""When a run ends before its epochs are done: `until` and `patience`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fluxmagic.runs.evaluate import named
from fluxmagic.runs.record import Record

__all__ = ["Condition", "out_of_patience"]


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

    def __call__(self, run: Any) -> bool:
        """Say whether it holds after the run's last whole epoch."""
        return self.holds(run.epoch_values)

    def holds(self, values: Mapping[str, float]) -> bool:
        """Say whether it holds for these numbers; an error names `until`."""
        with named("until"):
            return bool(self.function(values))


def out_of_patience(record: Record, patience: int | None) -> bool:
    """Say whether so many epochs have gone by since the best one; steps, where every step is an epoch."""
    if patience is None:
        return False
    best = record.best
    return record.epochs_done - (best.epoch if best is not None else 0) >= patience

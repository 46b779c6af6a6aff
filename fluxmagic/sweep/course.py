"""The course of a sweep: its trials go to a place, rung by rung, and are kept within a budget of memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fluxmagic.sweep.places import Place
from fluxmagic.sweep.scheduler import Scheduler
from fluxmagic.sweep.trial import Trial, halved, rungs

__all__ = ["Course"]


@dataclass
class Course:
    """Trains trials to their ends, and with `halving` to each rung first."""

    trials: list[Trial]
    sign: float  # -1 if a large objective is good, otherwise 1
    halving: int | None
    steps_per_epoch: int | None
    timeout: float | None
    budget: int  # bytes for what is kept of trials that have ended
    level: int = 0  # rungs that were passed
    shipped: int = 0  # bytes that workers were sent of what the sweep needs
    _place: Place | None = None
    _scheduler: Scheduler | None = None
    _held: int = 0  # bytes

    def __post_init__(self) -> None:
        if self.halving and self.steps_per_epoch is None and any(t.spec.steps is None for t in self.trials):
            raise ValueError("halving counts steps, and the data has no len: give steps in place of epochs")

    def enter(self, make_place: Callable[[], Place]) -> None:
        """Begin, or go on, in a place."""
        if self._place is None:
            self._place = make_place()

    def leave(self) -> None:
        """Take back what is on its way, and leave the place."""
        if self._scheduler is not None:
            self._scheduler.drop_all()
        if self._place is not None:
            self.shipped += self._place.sent
            self._place.close()
        self._scheduler = self._place = None

    def work(self, wait: float, seconds: float) -> bool:
        """Take one turn of the scheduler; False if all trials have ended."""
        while self._scheduler is None or self._scheduler.finished:
            live = [t for t in self.trials if not t.ended]
            if not live:
                return False
            todo = [(t, until) for t in live if (until := self._target(t)) is None or t.step < until]
            if todo:
                assert self._place is not None
                self._scheduler = Scheduler(self._place, todo, self.timeout)
            else:
                assert self.halving is not None
                halved([t for t in self.trials if t.state != "stopped early"], self.halving, self.sign)
                self.level += 1
        self._scheduler.work(wait, seconds)
        self._keep_within_budget(self._scheduler)
        return True

    def _target(self, trial: Trial) -> int | None:
        """Give the step of the trial's present rung; None for its end."""
        if self.halving is None:
            return None
        spec = trial.spec
        targets = rungs(self.halving, spec.steps or (spec.epochs or 1) * (self.steps_per_epoch or 1))
        return targets[self.level] if self.level < len(targets) else None

    def _keep_within_budget(self, scheduler: Scheduler) -> None:
        """Drop the weights of the worst trials, where those of all do not fit."""
        ended, scheduler.ended = scheduler.ended, []
        self._held += sum(t.progress.nbytes for t in ended if t.progress is not None)
        if self._held <= self.budget:
            return
        held = [t for t in self.trials if t.ended and t.progress is not None and t.progress.values.params]
        held.sort(key=lambda t: t.score(self.sign))
        while len(held) > 1 and self._held > self.budget * 0.9:  # less often than at every end
            worst = held.pop()
            assert worst.progress is not None
            self._held -= worst.progress.nbytes
            worst.progress = worst.progress.without_values()

"""The run of a trial, made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from fluxmagic.runs import Run
from fluxmagic.runs.environment import environment
from fluxmagic.sweep.progress import resume
from fluxmagic.sweep.setup import Setup, Starts, borrowed
from fluxmagic.sweep.trial import Trial

__all__ = ["TrialRun", "make_run"]


class TrialRun(Run):
    """A run of which the sweep kept record and final weights; the rest is computed again when it is needed.

    Attributes
    ----------
    whole : bool
        Optimiser, place in the data and all else are there.
    """

    whole = True

    def complete(self) -> None:
        """Compute all steps again, once, and compare them with the record."""
        if self.whole:
            return
        state, self.whole = self.state, True
        threads = self.environment.get("BLAS threads")
        try:
            with nullcontext() if threads == environment()["BLAS threads"] else _limited(threads):
                super().rewind(self.steps)
        except BaseException:
            self.whole = False
            raise
        finally:
            self.state = state


def _completing(name: str) -> Callable[..., Any]:
    own = getattr(Run, name)

    def method(self: TrialRun, *args: object, **options: object) -> object:
        self.complete()
        return own(self, *args, **options)

    method.__doc__, method.__name__ = own.__doc__, name
    return method


for _name in ("step", "train", "advance", "rewind", "undo", "restart", "put_back", "recover", "branch", "save"):
    setattr(TrialRun, _name, _completing(_name))


def _limited(threads: int | None) -> AbstractContextManager[Any]:
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    return threadpool_limits(threads, user_api="blas")  # type: ignore[no-any-return]


def make_run(trial: Trial, setup: Setup, starts: Starts) -> TrialRun:
    """Make the run of a trial, parked; the model stays as it is."""
    progress = trial.progress
    if progress is None:
        reason = f": {trial.error}" if trial.error else ""
        raise LookupError(f"trial {trial.spec.index} is {trial.state}, and has not taken a step{reason}")
    start = starts[trial.spec.seed]
    with borrowed(setup):
        run = setup.run(trial.spec, start, TrialRun)
        run.name = f"trial {trial.spec.index}"
        resume(run, progress, start)
        run.whole = bool(progress.now.optimisers)
        if not progress.now.values.params:
            run.complete()
    return run

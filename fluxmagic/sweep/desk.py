"""Carries out slices of trials, on a setup of its own or on the user's: in this process, or in a worker."""

from __future__ import annotations

import math
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fluxmagic.optimise.errors import NotFinite
from fluxmagic.optimise.step import without_fp_warnings
from fluxmagic.runs import Run
from fluxmagic.runs.lines import Line
from fluxmagic.sweep.setup import Setup, Spec, Starts, borrowed
from fluxmagic.sweep.trial import copy_line, resume, without_state

__all__ = ["Desk", "Job", "Reply", "Report", "limit_blas"]


@dataclass(frozen=True)
class Job:
    """A slice of a trial: from a step, at most to step `until`, for about `seconds`.

    `progress` is where the trial stands; None at its start, and for a worker that has it at hand.
    """

    index: int
    step: int
    until: int | None
    seconds: float
    progress: Line | None = None


@dataclass(frozen=True)
class Report:
    """What a slice came to."""

    index: int
    progress: Line | None
    end: str  # "" before the end, "done", "diverged" or "failed"
    objective: float  # at the end, and at step `until` of the job; NaN elsewhere
    values: Mapping[str, float]  # validation loss and metrics of the same moment
    error: Exception | None  # that the loss, the data or a metric raised
    trace: str
    seconds: float


class Reply(NamedTuple):
    """What a worker answers: "report" with its bytes, "stored", "missing" with what, "refused" with a reason."""

    kind: str
    content: bytes | str


class Desk:
    """Works on one trial at a time, and keeps its run at hand for the next slice.

    `make` gives the setup for a trial, in another process or thread a new copy; `starts` are by seed.
    """

    def __init__(self, make: Callable[[], Setup], starts: Starts, specs: list[Spec]) -> None:
        self._make, self._starts, self._specs = make, starts, specs
        self._kept: tuple[Setup, Run] | None = None  # of the run at hand
        self.at: tuple[int, int] | None = None  # its trial and step

    def work(self, job: Job, threads: int | None = None) -> Report | None:
        """Carry out a job; None if the trial's progress is missing."""
        kept = self._kept if self.at == (job.index, job.step) else None
        if job.progress is None and job.step and kept is None:
            return None
        began = time.perf_counter()
        setup = self._make() if kept is None else kept[0]
        error: Exception | None = None
        self.at, end, trace = None, "", ""
        evaluated: tuple[float, Mapping[str, float]] = (math.nan, {})
        with borrowed(setup):
            run = self._open(setup, self._specs[job.index], job.progress) if kept is None else kept[1]
            try:
                run.advance(job.seconds, None if job.until is None else max(job.until - run.steps, 1))
                end = "" if run.state == "running" else "done"
                run.verify()
                if end or run.steps == job.until:
                    evaluated = evaluate(run, setup.objective)
            except NotFinite as e:
                end, error = "diverged", RuntimeError(str(e))
            except Exception as e:
                end, error, trace = "failed", e, traceback.format_exc()
            if threads is not None:
                run.environment["BLAS threads"] = threads
            if run.state == "running":
                run.state = "paused"
            line = copy_line(run, 0 if run.record.retaken else job.step) if run.snapshots.start is not None else None
        if not end and line is not None:
            self._kept, self.at = (setup, run), (job.index, line.now.step)
        elif line is not None:
            line = without_state(line)
        return Report(job.index, line, end, *evaluated, error, trace, time.perf_counter() - began)

    def _open(self, setup: Setup, spec: Spec, line: Line | None) -> Run:
        run = setup.run(spec, self._starts[spec.seed], Run)
        if line is not None:
            resume(run, line, self._starts[spec.seed])
        return run


def evaluate(run: Run, objective: str) -> tuple[float, dict[str, float]]:
    """Give the objective, and validation loss and metrics, of the weights that a run has now; change nothing."""
    record, problem = run.record, run.problem
    values = record.evaluations_at(run.steps if record.kept is None else record.kept)
    if not values and (problem.valid is not None or problem.metrics):
        with run.training.using_rng, without_fp_warnings():
            values = dict(problem.evaluate(run.training.cursor.last, run.training.generators))
    return (values[objective] if objective != "loss" else _last_epoch(run)), values


def _last_epoch(run: Run) -> float:
    """Average the loss over the rows of the last epoch, or of as many steps where one has not ended."""
    record = run.record
    if record.kept is not None and record.best is not None:
        return record.best.value
    if record.stepwise or record.epochs[-1] == len(record.loss):
        return record.shown_loss
    n = max(run.steps_per_epoch or run.steps, 1)
    return float(np.average(record.loss[-n:], weights=record.rows[-n:]))


_controllers: dict[int, Any] = {}


def limit_blas(threads: int | None) -> AbstractContextManager[Any]:
    """Limit the threads of BLAS; the search for its libraries is repeated when modules were loaded."""
    if not threads:
        return nullcontext()
    from threadpoolctl import ThreadpoolController

    n = len(sys.modules)
    if n not in _controllers:
        _controllers.clear()
        _controllers[n] = ThreadpoolController()
    return _controllers[n].limit(limits=threads, user_api="blas")  # type: ignore[no-any-return]

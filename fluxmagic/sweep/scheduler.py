"""Hands trials out to the workers of a place, slice by slice, and takes what comes back.

A slice is a transaction: until its report is here the trial stands where it stood.  So whatever is on its way can be
dropped at any moment, after a death, a timeout, a pause or an interrupt, and is computed again to the same bits.
"""

from __future__ import annotations

import math
import queue
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fluxmagic.sweep.desk import Job, Report
from fluxmagic.sweep.places import Here, Lost, Pending, Place, PlaceError
from fluxmagic.sweep.trial import Trial

__all__ = ["Scheduler"]

MOST_DEATHS = 3
POLL_SECONDS = 0.5  # between looks at which workers live
SLICE_SECONDS = 0.5


@dataclass(eq=False)
class Running:
    """A slice on its way."""

    trial: Trial
    worker: str
    job: Job
    since: float
    alone: bool


class Scheduler:
    """Trains trials, each to its target.

    Parameters
    ----------
    place : Place
    trials : iterable of (Trial, int or None)
        With the step up to which each is to be trained.
    timeout : float or None
        Seconds for each trial.

    Attributes
    ----------
    ended : list of Trial
        For the caller, who empties it.
    """

    def __init__(self, place: Place, trials: Iterable[tuple[Trial, int | None]], timeout: float | None) -> None:
        self.place = place
        self.timeout = math.inf if timeout is None else timeout
        self._targets = {id(t): until for t, until in trials}
        self._waiting = deque(t for t, _ in trials)
        self._running: dict[int, tuple[Pending, Running]] = {}
        self._finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._last: dict[int, str] = {}  # the worker that has a trial at hand
        self._warm: set[str] = set()  # workers that have what the sweep needs
        self._refused: dict[str, str] = {}
        self._hung: list[tuple[Pending, Running]] = []
        self._workers: dict[str, int] = {}
        self._looked = -math.inf
        self.ended: list[Trial] = []

    @property
    def finished(self) -> bool:
        """Whether every trial has reached its target or ended."""
        return not self._waiting and not self._running

    def work(self, wait: float, seconds: float = SLICE_SECONDS) -> None:
        """Hand out slices of so many seconds, and take reports for so long as there are any; wait for the first."""
        try:
            self._look()
            self._hand_out(seconds)
            wait = min(wait, POLL_SECONDS)
            while True:
                try:
                    future = self._finished.get(timeout=wait) if wait > 0 else self._finished.get_nowait()
                except queue.Empty:
                    return
                self._take(future)
                wait = 0
        except PlaceError as error:
            self._give_up(error)

    # -- handing out ---------------------------------------------------------------------------------------

    def _look(self) -> None:
        """See which workers live and which trials are late."""
        now = time.perf_counter()
        if now - self._looked < POLL_SECONDS and len(self._workers):
            return
        self._looked = now
        self._workers = self.place.workers()
        self._warm &= self._workers.keys()
        self._hung = [(f, r) for f, r in self._hung if not f.done() and r.worker in self._workers]
        for future, running in list(self._running.values()):
            if running.worker not in self._workers:
                self._drop(future)
                self._died(running)
            elif running.trial.seconds + now - running.since > self.timeout:
                self._drop(future)
                self._late(future, running)

    def _load(self, worker: str) -> list[Running]:
        return [r for _, r in (*self._running.values(), *self._hung) if r.worker == worker]

    def _hand_out(self, seconds: float) -> None:
        while self._waiting:
            free = [w for w, capacity in self._workers.items() if w not in self._refused and self._is_free(w, capacity)]
            if not free:
                break
            trial = self._waiting.popleft()
            worker = self._last.get(id(trial), "")
            if trial.alone or worker not in free:
                idle = [w for w in free if not self._load(w)]
                if trial.alone and not idle:
                    self._waiting.appendleft(trial)
                    break
                worker = (idle or free)[0]
            if not isinstance(self.place, Here):
                seconds = SLICE_SECONDS
            job = Job(trial.spec.index, trial.step, self._targets[id(trial)], seconds)
            if self._last.get(id(trial)) != worker or isinstance(self.place, Here):
                job = self._with_progress(job, trial)
            self._send(Running(trial, worker, job, time.perf_counter(), trial.alone), None)
        if self._waiting and not self._running and not any(self._is_usable(w) for w in self._workers):
            self._no_worker()

    def _is_free(self, worker: str, capacity: int) -> bool:
        load = self._load(worker)
        if any(r.alone for r in load) or (load and worker not in self._warm):  # what it needs is sent once
            return False
        return len(load) < capacity

    def _is_usable(self, worker: str) -> bool:
        return worker not in self._refused and sum(r.worker == worker for _, r in self._hung) < self._workers[worker]

    def _no_worker(self) -> None:
        if self._refused:
            raise PlaceError("no worker can be used: " + "; ".join(dict.fromkeys(self._refused.values())))
        if self._hung:
            n = len(self._hung)
            raise PlaceError(f"no worker is free: {n} {'is' if n == 1 else 'are'} busy with steps that do not end")

    @staticmethod
    def _with_progress(job: Job, trial: Trial) -> Job:
        return Job(job.index, job.step, job.until, job.seconds, trial.progress)

    def _send(self, running: Running, missing: list[str] | None) -> None:
        trial = running.trial
        trial.state = "running"
        try:
            future = self.place.submit(running.worker, running.job, missing)
        except BaseException:
            self._back(trial)
            raise
        self._running[id(future)] = future, running
        future.add_done_callback(self._finished.put)

    # -- taking back ---------------------------------------------------------------------------------------

    def _take(self, future: Pending) -> None:
        _, running = self._running.pop(id(future), (None, None))
        if running is None:
            return  # it was dropped
        trial, worker = running.trial, running.worker
        try:
            answer = self.place.result(future)
        except Lost:
            self._died(running)
            return
        except PlaceError:
            self._back(trial)
            raise
        if isinstance(answer, str):
            self._refused[worker] = answer
            self._back(trial)
        elif isinstance(answer, list):
            again = self._with_progress(running.job, trial)
            missing = [name for name in answer if name != "progress"]
            self._send(Running(trial, worker, again, time.perf_counter(), running.alone), missing)
        else:
            self._warm.add(worker)
            self._last[id(trial)] = worker
            self._enter(trial, answer)

    def _enter(self, trial: Trial, report: Report) -> None:
        """Write a report into its trial; the state comes last."""
        trial.seconds += report.seconds
        trial.alone = False
        if report.progress is not None:
            trial.progress = report.progress.after(trial.progress)
            trial.step = trial.progress.step
        if not math.isnan(report.objective) or report.end:
            trial.objective, trial.values = report.objective, report.values
        trial.trace = report.trace
        if report.end:
            self._end(trial, report.end, report.error)
        elif trial.seconds > self.timeout:
            self._end(trial, "failed", TimeoutError(f"timed out after {trial.seconds:.3g} s, at step {trial.step}"))
        elif trial.step == self._targets[id(trial)]:
            trial.state = "waiting"
        else:
            self._back(trial)

    def _back(self, trial: Trial) -> None:
        """Let a trial go on before others begin."""
        trial.state = "waiting"
        self._waiting.appendleft(trial)

    def _end(self, trial: Trial, state: str, error: Exception | None) -> None:
        trial.end(state, error)
        self.ended.append(trial)

    def _drop(self, future: Pending) -> None:
        self._running.pop(id(future), None)
        future.cancel()

    def _died(self, running: Running) -> None:
        trial, worker = running.trial, running.worker
        others = [r for _, r in self._running.values() if r.worker == worker]
        self._last.pop(id(trial), None)
        self.place.kill(worker)
        self._looked = -math.inf
        alone = (not others and not trial.alone) or running.alone
        trial.deaths += alone
        trial.alone = True
        for other in others:
            other.trial.alone = True  # which of them it was is found out when each runs alone
        if trial.deaths >= MOST_DEATHS:
            self._end(trial, "failed", RuntimeError("its worker died three times"))
        else:
            self._back(trial)

    def _late(self, future: Pending, running: Running) -> None:
        text = f"timed out after {self.timeout:g} s, in step {running.trial.step + 1} or later"
        if self.place.ours:
            self.place.kill(running.worker)
            self._workers = self.place.workers()
        else:
            self._hung.append((future, running))
            text += f"; {running.worker} stays busy with that step"
        self._end(running.trial, "failed", TimeoutError(text))

    def drop_all(self) -> None:
        """Forget what is on its way: its trials stand where they stood."""
        for future, running in list(self._running.values()):
            self._drop(future)
            self._back(running.trial)
        if self.place.ours:
            self.place.close()

    def _give_up(self, error: PlaceError) -> None:
        self.drop_all()
        for trial in self._waiting:
            self._end(trial, "failed", error)
        self._waiting.clear()

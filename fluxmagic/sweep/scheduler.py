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
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from fluxmagic.sweep.desk import Job, Report
from fluxmagic.sweep.places import Here, Lost, Place, PlaceError
from fluxmagic.sweep.trial import Trial, joined

__all__ = ["Scheduler"]

MOST_DEATHS = 3
PATIENCE_SECONDS = 60.0  # without a worker
LOOK_AHEAD = 64  # trials
POLL_SECONDS = 0.5  # between looks at which workers live
SLICE_SECONDS = 0.5


@dataclass(eq=False)
class Running:
    """A message on its way: a slice of a trial; without a trial it brings what the sweep needs."""

    worker: str
    trial: Trial | None = None
    since: float = field(default_factory=time.perf_counter)
    future: Future[Any] = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.alone = self.trial is not None and self.trial.alone


class Scheduler:
    """Trains trials, each to the step that stands beside it, or to its end; `timeout` is in seconds for each."""

    def __init__(self, place: Place, trials: Iterable[tuple[Trial, int | None]], timeout: float | None) -> None:
        self.place = place
        self.timeout = math.inf if timeout is None else timeout
        self._targets: dict[int, int | None] = {}
        self._waiting: deque[Trial] = deque()
        self._running: dict[int, Running] = {}  # by the ids of their futures
        self._finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._last: dict[int, str] = {}  # the worker that has a trial at hand
        self._stocked: dict[str, float] = {}  # when workers got what the sweep needs
        self._refused: dict[str, str] = {}
        self._hung: list[Running] = []  # late, in places that are not ours
        self._workers: dict[str, int] = {}
        self._looked = -math.inf
        self._empty_since: float | None = None  # when a look first found no worker
        self.ended: list[Trial] = []  # the caller empties it
        self.add(trials)

    def add(self, trials: Iterable[tuple[Trial, int | None]]) -> None:
        """Add trials, or let those that have reached their step go on to another one."""
        for trial, until in trials:
            self._targets[id(trial)] = until
            self._waiting.append(trial)

    @property
    def finished(self) -> bool:
        """Whether every trial has reached its target or ended."""
        return not self._waiting and not self._running

    def work(self, wait: float, seconds: float = SLICE_SECONDS) -> None:
        """Hand out slices of that length, and take reports while there are any; wait for the first."""
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

    def forget_looks(self) -> None:
        """See at the next turn which workers live."""
        self._looked = -math.inf

    # -- handing out ---------------------------------------------------------------------------------------

    def _look(self) -> None:
        """See which workers live and which trials are late."""
        now = time.perf_counter()
        if now - self._looked < POLL_SECONDS and len(self._workers):
            return
        self._looked = now
        self._workers = self.place.workers()
        self._empty_since = None if self._workers else self._empty_since or now
        self._stocked = {w: at for w, at in self._stocked.items() if w in self._workers}
        self._hung = [r for r in self._hung if not r.future.done() and r.worker in self._workers]
        for running in list(self._running.values()):
            if running.worker not in self._workers:
                self._drop(running)
                self._died(running)
            elif running.trial is not None and running.trial.seconds + now - running.since > self.timeout:
                self._late(running, running.trial)

    def _load(self, worker: str) -> list[Running]:
        """Give what a worker has to do."""
        return [r for r in (*self._running.values(), *self._hung) if r.worker == worker]

    def _hand_out(self, seconds: float) -> None:
        usable = [w for w in self._workers if self._is_usable(w)]
        if self._waiting and not self._running and not usable:
            self._no_worker()
        if self.place.stocked_first:
            for worker in usable:
                if worker not in self._stocked and not self._load(worker):
                    self._send(Running(worker), None)
        for worker in usable:
            while self._waiting and self._is_free(worker):
                trial = self._next_for(worker)
                if trial is None:
                    break
                at_hand = self._last.get(id(trial)) == worker and not isinstance(self.place, Here)
                slice_seconds = seconds if isinstance(self.place, Here) else SLICE_SECONDS
                progress = None if at_hand else trial.progress
                job = Job(trial.spec.index, trial.step, self._targets[id(trial)], slice_seconds, progress)
                self._send(Running(worker, trial), job)

    def _is_usable(self, worker: str) -> bool:
        return worker not in self._refused and sum(r.worker == worker for r in self._hung) < self._workers[worker]

    def _is_free(self, worker: str) -> bool:
        load = self._load(worker)
        if any(r.alone or r.trial is None for r in load) or (self.place.stocked_first and worker not in self._stocked):
            return False
        return len(load) < self._workers[worker]

    def _next_for(self, worker: str) -> Trial | None:
        """Take the trial that the worker has at hand, or the first one that it may take; those begun come first."""
        idle = not self._load(worker)
        ahead = [t for t in islice(self._waiting, LOOK_AHEAD) if idle or not t.alone]
        if not ahead:
            return None
        trial = next((t for t in ahead if self._last.get(id(t)) == worker), ahead[0])
        self._waiting.remove(trial)
        return trial

    def _no_worker(self) -> None:
        """Give up if that will not change; a cluster may be starting its workers."""
        if self._empty_since is not None and time.perf_counter() - self._empty_since > PATIENCE_SECONDS:
            raise PlaceError(f"there has been no worker for {PATIENCE_SECONDS:g} s: start workers, and train again")
        if self._refused:
            raise PlaceError("no worker can be used: " + "; ".join(dict.fromkeys(self._refused.values())))
        if self._hung:
            n = len(self._hung)
            raise PlaceError(f"no worker is free: {n} {'is' if n == 1 else 'are'} busy with steps that do not end")

    def _send(self, running: Running, job: Job | None) -> None:
        if running.trial is not None:
            running.trial.state = "running"
        try:
            running.future = self.place.submit(running.worker, job)
        except Lost as error:
            self._died(running, error.idle)
            return
        except BaseException:
            self._back(running.trial)
            raise
        self._running[id(running.future)] = running
        running.future.add_done_callback(self._finished.put)

    # -- taking back ---------------------------------------------------------------------------------------

    def _take(self, future: Future[Any]) -> None:
        running = self._running.pop(id(future), None)
        if running is None:
            return  # it was dropped
        trial, worker = running.trial, running.worker
        try:
            answer = self.place.result(future)
        except Lost as error:
            self._died(running, error.idle)
            return
        except PlaceError:
            self._back(trial)
            raise
        if isinstance(answer, Report):
            assert trial is not None
            self._last[id(trial)] = worker
            self._enter(trial, answer)
            return
        self._back(trial)
        if answer.kind == "refused":
            self._refused[worker] = str(answer.content)
        elif answer.kind == "stored":
            self._stocked[worker] = time.perf_counter()
        elif answer.content == "progress":
            self._last.pop(id(trial), None)
        elif running.since > self._stocked.get(worker, -math.inf) and all(r.trial for r in self._load(worker)):
            self._send(Running(worker), None)

    def _enter(self, trial: Trial, report: Report) -> None:
        """Write a report into its trial; the state comes last."""
        trial.seconds += report.seconds
        trial.alone = False
        if report.progress is not None:
            trial.progress = joined(trial.progress, report.progress)
            trial.step = trial.progress.now.step
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

    def _back(self, trial: Trial | None) -> None:
        """Let a trial go on before others begin."""
        if trial is not None:
            trial.state = "waiting"
            self._waiting.appendleft(trial)

    def _end(self, trial: Trial, state: str, error: Exception | None) -> None:
        trial.end(state, error)
        self.ended.append(trial)

    def _drop(self, running: Running) -> None:
        self._running.pop(id(running.future), None)
        self.place.cancel(running.future)

    def _forget(self, worker: str) -> None:
        """Leave a worker that has died."""
        self.place.kill(worker)
        self._stocked.pop(worker, None)
        self._workers.pop(worker, None)
        self.forget_looks()

    def _died(self, running: Running, idle: bool = False) -> None:
        trial, worker = running.trial, running.worker
        others = [r.trial for r in self._load(worker) if r.trial is not None]
        self._forget(worker)
        if trial is None or idle:
            self._back(trial)
            return
        self._last.pop(id(trial), None)
        trial.deaths += running.alone or not (others or trial.alone)
        for t in (trial, *others):  # which of them it was is found out when each runs alone
            t.alone = True
        if trial.deaths >= MOST_DEATHS:
            self._end(trial, "failed", RuntimeError("its worker died three times"))
        else:
            self._back(trial)

    def _late(self, running: Running, trial: Trial) -> None:
        text = f"timed out after {self.timeout:g} s, in step {trial.step + 1} or later"
        del self._running[id(running.future)]
        if self.place.ours:
            self._forget(running.worker)
        else:  # not cancelled: it would seem to have ended
            self._hung.append(running)
            text += f"; {running.worker} stays busy with that step"
        self._end(trial, "failed", TimeoutError(text))

    def drop_all(self) -> None:
        """Forget what is on its way: its trials stand where they stood."""
        for running in list(self._running.values()):
            self._drop(running)
            self._back(running.trial)
        for running in self._hung:
            self.place.cancel(running.future)
        if self.place.ours:
            self.place.close()

    def leave(self) -> int:
        """Forget what is on its way, and leave the place; give the bytes that its workers were sent."""
        self.drop_all()
        self.place.close()
        return self.place.sent

    def _give_up(self, error: PlaceError) -> None:
        self.drop_all()
        for trial in self._waiting:
            self._end(trial, "failed", error)
        self._waiting.clear()

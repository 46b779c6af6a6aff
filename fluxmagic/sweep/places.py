"""Where trials run: here, on processes of ours, in an executor, on a Dask cluster.  One small adapter each.

A place gives its workers with their capacities, and takes jobs.  No engine is imported unless it is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import suppress
from importlib import import_module
from itertools import count
from typing import Any, NamedTuple, Protocol

from fluxmagic.sweep.desk import Desk, Job, Report

__all__ = ["Here", "Lost", "On", "Pending", "Place", "PlaceError", "place_of"]


Freight = Any
"""Of `shipping`, which imports cloudpickle."""
Message = Any
"""Orders and replies of `worker`, which imports `shipping`."""
Client = Any
Engine = Any
Answer = Any
"""Of loky and distributed, which are imported if they are used."""
On = Any
"""Where trials run: None, a number, an executor or a client."""


class PlaceError(RuntimeError):
    """A place cannot be used any more; the message says what to pass in its stead."""


class Lost(Exception):
    """A worker died."""


class Said(NamedTuple):
    """What is no report: "stored", "missing" with "blobs" or "progress", "refused" with a reason."""

    kind: str
    text: str


class Pending(Protocol):
    """A job that was taken: a future."""

    def done(self) -> bool: ...

    def add_done_callback(self, f: Callable[[Any], object]) -> object: ...


class Place(Protocol):
    """What takes jobs.

    Attributes
    ----------
    ours : bool
        Its workers may be killed.
    stocked_first : bool
        A worker is sent what the sweep needs before its first job; otherwise once it says that it lacks it.
    sent : int
        Bytes of what the sweep needs that were sent.
    """

    ours: bool
    stocked_first: bool
    sent: int

    def workers(self) -> dict[str, int]:
        """Give the workers that live, with the number of jobs that each takes at a time."""

    def submit(self, worker: str, job: Job | None) -> Pending:
        """Send a job to a worker; None sends what the sweep needs.

        Raises
        ------
        Lost, PlaceError
            As for `result`.
        """

    def result(self, future: Answer) -> Report | Said:
        """Give a report, or what the worker says in its place.

        Raises
        ------
        Lost
            If the worker died.
        PlaceError
            If the place is gone.
        """

    def cancel(self, future: Answer) -> None:
        """Drop what is on its way."""

    def kill(self, worker: str) -> None:
        """End a worker, if it is ours."""

    def close(self) -> None:
        """End what is ours, and let the other workers forget the sweep."""


class Here:
    """This process and thread: a job is done as it is submitted."""

    ours = stocked_first = False
    sent = 0

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def workers(self) -> dict[str, int]:
        return {"here": 1}

    def submit(self, worker: str, job: Job | None) -> Future[Report | None]:
        assert job is not None
        future: Future[Report | None] = Future()
        future.set_result(self._desk.work(job))
        return future

    def result(self, future: Future[Report | None]) -> Report | Said:
        return future.result() or Said("missing", "progress")

    def cancel(self, future: Future[Report | None]) -> None:
        """Do nothing: it is done."""

    def kill(self, worker: str) -> None:
        """Do nothing: it is this process."""

    def close(self) -> None:
        """Do nothing."""


class _Remote:
    """Sends orders, and reads replies."""

    ours = stocked_first = False
    threads = 1

    def __init__(self, freight: Freight) -> None:
        self._worker, self._shipping = (import_module(f"fluxmagic.sweep.{m}") for m in ("worker", "shipping"))
        self._freight = freight
        self._versions = self._worker.versions()
        self.sent = 0

    def order(self, job: Job | None) -> Message:
        """Make the message for a job, or the one that brings what the sweep needs."""
        freight, content = self._freight, b""
        if job is None:
            self.sent += freight.nbytes
        else:
            content = self._shipping.dump(job)
        blobs = freight.blobs if job is None else {}
        return self._worker.Order(freight.name, freight.needs, blobs, content, self.threads, self._versions)

    def cancel(self, future: Answer) -> None:
        """Drop what is on its way."""
        with suppress(Exception):  # the client may be gone
            future.cancel()

    def read(self, reply: Message) -> Report | Said:
        """Read a reply."""
        if reply.kind == "report":
            return self._shipping.load(reply.content, self._freight.optimisers)  # type: ignore[no-any-return]
        return Said(reply.kind, f"{reply.worker}: {reply.content}" if reply.kind == "refused" else reply.content)


class Processes(_Remote):
    """Processes of this machine, each an executor of loky's: a death concerns one trial, and one can be killed."""

    ours = stocked_first = True

    def __init__(self, n: int, freight: Freight) -> None:
        super().__init__(freight)
        self._loky = _engine("loky", "sweep")
        self.threads = max((os.cpu_count() or 1) // n, 1)
        self._numbers = count(1)
        self._n = n
        self._executors: dict[str, Executor] = {}

    def workers(self) -> dict[str, int]:
        while len(self._executors) < self._n:
            executor = self._loky.ProcessPoolExecutor(max_workers=1)
            self._executors[f"process {next(self._numbers)}"] = executor
        return dict.fromkeys(self._executors, 1)

    def submit(self, worker: str, job: Job | None) -> Future[Any]:
        try:
            return self._executors[worker].submit(self._worker.work, self.order(job))
        except RuntimeError as error:
            raise Lost(str(error)) from error

    def result(self, future: Future[Any]) -> Report | Said:
        try:
            return self.read(future.result())
        except (BrokenExecutor, CancelledError) as error:
            raise Lost(str(error)) from error
        except Exception as error:
            return _refusal(error)

    def kill(self, worker: str) -> None:
        executor: Any = self._executors.pop(worker, None)
        if executor is not None:
            executor.shutdown(wait=False, kill_workers=True)

    def close(self) -> None:
        for worker in list(self._executors):
            self.kill(worker)


class InExecutor(_Remote):
    """An executor of the user's: which worker takes a job does not show."""

    def __init__(self, executor: Executor, freight: Freight) -> None:
        super().__init__(freight)
        self._executor = executor
        self._capacity = int(getattr(executor, "_max_workers", None) or os.cpu_count() or 1)

    def workers(self) -> dict[str, int]:
        return {"executor": self._capacity}

    def submit(self, worker: str, job: Job | None) -> Future[Any]:
        try:
            return self._executor.submit(self._worker.work, self.order(job))
        except RuntimeError as error:  # shut down, or broken
            raise PlaceError(_gone("executor", error, "a new executor, or an integer")) from error

    def result(self, future: Future[Any]) -> Report | Said:
        try:
            return self.read(future.result())
        except (BrokenExecutor, CancelledError) as error:
            raise PlaceError(_gone("executor", error, "a new executor, or an integer")) from error
        except Exception as error:
            return _refusal(error)

    def kill(self, worker: str) -> None:
        """Do nothing: its workers are the user's."""

    def close(self) -> None:
        with suppress(RuntimeError):  # it is gone
            for _ in range(self._capacity):
                self._executor.submit(self._worker.forget, self._freight.name)


SCATTERED = 1_000_000  # bytes from which a message goes to its worker without the scheduler
DASK_SECONDS = 10.0  # for an answer of a worker that may have died


class OnDask(_Remote):
    """A Dask client: each job is pinned to a worker, so that its death is known, and retried by us."""

    stocked_first = True

    def __init__(self, client: Client, freight: Freight) -> None:
        super().__init__(freight)
        self._client, self._engine = client, import_module("distributed")
        if client.asynchronous:
            raise TypeError("on: the Dask client is asynchronous; pass Client(address)")

    def workers(self) -> dict[str, int]:
        try:
            return dict(self._try(self._client.nthreads))
        except Lost as error:  # it is the scheduler
            raise PlaceError(_gone("Dask client", error, "an open client")) from error

    def submit(self, worker: str, job: Job | None) -> Answer:
        if worker not in self.workers():  # the job would wait for it, and count as one that its death ended
            raise Lost(f"{worker} is gone")
        order = self.order(job)
        size = len(order.job) + sum(map(len, order.blobs.values()))
        where = {"workers": [worker], "allow_other_workers": False, "pure": False, "retries": 0}

        def send() -> Answer:
            sent = order
            if size > SCATTERED:  # past the scheduler; a small message does not wait for the worker
                (sent,) = self._client.scatter([order], workers=[worker], hash=False, timeout=DASK_SECONDS)
            return self._client.submit(self._worker.work, sent, **where)

        return self._try(send)

    def result(self, future: Answer) -> Report | Said:
        try:
            # it lies on the worker, which may have died since: Dask then waits for another one
            return self.read(self._try(lambda: future.result(timeout=DASK_SECONDS)))
        except (Lost, PlaceError):
            raise
        except Exception as error:
            return _refusal(error)

    def kill(self, worker: str) -> None:
        """Do nothing: its workers are the user's."""

    def close(self) -> None:
        with suppress(Exception):  # the client may be gone
            for worker in self.workers():
                future = self._client.submit(self._worker.forget, self._freight.name, workers=[worker], pure=False)
                self._engine.fire_and_forget(future)

    def _try(self, f: Callable[[], Answer]) -> Answer:
        try:
            return f()
        except Exception as error:
            if self._client.status != "running":
                raise PlaceError(_gone("Dask client", error, "an open client")) from error
            if isinstance(error, (ImportError, AttributeError, TypeError)):  # the worker cannot read the job
                raise
            raise Lost(str(error)) from error


def check_place(on: On) -> None:
    """Check where trials are to run.

    Raises
    ------
    TypeError
        If it is none of the places.
    """
    number = isinstance(on, int) and not isinstance(on, bool) and on > 0
    client = type(on).__module__.startswith("distributed.") and hasattr(on, "scatter")
    if not (on is None or number or client or isinstance(on, Executor)):
        raise TypeError(
            f"on is a number of processes, a concurrent.futures.Executor or a dask.distributed.Client, not {on!r}; "
            "without it trials take turns in this process"
        )


def place_of(on: On, here: Callable[[], Desk], freight: Callable[[], Freight]) -> Place:
    """Make the place for `on`: None, a number of processes, an executor, or a Dask client."""
    check_place(on)
    if on is None:
        return Here(here())
    kind = Processes if isinstance(on, int) else InExecutor if isinstance(on, Executor) else OnDask
    return kind(on, freight())


def _engine(module: str, extra: str) -> Engine:
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f'sweeps there need {module}: pip install "fluxmagic[{extra}]" ({error})') from error


def _refusal(error: Exception) -> Said:
    """Say why a job could not be read there: the worker lacks a package."""
    return Said("refused", f"a worker could not take a job ({type(error).__name__}: {error})")


def _gone(what: str, error: BaseException, instead: str) -> str:
    return f"the {what} cannot be used any more ({type(error).__name__}: {error}): pass {instead} as `on`"

"""Where trials run: here, on processes of ours, in an executor, on a Dask cluster.  One small adapter each.

A place gives its workers with their capacities, and takes messages, which do not block: a job, or what the sweep needs.
No engine is imported unless it is used.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import suppress
from importlib import import_module
from itertools import count
from typing import Any, Protocol

from fluxmagic.sweep.desk import Desk, Job, Reply, Report
from fluxmagic.sweep.setup import Setup, Spec, Starts

__all__ = ["Here", "Lost", "On", "Place", "PlaceError", "check_place", "place_of"]


Foreign = Any
"""Of loky, distributed, or `worker`, which are imported if they are used."""
On = Any
"""Where trials run: None, a number, an executor or a client."""


class PlaceError(RuntimeError):
    """A place cannot be used any more; the message says what to pass in its stead."""


class Lost(Exception):
    """A worker died; `idle` tells that it had not taken the message."""

    def __init__(self, text: str, *, idle: bool = False) -> None:
        super().__init__(text)
        self.idle = idle


class Place(Protocol):
    """What takes messages."""

    ours: bool = False  # its workers may be killed
    stocked_first: bool = False  # a worker is sent what the sweep needs before its first job, and not when it lacks it
    sent: int = 0  # bytes of what the sweep needs

    def workers(self) -> dict[str, int]:
        """Give the workers that live, with the number of jobs that each takes at a time."""

    def submit(self, worker: str, job: Job | None) -> Future[Any]:
        """Send a job to a worker; None sends what the sweep needs.  It raises what `result` raises."""

    def result(self, future: Future[Any]) -> Report | Reply:
        """Give what came back, or raise Lost where the worker died, PlaceError where the place is gone."""
        return future.result()  # type: ignore[no-any-return]

    def cancel(self, future: Future[Any]) -> None:
        """Drop what is on its way."""
        future.cancel()

    def kill(self, worker: str) -> None:
        """End a worker, if it is ours."""
        return

    def close(self) -> None:
        """End what is ours, and let the other workers forget the sweep."""
        return


class Here(Place):
    """This process and thread: a job is done as it is submitted."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def workers(self) -> dict[str, int]:
        return {"here": 1}

    def submit(self, worker: str, job: Job | None) -> Future[Any]:
        assert job is not None
        future: Future[Any] = Future()
        future.set_result(self._desk.work(job))
        return future


class _Remote(Place):
    """Sends orders to workers, each of which is reached through an executor, and reads replies."""

    threads = 1
    executors: dict[str, Executor]

    def __init__(self, freight: Foreign) -> None:
        self._worker = import_module("fluxmagic.sweep.worker")
        self._freight = freight
        self._versions = self._worker.versions()

    def order(self, job: Job | None) -> Foreign:
        """Make the message for a job, or the one that brings what the sweep needs."""
        freight = self._freight
        if job is None:
            self.sent += freight.nbytes
        content, blobs = (b"", freight.blobs) if job is None else (self._worker.dump(job), {})
        return self._worker.Order(freight.name, freight.needs, blobs, content, self.threads, self._versions)

    def submit(self, worker: str, job: Job | None) -> Future[Any]:
        try:
            return self.executors[worker].submit(self._worker.work, self.order(job))
        except RuntimeError as error:  # shut down, or broken
            raise self.gone(error, idle=True) from error

    def result(self, future: Future[Any]) -> Report | Reply:
        try:
            reply: Reply = future.result()
            if reply.kind == "report":
                return self._worker.load(reply.content, self._freight.optimisers)  # type: ignore[no-any-return]
            return reply
        except (Lost, PlaceError):
            raise
        except (BrokenExecutor, CancelledError) as error:
            raise self.gone(error) from error
        except Exception as error:  # the worker lacks a package
            return Reply("refused", f"a worker could not take a job ({type(error).__name__}: {error})")

    def gone(self, error: BaseException, *, idle: bool = False) -> Lost | PlaceError:
        """Give what to raise for an error of the place itself; `idle` is that of `Lost`."""
        raise NotImplementedError


class Processes(_Remote):
    """Processes of this machine, each an executor of loky's: a death concerns one trial, and one can be killed."""

    ours = stocked_first = True

    def __init__(self, n: int, freight: Foreign) -> None:
        super().__init__(freight)
        self._loky = _engine("loky", "sweep")
        self.threads = max((os.cpu_count() or 1) // n, 1)
        self._numbers = count(1)
        self._n = n
        self.executors = {}

    def workers(self) -> dict[str, int]:
        while len(self.executors) < self._n:
            self.executors[f"process {next(self._numbers)}"] = self._loky.ProcessPoolExecutor(max_workers=1)
        return dict.fromkeys(self.executors, 1)

    def gone(self, error: BaseException, *, idle: bool = False) -> Lost | PlaceError:
        return Lost(str(error), idle=idle)

    def kill(self, worker: str) -> None:
        executor: Foreign = self.executors.pop(worker, None)
        if executor is not None:
            executor.shutdown(wait=False, kill_workers=True)

    def close(self) -> None:
        for worker in list(self.executors):
            self.kill(worker)


class InExecutor(_Remote):
    """An executor of the user's: which worker takes a job does not show."""

    def __init__(self, executor: Executor, freight: Foreign) -> None:
        super().__init__(freight)
        self.executors = {"executor": executor}
        self._capacity = int(getattr(executor, "_max_workers", None) or os.cpu_count() or 1)

    def workers(self) -> dict[str, int]:
        return {"executor": self._capacity}

    def gone(self, error: BaseException, *, idle: bool = False) -> Lost | PlaceError:
        return _gone("executor", error, "a new executor, or an integer")

    def close(self) -> None:
        with suppress(RuntimeError):  # it is gone
            for _ in range(self._capacity):
                self.executors["executor"].submit(self._worker.forget, self._freight.name)


SCATTERED = 1_000_000  # bytes from which a message is sent apart from Dask's graph, which the scheduler keeps


class OnDask(_Remote):
    """A Dask client: each job is pinned to a worker, so that its death is known, and retried by us.

    All that may take long runs on the client's event loop: a worker that dies with its result leaves that open, until
    a look at the workers finds it gone.
    """

    stocked_first = True

    def __init__(self, client: Foreign, freight: Foreign) -> None:
        super().__init__(freight)
        if client.asynchronous:
            raise TypeError("on: the Dask client is asynchronous; pass Client(address)")
        self._client = client

    def workers(self) -> dict[str, int]:
        try:
            return dict(self._client.nthreads())
        except Exception as error:
            raise self.gone(error) from error

    def submit(self, worker: str, job: Job | None) -> Future[Any]:
        if self._client.status != "running":
            raise self.gone(RuntimeError(f"it is {self._client.status}"))
        return asyncio.run_coroutine_threadsafe(self._send(worker, self.order(job)), self._client.loop.asyncio_loop)

    async def _send(self, worker: str, order: Foreign) -> Reply:
        client = self._client
        try:
            if worker not in await client.nthreads(asynchronous=True):  # the job would wait for it
                raise Lost(f"{worker} is gone", idle=True)
            if len(order.job) + sum(map(len, order.blobs.values())) > SCATTERED:
                (order,) = await client.scatter([order], workers=[worker], hash=False, asynchronous=True)
            where = {"workers": [worker], "allow_other_workers": False, "pure": False, "retries": 0}
            task = client.submit(self._worker.work, order, **where)
            answer = asyncio.ensure_future(client.gather(task, asynchronous=True))
            try:
                return await asyncio.shield(answer)
            except asyncio.CancelledError:
                await client.cancel([task], asynchronous=True)
                await asyncio.gather(answer, return_exceptions=True)  # Dask logs one that is left alone
                raise
        except Exception as error:
            if client.status != "running":
                raise self.gone(error) from error
            if isinstance(error, (Lost, ImportError, AttributeError, TypeError)):  # the worker cannot read the job
                raise
            raise Lost(str(error)) from error

    def gone(self, error: BaseException, *, idle: bool = False) -> Lost | PlaceError:
        return _gone("Dask client", error, "an open client")

    def close(self) -> None:
        with suppress(Exception):  # the client may be gone
            for worker in self.workers():
                future = self._client.submit(self._worker.forget, self._freight.name, workers=[worker], pure=False)
                _engine("distributed", "cluster").fire_and_forget(future)


def check_place(on: On) -> None:
    """Raise a TypeError if trials cannot run there."""
    number = isinstance(on, int) and not isinstance(on, bool) and on > 0
    client = type(on).__module__.startswith("distributed.") and hasattr(on, "scatter")
    if not (on is None or number or client or isinstance(on, Executor)):
        raise TypeError(
            f"on is a number of processes, a concurrent.futures.Executor or a dask.distributed.Client, not {on!r}; "
            "without it trials take turns in this process"
        )


def place_of(on: On, setup: Setup, starts: Starts, specs: list[Spec]) -> Place:
    """Make the place for `on`: None, a number of processes, an executor, or a Dask client."""
    check_place(on)
    if on is None:
        return Here(Desk(lambda: setup, starts, specs))
    _engine("cloudpickle", "sweep")
    freight = import_module("fluxmagic.sweep.worker").Freight(setup, starts, specs)
    kind = Processes if isinstance(on, int) else InExecutor if isinstance(on, Executor) else OnDask
    return kind(on, freight)


def _gone(what: str, error: BaseException, instead: str) -> PlaceError:
    return PlaceError(f"the {what} cannot be used any more ({type(error).__name__}: {error}): pass {instead} as `on`")


def _engine(module: str, extra: str) -> Foreign:
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f'sweeps there need {module}: pip install "fluxmagic[{extra}]" ({error})') from error

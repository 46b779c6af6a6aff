"""Carries out a slice in another process or thread: a message brings the job, and names what it needs by hashes.

A process keeps what it was sent until the sweep ends, and says what it lacks.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
import threading
from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from fluxmagic.runs.environment import NUMERICS
from fluxmagic.sweep import shipping
from fluxmagic.sweep.desk import Desk, Job, Reply
from fluxmagic.sweep.setup import Spec, Starts
from fluxmagic.version import __version__

__all__ = ["Order", "forget", "sweeps_held", "versions", "work"]


class Order(NamedTuple):
    """A message to a worker: builtins alone, so that it can be read whatever is installed there."""

    sweep: str
    needs: list[str]  # hashes: first the setup, then starts and specs, then arrays
    blobs: dict[str, bytes]  # of the needs those that are sent along
    job: bytes  # empty to bring blobs alone
    threads: int  # of BLAS, limited around the slice
    versions: dict[str, str]  # of the sender


def versions() -> dict[str, str]:
    """Give what has to agree between a sweep and its workers."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"fluxmagic": f"{__version__} (numerics {NUMERICS})", "NumPy": np.__version__, "Python": python}


def sweeps_held() -> list[str]:
    """Give the names of the sweeps of which this process has something."""
    with _shops_lock:
        return list(_shops)


class _Shop:
    """What this process has of one sweep."""

    def __init__(self) -> None:
        self.blobs: dict[str, Any] = {}
        self.desks: list[Desk] = []
        self.common: tuple[Starts, list[Spec]] | None = None
        self.lock = threading.Lock()

    def job(self, order: Order) -> tuple[Job, Desk]:
        """Read the job, and take the idle desk that has the trial at hand, or another one, or make one."""
        setup, others = order.needs[:2]
        with self.lock:
            if self.common is None:
                self.common = self.load(others)
                self.blobs.update({f"optimiser {s.cls.__name__}": s.cls for s in self.common[1]})
            job = shipping.load(order.job, self.blobs)
            found = next((d for d in self.desks if d.at == (job.index, job.step)), None)
            if found is not None:
                self.desks.remove(found)
            elif self.desks:
                found = self.desks.pop()
            return job, found or Desk(lambda: self.load(setup), *self.common)

    def load(self, name: str) -> Any:  # noqa: ANN401 - any object
        return shipping.load(self.blobs[name], self.blobs)


_shops: OrderedDict[str, _Shop] = OrderedDict()
_shops_lock = threading.Lock()
MOST_SWEEPS = 2  # whose arrays a process keeps, if their end has not reached it


def work(order: Order) -> Reply:
    """Carry out the job of an order in this process."""
    mine = versions()
    other = [f"{k} {v}, and here {mine.get(k)}" for k, v in order.versions.items() if v != mine.get(k)]
    if other:
        return _refuse(f"the sweep has {'; '.join(other)}")
    with _shops_lock:
        shop = _shops.setdefault(order.sweep, _Shop())
        _shops.move_to_end(order.sweep)
        while len(_shops) > MOST_SWEEPS:
            _shops.popitem(last=False)
    for name, blob in order.blobs.items():
        shop.blobs[name] = shipping.unpack(blob)
    if not order.job:
        return Reply("stored", "")
    if not shop.blobs.keys() >= set(order.needs):
        return Reply("missing", "blobs")
    try:
        job, desk = shop.job(order)
        with _limit(order.threads):
            report = desk.work(job, order.threads)
    except (ImportError, AttributeError) as error:  # of what the setup is made of
        return _refuse(f"it lacks what the sweep needs: {error}")
    with shop.lock:
        shop.desks.append(desk)
    if report is None:
        return Reply("missing", "progress")
    return Reply("report", shipping.dump_report(report))


def _refuse(reason: str) -> Reply:
    return Reply("refused", f"{socket.gethostname()}:{os.getpid()}: {reason}")


def forget(sweep: str) -> None:
    """Drop what this process has of a sweep."""
    with _shops_lock:
        _shops.pop(sweep, None)


_controllers: dict[int, Any] = {}


def _limit(threads: int) -> AbstractContextManager[Any]:
    """Limit the threads of BLAS; the search for its libraries is repeated when modules were loaded."""
    if not threads:
        return nullcontext()
    from threadpoolctl import ThreadpoolController

    n = len(sys.modules)
    if n not in _controllers:
        _controllers.clear()
        _controllers[n] = ThreadpoolController()
    return _controllers[n].limit(limits=threads, user_api="blas")  # type: ignore[no-any-return]

"""How a setup, jobs and reports travel, and what a worker in another process or thread does with them.

All travels by value; large arrays once, named by the hash of their content.  A message brings a job, and names what it
needs by hashes.  A process keeps what it was sent until the sweep ends, and says what it lacks.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import os
import pickle
import platform
import socket
import threading
import types
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import cloudpickle
import numpy as np

from fluxmagic import generators
from fluxmagic.layers.traversal import global_names
from fluxmagic.optimise.optimiser import OPTIMISERS, Optimiser
from fluxmagic.runs.environment import NUMERICS
from fluxmagic.sweep.desk import Desk, Job, Reply, Report, limit_blas
from fluxmagic.sweep.setup import Setup, Spec, Starts
from fluxmagic.version import __version__

__all__ = ["LARGE", "Freight", "Order", "dump", "forget", "load", "sweeps_held", "versions", "work"]

Unpickled = Any
LARGE = 100_000  # bytes from which an array travels by itself


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Leaves out the default generator; large arrays, if `freight` takes them; optimisers, if their names suffice.

    `by_value` has the ids of arrays that a trial writes to: running statistics.
    """

    def __init__(self, file: io.BytesIO, freight: Freight | None, by_value: Iterable[int] = ()) -> None:
        super().__init__(file, protocol=5)
        self._freight, self._by_value = freight, set(by_value)
        self._default = generators.as_generator()

    def reducer_override(self, x: object) -> Unpickled:
        """Give the code of a cell the variables that it reads: cloudpickle finds those of functions alone."""
        reduced = super().reducer_override(x)
        if (
            isinstance(x, types.FunctionType)
            and isinstance(reduced, tuple)
            and not x.__code__.co_flags & inspect.CO_NEWLOCALS
        ):
            found = {name: x.__globals__[name] for name in global_names(x.__code__) if name in x.__globals__}
            reduced[2][1]["__globals__"].update(found)
        return reduced

    def persistent_id(self, x: object) -> tuple[str, str] | None:
        if x is self._default:
            return "generator", ""
        if self._freight is None:
            return ("optimiser", x.__name__) if isinstance(x, type) and issubclass(x, Optimiser) else None
        if isinstance(x, np.ndarray) and x.nbytes >= LARGE and not x.dtype.hasobject and id(x) not in self._by_value:
            return "array", self._freight.add(np.asarray(x))
        return None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, blobs: Mapping[str, Any]) -> None:
        super().__init__(file)
        self._blobs = blobs

    def persistent_load(self, name: tuple[str, str]) -> Unpickled:
        kind, key = name
        if kind == "generator":
            return generators.as_generator()
        if kind == "optimiser":
            return self._blobs.get(f"optimiser {key}") or OPTIMISERS[key]
        return self._blobs[key]


def dump(x: object, freight: Freight | None = None, by_value: Iterable[int] = ()) -> bytes:
    """Pickle an object by value; large arrays go to the freight."""
    file = io.BytesIO()
    _Pickler(file, freight, by_value).dump(x)
    return file.getvalue()


def load(content: bytes, blobs: Mapping[str, Any]) -> Unpickled:
    """Unpickle what `dump` made, with arrays and optimisers by their names."""
    return _Unpickler(io.BytesIO(content), blobs).load()


def unpack(blob: bytes) -> Unpickled:
    """Give the content of a blob; an array that trials share cannot be written to."""
    x = pickle.loads(blob)
    if isinstance(x, np.ndarray):
        x.flags.writeable = False
    return x


def dump_report(report: Report) -> bytes:
    """Pickle a report, by value where names do not suffice; an error that cannot be shipped goes as its text."""
    try:
        try:
            content = pickle.dumps(report, protocol=5)  # a fifth of the time
        except Exception:
            content = dump(report)
        if report.error is not None:
            load(content, {})
        return content
    except Exception:
        text = f"{type(report.error).__name__}: {report.error}"
        return dump(Report(**{**vars(report), "error": RuntimeError(text)}))


class Freight:
    """All that workers need of a sweep: pickles of the setup, of starts and specs, and of the arrays, by their hashes.

    `needs` has the hashes in this order.
    """

    def __init__(self, setup: Setup, starts: Starts, specs: list[Spec]) -> None:
        self.name = os.urandom(8).hex()
        self.blobs: dict[str, bytes] = {}
        self.optimisers = {f"optimiser {s.cls.__name__}": s.cls for s in specs}
        try:
            parts = [dump(setup, self, map(id, setup.buffers)), dump((starts, specs), self)]
        except Exception as error:
            raise TypeError(_explain(setup, specs, error)) from error
        arrays = list(self.blobs)
        self.needs = [self._put(pickle.dumps(part)) for part in parts] + arrays

    @property
    def nbytes(self) -> int:
        """Bytes of all blobs."""
        return sum(map(len, self.blobs.values()))

    def add(self, a: np.ndarray) -> str:
        """Add an array."""
        return self._put(pickle.dumps(a, protocol=5))

    def _put(self, blob: bytes) -> str:
        name = hashlib.blake2b(blob, digest_size=16).hexdigest()
        self.blobs.setdefault(name, blob)
        return name


def _explain(setup: Setup, specs: list[Spec], error: Exception) -> str:
    """Say which object cannot be shipped, and the way to it."""
    for name, x in (*vars(setup).items(), *((f"the {s.cls.__name__} of trial {s.index}", s) for s in specs)):
        path, culprit = _culprit(name, x)
        if path:
            return (
                f"{path}, a {type(culprit).__name__}, cannot be shipped to a worker ({error}): make it inside the "
                "function that uses it, or sweep in this process, without `on`"
            )
    return f"this sweep cannot be shipped to a worker: {error}"


def _culprit(path: str, x: object, depth: int = 6) -> tuple[str, object]:
    """Give the smallest part of an object that cannot be pickled, and the way to it; "" if all can."""
    try:
        dump(x)
    except Exception:
        for name, part in _parts(x) if depth else ():
            found, culprit = _culprit(f"{path} → {name}", part, depth - 1)
            if found:
                return found, culprit
        return path, x
    return "", None


def _parts(x: object) -> Iterator[tuple[str, object]]:
    if inspect.isfunction(x):
        names = inspect.getclosurevars(x)
        yield from ((*names.nonlocals.items(), *names.globals.items()))
    elif isinstance(x, Mapping):
        yield from ((str(k), v) for k, v in x.items())
    elif isinstance(x, (list, tuple, set)):
        yield from ((f"[{i}]", v) for i, v in enumerate(x))
    else:
        yield from getattr(x, "__dict__", {}).items()


# -- in a worker -----------------------------------------------------------------------------------------------


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
            job = load(order.job, self.blobs)
            found = next((d for d in self.desks if d.at == (job.index, job.step)), None)
            if found is not None:
                self.desks.remove(found)
            elif self.desks:
                found = self.desks.pop()
            return job, found or Desk(lambda: self.load(setup), *self.common)

    def load(self, name: str) -> Any:  # noqa: ANN401 - any object
        return load(self.blobs[name], self.blobs)


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
        shop.blobs[name] = unpack(blob)
    if not order.job:
        return Reply("stored", "")
    if not shop.blobs.keys() >= set(order.needs):
        return Reply("missing", "blobs")
    try:
        job, desk = shop.job(order)
        with limit_blas(order.threads):
            report = desk.work(job, order.threads)
    except (ImportError, AttributeError) as error:  # of what the setup is made of
        return _refuse(f"it lacks what the sweep needs: {error}")
    with shop.lock:
        shop.desks.append(desk)
    if report is None:
        return Reply("missing", "progress")
    return Reply("report", dump_report(report))


def _refuse(reason: str) -> Reply:
    return Reply("refused", f"{socket.gethostname()}:{os.getpid()}: {reason}")


def forget(sweep: str) -> None:
    """Drop what this process has of a sweep."""
    with _shops_lock:
        _shops.pop(sweep, None)

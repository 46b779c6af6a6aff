"""Sweeps whose workers are killed at chosen points: before, in and after a slice, by a seeded clock.

Every trial has to end once, and those that are done in the bits of a sweep in this process.  A failure is repeated by
its seed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from fluxmagic import Sweep, batches, mse, params
from fluxmagic.sweep.trial import ENDS
from tests.sweep.problems import X, Y, bits, network


def problem(folder: str, chance: float, seed: int) -> Any:
    """A loss in which a worker dies by chance; each death leaves a file, and there are as many as the folder allows."""
    m = network()
    parent = os.getpid()

    def loss(x: Any, y: Any) -> Any:
        if os.getpid() != parent and kill_now(folder, chance, seed):
            os.kill(os.getpid(), signal.SIGKILL)
        return mse(m(x), y)

    return loss, batches(X, Y, 5), params(m)


_draws: dict[int, random.Random] = {}


def kill_now(folder: str, chance: float, seed: int) -> bool:
    """Draw whether this process dies now; a death takes one of the permits of the folder."""
    import os
    import random

    rng = _draws.setdefault(os.getpid(), random.Random(f"{seed} {len(os.listdir(folder))}"))
    if rng.random() >= chance:
        return False
    for name in sorted(os.listdir(folder)):
        try:
            os.unlink(os.path.join(folder, name))
        except FileNotFoundError:
            continue
        return True
    return False


def make(folder: str, n: int, seed: int, chance: float, on: Any) -> Sweep:
    """A sweep of n trials with halving."""
    import fluxmagic

    fluxmagic.seed(seed)
    loss, data, ps = problem(folder, chance, seed)
    return Sweep(
        loss, data, ps, {"opt": "Momentum", "η": np.logspace(-4, -2, n)}, epochs=9, halving=3, valid=(X, Y), on=on
    )


@contextmanager
def _workers(on: Any) -> Iterator[Any]:
    """Give a function that lists the ids of the worker processes."""
    import psutil

    if isinstance(on, int):
        me = psutil.Process()

        def pids() -> list[int]:
            alive = [p for p in me.children() if p.status() != psutil.STATUS_ZOMBIE]
            return [p.pid for p in alive if "popen_loky" in " ".join(p.cmdline())]

        yield pids
    else:
        yield lambda: list(on.run(os.getpid).values())


def run(on: Any, n: int, seed: int, deaths: int) -> dict[str, int]:
    """Train n trials while workers are killed; return the counts, and raise AssertionError with the seed.

    `deaths` are the permits for kills in a slice; half as many come before and after one, from this process.
    """
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, _workers(on) as pids:
        for i in range(deaths):
            open(os.path.join(folder, str(i)), "w").close()
        sweep = make(folder, n, seed, 0.002, on)
        kills = sorted(rng.sample(range(n // 10, n * 2), deaths // 2))
        turns = 0

        def clock() -> None:
            nonlocal turns
            turns += 1
            if kills and turns >= kills[0]:
                kills.pop(0)
                found = pids()
                if found:
                    os.kill(rng.choice(found), signal.SIGKILL)

        sweep.train(cb=clock)
        here = make(folder, n, seed, 0.0, None)
        here.train()
        counts = Counter(t.state for t in sweep.trials)
        errors = {str(t.error) for t in sweep.trials if t.state == "failed"}
        where = f"seed {seed}: {dict(counts)} {errors}"
        assert sum(counts.values()) == n, where
        assert set(counts) <= set(ENDS), where
        assert all(t.deaths <= 3 for t in sweep.trials), where
        lost = [t for t in sweep.trials if t.state == "failed"]
        assert all("died three times" in str(t.error) for t in lost), where
        if not lost:
            assert [t.state for t in sweep.trials] == [t.state for t in here.trials], where
        for i, (a, b) in enumerate(zip(sweep.trials, here.trials, strict=True)):
            if a.state == b.state == "done":
                assert bits(sweep[i]) == bits(here[i]), f"{where}, trial {i}"
        return {**counts, "deaths": deaths - len(os.listdir(folder)) + deaths // 2 - len(kills)}


LOCAL: dict[str, Any] = {
    "host": "127.0.0.1",
    "dashboard_address": None,
    "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"},  # port 8787, the default even so, may be in use
}


@contextmanager
def steady_cluster(n: int = 2) -> Iterator[Any]:
    """Give a client of a scheduler with n worker processes, each replaced when it dies.

    Dask's own nanny, which does that too, leaves a worker dead that is killed before its start has returned.
    """
    import distributed

    with (
        distributed.LocalCluster(n_workers=0, **LOCAL) as cluster,
        distributed.Client(cluster) as client,
    ):
        command = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address, "--no-nanny"]
        command += ["--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
        over = threading.Event()

        def keep() -> None:
            process = None
            while not over.is_set():
                if process is None or process.poll() is not None:
                    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                over.wait(0.1)
            if process is not None:
                process.kill()
                process.wait()

        threads = [threading.Thread(target=keep) for _ in range(n)]
        for thread in threads:
            thread.start()
        try:
            client.wait_for_workers(n, timeout=60)
            yield client
        finally:
            over.set()
            for thread in threads:
                thread.join()


def long(times: int = 20, n: int = 200, first: int = 0) -> None:
    """Do it many times with many trials, in turn on processes and on a Dask cluster of two workers."""
    total: Counter[str] = Counter()
    for seed in range(first, first + times):
        with steady_cluster() if seed % 2 else nullcontext(2) as on:
            counts = run(on, n, seed, deaths=6)
        print(f"seed {seed}, {'Dask' if seed % 2 else 'processes'}: {counts}", flush=True)
        total.update(counts)
    print(f"{times} × {n} trials: {dict(total)}; each ended once", flush=True)

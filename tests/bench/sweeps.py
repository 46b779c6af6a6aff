"""What a sweep costs beside its steps: `python -m tests.bench.sweeps [--quick]`.

Times in this process are CPU time in turn with runs alone.  What is divided by wall time says so: it needs idle cores.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any

from tests.bench import measure


def digits() -> tuple[Any, Any, list[Any], Any]:
    """Loss, data and parameters of the digits model, and its validation data."""
    import numpy as np
    from sklearn.datasets import load_digits

    from fluxmagic import Chain, Dense, batches, logitcrossentropy, params, relu

    X, Y = load_digits(return_X_y=True)
    X, Y = (X / 16).astype(np.float32), Y.astype(np.int64)
    m = Chain(Dense(64, 32, relu, rng=0), Dense(32, 10, rng=1))
    loss = lambda x, y: logitcrossentropy(m(x), y)
    return loss, batches(X[:1500], Y[:1500], 32), params(m), (X[1500:], Y[1500:])


def _sweep(n: int, steps: int, **options: Any) -> Any:
    import numpy as np

    from fluxmagic import Sweep

    loss, data, ps, valid = digits()
    return Sweep(loss, data, ps, {"opt": "ADAM", "η": np.logspace(-4, -2, n)}, steps=steps, valid=valid, **options)


def turns(quick: bool) -> str:
    """64 trials of 400 steps in this process, as CPU time over that of the steps of runs alone, which are longer."""
    from fluxmagic import Run

    n, steps = (8, 400) if quick else (64, 400)
    loss, data, _, valid = digits()

    def alone() -> float:
        run = Run(loss, data, "ADAM", steps=10 * steps, valid=valid, seed=1)
        start = time.process_time()
        run.train()
        return (time.process_time() - start) / run.steps

    alone()
    ratios = []
    for _ in range(3):
        sweep, before = _sweep(n, steps), alone()
        start = time.process_time()
        sweep.train()
        took = (time.process_time() - start) / (n * steps)
        ratios.append(2 * took / (before + alone()))
    return f"{n} trials × {steps} steps by turns: {statistics.median(ratios):.3f} × a run alone (at most 1.15)"


def processes(quick: bool) -> str:
    """Two processes: the sum of the trials' times over wall time, long trials."""
    sweep = _sweep(8, 4_000 if quick else 20_000, on=2)
    began = time.perf_counter()
    sweep.train()
    rate = sum(t.seconds for t in sweep.trials) / (time.perf_counter() - began)
    return f"two processes: {rate:.2f} × one, of wall time, with the start of the processes (at least 1.8)"


MAP = """
import time
import numpy as np
from fluxmagic import Sweep
from fluxmagic.jupyter.driving.loop import run_loop
from fluxmagic.jupyter.driving.views import WidgetView
from tests.bench.sweeps import digits
loss, data, ps, valid = digits()
grid = {"opt": "Momentum", "η": np.logspace(-3, -1, 8), "ρ": np.linspace(0.1, 0.9, 8)}
view = WidgetView(Sweep(loss, data, ps, grid, steps=STEPS, valid=valid))
before = time.process_time()
run_loop(view, get_ipython().kernel)
took = time.process_time() - before
"""


def views(quick: bool) -> str:
    """A map of 64 cells that is filled beside its training, in a kernel: what words, cells and curves cost."""
    import sys
    import tempfile

    from tests.jupyter.kernels import Kernel

    with tempfile.TemporaryDirectory() as folder:
        kernel = Kernel(sys.executable, folder)
        try:
            kernel.end(kernel.start(MAP.replace("STEPS", "400" if quick else "2_000")), 600.0)
            drawn, took = kernel.value("(view.budget.drawn, took)")
        finally:
            kernel.stop()
    return f"views of a map: {drawn / took:.1%} of {took:.0f} s of CPU time (at most 3 %)"


@contextmanager
def _cluster() -> Iterator[Any]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _no_op(on: Any, n: int) -> float:
    """Wall time of a trial of one tiny step, without the start of workers, in seconds."""
    import numpy as np

    from fluxmagic import Sweep, param

    W = param(1.0)
    sweep = Sweep(lambda x: (W - x) ** 2, [0.0], [W], {"η": np.linspace(0.01, 0.1, n)}, on=on)
    sweep.step(20)  # pauses, which ends processes of ours
    began: list[float] = []

    def note() -> None:
        if not began and sweep.steps >= 40:  # to count is not a part of it
            began.extend((time.perf_counter(), sweep.steps))

    sweep.train(cb=note)
    return (time.perf_counter() - began[0]) / (n - began[1])


class _Inline(Executor):
    """Does a job as it is submitted: the CPU time of both sides is that of this process."""

    def submit(self, f: Any, /, *args: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(f(*args, **options))
        return future


def overhead(quick: bool) -> list[str]:
    """Milliseconds for a trial that does nothing."""
    n = 300 if quick else 2_000
    before = time.process_time()
    _no_op(_Inline(), n)
    lines = [f"overhead of a trial, both sides: {(time.process_time() - before) / n * 1e3:.2f} ms of CPU time"]
    lines += [f"overhead of a trial on processes: {_no_op(2, n) * 1e3:.2f} ms of wall time (at most 2)"]
    with _cluster() as client:
        lines.append(f"overhead of a trial on Dask: {_no_op(client, n) * 1e3:.2f} ms of wall time (at most 20)")
    return lines


def shipping(quick: bool) -> str:
    """A data set of 100 MB on two processes: how often it was shipped."""
    import numpy as np

    from fluxmagic import Sweep, param

    X = np.ones((12_500, 1000))
    W = param(np.zeros(1000))
    sweep = Sweep(lambda x: ((x @ W) ** 2).mean(), [(X,)], [W], {"η": np.linspace(0.01, 0.1, 12)}, on=2)
    sweep.train()
    return f"100 MB were shipped {sweep.shipped / X.nbytes:.2f} times to 2 workers, for {len(sweep)} trials"


def memory(quick: bool) -> str:
    """512 trials of the digits model: growth of this process."""
    sweep = _sweep(8, 10)
    sweep.train()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sweep = _sweep(64 if quick else 512, 100 if quick else 400)
    sweep.train()
    kept = sum(t.progress.nbytes for t in sweep.trials if t.progress is not None)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return (
        f"{len(sweep)} trials of the digits model: {grown:.0f} MB more, {kept / 1e6:.0f} MB of weights (at most 1 GB)"
    )


def main() -> None:
    """Measure, and print as it goes."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sweeps", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter trials")
    parser.add_argument("--only", help="one of turns, views, processes, overhead, shipping, memory")
    options = parser.parse_args()
    cores = os.sched_getaffinity(0)
    sections: list[Callable[[bool], Any]] = [turns, views, memory, processes, overhead, shipping]
    measure.pin()
    for section in sections:
        if section is processes:
            os.sched_setaffinity(0, cores)  # from here on there are other processes
        if options.only in (None, section.__name__):
            found = section(options.quick)
            print("\n".join([found] if isinstance(found, str) else found), flush=True)


if __name__ == "__main__":
    main()

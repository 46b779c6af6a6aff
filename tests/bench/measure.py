"""How it is measured: one core, blocks in random order, CPU time, medians of paired ratios."""

from __future__ import annotations

import gc
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

FLOORS = ("products", "bytes", "import numpy")
PAIRS = [(own, other) for own in ("captured", "fast") for other in ("jax", "products")]
"""Compared beside the first with all others."""
Timed = Callable[[int], float]
"""Does something k times; returns the seconds of CPU time that it took."""


def pin() -> None:
    """Keep this process and its children to one core and one thread; to be called before NumPy is imported.  Linux."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for library in ("OMP", "OPENBLAS", "MKL", "BLIS"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    os.environ["JAX_PLATFORMS"] = "cpu"


def timed(block: Callable[[int], Any]) -> Timed:
    """The CPU time, of all threads, of a block of k steps."""

    def run(k: int) -> float:
        start = time.process_time()
        block(k)
        return time.process_time() - start

    return run


def interleave(blocks: dict[str, Timed], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds a step of each, round by round: every round has one block of each, in random order.

    A block has as many steps as take about `seconds`; at least one.
    """
    sizes = {}
    for name, block in blocks.items():
        block(1)  # compiles, and warms up
        k = 1
        while seconds and (took := block(k)) < seconds / 2:
            k = max(k + 1, round(k * min(seconds / took, 10)))
        sizes[name] = k
    gc.collect()
    gc.freeze()  # what the libraries hold is not gone through while one of them is timed
    times: dict[str, list[float]] = {name: [] for name in blocks}
    order = list(blocks)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            times[name].append(blocks[name](sizes[name]) / sizes[name])
    gc.unfreeze()
    return times


def quartiles(xs: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    q1, median, q3 = statistics.quantiles(xs, n=4, method="inclusive")
    return {"median": median, "q1": q1, "q3": q3}


def is_floor(name: str) -> bool:
    """Tell whether a ratio is to something that cannot be beaten."""
    return name.rpartition("÷ ")[2] in FLOORS


def _ratio(times: dict[str, list[float]], own: str, other: str) -> dict[str, float]:
    pairs = zip(times[own], times[other], strict=True)
    return quartiles([a / b if other in FLOORS else b / a for a, b in pairs])


def compare(title: str, times: dict[str, list[float]], targets: dict[str, float]) -> dict[str, Any]:
    """The first against all others, from the ratios within each round, and whether the targets are met.

    Ratios say how many times as long as the first each takes; for `FLOORS`, what cannot be beaten, how many
    times as long as it the first takes, and the target is a bound from above.
    """
    own, *others = times
    ratios = {name: _ratio(times, own, name) for name in others}
    for a, b in PAIRS:
        if own != a and a in times and b in times:
            ratios[f"{a} {'÷' if b in FLOORS else '×'} {b}"] = _ratio(times, a, b)
    verdicts = {}
    for name, bound in targets.items():
        median = ratios[name]["median"]
        verdicts[name] = {"bound": bound, "met": median <= bound if is_floor(name) else median >= bound}
    seconds = {name: quartiles(xs) for name, xs in times.items()}
    return {"title": title, "seconds": seconds, "ratios": ratios, "targets": verdicts}


def child(code: str) -> float:
    """The number that a fresh interpreter prints that runs this code."""
    # what is imported a second time is compiled, as it is for a user
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout)

"""Snapshots from other threads, several runs in threads, and memory."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref

import numpy as np
import pytest

import fluxmagic
from fluxmagic import SGD, Run, batches, param
from fluxmagic.runs.lines import SnapshotStore
from tests.runs.problems import X, Y, arrays, everything, line, network
from tests.runs.processes import printed


def test_a_snapshot_is_never_torn():
    parts = [param(np.zeros(20_000)) for _ in range(3)]
    run = Run(lambda x: sum(p.sum() for p in parts), lambda: iter(lambda: 0.0, None), SGD(parts, 1.0))
    run.step()
    seen = []

    def read() -> None:
        for _ in range(60):
            weights = run.snapshot().values()
            seen.append({float(v) for a in weights for v in (a.min(), a.max())})
        run.stop()

    reader = threading.Thread(target=read)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        reader.start()
        run.train()
    finally:
        sys.setswitchinterval(interval)
        reader.join()
    assert {len(values) for values in seen} == {1}
    assert len({next(iter(values)) for values in seen}) > 1


def four_alone(make):
    """What four runs end with, one after the other."""
    found = []
    for i in range(4):
        run = make(i)
        run.train()
        found.append(arrays(run))
    return found


def in_threads(runs):
    """What runs end with, all at a time."""
    threads = [threading.Thread(target=r.train) for r in runs]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return [arrays(r) for r in runs]


def test_four_runs_in_four_threads_end_as_they_do_alone():
    def make(i):
        return network(rng=np.random.default_rng(i), seed=None, epochs=15)[0]

    alone = four_alone(make)
    assert in_threads([make(i) for i in range(4)]) == alone


GROWTH = """
import gc
from tests.runs.problems import X, Y, network

def memory():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

x, y = X[:8], Y[:8]
run, _ = network(data=lambda: [(x, y)] * 20, epochs=10**6, valid=(x, y), snapshot_bytes=200_000)
run.step(1000)
before = memory()
run.step(20_000)
print(memory() - before, sum(s.nbytes for s in run.snapshots.others))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads memory from /proc")
def test_twenty_thousand_steps_take_less_than_five_megabytes_beside_the_snapshots():
    grown, kept = map(int, printed(GROWTH).split())
    assert grown < 5_000_000 + 200_000
    assert kept <= 200_000


def test_the_shelf_keeps_the_start_and_thins_out_the_rest():
    run, _ = line(data=lambda: [1.0] * 3000)
    run.train()
    shelf = run.snapshots
    steps = [s.step for s in shelf]
    assert steps[0] == 0
    assert len(steps) <= SnapshotStore.max_count + 1
    assert set(np.diff(steps)) == {shelf.stride}
    assert 3000 - steps[-1] < shelf.stride
    run.replay()
    assert [s.step for s in shelf] == steps


def test_a_rewind_within_a_long_run_computes_no_more_than_lies_between_two_snapshots():
    run, _ = line(data=lambda: [1.0] * 3000)
    run.train()
    calls, loss = [], run.loss
    run.loss = lambda x: calls.append(1) or loss(x)
    run.rewind(2000)
    assert len(calls) < run.snapshots.stride


def test_dropping_a_run_frees_it():
    run, _ = network(data=batches(X, Y, 5))
    run.step(3)
    gone = weakref.ref(run)
    del run
    gc.collect()
    assert gone() is None


def test_four_seeded_runs_in_four_threads_need_no_generators_of_their_own():
    def make(i):
        return network(seed=i, epochs=15)[0]

    alone = four_alone(make)
    assert len(set(map(tuple, alone))) == 4
    runs = [make(i) for i in range(4)]
    before = str(fluxmagic.generators.as_generator().bit_generator.state)
    assert in_threads(runs) == alone
    assert str(fluxmagic.generators.as_generator().bit_generator.state) == before


def test_a_run_without_a_seed_draws_from_a_generator_of_its_own_that_follows_from_the_default_one():
    def make(between):
        run, m = network(seed=None)
        fluxmagic.seed(5)
        run.step(3)
        between(run, m)
        run.train()
        return run

    def others(run, m):
        fluxmagic.Dense(3, 3)
        next(iter(batches(X, Y, 5)))
        other, _ = line(data=batches(np.arange(9.0), 2))
        other.step(2)

    calm, disturbed = make(lambda run, m: None), make(others)
    assert arrays(disturbed) == arrays(calm)
    before = everything(disturbed)
    fluxmagic.Dense(3, 3)
    disturbed.replay()
    assert everything(disturbed) == before
    disturbed.rewind(7)
    fluxmagic.seed(99)
    disturbed.train()
    assert arrays(disturbed) == arrays(calm)

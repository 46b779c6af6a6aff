"""Trials on processes, in executors and on a Dask cluster: the same bits, and what is shipped."""

import os
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

from fluxmagic import Chain, Dense, Sweep, mse, param, params
from fluxmagic.generators import as_generator
from fluxmagic.optimise import SGD, exponential
from tests.sweep.problems import X, Y, bits, everything, net_sweep


def test_all_places_give_the_same_bits(place):
    options = {"seeds": 2, "epochs": 4, "patience": 2}
    here, _ = net_sweep(**options)
    here.train()
    there, m = net_sweep(on=place, **options)
    before = everything(m)
    there.train()
    assert there.counts == here.counts == {"done": 12}
    assert everything(m) == before
    assert [bits(r) for r in there] == [bits(r) for r in here]
    assert [t.objective for t in there.trials] == [t.objective for t in here.trials]
    assert there.ranking == here.ranking
    for r in (here.best, there.best):
        r.epochs += 1
        r.train()
    assert bits(here.best) == bits(there.best)
    assert there[0].environment["BLAS threads"] == 1


def test_halving_keeps_the_same_points_in_all_places(place):
    options = {"grid": {"η": [0.001 * 2**i for i in range(9)]}, "epochs": 9, "halving": 3}
    here, _ = net_sweep(**options)
    there, _ = net_sweep(on=place, **options)
    here.train()
    there.train()
    assert [(t.state, t.step) for t in here.trials] == [(t.state, t.step) for t in there.trials]
    assert [bits(r) for r in there] == [bits(r) for r in here]


def test_small_slices_give_the_same_bits_and_long_epochs_are_not_gone_through_again(place, monkeypatch):
    monkeypatch.setattr("fluxmagic.sweep.scheduler.SLICE_SECONDS", 0.0)
    here, _ = net_sweep({"opt": "ADAM", "η": [0.01, 0.1]}, epochs=2)
    there, _ = net_sweep({"opt": "ADAM", "η": [0.01, 0.1]}, epochs=2, on=place)
    here.train()
    there.train()
    assert [bits(r) for r in there] == [bits(r) for r in here]


def test_functions_classes_and_schedules_travel_by_value(place):
    class Scale:
        def __init__(self):
            self.k = param(np.ones(4))

        def __call__(self, x):
            return (x * self.k).sum(1, keepdims=True)

        def reset(self, rng):
            self.k.data = rng.normal(size=4)

    class Clipped(SGD):
        """SGD with steps up to η."""

        def step(self, δ, s):
            return self.η * np.clip(δ, -1, 1)

    m = Scale()

    def data():
        for _ in range(4):
            rows = as_generator().integers(len(X), size=7)
            yield X[rows], Y[rows]

    def make(on):
        grid = {"opt": [Clipped, "SGD"], "η": [exponential(0.1, 0.5), lambda n: 0.1 / (1 + n)]}
        return Sweep(lambda x, y: mse(m(x), y), data, params(m), grid, epochs=3, seeds=2, on=on)

    here, there = make(None), make(place)
    here.train()
    there.train()
    assert there.counts == {"done": 8}
    assert [bits(r) for r in there] == [bits(r) for r in here]
    assert there[0].opt_class is Clipped
    with warnings.catch_warnings():  # a worker may have computed with another number of BLAS threads
        warnings.filterwarnings("ignore", message="replay may differ")
        there.best.replay()


def test_a_large_array_is_shipped_once_to_each_worker_that_can_be_told_apart(place):
    big = np.random.default_rng(0).normal(size=(5000, 40))
    W = param(np.zeros(40))
    sweep = Sweep(lambda x: ((x @ W) ** 2).mean(), [(big,)] * 3, [W], {"η": np.linspace(0.01, 0.1, 12)}, on=place)
    sweep.train()
    assert sweep.counts == {"done": 12}
    most = 1 if isinstance(place, ThreadPoolExecutor) else 2
    if isinstance(place, ProcessPoolExecutor):  # a process that has it may take it again, in place of one that lacks it
        most = len(sweep) - 1
    assert big.nbytes <= sweep.shipped < (most + 0.2) * big.nbytes


def test_what_workers_keep_of_a_sweep_ends_with_it(client):
    before, during = _held(client), set()
    sweep, _ = net_sweep(on=client)
    sweep.train(cb=lambda: during or during.update(_held(client) - before))
    for worker in client.nthreads():  # what comes after the message that ends the sweep
        client.submit(os.getpid, workers=[worker], pure=False).result()
    assert len(during) == 1
    assert not during & _held(client)


def _held(client):
    from fluxmagic.sweep.worker import sweeps_held

    return {name for names in client.run(sweeps_held).values() for name in names}


def test_what_cannot_be_shipped_is_named(place):
    lock = threading.Lock()
    W = param(1.0)

    def helper(x):
        with lock:
            return (W - x) ** 2

    before = W.data.copy()
    sweep = Sweep(lambda x: helper(x), [1.0], [W], {"η": [0.1]}, on=place)
    with pytest.raises(TypeError, match=r"loss → helper → lock, a lock, cannot be shipped.*without `on`"):
        sweep.train()
    assert W.data == before
    sweep.on = None
    sweep.train()
    assert sweep.counts == {"done": 1}


def test_an_error_of_a_trial_comes_back_as_itself(place):
    class Odd(Exception):
        def __init__(self, a, b):  # cannot be unpickled from its args
            super().__init__(f"{a} {b}")

    W = param(4.0)

    def loss(x):
        if W.data < -1.5:
            raise KeyError("below")
        if W.data < 0:
            raise Odd("at", "zero")
        return (W - x) ** 2

    sweep = Sweep(loss, [0.0] * 20, [W], {"η": [0.1, 0.75, 0.6]}, on=place)
    sweep.train()
    assert [t.state for t in sweep.trials] == ["done", "failed", "failed"]
    assert type(sweep.trials[1].error) is KeyError
    assert "at zero" in str(sweep.trials[2].error)
    assert "in loss" in sweep.trials[2].trace


def test_trials_in_threads_do_not_share_models():
    m = Chain(Dense(4, 1, rng=0))

    def loss(x, y):
        threading.current_thread().models.add(id(m))  # a worker's function sees no variable of this one
        return mse(m(x), y)

    seen = threading.current_thread().models = set()
    threads = []

    def begin():
        threading.current_thread().models = set()
        threads.append(threading.current_thread())

    try:
        with ThreadPoolExecutor(2, initializer=begin) as pool:
            sweep = Sweep(loss, [(X, Y)] * 3, params(m), {"η": [0.1, 0.2, 0.3, 0.4]}, on=pool)
            sweep.train()
    finally:
        del threading.current_thread().models
    assert sweep.counts == {"done": 4}
    assert seen == {id(m)}
    assert threads
    assert not seen & set().union(*(t.models for t in threads))

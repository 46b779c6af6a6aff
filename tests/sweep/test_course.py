"""A sweep is stopped, paused, halved; what is kept of its trials."""

import asyncio
import csv
import signal
import threading

import numpy as np
import pytest

from fluxmagic import SGD, Sweep, param, params
from fluxmagic.optimise import cosine, exponential
from tests.sweep.problems import bits, everything, line_sweep, net_sweep


def test_pause_and_stop_are_obeyed_and_train_goes_on_to_the_same_bits():
    sweep, m = net_sweep()
    whole, _ = net_sweep()
    whole.train()
    before = everything(m)
    sweep.step(2)
    assert (sweep.state, sweep.steps, sweep.counts) == ("paused", 2, {"waiting": 4, "done": 2})
    sweep.train(cb=lambda: sweep.pause() if sweep.steps == 3 else None)
    assert (sweep.state, sweep.steps) == ("paused", 3)
    sweep.train(cb=sweep.stop)
    assert sweep.state == "stopped"
    assert sweep.counts == {"done": 4, "cancelled": 2}
    assert everything(m) == before
    sweep.train()
    assert sweep.counts == {"done": 6}
    assert [bits(r) for r in sweep] == [bits(r) for r in whole]


def test_an_interrupt_keeps_what_was_done():
    sweep, m = net_sweep()
    before = everything(m)
    with pytest.raises(KeyboardInterrupt):
        sweep.train(cb=lambda: signal.raise_signal(signal.SIGINT) if sweep.steps == 2 else None)
    assert sweep.counts == {"done": 2, "cancelled": 4}
    assert sweep.state == "stopped"
    assert everything(m) == before
    sweep.train()
    assert sweep.counts == {"done": 6}


def test_an_interrupt_in_a_loss_lets_the_batch_end():
    W = param(4.0)
    calls = []

    def loss(x):
        calls.append(x)
        if len(calls) == 30:
            signal.raise_signal(signal.SIGINT)
        return (W - x) ** 2

    sweep = Sweep(loss, [0.0] * 20, [W], {"η": [0.1, 0.2]})
    with pytest.raises(KeyboardInterrupt):
        sweep.train()
    assert sweep.counts == {"done": 1, "cancelled": 1}
    assert W.data == 4
    assert sweep.trials[1].step == 30 - 21
    sweep.train()
    assert (
        sweep[1].history["loss"].tolist() == [16 * 0.6 ** (2 * i) for i in range(20)]
        or len(sweep[1].history["loss"]) == 20
    )


def test_stop_from_another_thread():
    W = param(4.0)
    started = threading.Event()

    def loss(x):
        started.set()
        return (W - x) ** 2

    sweep = Sweep(loss, lambda: iter(lambda: 0.0, 1), [W], {"η": [1e-9]}, steps=10**9)
    thread = threading.Thread(target=sweep.train)
    thread.start()
    started.wait(20)
    while sweep.state != "running":
        pass
    sweep.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert (sweep.state, sweep.counts) == ("stopped", {"cancelled": 1})


def test_await_leaves_the_event_loop_free():
    sweep, _ = line_sweep({"η": [0.1, 0.2]}, data=[0.0] * 500, epochs=20)
    ticks = []

    async def tick():
        while True:
            ticks.append(sweep.steps)
            await asyncio.sleep(0)

    async def main():
        task = asyncio.ensure_future(tick())
        await sweep
        task.cancel()

    asyncio.run(main())
    assert sweep.counts == {"done": 2}
    assert len(ticks) > 2


def test_restart_begins_again_to_the_same_bits():
    sweep, _ = net_sweep()
    sweep.train()
    first = [bits(r) for r in sweep]
    sweep.restart()
    assert (sweep.state, sweep.counts) == ("ready", {"waiting": 6})
    sweep.train()
    assert [bits(r) for r in sweep] == first
    with pytest.raises(RuntimeError, match="make a sweep with more epochs"):
        sweep.extend()


# -- halving -----------------------------------------------------------------------------------------------


def test_halving_keeps_a_third_at_each_rung():
    grid = {"η": [0.001 * 1.5**i for i in range(9)]}
    sweep, _ = line_sweep(grid, epochs=9, halving=3)
    sweep.train()
    whole, _ = line_sweep(grid, epochs=9)
    whole.train()
    assert sweep.counts == {"done": 1, "stopped early": 8}
    assert sorted(t.step for t in sweep.trials) == [4] * 6 + [12] * 2 + [36]
    assert sweep.best_trial.spec.index == 8
    assert bits(sweep[8]) == bits(whole[8])
    assert sweep[0].history["loss"].tolist() == whole[0].history["loss"].tolist()[:4]
    assert sweep[0].state == "paused"


def test_halving_keeps_points_with_all_their_seeds_and_never_cuts_below_a_step():
    sweep, _ = net_sweep({"η": [0.1, 1e9, 0.001, 0.01]}, seeds=2, epochs=None, steps=2, halving=3)
    sweep.train()
    stopped = {t.spec.point for t in sweep.trials if t.state == "stopped early"}
    done = {t.spec.point for t in sweep.trials if t.state == "done"}
    assert len(done) == 2
    assert not done & stopped
    assert min(t.step for t in sweep.trials) == 1


def test_a_pause_between_rungs_changes_nothing():
    grid = {"η": [0.001 * 1.5**i for i in range(9)]}
    a, _ = line_sweep(grid, epochs=9, halving=3)
    b, _ = line_sweep(grid, epochs=9, halving=3)
    a.train()
    n = 0
    while b.state != "done":
        n += 1
        b.train(cb=b.stop if n % 2 else b.pause)
    assert [(t.state, t.step, t.objective) for t in a.trials] == [(t.state, t.step, t.objective) for t in b.trials]


def test_halving_needs_the_length_of_an_epoch():
    W = param(4.0)
    sweep = Sweep(lambda x: (W - x) ** 2, lambda: iter([1.0, 2.0]), [W], {"η": [0.1, 0.2]}, epochs=3, halving=3)
    with pytest.raises(ValueError, match="give steps in place of epochs"):
        sweep.train()


# -- table and memory --------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_trial(tmp_path):
    sweep, _ = net_sweep({"opt": ["SGD", "Momentum"], "η": [0.1, cosine(0.1, 9)], "ρ": [0.5, 0.9]}, seeds=2)
    sweep.train()
    table = sweep.table
    keys = "trial point seed opt η ρ state objective valid steps seconds error"
    assert list(table) == keys.split()
    assert {len(table[k]) for k in table} == {12}
    assert table["ρ"][:4].tolist() == ["nan"] * 4 or np.isnan(table["ρ"][:4]).all()
    assert set(table["η"]) == {"0.1", repr(cosine(0.1, 9))}
    with pytest.raises(TypeError, match="a sweep's table is read-only"):
        table["η"] = 1
    sweep.to_csv(tmp_path / "t.csv")
    import pandas as pd

    with (tmp_path / "t.csv").open(newline="") as file:
        written = [float(row["objective"] or "nan") for row in csv.DictReader(file)]
    np.testing.assert_array_equal(written, table["objective"])
    assert list(pd.DataFrame(table).columns) == list(table)


def test_beyond_the_budget_the_worst_weights_are_computed_again():
    sweep, m = net_sweep(budget=1)
    whole, _ = net_sweep()
    before = everything(m)
    for s in (sweep, whole):
        s.train()
    kept = [t.progress is not None and bool(t.progress.now.values.params) for t in sweep.trials]
    assert sum(kept) == 1
    assert kept[sweep.best_trial.spec.index]
    assert [bits(r) for r in sweep] == [bits(r) for r in whole]
    assert everything(m) == before


def test_what_is_kept_of_a_trial_are_weights_and_64_bytes_a_step():
    import pickle

    sweep, m = net_sweep({"opt": ["ADAM"], "η": [0.01]}, epochs=200)
    sweep.train()
    t = sweep.trials[0]
    weights = sum(p.data.nbytes for p in params(m)) + 2 * 6 * 4
    assert t.progress.nbytes == weights
    columns = sum(len(c) * c.itemsize for c in vars(t.progress.record).values() if hasattr(c, "itemsize"))
    assert columns + weights <= weights + 64 * t.step
    assert len(pickle.dumps(t.progress)) < weights + 64 * t.step + 20_000


def test_a_trial_without_a_step_has_no_run():
    sweep, _ = line_sweep({"η": [0.1, 0.2]})
    sweep.step()
    with pytest.raises(LookupError, match="trial 1 is waiting, and has not taken a step"):
        sweep[1]


def test_a_schedule_and_a_users_optimiser_can_be_swept():
    class Sign(SGD):
        """Steps of one length."""

        def step(self, δ, s):
            return self.η * np.sign(δ)

    sweep, _ = line_sweep({"opt": [Sign, "SGD"], "η": [exponential(0.1, 0.5), 0.1]})
    sweep.train()
    assert sweep.counts == {"done": 4}
    assert "Sign" in sweep.table["opt"]


def test_a_metric_that_is_named_like_a_column_has_one_of_its_own():
    sweep, _ = net_sweep(metrics={"error": lambda prediction, y: 0.25}, min="error")
    sweep.train()
    table = sweep.table
    assert len(list(table)) == len(set(table))
    assert set(table["error"]) == {""}
    assert set(table["error (metric)"]) == {0.25}

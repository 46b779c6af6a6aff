"""Branches, the best weights, and recovery."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fluxmagic
from fluxmagic import SGD, Momentum, NotFinite, Run, param
from tests.runs.problems import arrays, everything, line, network, unsized


@pytest.mark.parametrize("data", [None, lambda: unsized()], ids=["batches", "generator"])
def test_a_branch_and_its_parent_go_their_own_ways_turn_by_turn(data):
    calm, _ = network("Momentum", data=data)
    calm.train()
    other, _ = network("Momentum", data=data)
    other.step(7)
    other.swap("ADAM", η=0.02)
    other.train()

    run, _ = network("Momentum", data=data)
    run.step(7)
    branch = run.branch("b", "ADAM", η=0.02)
    assert (branch.steps, branch.name, branch.parent, branch.state) == (7, "b", run, "paused")
    while not (run.finished and branch.finished):
        branch.step(2)
        run.step(3)
    for r, alone in ((run, calm), (branch, other)):
        r.step(0)
        assert arrays(r) == arrays(alone)
        np.testing.assert_array_equal(r.history["loss"], alone.history["loss"])
        r.replay()
    assert run.events == []
    assert [e[:2] for e in branch.events] == [(7, "opt"), (7, "η")]
    for r in (branch, run):  # before they parted they were the same
        r.rewind(3)
        r.train()
        assert arrays(r) == arrays(calm) == arrays(run)


def test_a_branch_of_a_list_of_optimisers_shares_no_state_with_its_parent():
    def make():
        W, V = param(1.0), param(2.0)
        return Run(lambda x: (W - x) ** 2 + (V + x) ** 2, [0.5] * 8, [Momentum([W], 0.1), SGD([V], 0.1)])

    calm, run = make(), make()
    calm.train()
    run.step(3)
    branch = run.branch("b")
    branch.train()
    run.train()
    assert arrays(run) == arrays(calm)
    branch.step(0)
    assert arrays(branch) == arrays(calm)


def test_a_branch_that_cannot_be_leaves_its_parent_as_it_was():
    run, _ = network()
    run.step(3)
    before = everything(run)
    for wrong in ({"opt": "Adam"}, {"ρ": 0.5}, {"η": -1}, {"epochs": 0}):
        with pytest.raises((ValueError, TypeError)):
            run.branch("b", **wrong)
        assert everything(run) == before
    run.train()


def test_epochs_of_a_branch_are_its_own():
    run, _ = line(epochs=2)
    run.train()
    more = run.branch("more", epochs=3)
    more.train()
    assert (run.steps, more.steps) == (8, 12)


def test_two_runs_cannot_be_active_over_shared_weights():
    run, _ = line(epochs=100)
    run.step()
    branch = run.branch("b")
    run.advance(0.0)
    for act in (branch.step, branch.train, lambda: branch.rewind(0), branch.replay):
        with pytest.raises(RuntimeError, match=r"being trained by Run.*Pause or stop that one first"):
            act()
    run.pause()
    run.advance(0.0)
    branch.step()
    assert branch.steps == 2


def test_a_second_run_by_name_parks_the_first_as_it_was_before_the_second_drew_anything():
    calm, _ = network()
    calm.train()
    run, _ = network()
    run.step(7)
    second = Run(run.loss, run.data, "SGD", seed=99, epochs=1)
    second.step(3)
    assert second.params
    run.train()
    assert arrays(run) == arrays(calm)


def test_a_parked_run_is_saved_and_looked_at_as_it_is_parked(tmp_path):
    run, m = network()
    run.step(3)
    mine = {k: v.tobytes() for k, v in run.snapshot().items()}
    branch = run.branch("b")
    branch.step(4)
    assert {k: v.tobytes() for k, v in run.snapshot().items()} == mine
    assert {k: v.tobytes() for k, v in branch.snapshot().items()} != mine
    run.save(tmp_path / "run.npz")
    loaded = Run.load(tmp_path / "run.npz", run.loss, run.data, fluxmagic.params(m))
    assert {k: v.tobytes() for k, v in loaded.snapshot().items()} == mine


# -- the best weights, and recovery ------------------------------------------------------------------------------------


def worsening(**options):
    """Its validation loss is smallest after the third epoch of four steps."""
    W = param(0.0)
    return Run(lambda x: (W - x) ** 2, lambda: [1.0] * 4, "SGD", valid=lambda: [0.7], epochs=50, **options), W


def test_the_best_weights_come_back_and_the_run_can_be_replayed_rewound_and_gone_on_with():
    run, W = worsening(patience=2, hypers={"η": 0.05})
    run.train()
    best = int(np.nanargmin(run.history["valid"])) + 1
    assert (run.state, run.steps) == ("stopped", best + 8)
    assert W.data == pytest.approx(1 - 0.9**best)
    run.replay()
    assert W.data == pytest.approx(1 - 0.9**best)
    run.patience = None
    run.step(3)
    end = W.data.copy()
    run.replay()
    np.testing.assert_array_equal(W.data, end)
    run.rewind(run.steps - 1)
    run.step()
    np.testing.assert_array_equal(W.data, end)
    run.rewind(best)
    assert W.data == pytest.approx(1 - 0.9**best)


def test_patience_after_a_rewind_still_knows_the_best():
    run, W = worsening(patience=2, hypers={"η": 0.05})
    run.train()
    best = W.data.copy()
    run.rewind(run.steps - 5)
    run.train()
    np.testing.assert_array_equal(W.data, best)
    assert run.state == "stopped"


def test_weights_of_any_step_can_be_put_back():
    run, W = line("Momentum", epochs=3)
    was = [W.data.copy()]
    for _ in range(7):
        run.step()
        was.append(W.data.copy())
    for step in (7, 0, 3):
        run.put_back(step)
        np.testing.assert_array_equal(W.data, was[step])
    assert run.steps == 7
    run.step()
    run.replay()
    with pytest.raises(ValueError, match="the run has steps 0 … 8"):
        run.put_back(9)


def test_recovery_from_weights_that_ran_away_goes_back_to_before_they_did():
    W = param(np.full(3, 1.0))
    run = Run(lambda x: ((W - x) ** 4).sum(), lambda: [0.0] * 400, "SGD", hypers={"η": 0.6})
    with pytest.raises(NotFinite), np.errstate(all="ignore"):
        run.train()
    assert np.abs(W.data).max() > 1e6
    run.recover(η=0.05)
    assert (run.state, run.values["η"]) == ("paused", 0.05)
    run.train()
    assert np.abs(W.data).max() < 0.5
    run.replay()


def test_recovery_from_a_bad_batch_goes_on_with_the_next_one():
    run, W = line(data=[1.0, 2.0, math.nan, 3.0], hypers={"η": 0.1})
    with pytest.raises(NotFinite):
        run.train()
    before = W.data.copy()
    run.recover()
    np.testing.assert_array_equal(W.data, before)
    assert (run.steps, run.events) == (3, [(3, "η", 0.1, 0.01)])
    run.train()
    assert run.state == "done"


def test_there_is_nothing_to_recover_from_where_all_went_well():
    run, _ = line()
    run.step()
    with pytest.raises(ValueError, match="the last step went well"):
        run.recover()

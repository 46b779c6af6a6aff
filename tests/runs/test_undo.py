"""What a rewind or a restart leaves is kept: undo comes back to it, to the bit, and a second undo from there."""

from __future__ import annotations

import numpy as np
import pytest

import fluxmagic
from fluxmagic import Momentum, Run, param
from tests.runs.problems import arrays, everything, line, network


def test_undo_comes_back_to_what_a_rewind_left_and_undo_again_is_redo():
    run, _ = network()
    run.step(9)
    run.set(η=0.01)
    run.step(4)
    run.swap("Momentum")
    left = everything(run)
    run.rewind(6)
    run.set(η=0.3)
    run.step(5)
    new = everything(run)
    for _ in range(2):
        run.undo()
        assert everything(run) == left
        run.replay()
        run.undo()
        assert everything(run) == new
        run.replay()
    run.undo()
    run.rewind(13)  # undoes the swap alone
    assert run.opt_name == "ADAM"
    run.undo()
    assert everything(run) == left


def test_both_lines_go_on_as_they_would_have():
    calm, _ = network()
    calm.train()
    run, _ = network()
    run.step(9)
    run.rewind(3)
    run.set(η=0.3)
    run.step(2)
    run.undo()
    run.train()
    assert arrays(run) == arrays(calm)
    assert run.history["loss"].tolist() == calm.history["loss"].tolist()
    run.undo()
    assert (run.steps, run.events) == (5, [(3, "η", 0.001, 0.3)])
    run.rewind(4)
    run.replay()


def test_there_is_nothing_to_undo_before_a_rewind():
    run, _ = line()
    with pytest.raises(ValueError, match="the run has not taken a step yet: there is nothing to undo"):
        run.undo()
    run.step(2)
    with pytest.raises(ValueError, match="there is nothing to undo: the run was neither rewound nor restarted"):
        run.undo()
    run.rewind(2)  # changes nothing
    with pytest.raises(ValueError, match="there is nothing to undo"):
        run.undo()


def test_an_undo_that_fails_changes_nothing():
    run, _ = network()
    run.step(7)
    run.rewind(3)
    before = everything(run)
    broken = [True]
    run.training.cursor.data, data = (lambda: [] if broken.pop() else data), run.training.cursor.data
    broken += [False, True]
    with pytest.raises(ValueError, match="the data has come to an end"):
        run.undo()
    run.training.cursor.data = data
    assert everything(run) == before
    run.undo()
    assert run.steps == 7


def test_a_restart_keeps_the_dials_and_begins_anew():
    run, _ = network(epochs=9)
    run.step(3)
    run.set(η=0.02)
    run.swap("Momentum", ρ=0.5)
    run.step(4)
    left = everything(run)
    run.restart()
    assert (run.steps, run.opt_name, run.values["ρ"], run.values["η"]) == (0, "Momentum", 0.5, 0.01)
    assert [e[:2] for e in run.events] == [(0, "opt"), (0, "ρ")]
    run.step(6)
    other, _ = network("Momentum", epochs=9, hypers={"ρ": 0.5})
    other.step(6)
    assert arrays(run) == arrays(other)
    run.replay()
    run.undo()
    assert everything(run) == left


def test_a_restart_goes_back_to_the_optimiser_as_it_was_handed_in():
    W = param(1.0)
    opt = Momentum([W], 0.1)
    fluxmagic.back(W * W)
    opt()
    run = Run(lambda x: (W - x) ** 2, [0.0] * 9, opt)
    run.step(2)
    first = W.data.copy()
    run.set(η=0.2)
    run.restart()
    run.set(η=0.1)
    run.step(2)
    np.testing.assert_array_equal(W.data, first)


def test_a_second_restart_in_a_row_leaves_undo_alone():
    run, _ = line()
    run.step(3)
    before = everything(run)
    run.set(η=0.5)
    run.restart()
    run.restart()
    assert run.events == [(0, "η", 0.1, 0.5)]
    run.undo()
    assert run.steps == 3
    assert arrays(run) == before.arrays


def test_what_was_left_can_be_drawn_and_changes_sides_with_an_undo():
    run, _ = line(epochs=100)
    run.step(20)
    losses = run.history["loss"]
    run.rewind(10)
    (left,) = run.abandoned
    assert left.start == 10
    np.testing.assert_array_equal(left.loss, losses[10:])
    run.set(η=0.01)
    run.step(3)
    new = run.history["loss"]
    run.undo()
    (left,) = run.abandoned
    assert left.start == 10
    np.testing.assert_array_equal(left.loss, new[10:])
    np.testing.assert_array_equal(run.history["loss"], losses)


def test_eight_stretches_are_kept_within_the_budget_and_older_ones_go_first():
    run, _ = line(epochs=100)
    for i in range(11):
        run.step(i + 2)
        run.rewind(1)
    assert [len(s.loss) for s in run.abandoned] == [5, 6, 7, 8, 9, 10, 11, 12]
    run, _ = line(epochs=100, snapshot_bytes=8 * 60)  # of a step a loss and two numbers
    for i in range(11):
        run.step(i + 2)
        run.rewind(1)
    assert [len(s.loss) for s in run.abandoned] == [12]


def test_take_makes_a_parked_run_the_active_one():
    run, m = line()
    run.step(2)
    mine = m.data.copy()
    branch = run.branch("b")
    branch.step(2)
    theirs = m.data.copy()
    run.take()
    np.testing.assert_array_equal(m.data, mine)
    run.take()
    np.testing.assert_array_equal(m.data, mine)
    branch.take()
    np.testing.assert_array_equal(m.data, theirs)
    calm, _ = line()
    calm.train()
    run.train()
    assert arrays(run) == arrays(calm)


def test_nothing_is_taken_while_somebody_trains_these_parameters():
    run, _ = line(epochs=100)
    run.step()
    branch = run.branch("b")
    run.advance(0.0)
    for r in (run, branch):
        with pytest.raises(RuntimeError, match="being trained"):
            r.take()
    run.pause()
    run.advance(0.0)
    branch.take()

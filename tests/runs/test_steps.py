"""Runs that end after a number of steps, with data and without, and runs that make the turns of another."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fluxmagic import NotFinite, Run, param
from fluxmagic.runs import ArchiveError
from fluxmagic.runs.early_stopping import Condition
from fluxmagic.runs.optimisers import Turns
from tests.runs.problems import arrays, everything, line, network
from tests.runs.processes import printed


def bowl(steps=400, opt="SGD", **options):
    """A function to be minimised: no data."""
    W = param([4.0, -2.0])
    return Run(lambda: (W * W).sum(), None, opt, steps=steps, **options), W


@pytest.mark.parametrize("n", [1, 4, 6, 8])
def test_a_run_ends_after_its_steps_in_the_middle_of_an_epoch_too(n):
    run, _ = line(steps=n)
    run.train()
    assert (run.steps, run.state, run.finished, run.total_steps) == (n, "done", True, n)
    assert run.step() is None
    assert repr(run) == f"Run(SGD, done, {n}/{n} steps)"
    calm, _ = line(epochs=2)
    calm.step(n)
    assert arrays(run) == arrays(calm)


def test_steps_are_counted_over_epochs_whose_length_is_not_known():
    run, _ = line(data=lambda: iter([1.0, 2.0, 3.0]), steps=7)
    run.train()
    assert run.history["epoch"].tolist() == [1, 1, 1, 2, 2, 2, 3]


def test_without_data_every_step_is_an_epoch():
    run, W = bowl(10)
    run.step(3)
    assert repr(run) == "Run(SGD, paused, 3/10 steps)"
    assert (run.epoch, run.steps_per_epoch, run.total_steps, run.so_far) == (4, 1, 10, False)
    assert run.shown_loss == run.last_loss
    run.train()
    np.testing.assert_allclose(W.data, np.array([4.0, -2.0]) * 0.8**10)
    h = run.history
    assert h["epoch"].tolist() == list(range(1, 11))
    assert run.epoch_losses.tolist() == h["loss"].tolist()
    assert run.best == ("loss", h["loss"][-1], 10, 10)
    assert run.record.epochs == [0]
    run.replay()
    run.rewind(4)
    run.set(η=0.01)
    run.train()
    run.undo()
    run.replay()


def test_patience_counts_steps_and_the_best_weights_are_put_back():
    run, W = bowl(400, patience=5, η=0.1)
    run.train(cb=lambda: run.steps == 20 and run.set(η=1.1))
    best = np.array([4.0, -2.0]) * 0.8**20
    assert (run.state, run.steps) == ("stopped", 21 + 5)
    np.testing.assert_allclose(W.data, best)
    run.replay()
    np.testing.assert_allclose(W.data, best)
    run.patience = None
    run.step()
    np.testing.assert_allclose(W.data, best * (-1.2) ** 7)


def test_a_condition_sees_every_step():
    seen = []
    run, _ = bowl(400, until=Condition(lambda v: seen.append(dict(v)) or v["loss"] < 5))
    run.train()
    assert run.state == "stopped"
    assert [v["step"] for v in seen] == [0, *range(1, run.steps + 1)]
    assert [v["loss"] for v in seen[1:]] == run.history["loss"].tolist()


def test_a_step_that_is_not_finite_is_refused_without_data_too():
    W = param(1.0)
    bad = [False, True, False]
    run = Run(lambda: W * (math.nan if bad[run.steps] else 1.0), None, "SGD", steps=3)
    with pytest.raises(NotFinite):
        run.train()
    run.train()
    assert (run.steps, run.best.step) == (3, 3)


def test_a_branch_has_the_same_number_of_steps_or_another():
    run, _ = bowl(10)
    run.step(3)
    same, more = run.branch("same"), run.branch("more", steps=20, η=0.2)
    same.train()
    more.train()
    assert (same.steps, more.steps) == (10, 20)
    run, _ = line(steps=6)
    run.step(3)
    assert run.branch("b", epochs=3).total_steps == 12


@pytest.mark.parametrize("kind", ["no data", "data"])
def test_such_a_run_is_saved_loaded_and_goes_on(tmp_path, kind):
    run, W = bowl(10, patience=9) if kind == "no data" else line(steps=10)
    run.step(6)
    run.save(tmp_path / "run.npz")
    data = None if kind == "no data" else run.data
    loaded = Run.load(tmp_path / "run.npz", run.loss, data, [W])
    assert everything(loaded) == everything(run)
    loaded.train()
    assert (loaded.steps, loaded.state, loaded.step_limit) == (10, "done", 10)
    loaded.replay()
    with pytest.raises(ArchiveError, match="takes no batch" if data is None else "has data"):
        Run.load(tmp_path / "run.npz", run.loss, [0.0] if data is None else None, [W])
    Run.load(tmp_path / "run.npz")


def test_a_script_of_a_run_without_data_ends_in_the_same_bits(tmp_path):
    text = "from fluxmagic import param\nmodel = param([4.0, -2.0])\nloss = lambda: (model * model).sum()\n"
    (tmp_path / "experiment.py").write_text(text)
    space: dict = {}
    exec(text, space)
    run = Run(space["loss"], None, "Momentum", steps=9)
    run.step(4)
    run.set(η=0.1)
    run.train()
    run.save(tmp_path / "run.npz")
    script = run.as_code() + "print(model.data.tolist())"
    assert printed(script, cwd=tmp_path).strip() == str(space["model"].data.tolist())


# -- turns -------------------------------------------------------------------------------------------------------------


def turned(**options):
    run, m = network(epochs=3, **options)
    run.set(η=0.002)
    run.step(4)
    run.set(η=0.01, β1=0.8)
    run.step(3)
    run.swap("Momentum", ρ=0.5)
    run.step(2)
    run.set(η=0.02)
    return run, m


def test_the_turns_of_a_run_are_made_in_another_at_the_same_steps():
    run, _ = turned()
    run.train()
    turns = run.turns
    assert isinstance(turns, Turns)
    assert list(turns) == run.events
    assert repr(turns).startswith("Turns([0: η → 0.002, 4: η → 0.01, 4: β1 → 0.8, 7: opt → Momentum")
    for drive in (lambda r: r.train(), lambda r: r.step(99), lambda r: r.train(cb=lambda: None)):
        other, _ = network(epochs=3, turns=turns)
        drive(other)
        assert arrays(other) == arrays(run)
        assert other.events == run.events
        other.replay()


def test_turns_are_made_again_after_a_rewind_and_once_only():
    turns = turned()[0].turns
    calm, _ = network(epochs=3, turns=turns)
    calm.train()
    run, _ = network(epochs=3, turns=turns)
    run.step(8)
    run.rewind(4)
    assert [e.step for e in run.events] == [0]
    run.step(1)
    run.rewind(2)
    run.train()
    assert arrays(run) == arrays(calm)
    assert run.events == calm.events
    run.restart()
    run.train()
    assert {e.step for e in run.events} == {0}
    run.undo()
    assert run.events == calm.events


def test_a_turn_of_a_dial_that_is_not_there_any_more_is_left_out_with_a_warning():
    turns = turned()[0].turns
    run, _ = network(epochs=3, turns=turns)
    run.step(2)
    run.swap("SGD")
    with pytest.warns(RuntimeWarning, match="after step 4 β1 was to be turned, which SGD does not have"):
        run.train()
    assert [e.name for e in run.events] == ["η", "opt", "η", "opt", "ρ", "η"]
    run.replay()


def test_turns_that_are_still_to_come_are_in_the_file_and_in_a_branch(tmp_path):
    turns = turned()[0].turns
    calm, _ = network(epochs=3, turns=turns)
    calm.train()
    run, m = network(epochs=3, turns=turns)
    run.step(4)
    run.save(tmp_path / "run.npz")
    branch = run.branch("b")
    branch.train()
    assert arrays(branch) == arrays(calm)
    loaded = Run.load(tmp_path / "run.npz", run.loss, run.data, run.params, model=m)
    loaded.train()
    assert arrays(loaded) == arrays(calm)
    assert [e[:2] + e[3:] for e in loaded.events] == [e[:2] + e[3:] for e in calm.events]

"""Rewind and replay end in the same bits."""

from __future__ import annotations

import math
from contextlib import nullcontext, suppress

import numpy as np
import pytest

from fluxmagic import Momentum, NotFinite, Run, param
from fluxmagic.optimise import exponential
from fluxmagic.runs import ReplayMismatch, environment, replay
from tests.runs.problems import X, Y, arrays, everything, line, network, unsized


def steered(**options):
    """A run with turns, swaps and changes of β on its way, and what it was after every step."""
    run, m = network(**options)
    was = [None]
    while not run.finished:
        match run.steps:
            case 3:
                run.set(η=0.01, β1=0.8)
            case 6:
                run.swap("Momentum", ρ=0.5)
            case 9:
                run.swap("ADAM")
                run.set(beta2=0.99)
            case 12:
                run.swap("Nesterov", η=exponential(0.01, 0.5, every=4))
            case 15:
                run.set(clipnorm=0.1, η=0.001)
            case 16:
                run.drag(η=0.002)
                run.drag(η=0.003)
            case 17:
                run.drag(η=0.001)
        if run.step() is not None:
            was.append(everything(run))
    return run, m, was


@pytest.mark.parametrize("data", [None, lambda: unsized()], ids=["batches", "generator"])
@pytest.mark.parametrize("budget", [64_000_000, 0], ids=["snapshots", "none"])
def test_a_rewind_to_any_step_is_the_run_as_it_was_there(data, budget):
    run, _, was = steered(data=data, snapshot_bytes=budget)
    for step in (19, 20, 15, 13, 12, 10, 9, 5, 4, 1)[1:]:
        run.rewind(step)
        now = everything(run)
        for k in ("arrays", "generators", "opts", "events", "columns", "values"):
            assert getattr(now, k) == getattr(was[step], k), (step, k)
        assert run.state == "paused"


@pytest.mark.parametrize("data", [None, lambda: unsized()], ids=["batches", "generator"])
@pytest.mark.parametrize("step", [0, 1, 5, 7, 10, 14])
def test_a_run_goes_on_after_a_rewind_on_the_same_path(data, step):
    calm, _ = network("Momentum", data=data)
    calm.train()
    run, _ = network("Momentum", data=data)
    run.step(17)
    run.rewind(step)
    run.train()
    assert arrays(run) == arrays(calm)
    np.testing.assert_array_equal(run.history["loss"], calm.history["loss"])
    np.testing.assert_array_equal(run.history["epoch"], calm.history["epoch"])


def test_a_rewind_to_the_start_undoes_turns_made_before_the_first_step():
    run, W = line("SGD", hypers={"η": 0.1})
    run.set(η=0.5)
    run.swap("Momentum")
    run.step(3)
    run.rewind(0)
    np.testing.assert_array_equal(W.data, [4.0, -2.0])
    assert (run.opt_name, run.values["η"], run.events, run.steps) == ("SGD", 0.1, [], 0)


def test_a_rewind_undoes_the_turns_made_at_that_moment():
    run, _ = line("SGD", hypers={"η": 0.1})
    run.step(2)
    run.set(η=0.5)
    run.step(1)
    run.rewind(2)
    assert (run.values["η"], run.events) == (0.1, [])


@pytest.mark.parametrize("step", [-1, 4, 1.5, True, None])
def test_a_rewind_to_where_the_run_has_not_been_is_an_error(step):
    run, W = line()
    run.step(3)
    before = W.data.copy()
    with pytest.raises(ValueError, match="the run has steps 0 … 3"):
        run.rewind(step)
    np.testing.assert_array_equal(W.data, before)


def test_what_cannot_go_back_says_so():
    run, _ = line()
    acts = {"go back to": lambda: run.rewind(0), "replay": run.replay, "branch": lambda: run.branch("b")}
    for words, act in acts.items():
        with pytest.raises(ValueError, match=f"has not taken a step yet: there is nothing to {words}"):
            act()
    run, _ = line(data=(x for x in [1.0, 2.0]))
    run.step()
    for act in (lambda: run.rewind(0), run.replay, lambda: run.branch("b"), lambda: run.put_back(0)):
        with pytest.raises(ValueError, match="the data is a generator, which can be gone through once"):
            act()


def test_the_loss_cannot_rewind_its_own_run():
    run, _ = line()
    loss = run.loss
    run.loss = lambda x: run.rewind(0) if run.steps == 2 else loss(x)
    with pytest.raises(RuntimeError, match="a batch is being worked on"):
        run.train()


def test_a_replay_ends_in_the_same_bits_and_changes_nothing():
    run, _, _ = steered(valid=(X, Y))
    before = everything(run)
    seconds = run.history["seconds"]
    run.replay()
    assert everything(run) == before
    np.testing.assert_array_equal(run.history["seconds"], seconds)
    assert run.state == "done"


def test_a_replay_in_the_middle_of_an_epoch_with_a_turn_just_made():
    run, _ = network()
    run.step(8)
    run.set(η=0.3)
    run.opt.β1 = 0.5
    before = everything(run)
    run.replay()
    now = everything(run)
    assert now.arrays == before.arrays
    assert now.events == run.events
    assert [e.name for e in run.events] == ["η", "β1"]
    assert now.values["β1"] == 0.5


def test_a_replay_asks_the_user_s_code_for_every_step_again():
    calls = []
    run, _ = line()
    loss = run.loss
    run.loss = lambda x: calls.append(x) or loss(x)
    run.train()
    run.replay()
    assert calls == [0.0, 1.0, 2.0, 3.0] * 2


@pytest.mark.parametrize("at", [1, 3, 4])
def test_what_does_not_repeat_is_named_at_its_first_step_and_the_state_from_before_comes_back(at):
    noise = [0.0] * 8
    W = param(1.0)
    calls = [0]

    def loss(x):
        calls[0] += 1
        return (W - x) ** 2 + noise[(calls[0] - 1) % 4]

    run = Run(loss, [0.0, 1.0, 2.0, 3.0], Momentum)
    run.train()
    before, log = everything(run), run.events
    noise[at - 1] = 1e-9
    with pytest.raises(ReplayMismatch, match=f"step {at} does not repeat: its loss was") as caught:
        run.replay()
    assert caught.value.step == at
    assert everything(run) == before
    assert (run.events, run.state) == (log, "done")


def test_weights_changed_by_hand_show_in_a_replay():
    run, W = line()
    run.train()
    W.data = [1.0, 1.0]
    with pytest.raises(ReplayMismatch, match="its weights differ by up to"):
        run.replay()
    np.testing.assert_array_equal(W.data, [1.0, 1.0])


def test_an_error_in_a_replay_puts_everything_back():
    run, _ = network()
    run.step(12)
    before = everything(run)
    loss = run.loss
    run.loss = lambda x, y: 1 / 0 if run.steps == 7 else loss(x, y)
    run.snapshots.others.clear()
    for act in (run.replay, lambda: run.rewind(11)):
        with pytest.raises(ZeroDivisionError):
            act()
        assert everything(run) == before
    run.loss = loss
    run.replay()


def test_a_replay_warns_of_another_machine():
    run, _ = line()
    run.train()
    run.environment["NumPy"] = "1.0"
    with pytest.warns(UserWarning, match="replay may differ in the last bits: NumPy was 1.0, now is"):
        run.replay()


@pytest.mark.parametrize(("gap", "repeats"), [(1e-5, True), (1e-3, False)])
def test_a_run_of_other_numerics_is_compared_to_a_tolerance_with_a_warning(monkeypatch, tmp_path, gap, repeats):
    run, W = line(epochs=2)
    run.step(6)
    run.save(tmp_path / "run.npz")
    loss = run.loss
    loaded = Run.load(tmp_path / "run.npz", lambda x: loss(x) * (1 + gap), run.data, [W])
    with pytest.raises(ReplayMismatch, match="step 1 does not repeat"):
        loaded.replay()
    was = environment.NUMERICS
    for module in (replay, environment):
        monkeypatch.setattr(module, "NUMERICS", was + 1)
    warned = pytest.warns(UserWarning, match=f"numerics was {was}, now is {was + 1}")
    differs = nullcontext() if repeats else pytest.raises(ReplayMismatch, match="step 1 does not repeat")
    with warned, differs:
        loaded.replay()
    with nullcontext() if repeats else pytest.raises(ReplayMismatch):
        loaded.rewind(2)


def test_refused_steps_are_refused_again():
    W = param([1.0, 2.0])
    run = Run(lambda x: (W * x).sum(), [1.0, math.inf, 2.0, math.nan, 3.0], "ADAM")
    for _ in range(8):
        with suppress(NotFinite):
            run.step()
    assert (run.steps, run.finished, run.record.rejected) == (5, True, [2, 4])
    before = everything(run)
    run.replay()
    assert everything(run) == before
    run.rewind(3)
    assert run.record.rejected == [2]

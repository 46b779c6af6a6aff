"""Hyper-parameters set and optimisers swapped while a run trains, and their history."""

from __future__ import annotations

import math
import sys
import threading
from typing import Any

import numpy as np
import pytest

from fluxmagic import SGD, Momentum, NotFinite, Run, param
from fluxmagic.runs import Event
from tests.runs.problems import X, Y, line, network, signed

nan = math.nan


def test_a_dial_is_turned_between_two_batches_and_written_down():
    run, _ = line(hypers={"η": 0.1})
    run.step(2)
    run.set(eta=0.05)
    run.set(η=0.05)
    run.step()
    assert run.events == [(2, "η", 0.1, 0.05)]
    assert isinstance(run.events[0], Event)
    np.testing.assert_array_equal(run.history["η"], [0.1, 0.1, 0.05])


def test_a_drag_is_one_event_and_each_value_counts_in_the_steps_taken_with_it(tmp_path):
    run, W = line("Momentum", epochs=4, η=0.1)
    run.step(2)
    for η in (0.05, 0.06, 0.04):
        run.drag(η=η)
    run.step()
    for η in (0.03, 0.1, 0.02):
        run.drag(η=η)
    run.step(2)
    run.drag(η=0.1)
    run.step()
    run.drag(ρ=0.5)
    run.set(η=0.2)
    run.drag(η=0.3)
    run.step()
    assert run.events == [(6, "ρ", 0.9, 0.5), (6, "η", 0.1, 0.3)]  # the first drag came back
    np.testing.assert_array_equal(run.history["η"], [0.1, 0.1, 0.04, 0.02, 0.02, 0.1, 0.3])
    assert [(step, new) for step, _, _, new in run.turns] == [(2, 0.04), (3, 0.02), (5, 0.1), (6, 0.5), (6, 0.3)]
    events, ends = run.events, W.data.copy()
    run.replay()
    assert run.events == events
    again, V = line("Momentum", epochs=4, η=0.1, turns=run.turns)
    again.step(7)
    assert again.events == events
    run.save(tmp_path / "run")
    other, U = line("Momentum")
    loaded = Run.load(tmp_path / "run", other.loss, other.data, [U])
    loaded.replay()
    assert loaded.events == events
    assert W.data.tolist() == V.data.tolist() == U.data.tolist() == ends.tolist()


def test_a_drag_back_to_a_value_is_recorded():
    run, _ = line(η=0.1, epochs=4)
    run.step()
    run.drag(η=0.2)
    run.step()
    run.drag(η=0.3)
    run.drag(η=0.1)
    run.step()
    run.drag(η=0.1)  # as it is
    run.step()
    np.testing.assert_array_equal(run.history["η"], [0.1, 0.2, 0.1, 0.1])
    assert len(run.turns) == 2
    run.replay()


def test_a_dial_turned_within_the_loss_waits_for_the_batch_to_end():
    W = param(1.0)
    seen = []

    def loss(x):
        if run.steps == 1:
            run.set(η=0.5)
        seen.append(run.values["η"])
        return (W - x) ** 2

    run = Run(loss, [0.0] * 3, SGD, hypers={"η": 0.1})
    run.train()
    assert seen == [0.1, 0.1, 0.5]
    assert run.events == [(2, "η", 0.1, 0.5)]


def test_dials_turned_before_the_first_step_are_turned():
    for opt in ("SGD", None):
        W = param(1.0)
        run = Run(lambda x, W=W: (W - x) ** 2, [0.0] * 3, opt or SGD([W], 0.1))
        run.set(η=0.25)
        run.train()
        assert W.data == 0.125
        assert run.events == [(0, "η", 0.1, 0.25)]
        np.testing.assert_array_equal(run.history["η"], [0.25] * 3)


def test_turns_from_other_threads_all_count_and_none_tears():
    run, _ = line(data=lambda: iter([1.0] * 3000), hypers={"η": 0.1})
    turns = [0.1 + i / 1000 for i in range(1, 41)]

    def turn() -> None:
        for i, η in enumerate(turns):
            run.set(η=η)
            if i % 10 == 0:
                run.swap("Momentum" if i % 20 else "SGD")

    threads = [threading.Thread(target=turn) for _ in range(3)]
    run.step()
    for t in threads:
        t.start()
    run.train()
    for t in threads:
        t.join()
    assert [e.step for e in run.events] == sorted(e.step for e in run.events)
    before: dict[tuple[str, str], Any] = {}
    opt = "SGD"
    for _, name, old, new in run.events:
        if name == "opt":
            assert old == opt
            assert new != opt
            opt = new
        else:
            assert old == before.get((opt, name), old)
            before[opt, name] = new
    run.replay()


def test_a_turn_asked_for_while_a_batch_is_worked_on_is_applied_at_the_end():
    run, _ = line(data=[1.0])
    inside, turned = threading.Event(), threading.Event()
    loss = run.loss

    def slow(x):
        inside.set()
        turned.wait(10)
        return loss(x)

    run.loss = slow
    worker = threading.Thread(target=run.train)
    worker.start()
    inside.wait(10)
    run.set(η=0.5)
    assert run.values["η"] == 0.1
    turned.set()
    worker.join()
    assert run.values["η"] == 0.5
    assert run.events == [(1, "η", 0.1, 0.5)]


@pytest.mark.parametrize(
    ("turn", "error", "words"),
    [
        (lambda run: run.set(ρ=0.9), TypeError, "SGD has no ρ; it has η, decay"),
        (lambda run: run.set(η=0.2, decay=-1), ValueError, "decay = -1 is out of range: 0 ≤ decay"),
        (lambda run: run.set(η="fast"), TypeError, "η is a number"),
        (lambda run: run.set(η=0.2, decay=lambda n: -1.0), ValueError, "out of range"),
        (lambda run: run.swap("Adam"), ValueError, "there is no optimiser Adam"),
        (lambda run: run.swap(int), ValueError, "there is no optimiser"),
        (lambda run: run.swap("Momentum", ρ=2), ValueError, "ρ = 2 is out of range"),
    ],
)
@pytest.mark.parametrize("steps", [0, 2])
def test_a_turn_that_is_wrong_changes_nothing(turn, error, words, steps):
    run, _ = line()
    run.step(steps)
    before = run.values
    with pytest.raises(error, match=words):
        turn(run)
    assert (run.values, run.opt_name, run.events) == (before, "SGD", [])


def test_a_function_has_no_dials():
    W = param(1.0)
    run = Run(lambda x: (W - x) ** 2, [0.0], signed(W))
    with pytest.raises(TypeError, match="sgd is a plain function: it has no dials"):
        run.set(η=1)
    with pytest.raises(TypeError, match="its parameters are not known"):
        run.swap("SGD")


def test_a_dial_of_what_is_about_to_be_swapped_in_can_be_turned():
    W = param(1.0)

    def loss(x):
        if run.steps == 0:
            run.swap("Momentum")
            run.set(ρ=0.5)
            with pytest.raises(TypeError, match="Momentum has no β1"):
                run.set(β1=0.5)
        return (W - x) ** 2

    run = Run(loss, [0.0] * 2, "SGD")
    run.train()
    assert run.events == [(1, "opt", "SGD", "Momentum"), (1, "ρ", 0.9, 0.5)]


def test_a_change_on_the_optimiser_itself_is_written_down():
    run, _ = line(hypers={"η": 0.1})
    run.step()
    run.opt.η = 0.2
    run.step()
    schedule = lambda n: 0.3
    run.opt.eta = schedule
    run.step()
    run.opt.η = 0.3
    run.step()
    assert run.events == [(1, "η", 0.1, 0.2), (2, "η", 0.2, schedule), (3, "η", schedule, 0.3)]
    np.testing.assert_array_equal(run.history["η"], [0.1, 0.2, 0.3, 0.3])


@pytest.mark.parametrize("steps", [0, 3])
def test_an_optimiser_comes_back_with_its_own_state_and_values(steps):
    run, _ = line("Momentum", epochs=9, hypers={"ρ": 0.5})
    run.step(steps)
    run.set(η=0.02)
    run.swap("SGD", η=0.3)
    run.step(2)
    velocity = run.training.optimisers.states()["Momentum"].state["arrays"]["v"][0]
    run.swap(Momentum)
    assert run.values["ρ"] == 0.5
    assert run.values["η"] == 0.02
    np.testing.assert_array_equal(run.opt.state_dict()["arrays"]["v"][0], velocity)
    assert (velocity != 0).all() == (steps > 0)
    run.swap("SGD")
    assert run.values["η"] == 0.3


def test_a_swap_keeps_the_weights():
    run, W = line()
    run.step(2)
    before = W.data.copy()
    run.swap("ADAM")
    np.testing.assert_array_equal(W.data, before)
    assert run.opt_name == "ADAM"


def test_history_has_the_dials_in_force_and_nan_where_there_is_none():
    run, _ = line("SGD", epochs=3, hypers={"η": 0.1})
    run.step(2)
    run.swap("Momentum", ρ=0.8)
    run.step(2)
    run.set(η=0.3)
    run.swap("SGD")
    run.step(1)
    run.swap("Momentum")
    run.step(1)
    h = run.history
    np.testing.assert_array_equal(h["ρ"], [nan, nan, 0.8, 0.8, nan, 0.8])
    np.testing.assert_array_equal(h["η"], [0.1, 0.1, 0.01, 0.01, 0.1, 0.3])
    with pytest.raises(KeyError):
        h["β1"]
    assert set(h) >= {"step", "epoch", "seconds", "loss", "η", "ρ", "decay"}
    assert len(h) == len(list(h))


def test_history_follows_a_schedule_by_updates_not_by_steps():
    W = param(1.0)
    opt = SGD([W], 0.1)
    for _ in range(3):
        opt()
    run = Run(lambda x: W * x, [1.0, math.inf, 1.0, 1.0], opt)
    run.set(η=lambda n: 1.0 / (1 + n))
    seen = []
    while not run.finished:
        try:
            run.step()
            seen.append(opt.η)
        except NotFinite:
            seen.append(1 / (1 + opt.n))
    np.testing.assert_array_equal(run.history["η"], seen)
    np.testing.assert_array_equal(seen, [1 / 4, 1 / 5, 1 / 5, 1 / 6])


def test_history_is_a_mapping_with_a_row_for_each_step():
    run, _ = network(valid=(X, Y), metrics={"off": lambda x, y: 0.5})
    run.step(7)
    h = run.history
    assert {k: len(h[k]) for k in h} == dict.fromkeys(h, 7)
    assert h["step"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert (np.diff(h["seconds"]) > 0).all()
    assert repr(h).startswith("History(7 steps: step, epoch, seconds, loss, valid, off")


def test_history_can_be_read_while_the_run_goes_on():
    run, _ = line(data=lambda: iter([1.0] * 5000))
    torn = []

    def read() -> None:
        while run.state != "done":
            h = run.history
            torn.extend(len(h[k]) < 1 for k in ("loss", "seconds", "epoch", "η"))

    run.step()
    reader = threading.Thread(target=read)
    reader.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        run.train()
    finally:
        sys.setswitchinterval(interval)
        reader.join()
    assert torn
    assert not any(torn)


def test_a_row_costs_a_few_bytes_and_history_is_there_at_a_million_rows():
    run, _ = line(data=lambda: iter([1.0] * 2))
    run.step()
    record = run.record
    record.loss.extend(np.zeros(10**6 - 1))
    record.seconds.extend(np.zeros(10**6 - 1))
    assert record.loss.itemsize + record.seconds.itemsize == 16
    run.record.events += [Event(i, "η", 0.1, 0.1 + i) for i in range(0, 10**6, 10**5)]
    h = run.history
    assert {len(h[k]) for k in h} == {10**6}
    assert h["η"][-1] == 0.1 + 9 * 10**5

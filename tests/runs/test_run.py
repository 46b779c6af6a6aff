"""A run as it is stepped, turned, paused and looked at."""

from __future__ import annotations

import math
import sys
import threading
from typing import Any

import numpy as np
import pytest

import fluxmagic
from fluxmagic import ADAM, SGD, Momentum, NotFinite, Run, accuracy, batches, mse, param
from fluxmagic.optimise import OPTIMISERS, Hyper, Optimiser
from fluxmagic.runs import Event
from fluxmagic.runs.early_stopping import Condition
from fluxmagic.tracker import update
from tests.runs.problems import X, Y, arrays, fresh, line, network

nan = math.nan
W3 = param(np.ones(3))


# -- stepping ----------------------------------------------------------------------------------------------------------


def test_a_step_is_one_batch_and_hands_back_its_loss():
    run, W = line(SGD, hypers={"η": 0.25})
    assert run.step() == 4.0**2 + 2.0**2
    np.testing.assert_array_equal(W.data, [2.0, -1.0])
    assert (run.steps, run.state, run.last_loss) == (1, "paused", 20.0)


def test_steps_end_with_the_epochs():
    run, _ = line(epochs=2)
    run.step(5)
    assert (run.epoch, run.finished) == (2, False)
    run.step(100)
    assert (run.steps, run.state, run.finished) == (8, "done", True)
    assert run.step() is None


def test_train_goes_to_the_end_as_steps_do():
    stepped, _ = network()
    stepped.step(1000)
    trained, _ = network()
    trained.train()
    assert arrays(stepped) == arrays(trained)
    assert (trained.steps, trained.state) == (20, "done")


def test_train_as_a_function_and_a_run_take_the_same_steps():
    run, W = line(SGD, hypers={"η": 0.1})
    run.train()
    V = param([4.0, -2.0])
    fluxmagic.train(lambda x: ((V - x) ** 2).sum(), [0.0, 1.0, 2.0, 3.0], SGD([V], 0.1))
    np.testing.assert_array_equal(W.data, V.data)


@pytest.mark.parametrize(
    ("data", "n"),
    [
        ([(0.0,), (1.0,)], 6),
        ([0.0, 1.0], 6),
        (np.array([[1.0, 2.0], [3.0, 4.0]]), 6),
        (batches(np.arange(5.0), 2), 9),
        (lambda: [1.0, 2.0], 6),
        (lambda: (x for x in (1.0, 2.0)), 6),
    ],
    ids=["tuples", "values", "array", "batches", "function", "function of a generator"],
)
def test_data_is_anything_that_gives_batches_each_epoch_anew(data, n):
    W = param(1.0)
    run = Run(lambda x: ((W - x) ** 2).mean(), data, "SGD", epochs=3)
    run.train()
    assert (run.steps, run.epoch) == (n, 4)
    np.testing.assert_array_equal(run.history["epoch"], np.repeat([1, 2, 3], n // 3))


def test_a_generator_is_data_for_one_epoch():
    run, _ = line(data=(x for x in [1.0, 2.0]))
    run.train()
    assert (run.steps, run.state) == (2, "done")
    with pytest.raises(ValueError, match="the data is a generator, which can be gone through once, and epochs is 2"):
        line(data=(x for x in [1.0, 2.0]), epochs=2)
    once = iter([1.0, 2.0])
    run, _ = line(data=lambda: once, epochs=2)
    with pytest.raises(ValueError, match="a generator can be gone through once; pass a list"):
        run.train()
    assert run.steps == 2


class Counted:
    """Data whose len is not the number of its batches."""

    def __init__(self, n, said):
        self.n, self.said = n, said

    def __len__(self):
        return self.said

    def __iter__(self):
        return iter([float(i) for i in range(self.n)])


class Items:
    """Data that has a len and items, and no end."""

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return float(i)


def test_data_whose_len_is_too_small_is_an_error_and_no_batch_is_lost():
    run, _ = line(data=Counted(5, 3), epochs=2)
    for _ in range(2):
        with pytest.raises(ValueError, match="the data says that it has 3 batches"):
            run.train()
        assert (run.steps, run.epoch, run.state) == (3, 1, "failed")
    run.data.said = 5
    run.rewind(3)
    run.train()
    assert run.history["epoch"].tolist() == [1] * 5 + [2] * 5


def test_data_whose_len_is_too_large_ends_where_it_ends():
    run, _ = line(data=Counted(3, 5), epochs=2)
    run.train()
    assert run.history["epoch"].tolist() == [1] * 3 + [2] * 3


def test_data_that_has_items_and_a_len_ends_by_its_len():
    run, _ = line(data=Items(), epochs=2)
    run.train()
    assert (run.steps, run.epoch) == (6, 3)


@pytest.mark.parametrize("data", [[], lambda: iter(())])
def test_data_without_a_batch_is_an_error(data):
    run, _ = line(data=data)
    with pytest.raises(ValueError, match="the data gave no batch"):
        run.train()
    assert run.state == "failed"


def test_an_error_in_the_data_ends_no_epoch():
    broken = [True]

    def data():
        yield 1.0
        if broken[0]:
            raise OSError("no such luck")
        yield 2.0
        yield 3.0

    run, W = line(data=data)
    with pytest.raises(OSError, match="no such luck"):
        run.train()
    assert (run.steps, run.epoch) == (1, 1)
    broken[0] = False
    run.train()
    other, V = line(data=[1.0, 2.0, 3.0])
    other.train()
    assert run.steps == 3
    assert W.data.tobytes() == V.data.tobytes()


def test_pause_in_a_callback_lets_the_batch_end_and_train_goes_on_from_there():
    run, _ = line(epochs=3)
    run.train(cb=lambda: run.steps == 5 and run.pause())
    assert (run.steps, run.state) == (5, "paused")
    run.train()
    assert (run.steps, run.state) == (12, "done")


def test_stop_in_a_callback_ends_the_run():
    for stop in (lambda run: run.stop(), lambda run: fluxmagic.stop()):
        run, _ = line(epochs=3)
        run.train(cb=lambda loss, run=run, stop=stop: run.steps == 2 and stop(run))
        assert (run.steps, run.state) == (2, "stopped")


def test_pause_from_another_thread_is_heeded_by_steps_too():
    run, _ = line(data=lambda: iter(lambda: 1.0, None))
    threading.Timer(0.05, run.pause).start()
    run.step(10**9)
    assert (run.state, run.steps > 0) == ("paused", True)


def test_each_callback_gets_the_loss_also_where_one_goes_back():
    W, got = param(1.0), []
    run = Run(lambda x: (W - x) ** 2, [0.0] * 5, SGD([W], 0.1))

    def back(loss):
        if len(got) == 3:
            run.rewind(0)

    run.train(cb=[back, got.append])
    assert got[:4] == got[4:8] == pytest.approx([0.64**i for i in range(4)])


def test_a_loss_that_is_put_in_place_of_another_acts_from_the_next_step_on():
    W, losses = param(1.0), []
    run = Run(lambda: (losses.append(run.loss) or W) ** 2, lambda: iter([()] * 3), SGD([W], 0.1), epochs=3)

    def condition(run):
        run.loss = lambda: W * 0 + 7.0

    run.until = condition
    run.train()
    assert run.history["loss"][3:].tolist() == [7.0] * 6
    assert len(losses) == 3


def test_a_dial_turned_on_the_optimiser_itself_is_written_down_before_one_that_is_set():
    W = param(1.0)
    run = Run(lambda: (W * 3) ** 2, [()] * 8, SGD([W], 0.01))
    run.step(2)
    run.opt.clip = 0.5
    run.set(η=0.02)
    run.step(2)
    run.opt.η = 0.03
    run.swap("Momentum")
    run.train()
    assert [e[:2] for e in run.events] == [(2, "clip"), (2, "η"), (4, "η"), (4, "opt")]
    run.replay()


def test_a_number_of_steps_is_an_integer():
    W = param(1.0)
    run = Run(lambda: W**2, [()] * 8, SGD([W]))
    with pytest.raises(TypeError):
        run.step(2.5)
    assert run.steps == 0


def test_callbacks_with_an_argument_get_the_loss():
    run, _ = line()
    losses: list[float] = []
    run.train(cb=[losses.append, lambda: losses.append(nan)])
    np.testing.assert_array_equal(losses[::2], run.history["loss"])


def test_advance_stays_running_until_it_is_asked_or_the_end_comes():
    run, _ = line(data=lambda: iter(lambda: 1.0, None))
    run.advance(0.01)
    assert (run.state, run.steps > 0) == ("running", True)
    run.pause()
    run.advance(0.01)
    assert run.state == "paused"


def test_a_run_that_is_driven_cannot_be_driven_again():
    run, _ = line()
    with pytest.raises(RuntimeError, match="driven already"):
        run.train(cb=lambda: run.step())


# -- what optimises ----------------------------------------------------------------------------------------------------


def signed(W: Any) -> Any:
    def sgd() -> None:
        fluxmagic.tracker.update(W, -0.1 * fluxmagic.tracker.grad(W))

    return sgd


@pytest.mark.parametrize("kind", ["name", "class", "instance", "function", "list"])
def test_an_optimiser_is_a_name_a_class_an_instance_a_function_or_a_list(kind):
    W = param(4.0)
    opt = {"name": "SGD", "class": SGD, "instance": SGD([W], 0.1), "function": signed(W), "list": [SGD([W], 0.1)]}[kind]
    run = Run(lambda x: (W - x) ** 2, [0.0] * 3, opt, hypers={"eta": 0.1} if kind in ("name", "class") else None)
    run.train()
    assert W.data == pytest.approx(4 * 0.8**3)
    assert list(run.history)[:4] == ["step", "epoch", "seconds", "loss"]


def test_a_name_optimises_what_the_first_loss_depends_on():
    W, V, unused = param(1.0), param(2.0), param(3.0)
    run = Run(lambda x: (W * V - x) ** 2, [0.0] * 2, "SGD")
    assert (run.opt, run.params) == (None, [])
    run.step()
    assert run.params == [W, V]
    assert unused.data == 3.0


def test_strictly_a_parameter_that_turns_up_later_is_an_error():
    W, V = param(1.0), param(2.0)
    losses = [lambda: W * W, lambda: W * W + V * V]
    run = Run(lambda f: f(), losses, "SGD", strict=True)
    run.step()
    with pytest.raises(TypeError, match="--params"):
        run.step()
    assert V.data == 2.0
    assert V.grad == 0


def test_strictly_one_that_turns_up_in_the_place_of_another_is_an_error_too():
    W, V, U = param(1.0), param(2.0), param(3.0)
    losses = [lambda: W * V, lambda: W * U]
    for opt in ("SGD", SGD([W, V])):
        run = Run(lambda f: f(), losses, opt, strict=True)
        run.step()
        with pytest.raises(TypeError, match="--params"):
            run.step()
        assert U.grad == W.grad == V.grad == 0


@pytest.mark.parametrize("opt", [lambda p: SGD([p]), lambda p: lambda: update(p, -0.1 * p.grad)])
def test_strictly_where_not_all_is_trained_what_else_the_loss_depends_on_may_change(opt):
    W, V, U = param(1.0), param(2.0), param(3.0)
    run = Run(lambda f: f(), [lambda: W * V, lambda: W * V * U], opt(W), strict=True)
    run.step(2)
    assert run.steps == 2


def test_a_loss_that_reaches_no_parameter_is_an_error():
    run = Run(lambda x: x, [1.0], "SGD")
    with pytest.raises(TypeError, match="reaches no parameter"):
        run.step()


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"loss": 3}, TypeError, "loss is a function of a batch, not a int"),
        ({"data": 3}, TypeError, "a int does not"),
        ({"opt": "Adam"}, ValueError, "there is no optimiser Adam; there are "),
        ({"opt": 3}, TypeError, "opt is an optimiser or a function"),
        ({"opt": []}, TypeError, "opt is an optimiser or a function"),
        ({"epochs": 0}, ValueError, "epochs is a positive integer, not 0"),
        ({"epochs": True}, ValueError, "epochs is a positive integer"),
        ({"patience": 0}, ValueError, "patience is a positive integer"),
        ({"until": 3}, TypeError, "until is a function, not a int"),
        ({"metrics": {"a": 3}}, TypeError, "the metric a is a function"),
        ({"valid": iter([1.0])}, TypeError, "valid is a generator"),
        ({"hypers": {"η": -1}}, ValueError, "0 ≤ η"),
        ({"hypers": {"rho": 0.5}}, TypeError, "SGD has no rho; it has η"),
        ({"hypers": {"η": 0.1, "eta": 0.1}}, TypeError, "given twice"),
        ({"opt": lambda: None, "hypers": {"η": 1}}, TypeError, "η: hyper-parameters go with the name or class"),
        ({"opt": lambda: None, "ρ": 1}, TypeError, "ρ: hyper-parameters go with the name or class"),
        ({"η": -1}, ValueError, "0 ≤ η"),
        ({"rho": 0.5}, TypeError, "SGD has no rho; it has η"),
        ({"hypers": {"η": 0.1}, "η": 0.1}, TypeError, "η is given twice"),
        ({"hypers": {"η": 0.1}, "eta": 0.1}, TypeError, "given twice"),
        ({"steps": 0}, ValueError, "steps is a positive integer, not 0"),
        ({"steps": 3, "epochs": 3}, ValueError, "after its epochs or after its steps: give one of the two"),
        ({"data": None}, ValueError, "give steps"),
        ({"data": None, "epochs": 3}, ValueError, "give steps"),
        ({"data": None, "steps": 3, "valid": [1.0]}, ValueError, "data is None"),
        ({"data": None, "steps": 3, "metrics": {"m": len}}, ValueError, "data is None"),
        ({"turns": [(0, "ρ", 0.1, 0.2)]}, TypeError, "turns: ρ → 0.2 after step 0: SGD has no ρ"),
        ({"turns": [(0, "η", 0.1, -1.0)]}, ValueError, "turns: η → -1.0 after step 0: "),
        ({"turns": [(0, "opt", "SGD", "Adam")]}, ValueError, "there is no optimiser Adam"),
        ({"turns": [(3, "η", 0.1, 0.2), (1, "η", 0.2, 0.3)]}, ValueError, "turns are in the order of their steps"),
        ({"opt": lambda: None, "turns": [(3, "η", 0.1, 0.2)]}, TypeError, "the optimiser has no dials"),
    ],
)
def test_what_a_run_cannot_be_made_of_is_said(wrong, error, words):
    given = {"loss": lambda x: x, "data": [1.0], "opt": "SGD", **wrong}
    with pytest.raises(error, match=words):
        Run(given.pop("loss"), given.pop("data"), given.pop("opt"), **given)


# -- turning -----------------------------------------------------------------------------------------------------------


def test_a_dial_is_turned_between_two_batches_and_written_down():
    run, _ = line(hypers={"η": 0.1})
    run.step(2)
    run.set(eta=0.05)
    run.set(η=0.05)
    run.step()
    assert run.events == [(2, "η", 0.1, 0.05)]
    assert isinstance(run.events[0], Event)
    np.testing.assert_array_equal(run.history["η"], [0.1, 0.1, 0.05])


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


# -- validation --------------------------------------------------------------------------------------------------------


def test_validation_is_once_an_epoch_in_test_mode_and_changes_nothing():
    plain, m = network()
    plain.train()
    calls = []

    def metric(x, y):
        calls.append(len(x))
        assert m[1].istesting if hasattr(m[1], "istesting") else True
        return mse(m(x), y)

    checked, m = network(valid=batches(X, Y, 5), metrics={"m": metric})
    checked.train()
    assert arrays(checked) == arrays(plain)
    assert calls == [5, 5, 5, 5, 2] * 5  # once before the first step
    h = checked.history
    assert np.isfinite(h["valid"]).tolist() == [False, False, False, False, True] * 4
    with fluxmagic.layers.testmode(m):
        assert h["valid"][-1] == pytest.approx(float(mse(m(X), Y)), rel=1e-6)
    np.testing.assert_allclose(h["m"], h["valid"], rtol=1e-6)
    assert checked.last_evaluation == {"valid": h["valid"][-1], "m": h["m"][-1]}


def test_validation_data_that_is_shuffled_by_the_same_generator_changes_nothing():
    rng = np.random.default_rng(3)
    run, _ = network(rng=rng, valid=batches(X, Y, 5, rng=rng))
    run.train()
    other = np.random.default_rng(3)
    plain, _ = network(rng=other)
    plain.train()
    assert arrays(run) == arrays(plain)


@pytest.mark.parametrize("kind", ["tuple", "array", "list", "function", "batches", "numbered"])
def test_validation_is_one_call_and_batches_are_weighted_by_rows(kind):
    W = param(0.0)
    rows = np.arange(2500.0)
    sizes = []

    def mean(*d):
        sizes.append(len(d[-1]))
        return d[-1].mean()

    valid = {
        "tuple": (rows,),
        "array": rows,
        "list": [rows[:3], rows[3:]],
        "function": lambda: [(rows,)],
        "batches": batches(rows, 1000, shuffle=False),
        "numbered": [(0, rows[:3]), (1, rows[3:])],
    }[kind]
    loss = lambda *d: ((W - d[-1]) ** 2).mean()
    run = Run(loss, [np.ones(2)], "SGD", valid=valid, metrics={"mean": mean})
    run.train()
    assert run.last_evaluation["mean"] == pytest.approx(rows.mean())
    calls = {"list": [3, 2497], "numbered": [3, 2497], "batches": [1000, 1000, 500]}.get(kind, [2500])
    assert sizes == calls * 2  # once before the first step


def test_a_metric_that_is_no_mean_is_right_for_more_rows_than_one_chunk():
    x = np.linspace(0, 1, 1025)
    W = param(1.0)
    r2 = lambda x, y: 1 - float(((W.data * x - y) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    run = Run(
        lambda x, y: ((W * x - y) ** 2).mean(),
        [(x[:8], x[:8])],
        "SGD",
        valid=(x, x),
        metrics={"R²": r2, "most": lambda x, y: x.max()},
    )
    run.train()
    assert run.last_evaluation == {"valid": 0.0, "R²": 1.0, "most": 1.0}


@pytest.mark.parametrize("said", ["Unable to allocate 3 TiB", ""])
def test_where_memory_does_not_suffice_the_option_is_named_with_what_to_do(said):
    W = param(1.0)

    def loss(x):
        if len(x) > 2:
            raise MemoryError(said)
        return (W * x).mean()

    run = Run(loss, [np.ones(2)], "SGD", valid=np.ones(5))
    with pytest.raises(MemoryError, match=rf"valid: {said or 'out of memory'}\. .*valid=batches\(X, Y, 1024\)"):
        run.train()
    run.valid = batches(np.ones(5), 2)
    run.train()
    assert run.steps == 1


def refuses(x):
    raise KeyError("column")


@pytest.mark.parametrize(
    ("options", "error", "option"),
    [
        ({"metrics": {"acc": lambda x: W3 * x}}, TypeError, "metric acc"),
        ({"metrics": {"acc": lambda x: "high"}}, TypeError, "metric acc"),
        ({"metrics": {"acc": lambda x: None}}, TypeError, "metric acc"),
        ({"metrics": {"acc": refuses}}, KeyError, "metric acc"),
        ({"metrics": {"acc": lambda x, y: 1}}, TypeError, "metric acc"),
        ({"until": Condition(lambda v: v["acc"] > 1)}, KeyError, "until"),
        ({"until": Condition(lambda v: v["valid"] < 1)}, KeyError, "until"),
        ({"valid": (X, Y)}, TypeError, "valid"),
        ({"valid": (X, Y[:3])}, ValueError, "valid"),
        ({"valid": lambda: iter(())}, ValueError, "valid"),
    ],
)
def test_what_an_option_names_is_tried_before_the_first_step_and_reported_by_its_name(options, error, option):
    run, W = line(**options)
    for _ in range(2):
        with pytest.raises(error) as caught:
            run.train()
        assert option in " ".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
        assert caught.value.option == option
        assert (run.steps, run.params, run.state) == (0, [], "failed")
        assert W.data.tolist() == [4.0, -2.0]
        assert not W.grad.any()
    run.valid, run.metrics, run.until = None, {}, None
    run.train()
    calm, V = line()
    calm.train()
    assert W.data.tobytes() == V.data.tobytes()


def test_an_error_in_the_loss_is_not_an_error_of_an_option():
    run, _ = line(valid=np.ones(2))
    run.loss = lambda x: 1 / 0
    with pytest.raises(ZeroDivisionError) as caught:
        run.train()
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("name", ["loss", "valid", "step", "epoch", "seconds", "opt", "η", "ρ", "clip"])
def test_a_metric_cannot_have_the_name_of_another_column(name):
    with pytest.raises(ValueError, match=f"a metric cannot be named {name}"):
        line(metrics={name: lambda x: 1.0})


def test_the_name_of_a_metric_is_text():  # a file has no other names
    with pytest.raises(TypeError, match="the names of metrics are text, and these are 1, 'a'"):
        line(metrics={1: lambda x: 1.0, "a": lambda x: 1.0})


def test_a_condition_sees_the_epoch_s_mean_validation_loss_metrics_epoch_and_step():
    seen = []
    run, _ = line(
        epochs=9,
        valid=[np.zeros(2)],
        metrics={"m": lambda x: 3.0},
        until=Condition(lambda v: seen.append(dict(v)) or v["epoch"] == 2),
    )
    run.train()
    assert (run.steps, run.state) == (8, "stopped")
    h = run.history
    first = {"loss": h["loss"][0], "valid": 20.0, "m": 3.0, "epoch": 0, "step": 0}
    rest = [
        {"loss": h["loss"][4 * k : 4 * k + 4].mean(), "valid": h["valid"][4 * k + 3], "m": 3.0}
        | {"epoch": k + 1, "step": 4 * k + 4}
        for k in range(2)
    ]
    assert seen == [pytest.approx(v) for v in [first, *rest]]


def test_validation_keeps_no_graph_and_no_gradient():
    W = param(1.0)
    seen = []

    def loss(x):
        l = (W - x) ** 2
        seen.append(l)
        return l

    run = Run(loss, [0.0], "SGD", valid=[2.0])
    run.train()
    assert W.grad == 0
    assert W.data == 0.8


def test_a_validation_loss_that_is_not_finite_is_only_marked():
    W = param(1.0)
    run = Run(lambda x: (W - x) ** 2, [0.0], "SGD", valid=[math.inf], epochs=2)
    run.train()
    assert np.isinf(run.history["valid"]).all()
    assert run.state == "done"


def test_metrics_without_validation_data_look_at_the_last_batch():
    run, _ = line(metrics={"x": lambda x: x}, epochs=2)
    run.train()
    np.testing.assert_array_equal(run.history["x"], [nan, nan, nan, 3.0] * 2)


def test_an_error_in_a_metric_leaves_the_epoch_unended_and_is_tried_again():
    bad = [True]

    def metric(x):
        if bad[0] and run.steps:
            raise KeyError("column")
        return 1.0

    run, W = line(metrics={"m": metric}, epochs=2)
    with pytest.raises(KeyError):
        run.train()
    assert (run.steps, run.epoch, run.state) == (4, 1, "failed")
    run.replay()
    run.rewind(3)
    with pytest.raises(KeyError):
        run.train()
    bad[0] = False
    run.train()
    plain, V = line(epochs=2)
    plain.train()
    assert (run.steps, run.state) == (8, "done")
    assert W.data.tobytes() == V.data.tobytes()
    assert np.isfinite(run.history["m"]).sum() == 2


# -- what goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_a_row_and_the_weights_are_those_of_the_last_good_step(bad):
    W = param([1.0, 2.0])
    run = Run(lambda x: (W * x).sum(), [1.0, bad, 1.0], "SGD", hypers={"η": 0.5})
    with pytest.raises(NotFinite) as caught:
        run.train()
    np.testing.assert_array_equal(W.data, [0.5, 1.5])
    np.testing.assert_array_equal(W.grad, [0, 0])
    assert (run.steps, run.state, caught.value.step) == (2, "failed", 2)
    assert not np.isfinite(run.history["loss"][1])
    assert caught.value.last_loss == 3.0
    assert "The last finite loss was 3" in str(caught.value)
    run.train()
    assert (run.steps, run.state) == (3, "done")


def test_a_gradient_that_is_not_finite_names_its_parameter():
    m = fluxmagic.Chain(fluxmagic.Dense(2, 2), fluxmagic.Dense(2, 1))
    run = Run(lambda x: np.sqrt(m(x) * 0).sum() + (m[0].W * 3).sum(), [np.ones((1, 2))], "ADAM")
    with pytest.raises(NotFinite) as caught, np.errstate(all="ignore"):
        run.step()
    error = caught.value
    assert error.name == "m[0].W"
    assert error.largest_name == "m[0].W"
    assert not math.isfinite(error.largest_gradient)
    assert "m[0].W" in str(error)


def test_not_finite_tells_the_largest_gradient_also_where_the_loss_is_the_reason():
    W, V = param(np.float32(2e19)), param(np.float32(1.0))
    model = {"a": W, "b": V}
    run = Run(lambda x: W * W * x + V, [1.0], "SGD", model=model)
    with pytest.raises(NotFinite) as caught, np.errstate(all="ignore"):
        run.step()
    assert caught.value.largest is W
    assert caught.value.largest_name == "['a']"
    assert caught.value.largest_gradient == pytest.approx(4e19)


@pytest.mark.parametrize("opt", ["ADAM", "Momentum"])
def test_an_error_in_the_loss_changes_nothing_and_the_batch_comes_again(opt):
    calm, _ = network(opt)
    calm.train()
    run, _ = network(opt)
    loss, failures = run.loss, [3, 8, 8, 20]

    def fails(x, y):
        l = loss(x, y)  # dropout has been drawn, batch norm has looked
        if failures and run.steps + 1 == failures[0]:
            failures.pop(0)
            raise ZeroDivisionError
        return l

    run.loss = fails
    while not run.finished:
        before = arrays(run)
        try:
            run.step()
        except ZeroDivisionError:
            assert run.state == "failed"
            assert arrays(run) == before or not before
    assert not failures
    assert arrays(run) == arrays(calm)
    np.testing.assert_array_equal(run.history["loss"], calm.history["loss"])


def test_a_first_step_that_is_refused_is_a_step(tmp_path):
    W = param([1.0, 2.0])
    run = Run(lambda x: (W * x).sum(), [math.nan, 1.0], "SGD", metrics={"x": lambda x: 1.0})
    with pytest.raises(NotFinite):
        run.step()
    run.save(tmp_path / "run.npz")
    run.replay()
    branch = run.branch("b")
    branch.train()
    assert branch.steps == 2
    run.rewind(0)
    assert run.steps == 0
    loaded = Run.load(tmp_path / "run.npz", run.loss, run.data, [W], metrics=run.metrics)
    loaded.train()
    assert loaded.steps == 2


@pytest.mark.parametrize("sized", [True, False])
def test_metrics_without_validation_data_have_a_batch_after_a_load_and_after_an_epoch_that_was_refused(tmp_path, sized):
    W = param([1.0, 2.0])
    bad = [math.nan, math.nan]
    batch = [1.0, 2.0]
    data = (lambda: list(batch)) if sized else (lambda: iter(list(batch)))
    make = lambda: Run(lambda x: (W * x).sum(), data, "SGD", metrics={"x": lambda x: x}, epochs=2)
    run = make()
    run.step(2)
    run.save(tmp_path / "run.npz")
    loaded = Run.load(tmp_path / "run.npz", run.loss, data, [W], metrics=run.metrics)
    loaded.train()
    assert loaded.history["x"][1::2].tolist() == [2.0, 2.0]
    batch[:] = bad
    run = make()
    for _ in range(4):
        with pytest.raises(NotFinite):
            run.step()
    run.train()
    assert (run.steps, run.state) == (4, "done")


def test_a_refused_step_leaves_running_statistics_alone():
    run, _ = network()
    run.step(2)
    before = arrays(run)
    loss = run.loss
    run.loss = lambda x, y: loss(x, y) * math.inf
    with pytest.raises(NotFinite), np.errstate(all="ignore"):
        run.step()
    assert arrays(run) == before


class Breaks(Optimiser):
    """Breaks half-way when told to."""

    η = Hyper(0.1, "learning rate", scale="log")
    state = ("s",)
    numbers = {"k": 0.0}
    broken = False

    def begin(self):
        self._numbers.k += 1
        return ()

    def step(self, δ, s):
        s.s += δ
        if self.broken and s.p.dtype == np.float64:
            raise OverflowError
        return self.η * s.s


OPTIMISERS.pop("Breaks")


def test_an_update_whose_rule_raises_in_the_middle_has_not_been():
    W, V = param(np.ones(3, np.float32)), param(np.ones(2))
    opt = Breaks([W, V])
    run = Run(lambda x: (W * x).sum() + (V * x).sum(), [1.0, 2.0, 3.0], opt)
    run.step()
    state = str(opt.state_dict())
    weights = W.data.copy(), V.data.copy()
    opt.__dict__["broken"] = True
    for act in (run.step, opt):
        with pytest.raises(OverflowError):
            act()
        assert str(opt.state_dict()) == state
        np.testing.assert_array_equal(W.data, weights[0])
        np.testing.assert_array_equal(V.data, weights[1])
        assert not W.grad.any()
    opt.__dict__["broken"] = False
    assert run.step() == pytest.approx(2 * (weights[0].sum() + weights[1].sum()))


@pytest.mark.parametrize("name", sorted(OPTIMISERS))
def test_our_own_rules_do_not_break_off_where_numpy_is_told_to_raise(name):
    W = param(np.full(4, 1e-20, np.float32))
    opt = OPTIMISERS[name]([W])
    with np.errstate(all="raise"):
        for g in (1e18, 1e-30, 0.0):
            W.grad[...] = 0
            fluxmagic.back((W * np.float32(g)).sum() if g != 1e-30 else (W * np.float32(1.0)).sum())
            opt()
    assert opt.n == 3


# -- the rest ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_steps", [True, False])
def test_patience_keeps_the_best_weights(by_steps):
    valid = iter([9.0, 5.0, 3.0, 4.0, nan, 6.0, 1.0])  # the first is tried before the first step
    W = param(0.0)
    run = Run(
        lambda x: next(valid) if fluxmagic.layers.training_mode.is_evaluating() else W * 1.0,
        [1.0] * 2,
        "SGD",
        epochs=20,
        patience=3,
        valid=[1.0],
    )
    run.step(100) if by_steps else run.train()
    assert run.state == "stopped"
    np.testing.assert_array_equal(run.history["valid"][1::2], [5.0, 3.0, 4.0, nan, 6.0])
    assert W.data == pytest.approx(-0.4)


def test_until_ends_the_run_and_the_best_weights_are_put_back():
    W = param(0.0)
    run = Run(lambda x: (W - x) ** 2, [0.0], "SGD", epochs=20, until=lambda run: run.epoch > 4, hypers={"η": 1.1})
    W.data = 1.0
    run.train()
    assert (run.steps, run.state) == (4, "stopped")
    assert W.data == pytest.approx(-1.2)
    run.replay()
    assert W.data == pytest.approx(-1.2)


def test_a_run_says_what_it_is():
    run, _ = line(name="first", epochs=2)
    assert repr(run) == "Run('first', SGD, ready, epoch 1/2, 0 steps)"
    assert (run.steps_per_epoch, run.rate, run.seconds, run.last_evaluation) == (None, 0, 0, {})
    assert math.isnan(run.last_loss)
    run.train()
    assert repr(run) == "Run('first', SGD, done, epoch 2/2, 8 steps)"
    assert (run.steps_per_epoch, run.last_loss) == (4, run.history["loss"][-1])
    assert run.rate > 0
    assert run.seconds == run.history["seconds"][-1]


def test_stop_and_pause_before_the_first_step_are_states():
    run, _ = line()
    run.pause()
    assert run.state == "paused"
    run.stop()
    assert run.state == "stopped"
    run.train()
    assert run.state == "done"


def test_a_seed_makes_a_run_repeatable():
    a, m = network(seed=5)
    start = fresh(m)
    a.train()
    end = arrays(a)
    b, m = network(seed=5)
    assert all((p == q).all() for p, q in zip(fresh(m), start, strict=True))
    b.train()
    c, _ = network(seed=6)
    c.train()
    assert arrays(b) == end != arrays(c)


def test_digits_are_learned():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 5))
    labels = rng.integers(3, size=300)
    points = centres[labels] + 0.1 * rng.normal(size=(300, 5))
    m = fluxmagic.Chain(fluxmagic.Dense(5, 8, fluxmagic.relu, rng=0), fluxmagic.Dense(8, 3, rng=1))
    run = Run(
        lambda x, y: fluxmagic.logitcrossentropy(m(x), y),
        batches(points, labels, 32, rng=0),
        ADAM,
        epochs=15,
        valid=(points, labels),
        metrics={"acc": lambda x, y: accuracy(m(x), y)},
        hypers={"η": 0.01},
    )
    run.train()
    assert run.last_evaluation["acc"] > 0.97


def test_the_until_of_a_branch_looks_at_the_branch() -> None:
    W = param(1.0)
    run = Run(lambda x: (W - x) ** 2, [0.0], "SGD", epochs=9, until=lambda run: run.steps >= 6, hypers={"η": 0.1})
    run.step(2)
    branch = run.branch("b")
    branch.train()
    assert (branch.state, branch.steps, run.steps) == ("stopped", 6, 2)

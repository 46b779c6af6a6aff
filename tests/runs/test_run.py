"""Steps, callbacks and the kinds of optimiser that a run takes."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest

import fluxmagic
from fluxmagic import SGD, Run, batches, param
from fluxmagic.tracker import update
from tests.runs.problems import arrays, line, network, signed

nan = math.nan


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


def test_advance_takes_at_most_as_many_steps_as_it_is_given():
    run, _ = line(data=lambda: iter(lambda: 1.0, None))
    for _ in range(3):
        run.advance(60.0, 2)
    assert (run.state, run.steps) == ("running", 6)
    run.pause()
    run.advance(60.0, 2)
    assert (run.state, run.steps) == ("paused", 6)


@pytest.mark.parametrize("length", ["epochs", "steps"])
def test_a_finished_run_that_is_extended_goes_on_as_one_longer_run(length):
    W, V = param(np.ones(3)), param(np.ones(3))
    runs = [
        Run(lambda x, w=w: ((w - x) ** 2).sum(), [np.zeros(3), np.ones(3)], SGD([w], 0.1), **{length: 4 * k})
        for k, w in ((1, W), (3, V))
    ]
    for run in runs:
        run.train()
    for _ in range(2):
        assert runs[0].finished
        runs[0].extend()
        runs[0].train()
    assert runs[0].total_steps == runs[1].total_steps == runs[0].steps
    np.testing.assert_array_equal(W.data, V.data)
    np.testing.assert_array_equal(runs[0].history["loss"], runs[1].history["loss"])


def test_a_run_over_a_generator_cannot_be_extended():
    run, _ = line(data=(float(x) for x in range(3)))
    run.train()
    with pytest.raises(ValueError, match="no other epoch"):
        run.extend()
    assert run.finished


def test_a_run_that_is_driven_cannot_be_driven_again():
    run, _ = line()
    with pytest.raises(RuntimeError, match="driven already"):
        run.train(cb=lambda: run.step())


# -- what optimises ----------------------------------------------------------------------------------------------------


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

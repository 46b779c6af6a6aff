"""Errors of a loss, of data and of callbacks, and what a run shows before its first step."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fluxmagic
from fluxmagic import ADAM, NotFinite, Run, accuracy, batches, param
from fluxmagic.optimise import OPTIMISERS, Hyper, Optimiser
from tests.runs.problems import arrays, fresh, line, network

nan = math.nan


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

"""Validation and metrics: when they are computed, what they change, what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fluxmagic
from fluxmagic import Run, batches, mse, param
from fluxmagic.runs.early_stopping import Condition
from tests.runs.problems import X, Y, arrays, line, network

nan = math.nan
W3 = param(np.ones(3))


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


def test_a_metric_other_than_a_mean_is_right_for_more_rows_than_a_chunk():
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

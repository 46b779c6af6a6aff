"""Each guard of a program is tripped by what it guards against, and the step is an ordinary one then."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fluxmagic import ADAM, SGD, Chain, Dense, Dropout, NotFinite, capture, logitcrossentropy, mse, param, params
from fluxmagic import testmode as set_testmode
from fluxmagic.capture.step import CapturedStep
from fluxmagic.generators import using
from fluxmagic.layers.training_mode import evaluating
from fluxmagic.optimise.interrupts import InterruptGuard
from fluxmagic.tracker import back

RNG = np.random.default_rng(0)
X, Y = RNG.random((4, 3), np.float32), RNG.random((4, 1), np.float32)
FACTOR = 1.0
MODULE = types.ModuleType("constants_of_a_user")


class Box:
    """An object of a user, with attributes of all kinds."""

    shared = 1.0

    def __init__(self) -> None:
        self.own = 1.0

    def scale(self, l: Any) -> Any:
        return l * self.own * self.shared


class Slotted:
    __slots__ = ("own",)

    def __init__(self) -> None:
        self.own = 1.0


def network(*extra: Any) -> Chain:
    return Chain(Dense(3, 4, np.tanh, rng=0), *extra, Dense(4, 1, rng=1))


def replaying(loss: Callable[..., Any], model: Any, batch: tuple[Any, ...] = (X, Y)) -> CapturedStep:
    """A step that replays this batch."""
    step = capture(loss, SGD(params(model), 0.01))
    for _ in range(6):
        step(*batch)
    assert step.report.replayed >= 1
    before = step.report.replayed
    step(*batch)
    assert step.report.replayed == before + 1
    return step


def is_ordinary(step: CapturedStep, *batch: Any) -> bool:
    """Take a step, and tell whether no program stood for it."""
    before = step.report.replayed, step.report.verified
    step(*(batch or (X, Y)))
    return (step.report.replayed, step.report.verified) == before


def test_a_global_number_that_is_another() -> None:
    global FACTOR
    m = network()
    step = replaying(lambda x, y: mse(m(x), y) * FACTOR, m)
    FACTOR = 2.0
    assert is_ordinary(step)


def test_a_closed_over_number_that_is_another() -> None:
    m, n = network(), 1.0
    step = replaying(lambda x, y: mse(m(x), y) * n, m)
    n = 2.0
    assert is_ordinary(step)


@pytest.mark.parametrize(
    "turn",
    [
        lambda box: setattr(box, "own", 2.0),
        lambda box: setattr(box, "shared", 2.0),
        lambda box: setattr(Box, "shared", Box.shared + 1),
        lambda box: setattr(Box, "scale", lambda self, l: l * 3),
    ],
    ids=["own attribute", "an attribute that hides the class's", "the class's", "a method"],
)
def test_an_attribute_that_is_another(turn: Callable[[Box], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Box, "shared", 1.0)
    monkeypatch.setattr(Box, "scale", Box.scale)
    m, box = network(), Box()
    step = replaying(lambda x, y: box.scale(mse(m(x), y)), m)
    turn(box)
    assert is_ordinary(step)


def test_a_slot_that_is_another() -> None:
    m, box = network(), Slotted()
    step = replaying(lambda x, y: mse(m(x), y) * box.own, m)
    box.own = 2.0
    assert is_ordinary(step)


def test_an_attribute_of_a_module_that_is_another() -> None:
    MODULE.factor = 1.0
    m = network()
    step = replaying(lambda x, y: mse(m(x), y) * MODULE.factor, m)
    MODULE.factor = 2.0
    assert is_ordinary(step)


@pytest.mark.parametrize("numbers", [[1.0], {"a": 1.0}, {"a": [1.0]}], ids=str)
def test_an_item_that_is_another(numbers: Any) -> None:
    def first(x: Any) -> Any:
        return x if isinstance(x, float) else first(x[0] if isinstance(x, list) else x["a"])

    m = network()
    step = replaying(lambda x, y: mse(m(x), y) * first(numbers), m)
    inner = numbers["a"] if isinstance(numbers, dict) and isinstance(numbers["a"], list) else numbers
    inner[0 if isinstance(inner, list) else "a"] = 2.0
    assert is_ordinary(step)


def test_a_list_that_is_longer() -> None:
    m, numbers = network(), [1.0]
    step = replaying(lambda x, y: mse(m(x), y) * sum(numbers), m)
    numbers.append(2.0)
    assert is_ordinary(step)


def test_a_default_of_an_argument_that_is_another() -> None:
    m = network()

    def loss(x: Any, y: Any, n: float = 1.0) -> Any:
        return mse(m(x), y) * n

    step = replaying(loss, m)
    loss.__defaults__ = (2.0,)
    assert is_ordinary(step)


def test_code_that_is_replaced() -> None:
    m = network()

    def scale(l: Any) -> Any:
        return l

    step = replaying(lambda x, y: scale(mse(m(x), y)), m)
    scale.__code__ = (lambda l: l * 2).__code__
    assert is_ordinary(step)


def test_an_argument_of_a_partial_that_changes() -> None:
    m, numbers = network(), [1.0]
    step = replaying(functools.partial(lambda n, x, y: mse(m(x), y) * n[0], numbers), m)
    numbers[0] = 2.0
    assert is_ordinary(step)


def test_a_parameter_that_is_replaced() -> None:
    m = network()
    step = replaying(lambda x, y: mse(m(x), y), m)
    m[0].W = param(m[0].W.data)
    assert is_ordinary(step)


def test_layers_in_test_mode() -> None:
    m = network(Dropout(0.5))
    step = replaying(lambda x, y: mse(m(x), y), m)
    set_testmode(m)
    assert is_ordinary(step)


def test_a_thread_that_evaluates() -> None:
    m = network(Dropout(0.5))
    step = replaying(lambda x, y: mse(m(x), y), m)
    with evaluating():
        assert is_ordinary(step)


@pytest.mark.parametrize(
    "batch",
    [(X[:2], Y[:2]), (X.astype(float), Y), (np.asfortranarray(X), Y), (X.tolist(), Y)],
    ids=["shape", "dtype", "layout", "type"],
)
def test_a_batch_of_another_kind(batch: tuple[Any, ...]) -> None:
    m = network()
    step = replaying(lambda x, y: mse(m(x), y), m)
    assert is_ordinary(step, *batch)


def test_a_number_in_the_batch_that_is_another() -> None:
    m = network()
    step = replaying(lambda x, y, n: mse(m(x), y) * n, m, (X, Y, 1.0))
    assert is_ordinary(step, X, Y, 2.0)


def test_a_branch_that_goes_the_other_way() -> None:
    m = network()
    step = replaying(lambda x, y: mse(m(x), y) if x.mean() < 1 else mse(m(x), y) * 2, m)
    assert is_ordinary(step, X + 2, Y)


def test_a_result_of_another_shape() -> None:
    m = network()
    step = replaying(lambda x, y: mse(m(x[x[:, 0] > 0.5]), y[x[:, 0] > 0.5]), m)
    assert is_ordinary(step, X[::-1].copy() * np.float32(0.9) + np.float32([[0.6], [0], [0.6], [0.6]]), Y)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_out_of_range(label: int) -> None:
    m = Chain(Dense(3, 3, rng=0))
    labels = np.array([0, 1, 2, 1])
    step = replaying(lambda x, y: logitcrossentropy(m(x), y), m, (X, labels))
    before = [p.data.copy() for p in params(m)]
    with pytest.raises(ValueError, match=f"label {label} is out of range"):
        step(X, np.array([0, 1, 2, label]))
    assert all(np.array_equal(p.data, a) for p, a in zip(params(m), before, strict=True))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_a_loss_or_gradient_that_is_not_finite(value: float) -> None:
    m = network()
    step = replaying(lambda x, y: mse(m(x), y), m)
    before = [p.data.copy() for p in params(m)]
    with pytest.raises(NotFinite):
        step(X, np.full_like(Y, value))
    assert all(np.array_equal(p.data, a) for p, a in zip(params(m), before, strict=True))


def test_a_gradient_that_was_looked_at() -> None:
    m = network()
    step = replaying(lambda x, y: mse(m(x), y), m)
    assert m[0].W.grad.any() == 0
    assert is_ordinary(step)


def test_gradients_from_before_are_cleared() -> None:
    m = network()
    step = replaying(lambda x, y: mse(m(x), y), m)
    weights = m[0].W.data.copy()
    back(mse(m(X), Y))
    step(X, Y)
    change = m[0].W.data - weights
    weights = m[0].W.data.copy()
    step(X, Y)
    np.testing.assert_allclose(m[0].W.data - weights, change, rtol=0.5)  # not twice the gradient


def test_a_generator_that_a_run_puts_in_place_of_the_default_one() -> None:
    m = network(Dropout(0.5))
    step = replaying(lambda x, y: mse(m(x), y), m)
    with using(np.random.default_rng(5)):
        assert is_ordinary(step)


def test_an_optimiser_that_is_swapped_keeps_the_programs() -> None:
    m = network()
    first, second = SGD(params(m), 0.01), ADAM(params(m), 0.01)
    step = CapturedStep(lambda x, y: mse(m(x), y), [first])
    for opts in ([first], [second]):
        step.begin(opts, 0, None)
        for _ in range(8):
            step.take((X, Y), opts, 5, InterruptGuard())
    assert step.report.recorded == 2
    assert step.report.replayed > 5

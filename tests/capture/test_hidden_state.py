"""What a loss, a batch or a rule keeps for itself stays as in ordinary steps, and is refused or right throughout."""

from __future__ import annotations

import enum
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fluxmagic import SGD, Run, capture, param, train
from fluxmagic.optimise import Hyper, Optimiser
from tests.capture.hidden import hidden, hide

STEPS = 40
CASES: list[Callable[[Any], tuple[Any, Any]]] = []


class Own:
    """Hashable, and changes."""

    scale = 1.0


Mode = enum.Enum("Mode", "PLAIN DOUBLE")


def case(make: Callable[[Any], tuple[Any, Any]]) -> Callable[[Any], tuple[Any, Any]]:
    """Add a function that makes a loss, and what comes with batch k beside its arrays."""
    CASES.append(make)
    return make


def mse(W: Any, x: Any, y: Any) -> Any:
    return ((x @ W - y) ** 2).mean()


def nothing(k: int) -> tuple[Any, ...]:
    return ()


@case
def an_array_that_the_loss_replaces_in_an_attribute(W):
    own = SimpleNamespace(mean=np.zeros((12, 6), np.float32))

    def loss(x, y):
        own.mean = own.mean * np.float32(0.5) + x
        return mse(W, own.mean, y)

    return loss, nothing


@case
def an_average_of_the_parameters_that_the_loss_replaces_in_a_list(W):
    average = [W.data.copy()]

    def loss(x, y):
        average[0] = average[0] * np.float32(0.9) + W.data * np.float32(0.1)
        return mse(W, x, y) + ((x @ average[0] - x @ W) ** 2).mean()

    return loss, nothing


@case
def arrays_that_move_through_a_list(W):
    last = [np.full((12, 6), k, np.float32) for k in range(3)]

    def loss(x, y):
        last.pop(0)
        last.append(x.copy())
        return mse(W, x + np.float32(0.1) * last[0], y)

    return loss, nothing


@case
def an_array_in_a_dict_that_had_no_such_key(W):
    kept = {}

    def loss(x, y):
        kept["x"] = kept["x"] * np.float32(0.9) + x if kept else x.copy()
        return mse(W, kept["x"], y)

    return loss, nothing


@case
def changes_before_the_recording_fails(W):
    n, seen, own, rng = [0], {"sum": 0}, SimpleNamespace(n=0, last=[]), random.Random(0)
    fixed = np.random.RandomState(0)

    def loss(x, y):
        n[0] += 1
        seen["sum"] += 1
        own.n += 1
        own.last.append(own.n)
        scale = n[0] + seen["sum"] + own.n + len(own.last) + rng.random() + fixed.random_sample()
        memoryview(x)
        return mse(W, x, y) * (scale + random.random() + np.random.standard_normal())

    return loss, nothing


def _tries_an_inverse(W):
    def loss(x, y, A):
        try:
            np.linalg.cholesky(A)
            scale = 1.0
        except np.linalg.LinAlgError:
            scale = 2.0
        return mse(W, x, y) * scale

    return loss


@case
def an_inverse_that_is_only_tried(W):
    return _tries_an_inverse(W), lambda k: (np.eye(3) * (-1.0 if k == 25 else k + 1),)


@case
def an_inverse_that_fails_at_first(W):
    return _tries_an_inverse(W), lambda k: (np.eye(3) * (-1.0 if k < 20 else 1.0),)


@case
def an_index_that_is_only_tried(W):
    table = np.arange(10)

    def loss(x, y, i):
        try:
            table[i]
            scale = 1.0
        except IndexError:
            scale = 2.0
        return mse(W, x, y) * scale

    return loss, lambda k: (np.array([99 if k in (10, 11, 25) else 3]),)


@case
def floating_point_errors_that_numpy_is_told_to_raise(W):
    def loss(x, y, a):
        try:
            with np.errstate(all="raise"):
                np.log(a)
            scale = 1.0
        except FloatingPointError:
            scale = 2.0
        return mse(W, x, y) * scale

    return loss, lambda k: (np.array([1.0 if k < 20 else 0.0]),)


@case
def an_iterator_that_seldom_matters(W):
    n = itertools.count()
    return lambda x, y: mse(W, x, y) * (2.0 if next(n) % 10 == 9 else 1.0), nothing


@case
def a_generator_of_pythons_that_seldom_matters(W):
    rng = random.Random(0)
    return lambda x, y: mse(W, x, y) * (2.0 if rng.random() < 0.1 else 1.0), nothing


@case
def a_random_state_that_seldom_matters(W):
    rng = np.random.RandomState(0)
    return lambda x, y: mse(W, x, y) * (2.0 if rng.random_sample() < 0.1 else 1.0), nothing


@pytest.mark.parametrize("kind", [list, set, deque])
@pytest.mark.parametrize("grows", [True, False])
def test_a_container_that_changes_between_steps_is_seen(kind: Any, grows: bool) -> None:
    def make(W: Any) -> tuple[Any, Any]:
        marks = kind([0])

        def between(k: int) -> tuple[Any, ...]:
            if k == 20:
                if not grows:
                    marks.pop()
                getattr(marks, "append", getattr(marks, "add", None))(1)
            return ()

        return lambda x, y: mse(W, x, y) * (2.0 if 1 in marks else 1.0), between

    assert_same_bits(make)


@case
def an_object_in_the_batch_that_changes(W):
    own = Own()

    def beside(k):
        own.scale = 1.0 if k < 20 else 2.0
        return (own,)

    return lambda x, y, own: mse(W, x, y) * own.scale, beside


@case
def a_function_in_the_batch(W):
    scale = [1.0]

    def double(l):
        return l * scale[0]

    def beside(k):
        scale[0] = 1.0 if k < 20 else 2.0
        return (double,)

    return lambda x, y, f: f(mse(W, x, y)), beside


@case
def a_zero_in_the_batch_that_becomes_negative(W):
    return lambda x, y, s: mse(W, x, y) * np.copysign(1.0, s), lambda k: (0.0 if k < 20 else -0.0,)


def trained(make: Callable[[Any], tuple[Any, Any]], captured: bool) -> tuple[list[tuple[float, bytes]], Any]:
    """The loss of each step and the weights behind it; and the captured step."""
    W = param(np.random.default_rng(1).standard_normal((6, 3)).astype(np.float32))
    random.seed(0)
    np.random.seed(0)
    loss, beside = make(W)
    rng, opt, losses, seen = np.random.default_rng(0), SGD([W], 1e-3), list[float](), []
    step = capture(loss, opt)
    for k in range(STEPS):
        more = beside(k)
        batch = rng.standard_normal((12, 6), np.float32), rng.standard_normal((12, 3), np.float32), *more
        if captured:
            losses.append(step(*batch))
        else:
            train(loss, [batch], opt, cb=losses.append)
        seen.append((losses[-1], W.data.tobytes()))
    return seen, step


def assert_same_bits(make: Callable[[Any], tuple[Any, Any]]) -> Any:
    ordinary, _ = trained(make, captured=False)
    found, step = trained(make, captured=True)
    assert [repr(x) for x in found] == [repr(x) for x in ordinary]
    return step


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_captured_steps_have_the_bits_of_ordinary_ones(make: Callable[[Any], tuple[Any, Any]]) -> None:
    assert_same_bits(make)


def test_members_of_an_enum_are_told_apart_and_replayed() -> None:
    def make(W: Any) -> tuple[Any, Any]:
        modes = Mode.PLAIN, Mode.DOUBLE
        return lambda x, y, m: mse(W, x, y) * m.value, lambda k: (modes[k % 2],)

    assert assert_same_bits(make).report.replayed > STEPS / 2


def test_what_the_loss_keeps_is_plain_afterwards() -> None:
    W, kept, own = param(np.ones((6, 3))), dict[str, Any](), SimpleNamespace()
    own.log = [np.zeros(1)]

    def loss(x: Any, y: Any) -> Any:
        kept["x"], own.last = x * 2, (x + 1, 3)
        own.log.append(x - 1)
        return mse(W, x, y)

    step = capture(loss, SGD([W], 1e-3))
    step(np.ones((12, 6)), np.ones((12, 3)))
    assert [type(a) for a in (kept["x"], own.last[0], *own.log)] == [np.ndarray] * 4


def test_a_rule_that_counts_or_draws_is_refused_with_its_name() -> None:
    rng = np.random.default_rng(0)

    class Noisy(Optimiser):
        """SGD with noise."""

        η = Hyper(0.01, "learning rate", scale="log")

        def step(self, δ: Any, s: Any) -> Any:
            return self.η * (δ + rng.standard_normal(δ.shape))

    weights = []
    for captured in (False, True):
        rng = np.random.default_rng(0)
        W, draws = param(np.ones((6, 3))), np.random.default_rng(1)
        loss, opt = lambda x, y, W=W: mse(W, x, y), Noisy([W])
        step = capture(loss, opt)
        for _ in range(STEPS):
            batch = draws.standard_normal((12, 6)), draws.standard_normal((12, 3))
            if captured:
                step(*batch)
            else:
                train(loss, [batch], opt)
        weights.append(W.data.tobytes())
    assert weights[0] == weights[1]
    assert "the rule of Noisy changes" in (step.report.reason or "")


class Turning:
    """Data that changes what nothing can see before batch 45 of 60."""

    def __init__(self, between: Callable[[int], object]) -> None:
        self.between = between

    def __len__(self) -> int:
        return 60

    def __iter__(self) -> Iterator[Any]:
        rng = np.random.default_rng(0)
        for k in range(60):
            self.between(k)
            yield rng.standard_normal((12, 6)), rng.standard_normal((12, 3))


@pytest.mark.parametrize("length", [{"epochs": 1}, {"steps": 50}])
def test_the_last_step_of_a_run_is_verified(length: dict[str, int]) -> None:
    ends = []
    for captured in (False, True):
        W = param(np.random.default_rng(1).standard_normal((6, 3)))
        data = Turning(lambda k: hide(1 if k < 45 else 2))
        run = Run(lambda x, y, W=W: mse(W, x, y) * hidden(), data, SGD([W], 1e-3), capture=captured, **length)
        run.train()
        ends.append((list(run.history["loss"]), W.data.tobytes()))
    assert ends[1] == ends[0]

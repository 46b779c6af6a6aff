"""Models to be captured, and what compares a captured training with an ordinary one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

import fluxmagic
from fluxmagic import ADAM, SGD, Chain, Dense, capture, logitcrossentropy, mse, param, params, relu, train
from fluxmagic.capture.step import CapturedStep
from fluxmagic.layers import state
from fluxmagic.tracker import Param


class Problem(NamedTuple):
    """A loss, its optimiser, data, and all that training changes."""

    loss: Callable[..., Any]
    opt: Any
    data: list[Any]
    model: Any


def linear_regression(n: int = 40) -> Problem:
    rng = np.random.default_rng(0)
    W, b = param(rng.random((2, 5))), param(rng.random(2))
    batches = [(rng.random(5), rng.random(2)) for _ in range(n)]
    return Problem(lambda x, y: ((W @ x + b - y) ** 2).sum(), SGD([W, b], 0.01), batches, [W, b])


def classifier(n: int = 40, opt: Any = ADAM, *layers: Any, dtype: Any = np.float32) -> Problem:
    fluxmagic.seed(0)
    rng = np.random.default_rng(0)
    model = Chain(Dense(6, 8, relu, rng=0, dtype=dtype), *layers, Dense(8, 3, rng=1, dtype=dtype))
    batches = [(rng.random((4, 6)).astype(dtype), rng.integers(0, 3, 4)) for _ in range(n)]
    return Problem(lambda x, y: logitcrossentropy(model(x), y), opt(params(model)), batches, model)


def regression(loss: Callable[[Any, Any, Any], Any] = lambda m, x, y: mse(m(x), y), n: int = 40) -> Problem:
    """A small network; `loss` takes the model, x and y."""
    fluxmagic.seed(0)
    rng = np.random.default_rng(0)
    model = Chain(Dense(3, 4, relu, rng=0), Dense(4, 1, rng=1))
    batches = [(rng.random((5, 3)).astype("f"), rng.random((5, 1)).astype("f")) for _ in range(n)]
    return Problem(lambda x, y: loss(model, x, y), SGD(params(model), 0.05), batches, model)


def bits(problem: Problem) -> list[Any]:
    """All that training changes, to be compared."""
    found: list[Any] = []
    for x in state(problem.model):
        if isinstance(x, (Param, np.ndarray)):
            found.append((x.data if isinstance(x, Param) else x).tobytes())
        else:
            found.append(repr(x.bit_generator.state))
    d = problem.opt.state_dict()
    arrays = {k: [a.tobytes() for a in v] for k, v in d.pop("arrays").items()}
    return [*found, repr(d), arrays, fluxmagic.generators.as_generator().bit_generator.state]


def ordinary(problem: Problem) -> tuple[list[float], list[Any]]:
    losses: list[float] = []
    train(problem.loss, problem.data, problem.opt, cb=losses.append)
    return losses, bits(problem)


def captured(
    problem: Problem, between: Iterable[Callable[[], object]] = ()
) -> tuple[CapturedStep, list[float], list[Any]]:
    step = capture(problem.loss, problem.opt)
    losses = [step(*d) for d in problem.data]
    return step, losses, bits(problem)


def assert_same_bits(make: Callable[[], Problem]) -> CapturedStep:
    """Train twice, and compare; return the captured step."""
    losses, end = ordinary(make())
    step, captured_losses, captured_end = captured(make())
    assert captured_losses == losses
    assert captured_end == end
    return step

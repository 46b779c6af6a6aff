"""Small problems to race on, each with the parameters that are trained and the state that a step changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import fluxmagic
from fluxmagic import BatchNorm, Chain, Dense, Dropout, Race, batches, landscapes, mse, param, params, state, tanh

X = np.random.default_rng(0).normal(size=(22, 4)).astype(np.float32)
Y = np.sin(X[:, :1])

THREE: list[Any] = [("SGD", {"η": 0.05}), ("Momentum", {"η": 0.02}), ("ADAM", {"η": 0.01})]
VALLEY: list[Any] = [("SGD", {"η": 0.001}), *(("Momentum", {"η": 0.0002, "ρ": ρ}) for ρ in (0.9, 0.99))]


class Problem(NamedTuple):
    """What `Run` and `Race` take, and the model."""

    loss: Callable[..., Any]
    data: Any
    params: list[Any]
    model: Any

    def bits(self) -> list[bytes]:
        """Everything that training changes: parameters, running statistics, generators."""

        return [_bits(x) for x in state(self.model, self.data)]


def _bits(x: Any) -> bytes:
    if isinstance(x, np.random.Generator):
        return str(x.bit_generator.state).encode()
    return fluxmagic.tracker.data(x).tobytes()


def network(rng: Any = None) -> Problem:
    """All that makes a run hard to repeat: dropout, batch norm, shuffled batches; `rng` is the user's own generator."""
    fluxmagic.seed(7)
    m = Chain(Dense(4, 6, tanh, rng=1), BatchNorm(6), Dropout(0.3, rng=rng), Dense(6, 1, rng=2))
    return Problem(lambda x, y: mse(m(x), y), batches(X, Y, 5, rng=rng), params(m), m)


def valley() -> Problem:
    """Two numbers in Rosenbrock's valley; the loss takes no batch."""
    w = param(landscapes.rosenbrock.start)
    return Problem(lambda: landscapes.rosenbrock(w), None, [w], [w])


def race_on(problem: Problem, contestants: Any, **options: Any) -> Race:
    """Make a race of a problem."""
    return Race(problem.loss, problem.data, problem.params, contestants, **options)

"""Small runs to do things with, and what to compare of them."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

import fluxmagic
from fluxmagic import BatchNorm, Chain, Dense, Dropout, Run, batches, mse, param, params, tanh

X = np.random.default_rng(0).normal(size=(22, 4)).astype(np.float32)
Y = np.sin(X[:, :1])


def line(opt: Any = "SGD", data: Any = None, **options: Any) -> tuple[Run, Any]:
    """One parameter in float64, drawn to the data: its path is easily computed by hand."""
    W = param([4.0, -2.0])
    run = Run(lambda x: ((W - x) ** 2).sum(), [0.0, 1.0, 2.0, 3.0] if data is None else data, opt, **options)
    return run, W


def network(opt: Any = "ADAM", data: Any = None, *, rng: Any = None, **options: Any) -> tuple[Run, Chain]:
    """All that makes a run hard to repeat: dropout, batch norm, shuffling."""
    fluxmagic.seed(7)
    m = Chain(Dense(4, 6, tanh, rng=1), BatchNorm(6), Dropout(0.3, rng=rng), Dense(6, 1, rng=2))
    source = batches(X, Y, 5, rng=rng) if data is None else data
    return Run(lambda x, y: mse(m(x), y), source, opt, **{"epochs": 4, "seed": 11, **options}), m


def arrays(run: Run) -> list[bytes]:
    """The bits of weights and running statistics."""
    return [p.data.tobytes() for p in run.params] + [a.tobytes() for a in run.training.buffers]


def everything(run: Run) -> SimpleNamespace:
    """All that can be seen of a run, but for times."""
    h = run.history
    return SimpleNamespace(
        arrays=arrays(run),
        columns={k: h[k].tobytes() for k in h if k != "seconds"},
        events=run.events,
        epoch=run.epoch,
        values=run.values,
        generators=[str(g.bit_generator.state) for g in run.training.generators],
        opts={
            k: (s.state["n"], s.state["numbers"], _bits(s.state["arrays"]))
            for k, s in run.training.optimisers.states().items()
        },
        place=run.training.cursor.tell()[0],
    )


def signed(W: Any) -> Any:
    """A function in place of an optimiser: gradient descent with a rate of 0.1."""

    def sgd() -> None:
        fluxmagic.tracker.update(W, -0.1 * fluxmagic.tracker.grad(W))

    return sgd


def unsized() -> Iterator[Any]:
    """Batches without a len, drawn from the default generator."""
    rng = fluxmagic.generators.as_generator()
    for _ in range(5):
        rows = rng.integers(len(X), size=6)
        yield X[rows], Y[rows]


def fresh(m: Any) -> list[np.ndarray]:
    """Copies of a model's weights."""
    return [p.data.copy() for p in params(m)]


def _bits(kept: dict[str, list[np.ndarray]]) -> list[bytes]:
    return [a.tobytes() for arrays in kept.values() for a in arrays]

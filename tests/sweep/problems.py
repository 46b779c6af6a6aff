"""Small models to sweep over, and what to compare of a trial."""

from __future__ import annotations

from typing import Any

import numpy as np

import fluxmagic
from fluxmagic import BatchNorm, Chain, Dense, Dropout, Run, Sweep, batches, mse, param, params, tanh
from fluxmagic.layers import state

X = np.random.default_rng(0).normal(size=(22, 4)).astype(np.float32)
Y = np.sin(X[:, :1])


def network() -> Chain:
    """All that makes a run hard to repeat: dropout, batch norm, a generator of its own."""
    return Chain(Dense(4, 6, tanh, rng=1), BatchNorm(6), Dropout(0.3, rng=5), Dropout(0.1), Dense(6, 1, rng=2))


def net_sweep(grid: Any = None, **options: Any) -> tuple[Sweep, Chain]:
    """A sweep over a network, with shuffled batches."""
    fluxmagic.seed(7)
    m = network()
    grid = {"opt": ["Momentum", "ADAM"], "η": [0.01, 0.03], "ρ": [0.5, 0.9]} if grid is None else grid
    options = {"epochs": 3, "valid": (X, Y), **options}
    return Sweep(lambda x, y: mse(m(x), y), batches(X, Y, 5), params(m), grid, **options), m


def line_sweep(grid: Any, *, data: Any = (0.0, 1.0, 2.0, 3.0), **options: Any) -> tuple[Sweep, Any]:
    """A sweep over one parameter in float64: η above 1 diverges."""
    W = param([4.0, -2.0])
    return Sweep(lambda x: ((W - x) ** 2).sum(), list(data), [W], grid, **options), W


def bits(run: Run) -> tuple[list[bytes], bytes]:
    """The bits of weights, running statistics and losses of a parked or active run."""
    values, _ = run.training.current
    return [a.tobytes() for arrays in values for a in arrays], run.history["loss"].tobytes()


def everything(m: Any) -> list[bytes]:
    """The bits of all that a model has."""
    found = state(m)
    arrays = [(x.data if hasattr(x, "grad") else x).tobytes() for x in found if not isinstance(x, np.random.Generator)]
    return arrays + [str(g.bit_generator.state).encode() for g in found if isinstance(g, np.random.Generator)]

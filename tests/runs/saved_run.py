"""The problem of `data/format_*.npz`, one saved run in each version of the format.

Its loss uses only +, - and × on vectors, so that its bits depend on no processor, BLAS or mathematical library.
The files have to load and to replay for ever after.  `python -m tests.runs.saved_run PATH` writes one in the present
version.
"""

from __future__ import annotations

import sys

import numpy as np

from fluxmagic import Run, batches, param

ROWS, WIDTH, SEED = 12, 4, 7


def problem():
    """A loss, its data, and its two parameters at their start."""
    X = ((np.arange(ROWS * WIDTH) * 37 % 101).reshape(ROWS, WIDTH) - 50) / 64
    T = 0.75 * X + 0.25
    W, b = param(np.full(WIDTH, 0.125)), param(np.zeros(WIDTH))

    def loss(x, t):
        d = W * x[0] + b - t[0]
        e = d * d
        return e[0] + e[1] + e[2] + e[3]

    return loss, batches(X, T, 1), [W, b]


def trained():
    """The run: three optimisers, dials turned in each of them, and an end in mid-epoch."""
    loss, data, params = problem()
    run = Run(loss, data, "Momentum", hypers={"η": 0.02}, epochs=4, seed=SEED, name="saved")
    run.step(7)
    run.set(η=0.03, ρ=0.8)
    run.step(9)
    run.swap("ADAM", η=0.01)
    run.step(6)
    run.set(β1=0.8)
    run.step(5)
    run.swap("SGD", η=0.05)
    run.step(3)
    run.swap("Momentum")
    run.step(5)
    return run, params


if __name__ == "__main__":
    trained()[0].save(sys.argv[1])

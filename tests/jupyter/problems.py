"""Small runs for the tests of pictures, panels and drivers."""

from __future__ import annotations

import numpy as np

from fluxmagic import SGD, Run, param


def quadratic(make_opt=lambda params: SGD(params, 0.1), *, n=10, epochs=2, **options):
    """Make a run of `n` steps an epoch; with SGD, its loss shrinks by a constant factor a step."""
    W = param(np.ones(3))
    return Run(lambda x: ((W - x) ** 2).sum(), [np.zeros(3)] * n, make_opt([W]), epochs=epochs, **options)


def recorded(*losses, **options):
    """Make a run that was trained and had these losses."""
    W = param(np.ones(1))
    run = Run(lambda x: (W * 0).sum() + x, list(losses), SGD([W], 0.1), **options)
    run.train()
    return run

"""The library itself: ordinary steps, captured ones, and those with the extra `fast`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np

from tests.bench.cases import Case

Block = Callable[..., None]
"""`block(k)` takes k steps; `block(k, losses)` also appends the k losses, as floats, to a list."""


def network(case: Case) -> Any:
    """The case's layers, in fluxmagic."""
    import fluxmagic as fm

    σs = [getattr(fm, case.activation)] * (len(case.pairs) - 1) + [fm.identity]
    dense = [fm.Dense(i, o, σ, dtype=case.dtype) for (i, o), σ in zip(case.pairs, σs)]
    fm.loadparams(dense, [p for layer in case.weights for p in layer])
    first, *others = dense
    width = case.widths[1]
    if case.kind == "layernorm":
        others.insert(0, fm.LayerNorm(width, dtype=case.dtype))
    elif case.kind == "batchnorm":
        others.insert(0, fm.BatchNorm(width, first.σ, dtype=case.dtype))
        first.σ = fm.identity
    if case.dropout:
        others.insert(1, fm.Dropout(case.dropout, rng=0))
    return fm.Chain(first, *others)


def _ours(case: Case) -> tuple[Callable[..., Any], list[Any]]:
    """The loss and the parameters, in fluxmagic."""
    import fluxmagic as fm

    if case.linear:
        W, b = ps = [*map(fm.param, case.weights[0])]

        def loss(x: Any, y: Any) -> Any:
            return ((W @ x + b - y) ** 2).sum()
    elif case.kind == "operators":
        W1, b1, W2, b2 = ps = [fm.param(p.T) for layer in case.weights for p in layer]

        def loss(x: Any, y: Any) -> Any:
            return ((np.tanh(x @ W1 + b1) @ W2 + b2 - y) ** 2).mean()
    else:
        model = network(case)
        ps = fm.params(model)

        def loss(x: Any, y: Any) -> Any:
            return fm.logitcrossentropy(model(x), y)

    return loss, ps


def fluxmagic(case: Case) -> Block:
    """The library as a user has it: `train`, with all its checks."""
    import fluxmagic as fm

    loss, ps = _ours(case)
    opt = getattr(fm, case.optimiser)(ps, case.η)

    def block(k: int, losses: list[float] | None = None) -> None:
        fm.train(loss, [case.data] * k, opt, cb=None if losses is None else losses.append)

    return block


WARM = 300
"""Steps until all is recorded, verified twice and compiled."""


def fast(case: Case) -> Block:
    """Captured steps with the extra `fast`."""
    import fluxmagic as fm

    loss, ps = _ours(case)
    opt = getattr(fm, case.optimiser)(ps, case.η)
    step = fm.capture(loss, opt)

    def block(k: int, losses: list[float] | None = None) -> None:
        x, y = case.data
        for _ in range(k):
            l = step(x, y)
            if losses is not None:
                losses.append(l)

    if case.η < 1e-6:  # the timed one: its weights stay
        block(WARM)
        if not step.report.replayed:
            raise RuntimeError(f"{case.name} is not captured: {step.report.reason}")
    return block


def captured(case: Case) -> Block:
    """Captured steps with NumPy alone."""
    from fluxmagic.capture import machine_code

    def block(k: int, losses: list[float] | None = None) -> None:
        with mock.patch.object(machine_code, "has_compiler", return_value=False):
            steps(k, losses)

    with mock.patch.object(machine_code, "has_compiler", return_value=False):
        steps = fast(case)
    return block

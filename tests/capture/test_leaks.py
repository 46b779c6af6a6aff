"""Losses that reach beyond batch and parameters are refused with a reason, or right throughout."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fluxmagic import SGD, NotFinite, Run, capture, param, train
from tests.capture import kinds  # noqa: F401 - it adds to LEAKS
from tests.capture.leaks import LEAKS, UNSEEN, Leak

STEPS = 40


def data(between: Any, steps: int = STEPS) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches; before each one what lies elsewhere changes."""
    rng = np.random.default_rng(0)
    for k in range(steps):
        between(k)
        n = 6 if k % 9 == 8 else 12
        yield rng.standard_normal((n, 6), np.float32), rng.standard_normal((n, 3), np.float32)


def made(leak: Leak) -> tuple[Any, Any, Any, SGD]:
    """A parameter, the loss, what happens between steps, and an optimiser."""
    random.seed(0)
    np.random.seed(0)
    W = param(np.random.default_rng(1).standard_normal((6, 3)).astype(np.float32))
    loss, between = leak.make(W)
    return W, loss, between, SGD([W], 1e-3)


def trained(leak: Leak, captured: bool, steps: int = STEPS) -> tuple[list[tuple[float, bytes]], Any]:
    """The loss of each step and the weights behind it; and the captured step."""
    W, loss, between, opt = made(leak)
    step, seen, losses = capture(loss, opt), [], []
    for batch in data(between, steps):
        try:
            if captured:
                losses.append(step(*batch))
            else:
                train(loss, [batch], opt, cb=losses.append)
        except NotFinite as error:  # of a loss that grows without end
            seen.append((error.loss, W.data.tobytes()))
            break
        seen.append((losses[-1], W.data.tobytes()))
    return seen, step


def first_difference(a: list[Any], b: list[Any]) -> int | None:
    return next((k for k, (x, y) in enumerate(zip(a, b, strict=True), 1) if repr(x) != repr(y)), None)


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.name)
def test_what_leaks_is_refused_with_a_reason_or_right_throughout(leak: Leak) -> None:
    ordinary, _ = trained(leak, captured=False)
    found, step = trained(leak, captured=True)
    assert first_difference(found, ordinary) is None
    report = step.report
    if leak.reason is not None:
        assert report.replayed == 0
        assert report.reason
        assert leak.reason in report.reason
    if report.reason is not None and "reads by" in leak.name:
        assert re.search(r"line \d+ of \w+\.py", report.reason), report.reason


@pytest.mark.parametrize("leak", UNSEEN, ids=lambda leak: leak.name)
def test_a_run_keeps_no_wrong_weight_of_what_nothing_can_see(leak: Leak) -> None:
    histories = []
    for captured in (False, True):
        W, loss, between, opt = made(leak)
        run = Run(loss, lambda between=between: data(between, 300), opt, capture=captured)
        run.train()
        histories.append((list(run.history["loss"]), W.data.tobytes()))
    assert histories[1] == histories[0]


@pytest.mark.parametrize("leak", UNSEEN, ids=lambda leak: leak.name)
def test_train_warns_of_what_nothing_can_see_and_goes_on_with_ordinary_steps(leak: Leak) -> None:
    W, loss, between, opt = made(leak)
    with pytest.warns(RuntimeWarning, match="step"):
        train(loss, data(between, 300), opt, capture=True)
    assert np.isfinite(W.data).all()
    with pytest.warns(RuntimeWarning, match="differ"):
        _, step = trained(leak, captured=True, steps=300)
    assert "differ" in step.report.reason


def long() -> None:
    """Try every leak for 600 steps; print what came of it."""
    for leak in LEAKS:
        ordinary, _ = trained(leak, captured=False, steps=600)
        found, step = trained(leak, captured=True, steps=600)
        wrong = first_difference(found, ordinary)
        assert wrong is None, f"{leak.name}: wrong from step {wrong}"
        print(f"{leak.name:50} {step.report}")

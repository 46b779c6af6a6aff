"""A run in words."""

from __future__ import annotations

import numpy as np
import pytest

from fluxmagic import SGD, Run, param
from fluxmagic.jupyter.formatting import format_number, progress, summary
from tests.jupyter.problems import quadratic


def test_the_loss_that_is_shown_is_an_epochs_mean():
    W = param(0.0)
    run = Run(lambda x: W * 0 + x.sum(), [np.array([v]) for v in (3.0, 2.0, 1.0)], SGD([W], 0.1), epochs=3)
    assert "loss" not in progress(run)
    run.step(2)
    assert "loss 2.5 so far" in progress(run)
    assert "\nloss 2.5 so far" in summary(run)
    run.step(3)
    assert "loss 2 ·" in progress(run)
    assert "\nloss 2\n" in summary(run) + "\n"
    run.train()
    assert "loss 2 → 2, best 2 (epoch 1)" in summary(run)
    assert not any("loss 1 " in f(run) for f in (progress, summary))


def test_a_summary_has_the_numbers_of_the_epoch_whose_weights_were_kept():
    W = param(np.ones(1))
    X = np.array([[3.0], [2.0]])
    run = Run(
        lambda x: ((W - x) ** 2).mean(),
        [X],
        SGD([W], 0.9),
        epochs=50,
        valid=X * 0.5,
        patience=3,
        metrics={"w": lambda x: W.data[0]},
    )
    run.train()
    checks = dict(run.record.evaluations)
    kept = checks[run.best.step]
    told = summary(run)
    assert f"stopped in epoch {run.best.epoch + 3} of 50 by patience" in told
    assert f"best valid {kept['valid']:.4g} (epoch {run.best.epoch})" in told
    assert f"the weights are those of epoch {run.best.epoch}: loss" in told
    assert f"valid {kept['valid']:.4g}, w {kept['w']:.4g}" in told
    assert float(W.data[0]) == pytest.approx(kept["w"])


def test_a_validation_loss_of_an_earlier_epoch_is_marked_as_such():
    W = param(np.ones(1))
    X = np.array([[3.0], [2.0]])
    run = Run(lambda x: ((W - x) ** 2).mean(), [X], SGD([W], 0.1), epochs=2, valid=X * 0.5)
    run.train()
    last = f"valid {run.last_evaluation['valid']:.4g}"
    assert summary(run).endswith(last)
    run.valid, run.epochs = None, 4
    run.train()
    assert summary(run).endswith(f"{last} (epoch 2)")


def test_minus_zero_is_zero():
    assert format_number(-0.0) == "0"


def test_a_gesture_is_one_line_of_the_summary_and_long_lists_are_cut_in_the_middle():
    run = quadratic(n=400, epochs=1)
    run.step(10)
    for k in range(15):  # a drag
        run.step()
        run.set(η=0.02 + k / 1000)
    for k in range(30):
        run.step(11)
        run.set(η=0.05 + k / 1000)
    run.train()
    turns = [line for line in summary(run).splitlines() if "step " in line and "η" in line]
    assert turns[0] == "step 11: η 0.1 → 0.034"
    assert turns[-1] == "step 355: η 0.078 → 0.079"
    assert len(turns) == 9
    assert "… 22 more turns …" in summary(run)

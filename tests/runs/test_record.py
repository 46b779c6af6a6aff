"""What a run shows of its losses: means over rows, the best epoch, and what `until` may ask for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fluxmagic import NotFinite, Run, batches, param
from fluxmagic.runs.record import count_rows
from tests.runs.problems import X, Y, line, network


def weighted(**options):
    """A loss that is the mean of what each batch holds: two rows of 1 and one of 4."""
    W = param(0.0)
    data = [(np.array([1.0, 1.0]),), (np.array([4.0]),)]
    return Run(lambda x: W * 0 + x.mean(), data, "SGD", **options)


def test_the_loss_shown_is_the_mean_over_the_rows_of_the_epoch():
    run = weighted(epochs=3)
    assert math.isnan(run.shown_loss)
    run.step()
    assert (run.shown_loss, run.so_far) == (1.0, True)
    run.step()
    assert (run.shown_loss, run.so_far) == (2.0, False)
    run.step()
    assert (run.shown_loss, run.last_loss) == (2.0, 1.0)
    run.train()
    assert run.epoch_losses.tolist() == [2.0, 2.0, 2.0]


def test_a_mean_loss_leaves_out_losses_that_are_not_finite():
    W = param(0.0)
    run = Run(lambda x: W * 0 + x, [1.0, math.nan, 3.0], "SGD")
    with pytest.raises(NotFinite):
        run.train()
    assert run.shown_loss == 1.0
    run.train()
    assert run.shown_loss == 2.0


def test_the_best_epoch_is_that_of_the_smallest_validation_loss():
    valid = iter([9.0, 5.0, 3.0, 4.0])  # the first is tried before the first step
    W = param(1.0)
    run = Run(lambda x: W * x, [1.0, 2.0], "SGD", epochs=3, valid=[np.ones(1)], metrics={"m": lambda x: 7.0})
    loss = run.loss
    run.loss = lambda x: next(valid) if np.ndim(x) else loss(x)
    run.step()
    assert run.best is None
    run.train()
    assert run.best == ("valid", 3.0, 2, 4)
    assert run.epoch_values == {"loss": run.epoch_losses[-1], "valid": 4.0, "m": 7.0, "epoch": 3, "step": 6}
    run.rewind(2)
    assert run.best == ("valid", 5.0, 1, 2)


def test_without_validation_the_best_epoch_is_that_of_the_smallest_mean():
    run, _ = line(epochs=5)
    run.train()
    losses = run.history["loss"].reshape(5, 4).mean(1)
    np.testing.assert_allclose(run.epoch_losses, losses)
    assert run.best == ("loss", run.epoch_losses.min(), losses.argmin() + 1, 4 * (losses.argmin() + 1))


def test_means_do_not_depend_on_who_looks():
    calm, _ = network()
    calm.train()
    watched, _ = network()
    watched.train(cb=lambda: watched.shown_loss)
    assert watched.epoch_losses.tolist() == calm.epoch_losses.tolist()


def test_means_are_there_after_a_rewind_a_replay_and_a_load(tmp_path):
    run, _ = network(epochs=3)
    run.train()
    means, best = run.epoch_losses, run.best
    run.replay()
    assert run.epoch_losses.tolist() == means.tolist()
    run.save(tmp_path / "run.npz")
    loaded = Run.load(tmp_path / "run.npz", run.loss, batches(X, Y, 5), run.params)
    assert (loaded.epoch_losses.tolist(), loaded.best) == (means.tolist(), best)
    run.rewind(7)
    run.train()
    assert (run.epoch_losses.tolist(), run.best) == (means.tolist(), best)


@pytest.mark.parametrize(
    ("d", "rows"),
    [
        (X, 22),
        ((X, Y), 22),
        (((X, Y),), 22),
        ((3, X), 22),
        ([X, Y], 22),
        (([1.0, 2.0],), 2),
        (1.0, 1),
        ((), 1),
        ((1.0, 2.0), 1),
        ("text", 1),
        (({"x": X},), 22),
        ((param(X),), 22),
        (slice(20, 32), 12),
        ((0, slice(20, 32, 2)), 6),
        ((range(5),), 5),
        (slice(20, None), 1),
        (slice(-5, -1), 1),
    ],
    ids=lambda x: None if isinstance(x, int) else "batch",
)
def test_the_rows_of_a_batch(d, rows):
    assert count_rows(d) == rows

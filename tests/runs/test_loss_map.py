"""The loss over two numbers: exact values, coarse levels first, and nothing that a run depends on is changed."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import fluxmagic
from fluxmagic import SGD, Chain, Dense, Dropout, Run, batches, landscapes, mse, param, params
from fluxmagic.runs.loss_map import LossMap, find_landscape, trains_two_numbers
from tests.runs.problems import everything


class Ticks:
    """A clock that goes on by a fixed time whenever it is read."""

    def __init__(self, seconds):
        self.now, self.seconds = 0.0, seconds

    def __call__(self):
        self.now += self.seconds
        return self.now


def rosenbrock(start=(-1.2, 1.0), **options):
    w = param(list(start))
    return Run(lambda: landscapes.rosenbrock(w), None, SGD([w], 0.001), **{"steps": 50, **options}), w


def regression():
    """Two numbers, shuffled batches, dropout: all that a careless evaluation would disturb."""
    fluxmagic.seed(3)
    X = np.random.default_rng(0).normal(size=(12, 1))
    m = Chain(Dense(1, 1, rng=1), Dropout(0.5))
    return Run(lambda x, y: mse(m(x), y), batches(X, 2 * X - 1, 5), SGD(params(m), 0.1), epochs=3, seed=4, model=m), X


def finished(run, points):
    losses = LossMap(run)
    losses.hold(points)
    losses.finish()
    return losses


def test_the_grid_has_the_losses_at_its_points():
    run, w = rosenbrock()
    x, y, z = finished(run, w.data).grid
    assert (x[0], x[-1], y[0], y[-1]) == (-2.0, 2.0, -1.0, 3.0)  # the landscape's own view
    points = np.stack(np.broadcast_arrays(x, y[:, None]), -1)
    np.testing.assert_allclose(z, landscapes.rosenbrock(points))
    assert w.data.tolist() == [-1.2, 1.0]


def test_levels_come_coarse_first_and_one_slice_evaluates_a_point_at_least():
    run, w = rosenbrock()
    losses = LossMap(run, Ticks(1e-9))
    losses.hold(w.data)
    sizes = []
    slices = 0
    while not losses.is_done:
        if losses.advance(0.0):
            sizes.append(losses.grid.z.shape)
        slices += 1
    assert sizes == [(11, 11), (21, 21), (41, 41)]
    assert slices == 41 * 41
    assert not losses.advance(1.0)


def test_where_an_evaluation_is_slow_the_grid_is_rough():
    run, w = rosenbrock()
    losses = LossMap(run, Ticks(0.006))
    losses.hold(w.data)
    losses.finish()
    assert losses.grid.z.shape == (15, 15)


@pytest.mark.parametrize("steps", [0, 4])
def test_nothing_that_the_run_depends_on_is_changed(steps):
    calm, _ = regression()
    calm.train()
    run, _ = regression()
    run.step(steps)
    finished(run, [[-1.0, 1.0]])
    run.train()
    assert everything(run) == everything(calm)


def test_the_batch_is_the_first_of_the_first_epoch_in_test_mode_before_and_after_it_was_drawn():
    run, X = regression()
    before = finished(run, [[0.0, 0.0]])
    run.step(5)
    after = finished(run, [[0.0, 0.0]])
    assert before.rows == after.rows == 5
    np.testing.assert_array_equal(before.grid.z, after.grid.z)
    first = np.random.default_rng(4)
    fluxmagic.seed(3)
    order = first.permutation(12)[:5]
    x, y, z = after.grid
    line = X[order, 0]
    expected = np.mean((line * x[3] + y[7] - (2 * line - 1)) ** 2)
    assert z[7, 3] == pytest.approx(expected, rel=1e-4)


def test_points_that_raise_or_are_not_finite_are_blank():
    w = param([1.0, 1.0])

    def loss():
        if float(w[0]) < 0:
            raise ValueError("no logarithm")
        return w[0] * np.log(w[1])

    with np.errstate(all="ignore"):
        x, y, z = finished(Run(loss, None, SGD([w], 0.1), steps=1), w.data).grid
    np.testing.assert_array_equal(np.isfinite(z), (x >= 0) & (y[:, None] > 0))


def test_prints_and_warnings_of_the_loss_are_dropped(capsys):
    w = param([1.0, 1.0])

    def loss():
        print("seen")
        print("seen", file=sys.stderr)
        return (w**2).sum() + np.log(np.float64(-1.0)) * 0

    finished(Run(loss, None, SGD([w], 0.1), steps=1), w.data)
    assert capsys.readouterr() == ("", "")


def test_two_parameters_of_one_number_are_the_two_axes():
    a, b = param(3.0), param([0.5])
    run = Run(lambda: a**2 + 10 * b.sum(), None, SGD([a, b], 0.1), steps=1)
    x, y, z = finished(run, [[3.0, 0.5]]).grid
    np.testing.assert_allclose(z, x**2 + 10 * y[:, None])


def test_the_view_is_computed_anew_only_when_a_point_leaves_it():
    run, w = rosenbrock()
    losses = finished(run, w.data)
    grid = losses.grid
    losses.hold([[1.9, 2.9], [-2.0, 3.0]])
    assert losses.grid is grid
    losses.hold([[2.5, 0.0]])
    assert not losses.is_done
    (x, right), (y, top) = losses.view
    assert (x, y, top) == (-2.0, -1.0, 3.0)
    assert right > 2.5


def test_a_ball_that_flies_off_is_not_followed_for_ever():
    run, w = rosenbrock()
    losses = finished(run, w.data)
    losses.hold([[1e30, np.inf]])
    losses.hold([[1e30, -1e300]])
    (_, right), (bottom, _) = losses.view
    assert right < 1000
    assert bottom > -1000
    losses.finish()
    losses.hold([[1e31, -1e300]])
    assert losses.is_done


def test_without_a_landscape_the_view_holds_the_start_and_the_origin():
    w = param([4.0, -1.0])
    losses = finished(Run(lambda: (w**2).sum(), None, SGD([w], 0.1), steps=1), w.data)
    (x, right), (y, top) = losses.view
    assert x < 0 < 4 < right
    assert y < -1 < 0 < top


def test_a_landscape_is_found_through_names_modules_and_functions():
    w = param([0.0, 0.0])
    bowl = landscapes.quadratic(20)

    def helper():
        return bowl(w)

    def through_another():
        return helper() * 2

    assert find_landscape(rosenbrock()[0]) is landscapes.rosenbrock
    assert find_landscape(Run(through_another, None, SGD([w], 0.1), steps=1)) is bowl
    assert find_landscape(Run(lambda: (w**2).sum(), None, SGD([w], 0.1), steps=1)) is None


def test_only_exactly_two_numbers_have_a_map():
    for shape, expected in (((2,), True), ((2, 1), True), ((3,), False), ((), False)):
        w = param(np.zeros(shape))
        assert trains_two_numbers(Run(lambda w=w: w.sum(), None, SGD([w], 0.1), steps=1)) == expected


def test_data_that_gives_no_batch_has_no_map():
    w = param([1.0, 1.0])
    run = Run(lambda x: (w * x).sum(), (x for x in [1.0]), SGD([w], 0.1))
    losses = LossMap(run)
    losses.hold(w.data)
    assert not losses.advance(1.0)
    losses.finish()
    assert losses.is_done
    assert losses.grid is None
    assert w.data.tolist() == [1.0, 1.0]
    run.step()
    assert losses.advance(1.0)
    assert losses.grid is not None


def test_data_that_raises_or_is_empty_has_no_map():
    w = param([1.0, 1.0])
    for data in (lambda: 1 / 0, list):
        losses = LossMap(Run(lambda x: (w * x).sum(), data, SGD([w], 0.1)))
        losses.hold(w.data)
        assert not losses.advance(1.0)
        assert losses.is_done


@pytest.mark.parametrize("steps", [0, 1])
def test_nothing_is_taken_of_an_iterator_that_a_function_gives_each_time(steps):
    w = param([1.0, 1.0])
    taken = []
    stored = (taken.append(i) or float(i) for i in range(1, 5))
    run = Run(lambda x: (w * x).sum(), lambda: stored, SGD([w], 0.1))
    run.step(steps)
    losses = LossMap(run)
    losses.hold(w.data)
    losses.finish()
    assert taken == list(range(1, 1 + steps))
    run.train()
    assert taken == [1, 2, 3, 4]


# -- the path, and another start ----------------------------------------------------------------------


def test_the_path_has_the_start_and_each_step():
    run, w = rosenbrock()
    assert run.path is None
    seen = [w.data.copy()]
    for _ in range(5):
        run.step()
        seen.append(w.data.copy())
    np.testing.assert_array_equal(run.path, seen)
    run.rewind(2)
    np.testing.assert_array_equal(run.path, seen[:3])
    run.undo()
    np.testing.assert_array_equal(run.path, seen)
    branch = run.branch("b")
    np.testing.assert_array_equal(branch.path, seen)
    w3 = param(np.ones(3))
    other = Run(lambda: (w3**2).sum(), None, SGD([w3], 0.1), steps=2)
    other.train()
    assert other.path is None


def test_a_restart_at_another_start_is_the_runs_new_start(tmp_path):
    run, w = rosenbrock()
    run.step(10)
    run.set(η=0.0005)
    run.restart([0.5, -0.5])
    assert w.data.tolist() == [0.5, -0.5]
    assert (run.steps, run.path.tolist()) == (0, [[0.5, -0.5]])
    assert run.events == [(0, "η", 0.001, 0.0005)]
    run.step(7)
    alone, _ = rosenbrock((0.5, -0.5))
    alone.set(η=0.0005)
    alone.step(7)
    assert run.history["loss"].tolist() == alone.history["loss"].tolist()
    end = everything(run)
    run.replay()
    assert everything(run) == end
    run.rewind(0)
    assert w.data.tolist() == [0.5, -0.5]
    run.undo()
    run.save(tmp_path / "run.npz")
    fresh = param([9.0, 9.0])
    loaded = Run.load(tmp_path / "run.npz", lambda: landscapes.rosenbrock(fresh), None, [fresh])
    loaded.replay()
    np.testing.assert_array_equal(fresh.data, w.data)


def test_undo_of_such_a_restart_has_the_old_start_too():
    run, w = rosenbrock()
    run.step(10)
    left = everything(run)
    run.restart([0.5, -0.5])
    run.step(3)
    run.undo()
    assert everything(run) == left
    run.replay()
    run.rewind(0)
    assert w.data.tolist() == [-1.2, 1.0]
    run.undo()
    run.undo()
    run.rewind(0)
    assert w.data.tolist() == [-1.2, 1.0]  # the last line that was left is kept for undo


def test_before_the_first_step_a_start_is_assigned():
    run, _ = rosenbrock()
    run.restart([0.25, 0.75])
    run.step()
    assert run.path[0].tolist() == [0.25, 0.75]


@pytest.mark.parametrize("start", [[1.0], [1.0, 2.0, 3.0], [np.nan, 0.0], [np.inf, 1.0]])
def test_a_start_that_does_not_fit_is_refused_and_nothing_changes(start):
    run, _ = rosenbrock()
    run.step(3)
    before = everything(run)
    with pytest.raises(ValueError, match="the 2 finite numbers that are trained"):
        run.restart(start)
    assert everything(run) == before

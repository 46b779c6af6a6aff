"""The plane through a run's path: what lies on it, and what the loss is there."""

import numpy as np
import pytest

from fluxmagic import SGD, Dense, Run, landscapes, mse, param
from fluxmagic.race.plane import ROWS, Plane
from tests.race.problems import THREE, VALLEY, network, race_on, valley

A = np.diag([1.0, 2.0, 3.0, 5.0, 8.0, 13.0]) + 0.3


def bowl(steps=60, η=0.02, dtype=np.float64, **options):
    """A quadratic of six numbers in two parameters."""
    a, b = param(np.ones(2, dtype)), param(np.full((2, 2), 2, dtype))

    def loss():
        w = np.concatenate([a, b.reshape(4)])
        return (w * (A.astype(dtype) @ w)).sum() / 2

    run = Run(loss, None, SGD([a, b], η), steps=steps, **options)
    run.train()
    return run


def exact(plane, x, y):
    w = np.concatenate([value.ravel() for value in plane.point(x, y)])
    return w @ A @ w / 2


def snapshots(run):
    """The weights of all snapshots and of the end, flat."""
    values = {s.step: s.values.params for s in run.snapshots} | {run.steps: [p.data for p in run.params]}
    return np.array([np.concatenate([np.ravel(v) for v in values[step]]) for step in sorted(values)])


def test_on_a_quadratic_the_loss_on_the_plane_is_the_exact_one():
    plane = bowl().landscape()
    assert plane.z.shape == (41, 41)
    expected = [[exact(plane, x, y) for x in plane.x] for y in plane.y]
    np.testing.assert_allclose(plane.z, expected, rtol=1e-12)


def test_the_axes_are_the_first_principal_components_and_the_variance_is_what_they_explain():
    run = bowl()
    plane = run.landscape(points=3)
    axes = np.array([np.concatenate([part.ravel() for part in axis]) for axis in plane.axes])
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-12)
    path = snapshots(run)
    _, singular, components = np.linalg.svd(path - path.mean(0))
    np.testing.assert_allclose(np.abs(np.sum(axes * components[:2], 1)), 1, rtol=1e-6)
    assert plane.explained == pytest.approx((singular[:2] ** 2).sum() / (singular**2).sum(), rel=1e-12)
    assert 0.9 < plane.explained < 1


def test_the_largest_error_is_that_between_the_plane_and_the_path():
    run = bowl()
    plane = run.landscape(points=3)
    real = np.array([w @ A @ w / 2 for w in snapshots(run)])
    near = np.array([exact(plane, *xy) for xy in plane.paths[0].points])
    assert plane.largest_error == pytest.approx(np.abs(real - near).max(), rel=1e-9)
    assert plane.largest_error > 1e-4


def test_a_path_of_two_numbers_lies_in_its_plane():
    w = param(landscapes.beale.start)
    run = Run(lambda: landscapes.beale(w), None, SGD([w], 0.01), steps=50)
    run.train()
    plane = run.landscape()
    assert plane.explained == pytest.approx(1)
    assert plane.largest_error < 1e-12
    for xy, z in zip(np.stack(np.meshgrid(plane.x, plane.y), -1).reshape(-1, 2), plane.z.ravel(), strict=True):
        assert z == pytest.approx(float(landscapes.beale(plane.point(*xy)[0])), rel=1e-12)


def test_the_paths_go_from_the_start_to_the_end_and_lie_in_view():
    run = bowl()
    (path,) = run.landscape(points=3).paths
    assert path.steps == sorted({s.step for s in run.snapshots} | {60})
    assert (path.steps[0], path.steps[-1]) == (0, 60)
    ends = path.points[-1] - path.points[0]
    assert (ends >= 0).all()
    plane = run.landscape(points=3)
    for axis, k in ((plane.x, 0), (plane.y, 1)):
        assert axis[0] < path.points[:, k].min()
        assert axis[-1] > path.points[:, k].max()


def test_branches_lie_on_the_same_plane():
    run = bowl()
    run.rewind(20)
    branch = run.branch("steeper", η=0.05)
    branch.train()
    run.train()
    plane = run.landscape(branch, points=3)
    assert [path.name for path in plane.paths] == ["run", "steeper"]
    np.testing.assert_allclose(plane.paths[0].points[0], plane.paths[1].points[0])
    assert np.abs(plane.paths[0].points[-1] - plane.paths[1].points[-1]).max() > 1e-3
    np.testing.assert_allclose(plane.paths[0].points, run.landscape(points=3).paths[0].points)


def test_a_straight_path_has_a_plane_too():
    W = param(np.ones(3))
    run = Run(lambda: W.sum(), None, SGD([W], 0.1), steps=9)
    run.train()
    plane = run.landscape(points=5)
    assert plane.explained == pytest.approx(1)
    assert np.isfinite(plane.z).all()
    np.testing.assert_allclose(plane.z, plane.z[:1] + np.zeros((5, 1)) + (plane.z[:, :1] - plane.z[0, 0]), atol=1e-9)


@pytest.mark.parametrize("when", ["active", "parked"])
def test_nothing_that_training_depends_on_changes(when):
    problem = network()
    race = race_on(problem, THREE, epochs=3, seed=2)
    race.train()
    if when == "active":
        race["ADAM"].take()
    before = problem.bits(), [run.training.capture().values for run in race]
    plane = race["ADAM"].landscape(race[0], race[1], points=5)
    assert [path.name for path in plane.paths] == ["ADAM", "SGD", "Momentum"]
    assert problem.bits() == before[0]
    for run, values in zip(race, before[1], strict=True):
        for pairs, others in zip(run.training.capture().values, values, strict=True):
            assert [a.tobytes() for a in pairs] == [a.tobytes() for a in others]
    calm = race_on(network(), THREE, epochs=6, seed=2)
    calm.train()
    race.extend()
    race.train()
    assert [run.history["loss"].tolist() for run in race] == [run.history["loss"].tolist() for run in calm]


def test_the_loss_is_that_of_the_first_batches_in_test_mode():
    problem = network()
    run = Run(problem.loss, problem.data, "SGD", epochs=2, seed=4)
    run.train()
    plane = run.landscape(points=2)
    assert plane.rows == 22 < ROWS
    m = problem.model
    X, Y = problem.data.arrays
    for p, value in zip(run.params, plane.point(plane.x[0], plane.y[1]), strict=True):
        p.data = value
    from fluxmagic import testmode

    with testmode(m):
        assert plane.z[1, 0] == pytest.approx(float(mse(m(X), Y)), rel=1e-5)


def test_a_parameter_in_float32_gives_the_loss_in_float32():
    assert bowl(dtype=np.float32).landscape(points=3).largest_error > 0


def test_a_loss_that_raises_or_is_not_finite_leaves_a_blank():
    w = param([3.0, 0.5])

    def loss():
        if w.data[0] > 3.2:
            raise ValueError("out of range")
        return (w * w).sum() - np.log(w[1])

    run = Run(loss, None, SGD([w], 0.1), steps=12)
    run.train()
    z = run.landscape().z
    assert np.isnan(z).any()
    assert np.isfinite(z).any()


def test_a_slow_loss_has_fewer_points():
    import time

    w = param([1.0, 2.0])
    run = Run(lambda: time.sleep(0.006) or (w * w).sum(), None, SGD([w], 0.1), steps=2)
    run.train()
    assert run.landscape().z.shape == (15, 15)


def test_what_has_no_plane_is_refused():
    race = race_on(valley(), VALLEY, steps=3)
    with pytest.raises(ValueError, match="has not taken a step yet: it has no path"):
        race[0].landscape()
    race.train()
    back = bowl()
    back.rewind(0)
    with pytest.raises(ValueError, match="has not taken a step yet: it has no path"):
        back.landscape()
    other = bowl()
    with pytest.raises(ValueError, match="trains other parameters than"):
        race[0].landscape(other)
    with pytest.raises(TypeError, match="landscape takes runs, not a str"):
        race[0].landscape("SGD")
    with pytest.raises(ValueError, match="points is 2 or more, not 1"):
        race[0].landscape(points=1)
    W = param(1.0)
    line = Run(lambda: W * W, None, SGD([W], 0.1), steps=3)
    line.train()
    with pytest.raises(ValueError, match="only one number is trained"):
        line.landscape()


def test_it_says_in_words_what_it_shows():
    plane = bowl().landscape(points=3)
    assert isinstance(plane, Plane)
    assert repr(plane).startswith("Plane(run: 9")
    assert "% of the path's variance, largest error " in repr(plane)
    assert "first two principal components" in Run.landscape.__doc__


def test_data_that_can_be_gone_through_once_gives_its_latest_batch():
    m = Dense(2, 1, rng=0)
    X = np.random.default_rng(0).normal(size=(6, 4, 2)).astype(np.float32)
    run = Run(lambda x: mse(m(x), x[:, :1]), iter(X), "SGD", model=m)
    run.train()
    assert run.landscape(points=2).rows == 4

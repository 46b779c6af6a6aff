"""The view of two numbers: contours of the loss, the path, the ball; one run or several."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from fluxmagic import SGD, NotFinite, Run, batches, landscapes, param
from fluxmagic.jupyter.pictures import axes, loss_picture
from fluxmagic.jupyter.pictures.contours import MOST, Contours, PathSeries, Surface, Trail, refine
from fluxmagic.jupyter.pictures.plot import Curve
from fluxmagic.runs.loss_map import LossMap
from tests.jupyter.pictures import pixels
from tests.jupyter.problems import quadratic


def rosenbrock(opt="SGD", η=0.001, **options):
    w = param([-1.2, 1.0])
    return Run(lambda: landscapes.rosenbrock(w), None, opt, η=η, **{"steps": 100, **options}), w


def map_axes(curve):
    return curve.figure.axes[1]


def moving(ax):
    """Give the data of path, start and ball of the first trail."""
    return [np.transpose(line.get_data()) for line in ax.lines if line.get_zorder() in (3, 4, 5)][:3]


def test_the_path_is_drawn_with_a_ball_at_its_end():
    run, _ = rosenbrock()
    curve = Curve(run)
    run.step(30)
    curve.frame()
    path, start, ball = moving(map_axes(curve))
    np.testing.assert_array_equal(path, run.path)
    assert start.tolist() == [[-1.2, 1.0]]
    np.testing.assert_array_equal(ball, run.path[-1:])
    run.step(5)
    curve.frame()
    np.testing.assert_array_equal(moving(map_axes(curve))[2], run.path[-1:])
    run.rewind(10)
    curve.frame()
    np.testing.assert_array_equal(moving(map_axes(curve))[0], run.path)


def test_the_ball_and_the_loss_have_one_colour():
    run, _ = rosenbrock()
    run.step(3)
    curve = Curve(run)
    curve.frame()
    (ball,) = [x for x in map_axes(curve).lines if x.get_zorder() == 5]
    loss = next(x for x in curve.figure.axes[0].lines if x.get_gid() == "loss")
    assert ball.get_markerfacecolor() == loss.get_color()


def test_frames_make_the_map_finer_and_say_so(monkeypatch):
    monkeypatch.setattr(loss_picture, "MAP_SECONDS", 0.0)  # a point a frame
    run, _ = rosenbrock()
    run.advance(0.0, 5)
    curve = Curve(run)
    first = curve.frame()
    assert curve.is_unfinished
    monkeypatch.setattr(loss_picture, "MAP_SECONDS", 0.01)
    while curve.is_unfinished:
        last = curve.frame()
    assert (pixels(first) != pixels(last)).any()
    assert curve.frame() == curve.frame()


def test_a_picture_that_stays_has_the_whole_map():
    run, _ = rosenbrock()
    run.train()
    curve = Curve(run)
    curve.picture()
    assert not curve.is_unfinished


def test_before_the_first_step_the_ball_is_at_the_start():
    w = param([0.5, -0.5])
    curve = Curve(Run(lambda: landscapes.beale(w), None, SGD([w], 0.01), steps=5))
    curve.frame()
    assert moving(map_axes(curve))[2].tolist() == [[0.5, -0.5]]


def test_the_view_appears_when_the_first_loss_has_told_what_is_trained():
    run, _ = rosenbrock()
    curve = Curve(run)
    assert len(curve.figure.axes) == 1
    run.step()
    curve.frame()
    assert len(curve.figure.axes) == 2
    other = Curve(quadratic())
    other.frame()
    assert len(other.figure.axes) == 1


def test_the_title_says_which_loss_it_is():
    w = param([1.0, 1.0])
    X = np.ones((10, 2))
    run = Run(lambda x: ((x * w).sum(1) ** 2).mean(), batches(X, 4, rng=np.random.default_rng(0)), SGD([w], 0.01))
    run.step()
    curve = Curve(run)
    curve.frame()
    assert map_axes(curve).get_title() == "loss of the first batch (4 rows)"
    run, _ = rosenbrock()
    run.step()
    curve = Curve(run)
    curve.frame()
    assert map_axes(curve).get_title() == "loss"


def test_the_axes_are_named_after_the_parameters():
    slope, offset = param(1.0), param(2.0)
    run = Run(lambda: slope**2 + offset**2, None, SGD([slope, offset], 0.1), steps=3)
    run.step()
    ax = map_axes(Curve(run))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("slope", "offset")
    run, _ = rosenbrock()
    run.step()
    curve = Curve(run)
    curve.frame()
    ax = map_axes(curve)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("w[0]", "w[1]")


def test_the_axes_are_the_landscapes_view_until_the_ball_leaves_it():
    run, w = rosenbrock(η=0.01)
    run.step(1)
    curve = Curve(run)
    curve.frame()
    assert map_axes(curve).get_xlim() == (-2.0, 2.0)
    run.restart([3.0, 2.0])
    curve.frame()
    assert map_axes(curve).get_xlim()[1] > 3.0
    assert map_axes(curve).get_xlim()[0] == -2.0
    assert w.data.tolist() == [3.0, 2.0]


def test_a_path_that_was_left_is_faint():
    run, _ = rosenbrock()
    run.step(20)
    left = run.path
    run.restart([0.0, 0.5])
    run.step(3)
    curve = Curve(run)
    curve.frame()
    (faint,) = [x for x in map_axes(curve).lines if x.get_gid() == "earlier"]
    x, y = faint.get_data()
    np.testing.assert_array_equal(x[np.isfinite(x)], left[:, 0])
    np.testing.assert_array_equal(y[np.isfinite(y)], left[:, 1])
    assert (faint.get_color(), faint.get_alpha()) == (axes.LOSS, 0.4)
    run.undo()
    curve.frame()
    (faint,) = [x for x in map_axes(curve).lines if x.get_gid() == "earlier"]
    assert np.isfinite(faint.get_xdata()).sum() == 4


def show(contours, losses, trails):
    for trail in trails:
        losses.hold(trail.to_be_held(losses.view))
    contours.show(trails, Surface(losses.title, losses.view, losses.grid))


def test_a_ball_out_of_sight_is_at_the_edge():
    run, _ = rosenbrock()
    ax = axes.make_figure().add_axes((0.1, 0.1, 0.8, 0.8))
    contours, losses = Contours(ax, ["x", "y"]), LossMap(run)
    run.step()
    show(contours, losses, [Trail("a", "red", np.array([[0.0, 0.0]]))])
    show(contours, losses, [Trail("a", "red", np.array([[0.0, 0.0], [1e9, 0.0]]))])
    _, _, ball = moving(ax)
    assert ball[0, 0] == losses.view[0][1] < 1e9


def test_several_balls_stand_on_one_map():
    run, _ = rosenbrock()
    run.step()
    ax = axes.make_figure().add_axes((0.1, 0.1, 0.8, 0.8))
    contours, losses = Contours(ax, ["x", "y"]), LossMap(run)
    trails = [Trail(c, c, np.array([[0.0, 0.0], [0.1 * i, 1.0]])) for i, c in enumerate(("red", "green", "blue"))]
    show(contours, losses, trails)
    balls = [x for x in ax.lines if x.get_zorder() == 5]
    assert [b.get_markerfacecolor() for b in balls] == ["red", "green", "blue"]
    assert [b.get_xdata()[0] for b in balls] == [0.0, 0.1, 0.2]
    show(contours, losses, trails[:1])
    assert [len(b.get_xdata()) for b in balls] == [1, 0, 0]


@pytest.mark.parametrize("fill", [0.0, np.nan, 1e300])
def test_a_map_without_differences_has_no_contours(fill):
    w = param([0.0, 0.0])
    curve = Curve(Run(lambda: (w * 0).sum() + fill, None, SGD([w], 0.1), steps=1))
    assert curve.frame()
    assert curve.picture()


def test_a_long_path_keeps_its_start_and_its_latest_points():
    points = np.random.default_rng(0).normal(size=(50_000, 2))
    path, losses = array("d", points[:20_000].ravel()), array("d", [1.0] * 49_999)
    series = PathSeries()
    series.update(path, losses[:19_999])
    path.extend(points[20_000:].ravel())
    kept = series.update(path, losses)
    assert len(kept) <= MOST
    np.testing.assert_array_equal(kept[0], points[0])
    np.testing.assert_array_equal(kept[-1000:], points[-1000:])
    assert len(series.update(array("d", points[:10].ravel()), losses[:9])) == 10


def test_a_view_holds_the_path_but_not_that_to_which_a_run_diverges():
    points = [(0.0, 0.0), (1.0, 1.0), (50.0, -3.0), (1e6, 1e9), (2.0, 2.0)]
    series = PathSeries()
    path, losses = array("d", np.ravel(points[:2])), array("d", [2.0])
    series.update(path, losses)
    assert series.held.tolist() == [[0, 0], [0, 0]]  # the loss at the last point is not known yet
    for point, loss in zip(points[2:], (150.0, 1e12, np.nan), strict=True):
        path.extend(point)
        losses.append(loss)
        series.update(path, losses)
    assert series.held.tolist() == [[0, 0], [0, 0], [1, 1]]
    losses.append(1.0)
    path.extend((2.0, 2.5))
    series.update(path, losses)
    assert series.held.tolist() == [[0, 0], [0, 0], [1, 1], [2, 2]]


def test_after_a_divergence_the_map_still_shows_the_valley():
    run, _ = rosenbrock("Momentum", η=0.0005, steps=10_000)
    run.step(100)
    curve = Curve(run)
    curve.frame()
    run.set(η=0.05)
    with pytest.raises(NotFinite):
        run.train()
    curve.frame()
    (left, right), (bottom, top) = map_axes(curve).get_xlim(), map_axes(curve).get_ylim()
    assert right - left < 20
    assert top - bottom < 20
    assert curve.picture()


def test_a_finer_grid_is_exact_for_cubics_and_leaves_blanks_alone():
    x, y = np.linspace(-2.0, 2.0, 9), np.linspace(-1.0, 3.0, 5)
    f = lambda x, y: x**3 - 2 * x * y**2 + y - 0.5
    u, v, w = refine(x, y, f(x, y[:, None]))
    assert (len(u), len(v)) == (25, 13)
    np.testing.assert_allclose(w, f(u, v[:, None]), atol=1e-12)
    z = f(x, y[:, None])
    z[2, 3] = np.nan
    assert refine(x, y, z)[2] is z
    assert refine(x[:3], y, z[:, :3])[2].shape == (5, 3)

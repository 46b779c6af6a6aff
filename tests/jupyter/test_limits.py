"""What of a run is in view: logarithmic axes, the last steps, a divergence, the future."""

from __future__ import annotations

import numpy as np
import pytest

from fluxmagic import SGD, NotFinite, Run, param
from fluxmagic.jupyter.pictures.limits import before_divergence, is_wide, within
from fluxmagic.jupyter.pictures.plot import Curve
from tests.jupyter.pictures import line, x_limits, y_limits, y_scale
from tests.jupyter.problems import quadratic, recorded


def curve_of(*losses, **settings):
    curve = Curve(recorded(*losses))
    for name, value in settings.items():
        setattr(curve, name, value)
    curve.frame()
    return curve


def share_of(curve, values):
    """Give the share of the y-axis's height that values take."""
    ax = curve.figure.axes[0]
    heights = ax.transAxes.inverted().transform(ax.transData.transform([(0, v) for v in values]))[:, 1]
    assert heights.min() >= 0
    assert heights.max() <= 1
    return np.ptp(heights)


@pytest.mark.parametrize(
    ("losses", "scale"),
    [
        ((1.0, 0.5, 0.02), "linear"),
        ((1.0, 0.1, 0.005), "log"),
        ((1.0, 0.1, 0.0), "linear"),
        ((1.0, 0.001, 0.0), "log"),
        ((1.0, 0.1, -1e-9), "linear"),
        ((-1.0, -1000.0, -1.0), "linear"),
        ((0.0, 0.0, 0.0), "linear"),
    ],
)
def test_the_axis_is_logarithmic_where_losses_exceed_two_decades(losses, scale):
    curve = curve_of(*losses, smoothing=0.0)
    assert y_scale(curve) == scale


@pytest.mark.parametrize("log", [False, True])
def test_a_scale_that_was_chosen_is_kept(log):
    assert y_scale(curve_of(1.0, 1e-5, log=log)) == ("log" if log else "linear")
    assert y_scale(curve_of(1.0, 0.9, log=log)) == ("log" if log else "linear")


def test_an_axis_does_not_flicker_at_the_limit():
    assert is_wide([np.array([1.0, 0.02])], was=True)
    assert not is_wide([np.array([1.0, 0.02])], was=False)
    assert not is_wide([np.array([1.0, 0.05])], was=True)


def test_the_scale_is_that_of_the_steps_in_view():
    losses = [10.0**-k for k in range(6)] + [1e-5] * 60
    curve = curve_of(*losses, smoothing=0.0)
    assert y_scale(curve) == "log"
    curve.window = 40
    curve.frame()
    assert y_scale(curve) == "linear"
    assert y_limits(curve)[1] < 1e-4
    left, right = x_limits(curve)
    assert 40 <= right - left <= 46
    assert left <= 66 - 40
    assert right >= 66
    curve.window = None
    curve.frame()
    assert x_limits(curve)[0] <= 0


def test_the_last_steps_of_a_long_run_are_drawn_one_by_one():
    run = quadratic(n=100, epochs=300)
    run.train()
    run.record.loss[-50:] = run.record.loss[-50:].__class__("d", np.arange(50.0))
    curve = Curve(run)
    curve.window = 20
    curve.frame()
    x, y = line(curve, "raw loss").get_data()
    assert y[x > 29_980].tolist() == list(range(30, 50))
    smooth_x, _ = line(curve, "loss").get_data()
    assert smooth_x.min() < 29_980  # the average looks further back than the view


def test_the_smoothed_line_starts_at_the_first_loss():
    losses = np.random.default_rng(0).uniform(0.5, 1.5, 5000)
    losses[0] = 7.0
    curve = curve_of(*losses)
    x, y = line(curve, "loss").get_data()
    assert (x[0], y[0]) == (1.0, 7.0)
    x, y = line(curve_of(*losses[:20]), "loss").get_data()
    assert (x[0], y[0]) == (1.0, 7.0)


def test_without_noise_nothing_is_smoothed():
    run = quadratic(n=1, epochs=30)
    run.train()
    curve = Curve(run)
    curve.smoothing = 0.99
    curve.frame()
    np.testing.assert_array_equal(line(curve, "loss").get_ydata(), run.history["loss"])
    assert len(line(curve, "raw loss").get_xdata()) == 0


CALM = [1.0 + 0.3 * np.sin(k) - 0.01 * k for k in range(60)]


@pytest.mark.parametrize(("log", "sign"), [(None, 1.0), (False, 1.0), (True, 1.0), (None, -1.0), (False, -1.0)])
def test_after_a_divergence_the_part_before_it_is_still_seen(log, sign):
    curve = curve_of(*CALM, *(sign * 2.0**k for k in range(200)), log=log, smoothing=0.0)
    assert share_of(curve, [max(CALM), min(CALM)]) >= 0.2
    low, high = y_limits(curve)
    assert max(-low, high) < 100


def test_a_peak_from_which_a_run_came_back_does_not_hide_the_rest():
    curve = curve_of(*CALM, *(2.0**k for k in range(30)), *CALM, smoothing=0.0)
    assert y_limits(curve)[1] < 100


def test_a_run_that_diverges_from_the_start_is_seen_whole():
    losses = 2.0 ** np.arange(60)
    assert y_limits(curve_of(*losses, smoothing=0.0))[1] >= losses[-1]


def test_a_run_that_starts_in_a_minimum_and_rises_is_seen_whole():
    losses = np.concatenate([[1e-6], np.full(100, 1.0)])
    part, diverges = before_divergence(losses)
    assert not diverges
    assert len(part) == 101


def test_few_steps_before_a_divergence_are_enough():
    losses = np.array([1.0, 0.6, 0.8, 0.5, *(0.5 * 3.0 ** np.arange(1, 300))])
    part, diverges = before_divergence(losses)
    assert diverges
    assert part.tolist() == [1.0, 0.6, 0.8, 0.5]


@pytest.mark.parametrize("total", [None, 2000])
def test_at_most_a_tenth_of_the_axis_is_empty_future(total):
    data = [np.zeros(3)] * 50
    run = quadratic(n=50, epochs=40)
    if total is None:
        run.data = lambda: iter(data)
    curve = Curve(run)
    for steps in [1, 1, 1, 2, 5, 10, 30, 50, 100, 300, 400, 700, 399]:
        run.step(steps)
        curve.frame()
        left, right = x_limits(curve)
        assert right >= run.steps
        assert run.steps < 10 or right - run.steps <= 0.1 * (right - left)
    curve.picture()
    assert x_limits(curve)[1] == run.steps


def test_axes_move_seldom(monkeypatch):
    run = quadratic(n=50, epochs=40)
    curve = Curve(run)
    run.step(200)
    curve.frame()
    moved = 0
    for _ in range(100):
        run.step(10)
        before = x_limits(curve)
        curve.frame()
        moved += x_limits(curve) != before
    assert moved <= 25


def test_an_axis_of_losses_that_fall_by_orders_moves_seldom():
    run = quadratic(lambda params: SGD(params, 0.003), n=1, epochs=1000)
    curve = Curve(run)
    moves = 0
    for _ in range(40):
        run.step(25)
        before = y_limits(curve)
        curve.frame()
        low, high = y_limits(curve)
        moves += (low, high) != before
        assert low < run.record.loss[-1]
        assert high > run.record.loss[0]
    assert run.record.loss[-1] < 1e-3 * run.record.loss[0]
    assert moves <= 12
    curve.picture()
    assert y_limits(curve)[0] > 0.4 * run.record.loss[-1]  # what stays is close around the losses


def test_of_what_a_run_was_brought_back_from_the_divergence_is_left_out():
    present, left = np.array([0.7, 0.1, np.inf]), np.array([0.1, 3.0, 1e5, 1e30, np.nan])
    assert within([left], [present])[0].tolist() == [0.1, 3.0]
    assert within([left], [])[0].tolist() == [0.1, 3.0]


def test_after_recover_the_axis_shows_the_present_line():
    W = param(np.ones(3))
    run = Run(lambda x: ((W - x) ** 2).sum(), [np.zeros(3)] * 2000, SGD([W], 0.01))
    run.step(100)
    run.set(η=10.0)
    with pytest.raises(NotFinite):
        run.train()
    run.recover(η=0.01)
    run.step(50)
    curve = Curve(run)
    curve.frame()
    assert y_limits(curve)[1] < 100

"""Hyper-parameters that follow a function of the number of updates, until the dial is turned."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxmagic import SGD, Run, param
from fluxmagic.optimise import cosine, exponential, onecycle
from tests.runs.problems import line

MODEST = settings(deadline=None, max_examples=50)


@MODEST
@given(first=st.floats(1e-6, 1), factor=st.floats(0.01, 1), every=st.integers(1, 1000), n=st.integers(0, 10_000))
def test_exponential_is_first_times_factor_to_the_n_over_every(first, factor, every, n):
    assert exponential(first, factor, every)(n) == pytest.approx(first * math.exp(math.log(factor) * n / every))


@MODEST
@given(first=st.floats(0, 1), last=st.floats(0, 1), steps=st.integers(1, 1000))
def test_cosine_goes_from_first_to_last_and_stays(first, last, steps):
    η = cosine(first, steps, last)
    assert η(0) == pytest.approx(first)
    assert η(steps) == η(10 * steps) == pytest.approx(last)
    assert η(steps / 2) == pytest.approx((first + last) / 2)
    values = [η(n) for n in range(steps + 1)]
    assert values == sorted(values, reverse=first > last)


@MODEST
@given(peak=st.floats(1e-4, 1), steps=st.integers(1, 1000), rise=st.floats(0, 0.9))
def test_onecycle_rises_to_its_peak_and_falls_to_almost_nothing(peak, steps, rise):
    values = [onecycle(peak, steps, rise)(n) for n in range(steps + 1)]
    top = values.index(max(values))
    assert max(values) <= peak * (1 + 1e-12)
    assert values[:top] == sorted(values[:top])
    assert values[top:] == sorted(values[top:], reverse=True)
    if rise * steps >= 1:
        assert values[0] == pytest.approx(0.04 * peak)
        assert values[-1] == pytest.approx(4e-6 * peak)


@pytest.mark.parametrize(
    "make",
    [
        lambda: exponential(-1, 0.5),
        lambda: exponential(1, 0),
        lambda: exponential(1, 0.5, every=0),
        lambda: cosine(0.1, 0),
        lambda: onecycle(1, 0),
        lambda: onecycle(1, 10, rise=2),
    ],
)
def test_a_schedule_that_makes_no_sense_is_an_error(make):
    with pytest.raises(ValueError, match=r"exponential|cosine|onecycle"):
        make()


def test_a_run_follows_a_schedule_and_history_shows_it():
    run, W = line(SGD, hypers={"η": exponential(0.1, 0.5)})
    x = np.array([4.0, -2.0])
    for n, d in enumerate([0.0, 1.0, 2.0, 3.0]):
        run.step()
        x = x - 0.1 * 0.5**n * 2 * (x - d)
    np.testing.assert_allclose(W.data, x)
    np.testing.assert_allclose(run.history["η"], [0.1, 0.05, 0.025, 0.0125])


def test_a_dial_turned_by_hand_beats_the_schedule_and_can_be_given_back():
    schedule = exponential(0.1, 0.5)
    run, _ = line(SGD, hypers={"η": schedule}, epochs=2)
    run.step(2)
    run.set(η=0.3)
    run.step(2)
    assert "η" not in run.opt.schedules
    run.set(η=schedule)
    run.step(1)
    assert run.opt.schedules == {"η": schedule}
    assert run.events == [(2, "η", schedule, 0.3), (4, "η", 0.3, schedule)]
    np.testing.assert_allclose(run.history["η"], [0.1, 0.05, 0.3, 0.3, 0.1 / 16])
    run.replay()


def test_a_schedule_that_leaves_the_bounds_stops_before_the_update():
    W = param(1.0)
    run = Run(
        lambda x: (W - x) ** 2, [0.0] * 5, SGD, hypers={"η": lambda n: 0.1 - 0.05 * n, "decay": lambda n: 0.1 * n}
    )
    run.step(3)
    before, values = W.data.copy(), run.values
    with pytest.raises(ValueError, match=r"η = -0.05 is out of range: 0 ≤ η"):
        run.step()
    assert W.data == before
    assert run.values == values
    run.set(η=0.1)
    run.train()
    assert run.steps == 5


def test_a_cosine_understands_the_last_value_before_the_steps_and_does_not_rise_to_the_steps():
    assert cosine(0.1, 0.001, 400) == cosine(0.1, 400, 0.001)
    assert cosine(0.1, 0, 400) == cosine(0.1, 400)
    assert max(map(cosine(0.1, 0.001, 400), range(500))) == 0.1
    with pytest.raises(ValueError, match="steps is out of range"):
        cosine(0.1, 0.5, 0.001)

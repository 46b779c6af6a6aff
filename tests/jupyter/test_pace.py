"""The pace of training, on a clock of its own."""

from __future__ import annotations

import math

import pytest

from fluxmagic.jupyter.driving.pace import SPEEDS, Pace
from tests.jupyter.outputs import Clock


def steps_in(pace, clock, seconds, tick):
    """Count the steps that a driver takes, which comes back every `tick` seconds."""
    taken, end = 0, clock.now + seconds
    while clock.now < end:
        due = pace.due
        pace.count(due)
        taken += due
        clock.now += tick
    return taken


@pytest.mark.parametrize("tick", [0.001, 0.007, 0.03])
@pytest.mark.parametrize("speed", SPEEDS[:-1])
def test_as_many_steps_are_due_as_the_speed_says(speed, tick):
    clock = Clock()
    assert abs(steps_in(Pace(speed, clock), clock, 10.0, tick) - 10 * speed) <= 1 + speed * tick


def test_without_a_limit_no_number_is_due_and_nothing_is_waited_for():
    pace = Pace()
    pace.count(1000)
    assert pace.due is None
    assert pace.wait == 0.0
    assert pace.speed == math.inf


def test_it_waits_until_the_next_step_is_due():
    clock = Clock()
    pace = Pace(2.0, clock)
    assert (pace.due, pace.wait) == (1, 0.0)
    pace.count(1)
    assert (pace.due, pace.wait) == (0, 0.5)
    clock.now = 0.5
    assert (pace.due, pace.wait) == (1, 0.0)


def test_after_a_change_of_speed_a_step_is_due_at_once():
    clock = Clock()
    pace = Pace(0.01, clock)
    pace.count(1)
    pace.speed = 10.0
    assert pace.due == 1


def test_what_a_slow_step_has_missed_is_not_made_up_for():
    clock = Clock()
    pace = Pace(100.0, clock)
    pace.count(1)
    clock.now = 60.0
    pace.count(1)
    assert pace.due <= 11


@pytest.mark.parametrize("speed", [0, -1, math.nan])
def test_a_speed_is_above_0(speed):
    with pytest.raises(ValueError, match="above 0: not"):
        Pace(speed)

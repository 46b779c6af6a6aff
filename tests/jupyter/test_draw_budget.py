"""The budget for drawing, on a clock of its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxmagic.jupyter.driving.draw_budget import DrawBudget
from tests.jupyter.outputs import Clock


class Times:
    """A clock, and one of the processor: `busy` moves both."""

    def __init__(self):
        self.clock, self.processor = Clock(), Clock()
        self.budget = DrawBudget(self.clock, self.processor)

    def busy(self, seconds):
        self.clock.now += seconds
        self.processor.now += seconds

    def train(self, seconds, costs, step=0.01):
        """Train, drawing whenever it is due; how much was drawn, and when."""
        end, drawn, when = self.clock.now + seconds, 0.0, []
        while self.clock.now < end:
            if self.budget.due():
                when.append(self.clock.now)
                drawn += self.draw(costs[len(when) % len(costs)])
            self.busy(step)
        return drawn, when

    def draw(self, cost):
        with self.budget.drawing():
            self.busy(cost)
        return cost

    def idle(self, seconds, cost, step=0.02):
        """Sleep, drawing whenever it is due; when."""
        end, when = self.clock.now + seconds, []
        while self.clock.now < end:
            if self.budget.due(True):
                when.append(self.clock.now)
                self.draw(cost)
            self.clock.now += step
        return when


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0.002, 0.025), min_size=1, max_size=8))
def test_at_rest_at_most_3_percent_is_drawn_and_a_frame_a_second_at_least(costs):
    t = Times()
    drawn, when = t.train(100.0, costs)
    assert drawn <= 0.03 * 100 + max(costs)
    assert max(np.diff(when)) <= 1.0
    assert t.budget.share == pytest.approx(drawn / t.processor.now)


def test_a_frame_a_second_is_drawn_whatever_it_costs():
    _, when = Times().train(60.0, [0.2])
    assert max(np.diff(when)) <= 1.0 + 0.2
    assert len(when) <= 65


def test_words_are_paid_from_the_same_share():
    t = Times()
    words = drawn = 0.0
    for _ in range(4 * 60):
        drawn += t.train(0.25, [0.01])[0]
        with t.budget.writing():
            t.busy(0.003)
        words += 0.003
    assert drawn + words <= 0.03 * t.processor.now
    assert t.budget.share == pytest.approx((drawn + words) / t.processor.now)


@settings(deadline=None, max_examples=40)
@given(st.floats(0.003, 0.03), st.lists(st.floats(0.02, 0.5), min_size=1, max_size=20))
def test_for_five_seconds_after_a_boost_at_most_10_percent(cost, pauses):
    t = Times()
    t.train(60.0, [cost])
    start, drawn = t.clock.now, 0.0
    for pause in pauses:  # several turns
        t.budget.boost()
        drawn += t.train(pause, [cost])[0]
    drawn += t.train(5.0, [cost])[0]
    assert drawn <= 0.10 * (t.clock.now - start) + 2 * cost
    calm = t.clock.now
    drawn, _ = t.train(50.0, [cost])
    assert drawn <= 0.03 * (t.clock.now - calm) + 2 * cost


@settings(deadline=None, max_examples=40)
@given(st.floats(0.003, 0.04), st.floats(0.0, 20.0), st.booleans())
def test_after_a_boost_a_frame_is_due_within_half_a_second(cost, wait, in_debt):
    t = Times()
    t.train(10.0 + wait, [cost])
    if in_debt:
        t.draw(0.1)  # the axes had to move
    t.budget.boost()
    moved = t.clock.now
    _, when = t.train(1.0, [cost])
    assert when[0] - moved <= 0.5


@pytest.mark.parametrize("cost", [0.002, 0.01, 0.1])
def test_idle_time_is_free_up_to_20_frames_a_second_and_half_a_core(cost):
    t = Times()
    t.idle(5.0, cost)
    before, start = t.processor.now, t.clock.now
    when = t.idle(30.0, cost)
    seconds = t.clock.now - start
    assert len(when) <= 20 * seconds + 1
    assert t.processor.now - before <= 0.5 * seconds
    assert len(when) >= 0.85 * min(20, 0.45 / cost) * seconds


def test_a_busy_machine_is_not_idle():
    t = Times()
    t.train(5.0, [0.01])
    for _ in range(100):
        t.clock.now += 0.5  # another process has the processor
        t.busy(0.01)
        drawn = t.budget.due()
        assert not drawn or t.clock.now >= 5.0
        if drawn:
            t.draw(0.01)
    assert t.budget.drawn <= 1.2

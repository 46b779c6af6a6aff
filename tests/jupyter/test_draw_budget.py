"""The budget for drawing, on a clock of its own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxmagic.jupyter.draw_budget import DrawBudget
from tests.jupyter.outputs import Clock


def draw_for(budget, clock, seconds, costs, step=0.01):
    """Draw whenever it is due; how much was drawn, and when."""
    end, drawn, when = clock.now + seconds, 0.0, []
    i = 0
    while clock.now < end:
        if budget.due():
            cost = costs[i % len(costs)]
            i += 1
            when.append(clock.now)
            clock.now += cost
            drawn += cost
            budget.spend(cost)
        clock.now += step
    return drawn, when


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0.002, 0.2), min_size=1, max_size=8))
def test_at_rest_at_most_1_percent_of_the_time_is_drawn(costs):
    clock = Clock()
    budget = DrawBudget(clock)
    drawn, when = draw_for(budget, clock, 100.0, costs)
    assert drawn <= 0.01 * 100 + max(costs)
    assert len(when) >= 2
    assert budget.share == pytest.approx(drawn / clock.now)


@settings(deadline=None, max_examples=40)
@given(st.floats(0.003, 0.04), st.lists(st.floats(0.02, 0.5), min_size=1, max_size=20))
def test_for_five_seconds_after_a_boost_at_most_10_percent(cost, pauses):
    clock = Clock()
    budget = DrawBudget(clock)
    draw_for(budget, clock, 60.0, [cost])
    start, drawn = clock.now, 0.0
    for pause in pauses:  # a drag is many moves
        budget.boost()
        drawn += draw_for(budget, clock, pause, [cost])[0]
    drawn += draw_for(budget, clock, 5.0, [cost])[0]
    assert drawn <= 0.10 * (clock.now - start) + 2 * cost
    calm = clock.now
    drawn, _ = draw_for(budget, clock, 50.0, [cost])
    assert drawn <= 0.01 * (clock.now - calm) + 2 * cost


@settings(deadline=None, max_examples=40)
@given(st.floats(0.003, 0.04), st.floats(0.0, 20.0), st.booleans())
def test_after_a_boost_a_frame_is_due_within_half_a_second(cost, wait, in_debt):
    clock = Clock()
    budget = DrawBudget(clock)
    draw_for(budget, clock, 10.0 + wait, [cost])
    if in_debt:
        budget.spend(0.1)  # the axes had to move
    budget.boost()
    moved = clock.now
    _, when = draw_for(budget, clock, 1.0, [cost])
    assert when[0] - moved <= 0.5

"""Requests and states that a page sends: their order, and what a widget cannot have."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fluxmagic import SGD
from fluxmagic.jupyter.controls import widgets as w
from fluxmagic.jupyter.controls.page_requests import PageRequests
from fluxmagic.jupyter.controls.run_controls import RunControls
from fluxmagic.jupyter.controls.sliders import HyperparameterSlider
from fluxmagic.optimise import Momentum
from tests.jupyter.panel_page import ControlsPage
from tests.jupyter.problems import quadratic


def test_a_request_has_no_effect_before_it_is_processed():
    run = quadratic()
    page = ControlsPage(RunControls(run))
    page.turn("η", 0.02)
    assert run.opt.η == 0.1
    assert page.process()
    assert run.opt.η == 0.02
    assert not page.process()


def test_requests_of_another_thread_keep_their_order():
    run = quadratic()
    page = ControlsPage(RunControls(run))

    def drag():
        for η in (0.02, 0.03, 0.02):
            page.field("η").value = str(η)

    thread = threading.Thread(target=drag)
    thread.start()
    thread.join()
    page.process()
    assert [e.new for e in run.events] == [0.02, 0.03, 0.02]


@pytest.mark.parametrize(
    "states",
    [
        [{"_options_labels": ["a"]}, {"index": 2}],
        [{"index": -1}, {"index": 10**400}, {"index": 1e308}, {"index": 999}],
        [{"index": math.nan}, {"index": "3"}, {"index": [1]}, {"index": {}}, {"index": None}],
        [{"layout": None, "style": "IPY_MODEL_none", "description": 3, "comm": None, "index": 4}],
        [{"value": 0.02, "nothing": 1, "_model_name": "x"}, {"value": "much"}, {"value": None}],
    ],
)
def test_a_state_that_a_slider_cannot_have_is_rejected_and_the_next_is_taken(states):
    run = quadratic(epochs=100)
    page = ControlsPage(RunControls(run))
    slider = page.find("η")
    index = [v for _, v in slider.options].index(0.028)
    for widget in (slider, page.field("η")):
        for state in [*states, {"index": index, "value": "0.028"}]:
            widget.set_state(state)
            page.process()
            run.step()
            page.controls.show()
        assert run.opt.η == slider.value == 0.028
        assert page.field("η").value == "0.028"
        assert slider.description == "η"
        run.set(η=0.1)
        page.controls.show()


def test_any_state_of_any_widget_leaves_controls_that_work():
    run = quadratic(lambda ps: Momentum(ps, 0.01), epochs=10**6)
    page = ControlsPage(RunControls(run, closable=True))
    for wrong in (-1, None, "x", [], {"a": math.nan}, 10**400, math.nan, True):
        for x in [x for x in w.models(page.controls.box) if isinstance(x, w.FromPage)]:
            x.set_state({k: wrong for k in x.get_state() if k not in ("value", "index")})
            for k in ("value", "index"):
                x.set_state({k: wrong})
                page.process()
                page.controls.show()
    run.step()
    page.turn("η", 0.03)
    page.process()
    assert run.opt.η == 0.03
    assert all(page.controls.has_comm(x.model_id) for x in w.models(page.controls.box))
    page.controls.close()


def test_of_several_states_the_last_of_each_widget_counts_and_clicks_keep_their_place():
    run = quadratic(epochs=10**6)
    page = ControlsPage(RunControls(run))
    run.step(20)
    page.press("more")
    page.process()
    page.controls.show()
    η, decay = page.field("η"), page.find("decay")
    for i in range(100):
        η.set_state({"value": f"{0.01 + 0.001 * i}"})
        decay.set_state({"index": 1 + i % 5})
    page.find("step").set_state({"value": 7})
    page.press("Rewind")
    page.find("step").set_state({"value": 3})  # after the click
    assert page.process()
    assert run.steps == 7
    assert [e.name for e in run.events] == []  # they were turned before it went back
    η.set_state({"value": "0.5"})
    η.set_state({"value": "0.02"})
    page.process()
    assert [(e.name, e.new) for e in run.events] == [("η", 0.02)]


def test_the_last_move_on_another_thread_is_kept_while_values_are_shown():
    requests, values = PageRequests(), []

    def turn(name, value, drag):
        values.append(value)
        return True

    slider = HyperparameterSlider(SGD.hypers["η"], 0.1, turn, requests.add)
    slider.field.receive = requests.add_state
    moved = [0.01 + 0.0001 * i for i in range(300)]

    def drag():
        for η in moved:
            slider.field.set_state({"value": str(η)})

    shown = np.random.default_rng(0)
    with ThreadPoolExecutor(1) as thread:
        dragged = thread.submit(drag)
        while not dragged.done():
            requests.process(pytest.fail)
            slider.show(1 + shown.random())
        dragged.result()
    requests.process(pytest.fail)
    assert values[-1] == moved[-1]

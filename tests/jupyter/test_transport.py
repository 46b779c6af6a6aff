"""Play, Step, Stop, Restart, speed and progress; when buttons are enabled; the widgets themselves."""

from __future__ import annotations

import math

import ipywidgets as w
import numpy as np
import pytest

from fluxmagic import ADAM
from fluxmagic.jupyter.controls.run_controls import RunControls
from fluxmagic.jupyter.controls.widgets import models
from tests.jupyter.outputs import open_widgets
from tests.jupyter.panel_page import ControlsPage
from tests.jupyter.problems import quadratic


def test_messages_are_shown_as_text_not_markup():
    page = ControlsPage(RunControls(quadratic()))
    page.controls.show_message("<b>1 < 2</b>")
    assert page.message == "<b>1 < 2</b>"
    assert any("&lt;b&gt;1 &lt; 2&lt;/b&gt;" in t for t in page.texts())


def test_buttons_are_enabled_as_far_as_they_do_something():
    run = quadratic()
    page = ControlsPage(RunControls(run, playing=True))

    def enabled():
        return [k for k in page.enabled() if k not in ("÷2", "×2", "Code", "more")]

    assert enabled() == ["Pause", "Step", "Stop"]
    page.press("Pause")
    page.process()
    assert enabled() == ["Play", "Step", "Stop"]
    run.step()
    assert enabled() == ["Play", "Step", "Stop", "Restart", "Rewind", "Branch"]
    page.press("Restart")
    page.process()
    assert enabled() == ["Play", "Step", "Stop", "Undo"]
    page.press("Stop")
    page.process()
    assert enabled() == ["Play", "Step", "Undo"]
    assert run.state == "stopped"


def test_play_and_pause_are_one_button():
    page = ControlsPage(RunControls(quadratic()))
    button = page.find("Play", w.Button)
    page.press("Play")
    page.process()
    assert page.find("Pause", w.Button) is button
    assert page.controls.playing
    page.press("Pause")
    page.process()
    assert not page.controls.playing
    assert page.controls.run.state == "paused"


@pytest.mark.parametrize(("label", "playing", "steps"), [("Play", True, 0), ("Step", False, 1)])
def test_a_finished_run_goes_on_for_as_many_epochs_again(label, playing, steps):
    run = quadratic(epochs=2)
    page = ControlsPage(RunControls(run))
    run.train()
    page.process()
    assert {"Play", "Step"} <= set(page.enabled())
    page.press(label)
    page.process()
    assert (run.finished, run.epochs) == (False, 4)
    assert (page.controls.playing, page.controls.pending_steps) == (playing, steps)


def test_restart_keeps_the_dials_and_undo_comes_back():
    run = quadratic()
    page = ControlsPage(RunControls(run))
    run.step(4)
    run.set(η=0.3)
    run.step(3)
    weights = run.params[0].data.copy()
    page.press("Restart")
    assert page.process()
    assert (run.steps, run.opt.η, page.steps) == (0, 0.3, 0)
    assert page.field("η").value == "0.3"
    run.step(2)
    page.process()
    page.press("Undo")
    assert page.process()
    assert run.steps == page.steps == page.value("step") == 7
    np.testing.assert_array_equal(run.params[0].data, weights)
    page.press("Undo")
    page.process()
    assert run.steps == 2


def test_the_speed_is_chosen_among_options_and_any_other_is_one_of_them():
    page = ControlsPage(RunControls(quadratic(), speed=7))
    assert page.value("speed") == page.controls.pace.speed == 7
    options = [label for label, _ in page.find("speed").options]
    assert options == ["1", "3", "7", "10", "30", "100", "300", "1k", "3k", "max"]
    page.choose("300", "speed")
    page.process()
    assert page.controls.pace.speed == 300
    page.choose("max", "speed")
    page.process()
    assert page.controls.pace.speed == math.inf
    assert page.controls.pace.due is None


def test_the_words_reckon_with_the_speed():
    run = quadratic(n=100, epochs=1)
    run.step(50)
    page = ControlsPage(RunControls(run, speed=10))
    assert any("10 steps/s · 5.0 s left" in t for t in page.texts())


def test_before_the_first_step_it_is_said_to_be_computed():
    page = ControlsPage(RunControls(quadratic(), playing=True))
    assert any("step 1 is being computed" in t for t in page.texts())
    page.controls.run.step()
    page.process()
    assert page.steps == 1


def test_the_page_is_heard_by_any_state_and_its_ticks_end():
    page = ControlsPage(RunControls(quadratic()))
    tick = next(x for x in models(page.controls.box) if isinstance(x, w.Play))
    assert tick.playing
    assert not page.controls.heard
    tick.set_state({"value": 1})
    assert page.controls.heard
    page.process()
    assert not tick.playing


def test_every_control_has_a_label():
    page = ControlsPage(RunControls(quadratic(lambda ps: ADAM(ps)), closable=True))
    page.press("more")
    page.process()
    for x in page.shown():
        if isinstance(x, (w.Button, w.Dropdown, w.SelectionSlider, w.IntSlider)):
            assert x.description
            assert x.tooltip
        if isinstance(x, w.Text):
            assert x.placeholder
            assert x.tooltip
    labels = {x.description for x in page.shown() if hasattr(x, "description")}
    assert labels >= {"Play", "Step", "Stop", "Restart", "speed", "Close", "Code", "step", "smoothing"}
    assert labels >= {"optimiser", "η", "β1", "β2", "decay", "clip"}


def test_has_comm_knows_the_controls_own_widgets_layouts_and_styles():
    controls, other = RunControls(quadratic()), RunControls(quadratic())
    left = [x.model_id for x in models(controls.box)]
    controls.run.swap("ADAM")
    controls.show()
    mine = [x.model_id for x in models(controls.box)]
    assert all(map(controls.has_comm, [*mine, *left]))
    assert not any(map(other.has_comm, [*mine, *left]))


def test_close_closes_every_widget_also_those_of_earlier_optimisers():
    before = open_widgets()
    page = ControlsPage(RunControls(quadratic()))
    page.choose("ADAM")
    page.process()
    page.controls.show()
    assert len(open_widgets() - before) > 50
    page.controls.close()
    assert open_widgets() - before == set()


def test_controls_that_the_page_closed_raise_nothing():
    run = quadratic()
    page = ControlsPage(RunControls(run))
    page.controls.close()
    page.process()
    assert page.controls.closed
    run.set(η=0.3)
    page.controls.show(0.01)

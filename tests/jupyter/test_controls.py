"""Controls of a run, used by labels: what buttons do, when they are enabled, what is shown."""

from __future__ import annotations

import os
from types import SimpleNamespace

import ipywidgets as w
import numpy as np
import pytest

from fluxmagic import ADAM, SGD, NotFinite, Run, param
from fluxmagic.jupyter import controls
from fluxmagic.jupyter.controls import RunControls
from fluxmagic.jupyter.widgets import models
from fluxmagic.optimise import ADADelta, Momentum
from tests.jupyter.outputs import open_widgets
from tests.jupyter.panel_page import ControlsPage
from tests.jupyter.problems import quadratic


@pytest.fixture
def namespace(monkeypatch):
    ns = {}
    monkeypatch.setattr(controls, "get_ipython", lambda: SimpleNamespace(user_ns=ns))
    return ns


def test_names_are_shown_as_text_not_markup():
    run = quadratic(lambda ps: SGD(ps, lambda n: 0.1), name="<b>run</b>")
    run.set(η=0.2)
    run.record.events[-1] = run.record.events[-1]._replace(name="<b>η</b>")  # as a file may have had it
    page = ControlsPage(RunControls(run))
    assert page.overridden.startswith("&lt;b&gt;η&lt;/b&gt;")
    assert not any("<b>" in str(getattr(x, "value", "")) for x in page.shown() if isinstance(x, w.HTML))


def test_a_swap_keeps_weights_and_each_optimisers_own_values():
    run = quadratic()
    page = ControlsPage(RunControls(run))
    page.turn("η", 0.02)
    page.process()
    weights = run.params[0].data.copy()
    for name in ("ADAM", "SGD"):
        page.choose(name)
        page.process()
        page.controls.show()
        assert run.opt_name == name
    assert page.value("η") == 0.02
    np.testing.assert_array_equal(run.params[0].data, weights)
    assert [e.name for e in run.events] == ["η", "opt", "opt"]


def test_a_swap_by_program_changes_the_dropdown_and_is_no_request():
    run = quadratic()
    page = ControlsPage(RunControls(run))
    run.swap("Momentum", ρ=0.5)
    page.controls.show()
    assert page.value("optimiser") == "Momentum"
    assert page.value("ρ") == 0.5
    assert not page.process()


def test_only_errors_are_alerts(namespace):
    page = ControlsPage(RunControls(quadratic()))

    def roles():
        page.press("Branch")
        page.process()
        return [role for role in ("alert", "status") if any(f'role="{role}"' in t for t in page.texts())]

    assert roles() == ["alert"]
    page.controls.run.step()
    assert roles() == ["status"]


def test_messages_are_shown_as_text_not_markup():
    page = ControlsPage(RunControls(quadratic()))
    page.controls.show_message("<b>1 < 2</b>")
    assert page.message == "<b>1 < 2</b>"
    assert any("&lt;b&gt;1 &lt; 2&lt;/b&gt;" in t for t in page.texts())


def test_a_value_set_over_a_schedule_is_named():
    run = quadratic(lambda ps: SGD(ps, lambda n: 0.1 / (1 + n)))
    page = ControlsPage(RunControls(run))
    page.turn("η", 0.02)
    page.process()
    page.turn("decay", 0.1)
    page.process()
    page.controls.show()
    assert page.overridden == "η: turned by hand, the schedule is off"
    run.step(3)
    assert run.opt.η == 0.02
    page.controls.show()
    assert page.overridden == "η: turned by hand, the schedule is off"  # as long as it is


def test_give_back_restores_the_schedules():
    run = quadratic(lambda ps: Momentum(ps, lambda n: 0.1 / (1 + n), ρ=lambda n: 0.5 if n < 5 else 0.9))
    page = ControlsPage(RunControls(run))
    assert not page.has("Give back")
    assert page.overridden == ""
    for _ in range(2):
        for name, value in (("η", 0.02), ("η", 0.03), ("ρ", 0.7)):
            page.turn(name, value)
            page.process()
        run.step(2)
        page.controls.show()
        assert page.overridden == "η and ρ: turned by hand, the schedule is off"
        assert (run.opt.η, run.opt.ρ) == (0.03, 0.7)
        page.press("Give back")
        assert page.process()
        page.controls.show()
        assert page.overridden == ""
        run.step(2)
    assert run.opt.η == 0.1 / 8
    assert run.opt.ρ == 0.9
    assert callable(run.events[-1].new)


def test_overridden_schedules_are_those_of_the_active_optimiser():
    run = quadratic(lambda ps: SGD(ps, lambda n: 0.1 / (1 + n)))
    page = ControlsPage(RunControls(run))
    page.turn("η", 0.02)
    page.process()
    run.step()
    run.swap("ADAM")
    page.controls.show()
    assert page.overridden == ""
    run.swap("SGD")
    page.controls.show()
    assert page.overridden == "η: turned by hand, the schedule is off"
    run.rewind(0)
    page.controls.show()
    assert page.overridden == ""  # the turn was undone


def test_a_plain_function_has_no_sliders():
    W = param(1.0)

    def descend():
        W.data = W.data - 0.1 * W.grad
        W.zero_grad()

    page = ControlsPage(RunControls(Run(lambda x: W * W, [1.0], descend)))
    assert "descend is a plain function" in page.message
    assert page.find("optimiser").disabled
    assert not page.has("η")


def test_rewind_restores_the_state_and_the_run_can_go_on():
    run = quadratic()
    page = ControlsPage(RunControls(run))
    run.step(5)
    weights = run.params[0].data.copy()
    run.set(η=0.3)
    run.step(5)
    run.stop()
    page.controls.stopped = True
    page.controls.show()
    page.turn("step", 5)
    page.press("Rewind")
    assert page.process()
    page.controls.show()
    assert run.steps == 5
    np.testing.assert_array_equal(run.params[0].data, weights)
    assert page.value("η") == 0.1
    assert page.is_enabled("Play")


def test_rewind_beyond_the_last_step_is_a_message():
    run = quadratic()
    page = ControlsPage(RunControls(run))
    run.step(9)
    page.controls.show()
    page.turn("step", 7)
    run.rewind(5)
    page.press("Rewind")
    page.process()
    assert run.steps == 5
    assert "rewind(7): the run has steps 0 … 5" in page.message


def test_branch_goes_on_with_a_second_run_and_pauses_the_first(namespace):
    run = quadratic(name="run")
    page = ControlsPage(RunControls(run, playing=True))
    run.step(5)
    page.turn("η", 0.2)
    page.process()
    page.press("Branch")
    assert page.controls.run is run  # asked for, not done
    assert page.process()
    new = page.controls.run
    assert namespace == {"run_b": new}
    assert (new.name, new.parent, new.steps, new.opt.η) == ("run_b", run, 5, 0.2)
    assert page.controls.playing
    assert "run_b goes on from step 5; run rests" in page.message
    page.controls.show()
    page.turn("η", 0.3)
    page.process()
    new.step(2)
    assert (run.opt.η, run.steps, run.state) == (0.2, 5, "paused")
    there = new.params[0].data.copy()
    run.step(2)
    assert not np.array_equal(run.params[0].data, there)
    assert new.history["η"].tolist() == [0.1] * 5 + [0.3] * 2


def test_branches_have_the_first_unused_names(namespace):
    namespace["run_c"] = "mine"
    page = ControlsPage(RunControls(quadratic(name="run")))
    page.controls.run.step()
    for _ in range(3):
        page.press("Branch")
    page.process()
    assert list(namespace) == ["run_c", "run_b", "run_d", "run_e"]
    assert page.controls.run is namespace["run_e"]
    assert namespace["run_c"] == "mine"


@pytest.mark.parametrize(("name", "branch"), [("a_b", "a_b_b"), ("my run", "run_b"), (None, "run_b")])
def test_the_name_of_a_branch_is_an_identifier(namespace, name, branch):
    page = ControlsPage(RunControls(quadratic(name=name)))
    page.controls.run.step()
    page.press("Branch")
    page.process()
    assert list(namespace) == [branch]


def test_branch_needs_a_step_before_it_and_one_after_it(namespace):
    run = quadratic(name="run")
    page = ControlsPage(RunControls(run))

    def refused():
        page.controls.show()
        page.press("Branch")
        page.process()
        assert not page.is_enabled("Branch")
        assert page.controls.run is run
        assert namespace == {}
        return page.message

    assert "has not taken a step yet" in refused()
    run.train()
    assert "rewind it first" in refused()
    run.rewind(10)
    page.controls.show()
    assert page.is_enabled("Branch")


def test_recover_is_enabled_after_a_loss_that_is_not_finite_and_names_the_new_η():
    W = param(np.ones(3))
    data = [np.zeros(3)] * 5 + [np.full(3, np.nan)] + [np.zeros(3)] * 4
    run = Run(lambda x: ((W - x) ** 2).sum(), data, SGD([W], 0.1), epochs=2)
    page = ControlsPage(RunControls(run))

    def disabled():
        page.controls.show()
        return not page.is_enabled("Recover")

    run.step(5)
    assert disabled()
    with pytest.raises(NotFinite):
        run.step()
    assert not disabled()
    page.press("Recover")
    assert page.process()
    assert "from step 6 with η 0.01" in page.message
    assert disabled()
    assert run.opt.η == 0.01
    assert page.value("η") == 0.01
    assert page.is_enabled("Play")
    run.step(4)
    assert np.isfinite(run.last_loss)


def test_recover_rewinds_to_before_the_loss_grew():
    W = param(np.ones(3))
    run = Run(lambda x: ((W - x) ** 2).sum() ** 2, [np.zeros(3)] * 100, SGD([W], 1.0))
    page = ControlsPage(RunControls(run))
    with pytest.raises(NotFinite):
        run.step(100)
    page.controls.show()
    page.press("Recover")
    page.process()
    page.controls.show()
    assert run.steps == page.value("step") == 0
    assert "from step 0 with η 0.1" in page.message


def test_recover_without_η():
    W = param(1.0)
    run = Run(lambda x: W * x, [1.0, np.inf], ADADelta([W]))
    page = ControlsPage(RunControls(run))
    with pytest.raises(NotFinite):
        run.step(2)
    page.press("Recover")
    page.process()
    assert "goes on from step 2" in page.message
    assert "η" not in page.message


def test_recover_without_a_failure_is_a_message():
    run = quadratic()
    run.step()
    page = ControlsPage(RunControls(run))
    page.press("Recover")
    page.process()
    assert "nothing to recover from" in page.message


def test_copy_as_code_shows_and_hides_the_script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = quadratic()
    page = ControlsPage(RunControls(run))
    run.step(5)
    run.set(η=0.3)
    page.press("Copy as code")
    page.process()
    assert "run.set(η=0.3)" in page.value("code")
    assert os.listdir() == ["run.npz"]
    page.press("Copy as code")
    page.process()
    assert not page.has("code")


def test_buttons_are_enabled_as_far_as_they_do_something():
    run = quadratic()
    page = ControlsPage(RunControls(run, playing=True))

    def enabled():
        return [k for k in page.enabled() if k not in ("÷2", "×2", "Copy as code")]

    assert enabled() == ["Pause", "Step", "Stop"]
    page.press("Pause")
    page.process()
    assert enabled() == ["Play", "Step", "Stop"]
    page.press("Stop")
    page.process()
    assert enabled() == []
    assert run.state == "stopped"


def test_every_control_has_a_label():
    page = ControlsPage(RunControls(quadratic(lambda ps: ADAM(ps)), closable=True))
    for x in page.shown():
        if isinstance(x, (w.Button, w.Dropdown, w.Checkbox, w.SelectionSlider, w.FloatLogSlider, w.FloatSlider)):
            assert x.description
    labels = {x.description for x in page.shown() if hasattr(x, "description")}
    assert labels >= {"Play", "Pause", "Step", "Stop", "Close", "optimiser", "η", "β1", "β2", "decay", "clip", "log-y"}


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

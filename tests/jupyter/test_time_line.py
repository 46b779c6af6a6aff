"""Rewind, Undo, Branch, Recover and Code."""

from __future__ import annotations

import os

import numpy as np
import pytest

from fluxmagic import SGD, NotFinite, Run, param
from fluxmagic.jupyter.controls.run_controls import RunControls
from fluxmagic.optimise import ADADelta
from tests.jupyter.panel_page import ControlsPage, plain
from tests.jupyter.problems import quadratic


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


def test_recover_is_shown_after_a_loss_that_is_not_finite_and_names_the_new_η():
    W = param(np.ones(3))
    data = [np.zeros(3)] * 5 + [np.full(3, np.nan)] + [np.zeros(3)] * 4
    run = Run(lambda x: ((W - x) ** 2).sum(), data, SGD([W], 0.1), epochs=2)
    page = ControlsPage(RunControls(run))

    def is_offered():
        return "Recover" in page.enabled()

    run.step(5)
    assert not is_offered()
    with pytest.raises(NotFinite):
        run.step()
    assert is_offered()
    page.press("Recover")
    assert page.process()
    assert "from step 6 with η 0.01" in page.message
    assert not is_offered()
    assert not page.has("Recover")
    assert run.opt.η == 0.01
    assert page.value("η") == 0.01
    assert page.is_enabled("Play")
    run.step(4)
    assert np.isfinite(run.last_loss)


@pytest.mark.parametrize("ending", ["a finite step", "Recover"])
def test_why_a_run_failed_stays_after_a_turn_until_it_goes_on(ending):
    W = param(1.0)
    run = Run(lambda x: W * x, [1.0, np.inf, 1.0], SGD([W], 0.1))
    page = ControlsPage(RunControls(run))
    run.step()
    with pytest.raises(NotFinite) as failed:
        run.step()
    page.controls.show_failure(f"{failed.value}")
    for η, says in ((0.01, "step 2: the loss is inf"), (-1.0, "η = -1 is out of range"), (0.02, "step 2: the loss is")):
        page.turn("η", η)
        page.process()
        assert says in page.message
    if ending == "Recover":
        page.press("Recover")
    else:
        run.step()
    page.process()
    assert "the loss is inf" not in page.message
    assert not any("the loss is inf" in text for text in page.texts())


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
    page.process()
    page.press("Recover")
    page.process()
    assert "goes on from step 2" in page.message
    assert "η" not in page.message


def test_recover_without_a_failure_is_a_message():
    run = quadratic()
    run.step()
    page = ControlsPage(RunControls(run))
    page.controls.press("Recover")  # by a page that is late
    page.process()
    assert "nothing to recover from" in page.message


def code(page):
    """Give the HTML of the code that is shown; "" for none."""
    return next((t for t in page.texts() if "<pre" in t), "")


def test_code_shows_and_hides_the_script_as_text_with_a_button_that_copies_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = quadratic(name="</pre><script>run")
    page = ControlsPage(RunControls(run))
    run.step(5)
    run.set(η=0.3)
    page.press("Code")
    page.process()
    (path,) = os.listdir()
    assert "run.set(η=0.3)" in code(page)
    assert path in plain(code(page))
    assert "<script" not in code(page)
    assert code(page).count("</pre>") == 1
    assert ">Copy</button>" in code(page)
    page.press("Code")
    page.process()
    assert code(page) == ""


def test_undo_after_rewind_brings_the_steps_and_the_turns_back():
    run = quadratic()
    page = ControlsPage(RunControls(run))
    run.step(6)
    run.set(η=0.3)
    run.step(4)
    page.process()
    page.turn("step", 5)
    page.press("Rewind")
    page.process()
    assert (run.steps, page.field("η").value) == (5, "0.1")
    page.press("Undo")
    page.process()
    assert (run.steps, page.field("η").value) == (10, "0.3")
    assert "step 10" in page.message

"""The start of a run of two numbers, as two number fields."""

from __future__ import annotations

import numpy as np
import pytest

from fluxmagic import SGD, Panel, Run, landscapes, param
from fluxmagic.jupyter.controls.run_controls import RunControls
from fluxmagic.jupyter.pictures.plot import Curve
from tests.jupyter.panel_page import ControlsPage
from tests.jupyter.problems import quadratic

FIELDS = ("start w[0]", "start w[1]")


@pytest.fixture
def page():
    w = param([-1.2, 1.0])
    run = Run(lambda: landscapes.rosenbrock(w), None, SGD([w], 0.001), steps=50)
    page = ControlsPage(RunControls(run))
    yield page
    page.controls.close()


def start_of(page):
    return [page.value(name) for name in FIELDS]


def type_in(page, i, text):
    page.send(FIELDS[i], value=text)
    page.process()


def test_the_fields_show_the_start(page):
    assert start_of(page) == ["-1.2", "1"]
    page.controls.run.step(5)
    page.process()
    assert start_of(page) == ["-1.2", "1"]


def test_before_the_first_step_the_start_is_set_at_once(page):
    type_in(page, 0, "0.25")
    type_in(page, 1, "-1e-3")
    run = page.controls.run
    assert [x for p in run.params for x in p.data] == [0.25, -0.001]
    run.step()
    assert run.path[0].tolist() == [0.25, -0.001]


def test_restart_goes_to_the_start_that_was_typed(page):
    run = page.controls.run
    run.step(5)
    type_in(page, 0, "0.5")
    assert run.steps == 5
    assert start_of(page) == ["0.5", "1"]
    page.press("Restart")
    page.process()
    assert (run.steps, run.path.tolist()) == (0, [[0.5, 1.0]])
    run.step(4)
    end = [p.data.copy() for p in run.params]
    run.replay()
    np.testing.assert_array_equal([p.data for p in run.params], end)
    page.press("Restart")
    page.process()
    assert run.path.tolist() == [[0.5, 1.0]]
    page.press("Undo")
    page.process()
    assert run.steps == 4


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1,5"])
def test_what_is_no_number_is_refused_with_a_message(page, text):
    page.controls.run.step(2)
    type_in(page, 1, text)
    assert f"start w[1] is a finite number, not '{text}'" in page.message
    assert start_of(page) == ["-1.2", "1"]
    assert page.controls.run.steps == 2


def test_other_runs_have_no_such_fields(page):
    other = ControlsPage(RunControls(quadratic()))
    assert not any(other.has(name) for name in FIELDS)
    other.controls.close()


def test_the_picture_follows(page):
    picture = Curve(page.controls.run)
    type_in(page, 0, "1.5")
    picture.follow(page.controls)
    picture.frame()
    (ball,) = [x for x in picture.figure.axes[1].lines if x.get_zorder() == 5]
    assert ball.get_xdata().tolist() == [1.5]
    assert isinstance(Panel(page.controls.run), Panel)

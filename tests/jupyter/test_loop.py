"""Driving in the calling cell: every way out, branches, and refreshing the view."""

from __future__ import annotations

import os
import signal
import time
from types import SimpleNamespace

import ipywidgets
import numpy as np
import pytest

from fluxmagic import SGD, NotFinite, Race, Run, landscapes, param
from fluxmagic.jupyter.controls import run_controls as controls
from fluxmagic.jupyter.controls.widgets import models
from fluxmagic.jupyter.driving import loop
from fluxmagic.jupyter.driving.loop import run_loop, train_in_cell
from fluxmagic.jupyter.driving.pace import Pace
from fluxmagic.jupyter.driving.views import WidgetView
from fluxmagic.jupyter.pictures import loss_picture
from tests.jupyter.outputs import Clock
from tests.jupyter.panel_page import ControlsPage
from tests.jupyter.problems import quadratic

TERMINAL = SimpleNamespace()


def test_a_terminal_gets_the_summary(capsys):
    run = quadratic(name="run")
    train_in_cell(run, TERMINAL)
    out = capsys.readouterr().out
    assert run.state == "done"
    assert "run: SGD (η 0.1)" in out
    assert "20 steps" in out


def test_not_finite_is_raised_after_the_summary(capsys):
    W = param(1.0)
    run = Run(lambda x: W * x, [1.0, 1.0, np.inf], SGD([W], 0.1), name="run")
    with pytest.raises(NotFinite) as error:
        train_in_cell(run, TERMINAL)
    assert error.value.step == 3
    assert np.isfinite(W.data)
    assert "failed in epoch 1" in capsys.readouterr().out


def test_an_error_of_the_loss_is_raised_after_the_summary(capsys):
    W = param(1.0)

    def loss(x):
        if run.steps == 4:
            raise ZeroDivisionError("mine")
        return W * x

    run = Run(loss, [1.0] * 9, SGD([W], 0.1))
    with pytest.raises(ZeroDivisionError, match="mine"):
        train_in_cell(run, TERMINAL)
    assert "4 steps" in capsys.readouterr().out


def test_an_interrupt_is_raised_after_the_batch_and_the_summary(capsys):
    W = param(np.ones(3))

    def loss(x):
        if run.steps == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return ((W - x) ** 2).sum()

    run = Run(loss, [0.0] * 50, SGD([W], 0.1))
    with pytest.raises(KeyboardInterrupt):
        train_in_cell(run, TERMINAL)
    assert run.steps == 5
    assert run.state == "paused"
    assert "5 steps" in capsys.readouterr().out


def test_a_stopped_run_goes_on_when_it_is_driven_again(capsys):
    run = quadratic()
    run.step(3)
    run.stop()
    assert run.state == "stopped"
    train_in_cell(run, TERMINAL)
    assert run.state == "done"
    assert run.steps == 20


def test_a_pause_without_controls_ends_the_cell(capsys):
    W = param(np.ones(3))

    def loss(x):
        if run.steps == 4:
            run.pause()
        return ((W - x) ** 2).sum()

    run = Run(loss, [0.0] * 50, SGD([W], 0.1))
    train_in_cell(run, TERMINAL)
    assert (run.steps, run.state) == (5, "paused")


def test_a_branch_takes_the_runs_place_and_the_runs_curve_stays_in_grey(page, monkeypatch):
    monkeypatch.setattr(controls, "get_ipython", lambda: None)
    run = quadratic(epochs=20, name="run")
    view = WidgetView(run)
    panel = ControlsPage(view.controls)
    process = view.controls.process_requests
    script = [(5, ["Branch"]), (30, ["Pause", "Branch"]), (30, ["Play"])]

    def press_and_process():
        if script and view.controls.run.steps >= script[0][0]:
            for label in script.pop(0)[1]:
                panel.press(label)
        return process()

    monkeypatch.setattr(view.controls, "process_requests", press_and_process)
    run_loop(view, turn=0.0)
    first, second = view.controls.run.parent, view.controls.run
    assert first.parent is run
    assert [r.state for r in (run, first, second)] == ["paused", "paused", "done"]
    assert [r.steps for r in (run, first, second)] == [5, 30, 200]
    assert view.run is view.picture.run is second
    assert [s.n for s in view.picture.earlier] == [5, 30]
    assert "run_c" in page.outputs[0].data[-1]["text/plain"]


def diverging(steps=8, at=5, **options):
    """Make a run whose loss is not finite at one step."""
    W = param(np.ones(3))
    data = [np.zeros(3)] * steps
    data[at - 1] = np.full(3, np.nan)
    return Run(lambda x: ((W - x) ** 2).sum(), data, SGD([W], 0.1), name="run", **options)


def use(view, script):
    """Drive a view; while it is paused, press one list of labels after the other."""
    panel, script = ControlsPage(view.controls), list(script)

    def sleep(seconds):
        for label in script.pop(0):
            panel.press(label)

    run_loop(view, turn=0.0, sleep=sleep)
    return panel


def test_a_loss_that_is_not_finite_pauses_and_play_goes_on_with_the_next_batch(page, capsys):
    view = WidgetView(diverging())
    use(view, [[], [], ["Play"]])
    assert (view.run.steps, view.run.state) == (8, "done")
    printed = capsys.readouterr().out
    assert "run paused: step 5: the loss is nan" in printed
    assert "Stop and ■ end the cell" in printed
    assert printed.count("run paused") == 1


def test_recover_and_play_go_on_with_a_smaller_η(page, capsys):
    view = WidgetView(diverging())
    use(view, [["Recover"], ["Play"]])
    assert view.run.state == "done"
    assert view.run.opt.η == pytest.approx(0.01)


def test_stop_raises_what_paused_the_run(page, capsys):
    view = WidgetView(diverging(at=8))
    with pytest.raises(NotFinite, match="step 8"):
        use(view, [[], ["Stop"]])
    assert view.run.state == "failed"
    assert "8 steps" in page.outputs[1].data[-1]["text/plain"]


def test_after_recover_stop_ends_normally(page, capsys):
    view = WidgetView(diverging())
    use(view, [["Recover"], ["Stop"]])
    assert view.run.state == "stopped"


def test_a_step_that_is_not_finite_while_paused_is_a_message(page, capsys):
    view = WidgetView(diverging(at=2))
    view.run.step()
    ControlsPage(view.controls).press("Pause")
    panel = use(view, [["Step"], ["Step"], ["Play"]])
    assert panel.controls.run.state == "done"
    assert "step 2: the loss is nan" in capsys.readouterr().out


def test_a_run_is_restarted_while_its_cell_waits(page):
    view = WidgetView(quadratic())
    view.run.step(5)
    ControlsPage(view.controls).press("Pause")
    use(view, [["Restart"], ["Play"]])
    assert (view.run.steps, view.run.state) == (20, "done")
    assert len(view.run.abandoned) == 1


def test_a_limited_speed_sleeps_between_steps_and_takes_as_many_as_are_due(page):
    clock, slept = Clock(), []
    view = WidgetView(quadratic(n=40, epochs=1))
    view.controls.pace = Pace(10.0, clock)

    def sleep(seconds):
        slept.append(seconds)
        clock.now += seconds

    run_loop(view, sleep=sleep)
    assert view.run.steps == 40
    assert 3.8 <= sum(slept) <= 4.0
    assert max(slept) <= 0.02


def test_a_page_that_sends_nothing_is_told_to_use_a_panel(page, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(loop, "monotonic", clock)
    view = WidgetView(quadratic(n=30, epochs=1))
    panel, said = ControlsPage(view.controls), []
    view.controls.pace = Pace(10.0, clock)

    def sleep(seconds):
        clock.now += seconds
        said.append((clock.now, panel.message))

    run_loop(view, sleep=sleep)
    assert {message for now, message in said if now < 1.4} == {""}
    assert {message for now, message in said if now > 1.6} == {loop.SILENT}


def test_a_page_that_ticks_is_told_nothing(page, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(loop, "monotonic", clock)
    view = WidgetView(quadratic(n=30, epochs=1))
    panel, said = ControlsPage(view.controls), set()
    view.controls.pace = Pace(10.0, clock)
    next(x for x in models(view.controls.box) if isinstance(x, ipywidgets.Play)).set_state({"value": 1})

    def sleep(seconds):
        clock.now += seconds
        said.add(panel.message)

    run_loop(view, sleep=sleep)
    assert said == {""}


class CountingView:
    """Counts what is asked of it."""

    controls = None

    def __init__(self, run, fails=False):
        self.run = run
        self.fails = fails
        self.refreshed = self.closed = 0

    def refresh_if_due(self):
        self.refreshed += 1
        if self.fails:
            raise RuntimeError("cannot draw")

    def close(self):
        self.closed += 1


@pytest.mark.parametrize(("turn", "refreshed"), [(0.0, 19), (60.0, 0)])
def test_the_view_is_refreshed_after_each_turn_but_the_last_and_closed_once(turn, refreshed):
    view = CountingView(quadratic())
    run_loop(view, turn=turn)
    assert view.run.state == "done"
    assert (view.refreshed, view.closed) == (refreshed, 1)


def test_a_view_that_fails_is_closed_and_its_run_is_paused():
    view = CountingView(quadratic(), fails=True)
    with pytest.raises(RuntimeError, match="cannot draw"):
        run_loop(view, turn=0.0)
    assert (view.refreshed, view.closed) == (1, 1)
    assert (view.run.steps, view.run.state) == (1, "paused")


def over_two_numbers(kind):
    w = param([-1.2, 1.0])
    if kind == "run":
        return Run(lambda: landscapes.rosenbrock(w), None, SGD([w], 0.001), steps=100)
    return Race(lambda: landscapes.rosenbrock(w), None, [w], [("SGD", {}), ("ADAM", {})], steps=100)


@pytest.mark.parametrize("kind", ["run", "race"])
def test_while_it_is_paused_the_map_of_the_loss_gets_finer_until_it_is_whole(page, monkeypatch, kind):
    monkeypatch.setattr(loss_picture, "MAP_SECONDS", 0.0)
    monkeypatch.setattr(loss_picture, "IDLE_MAP_SECONDS", 0.005)
    view = WidgetView(over_two_numbers(kind))
    buttons = ControlsPage(view.controls)
    whole, steps = False, []

    def wait(seconds):
        nonlocal whole
        time.sleep(seconds)
        steps.append(view.run.steps)
        if not view.is_unfinished:
            whole = True
            buttons.press("Stop")

    buttons.press("Pause")
    run_loop(view, turn=0.0, sleep=wait)
    assert whole
    assert {*steps[1:]} == {view.run.steps}  # no step was taken meanwhile


def test_a_paused_run_sleeps_until_a_request_and_takes_single_steps(page):
    view = WidgetView(quadratic())
    panel, sleeps = ControlsPage(view.controls), []
    script = [["Step"], [], ["Step", "Step"], ["Stop"]]

    def sleep(seconds):
        sleeps.append(view.run.steps)
        for label in script.pop(0):
            panel.press(label)

    view.run.step()
    panel.press("Pause")
    run_loop(view, turn=0.0, sleep=sleep)
    assert sleeps == [2, 3, 3, 5]
    assert (view.run.steps, view.run.state) == (5, "stopped")

"""Driving in the calling cell: the budget for drawing, what is left at the end, every way out."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import time
import weakref
from types import SimpleNamespace

import ipywidgets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxmagic import SGD, NotFinite, Run, param
from fluxmagic.jupyter import board as board_module
from fluxmagic.jupyter import driver, text
from fluxmagic.jupyter.driver import Budget, Terminal, drive, earlier, follow, frontend

TERMINAL = SimpleNamespace()


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def quadratic(**options):
    W = param(np.ones(3))
    options = {"epochs": 2, "name": "run", **options}
    return Run(lambda x: ((W - x) ** 2).sum(), [np.zeros(3)] * 10, SGD([W], 0.1), **options)


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
    budget = Budget(clock)
    drawn, when = draw_for(budget, clock, 100.0, costs)
    assert drawn <= 0.01 * 100 + max(costs)
    assert len(when) >= 2
    assert budget.share == pytest.approx(drawn / clock.now)


@settings(deadline=None, max_examples=40)
@given(st.floats(0.003, 0.04), st.lists(st.floats(0.02, 0.5), min_size=1, max_size=20))
def test_for_five_seconds_after_a_dial_moved_at_most_10_percent(cost, pauses):
    clock = Clock()
    budget = Budget(clock)
    draw_for(budget, clock, 60.0, [cost])
    start, drawn = clock.now, 0.0
    for pause in pauses:  # a drag is many moves
        budget.moved()
        drawn += draw_for(budget, clock, pause, [cost])[0]
    drawn += draw_for(budget, clock, 5.0, [cost])[0]
    assert drawn <= 0.10 * (clock.now - start) + 2 * cost
    calm = clock.now
    drawn, _ = draw_for(budget, clock, 50.0, [cost])
    assert drawn <= 0.01 * (clock.now - calm) + 2 * cost


@settings(deadline=None, max_examples=40)
@given(st.floats(0.003, 0.04), st.floats(0.0, 20.0), st.booleans())
def test_a_turn_shows_within_half_a_second(cost, wait, in_debt):
    clock = Clock()
    budget = Budget(clock)
    draw_for(budget, clock, 10.0 + wait, [cost])
    if in_debt:
        budget.spend(0.1)  # the axes had to move
    budget.moved()
    moved = clock.now
    _, when = draw_for(budget, clock, 1.0, [cost])
    assert when[0] - moved <= 0.5


@pytest.mark.parametrize(
    ("ip", "kind"),
    [
        (SimpleNamespace(), "terminal"),
        (SimpleNamespace(kernel=None), "terminal"),
        (SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda: {"content": {"allow_stdin": True}})), "widgets"),
        (SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda: {"content": {"allow_stdin": False}})), "page"),
        (SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda: {})), "page"),
        (SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda: None)), "page"),
    ],
)
def test_the_front_end_is_told_by_what_it_takes(ip, kind):
    assert frontend(ip) == kind


def test_a_terminal_gets_the_summary(capsys):
    run = quadratic()
    drive(run, TERMINAL)
    out = capsys.readouterr().out
    assert run.state == "done"
    assert "run: SGD (η 0.1)" in out
    assert "20 steps" in out


def test_a_terminal_gets_lines_ever_more_seldom(capsys, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(driver.time, "perf_counter", clock)
    view = Terminal(quadratic())
    for _ in range(600):
        clock.now += 0.1
        view.look()
    lines = capsys.readouterr().out.splitlines()
    assert 3 <= len(lines) <= 10
    assert all(line.startswith("epoch 1/2") for line in lines)


def test_a_line_that_can_be_overwritten_is_and_is_gone_at_the_end(capsys, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(driver.time, "perf_counter", clock)
    view = Terminal(quadratic())
    view.overwrite = True
    for _ in range(30):
        clock.now += 0.1
        view.look()
    view.run.step()
    view.close()
    out = capsys.readouterr().out
    assert out.count("\r") >= 3
    assert out.rsplit("\r", 1)[1].startswith("run: SGD")


def test_not_finite_leaves_the_summary_and_is_raised(capsys):
    W = param(1.0)
    run = Run(lambda x: W * x, [1.0, 1.0, np.inf], SGD([W], 0.1), name="run")
    with pytest.raises(NotFinite) as error:
        drive(run, TERMINAL)
    assert error.value.step == 3
    assert np.isfinite(W.data)
    assert "failed in epoch 1" in capsys.readouterr().out


def test_what_the_loss_raises_leaves_the_summary_and_is_raised(capsys):
    W = param(1.0)

    def loss(x):
        if run.steps == 4:
            raise ZeroDivisionError("mine")
        return W * x

    run = Run(loss, [1.0] * 9, SGD([W], 0.1))
    with pytest.raises(ZeroDivisionError, match="mine"):
        drive(run, TERMINAL)
    assert "4 steps" in capsys.readouterr().out


def test_an_interrupt_finishes_the_batch_leaves_the_summary_and_is_raised(capsys):
    W = param(np.ones(3))

    def loss(x):
        if run.steps == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return ((W - x) ** 2).sum()

    run = Run(loss, [0.0] * 50, SGD([W], 0.1))
    with pytest.raises(KeyboardInterrupt):
        drive(run, TERMINAL)
    assert run.steps == 5
    assert run.state == "paused"
    assert "5 steps" in capsys.readouterr().out


def test_a_stopped_run_goes_on_when_it_is_driven_again(capsys):
    run = quadratic()
    run.step(3)
    run.stop()
    assert run.state == "stopped"
    drive(run, TERMINAL)
    assert run.state == "done"
    assert run.steps == 20


def test_a_run_that_is_paused_where_nobody_can_go_on_ends_the_cell(capsys):
    W = param(np.ones(3))

    def loss(x):
        if run.steps == 4:
            run.pause()
        return ((W - x) ** 2).sum()

    run = Run(loss, [0.0] * 50, SGD([W], 0.1))
    drive(run, TERMINAL)
    assert (run.steps, run.state) == (5, "paused")


class Shown:
    def __init__(self, *args, **options):
        self.data = []

    def update(self, data, **options):
        self.data.append(data)

    display = update


@pytest.fixture
def pages(monkeypatch):
    monkeypatch.setattr(driver, "_display", Shown)
    driver._earlier.clear()
    yield SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda: {"content": {"allow_stdin": False}}))
    driver._earlier.clear()


def test_earlier_runs_of_the_same_name_are_drawn_three_of_them(pages):
    runs = [quadratic(name="a") for _ in range(4)]
    other = quadratic(name="b")
    assert earlier(runs[0]) == []
    drive(runs[0], pages)
    drive(other, pages)
    assert earlier(runs[0]) == []  # a run that is resumed is not earlier than itself
    assert [d.n for d in earlier(runs[1])] == [20]
    for r in runs[1:]:
        drive(r, pages)
    assert len(earlier(quadratic(name="a"))) == 3
    assert earlier(quadratic(name="b")) == []


def test_the_run_that_a_branch_was_made_of_is_drawn_behind_it(pages):
    run = quadratic(name="a", epochs=3)
    run.step(12)
    branch = run.branch("b")
    drive(run, pages)
    assert [d.n for d in earlier(branch)] == [30]
    assert earlier(quadratic(name="b")) == []


def test_earlier_runs_are_drawn_but_not_kept_in_memory(pages):
    run = quadratic(name="a")
    drive(run, pages)
    ref = weakref.ref(run)
    del run
    gc.collect()
    assert ref() is None
    assert len(earlier(quadratic(name="a"))) == 1


def test_frames_of_a_run_that_rests_are_not_held_against_it(pages):
    view = driver.Page(quadratic())
    view.budget = Budget(clock := Clock())
    for _ in range(50):
        view.draw()
    clock.now += 1.0
    assert view.budget.due()
    assert view.budget.share == 0.0


def test_a_page_without_dials_gets_the_picture_and_the_summary(pages):
    view = driver.Page(quadratic())
    follow(view.run, view)
    assert view.picture.data[-1]["image/png"].startswith(b"\x89PNG")
    assert "20 steps" in view.words.data[-1]["text/plain"]


def test_in_a_cell_a_branch_takes_the_runs_place_and_the_runs_curve_stays_in_grey(pages, monkeypatch):
    monkeypatch.setattr(driver, "LOOK", 0.0)
    monkeypatch.setattr(board_module, "get_ipython", lambda: None)
    run = quadratic(epochs=20)
    view = driver.Live(run)
    board, buttons = view.board, view.board._buttons
    serve = board.serve
    script = [(5, [board._branch]), (30, [buttons["Pause"], board._branch]), (30, [buttons["Play"]])]

    def click_and_serve():
        if script and board.run.steps >= script[0][0]:
            for button in script.pop(0)[1]:
                button.click()
        return serve()

    monkeypatch.setattr(board, "serve", click_and_serve)
    follow(run, view)
    first, second = board.run.parent, board.run
    assert first.parent is run
    assert [r.state for r in (run, first, second)] == ["paused", "paused", "done"]
    assert [r.steps for r in (run, first, second)] == [5, 30, 200]
    assert view.run is view.curve.run is second
    assert [d.n for d in view.before] == [5, 30]
    assert view.curve.earlier == view.before
    assert "run_c" in view.picture.data[-1]["text/plain"]


class View:
    """Counts what is asked of it."""

    def __init__(self):
        self.looks = 0
        self.closed = 0

    def look(self):
        self.looks += 1

    def close(self):
        self.closed += 1


def test_the_view_is_looked_at_now_and_then_and_closed_once():
    W = param(1.0)

    def loss(x):
        time.sleep(0.005)
        return W * W

    run = Run(loss, [1.0] * 60, SGD([W], 0.1))
    view = View()
    follow(run, view)
    assert 1 <= view.looks <= 30
    assert view.closed == 1


def test_the_view_is_closed_also_if_it_fails():
    class Broken(View):
        def look(self):
            raise RuntimeError("cannot draw")

    W = param(1.0)

    def loss(x):
        time.sleep(0.005)
        return W * W

    view = Broken()
    run = Run(loss, [1.0] * 60, SGD([W], 0.1))
    with contextlib.suppress(RuntimeError):
        follow(run, view)
    assert view.closed == 1
    assert np.isfinite(W.data)


def test_a_curve_that_cannot_be_drawn_is_a_message_and_the_training_goes_on(pages, monkeypatch):
    def fail(self):
        raise ValueError("no such\nglyph")

    monkeypatch.setattr(driver.Curve, "frame", fail)
    view = driver.Page(quadratic())
    view.show()
    assert "the curve cannot be drawn: ValueError: no such glyph" in view.words.data[-1]["text/plain"]
    monkeypatch.setattr(driver.Curve, "picture", fail)
    follow(view.run, view)
    assert view.run.state == "done"
    assert "20 steps" in view.words.data[-1]["text/plain"]
    assert view.words.data[-1]["text/plain"].endswith("the curve cannot be drawn: ValueError: no such glyph")


def test_a_curve_that_cannot_be_drawn_leaves_no_widget(pages, monkeypatch):
    monkeypatch.setattr(driver.Curve, "frame", lambda self: 1 / 0)
    before = set(ipywidgets.widget._instances)
    run = quadratic()
    view = driver.Live(run)
    assert "the curve cannot be drawn" in view.board._message.value
    follow(run, view)
    assert run.state == "done"
    assert set(ipywidgets.widget._instances) == before

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(driver, "_display", interrupted)
    with pytest.raises(KeyboardInterrupt):
        driver.Live(quadratic())
    assert set(ipywidgets.widget._instances) == before


def test_of_a_run_without_a_step_nothing_is_shown(pages, capsys):
    W = param(1.0)
    run = Run(lambda x: 1 / 0, [1.0], SGD([W], 0.1))
    for kind in (driver.Page, driver.Live, driver.Terminal):
        view = kind(run)
        with pytest.raises(ZeroDivisionError):
            follow(run, view)
        if kind is not driver.Terminal:
            assert view.picture.data[-1] == {"text/plain": ""}
            assert not any("image/png" in d for d in view.picture.data)
    assert capsys.readouterr().out == ""


def test_the_loss_that_is_shown_is_an_epochs_mean():
    W = param(0.0)
    run = Run(lambda x: W * 0 + x.sum(), [np.array([v]) for v in (3.0, 2.0, 1.0)], SGD([W], 0.1), epochs=3)
    assert "loss" not in text.progress(run)
    run.step(2)
    assert "loss 2.5 so far" in text.progress(run)
    assert "\nloss 2.5 so far" in text.summary(run)
    run.step(3)
    assert "loss 2 ·" in text.progress(run)
    assert "\nloss 2\n" in text.summary(run) + "\n"
    run.train()
    assert "loss 2 → 2, best 2 (epoch 1)" in text.summary(run)
    assert not any("loss 1 " in f(run) for f in (text.progress, text.summary))


def test_a_summary_has_the_numbers_of_the_epoch_whose_weights_were_kept():
    W = param(np.ones(1))
    X = np.array([[3.0], [2.0]])
    run = Run(
        lambda x: ((W - x) ** 2).mean(),
        [X],
        SGD([W], 0.9),
        epochs=50,
        valid=X * 0.5,
        patience=3,
        metrics={"w": lambda x: W.data[0]},
    )
    run.train()
    checks = dict(run.record.evaluations)
    kept = checks[run.best.step]
    told = text.summary(run)
    assert f"stopped in epoch {run.best.epoch + 3} of 50 by patience" in told
    assert f"best valid {kept['valid']:.4g} (epoch {run.best.epoch})" in told
    assert f"the weights are those of epoch {run.best.epoch}: loss" in told
    assert f"valid {kept['valid']:.4g}, w {kept['w']:.4g}" in told
    assert float(W.data[0]) == pytest.approx(kept["w"])


def test_a_validation_loss_of_an_earlier_epoch_is_marked_as_such():
    W = param(np.ones(1))
    X = np.array([[3.0], [2.0]])
    run = Run(lambda x: ((W - x) ** 2).mean(), [X], SGD([W], 0.1), epochs=2, valid=X * 0.5)
    run.train()
    last = f"valid {run.last_evaluation['valid']:.4g}"
    assert text.summary(run).endswith(last)
    run.valid, run.epochs = None, 4
    run.train()
    assert text.summary(run).endswith(f"{last} (epoch 2)")


def test_minus_zero_is_zero():
    assert text.number(-0.0) == "0"

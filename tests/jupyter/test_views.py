"""Views: what is shown while a run is driven, and what is left at the end."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import pytest

from fluxmagic import SGD, Run, param
from fluxmagic.jupyter.driving import views
from fluxmagic.jupyter.driving.draw_budget import DrawBudget
from fluxmagic.jupyter.driving.loop import run_loop, train_in_cell
from fluxmagic.jupyter.driving.views import ImageView, TextView, WidgetView, frontend_kind
from fluxmagic.jupyter.pictures import plot
from fluxmagic.jupyter.pictures.plot import recent_curves
from tests.jupyter.outputs import Clock, open_widgets
from tests.jupyter.panel_page import ControlsPage
from tests.jupyter.problems import quadratic


@pytest.mark.parametrize(
    ("shell", "kind"),
    [
        (SimpleNamespace(), "terminal"),
        (SimpleNamespace(kernel=None), "terminal"),
        (SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda: {"content": {"allow_stdin": True}})), "widgets"),
        (SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda: {"content": {"allow_stdin": False}})), "page"),
        (SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda: {})), "page"),
        (SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda: None)), "page"),
    ],
)
def test_the_kind_of_a_front_end_follows_from_the_request(shell, kind):
    assert frontend_kind(shell) == kind


def test_lines_that_cannot_be_overwritten_get_rarer(capsys):
    clock = Clock()
    view = TextView(quadratic(), clock, overwrite=False)
    for _ in range(600):
        clock.now += 0.1
        view.refresh_if_due()
    lines = capsys.readouterr().out.splitlines()
    assert 3 <= len(lines) <= 10
    assert all(line.startswith("epoch 1/2") for line in lines)


def test_a_line_that_is_overwritten_is_removed_at_the_end(capsys):
    clock = Clock()
    view = TextView(quadratic(name="run"), clock, overwrite=True)
    for _ in range(30):
        clock.now += 0.1
        view.refresh_if_due()
    view.run.step()
    view.close()
    out = capsys.readouterr().out
    assert out.count("\r") >= 3
    assert out.rsplit("\r", 1)[1].startswith("run: SGD")


def test_the_last_three_runs_of_the_same_name_are_drawn(page):
    runs = [quadratic(name="a") for _ in range(4)]
    other = quadratic(name="b")
    assert recent_curves(runs[0]) == []
    train_in_cell(runs[0], page)
    train_in_cell(other, page)
    assert recent_curves(runs[0]) == []  # a run that is resumed is not earlier than itself
    assert [d.n for d in recent_curves(runs[1])] == [20]
    for r in runs[1:]:
        train_in_cell(r, page)
    assert len(recent_curves(quadratic(name="a"))) == 3
    assert recent_curves(quadratic(name="b")) == []


def test_the_parent_of_a_branch_is_drawn(page):
    run = quadratic(name="a", epochs=3)
    run.step(12)
    branch = run.branch("b")
    train_in_cell(run, page)
    assert [d.n for d in recent_curves(branch)] == [30]
    assert recent_curves(quadratic(name="b")) == []


def test_recent_curves_do_not_keep_their_runs_in_memory(page):
    run = quadratic(name="a")
    train_in_cell(run, page)
    ref = weakref.ref(run)
    del run
    gc.collect()
    assert ref() is None
    assert len(recent_curves(quadratic(name="a"))) == 1


def test_frames_of_a_paused_run_are_not_on_the_budget(page):
    budget = DrawBudget(clock := Clock(), processor := Clock())
    view = ImageView(quadratic(), budget, clock)
    for _ in range(50):
        view.draw()
    clock.now = processor.now = 1.0
    assert view.budget.due()
    assert view.budget.share == 0.0


class Counted(ImageView):
    """Counts its frames and its words, which cost a hundredth of a second each."""

    frames = words = 0
    leaves_time = False

    def _draw(self):
        self.frames += 1
        self.budget.processor.now += 0.01
        super()._draw()

    def _show_progress(self):
        self.words += 1
        super()._show_progress()


def train_and_refresh(view, clock, processor, seconds, step=0.01, idle=0.0):
    for _ in range(round(seconds / step)):
        view.run.step()
        clock.now += step
        processor.now += step - idle
        view.refresh_if_due()


@pytest.fixture
def counted(page):
    """A view of a long run, its clock and its processor's."""
    clock, processor = Clock(), Clock()
    budget = DrawBudget(clock, processor)
    budget.processor = processor
    return Counted(quadratic(n=10**6), budget, clock), clock, processor


def test_words_are_shown_four_times_a_second_and_a_picture_once_at_least(counted):
    view, *clocks = counted
    train_and_refresh(view, *clocks, 20.0)
    assert 72 <= view.words <= 84
    assert view.frames >= 19


def test_words_are_shown_after_every_longer_step(counted):
    view, *clocks = counted
    train_and_refresh(view, *clocks, 20.0, step=2.0)
    assert view.words == view.frames == 10


def test_nothing_is_drawn_while_no_step_is_taken(counted):
    view, clock, _ = counted
    view.leaves_time = True
    view.run.step()
    view.refresh_if_due()
    frames = view.frames
    for _ in range(100):
        clock.now += 0.1
        view.refresh_if_due()
    assert view.frames <= frames + 1


def test_with_idle_time_more_frames_are_drawn(counted):
    view, *clocks = counted
    view.leaves_time = True
    train_and_refresh(view, *clocks, 5.0, step=1 / 30, idle=0.03)
    assert 95 <= view.frames <= 101


def test_a_page_without_input_gets_the_picture_and_the_summary(page):
    view = ImageView(quadratic())
    run_loop(view)
    assert page.outputs[0].data[-1]["image/png"].startswith(b"\x89PNG")
    assert "20 steps" in page.outputs[1].data[-1]["text/plain"]


def test_a_curve_that_cannot_be_drawn_is_a_message_and_the_training_goes_on(page, monkeypatch):
    def fail(self):
        raise ValueError("no such\nglyph")

    monkeypatch.setattr(plot.Curve, "frame", fail)
    view = ImageView(quadratic())
    view.draw()
    assert "the curve cannot be drawn: ValueError: no such glyph" in page.outputs[1].data[-1]["text/plain"]
    monkeypatch.setattr(plot.Curve, "picture", fail)
    run_loop(view)
    assert view.run.state == "done"
    assert "20 steps" in page.outputs[1].data[-1]["text/plain"]
    assert page.outputs[1].data[-1]["text/plain"].endswith("the curve cannot be drawn: ValueError: no such glyph")


def test_a_curve_that_cannot_be_drawn_leaves_no_widget(page, monkeypatch):
    monkeypatch.setattr(plot.Curve, "frame", lambda self: 1 / 0)
    before = open_widgets()
    run = quadratic()
    view = WidgetView(run)
    assert "the curve cannot be drawn" in ControlsPage(view.controls).message
    run_loop(view)
    assert run.state == "done"
    assert open_widgets() == before

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(views, "display", interrupted)
    with pytest.raises(KeyboardInterrupt):
        WidgetView(quadratic())
    assert open_widgets() == before


@pytest.mark.parametrize("kind", [ImageView, WidgetView, TextView])
def test_of_a_run_without_a_step_nothing_is_shown(page, capsys, kind):
    W = param(1.0)
    view = kind(Run(lambda x: 1 / 0, [1.0], SGD([W], 0.1)))
    with pytest.raises(ZeroDivisionError):
        run_loop(view)
    for output in page.outputs:
        assert output.data[-1] == {"text/plain": ""}
        assert not any("image/png" in d for d in output.data[1:])
    assert capsys.readouterr().out == ""


def test_an_open_panel_leaves_picture_and_words_for_a_notebook_without_widgets(page):
    run = quadratic(name="</pre><b>run")
    view = WidgetView(run)
    run.step(5)
    view.draw()
    box, left = page.outputs[0].data[-1], page.outputs[1].data[-1]
    assert box["application/vnd.jupyter.widget-view+json"]["model_id"] == view.controls.box.model_id
    assert "VBox" not in box["text/plain"]
    assert "data:image/png;base64," in left["text/html"]
    assert "5 steps" in left["text/plain"]
    assert "&lt;b&gt;run" in left["text/html"]
    assert "<b>" not in left["text/html"]
    assert view.controls.name in left["text/html"]
    run_loop(view)
    assert sorted(page.outputs[0].data[-1]) == ["image/png", "text/plain"]
    assert list(page.outputs[1].data[-1]) == ["text/plain"]

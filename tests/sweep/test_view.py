"""A sweep on a page: its cells, its selectors, its picture, its words."""

import math
import re
from collections import defaultdict

import ipywidgets
import numpy as np
import pytest

from fluxmagic import Run, loadparams, param
from fluxmagic.jupyter.controls import widgets
from fluxmagic.jupyter.driving import views as shows
from fluxmagic.jupyter.driving.presentation import presentation
from fluxmagic.jupyter.sweep.controls import SweepControls
from fluxmagic.jupyter.sweep.picture import SweepPicture
from fluxmagic.jupyter.sweep.points import BAD, COLOURS, Dial, Points, ink_on
from fluxmagic.jupyter.sweep.words import best_of, progress, summary
from fluxmagic.sweep import loguniform
from tests.jupyter.panel_page import ControlsPage
from tests.sweep.problems import line_sweep, net_sweep

GRID = {"opt": "Momentum", "η": [0.001, 0.01, 1e30], "ρ": [0.5, 0.9]}


def page_of(sweep):
    return ControlsPage(SweepControls(sweep))


def markup(page):
    """All HTML, style sheets too."""
    return "".join(x.value for x in widgets.models(page.controls.box) if isinstance(x, ipywidgets.HTML))


def cells(page):
    """The points of the cells, in rows from above."""
    return [int(n) for n in re.findall(r'data-point="(\d+)" aria-label', markup(page))]


def rules(page, point):
    """What the style sheet says of a cell, by pseudo-element."""
    found = defaultdict(str)
    for kind, rule in re.findall(rf"\.c{point}((?:::|:is)[^{{]*|){{([^}}]*)}}", markup(page)):
        found[kind] += rule
    return found


def choose(page, point):
    field = next(x for x in widgets.models(page.controls.box) if "fluxmagic-chosen" in getattr(x, "_dom_classes", ()))
    field.set_state({"value": str(point)})
    page.process()


def test_two_dials_give_cells_that_fill_without_being_replaced():
    sweep, _ = net_sweep(GRID)
    page = page_of(sweep)
    assert cells(page) == [1, 3, 5, 0, 2, 4]  # the larger ρ above
    board = next(t for t in page.texts() if "aria-label" in t)
    assert not any("background" in "".join(rules(page, n).values()) for n in range(6))
    sweep.train()
    page.controls.show()
    assert next(t for t in page.texts() if "aria-label" in t) == board
    best = sweep.best_trial
    assert "background:#fde725;color:#000000" in rules(page, best.spec.index)[""]  # the bright end of viridis
    assert f'content:"{best.objective:.2g}"' in rules(page, best.spec.index)["::before"]
    tooltip = rules(page, best.spec.index)[":is(:hover,:focus-visible)::after"]
    assert all(word in tooltip for word in (f"{best.objective:.4g}", "done", "steps", "best"))
    assert BAD in rules(page, 4)[""]
    assert "✕" in rules(page, 4)["::before"]
    assert "diverged" in rules(page, 4)[":is(:hover,:focus-visible)::after"]


def test_a_cell_selects_a_trial_and_its_weights_can_be_taken_unless_the_sweep_plays():
    sweep, _ = net_sweep(GRID)
    sweep.train()
    page = page_of(sweep)
    assert not page.has("Take weights")
    other = next(t for t in sweep.trials if t.state == "done" and t is not sweep.best_trial)
    choose(page, other.spec.point)
    assert f"trial {other.spec.index}: Momentum, η {other.spec.hypers['η']:g}" in markup(page)
    page.controls.playing = True
    page.controls.show()
    assert not page.is_enabled("Take weights")
    page.controls.playing = False
    page.controls.show()
    page.press("Take weights")
    page.process()
    assert [p.data.tobytes() for p in sweep.params] == [a.tobytes() for a in other.progress.now.values.params]


@pytest.mark.parametrize("sent", ["", "-1", "77", "<b>", "1e3", "٣"])
def test_what_a_page_sends_beside_the_numbers_of_points_chooses_nothing(sent):
    sweep, _ = net_sweep(GRID)
    page = page_of(sweep)
    choose(page, sent)
    assert page.controls.chosen in (None, 3)  # ٣ is the digit 3
    assert not sweep.trials[0].step


def test_a_cell_of_a_run_s_map_turns_the_run_s_dials_and_the_present_values_are_marked():
    W = param([1.0])
    run = Run(lambda x, y: ((W * x).sum() - y) ** 2, [(1.0, 2.0)] * 4, "Momentum", epochs=3, η=0.01, ρ=0.9)
    run.step(3)
    sweep = run.map("η", "ρ", steps=2)
    page = page_of(sweep)
    now = Points(sweep).present
    assert sweep.grid.points[now]["η"] == 0.01
    assert "present values" in rules(page, now)[":is(:hover,:focus-visible)::after"]
    choose(page, 0)
    point = sweep.grid.points[0]
    assert (run.values["η"], run.values["ρ"]) == (point["η"], point["ρ"])
    assert run.events[-1].step == 3
    assert Points(sweep).present == 0
    assert "run goes on with η" in page.message


def test_many_cells_are_a_picture_with_a_selector_for_each_axis():
    sweep, _ = net_sweep({"opt": "Momentum", "η": list(np.geomspace(1e-4, 1, 21)), "ρ": list(np.linspace(0, 0.9, 20))})
    page = page_of(sweep)
    assert cells(page) == []
    page.send("η", index=5)
    page.send("ρ", index=3)
    page.process()
    assert page.controls.chosen == 4 * 20 + 2
    picture = SweepPicture(sweep)
    picture.follow(page.controls)
    assert len(picture.figure.axes) == 2


def test_a_table_has_the_best_points_as_buttons():
    sweep, _ = net_sweep({"η": [0.01, 0.1], "opt": ["SGD", "ADAM"], "decay": [0, 0.1]})
    sweep.train()
    page = page_of(sweep)
    found = [int(n) for n in re.findall(r'data-point="(\d+)" onpointerdown', markup(page))]
    assert found == [point for _, point in sweep.ranking]
    choose(page, found[1])
    assert best_of(sweep, found[1]).spec.index == page.controls.run.trials[found[1]].spec.index


def test_an_optimiser_without_a_dial_fills_its_row():
    sweep, _ = net_sweep({"opt": ["SGD", "Momentum"], "ρ": [0.5, 0.9]})
    assert sorted(cells(page_of(sweep))) == [0, 0, 1, 2]
    assert Points(sweep).places[0] == [(0, 0), (0, 1)]


@pytest.mark.parametrize(
    "grid",
    [
        GRID,
        {"η": [0.001, 0.01, 1e30]},
        {"opt": ["SGD", "ADAM"]},
        {"opt": ["SGD", "Momentum"], "ρ": [0.5, 0.9]},
        {"η": [0.01], "decay": [0, 0.1], "opt": ["SGD", "ADAM"]},
        {"η": 0.01},
        {"η": [1e30], "decay": [0.0, 1.0]},
        {"η": [lambda step: 0.01 / (1 + step), 0.1], "clip": [None, 1.0]},
        {"opt": ["SGD", "Momentum"], "ρ": loguniform(0.1, 0.9), "samples": 4},
        {"η": loguniform(1e-3, 0.1), "samples": 4},
    ],
)
def test_every_sweep_has_a_picture_before_within_and_after(grid):
    grid = dict(grid)
    sweep, _ = net_sweep(grid, epochs=1, samples=grid.pop("samples", None))
    page = page_of(sweep)
    picture = presentation(sweep).picture(sweep)
    assert picture.frame() == b""  # there is nothing to be seen
    for _ in range(3):
        assert picture.picture().startswith(b"\x89PNG")
        sweep.step(1)
        picture.follow(page.controls)
        assert picture.frame().startswith(b"\x89PNG")
    page.controls.choose(0)
    page.controls.show()
    picture.follow(page.controls)
    assert picture.frame().startswith(b"\x89PNG")
    assert picture.picture().startswith(b"\x89PNG")


def test_frames_have_their_share_of_the_time_and_a_choice_is_answered_at_once():
    sweep, _ = net_sweep(GRID)
    page = page_of(sweep)
    picture = SweepPicture(sweep)
    sweep.advance(0.0)
    sweep.seconds = 1000.0
    first = picture.frame()
    assert first.startswith(b"\x89PNG")
    sweep.seconds = 1e-9  # as after a restart
    sweep.advance(0.0, steps=2)
    assert sweep.state == "running"
    assert picture.frame() is first
    page.controls.choose(1)
    picture.follow(page.controls)
    answer = picture.frame()
    assert answer != first
    sweep.pause()
    sweep.advance(0.0)
    assert picture.frame() is not answer


def test_a_frame_without_moving_axes_has_the_pixels_of_one_with_them():
    sweep, _ = net_sweep(GRID)
    sweep.train()
    one, other = SweepPicture(sweep), SweepPicture(sweep)
    one.frame()
    assert one.frame() == other.frame()


def test_points_are_read_as_they_come_and_anew_after_a_restart():
    sweep, _ = net_sweep({"η": [0.001, 0.01, 1e30]}, seeds=3)
    points = Points(sweep)
    sweep.train()
    points.update()
    fresh = Points(sweep)
    assert np.array_equal(points.value, fresh.value, equal_nan=True)
    assert points.bad.tolist() == [False, False, True]
    assert (points.low[:2] <= points.value[:2]).all()
    assert (points.value[:2] <= points.high[:2]).all()
    assert points.best == sweep.best_trial.spec.point
    sweep.restart()
    points.update()
    assert np.isnan(points.value).all()
    assert not points.bad.any()


def test_labels_tell_values_apart_and_from_1():
    found = Dial("ρ", [0.0, 0.9, 0.99684, 0.9997, 0.99997, 0.999996, 1 / 3]).labels
    assert found == ["0", "0.9", "0.997", "0.9997", "0.99997", "0.999996", "0.333"]
    assert Dial("η", [1e-3, 0.00316227766, 0.1, 1.0]).labels == ["0.001", "0.00316", "0.1", "1"]
    assert Dial("clip", [math.inf, 1.0]).labels == ["off", "1"]


def test_numbers_are_read_on_every_colour_of_a_map():
    def linear(colour):
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    for share in np.linspace(0, 1, 101):
        colour = "#" + "".join(f"{round(255 * c):02x}" for c in COLOURS(share)[:3])
        light, dark = sorted((linear(colour), linear(ink_on(colour))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, colour


def test_the_words_of_a_sweep():
    sweep, _ = line_sweep({"η": [0.1, 0.2, 1e200]}, name="s")
    sweep.step(1)
    assert progress(sweep).startswith("1/3 trials · best: SGD, η 0.1: loss ")
    assert progress(sweep).endswith("left")
    sweep.train()
    assert "3/3 trials · 1 diverged · best: SGD, η 0.2: loss" in progress(sweep)
    lines = summary(sweep).splitlines()
    assert lines[0].startswith("s: done, 3 trials in ")
    assert lines[1].startswith("best: trial 1, SGD, η 0.2: loss ")
    assert lines[-1].startswith("diverged: step 2")


def test_a_sweep_at_the_end_of_a_cell_shows_its_picture_and_summary(monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(shows, "display", lambda data, **options: shown.append(data))
    sweep, _ = net_sweep(GRID, epochs=1)
    monkeypatch.setattr(shows, "frontend_kind", lambda shell: "page")
    sweep._ipython_display_()
    sweep.train()
    sweep._ipython_display_()
    assert [sorted(data) for data in shown] == [["text/plain"], ["image/png", "text/plain"], ["text/plain"]]
    assert shown[-1]["text/plain"] == summary(sweep)
    monkeypatch.setattr(shows, "frontend_kind", lambda shell: "terminal")
    sweep._ipython_display_()
    assert capsys.readouterr().out == f"{sweep!r}\n"


def test_parameters_that_no_layer_draws_anew_are_named():
    sweep, model = net_sweep({"η": [0.01]}, seeds=2)
    sweep.train()
    assert "draws" not in summary(sweep)
    loadparams(model, [p.data for p in sweep.params])
    sweep.kept = sweep.params[:1]
    assert re.search(r"no layer draws these anew, all seeds begin with the same: \S*W", summary(sweep))

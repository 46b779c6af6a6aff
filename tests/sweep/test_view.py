"""A sweep on a page: its map of buttons, its picture, its words."""

import ipywidgets
import pytest

from fluxmagic import Run, param
from fluxmagic.jupyter.presentation import presentation
from fluxmagic.jupyter.sweep.controls import SweepControls
from fluxmagic.jupyter.sweep.picture import SweepPicture
from fluxmagic.jupyter.sweep.words import progress, summary
from tests.jupyter.panel_page import ControlsPage
from tests.sweep.problems import line_sweep, net_sweep

GRID = {"opt": "Momentum", "η": [0.001, 0.01, 1e30], "ρ": [0.5, 0.9]}


def page_of(sweep):
    return ControlsPage(SweepControls(sweep))


def cells(page):
    return [x for x in page.shown() if isinstance(x, ipywidgets.Button) and x.layout.flex == "1 1 3em"]


def test_two_dials_give_a_map_of_buttons_that_fill():
    sweep, _ = net_sweep(GRID)
    page = page_of(sweep)
    assert len(cells(page)) == 6
    assert {c.description for c in cells(page)} == {""}
    sweep.step(2)
    page.controls.show()
    assert sum(bool(c.description) for c in cells(page)) == 2
    sweep.train()
    page.controls.show()
    found = {c.description for c in cells(page)}
    assert f"{sweep.best_trial.objective:.4g}" in found
    assert "✕" in found
    best = next(c for c in cells(page) if c.description == f"{sweep.best_trial.objective:.4g}")
    assert best.style.button_color == "rgb(253,231,37)"
    assert f"valid {sweep.best_trial.objective:.6g}, done" == best.tooltip


def test_a_cell_selects_a_trial_and_its_weights_can_be_taken():
    sweep, _ = net_sweep(GRID)
    sweep.train()
    page = page_of(sweep)
    best = sweep.best_trial
    assert any(f"trial {best.spec.index}: Momentum η" in t for t in page.texts())
    other = next(t for t in sweep.trials if t.state == "done" and t is not best)
    next(c for c in cells(page) if c.description == f"{other.objective:.4g}").click()
    page.process()
    assert page.controls.trial is other
    page.press("Take weights")
    page.process()
    assert [p.data.tobytes() for p in sweep.params] == [a.tobytes() for a in other.progress.values.params]


def test_a_cell_of_a_run_s_map_turns_the_run_s_dials():
    W = param([1.0])
    run = Run(lambda x, y: ((W * x).sum() - y) ** 2, [(1.0, 2.0)] * 4, "Momentum", epochs=3, η=0.01, ρ=0.9)
    run.step(3)
    sweep = run.map("η", "ρ", steps=2)
    page = page_of(sweep)
    cells(page)[0].click()
    page.process()
    values = sweep.point(sweep.trials[page.controls.selected])
    assert (run.values["η"], run.values["ρ"]) == (values["η"], values["ρ"])
    assert run.events[-1].step == 3


def test_other_sweeps_have_a_selector():
    sweep, _ = net_sweep({"η": [0.01, 0.1], "opt": ["SGD", "ADAM"], "decay": [0, 0.1]})
    sweep.train()
    page = page_of(sweep)
    assert cells(page) == []
    (selector,) = [x for x in page.shown() if isinstance(x, ipywidgets.Dropdown) and x.description == "trial"]
    selector.value = 3
    page.process()
    assert page.controls.selected == 3


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
    ],
)
def test_every_sweep_has_a_picture_before_within_and_after(grid):
    sweep, _ = net_sweep(grid, epochs=1)
    picture = presentation(sweep).picture(sweep)
    assert isinstance(picture, SweepPicture)
    for _ in range(3):
        assert picture.frame().startswith(b"\x89PNG")
        assert picture.picture().startswith(b"\x89PNG")
        if not sweep.finished:
            sweep.step(1)


def test_the_words_of_a_sweep():
    sweep, _ = line_sweep({"η": [0.1, 0.2, 1e200]}, name="s")
    sweep.step(1)
    assert progress(sweep).startswith("1/3 trials · best: SGD η 0.1, loss ")
    assert progress(sweep).endswith("left")
    sweep.train()
    assert "3/3 trials · 1 diverged · best: SGD η 0.2, loss" in progress(sweep)
    lines = summary(sweep).splitlines()
    assert lines[0].startswith("s: done, 3 trials in ")
    assert lines[1].endswith("SGD η 0.2")
    assert lines[-1].startswith("1 diverged: step 2")

"""A panel of its own: how it is made, and a branch that takes the run's place."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from IPython.core.formatters import DisplayFormatter

from fluxmagic import SGD, Race, Run, landscapes, param
from fluxmagic.jupyter.driving import views
from fluxmagic.jupyter.driving.panel import Panel
from fluxmagic.jupyter.pictures import loss_picture, plot
from fluxmagic.runs.loss_map import LossMap
from tests.jupyter.panel_page import ControlsPage
from tests.jupyter.problems import quadratic


def shown(panel):
    """Show a panel; give the page that has its controls."""
    DisplayFormatter().ipython_display_formatter(panel)
    return ControlsPage(panel.controls)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


def run_apart(coroutine):
    """Run it in a thread of its own: the browser's tests leave a loop running in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, coroutine).result(60)


def test_in_a_panel_a_branch_takes_the_runs_place(page, namespace, monkeypatch):
    monkeypatch.setattr(views, "frontend_kind", lambda shell: "widgets")
    run = quadratic(name="run", epochs=10**6)
    panel = Panel(run)

    async def use():
        buttons = shown(panel)
        buttons.press("Play")
        await until(lambda: run.steps > 20)
        buttons.press("Branch")
        await until(lambda: "run_b" in namespace and namespace["run_b"].steps > run.steps + 20)
        assert panel.run is buttons.controls.run is namespace["run_b"]
        assert (run.state, panel.run.state) == ("paused", "running")
        assert [d.n for d in plot.recent_curves(panel.run)] == [run.steps]  # drawn in grey
        assert (run.driver, panel.run.driver) == (None, panel)
        buttons.press("Pause")
        await until(lambda: panel.run.state == "paused")
        buttons.press("Branch")
        await until(lambda: "run_c" in namespace)
        here = panel.run.steps
        buttons.press("Step")
        await until(lambda: panel.run.steps == here + 1)
        assert panel.run is namespace["run_c"]
        assert panel.run.state == "paused"
        panel.close()

    run_apart(use())


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("kind", ["run", "race"])
def test_the_map_of_the_loss_gets_finer_while_a_panel_does_not_train(page, monkeypatch, kind, begun):
    monkeypatch.setattr(views, "frontend_kind", lambda shell: "widgets")
    monkeypatch.setattr(loss_picture, "MAP_SECONDS", 0.0)
    monkeypatch.setattr(loss_picture, "IDLE_MAP_SECONDS", 0.005)
    maps = []
    monkeypatch.setattr(loss_picture, "LossMap", lambda run: maps.append(LossMap(run)) or maps[-1])
    w = param([-1.2, 1.0])
    opts = [("SGD", {"η": 0.001}), ("ADAM", {})]
    make = (
        (lambda loss: Run(loss, None, SGD([w], 0.001), steps=10**6))
        if kind == "run"
        else (lambda loss: Race(loss, None, [w], opts, steps=10**6))
    )
    panel = Panel(make(lambda: landscapes.rosenbrock(w)))

    async def use():
        buttons = shown(panel)
        if begun:
            buttons.press("Play")
            await until(lambda: panel.run.steps)
            buttons.press("Pause")
            await until(lambda: panel.run.state == "paused")
        here = panel.run.steps
        await until(lambda: maps[-1].is_done)
        assert panel.run.steps == here
        assert maps[-1].grid.z.shape == (41, 41)
        panel.close()

    run_apart(use())


def test_a_panel_is_made_from_loss_data_and_parameters():
    W = param(1.0)
    p = Panel(lambda x: (W - x) ** 2, [0.0] * 5, [W], opt="Momentum", ρ=0.5, epochs=3, name="p")
    assert repr(p) == "Panel(Run('p', Momentum, ready, epoch 1/3, 0 steps))"
    assert p.run.values["ρ"] == 0.5


def test_a_panel_of_a_run_is_its_driver(capsys):
    run = quadratic()
    p = Panel(run)
    assert p.run is run
    run.wait()
    assert run.state == "done"
    assert "20 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda W: Panel(lambda x: W * W), TypeError, r"Panel\(loss, data, params\(m\)\)"),
        (lambda W: Panel(lambda x: W * W, [1.0]), TypeError, r"Panel\(loss, data, params\(m\)\)"),
        (lambda W: Panel(quadratic(), [1.0]), TypeError, "nothing beside the run"),
        (lambda W: Panel(quadratic(), η=0.1), TypeError, "nothing beside the run"),
        (lambda W: Panel(lambda x: W * W, [1.0], [W], opt="Adamm"), ValueError, "no optimiser Adamm; there are"),
        (lambda W: Panel(lambda x: W * W, [1.0], [W], ρ=0.1), TypeError, "ADAM has no ρ|ρ"),
        (lambda W: Panel(lambda x: W * W, [1.0], [W], η=-1), ValueError, "0 ≤ η"),
        (lambda W: Panel(lambda x: W * W, [1.0], []), TypeError, "no parameters"),
    ],
)
def test_a_panel_rejects_what_it_cannot_train(make, error, match):
    with pytest.raises(error, match=match):
        make(param(1.0))


def test_in_a_terminal_a_panel_says_how_to_train(capsys):
    DisplayFormatter().ipython_display_formatter(Panel(quadratic()))
    assert "run.wait() trains" in capsys.readouterr().out

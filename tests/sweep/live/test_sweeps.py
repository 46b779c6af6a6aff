"""Sweeps in a cell and in a panel of a real kernel."""

from __future__ import annotations

import re

import pytest

from tests.jupyter.live.training import one_kernel

SETUP = """
%load_ext fluxmagic
from fluxmagic import Panel
W = param([1.0, 2.0])

def slow():
    time.sleep(0.001)
    return (W * W).sum()
"""
CELL = "%%sweep --steps 60 --opt Momentum --η np.geomspace(1e-4, 0.1, 10) --ρ np.linspace(0, 0.9, 8)\nslow()"


@pytest.fixture
def sweeping(kernel):
    kernel.run(SETUP)
    return kernel


def ended(page):
    """The trials that have ended, as the panel shows."""
    found = [m for t in page.texts() if (m := re.search(r"([\d,]+)/[\d,]+ trials", t))]
    return int(found[-1][1].replace(",", "")) if found else 0


def coloured(page):
    """How many cells of the map have a colour."""
    sheets = [s.get("value", "") for k, s in page.widgets.items() if k not in page.closed]
    return max(str(s).count("{background:#") for s in sheets)


def test_cells_fill_and_stop_ends_the_cell(page):
    page.run(SETUP)
    cell = page.start(CELL)
    page.until(lambda: ended(page) > 3)
    page.until(lambda: coloured(page) > 3)
    page.turn("chosen point", 2)
    page.until(lambda: page.shows("trial 2: Momentum"))
    page.press("Pause")
    page.until(lambda: page.is_enabled("Take weights"))
    page.press("Play")
    before = ended(page)
    page.until(lambda: ended(page) > before)
    page.press("Stop")
    assert page.end(cell)["status"] == "ok"
    assert page.value("(sweep.state, sweep.steps, W.data.tolist())") == ("stopped", 80, [1.0, 2.0])
    assert page.value("{*sweep.counts}") == {"done", "cancelled"}
    shown = [o for o in page.outputs[cell] if o["type"] == "display_data"]
    assert [sorted(o["data"]) for o in shown] == [["image/png", "text/plain"], ["text/plain"]]
    assert "sweep: stopped, 80 trials" in shown[1]["data"]["text/plain"]
    assert set(page.widgets) <= page.closed
    done = page.value("sweep.counts['done']")
    page.run("sweep.step(2)")  # it goes on
    assert page.value("sweep.counts['done']") == done + 2


@one_kernel
@pytest.mark.parametrize("steps", [60, 100_000])
def test_an_interrupt_leaves_the_sweep_with_what_is_done(sweeping, steps):
    page = sweeping
    page.run("sweep = None")
    cell = page.start(CELL.replace("60", f"{steps}"))
    page.until(lambda: page.shows("/80 trials" if steps == 60 else "trial 1 is being computed"))
    page.interrupt()
    assert page.end(cell)["ename"] == "KeyboardInterrupt"
    assert page.value("sweep.state") in ("stopped", "ready")
    assert page.value("(len(sweep), W.data.tolist())") == (80, [1.0, 2.0])


@one_kernel
def test_a_map_around_a_run_leaves_the_kernel_free_and_a_click_turns_the_dials(sweeping):
    page = sweeping
    page.run("run = Run(slow, None, 'Momentum', η=0.01, ρ=0.9, steps=1000)\nrun.step(3)")
    page.end(page.start("%train map η ρ --steps 20"))
    page.until(lambda: coloured(page) > 2)
    page.turn("chosen point", 4)
    page.until(lambda: page.shows("run goes on with η"))
    point = page.value("run_map.grid.points[4]['η'], run_map.grid.points[4]['ρ']")
    assert page.value("run.values['η'], run.values['ρ']") == point
    assert page.run("%train pause --name run_map")
    page.until(lambda: page.value("run_map.state") == "paused")
    page.run("%train resume --name run_map")
    page.until(lambda: page.value("run_map.state") == "running")
    page.run("%train stop --name run_map")
    page.until(lambda: page.value("run_map.state") == "stopped")
    assert "run map: stopped, 81 trials" in page.run("%train status --name run_map")
    assert page.value("run.steps, [e[1] for e in run.events]") == (3, ["η", "ρ"])

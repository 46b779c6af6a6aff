"""A sweep in JupyterLab and Notebook 7: cells that fill, a click that turns a run's dials, Stop."""

from __future__ import annotations

SETUP = """
%load_ext fluxmagic
import time
from fluxmagic import Panel, Run, param
W = param([1.0, 2.0])
def slow():
    time.sleep(0.001)
    return (W * W).sum()
run = Run(slow, None, "Momentum", η=0.01, ρ=0.9, steps=1000, name="run")
run.step(3)
"""
CELL = "%%sweep --steps 40 --opt Momentum --η [0.001, 0.003, 0.01, 0.03, 0.1] --ρ [0, .3, .6, .8, .9, .95]\nslow()"


def colours(nb, cell):
    """The backgrounds of the cells of a map."""
    found = nb.page.locator(".jp-Notebook .jp-CodeCell").nth(cell).locator(".fluxmagic-map button")
    return found.evaluate_all("found => found.map(x => getComputedStyle(x).backgroundColor)")


def test_cells_fill_a_click_turns_the_dials_and_stop_ends_it(notebook):
    nb = notebook(1300)
    nb.open([SETUP, "%train map η ρ --steps 60", CELL, "print('next', sweep.state)"])
    nb.run_all()
    nb.until(lambda: len({*colours(nb, 2)}) > 3)  # the cell blocks; the map waits
    cells = nb.page.locator(".jp-Notebook .jp-CodeCell")
    one = cells.nth(2).locator(".fluxmagic-map button").nth(25)
    one.hover()
    tooltip = one.evaluate("x => getComputedStyle(x, '::after').content")
    assert "Momentum, η 0.001, ρ 0" in tooltip
    assert "loss" in tooltip
    one.click()
    cells.nth(2).get_by_text("trial 0: Momentum, η 0.001, ρ 0").wait_for()
    cells.nth(2).locator("button:has-text('Stop')").click()
    nb.wait("next stopped")
    saved = nb.save()
    kinds = [sorted(o.get("data", {})) for o in saved.cells[2].outputs if o.output_type == "display_data"]
    assert kinds == [["image/png", "text/plain"], ["text/plain"]]
    nb.until(lambda: len({*colours(nb, 1)}) > 3)
    target = cells.nth(1).locator(".fluxmagic-map button").nth(12)
    point = int(target.get_attribute("data-point"))
    target.click()
    cells.nth(1).get_by_text("run goes on with η").wait_for()
    wanted = nb.value(f"[run_map.grid.points[{point}][k] for k in 'ηρ']")
    assert nb.value("[run.values[k] for k in 'ηρ']") == wanted
    cells.nth(1).locator("button:has-text('Stop')").click()
    nb.until(lambda: nb.value("run_map.state") == "stopped")
    assert nb.value("run.steps") == 3

"""What live tests execute, and what they read from a kernel."""

from __future__ import annotations

import pytest

from tests.jupyter.kernels import INTERPRETERS

one_kernel = pytest.mark.parametrize("started", INTERPRETERS[:1], indirect=True)
"""For what is the same in kernels of all versions, and is tried on each of them by another test."""

SETUP = """
import time
import numpy as np
from fluxmagic import Run, SGD, param
from fluxmagic.jupyter.driving.loop import train_in_cell
from fluxmagic.jupyter.driving.panel import Panel
ip = get_ipython()

def make(steps=100_000, opt="SGD", pause=0.001, **options):
    W = param(np.ones(3))
    def loss(x):
        time.sleep(pause)
        return ((W - x) ** 2).sum()
    return Run(loss, [np.zeros(3)] * steps, opt, **{"name": "run", **options})
"""


def events(kernel, name="run"):
    return kernel.value(f"[tuple(e) for e in {name}.events]")


def frames(kernel, cell):
    """How often the curve was drawn anew: in the panel, or in an output of the cell."""
    outputs = sum(o.get("updates", 0) for o in kernel.outputs[cell] if "image/png" in o.get("data", {}))
    return outputs + sum(s.get("frames", 0) for k, s in kernel.widgets.items() if k not in kernel.closed)


def left_behind(kernel, cell):
    """What stays of a training cell: a picture and a summary, no widget."""
    shown = [o for o in kernel.outputs[cell] if o["type"] == "display_data"]
    assert [sorted(o["data"]) for o in shown] == [["image/png", "text/plain"], ["text/plain"]]
    assert "steps" in shown[1]["data"]["text/plain"]
    assert set(kernel.widgets) <= kernel.closed
    return True


def start_training(kernel, make="run = make()"):
    """Train a run in a cell; give the cell when its dials are there."""
    cell = kernel.start(f"{make}; train_in_cell(run, ip)")
    kernel.find("η")
    return cell


def turn_twice(kernel):
    """Turn η to 0.01 and 0.02, with steps after each: a single move does not show that later ones are heard."""
    for η in (0.01, 0.02):
        kernel.turn("η", η)
        kernel.onward()


def stop(kernel, cell):
    """Stop a training, which ends its cell."""
    kernel.press("Stop")
    assert kernel.end(cell)["status"] == "ok"


def show_panel(kernel, run="make()"):
    """Show a Panel; give its cell."""
    cell = kernel.start(f"p = Panel({run}); run = p.run; p")
    assert kernel.end(cell)["status"] == "ok"
    return cell


def close_panel(kernel):
    """Close a Panel, which takes its widgets off the page."""
    kernel.press("Close")
    kernel.until(lambda: set(kernel.widgets) <= kernel.closed)

"""What live tests execute, and what they read from a kernel."""

from __future__ import annotations

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

"""A race in JupyterLab and Notebook 7: balls that move while dials of contestants are turned."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from fluxmagic.jupyter.race.words import COLOURS

SETUP = """
%load_ext fluxmagic
from fluxmagic import Panel, Race, landscapes, param
w = param([-1.2, 1.0])
"""
CELL = """%%race --steps 3000 --speed 30 --opt SGD --η 0.001 --opt Momentum --η 0.0002 --ρ 0.9 \\
    --opt Nesterov --η 0.0005 --opt ADAM --η 0.05
landscapes.rosenbrock(w)"""


def trails(nb):
    """How many pixels beside the curve each contestant's trail and ball have, and where their middle is."""
    pixels = imread(io.BytesIO(nb.page.locator(".fluxmagic-panel img:visible").first.screenshot()))[..., :3]
    beside = pixels[:, int(0.6 * pixels.shape[1]) :]
    places = [np.argwhere(np.abs(beside - to_rgb(colour)).max(2) < 0.05) for colour in COLOURS[:4]]
    return [(len(xy), *(xy.mean(0) if len(xy) else (0, 0))) for xy in places]


def test_four_balls_move_while_their_dials_are_turned(notebook):
    nb = notebook(1400)
    nb.open([SETUP, CELL, "print('next', race.state)"])
    nb.run_all()
    nb.until(lambda: nb.steps > 10)
    before = nb.until(lambda: (found := trails(nb)) and all(n > 20 for n, *_ in found) and found)
    nb.turn("ADAM η", 0.2)
    nb.onward()
    nb.turn("SGD η", 0.002)
    nb.turn("Momentum ρ", 0.97)
    nb.onward(40)
    after = trails(nb)
    assert all(np.hypot(a[1] - b[1], a[2] - b[2]) > 1 for a, b in zip(after, before, strict=True))
    nb.press("Restart")
    nb.until(lambda: 0 <= nb.steps < 40)
    nb.onward()
    nb.press("Pause")
    nb.until(lambda: nb.is_enabled("Take"))
    nb.press("Take")
    nb.until(lambda: "the weights are those of SGD" in nb.message)
    nb.press("Play")
    nb.onward()
    nb.press("Stop")
    nb.wait("next stopped")
    turned = nb.value("[[tuple(e)[1:] for e in run.events] for run in race]")
    assert turned == [[("η", 0.001, 0.002)], [("ρ", 0.9, 0.97)], [], [("η", 0.05, 0.2)]]
    assert nb.value("w.data.tolist() == race['SGD'].path[-1].tolist()")
    saved = nb.save()
    kinds = [sorted(o.get("data", {})) for o in saved.cells[1].outputs]
    assert kinds == [["image/png", "text/plain"], ["text/plain"]]
    assert all(
        key in saved.cells[1].outputs[1]["data"]["text/plain"] for key in ("SGD", "Momentum", "Nesterov", "ADAM")
    )

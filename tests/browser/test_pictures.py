"""The pictures of a panel in a page: the view of two numbers moves, what `--show` gives is there and stays."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

BALL = """
%load_ext fluxmagic
from fluxmagic import landscapes, param
w = param(landscapes.rosenbrock.start)
"""
TRAIN = "%%train --steps 100000 --opt Momentum --η 0.0003 --speed 30\nlandscapes.rosenbrock(w)"

SHOW = """
%load_ext fluxmagic
import numpy as np
import fluxmagic
from fluxmagic import *
X = np.random.default_rng(0).normal(size=(80, 2))
y = (X[:, 0] * X[:, 1] > 0).astype(int)
m = Chain(Dense(2, 16, tanh, rng=1), Dense(16, 2, rng=2))
class Rich:
    def _repr_html_(self): return f"<b class='mine'>{run.steps}</b>"
"""
SHOWING = (
    "%%train x, t in batches(X, y, 20) --epochs 100000 --η 0.01 --speed 100"
    " --show fluxmagic.plots.boundary(m, X, y) --show Rich()\nlogitcrossentropy(m(x), t)"
)


def image(nb):
    """Give the pixels of the panel's picture, and of what is right of its middle."""
    source = nb.page.locator(".fluxmagic-panel img[src^=blob]").first
    source.wait_for()
    data = source.evaluate(
        """async x => {
            const bytes = new Uint8Array(await (await fetch(x.src)).arrayBuffer());
            return btoa(bytes.reduce((s, b) => s + String.fromCharCode(b), ''));
        }"""
    )
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")).astype(int)


def ball(nb):
    """Give where the ball is: the middle of the pixels of its colour at the right, where it is filled."""
    right = image(nb)[:, 540:]
    blue = (np.abs(right[..., :3] - (0x3B, 0x82, 0xD6)).sum(-1) < 30) & (right[..., 3] > 240)
    dense = sum(np.roll(blue, (i, j), (0, 1)).astype(int) for i in range(-3, 4) for j in range(-3, 4))
    row, column = np.unravel_index(dense.argmax(), dense.shape)
    return int(column), int(row)


def test_the_ball_rolls_and_restart_goes_to_the_start_that_was_typed(notebook):
    nb = notebook()
    nb.open([BALL, TRAIN, "print('end', w.data.round(2))"])
    nb.run_all()
    nb.onward(5)
    first = ball(nb)
    nb.until(lambda: np.hypot(*np.subtract(ball(nb), first)) > 15)
    nb.press("Pause")
    nb.until(lambda: nb.is_enabled("Play"))
    for label, value in (("start w[0]", "-0.5"), ("start w[1]", "2.5")):
        field = nb.page.locator(".widget-text", has=nb.page.get_by_text(label, exact=True)).locator("input")
        field.fill(value)
        field.press("Enter")
    nb.press("Restart")
    nb.until(lambda: nb.steps == 0)
    nb.press("Step")
    nb.until(lambda: nb.steps == 1)
    x, y = ball(nb)
    assert abs(x + 540 - (542 + 330 * (-0.5 + 2) / 4)) < 40
    assert y < 150  # 2.5 of -1 to 3, or after a step across the valley
    nb.press("Stop")
    nb.wait("end")
    assert nb.value("run.path[0].tolist()") == [-0.5, 2.5]
    saved = nb.save()
    assert "image/png" in saved.cells[1].outputs[0]["data"]


def test_what_show_gives_is_live_and_stays_in_the_notebook(notebook):
    nb = notebook()
    nb.open([SHOW, SHOWING, "print('end', run.steps)"])
    nb.run_all()
    nb.onward(20)
    html = nb.page.locator("b.mine")
    html.wait_for()
    before = int(html.inner_text())
    nb.until(lambda: int(html.inner_text()) > before)
    right = image(nb)[:, 560:]
    colours = {tuple(c) for c in right[::4, ::4].reshape(-1, 4)}
    assert len(colours) > 5  # regions of two classes, and points
    nb.press("Stop")
    nb.wait("end")
    steps = nb.value("run.steps")
    assert html.inner_text() == str(steps)
    saved = nb.save()
    kinds = [sorted(o.get("data", {"text": 0})) for o in saved.cells[1].outputs]
    assert ["image/png", "text/plain"] in kinds
    assert ["text/html", "text/plain"] in kinds

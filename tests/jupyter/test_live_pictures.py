"""The picture of a panel in a real kernel: the ball moves, a new start is taken, what `--show` gives is there."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from tests.jupyter.kernels import INTERPRETERS, Kernel

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:zmq", "ignore::DeprecationWarning:jupyter_client"),
    pytest.mark.parametrize("process", INTERPRETERS[:1], indirect=True),  # pixels are the same in all kernels
]

BALL = "from fluxmagic import landscapes, param\nw = param(landscapes.rosenbrock.start)"
TRAIN = "%%train --steps 100000 --opt Momentum --η 0.0003 --speed 30\nlandscapes.rosenbrock(w)"


@pytest.fixture
def kernel(process: Kernel) -> Iterator[Kernel]:
    process.run("%reset -f")
    process.run("%reload_ext fluxmagic")
    yield process
    process.calm()


def map_of(kernel: Kernel) -> np.ndarray:
    """Give the pixels of what is beside the curve."""
    picture = np.asarray(Image.open(io.BytesIO(kernel.picture())).convert("RGBA"))
    assert picture.shape == (380, 900, 4)
    return picture[:, 520:]


def test_the_ball_moves_while_a_cell_trains(kernel):
    kernel.run(BALL)
    cell = kernel.start(TRAIN)
    kernel.until(kernel.picture)
    kernel.onward(3)
    before = map_of(kernel)
    kernel.until(lambda: (map_of(kernel) != before).any(-1).sum() > 300)
    kernel.press("Stop")
    assert kernel.end(cell)["status"] == "ok"


def test_restart_goes_to_the_start_that_was_typed_while_a_cell_trains(kernel):
    kernel.run(BALL)
    cell = kernel.start(TRAIN)
    kernel.onward(3)
    kernel.set_state("start w[0]", value="0.5")
    kernel.set_state("start w[1]", value="-0.25")
    kernel.onward(3)
    kernel.press("Restart")
    kernel.until(lambda: kernel.steps < 10)
    kernel.onward(3)
    kernel.press("Stop")
    assert kernel.end(cell)["status"] == "ok"
    assert kernel.value("run.path[0].tolist()") == [0.5, -0.25]
    kernel.run("run.replay()")


def test_a_panel_shows_the_ball_at_its_start_before_play(kernel):
    kernel.run(BALL + "\nfrom fluxmagic import Panel, Run, SGD")
    kernel.run("panel = Panel(Run(lambda: landscapes.rosenbrock(w), None, SGD([w], 0.001), steps=100))\npanel")
    kernel.until(kernel.picture)
    blue = np.abs(map_of(kernel)[..., :3].astype(int) - (0x3B, 0x82, 0xD6)).sum(-1) < 30
    assert blue.sum() > 60


def test_what_show_gives_is_drawn_and_html_is_an_output_that_stays(kernel):
    kernel.run(BALL + "\nfrom IPython.display import HTML\nfrom fluxmagic import *")
    kernel.run("import numpy as np\nW = param(np.ones(3))")
    options = "--speed 50 --opt SGD --η 0.001 --show HTML(f'<b>{W.data[0]}</b>') --show np.outer(W.data, W.data)"
    cell = kernel.start(f"%%train --steps 100000 {options}\n((W - 3) ** 2).sum()")
    kernel.onward(5)

    def html():
        found = [o for o in kernel.outputs.get(cell, []) if "<b>" in str(o.get("data", {}).get("text/html", ""))]
        return found[0]["data"]["text/html"] if found else ""

    before = kernel.until(html)
    kernel.until(lambda: html() != before)
    assert (map_of(kernel)[..., 3] == 255).sum() > 20_000  # a picture of three by three
    kernel.press("Stop")
    assert kernel.end(cell)["status"] == "ok"
    assert html() == f"<b>{kernel.value('float(W.data[0])')}</b>"

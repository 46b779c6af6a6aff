"""A panel in a real kernel: where its prints go, cells that are executed again, panels that share parameters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.jupyter.kernels import INTERPRETERS, Kernel

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:zmq", "ignore::DeprecationWarning:jupyter_client")

one_kernel = pytest.mark.parametrize("process", INTERPRETERS[:1], indirect=True)

SETUP = """
import time, warnings
import numpy as np
from fluxmagic import *
W = param(np.ones(3))
def loss(x):
    time.sleep(0.002)
    return ((W - x) ** 2).sum()
def make(loss=loss, n=10**5, **options):
    return Panel(loss, [np.zeros(3)] * n, [W], opt="SGD", η=0.01, name="p", **options)
"""


@pytest.fixture
def kernel(process: Kernel) -> Iterator[Kernel]:
    process.run("%reset -f")
    process.run(SETUP)
    yield process
    process.run("panel.close()")
    process.calm()


def show(kernel, code):
    """Execute a cell that shows a panel; its id."""
    cell = kernel.start(code + "\npanel")
    assert kernel.end(cell)["status"] == "ok"
    return cell


def test_what_loss_metric_and_warnings_print_appears_in_the_panels_cell(kernel):
    kernel.run(
        "def talks(x):\n"
        "    if panel.run.steps % 10 == 0:\n"
        "        print('loss at', panel.run.steps)\n"
        "        warnings.warn(f'warned at {panel.run.steps}')\n"
        "    return ((W - x) ** 2).sum()\n"
        "def metric(x):\n"
        "    print('metric at', panel.run.steps)\n"
        "    return 1.0"
    )
    cell = show(kernel, "panel = make(talks, 20, epochs=10**6, metrics={'m': metric}, speed=100)")
    kernel.press("Step")
    kernel.until(lambda: "loss at 0\n" in kernel.text(cell))
    kernel.until(lambda: "warned at 0" in kernel.text(cell))
    kernel.press("Play")
    kernel.until(lambda: "loss at 20\n" in kernel.text(cell) and "metric at 20\n" in kernel.text(cell))
    other = kernel.start("print('mine')")
    kernel.end(other)
    assert kernel.text(other) == "mine\n"
    kernel.until(lambda: "loss at 100\n" in kernel.text(cell))
    assert kernel.text(other) == "mine\n"
    kernel.press("Pause")
    kernel.until(lambda: kernel.value("panel.run.state") == "paused")


def test_a_panels_cell_that_is_executed_again_pauses_and_closes_its_panel(kernel):
    code = "panel = make()"
    first = show(kernel, code)
    kernel.press("Play")
    kernel.onward()
    kernel.run("old = panel.run")
    second = show(kernel, code)
    assert "`p` is paused: its Panel trains the same parameters" in kernel.text(second)
    assert kernel.value("(old.state, panel.run.state)") == ("paused", "ready")
    kernel.until(lambda: any("image/png" in o.get("data", {}) for o in kernel.outputs[first]))
    kernel.press("Play")
    kernel.until(lambda: kernel.value("panel.run.steps") > 5)
    assert kernel.value("old.state") == "paused"


@one_kernel
def test_another_panel_over_the_same_parameters_pauses_the_first(kernel):
    show(kernel, "first = panel = make()")
    kernel.press("Play")
    kernel.onward()
    second = show(kernel, "panel = make(lambda x: (W * W).sum())")
    assert "`p` is paused" in kernel.text(second)
    assert kernel.value("(first.run.state, first.shown)") == ("paused", True)
    kernel.press("Play")
    kernel.until(lambda: kernel.value("panel.run.steps") > 5)
    assert kernel.value("first.run.state") == "paused"
    kernel.run("first.close()")


@one_kernel
def test_another_panel_of_the_same_run_takes_its_place(kernel):
    show(kernel, "first = panel = make()")
    kernel.press("Play")
    kernel.onward()
    show(kernel, "panel = Panel(first.run)")
    assert kernel.value("(first.shown, panel.shown, panel.run.driver is panel)") == (False, True, True)
    kernel.press("Play")
    steps = kernel.value("panel.run.steps")
    kernel.until(lambda: kernel.value("panel.run.steps") > steps)


@one_kernel
def test_a_loss_that_is_not_finite_pauses_a_panel_until_recover_and_play(kernel):
    show(kernel, "panel = make(lambda x: ((W - x) ** 2).sum() * (np.nan if panel.run.steps == 30 else 1.0))")
    kernel.press("Play")
    kernel.until(lambda: "step 31: the loss is nan" in kernel.message)
    assert kernel.value("panel.run.state") == "failed"
    kernel.press("Recover")
    kernel.until(lambda: "Play goes on" in kernel.message)
    kernel.press("Play")
    kernel.until(lambda: kernel.value("panel.run.steps") > 60)


@one_kernel
def test_a_speed_is_kept(kernel):
    show(kernel, "panel = make(speed=20)\nrun = panel.run")
    kernel.press("Play")
    kernel.until(lambda: kernel.value("run.steps") > 5)
    before, at = kernel.value("(run.steps, time.perf_counter())")
    kernel.until(lambda: kernel.value("run.steps") >= before + 30)
    steps, now = kernel.value("(run.steps, time.perf_counter())")
    assert steps - before < 40 * (now - at)  # without a limit there are 400 a second


@one_kernel
def test_a_finished_panel_plays_on(kernel):
    show(kernel, "panel = make(n=10, epochs=2)\nrun = panel.run")
    for total in (20, 40, 60):
        kernel.press("Play")
        kernel.until(lambda total=total: kernel.value("(run.steps, run.state)") == (total, "done"))

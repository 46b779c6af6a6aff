"""The magics in a real kernel: outputs, namespace, errors, order of cells, interrupt."""

from __future__ import annotations

import base64
import os
import random
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.jupyter.conftest import SETUP
from tests.jupyter.kernels import Kernel

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:zmq", "ignore::DeprecationWarning:jupyter_client")

TRIES = int(os.environ.get("FLUXMAGIC_TRIES", "5"))
ROOT = str(Path(__file__).parents[2])
LOSS = "logitcrossentropy(model(x), y)"
TRAIN = "%%train x, y in batches(X, Y, 20) --epochs {epochs}\n" + LOSS
SLOW = "%%train x, y in batches(X, Y, 20) --epochs 1000 --seed 1\ntime.sleep(0.02)\nlogitcrossentropy(model(x), y)"


@pytest.fixture
def kernel(process: Kernel) -> Kernel:
    """A kernel with the extension, a model and data; its namespace is emptied before."""
    process.run("%reset -f")
    process.run("import time\n%colors nocolor\n%reload_ext fluxmagic\n" + SETUP)
    return process


def pictures(kernel: Kernel, cell: str) -> list[bytes]:
    return [
        base64.b64decode(o["data"]["image/png"])
        for o in kernel.outputs.get(cell, [])
        if "image/png" in o.get("data", {})
    ]


def plain_text(kernel: Kernel, cell: str) -> str:
    """What a page without pictures would show of a cell's outputs."""
    return "".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in kernel.outputs[cell])


def test_a_cell_trains_and_leaves_picture_and_summary(kernel):
    cell = kernel.start(TRAIN.format(epochs=3))
    assert kernel.end(cell)["status"] == "ok"
    assert pictures(kernel, cell)[-1].startswith(b"\x89PNG")
    assert "3 epochs, 9 steps" in plain_text(kernel, cell)
    assert kernel.value("(run.steps, run.state, x.shape)") == (9, "done", (20, 4))


def test_a_run_at_the_end_of_a_cell_shows_its_curve_and_summary(kernel):
    kernel.run("run = Run(lambda x, y: logitcrossentropy(model(x), y), batches(X, Y, 20), 'SGD', epochs=2)")
    fresh = kernel.start("run")
    kernel.end(fresh)
    kernel.run("run.train()")
    trained = kernel.start("run")
    kernel.end(trained)
    assert not pictures(kernel, fresh)
    assert "run: SGD (η 0.1)" in plain_text(kernel, fresh)
    (curve,) = pictures(kernel, trained)
    assert curve.startswith(b"\x89PNG")
    assert "2 epochs, 6 steps" in plain_text(kernel, trained)


def test_the_users_own_prints_stay(kernel):
    cell = kernel.start("%%train x, y in batches(X, Y, 20)\nprint('hello', len(x))\nlogitcrossentropy(model(x), y)")
    assert kernel.end(cell)["status"] == "ok"
    assert kernel.text(cell).count("hello 20\n") == 3


def test_an_error_names_the_cell_and_the_users_line(kernel):
    cell = kernel.start("%%train x, y in batches(X, Y, 20)\nz = model(x)\nno_such_loss(z, y)")
    reply = kernel.end(cell)
    error = next(o for o in kernel.outputs[cell] if o["type"] == "error")
    shown = "\n".join(error["traceback"])
    assert (reply["status"], error["ename"]) == ("error", "NameError")
    assert f"Cell In[{reply['execution_count']}], line 3" in shown
    assert "----> 3 no_such_loss(z, y)" in shown
    assert "train_step" not in shown


@pytest.mark.parametrize("mode", ["Context", "Plain", "Verbose", "Minimal"])
def test_an_error_of_the_package_ends_at_the_users_line_and_no_figure_is_shown(kernel, mode):
    kernel.run(f"%xmode {mode}")
    cell = kernel.start("%%train x, y in batches(X, Y, 20)\nz = model(x[:, :2])\nlogitcrossentropy(z, y)")
    kernel.end(cell)
    kernel.run("%xmode Context")
    error = next(o for o in kernel.outputs[cell] if o["type"] == "error")
    shown = "\n".join(error["traceback"])
    assert "takes input of width 4" in shown
    assert ("z = model(x[:, :2])" in shown) is (mode != "Minimal")
    assert "fluxmagic/" not in shown
    assert "run_cell_magic" not in shown
    assert not pictures(kernel, cell)


@pytest.mark.parametrize("jedi", [True, False])
def test_tab_offers_only_what_fits(kernel, jedi):
    kernel.run(f"%config Completer.use_jedi = {jedi}")
    kernel.run("run = Run(lambda x: (model(x) ** 2).sum(), [X], 'SGD', name='run')")
    options = kernel.complete("%%train x, y in batches(X, Y, 20) --opt SGD --")
    assert {"--η", "--eta", "--epochs", "--valid"} <= set(options)
    assert all(name.startswith("--") for name in options)
    assert "--opt" not in options
    assert "ADAM" in kernel.complete("%%train x in d --opt ")
    assert "SGD" not in kernel.complete("%%train x in d --opt AD")
    dials = kernel.complete("%train set ")
    assert {"η=", "eta=", "decay="} <= set(dials)
    assert all(name.endswith("=") for name in dials)
    assert {"status", "swap"} <= set(kernel.complete("%train "))
    assert "logitcrossentropy" in kernel.complete("%%train x in d --opt SGD\nlogitcross")


def test_a_wrong_option_is_one_line_and_later_cells_do_not_run(kernel):
    wrong = kernel.start("%%train x, y in batches(X, Y, 20) --opt adam\nlogitcrossentropy(model(x), y)")
    after = kernel.start("after = 1")
    assert kernel.end(wrong)["ename"] == "UsageError"
    assert kernel.end(after)["status"] == "aborted"
    assert "did you mean ADAM?" in kernel.text(wrong)
    assert "Traceback" not in kernel.text(wrong)
    assert kernel.value("'after' in globals()") is False


def test_run_all_keeps_its_order(kernel):
    codes = [
        "order = ['before']",
        f"%%train x, y in batches(X, Y, 20) --epochs 4\norder.append('step')\n{LOSS}",
        "order.append('after')",
        TRAIN.format(epochs=1),
        "done = run.steps",
    ]
    cells = [kernel.start(code) for code in codes]
    assert [kernel.end(c)["status"] for c in cells] == ["ok"] * 5
    assert [c for c in kernel.order if c in cells] == cells
    assert kernel.value("order") == ["before", *["step"] * 12, "after"]
    assert kernel.value("done") == 3


def test_an_interrupt_ends_the_batch_keeps_the_history_and_stops_run_all(kernel):
    cell = kernel.start(SLOW)
    after = kernel.start("after = 1")
    kernel.onward(4)
    kernel.interrupt()
    assert kernel.end(cell)["ename"] == "KeyboardInterrupt"
    assert kernel.end(after)["status"] == "aborted"
    steps, rows, state = kernel.value("(run.steps, len(run.history['loss']), run.state)")
    assert steps == rows > 3
    assert state == "paused"
    assert kernel.value("'after' in globals()") is False
    # no update is half done: the same steps give the same bits
    kernel.run("stopped_at = [p.data.copy() for p in params(model)]; n = run.opt.n\nrun.replay()")
    assert kernel.value("n == run.steps") is True
    assert kernel.value("all((p.data == q).all() for p, q in zip(params(model), stopped_at))") is True
    assert f"goes on from weights trained by `run`, {steps} steps" in kernel.run(TRAIN.format(epochs=1))


def test_interrupts_at_random_moments_leave_every_run_on_the_path_of_an_undisturbed_one(kernel):
    moments = random.Random(0)
    kernel.run(TRAIN.format(epochs=1))
    for _ in range(TRIES):
        cell = kernel.start(TRAIN.format(epochs=10**6) + " * 1.0")
        kernel.until(lambda cell=cell: kernel.order and kernel.order[-1] == cell)
        time.sleep(moments.uniform(0.0, 0.3))
        kernel.interrupt()
        assert kernel.end(cell)["ename"] == "KeyboardInterrupt"
        # replay compares the loss of every step; an update that was half done would end in other bits
        kernel.run("stopped_at = [p.data.copy() for p in params(model)]; n = run.opt.n\nrun.replay()")
        assert kernel.value("n == run.opt.n == run.steps > 0") is True
        assert kernel.value("all((p.data == q).all() for p, q in zip(params(model), stopped_at))") is True


def test_help_and_completion_work_over_the_wire(kernel):
    client = kernel.client
    line = "%%train x, y in data --opt Momentum --rh"
    reply = client.complete(line, len(line), reply=True, timeout=30)["content"]
    assert "--rho" in {line[reply["cursor_start"] : reply["cursor_start"]] + m for m in reply["matches"]}
    (page,) = kernel.end(kernel.start("%%train?"))["payload"]
    assert "NAMES in EXPR" in page["data"]["text/plain"]


def test_commands_drive_a_panel_while_the_kernel_is_free(kernel):
    kernel.run("loss = lambda x, y: (time.sleep(0.001), logitcrossentropy(model(x), y))[1]")
    kernel.run("panel = Panel(loss, batches(X, Y, 20), params(model), epochs=10**6, name='p')\np = panel.run\npanel")
    kernel.run("%train resume --name p")
    kernel.until(lambda: kernel.value("p.steps") > 3)
    assert kernel.value("p.state") == "running"
    assert "running in epoch" in kernel.run("%train status --name p")
    assert kernel.run("%train pause --name p") == "p pauses after the batch\n"
    kernel.until(lambda: kernel.value("p.state") == "paused")
    kernel.run("%train set η=0.25 --name p\n%train step 2 --name p")
    assert kernel.value("[tuple(e)[1:] for e in p.events]") == [("η", 0.001, 0.25)]
    kernel.run("%train resume --name p")
    kernel.until(lambda: kernel.value("p.state") == "running")
    busy = kernel.start(TRAIN.format(epochs=1))
    assert kernel.end(busy)["ename"] == "UsageError"
    assert "these weights are being trained by `p`" in kernel.text(busy)
    kernel.run("%train stop --name p")
    kernel.until(lambda: kernel.value("p.state") == "stopped")
    kernel.run("panel.close()")


def test_unloading_in_a_kernel_takes_the_magics_away(kernel):
    kernel.run("%unload_ext fluxmagic")
    cell = kernel.start("%train status")
    assert kernel.end(cell)["status"] == "error"
    assert "`%train` not found" in kernel.text(cell)
    kernel.run("%load_ext fluxmagic")
    kernel.run(TRAIN.format(epochs=1))


def notebook(*cells: str) -> NotebookClient:
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    return NotebookClient(nb, timeout=120, kernel_name="python3", resources={"metadata": {"path": ROOT}})


def test_an_executed_notebook_keeps_curve_and_summary_and_no_widget():
    client = notebook("%load_ext fluxmagic\n" + SETUP, TRAIN.format(epochs=2), "%optimisers")
    nb = client.execute()
    outputs = nb.cells[1].outputs
    data = [o.data for o in outputs if o.output_type == "display_data"]
    assert any(base64.b64decode(d["image/png"]).startswith(b"\x89PNG") for d in data if "image/png" in d)
    shown = "".join([*(d.get("text/plain", "") for d in data), *(o.text for o in outputs if o.output_type == "stream")])
    assert "2 epochs, 6 steps" in shown
    assert not any("application/vnd.jupyter.widget-view+json" in d for d in data)
    table = nb.cells[2].outputs[0].data
    assert "<table" in table["text/html"]
    assert "Momentum" in table["text/plain"]
    nbformat.validate(nb)


def test_an_executed_notebook_ends_at_a_failing_cell():
    client = notebook("%load_ext fluxmagic\n" + SETUP, "%%train x, y in batches(X, Y, 20)\n1 / 0", "print('later')")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        client.execute()
    assert client.nb.cells[2].outputs == []

"""Dials in a real kernel, with the messages that a page sends, and at least two moves in every test."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

from tests.jupyter.kernels import INTERPRETERS, Kernel

SETUP = """
import time
import numpy as np
from fluxmagic import Run, SGD, param
from fluxmagic.jupyter.driver import drive
from fluxmagic.jupyter.panel import Panel
ip = get_ipython()

def make(steps=100_000, opt="SGD", pause=0.001, **options):
    W = param(np.ones(3))
    def loss(x):
        time.sleep(pause)
        return ((W - x) ** 2).sum()
    return Run(loss, [np.zeros(3)] * steps, opt, **{"name": "run", **options})
"""


@pytest.fixture(scope="module", params=INTERPRETERS)
def started(request, tmp_path_factory):
    kernel = Kernel(request.param, str(tmp_path_factory.mktemp("kernel")))
    kernel.run(SETUP)
    yield kernel
    kernel.stop()


@pytest.fixture
def kernel(started):
    yield started
    started.calm()


@pytest.fixture(params=["shell", "subshell"])
def page(request, kernel):
    """A kernel, and the way by which the page sends what widgets say."""
    if request.param == "subshell":
        kernel.use_subshell()
    return kernel


def events(kernel, name="run"):
    return kernel.value(f"[tuple(e) for e in {name}.events]")


def shows(kernel, text):
    """Whether a widget says so."""
    return any(text in str(s.get("value", "")) for k, s in kernel.widgets.items() if k not in kernel.closed)


def frames(kernel, cell):
    """How often the curve was drawn anew."""
    return sum(o.get("updates", 0) for o in kernel.outputs[cell] if "image/png" in o.get("data", {}))


def test_dials_turn_while_the_cell_trains(page):
    cell = page.start("run = make(pause=0.01); drive(run, ip)")
    page.find("η")
    page.onward()
    page.move("η", 0.01)
    page.onward()
    page.move("η", 0.002)
    page.onward()
    page.move("decay", 0.01)
    page.onward()
    page.press("Stop")
    assert page.end(cell)["status"] == "ok"
    turned = events(page)
    assert [e[1:] for e in turned] == [("η", 0.1, 0.01), ("η", 0.01, 0.002), ("decay", 0.0, 0.01)]
    assert 0 < turned[0][0] < turned[1][0] < turned[2][0] < page.value("run.steps")
    # the loss shrinks by (1 - 2η)² a step: from one turn to the next each has the rate of its η
    rates = page.value("(run.history['loss'][1:] / run.history['loss'][:-1]).tolist()")
    assert rates[turned[0][0] - 5] == pytest.approx(0.8**2)
    assert rates[turned[0][0] + 5] == pytest.approx(0.98**2)
    assert rates[turned[1][0] + 5] == pytest.approx(0.996**2)


def test_another_optimiser_takes_over_while_the_cell_trains(page):
    cell = page.start("run = make(); drive(run, ip)")
    page.find("η")
    page.choose("optimiser", "ADAM")
    page.until(lambda: any(s.get("description") == "β1" for s in page.widgets.values()))
    page.onward()
    page.move("β1", 0.8)
    page.onward()
    page.move("β1", 0.7)
    page.onward()
    page.choose("optimiser", "SGD")
    page.onward()
    page.press("Stop")
    page.end(cell)
    assert [e[1:] for e in events(page)] == [
        ("opt", "SGD", "ADAM"),
        ("β1", 0.9, 0.8),
        ("β1", 0.8, 0.7),
        ("opt", "ADAM", "SGD"),
    ]


def test_pause_step_play_and_stop(page):
    cell = page.start("run = make(); drive(run, ip)")
    page.find("Pause")
    page.onward()
    page.press("Pause")
    page.until(lambda: not page.widgets[page.find("Play", "Button")]["disabled"])
    page.listen(0.1)
    steps = page.progress()
    page.press("Step")
    page.until(lambda: shows(page, f"step {steps + 1:,}/"))
    page.press("Step")
    page.until(lambda: shows(page, f"step {steps + 2:,}/"))
    page.move("η", 0.01)
    page.listen(0.1)
    page.move("η", 0.02)
    page.listen(0.1)
    page.press("Play")
    page.onward()
    page.press("Stop")
    assert page.end(cell)["status"] == "ok"
    assert page.value("run.state") == "stopped"
    assert page.value("run.steps") > steps + 10
    assert [e[0] for e in events(page)] == [steps + 2, steps + 2]


def test_rewind_goes_back_while_the_cell_trains(kernel):
    cell = kernel.start("run = make(); drive(run, ip)")
    kernel.find("η")
    kernel.onward(40)
    kernel.move("η", 0.01)
    kernel.onward()
    kernel.move("η", 0.02)
    kernel.onward()
    kernel.tell(kernel.find("step"), {"method": "update", "state": {"value": 10}, "buffer_paths": []})
    kernel.press("Rewind")
    kernel.until(lambda: kernel.widgets[kernel.find("η")]["value"] == 0.1)  # as it was then
    kernel.move("η", 0.05)
    kernel.onward()
    kernel.press("Stop")
    assert kernel.end(cell)["status"] == "ok"
    assert [e[1:] for e in events(kernel)] == [("η", 0.1, 0.05)]


def test_a_branch_goes_on_in_the_place_of_the_run_and_the_run_can_go_on_later(page):
    page.run("globals().pop('run_b', None)")
    cell = page.start("run = make(); drive(run, ip)")
    page.find("η")
    page.onward()
    page.move("η", 0.01)
    page.onward()
    page.press("Branch")
    page.until(lambda: shows(page, "run_b goes on from step"))
    page.onward()
    page.move("η", 0.02)
    page.onward()
    page.press("Stop")
    assert page.end(cell)["status"] == "ok"
    parted = page.value("run.steps")
    assert page.value("run_b.parent is run, run.state, run_b.state") == (True, "paused", "stopped")
    assert page.value("run_b.steps") > parted + 30
    assert [e[1:] for e in events(page)] == [("η", 0.1, 0.01)]
    assert [e[1:] for e in events(page, "run_b")] == [("η", 0.1, 0.01), ("η", 0.01, 0.02)]
    page.run("run.step(3)")
    assert page.value("run.steps") == parted + 3


def test_the_next_cells_and_other_widgets_wait_and_keep_their_order(page):
    page.run("import ipywidgets; seen = []; mine = ipywidgets.IntSlider(description='mine')")
    page.run("mine.observe(lambda c: seen.append((c['new'], len(seen), run.state)), 'value'); mine")
    cell = page.start("run = make(); drive(run, ip); during = list(seen); seen.append('trained')")
    page.find("η")
    after = [page.start(f"seen.append({i})") for i in range(3)]
    if page.subshell is None:  # a subshell is the front end's way not to wait
        page.move("mine", 5)
    page.move("η", 0.01)
    page.onward()
    page.move("η", 0.02)
    page.onward()
    assert not set(after) & set(page.order)
    page.press("Stop")
    for c in (cell, *after):
        page.end(c)
    page.listen(0.2)
    assert page.order[-4:] == [cell, *after]
    seen = page.value("seen")
    assert page.value("during") == []
    assert [s for s in seen if not isinstance(s, tuple)] == ["trained", 0, 1, 2]
    if page.subshell is None:
        assert [s[0] for s in seen if isinstance(s, tuple)] == [5]
    assert len(events(page)) == 2


def test_an_interrupt_keeps_the_history_and_later_cells_do_not_run(kernel):
    cell = kernel.start("run = make(); late = []; drive(run, ip)")
    kernel.find("η")
    late = kernel.start("late.append(1)")
    kernel.move("η", 0.01)
    kernel.onward()
    kernel.move("η", 0.02)
    kernel.onward()
    kernel.interrupt()
    reply = kernel.end(cell)
    assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt")
    assert kernel.end(late)["status"] != "ok"
    kernel.listen(0.2)
    assert kernel.value("late") == []
    assert kernel.value("run.state, len(run.events), run.steps == len(run.history['loss']) > 10") == ("paused", 2, True)
    assert left_behind(kernel, cell)


def test_an_interrupt_while_paused_ends_the_cell(kernel):
    cell = kernel.start("run = make(); drive(run, ip)")
    kernel.find("Pause")
    kernel.onward()
    kernel.press("Pause")
    kernel.until(lambda: not kernel.widgets[kernel.find("Play", "Button")]["disabled"])
    kernel.interrupt()
    assert kernel.end(cell)["ename"] == "KeyboardInterrupt"
    assert kernel.run("print(run.state)") == "paused\n"


def left_behind(kernel, cell):
    """What stays of a training cell: a picture and a summary, no widget."""
    shown = [o for o in kernel.outputs[cell] if o["type"] == "display_data"]
    assert [sorted(o["data"]) for o in shown] == [["image/png", "text/plain"], ["text/plain"]]
    assert "steps" in shown[1]["data"]["text/plain"]
    assert set(kernel.widgets) <= kernel.closed
    return True


def test_a_picture_and_a_summary_stay_and_the_users_prints(kernel):
    cell = kernel.start("run = make(200); print('before'); drive(run, ip); print('after')")
    kernel.end(cell)
    assert kernel.text(cell) == "before\nafter\n"
    assert left_behind(kernel, cell)


def test_a_loss_that_turns_nan_while_a_dial_is_dragged(kernel):
    cell = kernel.start(
        "run = make(); loss = run.loss\n"
        "run.loss = lambda x: loss(x) * (float('nan') if len(run.events) > 1 else 1.0)\n"
        "drive(run, ip)"
    )
    slider = kernel.find("η")
    kernel.move("η", 0.01)
    kernel.onward()
    for η in (0.02, 0.03, 0.04, 0.05, 0.06):
        kernel.tell(slider, {"method": "update", "state": {"value": η}, "buffer_paths": []})
        kernel.listen(0.1)
    reply = kernel.end(cell)
    assert reply["ename"] == "NotFinite"
    assert left_behind(kernel, cell)
    assert kernel.value("bool(np.isfinite(run.params[0].data).all()), run.state") == (True, "failed")


def test_an_optimiser_that_raises_ends_the_cell_with_its_error(kernel):
    kernel.run(
        "from fluxmagic.optimise import Hyper, Optimiser\n"
        "class Broken(Optimiser):\n"
        "    η = Hyper(0.1, 'learning rate', scale='log')\n"
        "    def step(self, δ, s):\n"
        "        raise RuntimeError('broken rule')\n"
    )
    try:
        cell = kernel.start("run = make(); drive(run, ip)")
        kernel.find("η")
        kernel.move("η", 0.01)
        kernel.onward()
        kernel.move("η", 0.02)
        kernel.onward()
        kernel.choose("optimiser", "Broken")
        reply = kernel.end(cell)
        assert (reply["ename"], reply["evalue"]) == ("RuntimeError", "broken rule")
        assert kernel.value("bool(np.isfinite(run.params[0].data).all())")
        assert left_behind(kernel, cell)
    finally:
        kernel.run("from fluxmagic.optimise import OPTIMISERS; del OPTIMISERS['Broken']")


def test_values_that_are_none_do_not_end_the_training(kernel):
    cell = kernel.start("run = make(); drive(run, ip)")
    slider = kernel.find("η")
    kernel.tell(slider, {"method": "update", "state": {"value": -1.0}, "buffer_paths": []})
    kernel.onward()
    kernel.tell(slider, {"method": "update", "state": {"value": "much"}, "buffer_paths": []})
    kernel.onward()
    kernel.tell(slider, {"nonsense": True})
    kernel.move("η", 0.01)
    kernel.onward()
    kernel.move("η", 0.02)
    kernel.onward()
    kernel.press("Stop")
    assert kernel.end(cell)["status"] == "ok"
    assert [e[3] for e in events(kernel)][-2:] == [0.01, 0.02]


def test_a_page_that_closes_the_panel_does_not_end_the_training(kernel):
    cell = kernel.start("run = make(4000); drive(run, ip)")
    kernel.find("η")
    kernel.move("η", 0.01)
    kernel.onward()
    kernel.move("η", 0.02)
    kernel.onward()
    for comm in [k for k in kernel.widgets if k not in kernel.closed]:
        kernel.client.shell_channel.send(kernel.client.session.msg("comm_close", {"comm_id": comm, "data": {}}))
    assert kernel.end(cell)["status"] == "ok"
    assert kernel.value("run.state") == "done"
    assert len(events(kernel)) == 2


def test_a_page_that_is_loaded_anew_is_answered_while_the_cell_trains(kernel):
    cell = kernel.start("run = make(); drive(run, ip)")
    kernel.find("η")
    asked = kernel.client.kernel_info()
    comms = kernel.client.comm_info("jupyter.widget")
    kernel.until(lambda: asked in kernel.replies and comms in kernel.replies)
    assert cell not in kernel.replies
    assert kernel.find("η") in kernel.replies[comms]["content"]["comms"]
    control = kernel.client.session.msg(
        "comm_open",
        {"comm_id": "anew", "target_name": "jupyter.widget.control", "data": {}},
        metadata={"version": "2.1.0"},
    )
    kernel.client.shell_channel.send(control)
    kernel.tell("anew", {"method": "request_states"})
    kernel.move("η", 0.01)
    kernel.onward()
    kernel.move("η", 0.02)
    kernel.onward()
    assert cell not in kernel.replies
    kernel.press("Stop")
    kernel.end(cell)
    assert len(events(kernel)) == 2


def test_a_kernel_whose_internals_are_not_as_known_trains_and_says_so(kernel):
    kernel.run("from fluxmagic.jupyter import message_pump as m; find = m.find_shell_channel")
    kernel.run("m.find_shell_channel = lambda kernel: None")
    try:
        cell = kernel.start("run = make(1000); drive(run, ip)")
        kernel.find("η")
        kernel.move("η", 0.01)
        kernel.move("η", 0.02)
        assert kernel.until(lambda: shows(kernel, "sliders act when the cell ends"))
        assert kernel.end(cell)["status"] == "ok"
        assert kernel.value("run.state") == "done"
    finally:
        kernel.run("m.find_shell_channel = find")


def test_a_turn_is_answered_by_a_new_frame(kernel):
    cell = kernel.start("run = make(); drive(run, ip)")
    kernel.find("η")
    kernel.onward()
    for η in (0.01, 0.02):
        kernel.move("η", η)
        before = frames(kernel, cell)
        kernel.until(lambda n=before: frames(kernel, cell) > n)
    kernel.press("Stop")
    kernel.end(cell)


# -- Panel ---------------------------------------------------------------------------------------------------


def test_a_panel_trains_beside_other_cells(page):
    cell = page.start("p = Panel(make()); run = p.run; p")
    assert page.end(cell)["status"] == "ok"
    assert page.value("run.steps") == 0
    page.press("Play")
    page.until(lambda: page.value("run.steps") > 20)
    page.move("η", 0.01)
    page.onward()
    page.move("η", 0.002)
    page.onward()
    page.choose("optimiser", "Momentum")
    page.onward()
    page.move("ρ", 0.5)
    page.onward()
    assert page.value("1 + 1") == 2  # the kernel is free
    page.press("Pause")
    page.until(lambda: page.value("run.state") == "paused")
    steps = page.value("run.steps")
    page.press("Step")
    page.until(lambda: page.value("run.steps") == steps + 1)
    page.press("Play")
    page.until(lambda: page.value("run.steps") > steps + 20)
    page.press("Stop")
    page.until(lambda: page.value("run.state") == "stopped")
    turned = events(page)
    assert [e[1:] for e in turned] == [
        ("η", 0.1, 0.01),
        ("η", 0.01, 0.002),
        ("opt", "SGD", "Momentum"),
        ("ρ", 0.9, 0.5),
    ]
    rates = page.value("(run.history['loss'][1:] / run.history['loss'][:-1]).tolist()")
    assert rates[turned[0][0] + 5] == pytest.approx(0.98**2)
    page.press("Close")
    page.until(lambda: set(page.widgets) <= page.closed)
    page.listen(0.2)
    assert left_behind(page, cell)


@pytest.mark.parametrize("join", ["run.wait()", "await run"])
def test_joining_a_panel_lets_its_dials_act_and_leaves_the_curve_in_both_cells(page, join):
    cell = page.start("p = Panel(make()); run = p.run; p")
    page.end(cell)
    page.press("Play")
    page.onward()
    joined = page.start(f"{join}; print(run.state)")
    page.onward()
    page.move("η", 0.01)
    page.onward()
    page.move("η", 0.02)
    page.onward()
    page.press("Stop")
    assert page.end(joined)["status"] == "ok"
    assert page.text(joined) == "stopped\n"
    assert [e[1:] for e in events(page)] == [("η", 0.1, 0.01), ("η", 0.01, 0.02)]
    assert left_behind(page, cell)
    assert left_behind(page, joined)


def test_a_panel_tells_what_goes_wrong_and_the_kernel_lives(kernel):
    cell = kernel.start(
        "p = Panel(make()); run = p.run; loss = run.loss\n"
        "run.loss = lambda x: loss(x) * (float('nan') if len(run.events) > 1 else 1.0)\np"
    )
    kernel.end(cell)
    kernel.press("Play")
    kernel.onward()
    kernel.move("η", 0.01)
    kernel.onward()
    kernel.move("η", 0.02)
    kernel.until(lambda: shows(kernel, "the loss is nan"))
    assert kernel.value("bool(np.isfinite(run.params[0].data).all()), run.state") == (True, "failed")
    assert not kernel.widgets[kernel.find("Recover")]["disabled"]
    kernel.run("run.loss = loss")
    kernel.press("Recover")
    kernel.until(lambda: shows(kernel, "with η 0.002"))
    kernel.press("Play")
    kernel.onward()
    assert kernel.value("run.opt.η, run.state") == (0.002, "running")
    kernel.press("Close")
    kernel.until(lambda: set(kernel.widgets) <= kernel.closed)


def test_an_error_of_an_awaited_panel_leaves_through_the_cell(kernel):
    kernel.run("p = Panel(make()); run = p.run; run.loss = lambda x: 1 / 0\np")
    joined = kernel.start("await run")
    assert kernel.end(joined)["ename"] == "ZeroDivisionError"
    assert set(kernel.widgets) <= kernel.closed


def test_a_second_training_of_the_same_weights_beside_a_panel_is_an_error(kernel):
    kernel.run("W = param(np.ones(3)); loss = lambda x: ((W - x) ** 2).sum()")
    kernel.run("p = Panel(loss, [np.zeros(3)] * 1_000_000, [W], name='p'); p")
    kernel.press("Play")
    kernel.until(lambda: kernel.value("p.run.steps") > 10)
    cell = kernel.start("drive(Run(loss, [np.zeros(3)] * 10, SGD([W], 0.1), name='second'), ip)")
    reply = kernel.end(cell)
    assert reply["ename"] == "RuntimeError"
    assert "are being trained by Run('p'" in reply["evalue"]
    steps = kernel.value("p.run.steps")
    kernel.until(lambda: kernel.value("p.run.steps") > steps)
    kernel.press("Close")
    kernel.until(lambda: set(kernel.widgets) <= kernel.closed)
    assert kernel.value("p.run.state") == "paused"


def test_pausing_a_panels_run_from_another_cell_counts(kernel):
    kernel.run("p = Panel(make()); run = p.run; p")
    kernel.press("Play")
    kernel.until(lambda: kernel.value("run.steps") > 5)
    kernel.run("run.pause()")
    kernel.until(lambda: kernel.value("run.state") == "paused")
    kernel.until(lambda: not kernel.widgets[kernel.find("Play", "Button")]["disabled"])
    kernel.press("Close")
    kernel.until(lambda: set(kernel.widgets) <= kernel.closed)


def test_an_interrupt_while_a_panel_plays_belongs_to_the_cell_that_awaits(kernel):
    kernel.run("import asyncio; p = Panel(make()); run = p.run; p")
    kernel.press("Play")
    kernel.until(lambda: kernel.value("run.steps") > 5)
    for waits in ("await asyncio.sleep(60)", "while True: await asyncio.sleep(0.01)"):
        cell = kernel.start(waits)
        kernel.listen(0.3)
        kernel.interrupt()
        assert kernel.end(cell)["ename"] == "CancelledError"
        steps = kernel.value("run.steps")
        kernel.until(lambda steps=steps: kernel.value("run.steps") > steps)
    kernel.press("Close")
    kernel.until(lambda: set(kernel.widgets) <= kernel.closed)


@pytest.mark.parametrize(
    "waits", ["await run", "await asyncio.sleep(0); run.train()", "await asyncio.sleep(0); run.wait()"]
)
def test_an_interrupt_ends_an_async_cell_that_trains_and_not_the_kernel(kernel, waits):
    kernel.run("import asyncio; run = make()")
    cell = kernel.start(waits)
    kernel.listen(0.3)
    kernel.interrupt()
    assert kernel.end(cell)["ename"] == "CancelledError"
    assert kernel.value("run.state") == "paused"


# -- a page that takes no input ------------------------------------------------------------------------------


def executed(*cells):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in (SETUP, *cells)])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    return [c.outputs for c in notebook.cells[1:]]


def test_an_executed_notebook_has_the_picture_and_the_summary_and_no_widget():
    train, panel, wait, later = executed(
        "run = make(300); drive(run, ip)",
        "p = Panel(make(300)); run2 = p.run; p",
        "run2.wait()",
        "p = Panel(make(300)); run3 = p.run\nawait run3",
    )
    for outputs in (train, panel, wait, later):
        assert [sorted(o.data) for o in outputs] == [["image/png", "text/plain"], ["text/plain"]]
        assert "300 steps" in outputs[1].data["text/plain"]


# -- the magic -----------------------------------------------------------------------------------------------

MAGIC = """%%train x in [np.zeros(3)] * 100_000 --opt SGD --η 0.1 --name steered
time.sleep(0.001)
((V - x) ** 2).sum()
"""


def test_a_train_cell_has_dials(kernel):
    kernel.run("%load_ext fluxmagic\nV = param(np.ones(3))")
    cell = kernel.start(MAGIC)
    kernel.find("η")
    kernel.onward()
    kernel.move("η", 0.01)
    kernel.onward()
    kernel.move("η", 0.02)
    kernel.onward()
    kernel.press("Stop")
    assert kernel.end(cell)["status"] == "ok"
    assert [e[1:] for e in events(kernel, "steered")] == [("η", 0.1, 0.01), ("η", 0.01, 0.02)]
    assert left_behind(kernel, cell)


def test_a_panel_outlives_the_extension_that_is_unloaded_in_the_middle(kernel):
    kernel.run("%load_ext fluxmagic\np = Panel(make()); run = p.run")
    kernel.run("p")
    kernel.press("Play")
    kernel.onward()
    kernel.run("%unload_ext fluxmagic")
    kernel.move("η", 0.01)
    kernel.onward()
    kernel.move("η", 0.02)
    kernel.onward()
    kernel.press("Close")
    kernel.until(lambda: set(kernel.widgets) <= kernel.closed)
    assert kernel.value("run.state, len(run.events)") == ("paused", 2)


# -- what ends neither a training nor the kernel -------------------------------------------------------------


def test_a_malformed_state_of_a_slider_does_not_end_the_training(kernel):
    cell = kernel.start("run = make(); drive(run, ip)")
    slider = kernel.find("η")
    for state in ({"base": -10}, {"value": 0.02}):
        kernel.tell(slider, {"method": "update", "state": state, "buffer_paths": []})
        kernel.onward()
    kernel.move("η", 0.01)
    kernel.onward()
    kernel.press("Stop")
    assert kernel.end(cell)["status"] == "ok"
    assert kernel.value("run.opt.η, run.state") == (0.01, "stopped")


@pytest.mark.parametrize(
    "raises",
    ["KeyboardInterrupt", "SystemExit", "GeneratorExit", "asyncio.CancelledError"],
)
def test_whatever_a_loss_raises_in_a_panel_is_a_message_and_play_goes_on(kernel, raises):
    cell = kernel.start(
        "import asyncio\n"
        "p = Panel(make()); run = p.run; loss = run.loss; bad = True\n"
        f"def run_loss(x):\n    if bad and run.steps > 5: raise {raises}\n    return loss(x)\n"
        "run.loss = run_loss\np"
    )
    kernel.end(cell)
    for button in ("Play", "Step"):
        kernel.press(button)
        kernel.until(lambda: shows(kernel, f"{raises.removeprefix('asyncio.')}</span>"))
    assert kernel.value("run.steps") == 6
    kernel.run("bad = False")
    kernel.press("Play")
    kernel.until(lambda: kernel.value("run.steps") > 20)
    kernel.press("Close")
    kernel.until(lambda: set(kernel.widgets) <= kernel.closed)


@pytest.mark.parametrize(("raises", "comes"), [("SystemExit", "SystemExit"), ("GeneratorExit", "RuntimeError")])
def test_what_an_awaited_loss_raises_leaves_through_the_cell(kernel, raises, comes):
    kernel.run(f"def fail(x): raise {raises}\np = Panel(make()); run = p.run; run.loss = fail\np")
    joined = kernel.start("await run")
    assert kernel.end(joined)["ename"] == comes
    assert kernel.value("run.state") == "failed"


def test_cancelling_all_tasks_pauses_a_panel_and_play_goes_on(kernel):
    kernel.end(kernel.start("p = Panel(make()); run = p.run; p"))
    kernel.press("Play")
    kernel.onward()
    kernel.run("p._task.cancel()")
    kernel.until(lambda: kernel.value("run.state, p._task") == ("paused", None))
    steps = kernel.value("run.steps")
    kernel.press("Play")
    kernel.until(lambda: kernel.value("run.steps") > steps + 20)
    kernel.press("Close")
    kernel.until(lambda: set(kernel.widgets) <= kernel.closed)


@pytest.mark.parametrize("playing", [True, False])
def test_a_page_that_floods_a_panel_leaves_the_kernel_to_other_cells(page, playing):
    cell = page.start("p = Panel(make(10**7)); run = p.run; p")
    page.end(cell)
    page.press("Play")
    page.onward()
    if not playing:
        page.press("Pause")
        page.until(lambda: page.value("run.state") == "paused")
    before = page.value("run.steps")
    for i in range(2000):
        page.move("η", 0.01 + 0.0001 * (i % 7))
    page.move("η", 0.5)
    after = page.value("run.steps")
    page.until(lambda: page.value("run.opt.η") == 0.5)
    assert after - before < 20 * 1000 * playing + 1  # in a turn there are 20 steps: much less than a turn a message
    assert page.value("len(run.events)") < 1000
    page.press("Close")
    page.until(lambda: set(page.widgets) <= page.closed)


def test_a_panel_cell_that_is_run_again_frees_the_panel_that_it_showed_before(kernel):
    code = "p = Panel(make()); p"
    kernel.end(kernel.start(code))
    kernel.press("Play")
    kernel.until(lambda: kernel.value("p.run.steps") > 10)
    kernel.run("first = p.run")
    once = len(set(kernel.widgets) - kernel.closed)
    cell = ""
    for _ in range(4):
        cell = kernel.start(code)
        kernel.end(cell)
    kernel.until(lambda: len(set(kernel.widgets) - kernel.closed) == once)
    assert kernel.value("first.state, first.driver") == ("paused", None)
    kernel.end(kernel.start("p"))  # elsewhere
    kernel.end(kernel.start(code))  # what the other cell shows is not closed
    assert len(set(kernel.widgets) - kernel.closed) == 2 * once


def test_the_line_magic_finds_a_panel_that_is_shown_and_in_no_variable(kernel):
    kernel.run("%load_ext fluxmagic")
    kernel.end(kernel.start("Panel(make(name='shown'))"))
    kernel.press("Play")
    kernel.onward()
    assert kernel.run("%train pause --name shown").startswith("shown ")
    kernel.until(lambda: "paused" in kernel.run("%train status --name shown"))
    kernel.press("Close")
    kernel.until(lambda: set(kernel.widgets) <= kernel.closed)
    assert kernel.run("%unload_ext fluxmagic") == ""


def test_a_cell_may_show_several_panels(kernel):
    kernel.run("a, b = Panel(make()), Panel(make()); display(a, b)")
    assert kernel.value("a._view is not None and b._view is not None")
    kernel.run("a.close(), b.close()")

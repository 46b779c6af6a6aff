"""Panels beside other cells."""

from __future__ import annotations

import re

import pytest

from tests.jupyter.live.training import close_panel, events, left_behind, show_panel, turn_twice


def test_a_panel_trains_beside_other_cells(page):
    cell = show_panel(page)
    assert page.value("run.steps") == 0
    page.press("Play")
    page.until(lambda: page.value("run.steps") > 20)
    page.turn("η", 0.01)
    page.onward()
    page.turn("η", 0.002)
    page.onward()
    page.choose("Momentum")
    page.onward()
    page.turn("ρ", 0.5)
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
    close_panel(page)
    page.listen(0.2)
    assert left_behind(page, cell)


@pytest.mark.parametrize("join", ["run.wait()", "await run"])
def test_joining_a_panel_lets_its_dials_act_and_leaves_the_curve_in_both_cells(page, join):
    cell = show_panel(page)
    page.press("Play")
    page.onward()
    joined = page.start(f"{join}; print(run.state)")
    page.onward()
    turn_twice(page)
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
    kernel.turn("η", 0.01)
    kernel.onward()
    kernel.turn("η", 0.02)
    kernel.until(lambda: kernel.shows("the loss is nan"))
    assert kernel.value("bool(np.isfinite(run.params[0].data).all()), run.state") == (True, "failed")
    assert kernel.is_enabled("Recover")
    kernel.run("run.loss = loss")
    kernel.press("Recover")
    kernel.until(lambda: kernel.shows("with η 0.002"))
    kernel.press("Play")
    kernel.onward()
    assert kernel.value("run.opt.η, run.state") == (0.002, "running")
    close_panel(kernel)


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
    cell = kernel.start("train_in_cell(Run(loss, [np.zeros(3)] * 10, SGD([W], 0.1), name='second'), ip)")
    reply = kernel.end(cell)
    assert reply["ename"] == "RuntimeError"
    assert "are being trained by Run('p'" in reply["evalue"]
    steps = kernel.value("p.run.steps")
    kernel.until(lambda: kernel.value("p.run.steps") > steps)
    close_panel(kernel)
    assert kernel.value("p.run.state") == "paused"


def test_pausing_a_panels_run_from_another_cell_counts(kernel):
    show_panel(kernel)
    kernel.press("Play")
    kernel.until(lambda: kernel.value("run.steps") > 5)
    kernel.run("run.pause()")
    kernel.until(lambda: kernel.value("run.state") == "paused")
    kernel.until(lambda: kernel.is_enabled("Play"))
    close_panel(kernel)


def test_an_interrupt_while_a_panel_plays_belongs_to_the_cell_that_awaits(kernel):
    kernel.run("import asyncio; p = Panel(make()); run = p.run; p")
    kernel.press("Play")
    kernel.until(lambda: kernel.value("run.steps") > 5)
    for waits in ("await asyncio.sleep(60)", "while True: await asyncio.sleep(0.01)"):
        cell = kernel.start(f"print('waits')\n{waits}")
        kernel.until(lambda cell=cell: kernel.text(cell))
        kernel.interrupt()
        assert kernel.end(cell)["ename"] == "CancelledError"
        steps = kernel.value("run.steps")
        kernel.until(lambda steps=steps: kernel.value("run.steps") > steps)
    close_panel(kernel)


@pytest.mark.parametrize(
    "waits", ["await run", "await asyncio.sleep(0); run.train()", "await asyncio.sleep(0); run.wait()"]
)
def test_an_interrupt_ends_an_async_cell_that_trains_and_not_the_kernel(kernel, waits):
    kernel.run(
        "import asyncio; run = make(); loss = run.loss\n"
        "def loud(x):\n    if not run.steps: print('the first step')\n    return loss(x)\n"
        "run.loss = loud"
    )
    cell = kernel.start(waits)
    kernel.until(lambda: kernel.text(cell))
    kernel.interrupt()
    assert kernel.end(cell)["ename"] == "CancelledError"
    assert kernel.value("run.state") == "paused"


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
    said = raises.removeprefix("asyncio.")
    for button in ("Play", "Step"):
        kernel.press(button)
        kernel.until(lambda: re.fullmatch(rf"{said} \(Cell In\[\d+\], line 4\)", kernel.message or ""))
    assert kernel.value("run.steps") == 6
    kernel.run("bad = False")
    kernel.press("Play")
    kernel.until(lambda: kernel.value("run.steps") > 20)
    close_panel(kernel)


@pytest.mark.parametrize(("raises", "comes"), [("SystemExit", "SystemExit"), ("GeneratorExit", "RuntimeError")])
def test_what_an_awaited_loss_raises_leaves_through_the_cell(kernel, raises, comes):
    kernel.run(f"def fail(x): raise {raises}\np = Panel(make()); run = p.run; run.loss = fail\np")
    joined = kernel.start("await run")
    assert kernel.end(joined)["ename"] == comes
    assert kernel.value("run.state") == "failed"


def test_cancelling_all_tasks_pauses_a_panel_and_play_goes_on(kernel):
    show_panel(kernel)
    kernel.press("Play")
    kernel.onward()
    kernel.run("import asyncio; from fluxmagic.jupyter.driving.panel import TASK_NAME")
    kernel.run("[t.cancel() for t in asyncio.all_tasks() if t.get_name() == TASK_NAME]")
    kernel.until(lambda: kernel.value("run.state") == "paused")
    steps = kernel.value("run.steps")
    kernel.press("Play")
    kernel.until(lambda: kernel.value("run.steps") > steps + 20)
    close_panel(kernel)


@pytest.mark.parametrize("playing", [True, False])
def test_a_page_that_floods_a_panel_leaves_the_kernel_to_other_cells(page, playing):
    show_panel(page, "make(10**7)")
    page.press("Play")
    page.onward()
    if not playing:
        page.press("Pause")
        page.until(lambda: page.value("run.state") == "paused")
    before = page.value("run.steps")
    for i in range(2000):
        page.turn("η", 0.01 + 0.0001 * (i % 7))
    page.turn("η", 0.5)
    after = page.value("run.steps")
    page.until(lambda: page.value("run.opt.η") == 0.5)
    assert after - before < 20 * 1000 * playing + 1  # in a turn there are 20 steps: much less than a turn a message
    assert page.value("len(run.events)") < 1000
    close_panel(page)


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
    close_panel(kernel)
    assert kernel.run("%unload_ext fluxmagic") == ""


def test_a_cell_may_show_several_panels(kernel):
    kernel.run("a, b = Panel(make()), Panel(make()); display(a, b)")
    assert kernel.value("a.shown and b.shown")
    kernel.run("a.close(), b.close()")

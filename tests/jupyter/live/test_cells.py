"""Controls while a cell trains, with the messages that a page sends, and at least two moves in every test."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

from tests.jupyter.live.training import (
    SETUP,
    close_panel,
    events,
    frames,
    left_behind,
    one_kernel,
    start_training,
    stop,
    turn_twice,
)


def test_dials_turn_while_the_cell_trains(page):
    cell = start_training(page, "run = make(pause=0.01)")
    page.onward()
    page.turn("η", 0.01)
    page.onward()
    page.turn("η", 0.002)
    page.onward()
    page.turn("decay", 0.01)
    page.onward()
    stop(page, cell)
    turned = events(page)
    assert [e[1:] for e in turned] == [("η", 0.1, 0.01), ("η", 0.01, 0.002), ("decay", 0.0, 0.01)]
    assert 0 < turned[0][0] < turned[1][0] < turned[2][0] < page.value("run.steps")
    # the loss shrinks by (1 - 2η)² a step: from one turn to the next each has the rate of its η
    rates = page.value("(run.history['loss'][1:] / run.history['loss'][:-1]).tolist()")
    assert rates[turned[0][0] - 5] == pytest.approx(0.8**2)
    assert rates[turned[0][0] + 5] == pytest.approx(0.98**2)
    assert rates[turned[1][0] + 5] == pytest.approx(0.996**2)


def test_another_optimiser_takes_over_while_the_cell_trains(page):
    cell = start_training(page)
    page.choose("ADAM")
    page.until(lambda: any(s.get("description") == "β1" for s in page.widgets.values()))
    page.onward()
    page.turn("β1", 0.8)
    page.onward()
    page.turn("β1", 0.7)
    page.onward()
    page.choose("SGD")
    page.onward()
    stop(page, cell)
    assert [e[1:] for e in events(page)] == [
        ("opt", "SGD", "ADAM"),
        ("β1", 0.9, 0.8),
        ("β1", 0.8, 0.7),
        ("opt", "ADAM", "SGD"),
    ]


def test_pause_step_play_and_stop(page):
    cell = page.start("run = make(); train_in_cell(run, ip)")
    page.find("Pause")
    page.onward()
    page.press("Pause")
    page.until(lambda: page.is_enabled("Play"))
    page.listen(0.1)
    steps = page.steps
    page.press("Step")
    page.until(lambda: page.shows(f"step {steps + 1:,}/"))
    page.press("Step")
    page.until(lambda: page.shows(f"step {steps + 2:,}/"))
    page.turn("η", 0.01)
    page.listen(0.1)
    page.turn("η", 0.02)
    page.listen(0.1)
    page.press("Play")
    page.onward()
    stop(page, cell)
    assert page.value("run.state") == "stopped"
    assert page.value("run.steps") > steps + 10
    assert [e[0] for e in events(page)] == [steps + 2, steps + 2]


@one_kernel
def test_rewind_goes_back_while_the_cell_trains(kernel):
    cell = start_training(kernel)
    kernel.onward(40)
    turn_twice(kernel)
    kernel.turn("step", 10)
    kernel.press("Rewind")
    kernel.until(lambda: any(s.get("placeholder") == "η" and s["value"] == "0.1" for s in kernel.widgets.values()))
    kernel.turn("η", 0.05)
    kernel.onward()
    stop(kernel, cell)
    assert [e[1:] for e in events(kernel)] == [("η", 0.1, 0.05)]


def test_a_branch_goes_on_in_the_place_of_the_run_and_the_run_can_go_on_later(page):
    page.run("globals().pop('run_b', None)")
    cell = start_training(page)
    page.onward()
    page.turn("η", 0.01)
    page.onward()
    page.press("Branch")
    page.until(lambda: page.shows("run_b goes on from step"))
    page.onward()
    page.turn("η", 0.02)
    page.onward()
    stop(page, cell)
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
    cell = page.start("run = make(); train_in_cell(run, ip); during = list(seen); seen.append('trained')")
    page.find("η")
    after = [page.start(f"seen.append({i})") for i in range(3)]
    if page.subshell is None:  # a subshell is the front end's way not to wait
        page.turn("mine", 5)
    turn_twice(page)
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
    cell = kernel.start("run = make(); late = []; train_in_cell(run, ip)")
    kernel.find("η")
    late = kernel.start("late.append(1)")
    turn_twice(kernel)
    kernel.interrupt()
    reply = kernel.end(cell)
    assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt")
    assert kernel.end(late)["status"] != "ok"
    kernel.listen(0.2)
    assert kernel.value("late") == []
    assert kernel.value("run.state, len(run.events), run.steps == len(run.history['loss']) > 10") == ("paused", 2, True)
    assert left_behind(kernel, cell)


def test_an_interrupt_while_paused_ends_the_cell(kernel):
    cell = kernel.start("run = make(); train_in_cell(run, ip)")
    kernel.find("Pause")
    kernel.onward()
    kernel.press("Pause")
    kernel.until(lambda: kernel.is_enabled("Play"))
    kernel.interrupt()
    assert kernel.end(cell)["ename"] == "KeyboardInterrupt"
    assert kernel.run("print(run.state)") == "paused\n"


def test_a_picture_and_a_summary_stay_and_the_users_prints(kernel):
    cell = kernel.start("run = make(200); print('before'); train_in_cell(run, ip); print('after')")
    kernel.end(cell)
    assert kernel.text(cell) == "before\nafter\n"
    assert left_behind(kernel, cell)


def test_a_loss_that_turns_nan_while_a_dial_is_dragged(kernel):
    cell = kernel.start(
        "run = make(); loss = run.loss\n"
        "run.loss = lambda x: loss(x) * (float('nan') if len(run.events) > 1 else 1.0)\n"
        "train_in_cell(run, ip)"
    )
    kernel.find("η")
    kernel.turn("η", 0.01)
    kernel.onward()
    for η in (0.02, 0.03, 0.04, 0.05, 0.06):
        kernel.turn("η", η)
        kernel.listen(0.1)
    kernel.until(lambda: kernel.is_enabled("Recover"))
    kernel.press("Stop")
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
        cell = start_training(kernel)
        turn_twice(kernel)
        kernel.choose("Broken")
        reply = kernel.end(cell)
        assert (reply["ename"], reply["evalue"]) == ("RuntimeError", "broken rule")
        assert kernel.value("bool(np.isfinite(run.params[0].data).all())")
        assert left_behind(kernel, cell)
    finally:
        kernel.run("from fluxmagic.optimise import OPTIMISERS; del OPTIMISERS['Broken']")


def test_values_that_are_none_do_not_end_the_training(kernel):
    cell = kernel.start("run = make(); train_in_cell(run, ip)")
    slider = kernel.find("η")
    kernel.tell(slider, {"method": "update", "state": {"value": -1.0}, "buffer_paths": []})
    kernel.onward()
    kernel.tell(slider, {"method": "update", "state": {"value": "much"}, "buffer_paths": []})
    kernel.onward()
    kernel.tell(slider, {"nonsense": True})
    turn_twice(kernel)
    stop(kernel, cell)
    assert [e[3] for e in events(kernel)][-2:] == [0.01, 0.02]


def test_a_page_that_closes_the_panel_does_not_end_the_training(kernel):
    cell = start_training(kernel, "run = make(4000)")
    turn_twice(kernel)
    for comm in [k for k in kernel.widgets if k not in kernel.closed]:
        kernel.client.shell_channel.send(kernel.client.session.msg("comm_close", {"comm_id": comm, "data": {}}))
    assert kernel.end(cell)["status"] == "ok"
    assert kernel.value("run.state") == "done"
    assert len(events(kernel)) == 2


def test_a_page_that_is_loaded_anew_is_answered_while_the_cell_trains(kernel):
    cell = start_training(kernel)
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
    turn_twice(kernel)
    assert cell not in kernel.replies
    stop(kernel, cell)
    assert len(events(kernel)) == 2


def test_a_kernel_whose_internals_are_not_as_known_trains_and_says_so(kernel):
    kernel.run("from fluxmagic.jupyter.driving import message_pump as m; find = m.find_shell_channel")
    kernel.run("m.find_shell_channel = lambda kernel: None")
    try:
        cell = start_training(kernel, "run = make(5000)")
        kernel.turn("η", 0.01)
        kernel.turn("η", 0.02)
        assert kernel.until(lambda: kernel.shows("these dials act when it ends"))
        assert kernel.end(cell)["status"] == "ok"
        assert kernel.value("run.state") == "done"
    finally:
        kernel.run("m.find_shell_channel = find")


def test_a_turn_is_answered_by_a_new_frame(kernel):
    cell = start_training(kernel)
    kernel.onward()
    for η in (0.01, 0.02):
        kernel.turn("η", η)
        before = frames(kernel, cell)
        kernel.until(lambda n=before: frames(kernel, cell) > n)
    stop(kernel, cell)


MAGIC = """%%train x in [np.zeros(3)] * 100_000 --opt SGD --η 0.1 --name steered
time.sleep(0.001)
((V - x) ** 2).sum()
"""


def test_a_train_cell_has_dials(kernel):
    kernel.run("%load_ext fluxmagic\nV = param(np.ones(3))")
    cell = kernel.start(MAGIC)
    kernel.find("η")
    kernel.onward()
    turn_twice(kernel)
    stop(kernel, cell)
    assert [e[1:] for e in events(kernel, "steered")] == [("η", 0.1, 0.01), ("η", 0.01, 0.02)]
    assert left_behind(kernel, cell)


def test_a_panel_outlives_the_extension_that_is_unloaded_in_the_middle(kernel):
    kernel.run("%load_ext fluxmagic\np = Panel(make()); run = p.run")
    kernel.run("p")
    kernel.press("Play")
    kernel.onward()
    kernel.run("%unload_ext fluxmagic")
    turn_twice(kernel)
    close_panel(kernel)
    assert kernel.value("run.state, len(run.events)") == ("paused", 2)


def executed(*cells):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in (SETUP, *cells)])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    return [c.outputs for c in notebook.cells[1:]]


def test_an_executed_notebook_has_the_picture_and_the_summary_and_no_widget():
    train, panel, wait, later = executed(
        "run = make(300); train_in_cell(run, ip)",
        "p = Panel(make(300)); run2 = p.run; p",
        "run2.wait()",
        "p = Panel(make(300)); run3 = p.run\nawait run3",
    )
    for outputs in (train, panel, wait, later):
        assert [sorted(o.data) for o in outputs] == [["image/png", "text/plain"], ["text/plain"]]
        assert "300 steps" in outputs[1].data["text/plain"]


@one_kernel
def test_the_speed_of_the_line_is_that_of_the_panel_and_nothing_without_dials(kernel):
    kernel.run("%load_ext fluxmagic\nw = param(np.ones(2))")
    cell = kernel.start("%%train --steps 100000 --speed 20 --opt SGD\n(w ** 2).sum()")
    speed = kernel.widgets[kernel.find("speed")]
    assert speed["_options_labels"][speed["index"]] == "20"
    kernel.until(lambda: kernel.steps >= 3)
    stop(kernel, cell)
    assert kernel.value("run.steps") < 1000
    cell = kernel.start("%%train --steps 100000 --speed 20 --no-panel\n(w ** 2).sum()")
    assert kernel.end(cell)["status"] == "ok"
    assert kernel.value("run.steps") == 100_000


def test_a_page_that_sends_nothing_is_told_so_until_it_does(kernel):
    cell = kernel.start("run = make(pause=0.01); train_in_cell(run, ip)")
    kernel.until(lambda: "this page sends nothing while a cell runs" in kernel.message, 10)
    kernel.turn("η", 0.01)
    kernel.until(lambda: kernel.message == "")
    stop(kernel, cell)

"""Messages that a widget cannot take do not end a training."""

from __future__ import annotations

WRONG = [-1, None, "x", [], {"a": 1}]


def update(state, **parts):
    return {"method": "update", "state": state, "buffer_paths": [], **parts}


def test_a_malformed_state_of_a_slider_does_not_end_the_training(kernel):
    cell = kernel.start("run = make(); train_in_cell(run, ip)")
    kernel.find("η")
    for state in ({"base": -10}, {"value": 0.02}):
        kernel.set_state("η", **state)
        kernel.onward()
    kernel.turn("η", 0.01)
    kernel.onward()
    kernel.press("Stop")
    assert kernel.end(cell)["status"] == "ok"
    assert kernel.value("run.opt.η, run.state") == (0.01, "stopped")


def test_any_state_of_any_model_of_the_panel_is_answered_while_the_cell_trains(kernel):
    cell = kernel.start("run = make(); train_in_cell(run, ip)")
    kernel.until(lambda: kernel.outputs.get(cell))  # shown: all widgets are there
    sent, models = [], {k: s for k, s in kernel.widgets.items() if k not in kernel.closed}
    for i, (comm, state) in enumerate(models.items()):
        wrong = {k: WRONG[(i + j) % len(WRONG)] for j, k in enumerate(sorted(state))}
        broken = [update(wrong, buffer_paths=[["value"], 3]), update(5), {"method": ["update"]}, {"method": "custom"}]
        sent.append(kernel.tell(comm, update(wrong) if i % 3 else broken[i // 3 % len(broken)]))
        kernel.listen()
    kernel.until(lambda: kernel.idle >= set(sent), 60)
    assert cell not in kernel.replies
    kernel.turn("η", 0.01)
    kernel.onward()
    kernel.press("Stop")
    assert kernel.end(cell)["status"] == "ok"
    assert kernel.value("run.opt.η, run.state") == (0.01, "stopped")

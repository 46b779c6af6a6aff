"""Messages that a widget cannot take."""

from __future__ import annotations


def test_a_malformed_state_of_a_slider_does_not_end_the_training(kernel):
    cell = kernel.start("run = make(); train_in_cell(run, ip)")
    slider = kernel.find("η")
    for state in ({"base": -10}, {"value": 0.02}):
        kernel.tell(slider, {"method": "update", "state": state, "buffer_paths": []})
        kernel.onward()
    kernel.turn("η", 0.01)
    kernel.onward()
    kernel.press("Stop")
    assert kernel.end(cell)["status"] == "ok"
    assert kernel.value("run.opt.η, run.state") == (0.01, "stopped")

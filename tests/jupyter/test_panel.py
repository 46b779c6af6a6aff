"""The panel's widgets, without a page: made from declarations, and safe against whatever is done to them."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import ipywidgets as w
import numpy as np
import pytest

from fluxmagic import ADAM, SGD, NotFinite, Run, param
from fluxmagic.jupyter import board as board_module
from fluxmagic.jupyter import driver
from fluxmagic.jupyter import panel as panel_module
from fluxmagic.jupyter.board import GRID, Board, Dial
from fluxmagic.jupyter.panel import Panel
from fluxmagic.optimise import OPTIMISERS, ADADelta, Hyper, Momentum, Optimiser


def quadratic(opt=None, **options):
    W = param(np.ones(3))
    return Run(lambda x: ((W - x) ** 2).sum(), [np.zeros(3)] * 10, opt or SGD([W], 0.1), **{"epochs": 2, **options})


def dials(board):
    return board._dials[board.run.opt_class][0]


def message(board):
    return "" if board._message.layout.display == "none" else board._message.value


def off(board):
    """The schedules that are said to be off."""
    return "" if board._schedule.layout.display == "none" else board._off.value


@pytest.fixture
def namespace(monkeypatch):
    ns = {}
    monkeypatch.setattr(board_module, "get_ipython", lambda: SimpleNamespace(user_ns=ns))
    return ns


@pytest.mark.parametrize("name", sorted(OPTIMISERS))
def test_every_optimiser_has_a_dial_for_all_that_it_declares(name):
    W = param(np.ones(3))
    run = quadratic(OPTIMISERS[name]([W]))
    board = Board(run)
    shown = {d.slider.description: d.slider.value for d in dials(board).values()}
    assert shown == {k: h.default for k, h in OPTIMISERS[name].hypers.items()}
    assert board._choice.value == name
    assert set(board._choice.options) >= set(OPTIMISERS)
    assert all(d.hyper.doc in d.slider.tooltip for d in dials(board).values())


def test_a_users_own_optimiser_has_dials_by_being_defined():
    class Own(Optimiser):
        """Steps of constant size."""

        η = Hyper(0.01, "learning rate", scale="log")
        κ = Hyper(2.0, "mine", low=1.0, high=5.0)

        def step(self, δ, s):
            return self.η * np.sign(δ)

    try:
        run = quadratic()
        board = Board(run)
        board._choice.value = "Own"
        assert board.serve()
        board.show()
        assert run.opt_name == "Own"
        slider = dials(board)["κ"].slider
        assert (slider.description, slider.min, slider.max, slider.value) == ("κ", 1.0, 5.0, 2.0)
        slider.value = 3.5
        board.serve()
        assert run.opt.κ == 3.5
    finally:
        del OPTIMISERS["Own"]


@pytest.mark.parametrize("value", [0.9, 0.99, 0.999])
def test_a_memory_dial_stands_evenly_in_one_minus_its_value(value):
    def place(v):
        return GRID.index(v)

    assert place(0.99) - place(0.9) == place(0.999) - place(0.99) == 11
    turned = []
    dial = Dial(Momentum.hypers["ρ"], value, lambda *a: turned.append(a))
    assert dial.slider.value == value
    dial.slider.index = 3
    assert turned == [("ρ", GRID[3])]
    assert all(0 <= v < 1 for _, v in dial.slider.options)


def test_a_value_between_the_places_is_shown_as_it_is():
    dial = Dial(Momentum.hypers["ρ"], 0.9, lambda *a: pytest.fail("nobody moved it"))
    dial.show(0.9371)
    assert dial.slider.value == 0.9371
    assert ("0.9371", 0.9371) in dial.slider.options


@pytest.mark.parametrize("name", ["clip", "clipnorm", "decay", "weightdecay"])
def test_what_can_be_off_has_a_place_for_it(name):
    h = SGD.hypers[name]
    dial = Dial(h, h.default, lambda *a: None)
    assert dial.slider.options[dial.slider.index][0] == "off"
    at_end = dial.slider.options[-1 if math.isinf(h.default) else 0]
    assert at_end == ("off", h.default)


@pytest.mark.parametrize("value", [1e-9, 0.003, 5.0, 4e4])
def test_a_log_dial_makes_room_for_any_value(value):
    dial = Dial(SGD.hypers["η"], 0.1, lambda *a: pytest.fail("nobody moved it"))
    dial.show(value)
    assert dial.slider.value == value


def test_zero_on_a_log_dial_is_no_error():
    run = quadratic()
    run.set(η=0.0)
    board = Board(run)
    run.set(η=0.1)
    board.show()
    run.set(η=0.0)
    board.show()
    assert run.opt.η == 0.0


def test_what_a_page_makes_of_a_value_by_rounding_is_no_turn():
    turned = []
    dial = Dial(ADAM.hypers["η"], 0.005, lambda name, value: turned.append(value))
    dial.slider.value = 10**-2.3  # 0.005 on the slider's steps, as a page sends it back
    assert turned == []
    dial.show(0.005)
    assert dial.slider.value == 10**-2.3  # nor is it sent to and fro
    dial.slider.value = 10**-2.25
    assert turned == [10**-2.25]


def test_what_a_page_makes_of_a_value_may_come_after_the_next_click():
    turned = []
    dial = Dial(ADAM.hypers["η"], 0.001, lambda name, value: turned.append(value))
    dial._scale(2)
    dial._scale(2)
    dial.slider.value = 10**-2.7  # 0.002 on the slider's steps
    dial.slider.value = 10**-2.4  # 0.004
    assert turned == [0.002, 0.004]


def test_halving_and_doubling_are_factors_however_fast_they_are_clicked():
    run = quadratic()
    board = Board(run)
    half, double = dials(board)["η"].box.children[1:]
    assert (half.description, double.description) == ("÷2", "×2")
    for b in (half, half, half, double):
        b.click()
    board.serve()
    assert run.opt.η == 0.025
    assert run.events[-1].new == 0.025


def test_a_dial_is_a_request_and_nothing_happens_before_it_is_served():
    run = quadratic()
    board = Board(run)
    dials(board)["η"].slider.value = 0.02
    assert run.opt.η == 0.1
    assert board.serve()
    assert run.opt.η == 0.02
    assert not board.serve()


def test_a_dial_may_be_moved_on_another_thread():
    run = quadratic()
    board = Board(run)

    def drag():
        for η in (0.02, 0.03, 0.02):
            dials(board)["η"].slider.value = η

    thread = threading.Thread(target=drag)
    thread.start()
    thread.join()
    board.serve()
    assert [e.new for e in run.events] == [0.02, 0.03, 0.02]


@pytest.mark.parametrize(
    "states",
    [
        [{"base": -10}, {"value": 0.02}],
        [{"min": 5, "max": 1}, {"min": 1, "max": 2}, {"step": 0}, {"value": 0.02}],
        [{"base": 1e308, "min": 300, "max": 309}, {"value": 0.02}],
        [{"value": math.nan}, {"value": -math.inf}, {"value": 10**400}, {"value": [1]}, {"value": {}}, {"value": None}],
        [{"layout": None, "style": "IPY_MODEL_none", "description": 3, "comm": None, "value": 0.02}],
        [{"index": 3, "nothing": 1, "_model_name": "x", "value": "much"}],
    ],
)
def test_a_state_that_a_slider_cannot_have_is_refused_and_the_next_is_taken(states):
    run = quadratic(epochs=100)
    board = Board(run)
    slider = dials(board)["η"].slider
    for state in [*states, {"value": 0.03}]:
        slider.set_state(state)
        board.serve()
        run.step()
        board.show()
    assert run.opt.η == slider.value == 0.03
    assert (slider.base, slider.min, slider.max, slider.description) == (10, -4, 1, "η")


def test_any_state_of_any_widget_leaves_a_board_that_works():
    run = quadratic(Momentum([param(np.ones(3))], 0.01), epochs=10**6)
    board = Board(run, closable=True)
    for wrong in (-1, None, "x", [], {"a": math.nan}, 10**400, math.nan, True):
        for x in list(board._widgets(board.box)):
            x.set_state({k: wrong for k in x.get_state() if k not in ("value", "index")})
            for k in ("value", "index"):
                x.set_state({k: wrong})
                board.serve()
                board.show()
    run.step()
    slider = dials(board)["η"].slider
    slider.set_state({"value": 0.03})
    board.serve()
    assert run.opt.η == 0.03
    assert all(board.owns(x.model_id) for x in board._buttons.values())
    board.close()


def test_of_many_states_that_a_page_sends_the_last_of_each_widget_counts_and_clicks_keep_their_place():
    run = quadratic(epochs=10**6)
    board = Board(run)
    run.step(20)
    board.show()
    η, decay = (dials(board)[k].slider for k in ("η", "decay"))
    for i in range(100):
        η.set_state({"value": 0.01 + 0.001 * i})
        decay.set_state({"index": 1 + i % 5})
    board._at.set_state({"value": 7})
    board._rewind.click()
    board._at.set_state({"value": 3})  # after the click
    assert board.serve()
    assert run.steps == 7
    assert [e.name for e in run.events] == []  # they were turned before it went back
    η.set_state({"value": 0.5})
    η.set_state({"value": 0.02})
    board.serve()
    assert [(e.name, e.new) for e in run.events] == [("η", 0.02)]


def test_a_move_on_another_thread_while_the_value_is_shown_is_kept():
    run = quadratic(epochs=10**6)
    board = Board(run)
    dial = dials(board)["η"]
    moved = [0.01 + 0.0001 * i for i in range(300)]

    def drag():
        for η in moved:
            dial.slider.set_state({"value": η})

    with ThreadPoolExecutor(1) as thread:
        dragged = thread.submit(drag)
        while not dragged.done():
            board.serve()
            dial.show(1 + np.random.default_rng().random())
        dragged.result()
    board.serve()
    assert run.opt.η == moved[-1]


def test_what_a_board_says_of_names_is_text_and_no_markup():
    run = quadratic(SGD([param(np.ones(3))], lambda n: 0.1), name="<b>run</b>")
    run.set(η=0.2)
    run.record.events[-1] = run.record.events[-1]._replace(name="<b>η</b>")  # as a file may have had it
    board = Board(run)
    assert off(board).startswith("&lt;b&gt;η&lt;/b&gt;")
    assert not any("<b>" in str(getattr(x, "value", "")) for x in board._widgets(board.box) if isinstance(x, w.HTML))


def test_a_turn_by_program_moves_the_slider_and_is_no_turn_by_hand():
    run = quadratic()
    board = Board(run)
    run.set(η=0.03)
    board.show()
    assert dials(board)["η"].slider.value == 0.03
    assert not board.serve()
    assert len(run.events) == 1


def test_a_swap_keeps_weights_and_each_optimisers_own_values():
    run = quadratic()
    board = Board(run)
    dials(board)["η"].slider.value = 0.02
    board.serve()
    weights = run.params[0].data.copy()
    for name in ("ADAM", "SGD"):
        board._choice.value = name
        board.serve()
        board.show()
        assert run.opt_name == name
    assert dials(board)["η"].slider.value == 0.02
    np.testing.assert_array_equal(run.params[0].data, weights)
    assert [e.name for e in run.events] == ["η", "opt", "opt"]


def test_a_swap_by_program_changes_the_dropdown_and_nothing_else():
    run = quadratic()
    board = Board(run)
    run.swap("Momentum", ρ=0.5)
    board.show()
    assert board._choice.value == "Momentum"
    assert dials(board)["ρ"].slider.value == 0.5
    assert not board.serve()


def test_the_effective_step_stands_beside_ρ():
    W = param(np.ones(3))
    board = Board(quadratic(Momentum([W], 0.01, ρ=0.9)))
    assert board._effective.value == "η/(1−ρ) = 0.1"
    assert Board(quadratic())._effective.value == ""


def test_a_value_out_of_range_is_a_message_and_the_dial_goes_back():
    run = quadratic()
    board = Board(run)
    board._turned("η", -1.0)
    board.serve()
    assert "η = -1 is out of range: 0 ≤ η" in message(board)
    assert run.opt.η == 0.1
    assert dials(board)["η"].slider.value == 0.1
    dials(board)["η"].slider.value = 0.05
    board.serve()
    assert message(board) == ""


def test_only_what_went_wrong_is_an_alert(namespace):
    board = Board(quadratic())
    board._branch.click()
    board.serve()
    assert 'role="alert"' in message(board)
    board.run.step()
    board._branch.click()
    board.serve()
    assert 'role="status"' in message(board)


def test_a_message_is_text_and_no_markup():
    board = Board(quadratic())
    board.say("<b>1 < 2</b>")
    assert "&lt;b&gt;1 &lt; 2&lt;/b&gt;" in message(board)


def test_a_dial_that_beats_a_schedule_says_so():
    W = param(np.ones(3))
    run = quadratic(SGD([W], lambda n: 0.1 / (1 + n)))
    board = Board(run)
    dials(board)["η"].slider.value = 0.02
    board.serve()
    dials(board)["decay"].slider.value = 0.1
    board.serve()
    board.show()
    assert off(board) == "η: turned by hand, the schedule is off"
    run.step(3)
    assert run.opt.η == 0.02
    board.show()
    assert off(board) == "η: turned by hand, the schedule is off"  # as long as it is


def test_give_back_lets_the_schedules_turn_the_dials_again():
    W = param(np.ones(3))
    run = quadratic(Momentum([W], lambda n: 0.1 / (1 + n), ρ=lambda n: 0.5 if n < 5 else 0.9))
    board = Board(run)
    back = board._schedule.children[1]
    assert back.description == "Give back"
    assert off(board) == ""
    for _ in range(2):
        for name, value in (("η", 0.02), ("η", 0.03), ("ρ", 0.7)):
            dials(board)[name].slider.value = value
            board.serve()
        run.step(2)
        board.show()
        assert off(board) == "η and ρ: turned by hand, the schedule is off"
        assert (run.opt.η, run.opt.ρ) == (0.03, 0.7)
        back.click()
        assert board.serve()
        board.show()
        assert off(board) == ""
        run.step(2)
    assert run.opt.η == 0.1 / 8
    assert run.opt.ρ == 0.9
    assert callable(run.events[-1].new)


def test_a_schedule_can_be_given_back_to_the_optimiser_that_it_was_of():
    run = quadratic(SGD([param(np.ones(3))], lambda n: 0.1 / (1 + n)))
    board = Board(run)
    dials(board)["η"].slider.value = 0.02
    board.serve()
    run.step()
    run.swap("ADAM")
    board.show()
    assert off(board) == ""
    run.swap("SGD")
    board.show()
    assert off(board) == "η: turned by hand, the schedule is off"
    run.rewind(0)
    board.show()
    assert off(board) == ""  # the turn was undone


def test_a_plain_function_has_no_dials_and_says_so():
    W = param(1.0)

    def descend():
        W.data = W.data - 0.1 * W.grad
        W.zero_grad()

    board = Board(Run(lambda x: W * W, [1.0], descend))
    assert "descend is a plain function" in message(board)
    assert board._choice.disabled
    assert board._dials == {}


def test_an_optimiser_known_by_name_only_has_dials_before_the_first_step():
    W = param(1.0)
    run = Run(lambda x: W * W, [1.0] * 5, "ADAM")
    board = Board(run)
    dials(board)["β1"].slider.value = 0.5
    board.serve()
    run.step()
    assert run.opt.β1 == 0.5


def test_rewind_goes_back_and_the_run_can_go_on():
    run = quadratic()
    board = Board(run)
    run.step(5)
    weights = run.params[0].data.copy()
    run.set(η=0.3)
    run.step(5)
    run.stop()
    board.stopped = True
    board.show()
    board._at.value = 5
    board._rewind.click()
    assert board.serve()
    board.show()
    assert run.steps == 5
    np.testing.assert_array_equal(run.params[0].data, weights)
    assert dials(board)["η"].slider.value == 0.1
    assert not board._buttons["Play"].disabled


def test_rewind_to_where_the_run_has_not_been_is_a_message():
    run = quadratic()
    board = Board(run)
    run.step(9)
    board.show()
    board._at.value = 7
    run.rewind(5)
    board._rewind.click()
    board.serve()
    assert run.steps == 5
    assert "rewind(7): the run has steps 0 … 5" in message(board)


def test_the_slider_goes_along_with_the_run_but_not_while_the_user_holds_it(monkeypatch):
    monkeypatch.setattr(board_module, "CALM", 0.0)
    run = quadratic()
    board = Board(run)
    slider = board._at
    assert slider.disabled

    def stands():
        board.show()
        return slider.value, slider.max

    run.step(3)
    assert stands() == (3, 3)
    assert not slider.disabled
    slider.value = 2
    run.step(4)
    assert stands() == (2, 7)
    slider.value = 3  # where it stood when it was let go of by the run
    run.step(1)
    assert stands() == (3, 8)
    slider.value = 8
    run.step(1)
    assert stands() == (9, 9)
    slider.value = 4
    board._rewind.click()
    board.serve()
    assert stands() == (4, 4)
    run.step(2)
    assert stands() == (6, 6)
    slider.value = 5
    run.rewind(0)
    assert stands() == (0, 1)
    assert slider.disabled


def test_the_sliders_scale_rests_while_it_is_dragged(monkeypatch):
    now = 100.0
    monkeypatch.setattr(board_module.time, "monotonic", lambda: now)
    run = quadratic()
    board = Board(run)
    run.step(5)
    board.show()
    board._at.value = 2
    run.step(5)
    board.show()
    assert board._at.max == 5
    now += 2 * board_module.CALM
    board.show()
    assert (board._at.value, board._at.max) == (2, 10)


def test_branch_goes_on_with_a_second_run_and_the_first_one_rests(namespace):
    run = quadratic(name="run")
    board = Board(run, playing=True)
    run.step(5)
    dials(board)["η"].slider.value = 0.2
    board.serve()
    board._branch.click()
    assert board.run is run  # asked for, not done
    assert board.serve()
    new = board.run
    assert namespace == {"run_b": new}
    assert (new.name, new.parent, new.steps, new.opt.η) == ("run_b", run, 5, 0.2)
    assert board.playing
    assert "run_b goes on from step 5; run rests" in message(board)
    board.show()
    dials(board)["η"].slider.value = 0.3
    board.serve()
    new.step(2)
    assert (run.opt.η, run.steps, run.state) == (0.2, 5, "paused")
    there = new.params[0].data.copy()
    run.step(2)
    assert not np.array_equal(run.params[0].data, there)
    assert new.history["η"].tolist() == [0.1] * 5 + [0.3] * 2


def test_branches_have_the_first_names_that_are_free(namespace):
    namespace["run_c"] = "mine"
    board = Board(quadratic(name="run"))
    board.run.step()
    for _ in range(3):
        board._branch.click()
    board.serve()
    assert list(namespace) == ["run_c", "run_b", "run_d", "run_e"]
    assert board.run is namespace["run_e"]
    assert namespace["run_c"] == "mine"


@pytest.mark.parametrize(("name", "branch"), [("a_b", "a_b_b"), ("my run", "run_b"), (None, "run_b")])
def test_a_branch_is_called_so_that_it_can_be_typed(namespace, name, branch):
    board = Board(quadratic(name=name))
    board.run.step()
    board._branch.click()
    board.serve()
    assert list(namespace) == [branch]


def test_there_is_a_branch_only_where_there_is_something_before_and_behind_it(namespace):
    run = quadratic(name="run")
    board = Board(run)

    def refused():
        board.show()
        board._branch.click()
        board.serve()
        assert board._branch.disabled
        assert board.run is run
        assert namespace == {}
        return message(board)

    assert "has not taken a step yet" in refused()
    run.train()
    assert "rewind it first" in refused()
    run.rewind(10)
    board.show()
    assert not board._branch.disabled


def test_recover_is_there_after_a_loss_that_is_not_finite_and_says_the_new_η():
    W = param(np.ones(3))
    data = [np.zeros(3)] * 5 + [np.full(3, np.nan)] + [np.zeros(3)] * 4
    run = Run(lambda x: ((W - x) ** 2).sum(), data, SGD([W], 0.1), epochs=2)
    board = Board(run)

    def disabled():
        board.show()
        return board._recover.disabled

    run.step(5)
    assert disabled()
    with pytest.raises(NotFinite):
        run.step()
    assert not disabled()
    board._recover.click()
    assert board.serve()
    assert "from step 6 with η 0.01" in message(board)
    assert disabled()
    assert run.opt.η == 0.01
    assert dials(board)["η"].slider.value == 0.01
    assert not board._buttons["Play"].disabled
    run.step(4)
    assert np.isfinite(run.last_loss)


def test_recover_goes_back_to_before_the_loss_grew_and_the_slider_with_it():
    W = param(np.ones(3))
    run = Run(lambda x: ((W - x) ** 2).sum() ** 2, [np.zeros(3)] * 100, SGD([W], 1.0))
    board = Board(run)
    with pytest.raises(NotFinite):
        run.step(100)
    board.show()
    board._recover.click()
    board.serve()
    board.show()
    assert run.steps == board._at.value == 0
    assert "from step 0 with η 0.1" in message(board)


def test_an_optimiser_without_η_recovers_too():
    W = param(1.0)
    run = Run(lambda x: W * x, [1.0, np.inf], ADADelta([W]))
    board = Board(run)
    with pytest.raises(NotFinite):
        run.step(2)
    board._recover.click()
    board.serve()
    assert "goes on from step 2" in message(board)
    assert "η" not in message(board)


def test_where_there_is_nothing_to_recover_from_a_click_says_so():
    run = quadratic()
    run.step()
    board = Board(run)
    board._recover.click()
    board.serve()
    assert "nothing to recover from" in message(board)


def test_in_a_panel_a_branch_takes_the_runs_place(namespace, monkeypatch):
    class Shown:
        def __init__(self, *args, **options):
            self.update = self.display = lambda *args, **options: None

    monkeypatch.setattr(driver, "_display", Shown)
    monkeypatch.setattr(panel_module, "frontend", lambda ip: "widgets")
    run = quadratic(name="run", epochs=10**6)
    panel = Panel(run)

    async def use():
        panel._ipython_display_()
        board = panel._view.board

        async def until(condition):
            while not condition():
                await asyncio.sleep(0.01)

        board._buttons["Play"].click()
        await until(lambda: run.steps > 20)
        board._branch.click()
        await until(lambda: "run_b" in namespace and namespace["run_b"].steps > run.steps + 20)
        assert panel.run is panel._view.run is namespace["run_b"]
        assert (run.state, panel.run.state) == ("paused", "running")
        assert [d.n for d in panel._view.before] == [run.steps]  # its curve, in grey
        assert (run.driver, panel.run.driver) == (None, panel)
        board._buttons["Pause"].click()
        await until(lambda: panel.run.state == "paused")
        board._branch.click()
        await until(lambda: "run_c" in namespace)
        here = panel.run.steps
        board._buttons["Step"].click()
        await until(lambda: panel.run.steps == here + 1)
        assert panel.run is namespace["run_c"]
        assert panel.run.state == "paused"
        panel.close()

    with ThreadPoolExecutor(1) as thread:  # the browser's tests leave a loop running in this one
        thread.submit(asyncio.run, use()).result(60)


def test_copy_as_code_shows_the_script_and_puts_it_away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = quadratic()
    board = Board(run)
    run.step(5)
    run.set(η=0.3)
    board._copy.click()
    board.serve()
    assert board._code.layout.display is None
    assert "run.set(η=0.3)" in board._code.value
    assert os.listdir() == ["run.npz"]
    board._copy.click()
    board.serve()
    assert board._code.layout.display == "none"


def test_buttons_are_enabled_as_far_as_they_do_something():
    run = quadratic()
    board = Board(run, playing=True)

    def enabled():
        board.show()
        return [k for k, b in board._buttons.items() if not b.disabled]

    assert enabled() == ["Pause", "Step", "Stop"]
    board._buttons["Pause"].click()
    board.serve()
    assert enabled() == ["Play", "Step", "Stop"]
    board._buttons["Stop"].click()
    board.serve()
    assert enabled() == []
    assert run.state == "stopped"


def test_every_control_is_labelled_with_its_name():
    board = Board(quadratic(ADAM([param(np.ones(2))])), closable=True)
    for x in board._widgets(board.box):
        if isinstance(x, (w.Button, w.Dropdown, w.Checkbox, w.SelectionSlider, w.FloatLogSlider, w.FloatSlider)):
            assert x.description
    labels = {x.description for x in board._widgets(board.box) if hasattr(x, "description")}
    assert labels >= {"Play", "Pause", "Step", "Stop", "Close", "optimiser", "η", "β1", "β2", "decay", "clip", "log-y"}


def test_the_board_knows_its_own_widgets():
    board, other = Board(quadratic()), Board(quadratic())
    mine = [x.model_id for x in board._widgets(board.box)]
    assert all(map(board.owns, mine))
    assert not any(map(other.owns, mine))


def test_closing_closes_every_widget_also_those_of_optimisers_that_were_left():
    before = set(w.widget._instances)
    board = Board(quadratic())
    board._choice.value = "ADAM"
    board.serve()
    board.show()
    assert len(set(w.widget._instances) - before) > 50
    board.close()
    assert set(w.widget._instances) - before == set()


def test_a_board_that_the_page_closed_goes_on_quietly():
    run = quadratic()
    board = Board(run)
    board.close()
    board.serve()
    assert board.closed
    run.set(η=0.3)
    board.show(0.01)


def test_a_panel_is_made_from_loss_data_and_parameters():
    W = param(1.0)
    p = Panel(lambda x: (W - x) ** 2, [0.0] * 5, [W], opt="Momentum", ρ=0.5, epochs=3, name="p")
    assert repr(p) == "Panel(Run('p', Momentum, ready, epoch 1/3, 0 steps))"
    assert p.run.values["ρ"] == 0.5


def test_a_panel_of_a_run_is_its_driver(capsys):
    run = quadratic()
    p = Panel(run)
    assert p.run is run
    run.wait()
    assert run.state == "done"
    assert "20 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda W: Panel(lambda x: W * W), TypeError, r"Panel\(loss, data, params\(m\)\)"),
        (lambda W: Panel(lambda x: W * W, [1.0]), TypeError, r"Panel\(loss, data, params\(m\)\)"),
        (lambda W: Panel(quadratic(), [1.0]), TypeError, "nothing beside the run"),
        (lambda W: Panel(quadratic(), η=0.1), TypeError, "nothing beside the run"),
        (lambda W: Panel(lambda x: W * W, [1.0], [W], opt="Adamm"), ValueError, "no optimiser Adamm; there are"),
        (lambda W: Panel(lambda x: W * W, [1.0], [W], ρ=0.1), TypeError, "ADAM has no ρ|ρ"),
        (lambda W: Panel(lambda x: W * W, [1.0], [W], η=-1), ValueError, "0 ≤ η"),
        (lambda W: Panel(lambda x: W * W, [1.0], []), TypeError, "no parameters"),
    ],
)
def test_a_panel_says_what_it_takes(make, error, match):
    with pytest.raises(error, match=match):
        make(param(1.0))


def test_in_a_terminal_a_panel_says_how_to_train(capsys):
    Panel(quadratic())._ipython_display_()
    assert "run.wait() trains" in capsys.readouterr().out

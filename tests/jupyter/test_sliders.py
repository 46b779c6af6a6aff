"""Sliders: made from declarations, and what a page makes of their values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fluxmagic import ADAM, SGD, Run, param
from fluxmagic.jupyter.controls.run_controls import RunControls
from fluxmagic.jupyter.controls.sliders import DRAG_SECONDS, MEMORY_VALUES, HyperparameterSlider, PositionSlider
from fluxmagic.optimise import OPTIMISERS, Hyper, Momentum, Optimiser
from tests.jupyter.panel_page import ControlsPage
from tests.jupyter.problems import quadratic


@pytest.mark.parametrize("name", sorted(OPTIMISERS))
def test_every_optimiser_has_a_slider_for_each_hyperparameter(name):
    run = quadratic(lambda ps: OPTIMISERS[name](ps))
    page = ControlsPage(RunControls(run))
    hypers = OPTIMISERS[name].hypers
    page.press("more")
    page.process()
    assert {k: page.value(k) for k in hypers} == {k: h.default for k, h in hypers.items()}
    assert all(page.field(k).value in ("off", f"{h.default:g}") for k, h in hypers.items())
    assert page.value("optimiser") == name
    assert set(page.find("optimiser").options) >= set(OPTIMISERS)
    assert all(h.doc in page.find(k).tooltip for k, h in hypers.items())


def test_a_users_own_optimiser_has_sliders():
    class Own(Optimiser):
        """Steps of constant size."""

        η = Hyper(0.01, "learning rate", scale="log")
        κ = Hyper(2.0, "mine", low=1.0, high=5.0)

        def step(self, δ, s):
            return self.η * np.sign(δ)

    run = quadratic()
    page = ControlsPage(RunControls(run))
    page.choose("Own")
    assert page.process()
    page.controls.show()
    assert run.opt_name == "Own"
    stops = [v for _, v in page.find("κ").options]
    assert (stops[0], stops[-1], page.value("κ")) == (1.0, 5.0, 2.0)
    page.turn("κ", 3.517)
    page.process()
    assert run.opt.κ == page.value("κ") == 3.517


@pytest.mark.parametrize("value", [0.9, 0.99, 0.999])
def test_memory_values_are_even_in_the_logarithm_of_one_minus_the_value(value):
    def place(v):
        return MEMORY_VALUES.index(v)

    assert place(0.99) - place(0.9) == place(0.999) - place(0.99) == 11
    turned = []
    slider = HyperparameterSlider(Momentum.hypers["ρ"], value, lambda *a: turned.append(a))
    assert slider.slider.value == value
    slider.slider.index = 3
    assert turned == [("ρ", MEMORY_VALUES[3], False)]
    assert all(0 <= v < 1 for _, v in slider.slider.options)


def test_a_value_that_is_no_option_becomes_one():
    slider = HyperparameterSlider(Momentum.hypers["ρ"], 0.9, lambda *a: pytest.fail("it was not moved"))
    slider.show(0.9371)
    assert slider.slider.value == 0.9371
    assert ("0.9371", 0.9371) in slider.slider.options


@pytest.mark.parametrize("name", ["clip", "clipnorm", "decay", "weightdecay"])
def test_a_value_that_switches_off_is_labelled_off(name):
    h = SGD.hypers[name]
    slider = HyperparameterSlider(h, h.default, lambda *a: None)
    assert slider.slider.options[slider.slider.index][0] == "off"
    at_end = slider.slider.options[-1 if math.isinf(h.default) else 0]
    assert at_end == ("off", h.default)


@pytest.mark.parametrize("value", [1e-9, 0.003, 5.0, 4e4])
def test_a_log_slider_grows_to_any_value(value):
    slider = HyperparameterSlider(SGD.hypers["η"], 0.1, lambda *a: pytest.fail("it was not moved"))
    slider.show(value)
    assert slider.slider.value == value


def test_zero_on_a_log_slider_is_no_error():
    run = quadratic()
    run.set(η=0.0)
    page = ControlsPage(RunControls(run))
    run.set(η=0.1)
    page.controls.show()
    run.set(η=0.0)
    page.controls.show()
    assert run.opt.η == 0.0


@pytest.mark.parametrize("value", [0.003, 1 / 3, 50.0, 1e-6, 1e-300])
@pytest.mark.parametrize("name", ["η", "decay"])
def test_a_number_field_takes_any_value_to_the_last_digit(name, value):
    run = quadratic()
    page = ControlsPage(RunControls(run))
    page.press("more")
    page.process()
    page.turn(name, value)
    page.process()
    assert run.values[name] == value
    assert float(page.field(name).value) == page.value(name) == value
    assert [e.new for e in run.events] == [value]


@pytest.mark.parametrize("value", [0.95, 0.937123456, 0.0, 0.9999999])
def test_a_memory_takes_any_value_too(value):
    run = quadratic(lambda ps: Momentum(ps, 0.01, ρ=0.5))
    page = ControlsPage(RunControls(run))
    page.turn("ρ", value)
    page.process()
    assert run.opt.ρ == float(page.field("ρ").value) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("η", "-1", "η = -1 is out of range: 0 ≤ η"),
        ("η", "inf", "η = inf is out of range"),
        ("η", "much", "η is a number (0 ≤ η), not 'much'"),
        ("η", "nan", "η = nan is out of range"),
        ("ρ", "1", "ρ = 1 is out of range: 0 ≤ ρ < 1"),
        ("ρ", "off", "ρ is a number (0 ≤ ρ < 1), not 'off'"),
        ("clip", "0", "clip = 0 is out of range: 0 < clip"),
        ("clip", "of", "clip is a number (0 < clip, or off), not 'of'"),
    ],
)
def test_what_is_refused_is_a_message_and_the_field_goes_back(name, text, message):
    run = quadratic(lambda ps: Momentum(ps, 0.1, clip=5.0))
    page = ControlsPage(RunControls(run))
    before = page.field(name).value
    for _ in range(2):
        page.type(name, text)
        page.process()
        assert message in page.message
        assert page.field(name).value == before
        assert run.events == []
    page.turn("η", 0.05)
    page.process()
    assert page.message == ""


def test_off_can_be_typed():
    run = quadratic(lambda ps: SGD(ps, 0.1, clip=5.0, weightdecay=0.1))
    page = ControlsPage(RunControls(run))
    for name in ("clip", "weightdecay"):
        page.type(name, "off")
        page.process()
    assert run.values["clip"] == math.inf
    assert run.values["weightdecay"] == 0


def test_a_slider_acts_while_it_is_dragged_and_a_drag_is_one_event():
    run = quadratic()
    page = ControlsPage(RunControls(run))
    assert page.find("η").continuous_update
    for η in (0.05, 0.01, 0.0032):
        page.drag("η", η)
        assert page.process()
        assert run.opt.η == page.value("η") == float(page.field("η").value) == η
        run.step(2)
    assert run.events == [(0, "η", 0.1, 0.0032)]
    assert list(run.history["η"]) == [0.05, 0.05, 0.01, 0.01, 0.0032, 0.0032]
    page.turn("η", 0.02)  # typed: another change
    page.process()
    assert run.events[1:] == [(6, "η", 0.0032, 0.02)]


def moves(*hand):
    """Give what a slider requests of moves: (seconds since the last, presses and releases so far, value)."""
    now, presses, turned = 0, 0, []
    slider = HyperparameterSlider(
        SGD.hypers["η"], 0.1, lambda *a: turned.append(a), presses=lambda: presses, clock=lambda: now
    )
    for after, count, η in hand:
        now, presses = now + after, count
        slider.slider.value = η
    return [(η, goes_on) for _, η, goes_on in turned]


def test_a_value_that_stood_for_a_second_is_a_change_of_its_own_where_a_page_tells_of_no_pointer():
    hand = (5.0, 0, 0.05), (0.9, 0, 0.04), (0.9, 0, 0.02), (1.0, 0, 0.01)
    assert moves(*hand) == [(0.05, False), (0.04, True), (0.02, True), (0.01, False)]


def test_a_drag_is_one_change_until_the_pointer_is_released():
    held = (5.0, 1, 0.05), (9.0, 1, 0.04), (0.1, 1, 0.02)
    assert moves(*held) == [(0.05, False), (0.04, True), (0.02, True)]
    pressed_again = (5.0, 1, 0.05), (0.1, 3, 0.04)
    assert moves(*pressed_again) == [(0.05, False), (0.04, False)]
    keys = (5.0, 2, 0.05), (0.1, 2, 0.04), (2.0, 2, 0.02)
    assert moves(*keys) == [(0.05, False), (0.04, True), (0.02, False)]


def test_the_page_tells_when_a_pointer_is_held():
    controls = RunControls(quadratic(n=100))
    page = ControlsPage(controls)
    field = controls.box.children[1]
    for presses, η in ((1, 0.05), (1, 0.01), (3, 0.0032)):
        field.set_state({"value": f"800 1234 {presses}"})
        page.drag("η", η)
        page.process()
        controls.run.step()
    assert controls.run.events == [(0, "η", 0.1, 0.01), (2, "η", 0.01, 0.0032)]
    assert controls.width == 800


@pytest.mark.parametrize("name", ["η", "ρ", "ε", "clip"])
def test_the_stops_of_a_slider_are_legal_in_order_and_the_default_is_one(name):
    run = quadratic(lambda ps: OPTIMISERS["RMSProp"](ps))
    page = ControlsPage(RunControls(run))
    page.press("more")
    page.process()
    stops = [v for _, v in page.find(name).options]
    hyper = run.opt_class.hypers[name]
    assert stops == sorted(stops)
    assert all(map(hyper.allows, stops))
    assert hyper.default in stops


def test_what_is_off_and_ϵ_are_folded_until_they_are_used():
    run = quadratic(lambda ps: ADAM(ps))
    page = ControlsPage(RunControls(run))
    folded = ["ε", "decay", "clip", "clipnorm", "weightdecay"]

    def shown():
        page.controls.show()
        return [k for k in run.values if page.has(k)]

    assert shown() == ["η", "β1", "β2"]
    page.press("more")
    page.process()
    assert set(shown()) == {"η", "β1", "β2", *folded}
    page.turn("clip", 1.0)
    page.process()
    page.press("less")
    page.process()
    assert set(shown()) == {"η", "β1", "β2", "clip"}
    page.type("clip", "off")
    page.process()
    assert shown() == ["η", "β1", "β2"]


def test_η_comes_first_and_alone_in_its_row():
    for cls in OPTIMISERS.values():
        if "η" in cls.hypers:
            page = ControlsPage(RunControls(quadratic(cls)))
            first = next(x for x in page.shown() if x.layout.grid_area)
            assert first.children[0].description == "η"
            assert [x.description for x in first.children[2:]] == ["÷2", "×2"]


def test_clicks_on_factors_multiply_before_they_are_processed():
    run = quadratic()
    page = ControlsPage(RunControls(run))
    for label in ("÷2", "÷2", "÷2", "×2"):
        page.press(label)
    page.process()
    assert run.opt.η == 0.025
    assert run.events[-1].new == 0.025


def test_a_change_by_program_moves_the_slider_and_is_no_request():
    run = quadratic()
    page = ControlsPage(RunControls(run))
    run.set(η=0.03)
    page.controls.show()
    assert page.value("η") == 0.03
    assert not page.process()
    assert len(run.events) == 1


def test_the_effective_rate_stands_beside_ρ():
    page = ControlsPage(RunControls(quadratic(lambda ps: Momentum(ps, 0.01, ρ=0.9))))
    assert "η/(1−ρ) = 0.1" in page.texts()
    page = ControlsPage(RunControls(quadratic()))
    assert not any("ρ" in t for t in page.texts())


def test_an_optimiser_given_by_name_has_sliders_before_the_first_step():
    W = param(1.0)
    run = Run(lambda x: W * W, [1.0] * 5, "ADAM")
    page = ControlsPage(RunControls(run))
    page.turn("β1", 0.5)
    page.process()
    run.step()
    assert run.opt.β1 == 0.5


def test_the_position_follows_the_run_unless_the_user_moved_it():
    now = 0.0
    run = quadratic()
    page = ControlsPage(RunControls(run, clock=lambda: now))
    slider = page.find("step")
    assert slider.disabled

    def stands():
        nonlocal now
        now += DRAG_SECONDS
        page.controls.show()
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
    page.press("Rewind")
    page.process()
    assert stands() == (4, 4)
    run.step(2)
    assert stands() == (6, 6)
    slider.value = 5
    run.rewind(0)
    assert stands() == (0, 1)
    assert slider.disabled


def test_the_position_is_typed_too():
    run = quadratic(n=2000, epochs=1)
    page = ControlsPage(RunControls(run))
    run.step(1500)
    page.process()
    assert page.field("step").value == "1,500"
    page.type("step", "1,234")
    page.process()
    assert page.value("step") == 1234
    for wrong in ("1501", "-1", "x", ""):
        page.type("step", wrong)
        page.process()
        assert (page.value("step"), page.field("step").value) == (1234, "1,234")
    page.press("Rewind")
    page.process()
    assert run.steps == 1234


def test_the_position_sliders_scale_is_that_of_the_axis():
    position = PositionSlider("step", "")
    position.show(70, 0, 80)
    assert (position.slider.min, position.slider.value, position.slider.max) == (0, 70, 80)
    position.show(500, 400, 510)
    assert (position.slider.min, position.slider.value, position.slider.max) == (400, 500, 510)
    position.show(5, 0, 3)
    assert (position.slider.min, position.slider.value, position.slider.max) == (0, 5, 5)


def test_the_position_sliders_scale_rests_while_it_is_dragged():
    now = 0.0
    run = quadratic()
    page = ControlsPage(RunControls(run, clock=lambda: now))
    run.step(5)
    page.controls.show()
    page.find("step").value = 2
    run.step(5)
    page.controls.show()
    assert page.find("step").max == 5
    now += DRAG_SECONDS
    page.controls.show()
    assert (page.value("step"), page.find("step").max) == (2, 10)

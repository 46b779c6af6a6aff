"""Controls of a run, used by labels: the optimiser, schedules, messages, and how the curve is drawn."""

from __future__ import annotations

import ipywidgets as w
import numpy as np

from fluxmagic import SGD, Run, param
from fluxmagic.jupyter.controls import run_controls as controls
from fluxmagic.jupyter.controls.run_controls import RunControls
from fluxmagic.optimise import Momentum
from tests.jupyter.panel_page import ControlsPage
from tests.jupyter.problems import quadratic


def test_names_are_shown_as_text_not_markup():
    run = quadratic(lambda ps: SGD(ps, lambda n: 0.1), name="<b>run</b>")
    run.set(η=0.2)
    run.record.events[-1] = run.record.events[-1]._replace(name="<b>η</b>")  # as a file may have had it
    page = ControlsPage(RunControls(run))
    assert page.overridden.startswith("&lt;b&gt;η&lt;/b&gt;")
    assert not any("<b>" in str(getattr(x, "value", "")) for x in page.shown() if isinstance(x, w.HTML))


def test_a_swap_keeps_weights_and_each_optimisers_own_values():
    run = quadratic()
    page = ControlsPage(RunControls(run))
    page.turn("η", 0.02)
    page.process()
    weights = run.params[0].data.copy()
    for name in ("ADAM", "SGD"):
        page.choose(name)
        page.process()
        page.controls.show()
        assert run.opt_name == name
    assert page.value("η") == 0.02
    np.testing.assert_array_equal(run.params[0].data, weights)
    assert [e.name for e in run.events] == ["η", "opt", "opt"]


def test_a_swap_by_program_changes_the_dropdown_and_is_no_request():
    run = quadratic()
    page = ControlsPage(RunControls(run))
    run.swap("Momentum", ρ=0.5)
    page.controls.show()
    assert page.value("optimiser") == "Momentum"
    assert page.value("ρ") == 0.5
    assert not page.process()


def test_only_errors_are_alerts(namespace):
    page = ControlsPage(RunControls(quadratic()))

    def roles():
        page.press("Branch")
        page.process()
        return [role for role in ("alert", "status") if any(f'role="{role}"' in t for t in page.texts())]

    assert roles() == ["alert"]
    page.controls.run.step()
    assert roles() == ["status"]


def test_a_value_set_over_a_schedule_is_named():
    run = quadratic(lambda ps: SGD(ps, lambda n: 0.1 / (1 + n)))
    page = ControlsPage(RunControls(run))
    page.turn("η", 0.02)
    page.press("more")
    page.process()
    page.turn("decay", 0.1)
    page.process()
    page.controls.show()
    assert page.overridden == "η: turned by hand, the schedule is off"
    run.step(3)
    assert run.opt.η == 0.02
    page.controls.show()
    assert page.overridden == "η: turned by hand, the schedule is off"  # as long as it is


def test_give_back_restores_the_schedules():
    run = quadratic(lambda ps: Momentum(ps, lambda n: 0.1 / (1 + n), ρ=lambda n: 0.5 if n < 5 else 0.9))
    page = ControlsPage(RunControls(run))
    assert not page.has("Give back")
    assert page.overridden == ""
    for _ in range(2):
        for name, value in (("η", 0.02), ("η", 0.03), ("ρ", 0.7)):
            page.turn(name, value)
            page.process()
        run.step(2)
        page.controls.show()
        assert page.overridden == "η and ρ: turned by hand, the schedule is off"
        assert (run.opt.η, run.opt.ρ) == (0.03, 0.7)
        page.press("Give back")
        assert page.process()
        page.controls.show()
        assert page.overridden == ""
        run.step(2)
    assert run.opt.η == 0.1 / 8
    assert run.opt.ρ == 0.9
    assert callable(run.events[-1].new)


def test_overridden_schedules_are_those_of_the_active_optimiser():
    run = quadratic(lambda ps: SGD(ps, lambda n: 0.1 / (1 + n)))
    page = ControlsPage(RunControls(run))
    page.turn("η", 0.02)
    page.process()
    run.step()
    run.swap("ADAM")
    page.controls.show()
    assert page.overridden == ""
    run.swap("SGD")
    page.controls.show()
    assert page.overridden == "η: turned by hand, the schedule is off"
    run.rewind(0)
    page.controls.show()
    assert page.overridden == ""  # the turn was undone


def test_a_plain_function_has_no_sliders():
    W = param(1.0)

    def descend():
        W.data = W.data - 0.1 * W.grad
        W.zero_grad()

    page = ControlsPage(RunControls(Run(lambda x: W * W, [1.0], descend)))
    assert "descend is a plain function" in page.message
    assert page.find("optimiser").disabled
    assert not page.has("η")


def test_each_way_to_draw_the_curve_is_chosen_by_its_words():
    page = ControlsPage(RunControls(quadratic()))
    for v in controls.VIEWS:
        for words, value in v.options.items():
            page.choose(words, v.label)
            page.process()
            assert page.controls.view[v.name] == value

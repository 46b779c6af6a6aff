"""The controls of a race: a row for each contestant, shared transport."""

import ipywidgets
import pytest

from fluxmagic.jupyter.controls import widgets
from fluxmagic.jupyter.race.controls import RaceControls
from fluxmagic.jupyter.race.words import colour_of
from tests.jupyter.panel_page import ControlsPage, plain
from tests.race.problems import VALLEY, network, race_on, valley

FOUR = [*VALLEY, ("ADAM", {"η": 0.05})]


@pytest.fixture
def race():
    return race_on(valley(), FOUR, steps=60)


@pytest.fixture
def page(race):
    return ControlsPage(RaceControls(race))


def words(page):
    return [plain(t) for t in page.texts()]


def take(page, key):
    """Press the button of a row."""
    next(x for x in page.shown() if getattr(x, "tooltip", None) and x.tooltip.endswith(key)).click()


def test_each_contestant_has_a_row_with_its_colour_its_name_and_its_loss(race, page):
    race.step(5)
    page.controls.show()
    texts = page.texts()
    for i, key in enumerate(race.runs):
        (name,) = [t for t in texts if plain(t) == key]
        assert colour_of(i) in name
        assert f"{race[key].shown_loss:.4g}" in texts
    assert any("step 5/60 · lowest loss: " in t for t in texts)


def test_a_dial_is_the_contestant_s_own(race, page):
    page.type("Momentum ρ 0.9 η", "0.0001")
    page.type("ADAM β1", "0.5")
    assert page.process()
    assert [run.values["η"] for run in race] == [0.001, 0.0001, 0.0002, 0.05]
    assert race["ADAM"].values["β1"] == 0.5
    race.step(3)
    race["SGD"].set(η=0.003)
    page.controls.show()
    assert page.field("SGD η").value == "0.003"
    assert [len(run.events) for run in race] == [1, 1, 0, 1]


def test_dials_that_are_seldom_turned_are_in_sight_when_they_are_asked_for_or_used(race, page):
    fields = lambda: {x.placeholder for x in page.shown() if isinstance(x, ipywidgets.Text) and not x.description}
    few = {
        "SGD η",
        "Momentum ρ 0.9 η",
        "Momentum ρ 0.9 ρ",
        "Momentum ρ 0.99 η",
        "Momentum ρ 0.99 ρ",
        "ADAM η",
        "ADAM β1",
    }
    assert fields() == few
    race["SGD"].set(clip=2.0)
    page.controls.show()
    assert fields() == few | {"SGD clip"}
    page.press("more")
    page.process()
    assert "ADAM ε" in fields()
    page.press("less")
    page.process()
    assert fields() == few | {"SGD clip"}


def test_a_value_out_of_range_is_refused_by_name(race, page):
    page.type("Momentum ρ 0.9 ρ", "1.5")
    page.process()
    assert "ρ" in page.message
    assert race[1].values["ρ"] == 0.9
    page.type("SGD η", "much")
    page.process()
    assert "η is a number" in page.message


def test_another_optimiser_brings_its_own_dials(race, page):
    race["SGD"].swap("Momentum", ρ=0.5)
    page.controls.show()
    assert page.field("SGD ρ").value == "0.5"


def test_take_gives_the_weights_and_waits_for_a_pause():
    race = race_on(valley(), FOUR, steps=100_000)
    page = ControlsPage(RaceControls(race))
    start = race.params[0].data.tolist()
    assert "Take" not in page.enabled()
    race.step(5)
    page.controls.show()
    take(page, "of ADAM")
    page.process()
    assert "the weights are those of ADAM" in page.message
    assert race.params[0].data.tolist() == race["ADAM"].path[-1].tolist()
    race.take()
    assert race.params[0].data.tolist() == start
    race.advance(0.0)
    assert "Take" not in page.enabled()
    with pytest.raises(RuntimeError, match="being trained"):
        race["ADAM"].take()


def test_a_contestant_that_diverged_is_marked_and_may_go_on():
    race = race_on(valley(), [("SGD", {"η": 0.001}), ("SGD", {"η": 1.0})], steps=60)
    page = ControlsPage(RaceControls(race))
    race.step(30)
    page.controls.show()
    assert f"diverged at step {race[1].steps}" in words(page)
    assert page.has("Recover")
    page.press("Recover")
    page.process()
    assert "SGD η 1 goes on from step" in page.message
    assert race[1].values["η"] == pytest.approx(0.1)
    race[1].set(η=1e-4)
    race.train()
    assert [run.steps for run in race] == [60, 60]


def test_restart_and_play_are_shared(race, page):
    race.train()
    page.controls.show()
    page.press("Restart")
    page.process()
    assert [run.steps for run in race] == [0] * 4
    race.train()
    page.controls.show()
    page.press("Play")
    page.process()
    assert page.controls.playing
    assert race.total_steps == 120


@pytest.mark.parametrize("steps", [0, 20])
def test_all_contestants_may_start_elsewhere_and_the_user_s_values_stay(race, page, steps):
    race.step(steps)
    page.controls.show()
    next(x for x in page.shown() if getattr(x, "description", "") == "start w[0]").set_state({"value": "0.5"})
    page.process()
    page.press("Restart") if steps else None
    page.process()
    race.train()
    assert [run.path[0].tolist() for run in race] == [[0.5, 1.0]] * 4
    assert race.params[0].data.tolist() == [-1.2, 1.0]


def test_on_a_narrow_page_the_dials_are_below_the_picture(race, page):
    order = lambda: [x.layout.order for x in page.controls.box.children if "ADAM" in str(list(widgets.models(x)))]
    assert order() == [None]
    page.controls.width = 380
    page.controls.show()
    assert order() == ["1"]


def test_names_are_text_and_not_markup():
    race = race_on(network(), [("SGD", {"η": lambda n: 0.1}), "ADAM"])
    key = "SGD <b>"
    race.runs = {key: race[0], "ADAM": race[1]}
    page = ControlsPage(RaceControls(race))
    assert not any("<b>" in t for t in page.texts())

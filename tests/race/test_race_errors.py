"""What a race refuses, and in what words; nothing is changed and nothing lost."""

import random
import re
import threading
import warnings
from itertools import cycle

import numpy as np
import pytest

from fluxmagic import ADAM, Chain, Dense, Race, param
from fluxmagic.optimise import Hyper, Optimiser
from tests.race.problems import THREE, VALLEY, network, race_on, valley


@pytest.mark.parametrize(
    ("contestants", "error", "words"),
    [
        ([("SGD", {"ρ": 0.9}), "ADAM"], TypeError, "contestant 0: SGD has no ρ"),
        (["ADAM", ("SGD", {"zeta": 0.9})], TypeError, "contestant 1: SGD has no zeta"),
        (["ADAM", ("SGD", {"η": -1})], ValueError, "contestant 1: η"),
        (["ADAM", ("SGD", {"η": "x"})], TypeError, "contestant 1: η"),
        (["ADAM", "Adam"], ValueError, "contestant 1: there is no optimiser Adam; there are"),
        (["ADAM", int], ValueError, "contestant 1: there is no optimiser"),
        (["ADAM", 3], TypeError, 'contestant 1: a contestant is a name or a class, or a pair such as ("SGD", dict'),
        (["ADAM", ("SGD", 0.1)], TypeError, "contestant 1: a contestant is a name or a class"),
        (["ADAM", ("SGD", {"η": 0.1}, 3)], TypeError, "contestant 1: a contestant is a name or a class"),
        (["ADAM", ADAM([param(1.0)])], TypeError, "contestant 1: a contestant is a name or a class"),
        (["ADAM", ("SGD", {"η": 0.1, "eta": 0.1})], TypeError, "contestant 1: "),
        (["ADAM"], ValueError, "two contestants or more, and was given 1: Run trains one alone"),
        ([], ValueError, "two contestants or more, and was given 0"),
        ("SGD", TypeError, "a list of contestants, not a str"),
        ({"SGD": {}, "ADAM": {}}, TypeError, "a list of contestants, not a dict"),
        (["ADAM", "SGD", ("ADAM", {"eta": 0.001})], ValueError, "contestants 0 and 2 are alike, ADAM with the same"),
    ],
)
def test_contestants_that_cannot_race_are_refused(contestants, error, words):
    problem = network()
    before = problem.bits()
    with pytest.raises(error, match=re.escape(words)):
        race_on(problem, contestants)
    assert problem.bits() == before


@pytest.mark.parametrize("data", [iter([(1.0,)]), zip([1.0]), map(float, [1])])
def test_data_that_can_be_gone_through_once_is_refused(data):
    with pytest.raises(TypeError, match="which can be gone through once, and every contestant does: pass a list"):
        Race(lambda x: x, data, [param(1.0)], THREE)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"steps": 0}, ValueError, "steps is a positive integer, not 0"),
        ({}, ValueError, "give steps"),
        ({"steps": 3, "epochs": 2}, ValueError, "one of the two"),
        ({"steps": 3, "nothing": 1}, TypeError, "a race has no nothing"),
        ({"steps": 3, "η": 0.1}, TypeError, "a dial goes with its contestant"),
        ({"steps": 3, "log": "x"}, TypeError, "a race has no log"),
        ({"steps": 3, "patience": 0}, ValueError, "patience"),
        ({"steps": 3, "until": 3}, TypeError, "until"),
    ],
)
def test_options_are_those_of_a_run(options, error, words):
    with pytest.raises(error, match=words):
        race_on(valley(), VALLEY, **options)


def test_no_parameter_is_refused():
    with pytest.raises(TypeError, match="no parameter"):
        Race(lambda x: x, [1.0], [], THREE)
    with pytest.raises(TypeError, match=r"a race updates parameters, and this is a Dense: .* params\(m\) finds"):
        Race(lambda x: x, [1.0], Chain(Dense(2, 1)), THREE)
    race = Race(lambda x: x, [1.0], None, THREE)
    with pytest.raises(TypeError, match="the loss reaches no parameter"):
        race.train()
    assert race.state == "failed"


def test_a_parameter_that_turns_up_later_is_refused_and_everyone_is_whole():
    W, late = param(1.0), param(1.0)
    race = Race(lambda x: (W - x) ** 2 + (late if x > 2 else 0), [0.0, 1.0, 2.0, 3.0], None, THREE, epochs=2)
    with pytest.raises(Exception, match="come to depend on a parameter"):
        race.train()
    assert race.state == "failed"
    assert (W.data, late.data) == (1, 1)
    assert {run.steps for run in race} <= {2, 3}
    race[0].take()
    assert W.data == race[0].history["loss"][0] or W.data != 1


KEYS = [
    ("SGD", {"η": 0.1}),
    ("Momentum", {"η": 0.1, "ρ": 0.9}),
    ("Momentum", {"η": 0.1, "ρ": 0.99}),
    ("ADAM", {"clip": 2}),
    ("ADAM", {"ϵ": 1e-7}),
]


def test_keys_name_the_optimiser_and_the_dials_that_differ():
    adams = ["ADAM ε 1e-08 clip 2", "ADAM ε 1e-07 clip off"]
    assert list(race_on(valley(), KEYS, steps=3).runs) == ["SGD", "Momentum ρ 0.9", "Momentum ρ 0.99", *adams]


def test_keys_stay_when_dials_are_turned():
    race = race_on(valley(), KEYS, steps=3)
    race[1].set(ρ=0.5)
    race.train()
    assert race["Momentum ρ 0.9"] is race[1]


@pytest.mark.parametrize(
    ("key", "number"),
    [
        (3, 3),
        (-1, 4),
        ("SGD", 0),
        ("0.99", 2),
        ("Momentum 0.9", 1),
        ("Momentum ρ 0.99", 2),
        ("Momentum rho 0.99", 2),
        ("ADAM clip off", 4),
        ("ADAM ϵ 1e-07", 4),
    ],
)
def test_a_contestant_is_found_by_its_number_or_a_part_of_its_key(key, number):
    race = race_on(valley(), KEYS, steps=3)
    assert race[key] is list(race)[number]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("Momentum", "'Momentum' fits several contestants: 'Momentum ρ 0.9', 'Momentum ρ 0.99'"),
        ("Nesterov", "'Nesterov' fits no contestant; there are: 'SGD', 'Momentum ρ 0.9', "),
        ("Momentum 0.999", "fits no contestant"),
        ("", "fits no contestant"),
    ],
)
def test_a_key_that_fits_none_or_several_lists_them(key, words):
    race = race_on(valley(), KEYS, steps=3)
    with pytest.raises(KeyError) as caught:
        race[key]
    assert words in caught.value.args[0]


def test_a_number_beyond_the_contestants_is_an_index_error():
    with pytest.raises(IndexError):
        race_on(valley(), KEYS, steps=3)[5]


def test_contestants_that_only_a_number_tells_apart_have_it_in_their_keys():
    race = race_on(valley(), [("SGD", {"η": lambda n: 0.1}), ("SGD", {"η": lambda n: 0.2})], steps=3)
    assert list(race.runs) == ["SGD η schedule", "SGD η schedule (1)"]


def test_keys_tell_values_apart_that_differ_in_late_digits():
    race = race_on(valley(), [("SGD", {"η": 0.1}), ("SGD", {"η": 0.10000001})], steps=3)
    assert list(race.runs) == ["SGD η 0.1", "SGD η 0.10000001"]
    race = race_on(
        valley(), [("SGD", {"η": 2.05 / 100}), ("SGD", {"η": 1 / 3}), ("SGD", {"η": 1 / 3 + 1e-16})], steps=3
    )
    assert list(race.runs) == ["SGD η 0.0205", "SGD η 0.3333333333333333", "SGD η 0.3333333333333334"]


@pytest.fixture
def half():
    """A user's optimiser."""

    class Half(Optimiser):
        """Half of a step."""

        η = Hyper(0.1, "learning rate", scale="log")

        def step(self, δ, s):
            return 0.5 * self.η * δ

    return Half


def test_an_optimiser_of_one_s_own_races_by_class_or_name(half):
    race = race_on(valley(), [half, ("Half", {"η": 0.2}), (half, {"η": 0.001})], steps=1)
    race.train()
    assert list(race.runs) == ["Half η 0.1", "Half η 0.2", "Half η 0.001"]


@pytest.mark.parametrize("draw", [np.random.normal, random.random])
@pytest.mark.parametrize("later", [False, True])
def test_noise_from_a_generator_of_the_process_is_found(draw, later):
    W = param(1.0)
    race = Race(lambda x: (W - x - (draw() if x >= later else 0)) ** 2, [0.0, 1.0], [W], THREE, epochs=2)
    with pytest.raises(
        RuntimeError, match=r"draws from (NumPy|Python)'s global generator .*rng = np.random.default_rng"
    ):
        race.train()
    assert race.state == "failed"
    assert W.data == 1


class Noise:
    """Draws from a generator of its class, which a run does not find."""

    rng = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("rng", "draw", "name"),
    [
        (np.random.RandomState(0), lambda rng: rng.normal(), "rng, a RandomState"),
        (random.Random(0), lambda rng: rng.gauss(0, 1), "rng, a Random"),
        ({"a": [random.Random(0)]}, lambda rng: rng["a"][0].gauss(0, 1), r"rng\['a'\]\[0\], a Random"),
        (Noise, lambda rng: Noise.rng.normal(), r"Noise\.rng, a Generator"),
    ],
)
@pytest.mark.parametrize("by", ["loss", "data"])
def test_noise_from_a_generator_that_contestants_share_is_found_and_named(rng, draw, name, by):
    W, drawn = param(1.0), by == "data"
    loss = lambda x: (W - (x if drawn else draw(rng))) ** 2
    race = Race(loss, lambda: [draw(rng) if drawn else 0.0], [W], THREE, epochs=2)
    with pytest.raises(RuntimeError, match=f"draws from {name}: the contestants would not see the same noise"):
        race.train()
    assert race.state == "failed"
    assert W.data == 1


def test_data_that_draws_from_the_generator_of_the_process_is_found():
    W = param(1.0)
    race = Race(lambda x: (W - x) ** 2, lambda: iter(np.random.permutation(4).astype(float)), [W], THREE)
    with pytest.raises(RuntimeError, match="the loss or the data draws"):
        race.train()


def test_noise_of_a_generator_of_one_s_own_is_the_same_for_all():
    rng, W = np.random.default_rng(0), param(1.0)
    seen = []

    def loss():
        noise = rng.normal()
        seen.append(noise)
        return (W - noise) ** 2

    race = Race(loss, None, [W], THREE, steps=4)
    race.train()
    assert len({*seen}) == 4
    assert len(seen) == 12


def test_other_code_may_draw_from_the_generators_of_the_process_between_two_steps():
    race = race_on(valley(), VALLEY, steps=5)
    for _ in range(5):
        np.random.normal()
        random.random()
        race.step()
    assert race.state == "done"


def test_an_error_of_the_loss_leaves_every_contestant_whole():
    problem = network()
    before, calls = problem.bits(), cycle([False] * 16 + [True])

    def loss(x, y):
        if next(calls):
            raise ZeroDivisionError("on purpose")
        return problem.loss(x, y)

    race = Race(loss, problem.data, problem.params, THREE, epochs=3, seed=4)
    for _ in range(50):
        try:
            race.train()
        except ZeroDivisionError:
            assert race.state == "failed"
            assert problem.bits() == before
        if race.finished:
            break
    calm = race_on(network(), THREE, epochs=3, seed=4)
    calm.train()
    for run, other in zip(race, calm, strict=True):
        assert run.history["loss"].tolist() == other.history["loss"].tolist()
        assert [a.tobytes() for a in run.snapshot().values()] == [a.tobytes() for a in other.snapshot().values()]


def test_more_than_a_gigabyte_of_state_is_said_before_the_race_begins():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Race(lambda x: x, [1.0], [param(np.zeros(10, np.float32))], THREE)
    W = param(np.zeros(1, np.float32))
    W.value = np.broadcast_to(W.value, (45_000_000,))  # as if
    with (
        pytest.warns(RuntimeWarning, match=r"optimiser states of 3 contestants take 1\.3 GB"),
        pytest.raises(ValueError),
    ):
        Race(lambda x: x, [1.0], [W], THREE, epochs=0)


def test_one_thread_at_a_time_drives_a_race():
    inside, go = threading.Event(), threading.Event()
    problem = valley()

    def loss():
        inside.set()
        go.wait()
        return problem.loss()

    race = Race(loss, None, problem.params, VALLEY, steps=3)
    thread = threading.Thread(target=race.train)
    thread.start()
    inside.wait()
    with pytest.raises(RuntimeError, match="being driven already"):
        race.step()
    race.pause()
    race[1].set(η=0.5)
    go.set()
    thread.join()
    assert race.state == "paused"
    assert {run.steps for run in race} == {1}
    assert race[1].values["η"] == 0.5


def test_a_loss_that_steps_its_own_race_is_refused():
    problem = valley()
    race = Race(lambda: race.step() or problem.loss(), None, problem.params, VALLEY, steps=3)
    with pytest.raises(RuntimeError, match="being driven already"):
        race.train()
    assert race.state == "failed"

"""A race whose first step fails, or is refused: it changes nothing, and the race can go on."""

import numpy as np
import pytest

from fluxmagic import Race, Run
from tests.race.problems import THREE, network, race_on
from tests.runs.problems import everything


@pytest.mark.parametrize("had_a_run", [False, True])
def test_after_an_error_of_the_first_loss_the_race_begins_as_if_nothing_had_happened(had_a_run):
    problem, calm = network(), network()
    if had_a_run:
        runs = [Run(each.loss, each.data, "ADAM", epochs=4, seed=1) for each in (problem, calm)]
        for run in runs:
            run.step(7)
    before, fails = problem.bits(), iter([True])

    def loss(x, y):
        if next(fails, False):
            raise ZeroDivisionError("on purpose")
        return problem.loss(x, y)

    race = Race(loss, problem.data, problem.params, THREE, epochs=2, seed=5)
    with pytest.raises(ZeroDivisionError):
        race.train()
    assert problem.bits() == before
    if had_a_run:
        assert all(p.run_ref() is runs[0] for p in problem.params)
    race.train()
    assert problem.bits() == before
    other = race_on(calm, THREE, epochs=2, seed=5)
    other.train()
    for a, b in zip(race, other, strict=True):
        assert a.history["loss"].tolist() == b.history["loss"].tolist()
    if had_a_run:
        for run in runs:
            run.train()
        assert everything(runs[0]).arrays == everything(runs[1]).arrays


def test_a_first_loss_that_is_not_finite_marks_all_and_changes_nothing():
    problem = network()
    before = problem.bits()
    race = Race(lambda x, y: problem.loss(x, y) * np.nan, problem.data, problem.params, THREE, epochs=2)
    race.train()
    assert race.state == "done"
    assert set(race.waiting.values()) == {"diverged"}
    assert problem.bits() == before
    run = Run(problem.loss, problem.data, "SGD", epochs=1)
    run.train()
    assert run.state == "done"


def test_a_metric_that_fails_is_named_before_the_first_step():
    problem = network()
    before = problem.bits()
    race = race_on(problem, THREE, epochs=2, metrics={"bad": lambda x, y: 1 / 0})
    with pytest.raises(ZeroDivisionError) as caught:
        race.train()
    assert caught.value.option == "metric bad"
    assert race.steps == 0
    assert problem.bits() == before

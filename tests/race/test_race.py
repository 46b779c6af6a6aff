"""A race: what contestants do is what the same runs do alone, and the user's values stay."""

import threading
import tracemalloc

import numpy as np
import pytest

import fluxmagic
from fluxmagic import Race, Run, param
from fluxmagic.optimise import OPTIMISERS
from fluxmagic.runs.state import Values
from tests.race.problems import THREE, VALLEY, Problem, network, race_on, valley
from tests.runs.problems import everything


def alone(make, opt, hypers, **options) -> Run:
    """The run of one contestant, on a problem of its own."""
    problem = make()
    return Run(problem.loss, problem.data, OPTIMISERS[opt](problem.params, **hypers), **options)


def with_own_generator() -> Problem:
    return network(np.random.default_rng(5))


def assert_same(run: Run, other: Run) -> None:
    """Compare all that can be seen, once the first is the active one."""
    run.take()
    for name, value in vars(everything(run)).items():
        assert value == vars(everything(other))[name], name


@pytest.mark.parametrize("make", [network, with_own_generator, valley])
@pytest.mark.parametrize("drive", ["train", "step", "advance"])
def test_each_contestant_ends_in_the_bits_of_the_run_alone(make, drive):
    contestants = VALLEY if make is valley else THREE
    options = {"steps": 60, "seed": 1} if make is valley else {"epochs": 4, "seed": 11}
    race = race_on(make(), contestants, **options)
    while not race.finished:
        {"train": race.train, "step": lambda: race.step(7), "advance": lambda: race.advance(0.001)}[drive]()
    assert race.state == "done"
    for run, (opt, hypers) in zip(race, contestants, strict=True):
        other = alone(make, opt, hypers, **options)
        other.train()
        assert_same(run, other)


def test_without_a_seed_the_contestants_draw_what_the_run_alone_draws():
    race = race_on(network(), THREE, epochs=2)
    race.train()
    for run, (opt, hypers) in zip(race, THREE, strict=True):
        other = alone(network, opt, hypers, epochs=2)
        other.train()
        assert_same(run, other)


def test_parameters_that_are_not_named_are_found_and_the_bits_are_those_of_the_run_alone():
    problem = network()
    race = Race(problem.loss, problem.data, None, THREE, epochs=2, seed=3)
    before = problem.bits()
    race.train()
    assert problem.bits() == before
    for run, (opt, hypers) in zip(race, THREE, strict=True):
        fresh = network()
        other = Run(fresh.loss, fresh.data, opt, hypers=hypers, epochs=2, seed=3)
        other.train()
        assert_same(run, other)


@pytest.mark.parametrize("make", [network, with_own_generator, valley])
def test_afterwards_parameters_statistics_and_generators_are_as_before(make):
    problem = make()
    default = fluxmagic.generators.as_generator()
    race = race_on(problem, VALLEY if make is valley else THREE, steps=9)
    before = [*problem.bits(), str(default.bit_generator.state)]
    for act in (lambda: race.step(2), lambda: race.advance(0), race.train, race.restart, race.train, race.stop):
        act()
        assert [*problem.bits(), str(default.bit_generator.state)] == before


def test_what_a_race_has_is_what_its_keys_numbers_and_contestants_say():
    race = race_on(valley(), VALLEY, steps=9)
    for x in (*race.runs, *race, 0, -1, "SGD", "ρ 0.99"):
        assert x in race
    other = race_on(valley(), VALLEY, steps=9)
    for x in ("Adagrad", "Momentum", len(race), other[0], None):  # two are Momentum
        assert x not in race
    assert [run in race for run in race] == [True] * len(race)


def test_a_dial_turned_in_mid_race_is_the_contestant_s_own():
    race = race_on(valley(), VALLEY, steps=40)
    race.step(10)
    race["ρ 0.99"].set(η=0.0001)
    race.train()
    other = alone(valley, "Momentum", {"η": 0.0002, "ρ": 0.99}, steps=40, seed=race.seed)
    other.step(10)
    other.set(η=0.0001)
    other.train()
    assert_same(race[2], other)
    assert [len(run.events) for run in race] == [0, 0, 1]


def test_contestants_take_turns_so_that_all_are_at_the_same_step_between_calls():
    race = race_on(network(), THREE, epochs=30)
    for _ in range(4):
        race.advance(0.0)
        assert len({run.steps for run in race}) == 1
    race.pause()
    race.advance(1.0)
    assert race.state == "paused"
    assert {run.steps for run in race} == {race.steps}


def test_at_most_so_many_steps_are_taken_as_the_driver_says():
    race = race_on(valley(), VALLEY, steps=40)
    race.advance(10.0, steps=3)
    assert [run.steps for run in race] == [3, 3, 3]
    assert race.state == "running"
    race.advance(10.0, steps=1)
    assert [run.steps for run in race] == [4, 4, 4]


def test_restart_goes_back_to_the_start_with_the_dials_as_they_are():
    race = race_on(network(), THREE, epochs=3)
    race.step(8)
    losses = [list(run.history["loss"]) for run in race]
    race["ADAM"].set(η=0.5)
    race.restart()
    assert race.steps == 0
    assert race.state == "paused"
    assert [[s.loss.tolist() for s in run.abandoned] for run in race] == [[kept] for kept in losses]
    race.step(8)
    assert list(race[0].history["loss"]) == losses[0]
    assert list(race["ADAM"].history["loss"]) != losses[2]
    assert race["ADAM"].values["η"] == 0.5


@pytest.mark.parametrize("begun", [False, True])
def test_restart_may_begin_at_other_numbers_and_the_user_s_stay(begun):
    problem = valley()
    race = race_on(problem, VALLEY, steps=20)
    race.step(5 * begun)
    race.restart([0.5, 0.5])
    assert problem.params[0].data.tolist() == [-1.2, 1.0]
    race.train()
    for run in race:
        assert run.path[0].tolist() == [0.5, 0.5]
    assert problem.params[0].data.tolist() == [-1.2, 1.0]


def test_extend_lets_all_go_on():
    race = race_on(valley(), VALLEY, steps=20)
    race.train()
    race.extend()
    race.train()
    assert [run.steps for run in race] == [40, 40, 40]


def test_a_contestant_that_diverges_waits_and_the_others_go_on():
    problem = network()
    race = race_on(problem, [*THREE, ("SGD", {"η": 1e30})], epochs=3, seed=2)
    race.train()
    assert race.state == "done"
    assert race.waiting == {"SGD η 0.05": "done", "Momentum": "done", "ADAM": "done", "SGD η 1e+30": "diverged"}
    assert race[3].steps < race[0].steps == 15
    for run, (opt, hypers) in zip(race, THREE, strict=False):
        other = alone(network, opt, hypers, epochs=3, seed=2)
        other.train()
        assert_same(run, other)


def test_a_contestant_that_recovers_catches_up():
    race = race_on(valley(), [("SGD", {"η": 0.002}), ("SGD", {"η": 1.0})], steps=60)
    race.step(20)
    assert race.waiting == {"SGD η 1": "diverged"}
    race[1].recover(η=0.001)
    race.step(1)
    assert [run.steps for run in race] == [21, 21]
    race.train()
    assert race.state == "done"
    assert set(race.waiting.values()) == {"done"}


def test_patience_and_until_end_one_alone_with_its_best_weights():
    problem = valley()
    contestants = [("SGD", {"η": 0.0005}), ("Momentum", {"η": 0.0002, "ρ": 0.99})]
    race = race_on(problem, contestants, steps=300, patience=20)
    race.train()
    assert race.waiting == {"SGD": "done", "Momentum": "ended"}
    assert race[1].steps < 300
    race["Momentum"].take()
    assert problem.params[0].data.tolist() == race[1].path[race[1].best.step - 1].tolist()


def test_take_gives_the_parameters_a_contestant_s_values_and_the_start_can_be_had_again():
    problem = network()
    before = problem.bits()
    race = race_on(problem, THREE, epochs=2)
    race.train()
    kept = []
    for run in race:
        run.take()
        kept.append(problem.bits())
        assert [p.data.tobytes() for p in problem.params] == [a.tobytes() for a in run.snapshot().values()]
    assert len({tuple(k) for k in (*kept, before)}) == 4
    race.take()
    assert problem.bits() == before
    race[1].take()
    assert problem.bits() == kept[1]


def test_a_taken_contestant_stays_taken_while_the_race_goes_on():
    problem = valley()
    race = race_on(problem, VALLEY, steps=40)
    race.step(10)
    race[1].take()
    race.train()
    assert problem.params[0].data.tolist() == race[1].path[-1].tolist()
    assert race[0].steps == 40
    race.take()
    assert problem.params[0].data.tolist() == [-1.2, 1.0]


def test_a_halt_counts_from_any_thread_while_a_turn_is_taken_and_is_over_afterwards():
    problem = valley()
    race = race_on(problem, VALLEY, steps=100_000)
    for halt in ("pause", "stop"):
        here, thread = race.steps, threading.Thread(target=race.train)
        thread.start()
        while race.steps == here:
            pass
        getattr(race, halt)()
        thread.join()
        assert race.state == {"pause": "paused", "stop": "stopped"}[halt]
        assert len({run.steps for run in race}) == 1
    race.step()
    assert race.state == "paused"


def test_take_is_refused_while_the_race_trains():
    race = race_on(valley(), VALLEY, steps=400)
    race.advance(0.0)
    for take in (race["SGD"].take, race.take):
        with pytest.raises(RuntimeError, match=r"trained.*[Pp]ause"):
            take()
    race.train()
    race["SGD"].take()


def test_a_run_that_had_the_parameters_has_them_again_and_goes_on_where_it_was():
    problem, twin = network(), network()
    run = Run(problem.loss, problem.data, "ADAM", epochs=4, seed=1)
    other = Run(twin.loss, twin.data, "ADAM", epochs=4, seed=1)
    run.step(7)
    other.train()
    before = problem.bits()
    race = race_on(problem, THREE, epochs=2)
    race.advance(0.0)
    with pytest.raises(RuntimeError, match=r"trained by Race\(SGD, Momentum, ADAM; running"):
        run.step()
    race.train()
    assert problem.bits() == before
    assert all(p.run_ref() is run for p in problem.params)
    run.train()
    assert everything(run).arrays == everything(other).arrays
    after = problem.bits()
    race.extend()
    race.train()
    assert problem.bits() == after


def test_weights_changed_by_hand_between_two_steps_are_the_user_s_and_not_the_contestants():
    problem = valley()
    race = race_on(problem, VALLEY, steps=40)
    race.step(10)
    problem.params[0].data = [5.0, 5.0]
    race.train()
    assert problem.params[0].data.tolist() == [5.0, 5.0]
    other = alone(valley, "SGD", {"η": 0.001}, steps=40)
    other.train()
    assert race[0].path.tolist() == other.path.tolist()


def test_the_start_is_kept_once_for_all_contestants():
    race = race_on(network(), THREE, epochs=1)
    race.train()
    starts = {id(value) for run in race for value in run.snapshots.start.values.params}
    assert len(starts) == len(race[0].params)


def test_state_takes_the_start_and_for_each_contestant_weights_and_optimiser_state():
    size = 4_000_000  # bytes
    W = param(np.zeros(size // 4, np.float32))
    contestants = [("ADAM", {"η": 0.001}), ("ADAM", {"η": 0.002}), ("Momentum", {"η": 0.001})]
    race = Race(lambda: (W * W).sum(), None, [W], contestants, steps=100, snapshot_bytes=0)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    race.step(2)
    gained = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    # the states were there already, the user's values are in the parameters
    assert gained < 1.02 * size * (1 + len(race))


def test_captured_steps_race_to_the_same_bits():
    plain, captured = (race_on(network(), THREE, epochs=4, seed=11, capture=c) for c in (False, True))
    plain.train()
    captured.train()
    for run, other in zip(plain, captured, strict=True):
        assert run.history["loss"].tolist() == other.history["loss"].tolist()
        assert [a.tobytes() for a in run.snapshot().values()] == [a.tobytes() for a in other.snapshot().values()]


def test_wait_trains_to_the_end():
    race = race_on(valley(), VALLEY, steps=20)
    race.wait()
    assert race.state == "done"


def test_options_of_a_run_hold_for_each_contestant():
    problem = network()
    valid = Values([], []), problem.data.arrays
    race = race_on(
        problem, THREE, epochs=3, valid=valid[1], metrics={"bias": lambda x, y: float(y.mean())}, name="mine"
    )
    race.train()
    assert race.name == "mine"
    for key, run in race.runs.items():
        assert len(run.history["valid"]) == 15
        assert run.last_evaluation.keys() == {"valid", "bias"}
        assert run.name == key


def test_a_race_says_how_it_stands():
    race = race_on(valley(), VALLEY, steps=1500)
    assert repr(race) == "Race(SGD, Momentum ρ 0.9, Momentum ρ 0.99; ready, 0/1,500 steps)"
    assert (race.rate, race.finished, race.total_steps) == (0, False, 1500)
    race.step(30)
    assert repr(race).endswith("paused, 30/1,500 steps)")
    assert race.rate > 0
    assert race.params == race[0].params


def test_it_can_be_paused_before_it_begins_and_stopped():
    race = race_on(valley(), VALLEY, steps=20)
    race.pause()
    assert race.state == "paused"
    race.stop()
    assert race.state == "stopped"
    race.train()
    assert race.state == "done"


def test_a_race_of_one_parameter_without_gradient_rules_is_an_error_that_changes_nothing():
    W = param([1.0, 2.0])
    race = Race(lambda: 3.0, None, [W], VALLEY, steps=3)
    with pytest.raises(TypeError):
        race.train()
    assert race.state == "failed"
    assert W.data.tolist() == [1, 2]

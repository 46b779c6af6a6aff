"""A map of a run's dials, the range test of η, a run's turns at other seeds: the run stays as it is, bit for bit."""

import threading

import numpy as np
import pytest

import fluxmagic
from fluxmagic import Chain, Dense, Run, batches, logitcrossentropy, mse, param, relu
from tests.runs.problems import everything as all_of_a_run
from tests.sweep.problems import X, Y, everything, network


def running(opt="Momentum", steps=7, **dials):
    """A run of a network in the middle of an epoch, and its model."""
    fluxmagic.seed(3)
    m = network()
    run = Run(lambda x, y: mse(m(x), y), batches(X, Y, 5), opt, epochs=6, seed=2, valid=(X, Y), **dials)
    run.step(steps)
    return run, m


WAYS = {
    "map": lambda run: run.map("η", "rho", steps=3),
    "find": lambda run: run.find("η", steps=30),
    "again": lambda run: run.again(seeds=2),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_run_goes_on_as_if_nothing_had_been_done(way):
    run, m = running()
    other, _ = running()
    for r in (run, other):
        r.set(η=0.02)
        r.step(2)
    before = all_of_a_run(run), everything(m), run.state
    WAYS[way](run)
    assert (all_of_a_run(run), everything(m), run.state) == before
    assert run.training.parked is None
    for r in (run, other):
        r.train()
    assert all_of_a_run(run) == all_of_a_run(other)


@pytest.mark.parametrize("way", ["map", "find"])
def test_also_before_the_first_step_and_after_the_last(way):
    fluxmagic.seed(3)
    m = network()
    run = Run(lambda x, y: mse(m(x), y), batches(X, Y, 5), "Momentum", epochs=2, seed=2, patience=1)
    before = everything(m)
    WAYS[way](run)
    assert everything(m) == before
    assert run.steps == 0
    run.train()
    other_before = all_of_a_run(run), everything(m)
    WAYS[way](run)
    assert (all_of_a_run(run), everything(m)) == other_before


def test_a_running_run_is_paused_first():
    run, _ = running(steps=1)
    run.advance(0.0)
    assert run.state == "running"
    run.find(steps=20)
    assert run.state == "paused"
    started = threading.Event()
    W = param(4.0)

    def loss():
        started.set()
        return W**2

    endless = Run(loss, None, "SGD", η=1e-9, steps=10**9)
    thread = threading.Thread(target=endless.train)
    thread.start()
    started.wait(20)
    endless.map("η", steps=2)
    thread.join(20)
    assert endless.state == "paused"


def test_a_map_has_nine_values_of_each_dial_with_the_present_ones_among_them():
    run, _ = running(η=0.02)
    sweep = run.map("η", "ρ", steps=2)
    assert len(sweep) == 81
    η, ρ = np.array(sweep.grid.values["η"]), np.array(sweep.grid.values["ρ"])
    assert η == pytest.approx(0.02 * 10 ** (np.arange(-4, 5) / 2))
    assert 0.02 in η
    assert 0.9 in ρ
    assert 1 - ρ == pytest.approx(10 ** (-np.arange(9) / 2))
    assert sweep.around is run
    assert {t.step for t in sweep.trials} == {2}
    assert set(sweep.counts) <= {"done", "diverged"}


@pytest.mark.parametrize(
    ("ρ", "first", "last"), [(0.0, 0.0, 1 - 1e-4), (0.999, 0.9, 1 - 1e-5), (0.9999, 0.99, 1 - 1e-6)]
)
def test_the_values_of_a_memory_stay_within_its_bounds(ρ, first, last):
    run, _ = running(ρ=ρ)
    values = run.map("ρ", steps=1, train=False).grid.values["ρ"]
    assert len(values) == 9
    assert (values[0], values[-1]) == (pytest.approx(first), pytest.approx(last))
    assert ρ in values


def test_what_cannot_be_mapped_or_found_is_named():
    run, _ = running()
    with pytest.raises(ValueError, match="clip is inf, which has no values around it"):
        run.map("clip")
    with pytest.raises(TypeError, match="Momentum has no β1"):
        run.map("β1")
    with pytest.raises(ValueError, match="name one or two dials"):
        run.map()
    with pytest.raises(ValueError, match="ρ is not a learning rate"):
        run.find("ρ")
    with pytest.raises(ValueError, match="20 steps or more"):
        run.find(steps=3)
    with pytest.raises(ValueError, match="the run has no turns"):
        run.again()
    W = param(1.0)
    plain = Run(lambda x: (W - x) ** 2, [0.0], lambda: None)
    with pytest.raises(TypeError, match="which has no dials"):
        plain.map("η")


def test_the_range_test_suggests_a_rate_that_learns():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(400, 8)).astype(np.float32)
    labels = (A[:, 0] + A[:, 1] > 0).astype(int)
    m = Chain(Dense(8, 16, relu, rng=0), Dense(16, 2, rng=1))
    run = Run(lambda x, y: logitcrossentropy(m(x), y), batches(A, labels, 32), "SGD", epochs=3, seed=0)
    found = run.find("eta")
    assert found.suggestion is not None
    assert 0.01 <= found.suggestion <= 3
    low, high = found.range
    assert low <= found.suggestion <= high
    assert found.values[0] == 1e-7
    assert found.values == pytest.approx(np.geomspace(1e-7, 10, 100)[: len(found.values)])
    assert f"η {found.suggestion:g} is suggested: the loss falls while η grows from {low:.2g} to" in repr(found)
    run.set(η=found.suggestion)
    run.train()
    assert run.shown_loss < 0.5 * run.history["loss"][0]


def test_the_range_test_ends_at_four_times_the_smallest_loss():
    W = param(np.ones(20))
    run = Run(lambda x: ((W - x) ** 2).sum(), [0.0] * 50, "SGD", epochs=9)
    found = run.find()
    assert len(found.values) < 100
    assert found.smoothed[-1] > 4 * found.smoothed.min()
    assert (found.smoothed[25:-1] <= 4 * np.minimum.accumulate(found.smoothed[25:-1])).all()
    assert W.data.tolist() == [1.0] * 20


@pytest.mark.parametrize("seed", range(12))
def test_on_pure_noise_no_range_is_clear(seed):
    rng = np.random.default_rng(seed)
    W = param(0.0)
    run = Run(lambda x: x + 0 * W, lambda: iter(rng.normal(3, 1, 200).tolist()), "SGD")
    found = run.find()
    assert found.suggestion is None
    assert found.range is None
    assert repr(found) == "no clear range of η: the loss does not fall by more than its noise in 100 steps"


def test_again_says_at_how_many_seeds_the_turns_help():
    run, _ = running("SGD", steps=2, η=1e-4)
    run.set(η=0.1)
    run.train()
    result = run.again(seeds=8)
    assert [t.spec.seed for t in result.turned.trials] == [t.spec.seed for t in result.plain.trials] == list(range(8))
    assert result.turned[0].events == run.events
    assert result.plain[0].events == []
    assert result.better == 8
    assert str(result).startswith("With its turns the run is better in 8 of 8: it was not luck (median validation loss")
    steps, band = result.band(result.turned)
    assert band.shape == (run.steps, 3)
    assert steps[-1] == run.steps
    assert (np.diff(band, axis=1) >= 0).all()


def test_turns_that_swap_the_optimiser_are_made_again():
    run, _ = running("SGD", steps=2, η=1e-4)
    run.swap("ADAM", η=0.05)
    run.train()
    result = run.again(seeds=3)
    assert set(result.turned[1].history["opt"]) == {"SGD", "ADAM"}
    assert set(result.plain[1].history["opt"]) == {"SGD"}
    assert result.turned[1].events == run.events


def test_turns_that_do_nothing_may_be_luck():
    run, _ = running("SGD", steps=2, η=0.01)
    run.set(η=0.010000001)
    run.train()
    result = run.again(seeds=4)
    assert "that may be luck" in repr(result) or result.better in (0, 4)

"""Going back, going another way, and doing it all again: to the bit."""

from __future__ import annotations

import gc
import math
import os
import subprocess
import sys
import threading
import weakref
from contextlib import nullcontext, suppress

import numpy as np
import pytest

import fluxmagic
from fluxmagic import SGD, Momentum, NotFinite, Run, batches, param
from fluxmagic.optimise import exponential
from fluxmagic.runs import ReplayMismatch, environment, replay
from fluxmagic.runs.snapshots import SnapshotStore
from tests.runs.problems import X, Y, arrays, everything, line, network


def steered(**options):
    """A run with turns, swaps and changes of β on its way, and what it was after every step."""
    run, m = network(**options)
    was = [None]
    while not run.finished:
        match run.steps:
            case 3:
                run.set(η=0.01, β1=0.8)
            case 6:
                run.swap("Momentum", ρ=0.5)
            case 9:
                run.swap("ADAM")
                run.set(beta2=0.99)
            case 12:
                run.swap("Nesterov", η=exponential(0.01, 0.5, every=4))
            case 15:
                run.set(η=0.001, clipnorm=0.1)
        if run.step() is not None:
            was.append(everything(run))
    return run, m, was


def generator():
    """Data that does not say how many batches it has, drawn from the default generator as it goes."""
    rng = fluxmagic.generators.as_generator()
    for _ in range(5):
        rows = rng.integers(len(X), size=6)
        yield X[rows], Y[rows]


@pytest.mark.parametrize("data", [None, lambda: generator()], ids=["batches", "generator"])
@pytest.mark.parametrize("budget", [64_000_000, 0], ids=["snapshots", "none"])
def test_a_rewind_to_any_step_is_the_run_as_it_was_there(data, budget):
    run, _, was = steered(data=data, snapshot_bytes=budget)
    for step in (19, 20, 15, 13, 12, 10, 9, 5, 4, 1)[1:]:
        run.rewind(step)
        now = everything(run)
        for k in ("arrays", "generators", "opts", "events", "columns", "values"):
            assert getattr(now, k) == getattr(was[step], k), (step, k)
        assert run.state == "paused"


@pytest.mark.parametrize("data", [None, lambda: generator()], ids=["batches", "generator"])
@pytest.mark.parametrize("step", [0, 1, 5, 7, 10, 14])
def test_a_run_goes_on_after_a_rewind_on_the_same_path(data, step):
    calm, _ = network("Momentum", data=data)
    calm.train()
    run, _ = network("Momentum", data=data)
    run.step(17)
    run.rewind(step)
    run.train()
    assert arrays(run) == arrays(calm)
    np.testing.assert_array_equal(run.history["loss"], calm.history["loss"])
    np.testing.assert_array_equal(run.history["epoch"], calm.history["epoch"])


def test_a_rewind_to_the_start_undoes_turns_made_before_the_first_step():
    run, W = line("SGD", hypers={"η": 0.1})
    run.set(η=0.5)
    run.swap("Momentum")
    run.step(3)
    run.rewind(0)
    np.testing.assert_array_equal(W.data, [4.0, -2.0])
    assert (run.opt_name, run.values["η"], run.events, run.steps) == ("SGD", 0.1, [], 0)


def test_a_rewind_undoes_the_turns_made_at_that_moment():
    run, _ = line("SGD", hypers={"η": 0.1})
    run.step(2)
    run.set(η=0.5)
    run.step(1)
    run.rewind(2)
    assert (run.values["η"], run.events) == (0.1, [])


@pytest.mark.parametrize("step", [-1, 4, 1.5, True, None])
def test_a_rewind_to_where_the_run_has_not_been_is_an_error(step):
    run, W = line()
    run.step(3)
    before = W.data.copy()
    with pytest.raises(ValueError, match="the run has steps 0 … 3"):
        run.rewind(step)
    np.testing.assert_array_equal(W.data, before)


def test_what_cannot_go_back_says_so():
    run, _ = line()
    acts = {"go back to": lambda: run.rewind(0), "replay": run.replay, "branch": lambda: run.branch("b")}
    for words, act in acts.items():
        with pytest.raises(ValueError, match=f"has not taken a step yet: there is nothing to {words}"):
            act()
    run, _ = line(data=(x for x in [1.0, 2.0]))
    run.step()
    for act in (lambda: run.rewind(0), run.replay, lambda: run.branch("b"), lambda: run.put_back(0)):
        with pytest.raises(ValueError, match="the data is a generator, which can be gone through once"):
            act()


def test_the_loss_cannot_rewind_its_own_run():
    run, _ = line()
    loss = run.loss
    run.loss = lambda x: run.rewind(0) if run.steps == 2 else loss(x)
    with pytest.raises(RuntimeError, match="a batch is being worked on"):
        run.train()


def test_a_replay_ends_in_the_same_bits_and_changes_nothing():
    run, _, _ = steered(valid=(X, Y))
    before = everything(run)
    seconds = run.history["seconds"]
    run.replay()
    assert everything(run) == before
    np.testing.assert_array_equal(run.history["seconds"], seconds)
    assert run.state == "done"


def test_a_replay_in_the_middle_of_an_epoch_with_a_turn_just_made():
    run, _ = network()
    run.step(8)
    run.set(η=0.3)
    run.opt.β1 = 0.5
    before = everything(run)
    run.replay()
    now = everything(run)
    assert now.arrays == before.arrays
    assert now.events == run.events
    assert [e.name for e in run.events] == ["η", "β1"]
    assert now.values["β1"] == 0.5


def test_a_replay_asks_the_user_s_code_for_every_step_again():
    calls = []
    run, _ = line()
    loss = run.loss
    run.loss = lambda x: calls.append(x) or loss(x)
    run.train()
    run.replay()
    assert calls == [0.0, 1.0, 2.0, 3.0] * 2


@pytest.mark.parametrize("at", [1, 3, 4])
def test_what_does_not_repeat_is_named_at_its_first_step_and_the_state_from_before_comes_back(at):
    noise = [0.0] * 8
    W = param(1.0)
    calls = [0]

    def loss(x):
        calls[0] += 1
        return (W - x) ** 2 + noise[(calls[0] - 1) % 4]

    run = Run(loss, [0.0, 1.0, 2.0, 3.0], Momentum)
    run.train()
    before, log = everything(run), run.events
    noise[at - 1] = 1e-9
    with pytest.raises(ReplayMismatch, match=f"step {at} does not repeat: its loss was") as caught:
        run.replay()
    assert caught.value.step == at
    assert everything(run) == before
    assert (run.events, run.state) == (log, "done")


def test_weights_changed_by_hand_show_in_a_replay():
    run, W = line()
    run.train()
    W.data = [1.0, 1.0]
    with pytest.raises(ReplayMismatch, match="its weights differ by up to"):
        run.replay()
    np.testing.assert_array_equal(W.data, [1.0, 1.0])


def test_an_error_in_a_replay_puts_everything_back():
    run, _ = network()
    run.step(12)
    before = everything(run)
    loss = run.loss
    run.loss = lambda x, y: 1 / 0 if run.steps == 7 else loss(x, y)
    run.snapshots.others.clear()
    for act in (run.replay, lambda: run.rewind(11)):
        with pytest.raises(ZeroDivisionError):
            act()
        assert everything(run) == before
    run.loss = loss
    run.replay()


def test_a_replay_warns_of_another_machine():
    run, _ = line()
    run.train()
    run.environment["NumPy"] = "1.0"
    with pytest.warns(UserWarning, match="replay may differ in the last bits: NumPy was 1.0, now is"):
        run.replay()


@pytest.mark.parametrize(("gap", "repeats"), [(1e-5, True), (1e-3, False)])
def test_a_run_of_other_numerics_is_compared_to_a_tolerance_with_a_warning(monkeypatch, tmp_path, gap, repeats):
    run, W = line(epochs=2)
    run.step(6)
    run.save(tmp_path / "run.npz")
    loss = run.loss
    loaded = Run.load(tmp_path / "run.npz", lambda x: loss(x) * (1 + gap), run.data, [W])
    with pytest.raises(ReplayMismatch, match="step 1 does not repeat"):
        loaded.replay()
    was = environment.NUMERICS
    for module in (replay, environment):
        monkeypatch.setattr(module, "NUMERICS", was + 1)
    warned = pytest.warns(UserWarning, match=f"numerics was {was}, now is {was + 1}")
    differs = nullcontext() if repeats else pytest.raises(ReplayMismatch, match="step 1 does not repeat")
    with warned, differs:
        loaded.replay()
    with nullcontext() if repeats else pytest.raises(ReplayMismatch):
        loaded.rewind(2)


def test_refused_steps_are_refused_again():
    W = param([1.0, 2.0])
    run = Run(lambda x: (W * x).sum(), [1.0, math.inf, 2.0, math.nan, 3.0], "ADAM")
    for _ in range(8):
        with suppress(NotFinite):
            run.step()
    assert (run.steps, run.finished, run.record.rejected) == (5, True, [2, 4])
    before = everything(run)
    run.replay()
    assert everything(run) == before
    run.rewind(3)
    assert run.record.rejected == [2]


# -- branches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [None, lambda: generator()], ids=["batches", "generator"])
def test_a_branch_and_its_parent_go_their_own_ways_turn_by_turn(data):
    calm, _ = network("Momentum", data=data)
    calm.train()
    other, _ = network("Momentum", data=data)
    other.step(7)
    other.swap("ADAM", η=0.02)
    other.train()

    run, _ = network("Momentum", data=data)
    run.step(7)
    branch = run.branch("b", "ADAM", η=0.02)
    assert (branch.steps, branch.name, branch.parent, branch.state) == (7, "b", run, "paused")
    while not (run.finished and branch.finished):
        branch.step(2)
        run.step(3)
    for r, alone in ((run, calm), (branch, other)):
        r.step(0)
        assert arrays(r) == arrays(alone)
        np.testing.assert_array_equal(r.history["loss"], alone.history["loss"])
        r.replay()
    assert run.events == []
    assert [e[:2] for e in branch.events] == [(7, "opt"), (7, "η")]
    for r in (branch, run):  # before they parted they were the same
        r.rewind(3)
        r.train()
        assert arrays(r) == arrays(calm) == arrays(run)


def test_a_branch_of_a_list_of_optimisers_shares_no_state_with_its_parent():
    def make():
        W, V = param(1.0), param(2.0)
        return Run(lambda x: (W - x) ** 2 + (V + x) ** 2, [0.5] * 8, [Momentum([W], 0.1), SGD([V], 0.1)])

    calm, run = make(), make()
    calm.train()
    run.step(3)
    branch = run.branch("b")
    branch.train()
    run.train()
    assert arrays(run) == arrays(calm)
    branch.step(0)
    assert arrays(branch) == arrays(calm)


def test_a_branch_that_cannot_be_leaves_its_parent_as_it_was():
    run, _ = network()
    run.step(3)
    before = everything(run)
    for wrong in ({"opt": "Adam"}, {"ρ": 0.5}, {"η": -1}, {"epochs": 0}):
        with pytest.raises((ValueError, TypeError)):
            run.branch("b", **wrong)
        assert everything(run) == before
    run.train()


def test_epochs_of_a_branch_are_its_own():
    run, _ = line(epochs=2)
    run.train()
    more = run.branch("more", epochs=3)
    more.train()
    assert (run.steps, more.steps) == (8, 12)


def test_two_runs_cannot_be_active_over_shared_weights():
    run, _ = line(epochs=100)
    run.step()
    branch = run.branch("b")
    run.advance(0.0)
    for act in (branch.step, branch.train, lambda: branch.rewind(0), branch.replay):
        with pytest.raises(RuntimeError, match=r"being trained by Run.*Pause or stop that one first"):
            act()
    run.pause()
    run.advance(0.0)
    branch.step()
    assert branch.steps == 2


def test_a_second_run_by_name_parks_the_first_as_it_was_before_the_second_drew_anything():
    calm, _ = network()
    calm.train()
    run, _ = network()
    run.step(7)
    second = Run(run.loss, run.data, "SGD", seed=99, epochs=1)
    second.step(3)
    assert second.params
    run.train()
    assert arrays(run) == arrays(calm)


def test_a_parked_run_is_saved_and_looked_at_as_it_is_parked(tmp_path):
    run, m = network()
    run.step(3)
    mine = {k: v.tobytes() for k, v in run.snapshot().items()}
    branch = run.branch("b")
    branch.step(4)
    assert {k: v.tobytes() for k, v in run.snapshot().items()} == mine
    assert {k: v.tobytes() for k, v in branch.snapshot().items()} != mine
    run.save(tmp_path / "run.npz")
    loaded = Run.load(tmp_path / "run.npz", run.loss, run.data, fluxmagic.params(m))
    assert {k: v.tobytes() for k, v in loaded.snapshot().items()} == mine


# -- the best weights, and recovery ------------------------------------------------------------------------------------


def worsening(**options):
    """Its validation loss is smallest after the third epoch of four steps."""
    W = param(0.0)
    return Run(lambda x: (W - x) ** 2, lambda: [1.0] * 4, "SGD", valid=lambda: [0.7], epochs=50, **options), W


def test_the_best_weights_come_back_and_the_run_can_be_replayed_rewound_and_gone_on_with():
    run, W = worsening(patience=2, hypers={"η": 0.05})
    run.train()
    best = int(np.nanargmin(run.history["valid"])) + 1
    assert (run.state, run.steps) == ("stopped", best + 8)
    assert W.data == pytest.approx(1 - 0.9**best)
    run.replay()
    assert W.data == pytest.approx(1 - 0.9**best)
    run.patience = None
    run.step(3)
    end = W.data.copy()
    run.replay()
    np.testing.assert_array_equal(W.data, end)
    run.rewind(run.steps - 1)
    run.step()
    np.testing.assert_array_equal(W.data, end)
    run.rewind(best)
    assert W.data == pytest.approx(1 - 0.9**best)


def test_patience_after_a_rewind_still_knows_the_best():
    run, W = worsening(patience=2, hypers={"η": 0.05})
    run.train()
    best = W.data.copy()
    run.rewind(run.steps - 5)
    run.train()
    np.testing.assert_array_equal(W.data, best)
    assert run.state == "stopped"


def test_weights_of_any_step_can_be_put_back():
    run, W = line("Momentum", epochs=3)
    was = [W.data.copy()]
    for _ in range(7):
        run.step()
        was.append(W.data.copy())
    for step in (7, 0, 3):
        run.put_back(step)
        np.testing.assert_array_equal(W.data, was[step])
    assert run.steps == 7
    run.step()
    run.replay()
    with pytest.raises(ValueError, match="the run has steps 0 … 8"):
        run.put_back(9)


def test_recovery_from_weights_that_ran_away_goes_back_to_before_they_did():
    W = param(np.full(3, 1.0))
    run = Run(lambda x: ((W - x) ** 4).sum(), lambda: [0.0] * 400, "SGD", hypers={"η": 0.6})
    with pytest.raises(NotFinite), np.errstate(all="ignore"):
        run.train()
    assert np.abs(W.data).max() > 1e6
    run.recover(η=0.05)
    assert (run.state, run.values["η"]) == ("paused", 0.05)
    run.train()
    assert np.abs(W.data).max() < 0.5
    run.replay()


def test_recovery_from_a_bad_batch_goes_on_with_the_next_one():
    run, W = line(data=[1.0, 2.0, math.nan, 3.0], hypers={"η": 0.1})
    with pytest.raises(NotFinite):
        run.train()
    before = W.data.copy()
    run.recover()
    np.testing.assert_array_equal(W.data, before)
    assert (run.steps, run.events) == (3, [(3, "η", 0.1, 0.01)])
    run.train()
    assert run.state == "done"


def test_there_is_nothing_to_recover_from_where_all_went_well():
    run, _ = line()
    run.step()
    with pytest.raises(ValueError, match="the last step went well"):
        run.recover()


# -- threads and memory ------------------------------------------------------------------------------------------------


def test_a_snapshot_is_never_torn():
    parts = [param(np.zeros(20_000)) for _ in range(3)]
    run = Run(lambda x: sum(p.sum() for p in parts), lambda: iter(lambda: 0.0, None), SGD(parts, 1.0))
    run.step()
    seen = []

    def read() -> None:
        for _ in range(60):
            weights = run.snapshot().values()
            seen.append({float(v) for a in weights for v in (a.min(), a.max())})
        run.stop()

    reader = threading.Thread(target=read)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        reader.start()
        run.train()
    finally:
        sys.setswitchinterval(interval)
        reader.join()
    assert {len(values) for values in seen} == {1}
    assert len({next(iter(values)) for values in seen}) > 1


def four_alone(make):
    """What four runs end with, one after the other."""
    found = []
    for i in range(4):
        run = make(i)
        run.train()
        found.append(arrays(run))
    return found


def in_threads(runs):
    """What runs end with, all at a time."""
    threads = [threading.Thread(target=r.train) for r in runs]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return [arrays(r) for r in runs]


def test_four_runs_in_four_threads_end_as_they_do_alone():
    def make(i):
        return network(rng=np.random.default_rng(i), seed=None, epochs=15)[0]

    alone = four_alone(make)
    assert in_threads([make(i) for i in range(4)]) == alone


GROWTH = """
import gc
from tests.runs.problems import X, Y, network

def memory():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

x, y = X[:8], Y[:8]
run, _ = network(data=lambda: [(x, y)] * 20, epochs=10**6, valid=(x, y), snapshot_bytes=200_000)
run.step(1000)
before = memory()
run.step(20_000)
print(memory() - before, sum(s.nbytes for s in run.snapshots.others))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads memory from /proc")
def test_twenty_thousand_steps_take_less_than_five_megabytes_beside_the_snapshots():
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    grown, kept = map(int, done.stdout.split())
    assert grown < 5_000_000 + 200_000
    assert kept <= 200_000


def test_the_shelf_keeps_the_start_and_thins_out_the_rest():
    run, _ = line(data=lambda: [1.0] * 3000)
    run.train()
    shelf = run.snapshots
    steps = [s.step for s in shelf]
    assert steps[0] == 0
    assert len(steps) <= SnapshotStore.max_count + 1
    assert set(np.diff(steps)) == {shelf.stride}
    assert 3000 - steps[-1] < shelf.stride
    run.replay()
    assert [s.step for s in shelf] == steps


def test_a_rewind_within_a_long_run_computes_no_more_than_lies_between_two_snapshots():
    run, _ = line(data=lambda: [1.0] * 3000)
    run.train()
    calls, loss = [], run.loss
    run.loss = lambda x: calls.append(1) or loss(x)
    run.rewind(2000)
    assert len(calls) < run.snapshots.stride


def test_dropping_a_run_frees_it():
    run, _ = network(data=batches(X, Y, 5))
    run.step(3)
    gone = weakref.ref(run)
    del run
    gc.collect()
    assert gone() is None


def test_four_seeded_runs_in_four_threads_need_no_generators_of_their_own():
    def make(i):
        return network(seed=i, epochs=15)[0]

    alone = four_alone(make)
    assert len(set(map(tuple, alone))) == 4
    runs = [make(i) for i in range(4)]
    before = str(fluxmagic.generators.as_generator().bit_generator.state)
    assert in_threads(runs) == alone
    assert str(fluxmagic.generators.as_generator().bit_generator.state) == before


def test_a_run_without_a_seed_draws_from_a_generator_of_its_own_that_follows_from_the_default_one():
    def make(between):
        run, m = network(seed=None)
        fluxmagic.seed(5)
        run.step(3)
        between(run, m)
        run.train()
        return run

    def others(run, m):
        fluxmagic.Dense(3, 3)
        next(iter(batches(X, Y, 5)))
        other, _ = line(data=batches(np.arange(9.0), 2))
        other.step(2)

    calm, disturbed = make(lambda run, m: None), make(others)
    assert arrays(disturbed) == arrays(calm)
    before = everything(disturbed)
    fluxmagic.Dense(3, 3)
    disturbed.replay()
    assert everything(disturbed) == before
    disturbed.rewind(7)
    fluxmagic.seed(99)
    disturbed.train()
    assert arrays(disturbed) == arrays(calm)

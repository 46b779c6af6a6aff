"""A saved run is loaded as it was, or what does not fit is listed and nothing is changed."""

from __future__ import annotations

import os
import pathlib
import threading
import time

import numpy as np
import pytest

import fluxmagic
from fluxmagic import Chain, Dense, Run, batches, mse, param, params
from fluxmagic.optimise import OPTIMISERS, Optimiser, cosine, exponential, onecycle
from fluxmagic.runs import ArchiveError, archive, checkpoint
from tests.runs.archives import load, spoil, steered, untouched
from tests.runs.problems import X, Y, arrays, everything, line

# -- there and back ----------------------------------------------------------------------------------------------------


def test_a_loaded_run_has_the_same_state_and_trains_to_the_same_bits(saved):
    run, m, path = saved
    before = everything(run)
    run.train()
    end = arrays(run)
    spoil(m)
    loaded = load(path, run, m)
    now = everything(loaded)
    assert now == before
    assert (loaded.steps, loaded.epochs, loaded.state, loaded.seed) == (12, 4, "paused", 11)
    loaded.train()
    assert arrays(loaded) == end


def test_a_loaded_run_can_be_replayed_rewound_and_branched(saved):
    run, m, path = saved
    loaded = load(path, run, m)
    loaded.replay()
    loaded.rewind(5)
    assert [e.name for e in loaded.events] == ["η"]
    loaded.branch("b").step()


@pytest.mark.parametrize("suffix", ["run.npz", "run", "run.fluxmagic", "ein Lauf.η"])
def test_a_path_with_any_suffix_is_used_as_given(tmp_path, suffix):
    run, m = steered()
    run.save(tmp_path / suffix)
    run.save(str(tmp_path / suffix))
    assert os.listdir(tmp_path) == [suffix]
    load(tmp_path / suffix, run, m)


def test_numpy_reads_the_file_without_pickle(saved):
    _, _, path = saved
    with np.load(path, allow_pickle=False) as file:
        assert len(file["loss"]) == 12
        assert file["start/params/0"].flags.c_contiguous


def test_load_requires_the_users_own_schedules(tmp_path):
    run, W = line("SGD", epochs=3)
    run.step(2)
    run.set(η=lambda n: 0.1 / (1 + n), decay=cosine(0.1, 5), weightdecay=onecycle(0.1, 7))
    run.step(2)
    run.save(tmp_path / "a")
    with pytest.raises(ArchiveError, match=r'passed again: Run.load\(…, schedules=\{"η": …\}\)'):
        Run.load(tmp_path / "a", run.loss, run.data, [W])
    again = Run.load(tmp_path / "a", run.loss, run.data, [W], schedules={"η": lambda n: 0.1 / (1 + n)})
    again.step(1)
    bits = W.data.tobytes()
    run.step(1)
    assert W.data.tobytes() == bits
    assert again.events[1:] == run.events[1:]


def test_a_file_keeps_restored_best_weights(tmp_path):
    W = param(0.0)
    run = Run(lambda x: (W - x) ** 2, [1.0] * 4, "SGD", valid=lambda: [0.5], epochs=9, patience=1)
    run.train()
    best = float(W)
    run.save(tmp_path / "a")
    W.data = 9.0
    loaded = Run.load(tmp_path / "a", run.loss, run.data, [W])
    assert float(W) == best
    assert (loaded.state, loaded.record.restored_weights) == ("stopped", run.record.restored_weights)
    loaded.replay()


def test_parameters_are_matched_by_name(tmp_path):
    m = Chain(Dense(2, 2, rng=0), Dense(2, 2, rng=1))
    run = Run(lambda x: mse(m(x), x), [np.eye(2)] * 9, "ADAM", model=m)
    run.step(3)
    run.save(tmp_path / "a")
    before = arrays(run)
    spoil(m)
    Run.load(tmp_path / "a", run.loss, run.data, params(m)[::-1], model=m)
    assert [p.data.tobytes() for p in params(m)] == before


# -- what does not fit -------------------------------------------------------------------------------------------------


def test_an_error_lists_all_that_does_not_fit_and_nothing_is_assigned(saved):
    path = saved[2]
    fluxmagic.seed(0)
    other = Chain(Dense(4, 7, rng=1), Dense(7, 1, dtype=np.float64, rng=2))
    before = spoil(other)
    with pytest.raises(ArchiveError) as caught:
        Run.load(path, lambda x, y: mse(other(x), y), batches(X, Y, 5, rng=3), params(other))
    for words in (
        "it is of 6 parameters, and 4 were given",
        "in the file float32 of shape (6, 4)",
        "in the file float32 of shape (6,)",
        "running statistics are of shapes [], in the file [(6,), (6,)]",
        "random generators are",
    ):
        assert words in str(caught.value)
    assert untouched(other, before)


def test_an_error_names_an_unknown_optimiser(tmp_path):
    class Mine(Optimiser):
        """One's own."""

        def step(self, δ, s):
            return 0.1 * δ

    run, W = line("Mine")
    run.step(2)
    run.save(tmp_path / "a")
    Run.load(tmp_path / "a", run.loss, run.data, [W])
    del OPTIMISERS["Mine"]
    with pytest.raises(ArchiveError, match="unknown optimiser Mine: define the class first"):
        Run.load(tmp_path / "a", run.loss, run.data, [W])


def test_a_load_with_too_little_data_changes_nothing(saved):
    run, m, path = saved
    before = spoil(m)
    generators = [str(g.bit_generator.state) for g in run.training.generators]
    with pytest.raises(ArchiveError, match="come to an end before batch 2"):
        Run.load(path, run.loss, batches(X[:3], Y[:3], 5), params(m))
    assert untouched(m, before)
    assert [str(g.bit_generator.state) for g in run.training.generators] == generators


def test_save_refuses_a_run_without_steps_or_without_an_optimiser(tmp_path):
    run, W = line()
    with pytest.raises(ValueError, match="has not taken a step yet"):
        run.save(tmp_path / "a")
    run = Run(lambda x: W.sum() * x, [1.0], lambda: W.grad.fill(0))
    run.step()
    with pytest.raises(TypeError, match="is a plain function, and only a run with one optimiser can be saved"):
        run.save(tmp_path / "a")
    assert os.listdir(tmp_path) == []


# -- what was saved can be loaded --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seed",
    [
        np.int64(3),
        [1, 2],
        np.array([1, 2]),
        10**40,
        np.random.SeedSequence(5, spawn_key=(1,)),
        np.random.SeedSequence(5).spawn(2)[1],
        np.random.SeedSequence(),
        np.random.MT19937(3),
        np.random.Generator(np.random.SFC64(3)),
    ],
    ids=["integer", "list", "array", "large", "sequence", "child", "entropy", "bits", "generator"],
)
def test_every_kind_of_seed_is_saved(tmp_path, seed):
    W = param(1.0)
    run = Run(lambda x: (W - x.sum()) ** 2, batches(np.arange(9.0), 2), "SGD", epochs=9, seed=seed)
    run.step(7)
    run.save(tmp_path / "a")
    run.train()
    bits = W.data.tobytes()
    loaded = Run.load(tmp_path / "a", run.loss, run.data, [W])
    loaded.train()
    assert W.data.tobytes() == bits
    loaded.save(tmp_path / "b")
    Run.load(tmp_path / "b", run.loss, run.data, [W]).replay()
    assert W.data.tobytes() == bits


@pytest.mark.parametrize(
    "name", [pathlib.Path("a") / "b", "η\n\x1b", "\udc80", 3], ids=["path", "control", "byte", "int"]
)
def test_every_kind_of_name_is_saved(tmp_path, name):
    run, W = line(name=name, metrics={str(name): lambda x: 1.0})
    run.train()
    run.save(tmp_path / "a")
    loaded = Run.load(tmp_path / "a", run.loss, run.data, [W])
    assert loaded.name == str(name).encode(errors="backslashreplace").decode()


def test_numbers_of_numpy_in_a_schedule_are_saved(tmp_path):
    run, W = line(hypers={"η": exponential(np.float32(0.25), np.float64(0.5), every=np.int64(7))})
    run.step()
    run.save(tmp_path / "a")
    assert Run.load(tmp_path / "a", run.loss, run.data, [W]).opt.schedules["η"] == exponential(0.25, 0.5, every=7)


def test_a_users_class_named_like_a_schedule_is_an_own_schedule(tmp_path):
    class cosine(exponential):
        pass

    run, W = line(hypers={"η": cosine(0.1, 0.5)})
    run.step()
    run.save(tmp_path / "a")
    with pytest.raises(ArchiveError, match="have to be passed again"):
        Run.load(tmp_path / "a", run.loss, run.data, [W])
    Run.load(tmp_path / "a", run.loss, run.data, [W], schedules={"eta": cosine(0.1, 0.5)})
    with pytest.raises(TypeError, match=r"η is a function of the number of updates, or a list, not 0\.1"):
        Run.load(tmp_path / "a", run.loss, run.data, [W], schedules={"η": 0.1})


def test_several_own_schedules_of_one_hyper_parameter_are_distinguished(tmp_path):
    f, g = (lambda n: 0.1 / (1 + n)), (lambda n: 0.2 / (1 + n))
    run, W = line(hypers={"η": f}, epochs=4)
    run.step(2)
    run.set(η=g)
    run.step(2)
    run.set(η=f)
    run.step(2)
    run.save(tmp_path / "a")
    with pytest.raises(ArchiveError, match=r'schedules=\{"η": \[2 functions\]\}'):
        Run.load(tmp_path / "a", run.loss, run.data, [W], schedules={"η": f})
    Run.load(tmp_path / "a").save(tmp_path / "b")  # not there, and told apart all the same
    loaded = Run.load(tmp_path / "b", run.loss, run.data, [W], schedules={"η": [f, g]})
    assert loaded.events == run.events
    loaded.replay()


def test_weights_that_are_not_finite_are_loaded_with_a_warning(tmp_path):
    run, W = line()
    run.step()
    W.data = [-np.inf, 1.0]
    run.save(tmp_path / "a")
    W.data = [0.0, 0.0]
    with pytest.warns(UserWarning, match=r"not finite, as it was saved: now/params/0"):
        Run.load(tmp_path / "a", run.loss, run.data, [W])
    assert W.data.tolist() == [-np.inf, 1.0]
    W.data = [0.0, 0.0]
    with pytest.raises(UserWarning, match="not finite"):  # warnings are errors here: nothing is assigned then
        Run.load(tmp_path / "a", run.loss, run.data, [W])
    assert W.data.tolist() == [0.0, 0.0]


def test_parameters_with_equal_names_stay_in_the_order_given(tmp_path):
    def shifted(start):
        W = param(start)
        return lambda x: W * x, W

    (f, V), (g, W) = shifted(2.0), shifted(3.0)
    layers = [f, g]
    run = Run(lambda x: sum(layer(x) for layer in layers) ** 2, [1.0] * 5, "SGD", hypers={"η": 0.01})
    run.step()
    run.save(tmp_path / "a")
    with checkpoint.reading(tmp_path / "a", run.loss, run.data, [V, W], None) as file:
        file.sort_params({id(V): "W", id(W): "W"})
    assert all(p is q for p, q in zip(file.params, [V, W], strict=True))


def test_a_parameter_without_elements_and_a_scalar_are_saved(tmp_path):
    W, empty = param(1.0), param(np.zeros((0, 3)))
    run = Run(lambda x: (W - x) ** 2 + empty.sum(), [1.0, 2.0], "ADAM")
    run.step()
    run.save(tmp_path / "a")
    Run.load(tmp_path / "a", run.loss, run.data, run.params).replay()


def test_a_run_rewound_to_its_start_is_saved(tmp_path):
    run, W = line()
    run.step(3)
    run.rewind(0)
    run.save(tmp_path / "a")
    loaded = Run.load(tmp_path / "a", run.loss, run.data, [W])
    assert (loaded.steps, loaded.epoch) == (0, 1)
    loaded.train()


def test_a_hyper_parameter_set_on_the_optimiser_before_a_save_is_an_event(tmp_path):
    run, W = line(epochs=3)
    run.step(2)
    run.opt.η = 0.05
    run.save(tmp_path / "a")
    loaded = Run.load(tmp_path / "a", run.loss, run.data, [W])
    assert loaded.events[-1][:2] == (2, "η")
    loaded.step(2)
    loaded.replay()


def test_a_run_is_saved_from_another_thread_while_it_trains(tmp_path):
    run, W = line(epochs=10**9, metrics={"m": lambda x: 0.5})
    run.step()
    # One step a millisecond: at full speed each save takes longer than the one before, while more steps are taken.
    trainer = threading.Thread(target=lambda: run.train(cb=lambda: time.sleep(0.001)))
    trainer.start()
    try:
        for i in range(20):
            run.set(η=0.1 + i / 1000)
            run.save(tmp_path / str(i))
    finally:
        run.stop()
        trainer.join()
    for i in range(20):
        Run.load(tmp_path / str(i), run.loss, run.data, [W])
    Run.load(tmp_path / "0", run.loss, run.data, [W]).replay()


def test_save_works_in_a_callback_a_metric_and_until_but_not_in_the_loss(tmp_path):
    W = param([4.0, -2.0])
    run = None

    def loss(x):
        if run.steps == 9:
            run.save(tmp_path / "loss")
        return ((W - x) ** 2).sum()

    def save(name):
        if run.steps:  # metrics are tried before the first step
            run.save(tmp_path / name)
        return 0.0

    run = Run(
        loss,
        lambda: iter([0.0, 1.0, 2.0]),
        "ADAM",
        epochs=9,
        metrics={"m": lambda x: save(f"metric {run.steps}")},
        until=lambda run: save(f"until {run.steps}"),
    )
    with pytest.raises(RuntimeError, match="cannot be saved by its own loss, in the middle of a step"):
        run.train(cb=lambda: save(f"callback {run.steps}"))
    names = sorted(os.listdir(tmp_path))
    assert len(names) == 9 + 3 + 3
    for name in names:
        run = None
        run = Run.load(tmp_path / name, loss, lambda: iter([0.0, 1.0, 2.0]), [W])
        assert run.steps == int(name.split()[1])
        run.replay()


def test_planned_turns_are_saved_with_their_schedules(tmp_path):
    f = lambda n: 0.1 / (1 + n)
    W = param([1.0, 2.0])
    turns = [(2, "η", None, cosine(0.1, 5)), (3, "opt", None, "ADAM"), (5, "η", None, f)]
    run = Run(lambda x: ((W - x) ** 2).sum(), [1.0] * 9, "SGD", turns=turns)
    run.step(1)
    run.save(tmp_path / "a")
    run.train()
    bits = W.data.tobytes()
    loaded = Run.load(tmp_path / "a", run.loss, run.data, [W], schedules={"η": f})
    loaded.train()
    assert W.data.tobytes() == bits
    assert loaded.events == run.events


def test_the_file_has_the_version_of_the_package(saved):
    meta = archive.read(saved[2], "run")[0]
    assert meta["fluxmagic"] == __import__("fluxmagic").__version__
    assert meta["environment"]["numerics"] >= 1


@pytest.mark.parametrize("name", ["epochs", "steps", "seed", "name", "capture"])
def test_an_option_that_the_file_has_is_refused(tmp_path, name):
    W = fluxmagic.param(1.0)
    run = fluxmagic.Run(lambda x: (W - x) ** 2, [0.0] * 3, "SGD")
    run.step()
    run.save(tmp_path / "a")
    with pytest.raises(TypeError, match=f"^{name} is in the file: leave it out"):
        fluxmagic.Run.load(tmp_path / "a", run.loss, run.data, [W], **{name: 2})
    assert W.run_ref() is run

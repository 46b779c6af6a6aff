"""A sweep in this process: trials are runs, and the model stays as it is."""

import decimal
import math
import threading

import numpy as np
import pytest

import fluxmagic
from fluxmagic import Chain, Dense, Dropout, Run, Sweep, batches, mse, param, params
from fluxmagic.jupyter.formatting import summary
from fluxmagic.layers import reset
from fluxmagic.sweep import loguniform
from fluxmagic.sweep.desk import Desk, Job
from fluxmagic.sweep.setup import prepare
from fluxmagic.sweep.trial import joined
from tests.capture.hidden import hidden, hide
from tests.sweep.problems import X, Y, bits, everything, line_sweep, net_sweep, network


def alone(sweep, i):
    """The run of a trial, made by hand in the way that a user would."""
    fluxmagic.seed(7)
    m = network()
    spec = sweep.trials[i].spec
    if sweep.seeds is not None:
        reset(m, rng=spec.seed)
    seed = spec.seed if sweep.seeds is not None else None
    options = {"epochs": spec.epochs, "steps": spec.steps, "valid": (X, Y), "seed": seed, **sweep.setup.options}
    run = Run(lambda x, y: mse(m(x), y), batches(X, Y, 5), spec.cls(params(m), **spec.hypers), **options)
    run.train()
    return run


@pytest.mark.parametrize("options", [{}, {"seeds": 2}, {"patience": 1, "epochs": 6}, {"epochs": None, "steps": 7}])
def test_each_trial_is_the_same_run_alone_bit_for_bit(options):
    sweep, m = net_sweep(**options)
    before = everything(m)
    sweep.train()
    assert sweep.counts == {"done": 6 * options.get("seeds", 1)}
    assert everything(m) == before
    for i in range(len(sweep)):
        expected = alone(sweep, i)
        assert bits(sweep[i]) == bits(expected)
        assert sweep[i].history["valid"].tobytes() == expected.history["valid"].tobytes()
        assert sweep[i].events == []
        if expected.last_evaluation and "patience" not in options:
            assert sweep.trials[i].values["valid"] == pytest.approx(mse_of(expected), rel=1e-5)


def mse_of(run):
    return run.problem.evaluate(None, [])["valid"]


def test_a_sweep_in_small_turns_has_the_same_bits():
    a, _ = net_sweep()
    b, _ = net_sweep()
    a.train()
    while b.state != "done":
        b.advance(0.0)
    assert [bits(r) for r in a] == [bits(r) for r in b]


def test_parameters_are_found_where_they_are_not_given():
    fluxmagic.seed(1)
    m = network()
    before = everything(m)
    sweep = Sweep(lambda x, y: mse(m(x), y), batches(X, Y, 5), grid={"η": [0.1, 0.2]})
    sweep.train()
    assert set(sweep.params) == set(params(m))
    assert everything(m) == before


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        ({"η": [0.1]}, {"ρ": [0.9]}, "a sweep has no ρ; what is tried goes into the grid"),
        ("Momentum", {}, "the grid is a dict, not a str"),
        ({"η": [0.1]}, {"metrics": max}, "metrics is a dict of functions by name"),
        ({"η": [0.1]}, {"params": Dense(2, 1)}, "a sweep takes a list of parameters"),
    ],
)
def test_what_does_not_belong_to_a_sweep_is_refused_and_says_where_it_goes(given, options, words):
    W = param(1.0)
    with pytest.raises(TypeError, match=words):
        Sweep(lambda x: (W - x) ** 2, [0.0] * 3, **{"params": [W], "grid": given, **options})


def test_a_trial_is_shown_without_its_weights():
    sweep, _ = line_sweep({"η": [0.1]})
    sweep.train()
    assert "array" not in repr(sweep.trials[0])


def test_the_best_trial_can_be_taken_and_goes_on():
    sweep, _m = net_sweep()
    sweep.train()
    best = sweep.best
    assert sweep.best_trial.objective == min(t.objective for t in sweep.trials)
    best.take()
    assert best.problem.evaluate(None, [])["valid"] == pytest.approx(sweep.best_trial.objective, rel=1e-6)
    expected = alone(sweep, sweep.best_trial.spec.index)
    for run in (best, expected):
        run.epochs = 5
        run.train()
    assert bits(best) == bits(expected)
    best.rewind(4)
    expected.rewind(4)
    assert bits(best) == bits(expected)
    best.replay()


@pytest.mark.parametrize("turn", [lambda run: run.set(η=0.004), lambda run: run.swap("SGD", η=0.004)])
def test_a_trial_whose_dials_are_turned_goes_on_with_them(turn):
    sweep, _ = net_sweep({"opt": "ADAM", "η": [0.01, 0.03]})
    sweep.train()
    run, expected = sweep[1], alone(sweep, 1)
    for r in (run, expected):
        turn(r)
        r.epochs = 5
        r.train()
    assert run.events
    assert run.events == expected.events
    assert bits(run) == bits(expected)


def test_a_trial_with_the_best_epochs_weights_goes_on_from_its_last_step():
    sweep, _ = net_sweep({"opt": "ADAM", "η": [0.5]}, epochs=8, patience=2)
    sweep.train()
    run, expected = sweep[0], alone(sweep, 0)
    assert run.record.kept is not None
    assert run.record.kept == expected.record.kept
    assert bits(run) == bits(expected)
    for r in (run, expected):
        r.step(1)
        r.branch("b", epochs=12).step(2)
    assert bits(run) == bits(expected)


def test_a_run_that_was_active_over_the_weights_is_so_afterwards():
    m = network()
    run = Run(lambda x, y: mse(m(x), y), batches(X, Y, 5), "ADAM", epochs=3)
    run.step(4)
    before = bits(run), everything(m)
    sweep = Sweep(run.loss, run.data, params(m), {"η": [0.1, 0.2]}, epochs=2)
    sweep.train()
    assert run.training.parked is None
    assert (bits(run), everything(m)) == before
    run.train()
    sweep.best.take()
    assert run.training.parked is not None


def test_weights_that_are_being_trained_are_refused():
    m = network()
    data = batches(X, Y, 5)

    def during(_):
        with pytest.raises(RuntimeError, match="being trained"):
            Sweep(run.loss, data, params(m), {"η": [0.1]}).train()

    run = Run(lambda x, y: mse(m(x), y), data, "SGD")
    run.train(cb=during)
    assert run.state == "done"


# -- objective and ranking ---------------------------------------------------------------------------------


def test_without_validation_the_objective_is_the_mean_over_the_rows_of_the_last_epoch():
    sweep, _ = line_sweep({"η": [0.05, 0.2]}, epochs=3)
    sweep.train()
    for i, t in enumerate(sweep.trials):
        assert t.objective == pytest.approx(sweep[i].history["loss"][-4:].mean())


def test_steps_that_end_in_an_epoch_count_as_many_rows_as_an_epoch_has():
    sweep, _ = line_sweep({"η": [0.05]}, steps=6)
    sweep.train()
    assert sweep.trials[0].objective == pytest.approx(sweep[0].history["loss"][2:6].mean())


def test_a_validation_in_the_middle_of_an_epoch_is_of_the_final_weights():
    sweep, _m = net_sweep({"η": [0.1]}, epochs=None, steps=7)
    sweep.train()
    sweep.best.take()
    assert sweep.best.problem.evaluate(None, [])["valid"] == sweep.trials[0].objective
    assert np.isnan(sweep.best.history["valid"][-1])


def test_max_takes_a_metric():
    sweep, W = line_sweep({"η": [0.1, 0.01, 0.3]}, metrics={"w": lambda x: W.data[0]}, max="w")
    sweep.train()
    assert sweep.best_trial.spec.index == 1
    assert [p for _, p in sweep.ranking] == [1, 0, 2]
    assert sweep.ranking[0][0] == sweep.trials[1].values["w"]
    with pytest.raises(ValueError, match="acc ranks the points, and is none of loss, w"):
        line_sweep({"η": [0.1]}, metrics={"w": lambda x: 1}, min="acc")
    with pytest.raises(ValueError, match="give max or min"):
        line_sweep({"η": [0.1]}, max="loss", min="loss")


def test_points_are_ranked_by_the_median_over_their_seeds_and_ties_go_to_the_lower_index():
    sweep, _ = net_sweep({"η": [0.1, 1e9, lambda n: 0.1]}, seeds=3)
    sweep.train()
    scores = np.array([t.objective for t in sweep.trials]).reshape(3, 3)
    assert [p for _, p in sweep.ranking] == [0, 2, 1]
    assert sweep.ranking[0][0] == np.median(scores[0])
    assert np.isinf(sweep.ranking[2][0])
    assert sweep.best_trial.spec.index == int(np.argmin(scores[0]))


def test_without_a_trial_that_is_done_there_is_no_best():
    sweep, _ = line_sweep({"η": [1e200]}, epochs=3)
    sweep.train()
    with pytest.raises(LookupError, match="no trial is done: 1 diverged"):
        _ = sweep.best
    assert repr(sweep) == "Sweep(1 trials, done: 1 diverged)"


# -- seeds -------------------------------------------------------------------------------------------------


def test_seeds_begin_at_the_seed_and_parameters_of_no_layer_are_kept():
    w, m = param([1.0]), Dense(4, 1, rng=3)
    sweep = Sweep(lambda x, y: mse(m(x) * w, y), batches(X, Y, 5), grid={"η": [0.1]}, seeds=2, seed=40)
    sweep.train()
    assert [t.spec.seed for t in sweep.trials] == [40, 41]
    assert sweep.kept == [w]
    assert bits(sweep[0]) != bits(sweep[1])


def test_seeds_that_change_nothing_are_an_error():
    sweep, W = line_sweep({"η": [0.1]}, seeds=2)
    with pytest.raises(ValueError, match="nothing differs between 2 seeds"):
        sweep.train()
    assert W.data.tolist() == [4.0, -2.0]


@pytest.mark.parametrize("what", ["order", "dropout"])
def test_order_of_the_data_and_dropout_are_difference_enough(what):
    W, drop = param(np.ones(4)), Dropout(0.5)
    data = batches(X, Y, 5) if what == "order" else [(X, Y)]
    f = (lambda x: x) if what == "order" else drop
    sweep = Sweep(lambda x, y: ((f(x) * W).sum() - y.sum()) ** 2, data, [W], {"η": [1e-6]}, seeds=2)
    sweep.train()
    assert bits(sweep[0]) != bits(sweep[1])


def test_without_seeds_all_trials_see_the_same_batches():
    sweep, _ = net_sweep({"η": [1e-12, 1e-11]})
    sweep.train()
    assert sweep[0].history["loss"][0] == sweep[1].history["loss"][0]
    assert sweep.trials[0].spec.seed == sweep.trials[1].spec.seed


def test_samples_follow_from_the_seed():
    def points(seed):
        return line_sweep({"η": loguniform(1e-3, 0.1)}, samples=5, seed=seed)[0].grid.points

    assert points(1) == points(1) != points(2)


# -- what goes wrong ---------------------------------------------------------------------------------------


def test_a_trial_that_diverges_or_fails_does_not_end_the_sweep():
    W = param(4.0)

    def loss(x):
        if -3 < W.data < 0:
            raise OSError("below zero")
        return (W - x) ** 2

    sweep = Sweep(loss, [0.0] * 50, [W], {"η": [0.1, 0.75, 1e200]}, epochs=3)
    sweep.train()
    assert [t.state for t in sweep.trials] == ["done", "failed", "diverged"]
    failed, diverged = sweep.trials[1:]
    assert isinstance(failed.error, OSError)
    assert 'raise OSError("below zero")' in failed.trace
    assert "step 2" in str(diverged.error)
    assert sweep[1].steps == 1
    assert sweep[2].state == "failed"
    assert np.isinf(sweep[2].history["loss"][-1])
    assert W.data == 4
    assert sweep.best_trial.spec.index == 0
    sweep[1].take()
    assert W.data < 0


def test_an_error_of_the_first_step_is_the_callers_and_nothing_has_changed():
    sweep, m = net_sweep(metrics={"acc": lambda x, y: undefined})  # noqa: F821
    before = everything(m)
    with pytest.raises(NameError, match="undefined"):
        sweep.train()
    assert (sweep.state, sweep.counts) == ("ready", {"waiting": 6})
    assert everything(m) == before


def test_an_error_in_a_reset_leaves_the_model_as_it_was():
    class Odd(Dense):
        def reset(self, rng):
            super().reset(rng)
            raise OSError("no weights")

    m = Chain(Odd(4, 1, rng=0))
    before = everything(m)
    with pytest.raises(OSError, match="no weights"):
        Sweep(lambda x, y: mse(m(x), y), [(X, Y)], params(m), {"η": [0.1]}, seeds=2).train()
    assert everything(m) == before


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"epochs": 2, "steps": 3}, ValueError, "given twice: give epochs or steps"),
        ({"grid": {"epochs": [1, 2]}, "epochs": 3}, ValueError, "given twice: give epochs or steps"),
        ({"seed": [1, 2]}, ValueError, r"seed is one integer, 0 or more, not \[1, 2\]; seeds=N"),
        ({"seed": -1}, ValueError, "seed is one integer, 0 or more, not -1"),
        ({"timeout": "3"}, ValueError, "timeout is a positive number of seconds, not '3'"),
        ({"halving": 1}, ValueError, "halving is 2 or more"),
        ({"seeds": 0}, ValueError, "seeds is a positive integer"),
        ({"timeout": 0}, ValueError, "timeout is a positive number"),
        ({"data": iter([1.0])}, TypeError, "the data is a generator"),
        ({"valid": iter([1.0])}, TypeError, "valid is a generator"),
        ({"epochs": 0}, ValueError, "epochs is a positive integer"),
    ],
)
def test_wrong_options_are_refused(options, error, words):
    W = param(1.0)
    with pytest.raises(error, match=words):
        Sweep(lambda x: (W - x) ** 2, options.pop("data", [1.0]), [W], options.pop("grid", {"η": [0.1]}), **options)


def test_what_is_no_place_is_refused_and_the_sweep_can_go_elsewhere():
    sweep, _ = line_sweep({"η": [0.1]})
    for on in ("cluster", 0, True, 2.0):
        sweep.on = on
        with pytest.raises(TypeError, match="on is a number of processes"):
            sweep.train()
    sweep.on = None
    sweep.train()
    assert sweep.counts == {"done": 1}


def test_a_trial_that_takes_too_long_has_failed():
    W = param(4.0)
    until = threading.Event()

    def loss(x):
        if abs(W.data) < 1:
            until.wait(0.02)
        return (W - x) ** 2

    sweep = Sweep(loss, [0.0] * 1000, [W], {"η": [0.3, 1e-9]}, timeout=0.6)
    sweep.train()
    assert [t.state for t in sweep.trials] == ["failed", "done"]
    assert "timed out after" in str(sweep.trials[0].error)
    assert isinstance(sweep.trials[0].error, TimeoutError)


@pytest.mark.parametrize("options", [{}, {"halving": 2}])
def test_the_summary_of_a_trial_says_how_many_of_its_steps_were_replayed(options):
    sweep, _ = net_sweep({"η": [0.01, 0.03]}, capture=True, epochs=12, **options)
    sweep.train()
    run = sweep[sweep.best_trial.spec.index]
    assert run.captured is not None
    assert run.captured.steps == run.steps == 60
    assert run.captured.replayed > 30
    assert "of 60 steps replayed" in summary(run)
    sweep, _ = line_sweep({"η": [0.1]})
    sweep.train()
    assert sweep[0].captured is None


def test_replayed_steps_of_a_slice_that_are_wrong_are_taken_again_before_they_are_reported():
    W = fluxmagic.param(np.ones(3, np.float32))
    data = list(np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32))

    def loss(x):
        return ((W - x) ** 2).sum() * np.float32(hidden())

    sweep = Sweep(loss, data, [W], {"η": [0.01]}, capture=True)
    specs = [t.spec for t in sweep.trials]
    with decimal.localcontext():
        hide(1)
        starts = prepare(sweep.setup, specs, resets=False).starts
        desk = Desk(lambda: sweep.setup, starts, specs)
        line = joined(None, desk.work(Job(0, 0, 40, math.inf)).progress)
        hide(2)
        line = joined(line, desk.work(Job(0, 40, 44, math.inf)).progress)
        (retaken,) = line.record.retaken
        assert retaken[1] == 44
        run = Run(loss, data, "SGD", η=0.01)
        for step in range(1, 45):
            hide(1 if step < retaken[0] else 2)
            run.step()
    assert list(line.record.loss) == run.history["loss"].tolist()
    assert line.now.values.params[0].tobytes() == W.data.tobytes()

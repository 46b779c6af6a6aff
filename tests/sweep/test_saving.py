"""A sweep in a file, and from it."""

import numpy as np
import pytest

import fluxmagic
from fluxmagic import Sweep, batches, mse, params
from fluxmagic.optimise import SGD, cosine
from fluxmagic.runs import ArchiveError
from fluxmagic.sweep import loguniform
from tests.sweep.problems import X, Y, bits, everything, line_sweep, net_sweep, network


def load(path, **options):
    fluxmagic.seed(99)
    m = network()
    for p in params(m):
        p.data = p.data * 0 + 3
    options = {"valid": (X, Y), **options}
    return Sweep.load(path, lambda x, y: mse(m(x), y), batches(X, Y, 5), params(m), **options), m


@pytest.mark.parametrize("options", [{}, {"seeds": 2, "halving": 3}, {"patience": 1}])
def test_a_sweep_saved_in_mid_course_goes_on_with_what_is_not_done(tmp_path, options):
    whole, _ = net_sweep(**options)
    whole.train()
    part, _ = net_sweep(**options)
    part.step(2)
    part.save(tmp_path / "s.sweep")
    more = {k: v for k, v in options.items() if k == "patience"}
    again, m = load(tmp_path / "s.sweep", **more)
    before = everything(m)
    assert again.state == "stopped"
    done = {k: v for k, v in part.counts.items() if k in ("done", "stopped early")}
    assert {k: v for k, v in again.counts.items() if k in done} == done
    again.train()
    assert again.counts == whole.counts
    assert everything(m) == before
    assert [bits(r) for r in again] == [bits(r) for r in whole]
    assert [t.objective for t in again.trials] == [t.objective for t in whole.trials]
    assert again.best.history["valid"].tobytes() == whole.best.history["valid"].tobytes()


def test_a_finished_sweep_comes_back_with_its_runs(tmp_path):
    sweep, _ = net_sweep({"opt": ["ADAM", "SGD"], "η": [0.03, 1e30, cosine(0.1, 9)], "clip": None}, name="s")
    sweep.train()
    sweep.save(tmp_path / "s.npz")
    again, _m = load(tmp_path / "s.npz")
    assert repr(again) == repr(sweep)
    assert again.counts == sweep.counts
    assert "diverged" in again.counts
    a, b = again.table, sweep.table
    assert list(a) == list(b)
    assert {k: a[k].tolist() for k in ("η", "opt", "state", "steps", "seconds")} == {
        k: b[k].tolist() for k in ("η", "opt", "state", "steps", "seconds")
    }
    assert [bits(r) for r in again] == [bits(r) for r in sweep]
    again.best.take()
    assert again.best.problem.evaluate(None, [])["valid"] == sweep.best_trial.objective
    again.best.replay()


def test_samples_are_the_same_after_a_load(tmp_path):
    sweep, W = line_sweep({"η": loguniform(1e-3, 0.1)}, samples=5, seed=3)
    sweep.step(2)
    sweep.save(tmp_path / "s")
    again = Sweep.load(tmp_path / "s", sweep.setup.loss, sweep.setup.data, [W])
    assert again.grid.points == sweep.grid.points


def test_own_schedules_are_passed_again(tmp_path):
    f = [lambda n: 0.1 / (1 + n), lambda n: 0.2 / (1 + n)]
    sweep, W = line_sweep({"η": [f[0], 0.1, f[1]]})
    sweep.train()
    sweep.save(tmp_path / "s")
    with pytest.raises(ArchiveError, match=r"schedules=\{\"η\": \[2 functions\]\}"):
        Sweep.load(tmp_path / "s", sweep.setup.loss, sweep.setup.data, [W])
    again = Sweep.load(tmp_path / "s", sweep.setup.loss, sweep.setup.data, [W], {"η": f})
    assert again[2].history["η"].tolist() == sweep[2].history["η"].tolist()
    assert [bits(r) for r in again] == [bits(r) for r in sweep]


def test_trials_without_weights_are_computed_again_after_a_load(tmp_path):
    sweep, _ = net_sweep(budget=1)
    sweep.train()
    sweep.save(tmp_path / "s")
    again, _ = load(tmp_path / "s")
    assert [bits(r) for r in again] == [bits(r) for r in sweep]


def test_what_does_not_fit_is_said_and_nothing_changes(tmp_path):
    sweep, W = line_sweep({"η": [0.1]})
    with pytest.raises(ValueError, match="nothing to save"):
        sweep.save(tmp_path / "s")
    sweep.train()
    sweep.save(tmp_path / "s")
    loss, data = sweep.setup.loss, sweep.setup.data
    other = fluxmagic.param(np.ones(3))
    with pytest.raises(ArchiveError, match=r"params/0 is float64 .*\(2,\), and the model has float64 .*\(3,\)"):
        Sweep.load(tmp_path / "s", loss, data, [other])
    with pytest.raises(ArchiveError, match="of 1 parameters, and 2 were given"):
        Sweep.load(tmp_path / "s", loss, data, [W, other])
    (tmp_path / "cut").write_bytes((tmp_path / "s").read_bytes()[:-100])
    with pytest.raises(ArchiveError, match="cut"):
        Sweep.load(tmp_path / "cut", loss, data, [W])
    sweep.best.take()
    sweep.best.save(tmp_path / "run")
    with pytest.raises(ArchiveError, match="its kind is run, not sweep"):
        Sweep.load(tmp_path / "run", loss, data, [W])


def test_an_optimiser_that_is_not_defined_is_named(tmp_path):
    from fluxmagic.optimise.optimiser import OPTIMISERS

    class Mine(SGD):
        """SGD."""

    sweep, W = line_sweep({"opt": [Mine], "η": [0.1]})
    sweep.train()
    sweep.save(tmp_path / "s")
    del OPTIMISERS["Mine"]
    with pytest.raises(ArchiveError, match="unknown optimiser Mine: define the class first"):
        Sweep.load(tmp_path / "s", sweep.setup.loss, sweep.setup.data, [W])


@pytest.mark.parametrize("name", ["grid", "steps", "epochs", "min", "seeds", "name"])
def test_an_option_that_the_file_has_is_refused(tmp_path, name):
    sweep, W = line_sweep({"η": [0.1]})
    sweep.train()
    sweep.save(tmp_path / "s")
    with pytest.raises(TypeError, match=f"^{name} is in the file"):
        Sweep.load(tmp_path / "s", sweep.setup.loss, sweep.setup.data, [W], **{name: 2})

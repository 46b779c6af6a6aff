"""A run that an earlier version saved, in each version of the format, loads, replays and goes on."""

from pathlib import Path

import numpy as np
import pytest

from fluxmagic import Run
from fluxmagic.optimise import Hyper, Optimiser
from fluxmagic.runs import archive
from tests.runs.problems import line
from tests.runs.saved_run import problem, trained

FORMATS = sorted((Path(__file__).parent / "data").glob("format_*.npz"))


@pytest.fixture(params=FORMATS, ids=lambda path: path.stem)
def saved(request):
    return request.param


def test_there_is_a_run_of_each_version_of_the_format():
    assert [f"format_{v}" for v in range(1, archive.VERSION + 1)] == [path.stem for path in FORMATS]
    for version, path in enumerate(FORMATS, 1):
        assert archive.read(path, "run")[0]["version"] == version


@pytest.mark.filterwarnings("ignore:replay may differ in the last bits")  # by numerics, NumPy or BLAS
def test_a_saved_run_loads_and_replays(saved):
    loss, data, params = problem()
    run = Run.load(saved, loss, data, params)
    assert (run.name, run.steps, run.epochs, run.opt_name) == ("saved", 35, 4, "Momentum")
    assert [e.name for e in run.events].count("opt") == 3
    weights = [p.data.copy() for p in params]
    run.replay()
    assert all(np.array_equal(p.data, w) for p, w in zip(params, weights))
    run.rewind(20)
    run.train()
    assert run.steps == 48


def test_the_same_run_today_ends_in_the_same_bits(saved):
    loss, data, params = problem()
    earlier = Run.load(saved, loss, data, params)
    again, weights = trained()
    assert again.history["loss"].tolist() == earlier.history["loss"].tolist()
    assert [p.data.tolist() for p in weights] == [p.data.tolist() for p in params]


def test_a_saved_run_can_be_looked_at_without_its_problem(saved):
    run = Run.load(saved)
    assert (run.name, run.steps, run.opt_name) == ("saved", 35, "Momentum")
    assert run.history["loss"].tolist() == trained()[0].history["loss"].tolist()


def test_a_hyper_parameter_that_was_added_since_has_its_default(tmp_path):
    def declare(**more):
        body = {"η": Hyper(0.1, "learning rate"), "step": lambda self, δ, s: self.η * δ, **more}
        return type("Mine", (Optimiser,), body)

    declare()
    run, W = line("Mine", epochs=3)
    run.step(3)
    run.swap("SGD")
    run.step(2)
    run.swap("Mine")
    run.save(tmp_path / "run")
    declare(ρ=Hyper(0.75, "momentum", high=1))
    loaded = Run.load(tmp_path / "run", run.loss, run.data, [W])
    assert loaded.values["ρ"] == 0.75
    assert loaded.history["ρ"][:3].tolist() == [0.75] * 3
    loaded.replay()
    loaded.set(ρ=0.5)
    loaded.train()
    assert Run.load(tmp_path / "run").values["ρ"] == 0.75

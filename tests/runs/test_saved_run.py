"""A run that an earlier version saved loads, replays and goes on."""

from pathlib import Path

import numpy as np
import pytest

from fluxmagic import Run
from tests.runs.saved_run import problem, trained

SAVED = Path(__file__).parent / "data" / "format_1.npz"


@pytest.mark.filterwarnings("ignore:replay may differ in the last bits")  # by numerics, NumPy or BLAS
def test_a_saved_run_loads_and_replays():
    loss, data, params = problem()
    run = Run.load(SAVED, loss, data, params)
    assert (run.name, run.steps, run.epochs, run.opt_name) == ("saved", 35, 4, "Momentum")
    assert [e.name for e in run.events].count("opt") == 3
    weights = [p.data.copy() for p in params]
    run.replay()
    assert all(np.array_equal(p.data, w) for p, w in zip(params, weights))
    run.rewind(20)
    run.train()
    assert run.steps == 48


def test_the_same_run_today_ends_in_the_same_bits():
    loss, data, params = problem()
    saved = Run.load(SAVED, loss, data, params)
    again, weights = trained()
    assert again.history["loss"].tolist() == saved.history["loss"].tolist()
    assert [p.data.tolist() for p in weights] == [p.data.tolist() for p in params]


def test_a_saved_run_can_be_looked_at_without_its_problem():
    run = Run.load(SAVED)
    assert (run.name, run.steps, run.opt_name) == ("saved", 35, "Momentum")
    assert run.history["loss"].tolist() == trained()[0].history["loss"].tolist()

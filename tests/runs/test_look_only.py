"""A run that is loaded without loss, data and parameters can be looked at."""

from __future__ import annotations

import numpy as np
import pytest

from fluxmagic import Run, param, params
from fluxmagic.optimise import cosine
from tests.runs.archives import load
from tests.runs.problems import arrays, everything, line


def test_a_run_to_look_at_shows_all_and_refuses_to_train(saved, tmp_path):
    run, m, path = saved
    looked = Run.load(path)
    assert looked.events == run.events
    assert {k: v.tobytes() for k, v in looked.history.items()} == {k: v.tobytes() for k, v in run.history.items()}
    assert (repr(looked), looked.name, looked.epoch, looked.values) == (repr(run), run.name, run.epoch, run.values)
    assert [p.data.tobytes() for p in looked.params] == [p.data.tobytes() for p in params(m)]
    assert looked.snapshot().keys() == run.snapshot().keys()
    before = everything(looked)
    for f in (looked.step, looked.train, lambda: looked.rewind(3), looked.replay, lambda: looked.advance(1.0)):
        with pytest.raises(RuntimeError, match=r"cannot train or replay. Run.load\('.*', loss"):
            f()
        assert (everything(looked), looked.state) == (before, "paused")
    looked.save(tmp_path / "again")
    again = load(tmp_path / "again", run, m)
    again.replay()
    assert arrays(again) == arrays(run)


def test_own_schedules_are_not_needed(tmp_path):
    run, _ = line(hypers={"η": lambda n: 0.1 / (1 + n)})
    run.step(3)
    run.set(η=cosine(0.1, 5))
    run.step(1)
    run.save(tmp_path / "a")
    η = Run.load(tmp_path / "a").history["η"]
    assert np.isnan(η[:3]).all()
    assert η[3] == run.history["η"][3]


def test_a_run_whose_loss_takes_no_batch_can_be_looked_at(tmp_path):
    W = param(1.0)
    run = Run(lambda: (W - 3.0) ** 2, None, "SGD", steps=9)
    run.step(4)
    run.save(tmp_path / "a")
    looked = Run.load(tmp_path / "a")
    assert (repr(looked), looked.events) == (repr(run), run.events)
    assert looked.history["loss"].tolist() == run.history["loss"].tolist()
    looked.save(tmp_path / "b")
    loaded = Run.load(tmp_path / "b", run.loss, None, [W])
    loaded.train()
    assert loaded.steps == 9


def test_loss_without_params_is_an_error(saved):
    run, _, path = saved
    with pytest.raises(TypeError, match="all of loss, data and params, or none of them"):
        Run.load(path, run.loss)

"""A run's history is a read-only dictionary of columns, for pandas and for a file."""

from __future__ import annotations

import copy
import csv
import math
import pickle
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from fluxmagic import Run, param
from fluxmagic.optimise import exponential
from fluxmagic.runs import Event
from tests.runs.problems import X, Y, line, network


def steered():
    run, _ = network("SGD", valid=(X, Y), metrics={"größte": lambda x, y: x.max()}, epochs=3)
    run.step(3)
    run.set(η=exponential(0.01, 0.5, every=4))
    run.step(4)
    run.swap("Momentum", ρ=0.5)
    run.train()
    return run


def test_pandas_has_a_column_for_each_name_the_optimiser_s_among_them():
    run = steered()
    h = run.history
    frame = pd.DataFrame(h)
    assert list(frame) == list(h)
    assert list(frame)[:7] == ["step", "epoch", "seconds", "loss", "valid", "größte", "opt"]
    assert frame["opt"].tolist() == ["SGD"] * 7 + ["Momentum"] * 8
    for k in h:
        np.testing.assert_array_equal(frame[k].to_numpy(), h[k])


def test_it_is_a_dictionary():
    h = steered().history
    assert isinstance(h, dict)
    assert dict(h).keys() == {**h}.keys() == h.copy().keys() == set(h)
    assert (h | {"more": 1}).keys() == set(h) | {"more"}
    assert ({"more": 1} | h).keys() == set(h) | {"more"}
    assert len(h) == len(list(h.items())) == len(list(h.values()))
    assert "loss" in h
    assert h.get("nothing") is None
    for other in (copy.copy(h), copy.deepcopy(h), pickle.loads(pickle.dumps(h)), dict(h)):
        assert type(other) is dict
        np.testing.assert_array_equal(other["loss"], h["loss"])


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.__setitem__("loss", 1),
        lambda h: h.__delitem__("loss"),
        lambda h: h.update(loss=1),
        lambda h: h.pop("loss"),
        lambda h: h.popitem(),
        lambda h: h.clear(),
        lambda h: h.setdefault("x", 1),
        lambda h: h.__ior__({"x": 1}),
    ],
)
def test_it_cannot_be_changed(change):
    h = steered().history
    before = list(h)
    with pytest.raises(TypeError, match="a run's history is read-only"):
        change(h)
    assert list(h) == before


def test_a_file_has_every_number_in_full_and_nothing_for_nan(tmp_path):
    run = steered()
    h = run.history
    h.to_csv(tmp_path / "run.csv")
    with open(tmp_path / "run.csv", encoding="utf-8", newline="") as file:
        head, *rows = list(csv.reader(file))
    assert head == list(h)
    assert len(rows) == run.steps
    for k, column in zip(head, zip(*rows, strict=True), strict=True):
        if k == "opt":
            assert list(column) == h[k].tolist()
        else:
            np.testing.assert_array_equal([float(x) if x else math.nan for x in column], h[k])
            assert "nan" not in column


def test_a_file_of_a_run_without_data_or_without_a_step(tmp_path):
    W = param(1.0)
    run = Run(lambda: W * W, None, "SGD", steps=3)
    run.history.to_csv(tmp_path / "run.csv")
    assert (tmp_path / "run.csv").read_text(encoding="utf-8").startswith("step,epoch,seconds,loss,valid,opt,η")
    assert pd.DataFrame(run.history).shape[0] == 0
    run.train()
    run.history.to_csv(tmp_path / "run.csv")
    assert pd.read_csv(tmp_path / "run.csv")["epoch"].tolist() == [1, 2, 3]


def test_a_file_is_written_in_a_few_megabytes(tmp_path):
    n = 50_000
    run, _ = line(data=lambda: iter([1.0] * 2))
    run.step()
    record = run.record
    record.loss.extend(np.zeros(n - 1))
    record.rows.extend([1] * (n - 1))
    record.seconds.extend(np.zeros(n - 1))
    record.events += [Event(i, "η", 0.1, 0.1 + i) for i in range(0, n, n // 10)]
    tracemalloc.start()
    try:
        run.history.to_csv(tmp_path / "run.csv")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100 * n  # 100 MB for a million rows

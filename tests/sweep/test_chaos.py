"""Workers are killed before, in and after slices; `python -m tests.stress` does it 20 times with 200 trials."""

import pytest

from tests.sweep import chaos

pytest.importorskip("cloudpickle")
pytest.importorskip("loky")
pytest.importorskip("psutil")


@pytest.mark.parametrize("where", ["processes", "dask"])
def test_each_trial_is_accounted_for_while_workers_are_killed(where, request, capsys):
    on = 2 if where == "processes" else request.getfixturevalue("killable")
    counts = chaos.run(on, n=27, seed=1, deaths=4)
    with capsys.disabled():
        print(f" {where}: {counts}", end="")
    assert counts["deaths"] >= 2
    assert counts["done"] >= 1

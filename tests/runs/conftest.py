"""What several tests of runs share."""

from __future__ import annotations

import pytest

from tests.runs.archives import steered


@pytest.fixture
def saved(tmp_path):
    """A run, its model, and the file that it was saved to."""
    run, m = steered()
    path = tmp_path / "run.npz"
    run.save(path)
    return run, m, path

"""Fixtures for the tests of optimisers."""

import pytest

from fluxmagic.optimise import OPTIMISERS


@pytest.fixture
def registry():
    """The registry of optimisers; what a test defines is removed from it."""
    before = dict(OPTIMISERS)
    yield OPTIMISERS
    OPTIMISERS.clear()
    OPTIMISERS.update(before)

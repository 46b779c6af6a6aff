"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fluxmagic.optimise import OPTIMISERS, Optimiser


@pytest.fixture(autouse=True)
def registry() -> Iterator[dict[str, type[Optimiser]]]:
    """The registered optimisers, put back after each test: a class that a test defines registers itself."""
    before = dict(OPTIMISERS)
    yield OPTIMISERS
    OPTIMISERS.clear()
    OPTIMISERS.update(before)

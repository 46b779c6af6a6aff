"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fluxmagic.optimise import OPTIMISERS, Optimiser
from fluxmagic.tracker.operation import Op


@pytest.fixture(autouse=True)
def registry() -> Iterator[dict[str, type[Optimiser]]]:
    """The registered optimisers, put back after each test: a class that a test defines registers itself."""
    before = dict(OPTIMISERS)
    yield OPTIMISERS
    OPTIMISERS.clear()
    OPTIMISERS.update(before)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name an operation in the name of a test; an address there would differ in each process."""
    return repr(val) if isinstance(val, Op) else None

"""Programs of these tests are machine code from the first on, where the extra is there; what is hidden is put back."""

import decimal
from collections.abc import Iterator

import pytest

from fluxmagic.capture import step


@pytest.fixture(autouse=True)
def compiled_at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(step, "COMPILE_AFTER", 0)
    with decimal.localcontext():
        yield

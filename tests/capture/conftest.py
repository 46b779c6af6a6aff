"""Programs of these tests are machine code from the first on, where the extra is there."""

import pytest

from fluxmagic.capture import step


@pytest.fixture(autouse=True)
def compiled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "COMPILE_AFTER", 0)

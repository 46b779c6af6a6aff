"""Programs of these tests are machine code from the first on, with the extra; what tests change is put back."""

import decimal
import signal
from collections.abc import Iterator

import pytest

from fluxmagic.capture import step


@pytest.fixture(autouse=True)
def compiled_at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(step, "COMPILE_AFTER", 0)
    handler = signal.getsignal(signal.SIGINT)
    with decimal.localcontext():
        yield
    signal.signal(signal.SIGINT, handler)

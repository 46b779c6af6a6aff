"""A shell in this process, with the extension loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.testing import globalipapp

from fluxmagic.jupyter.controls import run_controls
from fluxmagic.jupyter.driving import views
from fluxmagic.jupyter.pictures import plot
from tests.jupyter.kernels import INTERPRETERS, Kernel
from tests.jupyter.outputs import Output

SETUP = """
import numpy as np
import fluxmagic
from fluxmagic import *
fluxmagic.seed(0)
rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4)).astype("f")
Y = (X[:, 0] > 0).astype(int)
model = Chain(Dense(4, 8, relu), Dense(8, 2))
"""


class Shell:
    """IPython, as a person would use it: cells go in, values and outputs come out."""

    def __init__(self, ip: Any, capsys: pytest.CaptureFixture[str]) -> None:
        self.ip = ip
        self.capsys = capsys

    def __call__(self, cell: str) -> str:
        """Execute a cell that has to succeed; what it printed."""
        self.capsys.readouterr()
        result = self.ip.run_cell(cell, store_history=True)
        printed = self.capsys.readouterr()
        assert result.success, printed.out + printed.err
        return printed.out

    def fails(self, cell: str) -> BaseException:
        """Execute a cell that has to fail; its error."""
        error = self.ip.run_cell(cell, store_history=True).error_in_exec
        assert error is not None, cell
        return error

    def refuses(self, cell: str) -> str:
        """Execute a cell that has to be refused in one line without a traceback; that line."""
        self.capsys.readouterr()
        error = self.fails(cell)
        printed = self.capsys.readouterr()
        assert type(error).__name__ == "UsageError", repr(error)
        assert printed.out == ""
        assert printed.err == f"UsageError: {error}\n"
        assert "\n" not in str(error)
        return str(error)

    def shows(self, cell: str) -> str:
        """Execute a cell that has to fail; what it printed, without colours."""
        self.capsys.readouterr()
        self.fails(cell)
        return self.capsys.readouterr().out

    def __getitem__(self, name: str) -> Any:
        return self.ip.user_ns[name]

    def __contains__(self, name: str) -> bool:
        return name in self.ip.user_ns


@pytest.fixture(scope="session")
def ip() -> Any:
    shell = globalipapp.start_ipython() or globalipapp.get_ipython()
    shell.run_line_magic("colors", "nocolor")
    shell.display_formatter.active_types = shell.display_formatter.format_types  # as in a kernel; a terminal has text
    return shell


@pytest.fixture
def bare(ip: Any, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """A shell with an empty namespace, the extension not loaded."""
    before = dict(ip.user_ns)
    yield Shell(ip, capsys)
    ip.run_line_magic("unload_ext", "fluxmagic")
    ip.config.pop("FluxMagics", None)
    ip.user_ns.clear()
    ip.user_ns.update(before)


@pytest.fixture
def shell(bare: Shell) -> Shell:
    """A shell with the extension, a model and data."""
    bare("%load_ext fluxmagic")
    bare(SETUP)
    return bare


class Page:
    """A shell of a page: `outputs` are those of the cell, in order."""

    def __init__(self, takes_input: bool) -> None:
        self.outputs: list[Output] = []
        self.kernel = SimpleNamespace(get_parent=lambda: {"content": {"allow_stdin": takes_input}})

    def display(self, *args: Any, **options: Any) -> Output:
        self.outputs.append(Output(*args))
        return self.outputs[-1]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A page that takes no input; no curve is remembered."""
    page = Page(takes_input=False)
    monkeypatch.setattr(views, "display", page.display)
    plot.forget_curves()
    yield page
    plot.forget_curves()


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The variables of a shell, where Branch puts its run."""
    ns: dict[str, Any] = {}
    monkeypatch.setattr(run_controls, "get_ipython", lambda: SimpleNamespace(user_ns=ns))
    return ns


@pytest.fixture(scope="module", params=INTERPRETERS)
def process(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """A kernel that was started where the tests are."""
    kernel = Kernel(request.param, str(Path(__file__).parents[2]))
    yield kernel
    kernel.stop()

"""A real JupyterLab and a real Notebook 7 in a real browser."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.jupyter.panel_page import PanelPage

CHROMIUM = os.environ.get("FLUXMAGIC_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")

FAILED = pytest.StashKey[bool]()


def _missing() -> str:
    if CHROMIUM is None:
        return "there is no Chromium here: apt-get install chromium, or set FLUXMAGIC_CHROMIUM to where it is"
    try:
        import jupyterlab  # noqa: F401
        import notebook  # noqa: F401
        import playwright  # noqa: F401
    except ImportError as error:
        return str(error)
    return ""


@pytest.fixture(scope="package")  # Playwright keeps an event loop in this thread: tests elsewhere run their own
def browser() -> Iterator[Any]:
    if reason := _missing():
        if os.environ.get("FLUXMAGIC_BROWSER") == "required":
            pytest.fail(f"FLUXMAGIC_BROWSER=required, but {reason}")
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Server:
    """JupyterLab or Notebook 7 with settings of its own."""

    def __init__(self, app: str, root: Path) -> None:
        self.app, self.root = app, root
        settings = root / ".settings"
        (settings / "labconfig").mkdir(parents=True)
        overrides = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
        (settings / "labconfig/default_setting_overrides.json").write_text(json.dumps(overrides))
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.token = secrets.token_hex(8)
        self.base = f"http://127.0.0.1:{port}"
        expose = "LabApp" if app == "lab" else "JupyterNotebookApp"
        env = {
            **os.environ,
            "JUPYTER_CONFIG_DIR": str(settings),
            "JUPYTER_RUNTIME_DIR": str(settings / "runtime"),
            "IPYTHONDIR": str(settings / "ipython"),
            "JUPYTERLAB_SETTINGS_DIR": str(settings / "user"),
            "JUPYTERLAB_WORKSPACES_DIR": str(settings / "workspaces"),
        }
        command = [sys.executable, "-m", "jupyter", app, "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"]
        command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}"]
        command += [f"--ServerApp.root_dir={root}", f"--{expose}.expose_app_in_browser=True"]
        self.log = settings / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=env, cwd=root, stdout=log, stderr=subprocess.STDOUT)
        for _ in range(600):
            try:
                self._ask("status")
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def _ask(self, path: str, method: str = "GET") -> bytes:
        request = urllib.request.Request(f"{self.base}/api/{path}?token={self.token}", method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return bytes(answer.read())

    def end_kernels(self) -> None:
        for session in json.loads(self._ask("sessions")):
            self._ask(f"sessions/{session['id']}", "DELETE")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(15)


@pytest.fixture(scope="package", params=["lab", "notebook"])
def server(request: pytest.FixtureRequest, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(request.param, tmp_path_factory.mktemp(request.param))
    yield server
    server.stop()


class Notebook(PanelPage):
    """A notebook that is open in the browser; its panel is used by labels."""

    def __init__(self, server: Server, page: Any) -> None:
        self.server, self.page = server, page

    def write(self, cells: list[str], name: str = "t.ipynb") -> None:
        kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
        made = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(c) for c in cells], metadata={"kernelspec": kernel}
        )
        nbformat.write(made, self.server.root / name)

    def open(self, cells: list[str] | None = None, name: str = "t.ipynb") -> None:
        if cells is not None:
            self.write(cells, name)
        where = f"lab/tree/{name}?reset&" if self.server.app == "lab" else f"notebooks/{name}?"
        self.page.goto(f"{self.server.base}/{where}token={self.server.token}")
        self.ready()

    def ready(self) -> None:
        """Wait for page and kernel: who is earlier gets a dialog that asks for a kernel."""
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60000)
        self.page.evaluate(
            """async () => {
                const app = window.jupyterapp;
                await app.restored;
                for (let i = 0; i < 300 && !app.shell.currentWidget?.sessionContext; i++)
                    await new Promise(done => setTimeout(done, 100));
                const context = app.shell.currentWidget.sessionContext;
                await context.ready;
                await context.session.kernel.info;
            }"""
        )

    def command(self, name: str) -> None:
        self.page.evaluate("name => { window.jupyterapp.commands.execute(name) }", name)

    def run_all(self) -> None:
        self.command("notebook:run-all-cells")

    def wait(self, text: str, seconds: float = 40) -> None:
        """Wait for an output that has this text."""
        self.page.locator(".jp-OutputArea-output", has_text=text).first.wait_for(timeout=seconds * 1000)

    def field(self, label: str) -> Any:
        """Give the number field of a dial."""
        return self.page.locator(f"input[placeholder='{label}']:visible").first

    def type(self, label: str, text: str) -> None:
        """Type a text into the number field of a dial."""
        field = self.field(label)
        field.fill(text)
        field.press("Enter")

    def turn(self, label: str, value: float) -> None:
        self.type(label, repr(value))

    def slider(self, label: str) -> Any:
        """Give the slider of a label."""
        return self.page.locator(
            ".widget-slider:visible", has=self.page.locator(f".widget-label:text-is('{label}')")
        ).first

    def texts(self) -> list[str]:
        shown = self.page.locator(".widget-html-content:visible, .widget-label:visible")
        return [str(t) for t in shown.evaluate_all("found => found.map(x => x.innerHTML)")]

    def is_enabled(self, label: str) -> bool:
        return bool(self.page.locator(f"button.widget-button:has-text('{label}')").first.is_enabled())

    def wait_a_moment(self) -> None:
        time.sleep(0.05)

    def theme(self, name: str) -> None:
        """Change the colours of the page."""
        self.page.evaluate("t => window.jupyterapp.commands.execute('apputils:change-theme', {theme: t})", name)
        light = str(name == "JupyterLab Light").lower()
        self.page.locator(f"body[data-jp-theme-light='{light}']").wait_for(state="attached")

    def drag(self, label: str, share: float) -> None:
        """Drag the slider of a label to a place between its ends."""
        self.hold(label, share)
        self.page.mouse.up()

    def hold(self, label: str, *shares: float) -> None:
        """Drag it from place to place, and do not let go."""
        handle = self.slider(label).locator(".noUi-handle").bounding_box()
        self.page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
        self.page.mouse.down()
        self.move(label, *shares)

    def move(self, label: str, *shares: float) -> None:
        """Move the pointer from place to place along a slider."""
        track = self.slider(label).locator(".noUi-base").bounding_box()
        for share in shares:
            self.page.mouse.move(track["x"] + share * track["width"], track["y"] + track["height"] / 2, steps=8)

    def choose(self, option: str, label: str = "optimiser") -> None:
        dropdown = self.page.locator(
            ".widget-dropdown", has=self.page.locator(f".widget-label:text-is('{label}')")
        ).first
        dropdown.locator("select").select_option(option)

    def press(self, label: str) -> None:
        self.page.locator(f"button.widget-button:has-text('{label}')").first.click()

    def measure(self) -> Any:
        """Give boxes and contrast of what the panel shows."""
        return self.page.evaluate(Path(__file__).with_name("measure.js").read_text())

    def outputs(self) -> list[str]:
        return [o.inner_text() for o in self.page.locator(".jp-Notebook .jp-Cell-outputArea").all()]

    def save(self, name: str = "t.ipynb") -> Any:
        before = (self.server.root / name).stat().st_mtime
        self.command("docmanager:save")
        file = self.server.root / name
        # the file is empty for a moment while it is written
        self.until(lambda: file.stat().st_mtime > before and file.read_text(encoding="utf-8").endswith("}\n"))
        return nbformat.read(file, 4)

    def value(self, expression: str) -> Any:
        """What an expression is, asked of the kernel beside the notebook."""
        answer = self.page.evaluate(
            """async code => {
                const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const future = kernel.requestExecute({code: '', silent: true, store_history: false,
                    user_expressions: {x: code}});
                return (await future.done).content.user_expressions.x;
            }""",
            expression,
        )
        assert answer["status"] == "ok", answer
        return eval(answer["data"]["text/plain"], {"nan": float("nan"), "inf": float("inf")})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture
def notebook(request: pytest.FixtureRequest, server: Server, browser: Any) -> Iterator[Callable[..., Notebook]]:
    """Makes a page: `notebook(width)`."""
    pages: list[Any] = []

    def make(width: int = 1300, height: int = 1000) -> Notebook:
        page = browser.new_page(viewport={"width": width, "height": height})
        pages.append(page)
        return Notebook(server, page)

    yield make
    for page in pages:
        page.close()
    if FAILED in request.node.stash:  # a cell that goes on would hold up the next test
        server.end_kernels()

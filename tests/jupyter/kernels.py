"""A real kernel, and what a page would say to it: cells, and messages of widgets."""

from __future__ import annotations

import os
import re
import sys
import time
from typing import Any

import pytest
import zmq
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from tests.jupyter.panel_page import PanelPage

INTERPRETERS = [sys.executable, *filter(None, os.environ.get("FLUXMAGIC_KERNELS", "").split(":"))]
"""Whose ipykernel is tried: this one's, and those of other environments."""


class Manager(KernelManager):
    """Starts the kernel of an interpreter."""

    def __init__(self, python: str) -> None:
        super().__init__()
        self.python = python

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [self.python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="test", language="python")


class Kernel(PanelPage):
    """A kernel with a client that keeps what a page would know: widgets by label, outputs by cell."""

    def __init__(self, python: str, cwd: str) -> None:
        self.manager = Manager(python)
        self.manager.start_kernel(cwd=cwd)
        self.client = self.manager.client()
        self.client.context.setsockopt(zmq.RCVHWM, 0)  # a client that listens late loses no status and no reply
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.widgets: dict[str, dict[str, Any]] = {}
        self.closed: set[str] = set()
        self.outputs: dict[str, list[dict[str, Any]]] = {}
        self.replies: dict[str, dict[str, Any]] = {}
        self.order: list[str] = []  # of executed cells
        self.idle: set[str] = set()
        self.subshell: str | None = None
        self.told: str | None = None
        self.started: set[str] = set()

    def calm(self) -> None:
        """After a test, also one that failed: no cell is executed any more, and no widget is left."""
        if not self.started <= set(self.replies):
            self.interrupt()
            self.until(lambda: self.started <= set(self.replies), 10)
        self.closed |= set(self.widgets)
        self.subshell = None

    def stop(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    # -- what comes ------------------------------------------------------------------------------------------

    def listen(self, seconds: float = 0.0) -> None:
        """Take in what the kernel says, for so long."""
        end = time.monotonic() + seconds
        while True:
            heard = False
            while self.client.iopub_channel.msg_ready():
                self._hear(self.client.get_iopub_msg(timeout=1))
                heard = True
            while self.client.shell_channel.msg_ready():
                reply = self.client.get_shell_msg(timeout=1)
                self.replies[reply["parent_header"].get("msg_id", "")] = reply
                heard = True
            if time.monotonic() >= end:
                return
            if not heard:
                time.sleep(0.01)

    def _hear(self, m: dict[str, Any]) -> None:
        kind, content = m["msg_type"], m["content"]
        cell = m["parent_header"].get("msg_id", "")
        if kind == "comm_open":
            self.widgets[content["comm_id"]] = dict(content["data"].get("state", {}))
        elif kind == "comm_msg" and content["data"].get("method") == "update":
            state = self.widgets.setdefault(content["comm_id"], {})
            state.update(content["data"]["state"])
            for (name, *_), buffer in zip(content["data"].get("buffer_paths", ()), m["buffers"], strict=True):
                state[name] = bytes(buffer)
                state["frames"] = state.get("frames", 0) + 1
        elif kind == "comm_close":
            self.closed.add(content["comm_id"])
        elif kind in ("display_data", "execute_result", "stream", "error"):
            self.outputs.setdefault(cell, []).append({"type": kind, **content})
        elif kind == "update_display_data":
            shown = content["transient"]["display_id"]
            for outputs in self.outputs.values():
                for o in outputs:
                    if o.get("transient", {}).get("display_id") == shown:
                        o.update(data=content["data"], metadata=content["metadata"])
                        o["updates"] = o.get("updates", 0) + 1
        elif kind == "execute_input":
            self.order.append(cell)
        elif kind == "status" and content["execution_state"] == "idle":
            self.idle.add(cell)

    def wait_a_moment(self) -> None:
        self.listen(0.02)

    def describe(self) -> str:
        return str(self.outputs)

    # -- what is said ----------------------------------------------------------------------------------------

    def start(self, code: str, **options: Any) -> str:
        """Send a cell; its id."""
        cell = self.client.execute(code, allow_stdin=True, **options)
        self.started.add(cell)
        return cell

    def end(self, cell: str, seconds: float = 60.0) -> dict[str, Any]:
        """Wait for a cell's end; its reply."""
        self.until(lambda: cell in self.replies and cell in self.idle, seconds)
        return self.replies[cell]["content"]

    def run(self, code: str, **options: Any) -> str:
        """Execute a cell; what it printed."""
        cell = self.start(code, **options)
        content = self.end(cell)
        assert content["status"] == "ok", "\n".join(content.get("traceback", [str(content)]))
        return self.text(cell)

    def complete(self, code: str) -> list[str]:
        """Ask what Tab offers at the end of code: what would stand there then, from the cursor's word on."""
        asked = self.client.complete(code, len(code))
        self.until(lambda: asked in self.replies)
        found = self.replies[asked]["content"]
        return [re.split(r"\s", code[: found["cursor_start"]])[-1] + match for match in found["matches"]]

    def text(self, cell: str) -> str:
        """What a cell printed."""
        return "".join(o["text"] for o in self.outputs.get(cell, []) if o["type"] == "stream")

    def value(self, expression: str) -> Any:
        """What an expression is, if it can be written down."""
        return eval(self.run(f"print(repr(({expression})))"), {"nan": float("nan"), "inf": float("inf")})

    def find(self, label: str, kind: str = "") -> str:
        """The widget that has this label, the newest."""

        def found() -> list[str]:
            return [
                k
                for k, s in self.widgets.items()
                if s.get("description") == label and k not in self.closed and kind in s.get("_model_name", "")
            ]

        return self.until(found)[-1]

    def tell(self, comm: str, data: dict[str, Any]) -> str:
        """A message of a widget, as a page sends it: through a subshell where the page would."""
        session = self.client.session
        message = session.msg("comm_msg", {"comm_id": comm, "data": data})
        if self.subshell:
            message["header"]["subshell_id"] = self.subshell
        self.client.shell_channel.send(message)
        sent: str = message["header"]["msg_id"]
        if data.get("method") == "update":
            self.told = sent
        return sent

    def set_state(self, label: str, **state: Any) -> str:
        """Send a state of the widget that has a label."""
        return self.tell(self.find(label), {"method": "update", "state": state, "buffer_paths": []})

    def turn(self, label: str, value: float) -> str:
        found = [k for k, s in self.widgets.items() if s.get("placeholder") == label and k not in self.closed]
        if not found:
            return self.set_state(label, value=value)
        return self.tell(found[-1], {"method": "update", "state": {"value": repr(value)}, "buffer_paths": []})

    def choose(self, option: str) -> str:
        labels = self.widgets[self.find("optimiser")]["_options_labels"]
        return self.set_state("optimiser", index=list(labels).index(option))

    def press(self, label: str) -> str:
        return self.tell(self.find(label, "Button"), {"method": "custom", "content": {"event": "click"}})

    def is_enabled(self, label: str) -> bool:
        return not self.widgets[self.find(label, "Button")]["disabled"]

    def texts(self) -> list[str]:
        open_ = [s for k, s in self.widgets.items() if k not in self.closed]
        return [s["value"] for s in open_ if s.get("_model_name") in ("HTMLModel", "LabelModel") and self._visible(s)]

    def _visible(self, state: dict[str, Any]) -> bool:
        layout = self.widgets.get(str(state.get("layout")).removeprefix("IPY_MODEL_"), {})
        return layout.get("display") != "none"

    def picture(self) -> bytes:
        """Give the picture that the panel shows; empty before the first."""
        open_ = [s for k, s in self.widgets.items() if k not in self.closed and s.get("_model_name") == "ImageModel"]
        return bytes(open_[-1].get("value") or b"") if open_ else b""

    def shows(self, text: str) -> bool:
        """Tell whether a text is shown."""
        return any(text in t for t in self.texts())

    def onward(self, steps: int = 20) -> None:
        """Wait until the panel shows that n more steps were taken, and has taken in what it was told."""
        told, self.told = self.told, None
        if told is not None:
            self.until(lambda: told in self.idle)
        super().onward(steps)
        if told is not None and self.subshell:  # what was shown may have been on its way when the widget was heard
            here = self.steps
            self.until(lambda: self.steps != here)

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()

    def use_subshell(self) -> None:
        """From now on widgets speak through a subshell, as JupyterLab lets them."""
        info = self.client.kernel_info()
        self.until(lambda: info in self.replies)
        if "kernel subshells" not in self.replies[info]["content"].get("supported_features", []):
            pytest.skip("this kernel has no subshells")
        message = self.client.session.msg("create_subshell_request", {})
        self.client.control_channel.send(message)
        self.subshell = self.client.control_channel.get_msg(timeout=10)["content"]["subshell_id"]

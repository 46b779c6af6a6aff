"""What ipykernel, pyzmq and comm do not promise: one row per range of versions, private attributes by name.

Only this module reads them.  Where a kernel is not as known, `find_shell_channel` gives None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

import zmq

from fluxmagic.jupyter.ipython_compat import Shell

__all__ = [
    "INFO_REQUESTS", "Frames", "Kernel", "Receiver", "ShellChannel", "find_shell_channel", "outputs_in",
    "parent_message",
]  # fmt: skip

Frames = list[zmq.Frame]
Message = dict[str, Any]
Receiver = Callable[[Frames], object]


class Kernel(Protocol):
    """A kernel, as far as its interface is public."""

    def get_parent(self) -> Message | None:
        """Give the request that is being executed."""


class Row(NamedTuple):
    """Where kernels of some versions have the main thread's end of the shell channel, and the socket for replies."""

    versions: str
    threaded: bool  # another thread reads the socket, and passes on what is for the main one
    stream: Callable[[Any], Any]
    reply: Callable[[Any], Any]


ROWS = (
    Row("6.29 to 6.31", False, attrgetter("shell_stream"), attrgetter("shell_stream")),
    Row(
        "7.0 to 7.4",
        True,
        attrgetter("shell_channel_thread.manager._shell_channel_to_main.to_stream"),
        lambda kernel: kernel.shell_channel_thread.manager.get_subshell_to_shell_channel_socket(None),
    ),
)
OF_STREAM = attrgetter("socket.recv_multipart", "_recv_callback", "_run_callback")
OF_KERNEL = attrgetter("session.feed_identities", "session.unpack", "session.deserialize", "_publish_status")
COMMS = attrgetter("comm_manager.comms")
COMM_CALLBACK = attrgetter("_msg_callback")

INFO_REQUESTS = ("kernel_info_request", "comm_info_request")


class ShellChannel:
    """The messages that wait for a kernel's main thread."""

    def __init__(self, kernel: Kernel, row: Row) -> None:
        self._kernel: Any = kernel
        self._stream = row.stream(kernel)
        self._reply = row.reply(kernel)
        self._receive, _, self._run = OF_STREAM(self._stream)
        self._split, self._unpack, self._deserialize, self._publish_status = OF_KERNEL(kernel)
        if not isinstance(self._stream.socket, zmq.Socket) or COMMS(kernel) is None:
            raise TypeError("the shell channel is no socket, or there are no comms")

    @property
    def receiver(self) -> Receiver:
        """What the event loop calls with each message."""
        receiver: Receiver = OF_STREAM(self._stream)[1]
        return receiver

    @receiver.setter
    def receiver(self, receiver: Receiver) -> None:
        self._stream.on_recv(receiver, copy=False)

    def receive(self) -> Frames | None:
        """Take the next message from the socket; None where none waits."""
        try:
            frames: Frames = self._receive(zmq.NOBLOCK, copy=False)
            return frames
        except zmq.Again:
            return None

    def peek(self, frames: Frames) -> tuple[str, Message]:
        """Give the type and the content of a message, which can be deserialised later all the same."""
        _, parts = self._split(frames, copy=False)
        return self._unpack(parts[1].bytes)["msg_type"], self._unpack(parts[4].bytes)

    def pass_on(self, frames: Frames) -> None:
        """Let the kernel handle a message as if it came from the socket."""
        self._run(self.receiver, frames)

    def dispatch(self, frames: Frames) -> None:
        """Handle an information request or a message of a comm now."""
        idents, parts = self._split(frames, copy=False)
        message = self._deserialize(parts, content=True, copy=False)
        # a page sends the next message of a slider after it heard that the last one was dealt with
        self._publish_status("busy", "shell", parent=message)
        try:
            self._handle(message["header"]["msg_type"], idents, message)
        finally:
            self._publish_status("idle", "shell", parent=message)

    def _handle(self, kind: str, idents: list[bytes], message: Message) -> None:
        kernel = self._kernel
        if kind in INFO_REQUESTS:
            _run_to_first_await(kernel.shell_handlers[kind](self._reply, idents, message))
            if hasattr(self._reply, "flush"):
                self._reply.flush(zmq.POLLOUT)
        elif kind == "comm_msg":
            # not by `handle_msg`: it tells IPython that a cell was executed, and the inline backend shows unfinished
            # figures
            comm = COMMS(kernel).get(message["content"]["comm_id"])
            if comm is not None and (callback := COMM_CALLBACK(comm)) is not None:
                callback(message)
        else:
            getattr(kernel.comm_manager, kind)(self._reply, idents, message)


def find_shell_channel(kernel: Kernel | None) -> ShellChannel | None:
    """Give the shell channel of a kernel; None where there is no kernel, or it is not as known."""
    threaded = getattr(kernel, "shell_channel_thread", None) is not None
    for row in ROWS:
        if kernel is not None and row.threaded is threaded:
            with suppress(Exception):
                return ShellChannel(kernel, row)
    return None


def parent_message(shell: Shell | None) -> Message:
    """Give the request that is being executed; {} where there is no kernel."""
    kernel: Kernel | None = getattr(shell, "kernel", None)
    return (None if kernel is None else kernel.get_parent()) or {}


@contextmanager
def outputs_in(shell: Shell | None, parent: Message) -> Iterator[None]:
    """Let what is printed or displayed within it appear in the cell of an earlier request."""
    set_parent = getattr(shell, "set_parent", None)
    if set_parent is None or not parent:
        yield
        return
    before = parent_message(shell)
    set_parent(parent)
    try:
        yield
    finally:
        set_parent(before)


def _run_to_first_await(result: object) -> None:
    """Run a handler that may be a coroutine, and awaits nothing."""
    send = getattr(result, "send", None)
    if send is not None:
        with suppress(StopIteration):
            send(None)
            result.close()  # type: ignore[attr-defined]

"""Letting a panel's messages in while a cell blocks the kernel.

A kernel reads its next message when the cell has ended.  Here what waits is taken from the kernel's socket:
messages of the panel's own widgets are handled, all else is kept, in order, and given back when the cell ends.

This uses names that ipykernel does not promise.  Where they are not as known there is no pump, and dials act
when the cell ends.  Where a front end sends a widget's messages to a subshell, another thread hands them on,
and the pump finds nothing to do.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import zmq

__all__ = ["Pump"]

INFO = ("kernel_info_request", "comm_info_request")
"""What a page asks that is loaded anew, and does not show the panel before it is answered."""

CONTROL = "jupyter.widget.control"
"""The channel on which such a page asks for the state of all widgets."""

LONGEST = 0.05  # seconds that a call handles messages: a page may send them faster than they are dealt with

log = logging.getLogger("fluxmagic")


class Pump:
    """Takes waiting messages from a kernel: a context, within which it is called every now and then.

    Parameters
    ----------
    kernel : ipykernel.kernelbase.Kernel
    own : callable
        Of a comm's id, to whether its messages are to be let in.

    Attributes
    ----------
    works : bool
        Whether this kernel is one that it knows.

    Notes
    -----
    It was tried with ipykernel 6.31, 7.3 and 7.4.  A call that finds nothing takes some 15 µs.
    """

    def __init__(self, kernel: Any, own: Callable[[str], bool]) -> None:
        self.kernel = kernel
        self.own = own
        self.kept: deque[list[Any]] = deque()
        self._controls: set[str] = set()
        self._stream: Any = None
        self.works = threading.current_thread() is threading.main_thread() and self._find()

    def _find(self) -> bool:
        kernel = self.kernel
        try:
            thread = getattr(kernel, "shell_channel_thread", None)
            if thread is not None:  # ipykernel 7: another thread reads the socket, and hands on what is for this one
                manager = thread.manager
                self._stream = manager._shell_channel_to_main.to_stream
                self._reply: Any = manager.get_subshell_to_shell_channel_socket(None)
            else:
                self._stream = self._reply = kernel.shell_stream
            known = isinstance(self._stream.socket, zmq.Socket) and callable(self._stream._recv_callback)
            known = known and callable(self._stream._run_callback) and callable(kernel._publish_status)
            session = kernel.session
            known = known and all(map(callable, (session.feed_identities, session.unpack, session.deserialize)))
            return bool(known and kernel.comm_manager.comms is not None)
        except Exception:
            return False

    def __enter__(self) -> Pump:
        return self

    def __call__(self) -> int:
        """Handle what has come for the panel.

        Returns
        -------
        int
            How many messages were handled.
        """
        handled = 0
        end = time.perf_counter() + LONGEST
        while self.works and time.perf_counter() < end:
            with uninterrupted():  # between taking a message and keeping it nothing may come
                frames = self._take()
                ours = frames is not None and self._is_ours(frames)
                if frames is not None and not ours:
                    self.kept.append(frames)
            if frames is None:
                break
            if ours:
                self._handle(frames)
                handled += 1
        return handled

    def _take(self) -> list[Any] | None:
        try:
            frames: list[Any] = self._stream.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            return frames
        except zmq.Again:
            return None
        except Exception:
            log.warning("cannot read the kernel's messages: dials act when the cell ends", exc_info=True)
            self.works = False
            return None

    def _is_ours(self, frames: list[Any]) -> bool:
        session = self.kernel.session
        try:
            _, parts = session.feed_identities(frames, copy=False)
            kind = session.unpack(parts[1].bytes)["msg_type"]  # deserialize would refuse to do it again later
            if kind in INFO:
                return True
            if kind not in ("comm_msg", "comm_open", "comm_close"):
                return False
            content = session.unpack(parts[4].bytes)
            comm = content["comm_id"]
            if kind == "comm_open" and content.get("target_name") == CONTROL:
                self._controls.add(comm)
            return comm in self._controls or self.own(comm)
        except Exception:  # whatever it is, it is not for the panel
            return False

    def _handle(self, frames: list[Any]) -> None:
        kernel = self.kernel
        try:
            idents, parts = kernel.session.feed_identities(frames, copy=False)
            message = kernel.session.deserialize(parts, content=True, copy=False)
            kind = message["header"]["msg_type"]
            # a page sends no second message of a slider before it heard that the first was dealt with
            kernel._publish_status("busy", "shell", parent=message)
            try:
                if kind in INFO:
                    _finish(kernel.shell_handlers[kind](self._reply, idents, message))
                    if hasattr(self._reply, "flush"):
                        self._reply.flush(zmq.POLLOUT)
                elif kind == "comm_msg":
                    self._deliver(message)
                else:
                    getattr(kernel.comm_manager, kind)(self._reply, idents, message)
            finally:
                kernel._publish_status("idle", "shell", parent=message)
        except Exception:
            log.warning("a message of the panel could not be handled", exc_info=True)

    def _deliver(self, message: dict[str, Any]) -> None:
        comm = self.kernel.comm_manager.comms.get(message["content"]["comm_id"])
        # not by handle_msg: it tells IPython that a cell was executed, and the inline backend shows half-made figures
        callback = getattr(comm, "_msg_callback", None)
        if callback is not None:
            callback(message)

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Handle the panel's messages as they come: those of other kinds wait for a cell, or for each other.

        Several pumps may be beside the kernel at a time, and end in any order.
        """
        if not self.works:
            yield
            return
        stream = self._stream
        receive = stream._recv_callback
        if not isinstance(receive, _Beside):
            receive = stream._recv_callback = _Beside(receive)
        receive.pumps.append(self)
        try:
            yield
        finally:
            receive.pumps.remove(self)
            if not receive.pumps and stream._recv_callback is receive:
                stream._recv_callback = receive.others

    def let_in(self) -> None:
        """Within `beside`: handle what waits for the panel now, and hand on all else, in order."""
        self()
        self._give_back()

    def __exit__(self, *error: Any) -> None:
        with uninterrupted():
            if self.works:  # what is there now came before what comes later
                while (frames := self._take()) is not None:
                    self.kept.append(frames)
            self._give_back()

    def _give_back(self) -> None:
        while self.kept:
            self._stream._run_callback(self._stream._recv_callback, self.kept.popleft())


class _Beside:
    """What a kernel's stream calls with a message: the pump that it is for, or what the kernel had there."""

    def __init__(self, others: Callable[[list[Any]], Any]) -> None:
        self.others = others
        self.pumps: list[Pump] = []

    def __call__(self, frames: list[Any]) -> Any:
        pump = next((p for p in self.pumps if p._is_ours(frames)), None)
        if pump is None:
            return self.others(frames)
        pump._handle(frames)
        return None


def _finish(result: Any) -> None:
    """Run a handler that is a coroutine for form's sake."""
    if hasattr(result, "send"):
        try:
            result.send(None)
        except StopIteration:
            return
        result.close()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put a Ctrl-C off until the block has ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[Any] = []
    before = signal.getsignal(signal.SIGINT)
    if not callable(before):
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: came.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            before(signal.SIGINT, came[0])

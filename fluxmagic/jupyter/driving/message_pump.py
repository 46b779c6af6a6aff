"""Handle a panel's messages while a cell blocks the kernel.

A kernel reads its next message when the cell has ended.  The pump takes waiting messages from the kernel's socket:
those of the panel's own widgets are handled, all others are deferred, and given back in order when the cell ends.
Where a kernel is not as known there is no pump, and sliders act when the cell ends.  Where a front end sends a
widget's messages to a subshell, another thread passes them on, and the pump finds nothing to do.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from fluxmagic.jupyter.ipykernel_compat import INFO_REQUESTS, Frames, Kernel, Receiver, find_shell_channel

__all__ = ["CONTROL", "MessagePump", "deferred_interrupts"]

CONTROL = "jupyter.widget.control"  # the comm target on which a page asks for the state of all widgets
MAX_SECONDS = 0.05  # of a call: a page may send messages faster than they are handled

log = logging.getLogger("fluxmagic")


class MessagePump:
    """Take waiting messages from a kernel: a context, within which it is called every now and then.

    `accepts` tells of a comm's id whether its messages are to be handled.  A page that is loaded anew is answered too:
    it does not show the panel before.  A call that finds nothing takes some 15 µs.
    """

    def __init__(self, kernel: Kernel | None, accepts: Callable[[str], bool]) -> None:
        self._accepts = accepts
        self._deferred: deque[Frames] = deque()
        self._controls: set[str] = set()
        main = threading.current_thread() is threading.main_thread()
        self._channel = find_shell_channel(kernel) if main else None
        self.supported = self._channel is not None  # this kernel is as known, and this is the main thread

    def __enter__(self) -> MessagePump:
        return self

    def __call__(self) -> int:
        """Handle what waits for the panel; give the number of messages."""
        handled = 0
        end = time.perf_counter() + MAX_SECONDS
        while time.perf_counter() < end:
            with deferred_interrupts():  # one between receiving a message and keeping it would lose it
                frames = self._receive()
                ours = frames is not None and self.accepts_message(frames)
                if frames is not None and not ours:
                    self._deferred.append(frames)
            if frames is None:
                break
            if ours:
                self.dispatch(frames)
                handled += 1
        return handled

    def _receive(self) -> Frames | None:
        try:
            return self._channel.receive() if self.supported and self._channel is not None else None
        except Exception:
            log.warning("cannot read the kernel's messages: sliders act when the cell ends", exc_info=True)
            self.supported = False
            return None

    def accepts_message(self, frames: Frames) -> bool:
        """Tell whether a message is for the panel, or of a page that is loaded anew."""
        if self._channel is None:
            return False
        try:
            kind, content = self._channel.peek(frames)
            if kind in INFO_REQUESTS:
                return True
            if kind not in ("comm_msg", "comm_open", "comm_close"):
                return False
            comm = content["comm_id"]
            if kind == "comm_open" and content.get("target_name") == CONTROL:
                self._controls.add(comm)
            return comm in self._controls or self._accepts(comm)
        except Exception:  # a message that cannot be read is not for the panel
            return False

    def dispatch(self, frames: Frames) -> None:
        """Handle a message; an error is logged."""
        assert self._channel is not None
        try:
            self._channel.dispatch(frames)
        except Exception:
            log.warning("a message of the panel could not be handled", exc_info=True)

    @contextmanager
    def while_awaiting(self) -> Iterator[None]:
        """Let the event loop handle the panel's messages at once: others wait for a cell, or for each other.

        Several pumps may do so at a time, and end in any order.
        """
        channel = self._channel
        if channel is None:
            yield
            return
        router = channel.receiver
        if not isinstance(router, _Router):
            router = channel.receiver = _Router(router)
        router.pumps.append(self)
        try:
            yield
        finally:
            router.pumps.remove(self)
            if not router.pumps and channel.receiver is router:
                channel.receiver = router.others

    def handle_waiting(self) -> None:
        """Within `while_awaiting`: handle what waits for the panel now, and pass on all else, in order."""
        self()
        self._give_back()

    def __exit__(self, *error: object) -> None:
        with deferred_interrupts():
            while (frames := self._receive()) is not None:  # what is there now came before what comes later
                self._deferred.append(frames)
            self._give_back()

    def _give_back(self) -> None:
        while self._deferred and self._channel is not None:
            self._channel.pass_on(self._deferred.popleft())


class _Router:
    """What a kernel's stream calls with a message: passes it to the pump that it is for, or to the kernel."""

    def __init__(self, others: Receiver) -> None:
        self.others = others
        self.pumps: list[MessagePump] = []

    def __call__(self, frames: Frames) -> object:
        for pump in self.pumps:
            if pump.accepts_message(frames):
                pump.dispatch(frames)
                return None
        return self.others(frames)


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Deliver all interrupts of a block at its end, as one."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    frames: list[FrameType | None] = []
    signal.signal(signal.SIGINT, lambda number, frame: frames.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if frames:
            before(signal.SIGINT, frames[0])

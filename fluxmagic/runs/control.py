"""Requests from any thread, and the boundary between two batches.

One mutex guards the fields of a `Control`.  It is held for a few instructions, never while a batch is computed.
One thread at a time holds the boundary: it works on batches, or changes the run between two.  The boundary is
reentrant.  Threads get it in the order in which they asked; a loop lets go of it when `attention` is not empty.
Any thread submits requests.  The holder of the boundary applies them in order, between two batches.  If no thread
holds it the caller applies its request and gets the error.  Otherwise the caller goes on, and the error is a warning.
`driven` (a thread takes steps) and `recomputing` (a thread goes back) are written by the holder of the boundary.
"""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any

__all__ = ["Control", "Request"]


@dataclass(eq=False)
class Request:
    """A change that a thread asks for: "set", "drag" or "swap" with its values, "pause" or "stop"; messages name it."""

    kind: str
    values: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    future: Future[None] = field(default_factory=Future, repr=False)


class Control:
    """What threads ask of a run, and which of them has it.

    `apply`, of a kind and its values, makes a change of the run; "pause" and "stop" are kept in `halt`.
    """

    def __init__(self, apply: Callable[[str, Mapping[str, Any]], None]) -> None:
        self.attention: list[object] = []  # not empty while a request or a thread waits
        self.halt = ""  # "pause" or "stop", if that was asked for
        self.halts = 0  # how often
        self.in_batch = False  # a batch is being worked on
        self.driven = self.recomputing = False
        self._apply = apply
        self._applying = False
        self._requests: deque[Request] = deque()
        self._mutex = threading.RLock()  # reentrant, since a signal handler may ask for a pause
        self._released = threading.Condition(self._mutex)
        self._holder: int | None = None
        self._depth = 0
        self._waiting: deque[object] = deque()

    # -- the boundary --------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """The number of threads that wait for the boundary."""
        return len(self._waiting)

    @property
    def is_held_here(self) -> bool:
        """Whether this thread holds the boundary."""
        return self._holder == get_ident()

    def __enter__(self) -> None:
        """Hold the boundary, and apply what was asked for before; at the exit, what was asked for meanwhile."""
        self._acquire()
        if self._requests:
            try:
                self._apply_requests()
            except BaseException:
                self._release()
                raise

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._release()
        if self._requests and kind is None:
            self.apply_if_idle()

    def _acquire(self, wait: bool = True) -> bool:
        me = get_ident()
        with self._mutex:
            if self._holder != me and (self._holder is not None or self._waiting):
                if not wait:
                    return False
                self._wait()
            self._holder = me
            self._depth += 1
            return True

    def _wait(self) -> None:
        ticket = object()
        self._waiting.append(ticket)
        self.attention.append(ticket)
        try:
            while self._holder is not None or self._waiting[0] is not ticket:
                self._released.wait()
        finally:
            self._waiting.remove(ticket)
            self.attention.remove(ticket)
            self._released.notify_all()

    def _release(self) -> None:
        with self._mutex:
            self._depth -= 1
            if not self._depth:
                self._holder = None
                if self._waiting:
                    self._released.notify_all()

    # -- requests ------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Append a request, and apply it if no thread holds the boundary.

        A step that is computed again makes no requests: those it made are in the record.
        """
        if self.recomputing and self.is_held_here:
            return
        with self._mutex:
            self.halts += request.kind in ("pause", "stop")
            self._requests.append(request)
            self.attention.append(request)
        self.apply_if_idle()
        if request.future.done():
            request.future.result()
        else:
            request.future.add_done_callback(lambda future: _warn(request, future))

    def pending(self, kind: str) -> list[Mapping[str, Any]]:
        """Give the values of the requests of a kind that are not applied yet."""
        with self._mutex:
            return [r.values for r in self._requests if r.kind == kind]

    def apply_if_idle(self) -> None:
        """Apply the requests, unless a thread works that will."""
        while self._requests and not (self.in_batch or self._applying) and self._acquire(wait=False):
            try:
                self._apply_requests()
            finally:
                self._release()

    def _apply_requests(self) -> None:
        if self.in_batch or self._applying:
            return
        self._applying = True
        try:
            while self._requests:
                self._apply_first(self._requests[0])
        finally:
            self._applying = False

    def _apply_first(self, request: Request) -> None:
        error = None
        try:
            if request.kind in ("pause", "stop"):
                self.halt = request.kind
            else:
                self._apply(request.kind, request.values)
        except Exception as e:
            error = e
        finally:
            with self._mutex:
                self._requests.popleft()
                self.attention.remove(request)
        request.future.set_exception(error) if error else request.future.set_result(None)


def _warn(request: Request, future: Future[None]) -> None:
    error = future.exception()
    if error is not None:
        told = f"{request.label} was asked for and has failed: {type(error).__name__}: {error}"
        warnings.warn(told, RuntimeWarning, stacklevel=2)

"""Requests of a page, in order.

They come on any thread, and are processed where the run is driven, between two batches.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial

from fluxmagic.jupyter.controls.widgets import FromPage, State

__all__ = ["PageRequests", "Request"]

Request = Callable[[], object]  # False: the picture needs no answer


class PageRequests:
    """A queue of requests, and of states that a page sent; `wake` is called after each, on its thread."""

    def __init__(self, wake: Callable[[], None] | None = None) -> None:
        self._wake = wake or (lambda: None)
        self._queue: deque[Request] = deque()
        self._open_states: dict[FromPage, State] = {}  # that later ones of the same widget can be merged into
        self._lock = threading.Lock()
        self._applying: int | None = None  # the thread that applies a state
        self._raised: list[Request] = []  # by the widget that takes it on
        self.heard = False  # whether a page has sent anything

    def __bool__(self) -> bool:
        return bool(self._queue)

    def add(self, request: Request) -> None:
        """Queue a request."""
        if self._applying == threading.get_ident():
            self._raised.append(request)
            return
        with self._lock:
            self._open_states.clear()  # states that come later are applied after this request
            self._queue.append(request)
        self._wake()

    def add_state(self, widget: FromPage, state: State) -> None:
        """Queue a state that a page sent; of several in a row the last one of each widget counts."""
        self.heard = True
        with self._lock:
            if widget in self._open_states:
                self._open_states[widget].update(state)
                return
            self._open_states[widget] = state
            self._queue.append(partial(self._apply, widget, state))
        self._wake()

    def _apply(self, widget: FromPage, state: State) -> bool:
        with self._lock:
            if self._open_states.get(widget) is state:
                del self._open_states[widget]
        self._applying = threading.get_ident()
        try:
            widget.apply(state)
        finally:
            self._applying = None
        raised, self._raised = self._raised, []
        answers = [request() is not False for request in raised]
        return any(answers)

    def process(self, on_error: Callable[[Exception], None]) -> bool:
        """Process all requests; an error goes to `on_error`.  Tell whether the picture is to answer."""
        answer = False
        while self._queue:
            request = self._queue.popleft()
            try:
                answer |= request() is not False
            except Exception as error:  # a value that a run rejects does not end the training
                on_error(error)
        return answer

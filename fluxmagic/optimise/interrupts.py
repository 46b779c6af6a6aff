"""Ctrl-C, and a notebook's ■, during a training loop.

Signals arrive in the main thread only: in other threads a guard does nothing.  `train`, a run, and the driver of a cell
each hold a guard; guards nest.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["InterruptGuard", "is_interrupt"]


class InterruptGuard:
    """Defer interrupts around a loop: the first lets the batch end, a second one stops at once.

    A second interrupt waits while `shielded` is true: in an update and wherever a run changes its own state.  A third
    one does not wait, so that an endless rule can be left.

    A deferred interrupt goes to the handler installed before.  Python's own raises KeyboardInterrupt.  That of an event
    loop cancels the cell or the task that awaits; a KeyboardInterrupt in a task would end the event loop.

    Parameters
    ----------
    ends_loop : bool
        An interrupt ends the loop.  False for a turn of some milliseconds, whose driver decides.

    Attributes
    ----------
    presses : int
        Interrupts since the last `check`.  A loop looks at it after every batch.
    shielded : bool
        A plain attribute, since a step sets it twice: `train_step` clears it for the loss and the reverse pass.
    """

    def __init__(self, ends_loop: bool = True) -> None:
        self.ends_loop = ends_loop
        self.presses = 0
        self.shielded = False
        self._before: Callable[[int, FrameType | None], object] | int | None = None
        self._outer: InterruptGuard | None = None

    def __enter__(self) -> InterruptGuard:
        self.presses = 0
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if callable(before):  # SIGINT is neither ignored nor handled outside Python
                self._before = before
                outer = getattr(before, "__self__", None)
                self._outer = outer if isinstance(outer, InterruptGuard) else None
                signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.hold_back():
            self.deliver(frame)

    def hold_back(self) -> bool:
        """Count an interrupt; tell whether it waits: the first one does, a second one within a shield."""
        self.presses += 1
        return self.presses <= 1 + self.shielded

    def deliver(self, frame: FrameType | None) -> None:
        """Call the handler installed before the outermost guard."""
        if self._outer is not None:
            self._outer.deliver(frame)
        elif callable(self._before):
            self._before(signal.SIGINT, frame)

    @contextmanager
    def shield(self, on: bool = True) -> Iterator[None]:
        """Set `shielded` within a block; `shield(False)` clears it, around a user's function."""
        before, self.shielded = self.shielded, on
        try:
            yield
        finally:
            self.shielded = before

    def check(self) -> None:
        """Deliver a deferred interrupt: Python's own handler raises KeyboardInterrupt.

        In a task of an event loop whose handler has taken the interrupt, raise asyncio.CancelledError.
        """
        if not self.presses:
            return
        self.presses = 0
        if self._outer is not None and not self.ends_loop:
            self._outer.presses += 1  # the outer loop ends
            return
        self.deliver(None)
        asyncio = sys.modules.get("asyncio")
        if self.ends_loop and asyncio is not None:
            with suppress(RuntimeError):  # no event loop is running
                if asyncio.current_task() is not None:
                    raise asyncio.CancelledError("interrupted")

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._before is None:
            return
        signal.signal(signal.SIGINT, self._before)
        try:
            if kind is None:
                self.check()
        finally:
            self._before = self._outer = None


def is_interrupt(error: BaseException) -> bool:
    """Tell whether an interrupt ended a loop with this error, see `InterruptGuard.check`."""
    asyncio = sys.modules.get("asyncio")
    return isinstance(error, KeyboardInterrupt) or (asyncio is not None and isinstance(error, asyncio.CancelledError))

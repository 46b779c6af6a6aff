"""How often to draw: a share of the processor's time, idle time, and a picture a second at least."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Clock", "DrawBudget"]

Clock = Callable[[], float]  # gives seconds

SHARE = 0.028  # of the processor's time of training and drawing
BOOSTED_SHARE = 0.095  # for a while after a dial was turned
BOOST_SECONDS = 5.0
IDLE_SHARE = 0.45  # of the time that is slept: of a core
MIN_SECONDS = 0.05  # between two frames
MAX_DEBT = 0.1  # a picture a second may cost more than is saved
MAX_SECONDS = 0.95  # beyond it a frame is due whatever it costs


class DrawBudget:
    """Save a share of the processor's time as it passes; a frame is due when the savings pay for one.

    Parameters
    ----------
    clock, processor : callable, optional
        The time, and the processor's time of this process.
    """

    def __init__(self, clock: Clock = time.perf_counter, processor: Clock = time.process_time) -> None:
        self._clock, self._processor = clock, processor
        self.drawn = 0.0  # seconds of the processor's time
        self._start = self._last = processor()
        self._saved = 0.0
        self._cost = 0.01  # of a frame
        self._boosted_until = self._not_before = -math.inf
        self._at_latest = clock() + MAX_SECONDS

    def boost(self) -> None:
        """Draw more often for a while: the user waits for the answer to a change."""
        now = self._clock()
        if now >= self._boosted_until:
            self._saved = max(self._saved, self._cost)
        self._boosted_until = now + BOOST_SECONDS

    def due(self, idle: float = 0.0) -> bool:
        """Tell whether to draw now; `idle` seconds were slept since the last call."""
        now, used = self._clock(), self._processor()
        share = BOOSTED_SHARE if now < self._boosted_until else SHARE
        self._saved = min(self._saved + (used - self._last) * share + idle * IDLE_SHARE, 2 * self._cost)
        self._last = used
        return now >= self._at_latest or (self._saved >= self._cost and now >= self._not_before)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Account for a frame, which is drawn within it."""
        with self.writing():
            before = self._processor()
            yield
            spent = self._processor() - before
        self._cost = min(1.5 * self._cost, spent)  # a frame whose axes move costs more, and is rare
        now = self._clock()
        self._not_before, self._at_latest = now + MIN_SECONDS, now + MAX_SECONDS

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Account for words that are shown within it."""
        before = self._processor()
        try:
            yield
        finally:
            spent = self._processor() - before
            self._saved = max(self._saved - spent, -MAX_DEBT)
            self.drawn += spent

    @property
    def share(self) -> float:
        """The share of the processor's time that was spent on frames and words."""
        return self.drawn / max(self._processor() - self._start, 1e-9)

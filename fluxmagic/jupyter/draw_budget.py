"""How often to draw: a share of the time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = ["Clock", "DrawBudget"]

Clock = Callable[[], float]  # gives seconds

SHARE = 0.01
BOOSTED_SHARE = 0.10  # for a while after a slider was moved
BOOST_SECONDS = 5.0
MIN_SECONDS = 0.06  # between two frames


class DrawBudget:
    """Save a share of the time as it passes; a frame is due when the savings pay for one.

    Parameters
    ----------
    clock : callable, optional
    """

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self.clock = clock
        self.drawn = 0.0  # seconds spent on frames
        self._start = self._last = clock()
        self._saved = 0.0
        self._cost = 0.01  # of a frame
        self._boosted_until = self._next = -math.inf

    def boost(self) -> None:
        """Draw more often for a while: the user waits for the answer to a change."""
        now = self.clock()
        if now >= self._boosted_until:
            self._saved = max(self._saved, self._cost)
        self._boosted_until = now + BOOST_SECONDS

    def due(self) -> bool:
        """Tell whether to draw now."""
        now = self.clock()
        share = BOOSTED_SHARE if now < self._boosted_until else SHARE
        self._saved = min(self._saved + (now - self._last) * share, 2 * self._cost)
        self._last = now
        return self._saved >= self._cost and now >= self._next

    def spend(self, seconds: float) -> None:
        """Account for a frame."""
        self._saved -= seconds
        self.drawn += seconds
        self._cost = min(1.5 * self._cost, seconds)  # a frame whose axes move costs more, and is rare
        self._next = self.clock() + MIN_SECONDS

    @property
    def share(self) -> float:
        """The share of the time that was spent on frames."""
        return self.drawn / max(self.clock() - self._start, 1e-9)

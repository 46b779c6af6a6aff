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
ANSWER_SECONDS = 0.4  # between two frames that answer a change whatever they cost
IDLE_SHARE = 0.45  # of a core, training and drawing, where training leaves time
MIN_SECONDS = 0.05  # between two frames, by the mean
MAX_DEBT = 0.1  # a picture a second may cost more than is saved
MAX_SECONDS = 0.95  # beyond it a frame is due whatever it costs


class DrawBudget:
    """Save a share of the processor's time as it passes; a frame is due when the savings pay for one."""

    def __init__(self, clock: Clock = time.perf_counter, processor: Clock = time.process_time) -> None:
        self._clock, self._processor = clock, processor
        self.drawn = 0.0  # seconds of the processor's time
        self._start = self._used = processor()
        self._saved = 0.0
        self._cost = 0.01  # of a frame
        self._boosted_until = self._not_before = self._answered = -math.inf
        self._answer_at = math.inf
        self._last = clock()
        self._at_latest = self._last + MAX_SECONDS

    def boost(self) -> None:
        """Draw at once, and more often for a while: the user waits for the answer to a change."""
        now = self._clock()
        self._boosted_until = now + BOOST_SECONDS
        self._answer_at = min(self._answer_at, max(now, self._answered + ANSWER_SECONDS))

    def due(self, idle: bool = False) -> bool:
        """Tell whether to draw now; `idle`: training leaves time, because its speed is limited."""
        now, used = self._clock(), self._processor()
        elapsed, trained = now - self._last, used - self._used
        earned = trained * (BOOSTED_SHARE if now < self._boosted_until else SHARE)
        if idle:
            earned = max(earned, elapsed * IDLE_SHARE - trained)
        self._saved = min(self._saved + earned, 2 * self._cost)
        self._last, self._used = now, used
        return now >= min(self._at_latest, self._answer_at) or (self._saved >= self._cost and now >= self._not_before)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Account for a frame, which is drawn within it."""
        start = self._clock()
        if start >= self._answer_at:
            self._answered = start
        self._answer_at = math.inf
        with self.writing():
            before = self._processor()
            yield
            spent = self._processor() - before
        self._cost = min(1.5 * self._cost, spent)  # a frame whose axes move costs more, and is rare
        self._not_before = max(self._not_before + MIN_SECONDS, start)  # what is late by less is made up for
        self._at_latest = self._clock() + MAX_SECONDS

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Account for words that are shown within it."""
        before = self._processor()
        try:
            yield
        finally:
            spent = self._processor() - before
            self._saved = max(self._saved - spent, -MAX_DEBT)
            self._used += spent
            self.drawn += spent

    @property
    def share(self) -> float:
        """The share of the processor's time that was spent on frames and words."""
        return self.drawn / max(self._processor() - self._start, 1e-9)

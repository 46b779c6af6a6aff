"""How fast training goes: a speed in steps a second, and the steps that are due by it."""

from __future__ import annotations

import math
import time

from fluxmagic.jupyter.driving.draw_budget import Clock

__all__ = ["SPEEDS", "Pace", "check_speed"]

SPEEDS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, math.inf)
MOST_LATE = 0.1  # seconds: what a slower step, or a busy kernel, has missed beyond that is not made up for


class Pace:
    """Count the steps that are due at a speed in steps a second; infinity is as fast as it goes."""

    def __init__(self, speed: float = math.inf, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._speed = check_speed(speed)
        self.start()

    @property
    def speed(self) -> float:
        """Steps a second.  After a change the next step is due now."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self._speed = check_speed(speed)
        self.start()

    def start(self) -> None:
        """Let the next step be due now."""
        self._next = self._clock()

    @property
    def is_limited(self) -> bool:
        """Whether the speed has a limit."""
        return self._speed < math.inf

    @property
    def due(self) -> int | None:
        """The steps that are due now: for `Trainable.advance`; None without a limit."""
        if not self.is_limited:
            return None
        late = self._clock() - self._next
        return 0 if late < 0 else 1 + int(late * self._speed)

    @property
    def wait(self) -> float:
        """Seconds until the next step is due."""
        return max(0.0, self._next - self._clock()) if self.is_limited else 0.0

    def count(self, steps: int) -> None:
        """Account for steps that were taken."""
        self._next = max(self._next + steps / self._speed, self._clock() - MOST_LATE)


def check_speed(speed: float) -> float:
    """Check that a speed is a number of steps a second."""
    if not speed > 0:
        raise ValueError(f"a speed is a number of steps a second, above 0: not {speed!r}")
    return float(speed)

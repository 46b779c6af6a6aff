"""What a cell or a `Panel` can drive and show: a run, a race, a sweep.

`loop` and `panel` know no more of it than `Trainable`.  What a page shows of it, `presentation` looks up by its class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fluxmagic.runs.driver import Driver
from fluxmagic.tracker import Param

__all__ = ["Trainable"]


class Trainable(Protocol):
    """Training that can be stepped, paused and ended."""

    name: str | None
    driver: Driver | None  # the panel that drives it

    @property
    def state(self) -> str: ...  # "ready", "running", "paused", "stopped", "done" or "failed"
    @property
    def steps(self) -> int: ...  # taken so far; of a race, by each contestant
    @property
    def total_steps(self) -> int | None: ...
    @property
    def finished(self) -> bool: ...  # whether all steps are taken
    @property
    def rate(self) -> float: ...  # steps a second of training; 0 before the first
    @property
    def params(self) -> Sequence[Param]: ...  # two panels do not train the same ones at a time

    def advance(self, seconds: float, steps: int | None = None) -> None:
        """Train for about so long, one step at least and `steps` at most; the state stays "running" unless it ends.

        After `pause` or `stop` it takes no step, and the state becomes "paused" or "stopped".
        """

    def step(self, n: int = 1) -> object:
        """Take n steps, or fewer; it is paused afterwards."""

    def pause(self) -> None:
        """End the training after the batch, so that it can go on; from any thread."""

    def stop(self) -> None:
        """End the training after the batch; from any thread."""

    def restart(self) -> None:
        """Go back to the start, with the present settings."""

    def extend(self) -> None:
        """Let what is finished go on for as many epochs, or steps, again."""

    def keep_best(self) -> None:
        """Put the best weights back, if that is wanted: an interrupt ends the training."""

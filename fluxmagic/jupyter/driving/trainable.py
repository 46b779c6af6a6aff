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
    """Training that can be stepped, paused and ended.

    Attributes
    ----------
    name : str or None
    driver : Driver or None
        The panel that drives it.
    state : str
        "ready", "running", "paused", "stopped", "done" or "failed".
    steps, total_steps : int, int or None
        Taken so far, and of the whole; of a race, those of each contestant.
    finished : bool
        Whether all steps are taken.
    rate : float
        Steps a second of training; 0 before the first.
    params : list of Param
        What is trained: two panels do not train the same parameters at a time.
    """

    name: str | None
    driver: Driver | None

    @property
    def state(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def total_steps(self) -> int | None: ...
    @property
    def finished(self) -> bool: ...
    @property
    def rate(self) -> float: ...
    @property
    def params(self) -> Sequence[Param]: ...

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

"""Training that another object may step, such as a panel: to join it is the same for runs, races and sweeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Any, Protocol

__all__ = ["SLICE_SECONDS", "Driver", "Joinable"]

SLICE_SECONDS = 0.02
"""The time for which training keeps an event loop that it shares."""


class Driver(Protocol):
    """What steps a run on its own: a panel."""

    def resume(self) -> None:
        """Go on after a pause."""

    def wait(self) -> None:
        """Train to the end, in the calling thread."""

    async def join(self) -> None:
        """Wait for the end."""


class Joinable(ABC):
    """What can be trained to its end, by its driver if it has one."""

    driver: Driver | None = None
    state: str

    @property
    @abstractmethod
    def finished(self) -> bool: ...
    @abstractmethod
    def train(self) -> None: ...
    @abstractmethod
    def advance(self, seconds: float, steps: int | None = None) -> None: ...
    @abstractmethod
    def pause(self) -> None: ...
    @abstractmethod
    def keep_best(self) -> None: ...

    def wait(self) -> None:
        """Train to the end in the calling cell, in place of the driver."""
        if self.driver is not None:
            self.driver.wait()
        else:
            self.train()

    def __await__(self) -> Generator[Any, None, None]:
        """Train to the end, with the event loop free for others."""
        return (self._advance_to_end() if self.driver is None else self.driver.join()).__await__()

    async def _advance_to_end(self) -> None:
        import asyncio  # which takes longer to load than all the rest here

        try:
            while not self.finished:
                self.advance(SLICE_SECONDS)
                if self.state != "running":
                    break
                await asyncio.sleep(0)
        finally:
            if self.state == "running":  # cancelled, as ■ does
                self.pause()
                self.advance(0.0)
                self.keep_best()

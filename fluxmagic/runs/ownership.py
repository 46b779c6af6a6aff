"""Which run's state is active over shared parameters: one at a time, the others are parked.

`deciding` is held while that is decided.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import Any, Protocol

from fluxmagic.runs.state import ModelState, TrainingState
from fluxmagic.tracker import Param

__all__ = ["Owner", "acquire", "deciding", "idle_owners", "owners"]

deciding = threading.RLock()


class Owner(Protocol):
    """What trains parameters."""

    @property
    def training(self) -> TrainingState:
        """The state of its training."""

    @property
    def in_use(self) -> bool:
        """Whether it trains, or goes back, at this moment."""


def owners(params: Iterable[Param]) -> list[Owner]:
    """Give the owners of parameters, once each."""
    found: list[Owner] = []
    for p in params:
        owner = p.run_ref and p.run_ref()
        if owner is not None and owner not in found:
            found.append(owner)
    return found


def idle_owners(params: Iterable[Param], but: Owner | None = None) -> list[Owner]:
    """Give the owners of parameters, without one of them; RuntimeError if one is in use."""
    others = [o for o in owners(params) if o is not but]
    for other in others:
        if other.in_use:
            raise RuntimeError(
                f"these weights are being trained by {other!r}: two runs cannot be active over shared "
                "parameters. Pause or stop that one first"
            )
    return others


def acquire(owner: Owner, params: Iterable[Param], before: ModelState | None = None) -> None:
    """Park the other owners of the parameters, and assign the owner's own values.

    `before` has buffers and generators as they were before the owner changed them.  RuntimeError if another owner is in
    use.
    """
    ref, params = weakref.ref(owner), list(params)
    with deciding:
        if owner.training.parked is None and all(p.run_ref is ref for p in params):
            return
        others = idle_owners(params, owner)
        known: dict[int, Any] = {}
        if before is not None:
            places: list[object] = [*owner.training.buffers, *owner.training.generators]
            known = dict(zip(map(id, places), [*before.values.buffers, *before.generators], strict=True))
        for other in others:
            other.training.park(known)
        owner.training.unpark()
        for p in params:
            p.run_ref = ref

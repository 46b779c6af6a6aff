"""The turns of a run as an object that can be given to another run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.runs.optimisers import check_values, optimiser_class
from fluxmagic.runs.record import Event

__all__ = ["Turns"]


class Turns(tuple[Event, ...]):
    """Turns of dials and swaps of optimisers, in order: `Run(..., turns=other.turns)` makes them in another run.

    Parameters
    ----------
    events : iterable of Event
        `(step, name, old, new)`, as `Run.events` has them.

    Raises
    ------
    ValueError
        If they are not in the order of their steps.
    """

    __slots__ = ()

    def __new__(cls, events: Iterable[Any] = ()) -> Turns:
        """Check the order."""
        new = super().__new__(cls, (e if isinstance(e, Event) else Event(*e) for e in events))
        steps = [e.step for e in new]
        if not all(type(s) is int and s >= 0 for s in steps) or steps != sorted(steps):
            raise ValueError(f"turns are in the order of their steps, from 0, and these are {steps}")
        return new

    def check(self, cls: type[Optimiser] | None) -> None:
        """Check that they can be made from an optimiser of this class on.

        Raises
        ------
        TypeError, ValueError
            Naming the turn.
        """
        for e in self:
            try:
                if cls is None:
                    raise TypeError("the optimiser has no dials")
                if e.name == "opt":
                    cls = e.cls or optimiser_class(e.new)
                else:
                    check_values(cls, {e.name: e.new})
            except (TypeError, ValueError) as error:
                raise type(error)(f"turns: {e.name} → {e.new} after step {e.step}: {error}") from None

    def due(self, step: int) -> Iterator[Event]:
        """Give those that are to be made after so many steps."""
        return (e for e in self if e.step == step)

    def next_after(self, step: int) -> int | None:
        """Return after how many steps the first one comes that is later than this step."""
        return next((e.step for e in self if e.step > step), None)

    def __repr__(self) -> str:
        return f"Turns([{', '.join(f'{e.step}: {e.name} → {e.new}' for e in self)}])"

"""The turns of a run, to be repeated in another run: `Run(..., turns=other.turns)`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.runs.optimisers import check_values, optimiser_class
from fluxmagic.runs.record import Event

__all__ = ["Turns"]


class Turns(tuple[Event, ...]):
    """Changes of hyper-parameters and of the optimiser, in the order of their steps.

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

    def __new__(cls, events: Iterable[Sequence[Any]] = ()) -> Turns:
        new = super().__new__(cls, (e if isinstance(e, Event) else Event(*e) for e in events))
        steps = [e.step for e in new]
        if not all(type(s) is int and s >= 0 for s in steps) or steps != sorted(steps):
            raise ValueError(f"turns are in the order of their steps, from 0; the steps of these are {steps}")
        return new

    def check(self, cls: type[Optimiser] | None) -> None:
        """Check that they are possible, beginning with an optimiser of this class; an error names the turn."""
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

    def __repr__(self) -> str:
        return f"Turns([{', '.join(f'{e.step}: {e.name} → {e.new}' for e in self)}])"

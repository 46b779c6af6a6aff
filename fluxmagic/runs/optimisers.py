"""The optimisers of a run: the active one, earlier ones, and specifications of those that are not built yet.

A run changes them between two steps only.  A user's change of the optimiser itself shows in `direct_changes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fluxmagic.optimise.inputs import as_optimisers
from fluxmagic.optimise.optimiser import OPTIMISERS, Optimiser
from fluxmagic.runs.record import Event, Setting
from fluxmagic.tracker import Param, param

__all__ = ["Opt", "OptimiserSet", "OptimiserState", "Turns", "check_values", "optimiser_class"]


Opt = Any
"""An optimiser, a class or a name of one, a function that updates, or a list of optimisers and functions."""


class OptimiserState(NamedTuple):
    """What an optimiser needs to go on: its class, its `state_dict`, its schedules."""

    cls: type[Optimiser]
    state: dict[str, Any]
    schedules: dict[str, Callable[[int], float]]


def optimiser_class(opt: str | type[Optimiser]) -> type[Optimiser]:
    """Give the optimiser class of a name."""
    cls = OPTIMISERS.get(opt) if isinstance(opt, str) else opt
    if not (isinstance(cls, type) and issubclass(cls, Optimiser)):
        raise ValueError(f"there is no optimiser {opt}; there are {', '.join(OPTIMISERS)}")
    return cls


def check_values(
    cls: type[Optimiser], hypers: Mapping[str, Any], n: int = 0, params: Iterable[Param] = ()
) -> dict[str, Any]:
    """Check hyper-parameters, also in the dtype of `params`, and give them under their own names.

    TypeError if the optimiser lacks one, ValueError if a number or a schedule's value at n is out of bounds.
    """
    given = cls.canonical(hypers)
    narrow = any(p.dtype == np.float32 for p in params)
    for k, v in given.items():
        if callable(v) and not isinstance(v, Param):
            cls.hypers[k].check(v(n), narrow, may_vanish=True)
        else:
            given[k] = cls.hypers[k].check(v, narrow)
    return given


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


class _Unwatched:
    """Stands for an optimiser whose hyper-parameters cannot change: a function, or a list."""

    version = 0


@dataclass
class OptimiserSet:
    """The optimisers of a run."""

    active: Any = None  # as given or activated; over a stand-in while the parameters are not known
    opts: list[Any] = field(default_factory=list)  # what makes an update; empty until they are known
    watched: Any = _Unwatched  # its direct changes are noticed
    version: int = 0  # its number of assignments at the last look
    _by_key: dict[str, Optimiser] = field(default_factory=dict)
    _seen: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, opt: Opt, hypers: Mapping[str, Any]) -> OptimiserSet:
        """Make one from an optimiser, a class or a name with hyper-parameters, a function, or a list."""
        new = cls()
        if isinstance(opt, str) or (isinstance(opt, type) and issubclass(opt, Optimiser)):
            kind = optimiser_class(opt)
            new._put(kind([param(0.0)], **check_values(kind, hypers)))
        elif hypers:
            raise TypeError(
                f"{', '.join(hypers)}: hyper-parameters go with the name or class of an optimiser, and this one is "
                "made already"
            )
        else:
            new.active, new.opts = opt, as_optimisers(opt)
            single = isinstance(opt, Optimiser)
            new._by_key = {
                o.name if single else f"{o.name} {i}": o for i, o in enumerate(new.opts) if isinstance(o, Optimiser)
            }
            new._look()
        return new

    # -- what is active ------------------------------------------------------------------------------------

    @property
    def is_built(self) -> bool:
        """Whether the parameters are known."""
        return bool(self.opts)

    @property
    def opt(self) -> Opt:
        """What is active; None while its parameters are not known."""
        return self.active if self.is_built else None

    @property
    def cls(self) -> type[Optimiser] | None:
        """The active class; None for a function or a list."""
        return type(self.active) if isinstance(self.active, Optimiser) else None

    @property
    def name(self) -> str:
        """The name of what is active."""
        return " + ".join(map(_label, self.active if isinstance(self.active, (list, tuple)) else [self.active]))

    @property
    def kind(self) -> str:
        """What a function or a list is called in messages."""
        return "a list of optimisers" if isinstance(self.active, (list, tuple)) else "a plain function"

    @property
    def settings(self) -> dict[str, Any]:
        """The hyper-parameters by name: a number, or the schedule."""
        return {**self.active.values, **self.active.schedules} if isinstance(self.active, Optimiser) else {}

    @property
    def values(self) -> dict[str, float]:
        """The present values of the hyper-parameters by name."""
        return self.active.values if isinstance(self.active, Optimiser) else {}

    @property
    def updates(self) -> int:
        """Updates that the active optimiser has made."""
        return self.active.n if isinstance(self.active, Optimiser) else 0

    @property
    def params(self) -> list[Param]:
        """What is updated; empty if an optimiser does not tell."""
        if not all(isinstance(o, Optimiser) for o in self.opts):
            return []
        return list(dict.fromkeys(p for o in self.opts for p in o.params))

    # -- changes -------------------------------------------------------------------------------------------

    def set_value(self, name: str, new: Setting) -> Setting:
        """Set a hyper-parameter, and return its old setting."""
        old = self.settings[name]
        setattr(self.active, name, new)
        self._look()
        return old

    def prepare(self, cls: type[Optimiser]) -> Optimiser | None:
        """Build what `activate` will need; None if it needs nothing, or the parameters are not known."""
        if not self.is_built or type(self._by_key.get(cls.__name__)) is cls:
            return None
        return cls(self.params)

    def activate(self, cls: type[Optimiser], prepared: Optimiser | None = None) -> None:
        """Activate the optimiser of a class: the earlier one, or else the one prepared, or a new one."""
        if type(self.active) is not cls:
            kept = self._by_key.get(cls.__name__)
            self._put(kept if type(kept) is cls else prepared or cls(self.active.params))

    def _put(self, opt: Optimiser) -> None:
        self._by_key[opt.name] = self.active = opt
        if self.is_built:
            self.opts[:] = [opt]
        self._look()

    def build(self, params: list[Param]) -> None:
        """Build the optimisers again, now that the parameters are known."""
        if not self.is_built:
            self._by_key = {k: type(o)(params, **o.values | o.schedules) for k, o in self._by_key.items()}
            self.opts[:] = [self._by_key[self.name]]
            self._put(self.opts[0])

    def zero_grads(self) -> None:
        """Clear the gradients of all parameters."""
        for opt in self.opts:
            if isinstance(opt, Optimiser):
                opt.clear()

    def _look(self) -> None:
        if isinstance(self.active, Optimiser):
            self.watched = self.active
        self.version = self.watched.version
        self._seen = self.settings

    def direct_changes(self) -> list[tuple[str, Any, Any]]:
        """Give name, old and new of what was changed on the optimiser itself since the last look."""
        if self.watched.version == self.version:
            return []
        before = self._seen
        self._look()
        return [(k, before[k], new) for k, new in self._seen.items() if new != before[k]]

    # -- states --------------------------------------------------------------------------------------------

    @property
    def active_key(self) -> str:
        """The key of the active optimiser in `states`; empty where another cannot be activated."""
        return self.opt.name if isinstance(self.opt, Optimiser) else ""

    def states(self) -> dict[str, OptimiserState]:
        """Copy the states of all optimisers, by key."""
        return {key: OptimiserState(type(o), o.state_dict(), o.schedules) for key, o in self._by_key.items()}

    def initial_states(self, name: str, settings: dict[str, Setting]) -> dict[str, OptimiserState]:
        """Copy the states before the first update: of the optimiser that was active at the start, if it has a name."""
        if not self.active_key:
            return self.states()
        cls, state, _ = self.states()[name]
        schedules = {k: v for k, v in settings.items() if callable(v)}
        values = {k: schedules[k](state["n"]) if k in schedules else v for k, v in settings.items()}
        return {name: OptimiserState(cls, {**state, "hypers": values}, schedules)}

    def restore(self, states: Mapping[str, OptimiserState], active: str, params: list[Param]) -> None:
        """Return to copied states."""
        self._by_key = {k: o for k, o in self._by_key.items() if k in states and self.is_built}
        for key, (cls, kept, schedules) in states.items():
            opt = self._by_key.get(key)
            if type(opt) is not cls:
                opt = self._by_key[key] = cls(params)
            opt.load_state_dict(kept, schedules)
        if active:
            self.opts[:] = [self._by_key[active]]
            self._put(self.opts[0])

    def fresh_copy(self, params: list[Param]) -> Opt:
        """Make optimisers of the same classes over the same parameters, which share no state with these."""
        if self.active_key:
            return type(self.opt)(params)
        new = [type(o)(o.params) if isinstance(o, Optimiser) else o for o in self.opts]
        return new if isinstance(self.opt, (list, tuple)) else new[0]


def _label(opt: Opt) -> str:
    return getattr(opt, "__name__", None) or getattr(opt, "name", None) or type(opt).__name__

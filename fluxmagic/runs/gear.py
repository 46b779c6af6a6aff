"""What a run optimises with: the optimiser in force, those used before, and their dials."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from fluxmagic.optimise.inputs import as_optimisers
from fluxmagic.optimise.optimiser import OPTIMISERS, Optimiser
from fluxmagic.runs.snapshot import OptState
from fluxmagic.tracker import Param

__all__ = ["Gear", "checked", "optimiser"]


def optimiser(opt: str | type[Optimiser]) -> type[Optimiser]:
    """The class of that name."""
    cls = OPTIMISERS.get(opt) if isinstance(opt, str) else opt
    if not (isinstance(cls, type) and issubclass(cls, Optimiser)):
        raise ValueError(f"there is no optimiser {opt}; there are {', '.join(OPTIMISERS)}")
    return cls


def checked(
    cls: type[Optimiser], hypers: Mapping[str, Any], n: int = 0, params: Iterable[Param] = ()
) -> dict[str, Any]:
    """Hyper-parameters by their own names, numbers and a schedule's value at n within their bounds.

    With `params`, also in the dtype of these parameters.

    Raises
    ------
    TypeError, ValueError
    """
    given = cls.named(hypers)
    narrow = any(p.dtype == np.float32 for p in params)
    for k, v in given.items():
        if callable(v) and not isinstance(v, Param):
            cls.hypers[k].check(v(n), narrow, may_vanish=True)
        else:
            given[k] = cls.hypers[k].check(v, narrow)
    return given


class Gear:
    """The optimiser in force and those used before.

    Where a class or a name was given there is no optimiser until `make` says what its parameters are: dials
    can be turned and optimisers swapped all the same.

    Parameters
    ----------
    opt : Optimiser, type, str, callable, or list of callables
    hypers : dict
        Where it is a class or a name.

    Attributes
    ----------
    opt : Optimiser, callable, list or None
        As it was given, or what was swapped in.
    opts : list
        What makes an update.
    watched : object
        The optimiser whose dials may be turned past the run; it was `turns` when last looked at.
    """

    def __init__(self, opt: Any, hypers: Mapping[str, Any] | None) -> None:
        self.opt: Any = None
        self.opts: list[Any] = []
        self._shelf: dict[str, Optimiser] = {}
        self._wishes: dict[str, tuple[type[Optimiser], dict[str, Any]]] = {}
        self._wished = ""
        self._seen: dict[str, Any] = {}
        self.watched: Any = _NOTHING
        self.turns = 0
        if isinstance(opt, str) or (isinstance(opt, type) and issubclass(opt, Optimiser)):
            self._wish(optimiser(opt), checked(optimiser(opt), hypers or {}))
        else:
            if hypers:
                raise TypeError(
                    f"{', '.join(hypers)}: hyper-parameters go with the name or class of an optimiser, and this one is "
                    "made already"
                )
            self.opts = as_optimisers(opt)
            self.opt = opt
            single = isinstance(opt, Optimiser)
            self._shelf = {
                o.name if single else f"{o.name} {i}": o for i, o in enumerate(self.opts) if isinstance(o, Optimiser)
            }
            self._look()
        self.first = self.name
        self.first_in_force = self.first if self.cls else ""
        self.first_settings = self.settings
        self.first_updates = opt.n if isinstance(opt, Optimiser) else 0

    def _wish(self, cls: type[Optimiser], given: dict[str, Any]) -> None:
        self._wishes.setdefault(cls.__name__, (cls, {k: given.get(k, h.default) for k, h in cls.hypers.items()}))
        self._wished = cls.__name__

    # -- looking -------------------------------------------------------------------------------------------

    @property
    def cls(self) -> type[Optimiser] | None:
        """The class of the optimiser in force; None where it is a plain function, or a list."""
        if self._wished:
            return self._wishes[self._wished][0]
        return type(self.opt) if isinstance(self.opt, Optimiser) else None

    @property
    def name(self) -> str:
        """The name of what is in force."""
        if self._wished:
            return self._wished
        if isinstance(self.opt, (list, tuple)):
            return " + ".join(map(_label, self.opt))
        return _label(self.opt)

    @property
    def settings(self) -> dict[str, Any]:
        """The dials, by name: a number, or the schedule that it follows."""
        if self._wished:
            return dict(self._wishes[self._wished][1])
        if isinstance(self.opt, Optimiser):
            return {**self.opt._values, **self.opt._schedules}
        return {}

    @property
    def values(self) -> dict[str, float]:
        """The hyper-parameters in force, by name."""
        if self._wished:
            return {k: v(0) if callable(v) else v for k, v in self._wishes[self._wished][1].items()}
        return self.opt.values if isinstance(self.opt, Optimiser) else {}

    @property
    def updates(self) -> int:
        """Updates that the optimiser in force has done."""
        return self.opt.n if isinstance(self.opt, Optimiser) else 0

    @property
    def params(self) -> list[Param]:
        """What is updated, as far as the optimisers say; empty if one of them does not."""
        if not all(isinstance(o, Optimiser) for o in self.opts):
            return []
        return list(dict.fromkeys(p for o in self.opts for p in o.params))

    # -- changing ------------------------------------------------------------------------------------------

    def turn(self, name: str, new: Any) -> Any:
        """Set a dial; hands back what it was set to."""
        if self._wished:
            wish = self._wishes[self._wished][1]
            old, wish[name] = wish[name], new
            return old
        old = self.opt._schedules.get(name, self.opt._values[name])
        setattr(self.opt, name, new)
        self._look()
        return old

    def prepare(self, cls: type[Optimiser]) -> Optimiser | None:
        """Make the optimiser that a swap will need; None where it needs none, or the parameters are not known."""
        if self._wished or type(self._shelf.get(cls.__name__)) is cls:
            return None
        return cls(self.params)

    def swap(self, cls: type[Optimiser], made: Optimiser | None = None) -> None:
        """Put another optimiser in force: the one of that class that was used before, or one made for it."""
        if self._wished:
            self._wish(cls, {})
        elif type(self.opt) is not cls:
            kept = self._shelf.get(cls.__name__)
            self._put(kept if type(kept) is cls else made or cls(self.opt.params))

    def _put(self, opt: Optimiser) -> None:
        self._shelf[opt.name] = self.opt = opt
        self.opts[:] = [opt]
        self._look()

    def make(self, params: list[Param]) -> None:
        """Now that the parameters are known, make the optimisers that were wished for."""
        if self._wished:
            for name, (cls, settings) in self._wishes.items():
                self._shelf[name] = cls(params, **settings)
            wished, self._wished = self._wished, ""
            self._put(self._shelf[wished])

    def _look(self) -> None:
        if isinstance(self.opt, Optimiser):
            self.watched = self.opt
        self.turns = self.watched._turns
        self._seen = self.settings

    def changed(self) -> list[tuple[str, Any, Any]]:
        """What was changed on the optimiser itself, past the run: name, old, new."""
        if self.watched._turns == self.turns:
            return []
        before = self._seen
        self._look()
        return [(k, before[k], new) for k, new in self._seen.items() if new != before[k]]

    # -- keeping and restoring -----------------------------------------------------------------------------

    @property
    def in_force(self) -> str:
        """Under which name `states` has the one in force; empty where that cannot change."""
        return self.opt.name if isinstance(self.opt, Optimiser) else ""

    def states(self) -> dict[str, OptState]:
        """Everything that the optimisers would need to go on, by name."""
        return {key: OptState(type(o), o.state_dict(), o.schedules) for key, o in self._shelf.items()}

    def first_states(self) -> dict[str, OptState]:
        """The same, as it was before any dial was turned; to be called before the first update."""
        if not self.in_force:
            return self.states()
        opt = self._shelf[self.first]
        settings = self.first_settings
        schedules: dict[str, Callable[[int], float]] = {k: v for k, v in settings.items() if callable(v)}
        values = {k: v(opt.n) if callable(v) else v for k, v in settings.items()}
        return {self.first: OptState(type(opt), {**opt.state_dict(), "hypers": values}, schedules)}

    def restore(self, states: Mapping[str, OptState], in_force: str, params: list[Param]) -> None:
        """Be as `states` says."""
        for key in set(self._shelf) - set(states):
            del self._shelf[key]
        for key, (cls, kept, schedules) in states.items():
            opt = self._shelf.get(key)
            if type(opt) is not cls:
                opt = self._shelf[key] = cls(params)
            opt.load_state_dict(kept)
            opt._schedules = dict(schedules)
        self._wished = ""
        if in_force:
            self._put(self._shelf[in_force])

    def another(self, params: list[Param]) -> Any:
        """Optimisers of the same kinds, over the same parameters, that share no state with these."""
        if self.in_force:
            return type(self.opt)(params)
        new = [type(o)(o.params) if isinstance(o, Optimiser) else o for o in self.opts]
        return new if isinstance(self.opt, (list, tuple)) else new[0]


_NOTHING = SimpleNamespace(_turns=0)
"""What is watched where the optimiser is a plain function, a list, or not made yet."""


def _label(opt: Any) -> str:
    return getattr(opt, "__name__", None) or getattr(opt, "name", None) or type(opt).__name__

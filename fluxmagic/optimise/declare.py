"""What an optimiser's class body becomes: hyper-parameters as attributes under two names, signature, docstring.

An assignment is checked by the declaration, here and nowhere else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from fluxmagic.absent import add_absent, present
from fluxmagic.greek import canonical
from fluxmagic.optimise.hyper import Hyper, Schedule, with_parameter_docs
from fluxmagic.tracker import Param, Tracked

__all__ = ["COMMON", "Declared", "describe"]

COMMON = ("decay", "clip", "clipnorm", "weightdecay")
"""The hyper-parameters of every optimiser."""

WORDS = {
    "step": "the optimiser is called: opt()",
    "zero_grad": "opt() clears the gradients itself, opt.clear() does that alone",
    "minimize": "train(loss, data, opt) is the loop, opt() one update",
    "apply_gradients": "opt() is an update",
    "param_groups": "dials are attributes: opt.η = 0.01; parts of a model with other dials take an optimiser each",
    "lr": "the learning rate is η (eta)",
    "learning_rate": "the learning rate is η (eta)",
    "momentum": "Momentum and Nesterov have ρ (rho)",
    "alpha": "RMSProp has ρ (rho)",
    "betas": "ADAM has β1 and β2 (beta1, beta2)",
    "eps": "ϵ is spelled ϵ or epsilon",
    "weight_decay": "it is weightdecay",
    "nesterov": "Nesterov is an optimiser of its own",
    "amsgrad": "AMSGrad is an optimiser of its own",
}
"""Names in other libraries, and what stands for them here."""


class Declared:
    """Base of `Optimiser`: what its class declares, and the hyper-parameters as attributes."""

    hypers: ClassVar[dict[str, Hyper]] = {}
    state: ClassVar[tuple[str, ...]] = ()
    numbers: ClassVar[dict[str, float]] = {}
    paper: ClassVar[str] = ""  # a reference for the docstring
    reserved: ClassVar[frozenset[str]] = frozenset()  # names that no hyper-parameter may have
    params: list[Param]
    n: int
    version: int
    _values: dict[str, float]
    _schedules: dict[str, Schedule]
    _narrow: bool  # some parameter is float32

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        cls.hypers = _declared(cls, cls.reserved)
        cls.state = tuple(map(canonical, (cls.state,) if isinstance(cls.state, str) else cls.state))
        cls.numbers = {canonical(k): v for k, v in cls.numbers.items()}
        for h in [h for h in vars(cls).values() if isinstance(h, Hyper)]:
            names = {h.name, h.ascii, h.name.replace("ε", "ϵ")}  # in a string Python does not fold ϵ to ε
            for other in names:
                if not hasattr(cls, other):
                    setattr(cls, other, _other_name(h.name))
            add_absent(Declared, names, _lacks)

    def _init_hypers(self, positional: tuple[float | Schedule, ...], given: Mapping[str, Any]) -> None:
        values = self.canonical(given)
        narrow = any(p.dtype == np.float32 for p in self.params)
        if positional:
            if len(positional) > 1 or "η" not in self.hypers:
                raise TypeError(f"{self.name} takes the parameters{', η' if 'η' in self.hypers else ''} and keywords")
            if "η" in values:
                raise TypeError(f"{self.name}: η is given twice")
            values["η"] = positional[0]
        self.__dict__.update(n=0, version=0, _values={}, _schedules={}, _narrow=narrow)  # past __setattr__
        for h in self.hypers.values():
            self.store(h.name, h.default)
        for name, value in values.items():
            setattr(self, name, value)

    @property
    def name(self) -> str:
        """The optimiser's name, that of its class."""
        return type(self).__name__

    @classmethod
    def canonical(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return what was given by Greek or ASCII names under the hyper-parameters' own names, each once."""
        by_name = {typed: h.name for h in cls.hypers.values() for typed in (h.name, h.ascii)}
        result: dict[str, Any] = {}
        for typed, value in given.items():
            name = by_name.get(canonical(typed))
            if name is None:
                raise TypeError(_lacks(cls, typed))
            if name in result:
                raise TypeError(f"{cls.__name__}: {name} is given twice")
            result[name] = value
        return result

    def set_hyper(self, hyper: Hyper, value: float | Schedule | None) -> None:
        """Set a hyper-parameter: a number replaces its schedule; a function of n becomes the schedule."""
        if callable(value) and not isinstance(value, Tracked):
            number = hyper.check(value(self.n), self._narrow, may_vanish=True)
            self._schedules[hyper.name] = value
        else:
            number = hyper.check(value, self._narrow)
            self._schedules.pop(hyper.name, None)
        self.store(hyper.name, number)

    def store(self, name: str, value: float) -> None:
        """Store a value that was checked."""
        self._values[name] = self.__dict__[name] = value
        self.__dict__["version"] += 1

    def follow_schedules(self) -> None:
        """Store the values that schedules have for this update; all are checked first."""
        due = [(self.hypers[name], f(self.n)) for name, f in self._schedules.items()]
        for name, value in [(h.name, h.check(value, self._narrow, may_vanish=True)) for h, value in due]:
            self.store(name, value)

    def __setattr__(self, name: str, value: object) -> None:
        name = canonical(name)
        if not name.startswith("_"):
            there = getattr(type(self), name, None)
            if name not in self.hypers and getattr(there, "fset", None) is None:  # neither of its two names
                if not hasattr(type(self), name):
                    raise AttributeError(_lacks(type(self), name))
                if name in self.reserved or callable(there):
                    raise AttributeError(
                        f"{name} of an optimiser is not assigned; {self.name} has the dials {', '.join(self.hypers)}"
                    )
        object.__setattr__(self, name, value)

    def __dir__(self) -> set[str]:
        return {*present(type(self)), *vars(self)}

    @property
    def values(self) -> dict[str, float]:
        """The hyper-parameters in force, by name."""
        return dict(self._values)

    @property
    def schedules(self) -> dict[str, Schedule]:
        """The hyper-parameters that follow a function of n, by name."""
        return dict(self._schedules)


def _declared(cls: type, reserved: Collection[str]) -> dict[str, Hyper]:
    """Collect the hyper-parameters of a class and its bases by name, those of every optimiser last."""
    hypers: dict[str, Hyper] = {}
    for base in reversed(cls.__mro__):
        hypers.update({h.name: h for h in vars(base).values() if isinstance(h, Hyper)})
    typed = [t for h in hypers.values() for t in {h.name, h.ascii}]
    taken = [t for t in typed if typed.count(t) > 1 or t in reserved]
    if taken:
        raise TypeError(f"{cls.__name__}: {taken[0]} is taken, the hyper-parameter needs another name")
    own = {k: h for k, h in hypers.items() if k not in COMMON}
    return {**own, **{k: hypers[k] for k in COMMON if k in hypers}}


def _other_name(name: str) -> property:
    return property(
        lambda self: getattr(self, name), lambda self, value: setattr(self, name, value), doc=f"The same as {name}."
    )


class _Late:
    """A class attribute that a function makes when it is read; made at once, they take a third of the class's time."""

    def __init__(self, make: Callable[[], object]) -> None:
        self.make = make

    def __get__(self, instance: object, cls: type) -> object:
        return self.make()


def describe(cls: type[Declared]) -> None:
    """Give an optimiser's class its signature and its docstring."""
    doc = cls.__doc__ or f"{cls.__name__}, an optimiser."
    cls.__doc__ = _Late(lambda: with_parameter_docs(doc, cls.hypers.values(), cls.paper))  # type: ignore[assignment]
    cls.__signature__ = _Late(lambda: _signature(cls.hypers.values()))  # type: ignore[attr-defined]


def _signature(hypers: Iterable[Hyper]) -> inspect.Signature:
    """Return the signature of an optimiser's class; η may come by position."""
    keyword, positional = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    taken = [
        inspect.Parameter(h.name, positional if h.name == "η" else keyword, default=h.default)
        for h in sorted(hypers, key=lambda h: h.name != "η")
    ]
    return inspect.Signature([inspect.Parameter("params", positional), *taken])


def _lacks(cls: type[Declared], name: str) -> str:
    words = f" ({WORDS[name]})" if name in WORDS else ""
    return f"{cls.__name__} has no {name}; it has {', '.join(cls.hypers)}{words}"


add_absent(Declared, WORDS, _lacks)

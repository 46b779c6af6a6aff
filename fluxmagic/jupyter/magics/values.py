"""Values that the user types on the line of a magic: evaluated, checked, with an error in one line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import numpy as np
from IPython.core.error import UsageError

from fluxmagic.greek import canonical
from fluxmagic.jupyter.ipython_compat import Namespace
from fluxmagic.optimise import OPTIMISERS, Optimiser
from fluxmagic.tracker import Tracked

__all__ = [
    "as_int", "as_optimiser", "check_hyperparameters", "did_you_mean", "evaluate", "evaluate_text", "hyper_names",
    "known_optimiser", "owners",
]  # fmt: skip


def did_you_mean(name: str, names: Iterable[str], *, among: Iterable[str] = ()) -> str:
    """Make the end of an error: the name that is closest, also among further ones, and the names that there are."""
    known = list(names)
    lower = {c.lower(): c for c in [*sorted(among), *known]}
    close = difflib.get_close_matches(name.lower(), lower, 1)
    guess = f" (did you mean {lower[close[0]]}?)" if close else ""
    return f"{guess}; there are {', '.join(known)}"


def evaluate(f: Callable[[], object], what: str) -> object:
    """Call a function of the user's code; an error becomes a UsageError that begins with `what`."""
    try:
        return f()
    except Exception as error:
        raise UsageError(f"{what}: {type(error).__name__}: {error}") from None


def evaluate_text(text: str, ns: Namespace, what: str) -> object:
    """Evaluate an expression in the user's namespace; an error becomes a UsageError that begins with `what`."""
    return evaluate(lambda: eval(text, ns), what)


def as_int(value: object, low: int, what: str) -> int:
    """Check that a value is an integer, not below a bound."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < low:
        raise UsageError(f"{what}: give a whole number, {low} or more, not {value!r}")
    return int(value)


def as_optimiser(text: str, ns: Namespace, what: str = "") -> type[Optimiser]:
    """Return the optimiser that is registered under a name, or the class that an expression gives."""
    registered = OPTIMISERS.get(canonical(text))
    if registered is not None:
        return registered
    if len(several := re.findall(r"\w+", text)) > 1 and OPTIMISERS.keys() >= {*several}:
        raise UsageError(
            f"{what}{text}: give one optimiser.  Each contestant of %%race has an --opt of its own, "
            f"{' '.join(f'--opt {name}' for name in several)}; %%sweep takes a list, [{', '.join(several)}]"
        )
    value: object = None
    with suppress(Exception):
        value = eval(text, ns)
    if isinstance(value, str):
        value = OPTIMISERS.get(value)
    if isinstance(value, type) and issubclass(value, Optimiser) and value is not Optimiser:
        return value
    problem = "unknown optimiser" if value is None else "that is not a class of optimisers"
    raise UsageError(f"{what}{text}: {problem}{did_you_mean(text.rpartition('.')[2], OPTIMISERS)}")


def owners(name: str) -> list[str]:
    """Return the optimisers that have a hyper-parameter."""
    return [c.__name__ for c in OPTIMISERS.values() if canonical(name) in c.hypers]


def check_hyperparameters(cls: type[Optimiser], given: dict[str, tuple[str, object]]) -> dict[str, Any]:
    """Return hyper-parameters under their own names, checked.

    `given` has, by the names that were typed, how an error begins, and the value: a number or a schedule.
    """
    try:
        cls.canonical(given)
    except TypeError as error:
        raise UsageError(str(error)) from None
    checked: dict[str, Any] = {}
    for typed, (what, value) in given.items():
        (name,) = cls.canonical({typed: value})
        try:
            if callable(value) and not isinstance(value, Tracked):
                cls.hypers[name].check(value(0))
                checked[name] = value
            else:
                checked[name] = cls.hypers[name].check(value)
        except Exception as error:
            raise UsageError(f"{what}: {error}") from None
    return checked


def hyper_names(cls: type[Optimiser], used: Iterable[str] = ()) -> list[str]:
    """Return the hyper-parameters of an optimiser, Greek and ASCII, but for those that have been used."""
    names = [{h.name: None, h.ascii: None} for h in cls.hypers.values()]
    return [name for both in names if not both.keys() & set(used) for name in both]


def known_optimiser(text: str, ns: Namespace) -> type[Optimiser]:
    """Return the optimiser of a name, without evaluating anything; `Optimiser` itself where there is none."""
    cls = OPTIMISERS.get(text, ns.get(text))
    return cls if isinstance(cls, type) and issubclass(cls, Optimiser) else Optimiser

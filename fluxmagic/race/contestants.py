"""The contestants of a race before it begins: what was asked for, checked, and the keys that tell them apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fluxmagic.greek import ascii_name, canonical
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.runs.optimisers import check_values, optimiser_class
from fluxmagic.runs.record import Setting

__all__ = ["Contestant", "distinct_keys", "find_key", "read_contestants"]

FORM = 'a contestant is a name or a class, or a pair such as ("SGD", dict(η=0.1))'


class Contestant(NamedTuple):
    """An optimiser's class, and the dials that were given for it."""

    cls: type[Optimiser]
    hypers: dict[str, Setting]

    @property
    def settings(self) -> dict[str, Setting]:
        """The value of every dial at the start."""
        return {name: self.hypers.get(name, h.default) for name, h in self.cls.hypers.items()}


def read_contestants(given: Iterable[object]) -> list[Contestant]:
    """Check what contestants were asked for: two or more, each another one, with dials that it has."""
    if isinstance(given, (str, Mapping, type)):
        raise TypeError(f"a race takes a list of contestants, not a {type(given).__name__}: {FORM}")
    found: list[Contestant] = []
    for number, each in enumerate(given):
        try:
            found.append(_read(each))
        except (TypeError, ValueError) as error:
            raise type(error)(f"contestant {number}: {error}") from None
        for other, earlier in enumerate(found[:-1]):
            if earlier.cls is found[-1].cls and earlier.settings == found[-1].settings:
                raise ValueError(
                    f"contestants {other} and {number} are alike, {found[-1].cls.__name__} with the same dials: they "
                    "would take the same steps. Give one of them another value"
                )
    if len(found) < 2:
        raise ValueError(f"a race takes two contestants or more, and was given {len(found)}: Run trains one alone")
    return found


def _read(each: object) -> Contestant:
    opt, hypers = each if isinstance(each, (tuple, list)) and len(each) == 2 else (each, {})
    if not isinstance(opt, (str, type)) or not isinstance(hypers, Mapping):
        raise TypeError(f"{FORM}, not {each!r}")
    cls = optimiser_class(canonical(opt) if isinstance(opt, str) else opt)
    return Contestant(cls, check_values(cls, {canonical(k): v for k, v in hypers.items()}))


def distinct_keys(contestants: list[Contestant]) -> list[str]:
    """Give each its key: the optimiser, and the dials that differ from those of others of its class."""
    keys: list[str] = []
    for c in contestants:
        rivals = [other.settings for other in contestants if other.cls.__name__ == c.cls.__name__]
        values = {k: [r[k] for r in rivals if k in r] for k in c.settings}
        words = [
            f"{k} {_text(v, values[k], c.cls.hypers[k].off)}"
            for k, v in c.settings.items()
            if any(other != v for other in values[k])
        ]
        key = " ".join([c.cls.__name__, *words])
        keys.append(key if key not in keys else f"{key} ({len(keys)})")
    return keys


def _text(value: Setting, rivals: list[Setting], off: float | None) -> str:
    """Write a value as short as it can be told from those of rivals; four digits at least."""
    if callable(value):
        return str(getattr(value, "__name__", type(value).__name__)).replace("<lambda>", "schedule")
    if value == off:
        return "off"
    others = [r for r in rivals if not callable(r) and r != value]
    short = next((d for d in range(4, 17) if f"{value:.{d}g}" not in [f"{r:.{d}g}" for r in others]), 17)
    return f"{value:.{short}g}"


def find_key(key: str, keys: Iterable[str]) -> str:
    """Give the key that was meant: the same, or the only one that has all its words, Greek or ASCII."""
    known = list(keys)
    if canonical(key) in known:
        return canonical(key)
    wanted = ascii_name(key).split()
    fitting = [k for k in known if wanted and {*wanted} <= {*ascii_name(k).split()}]
    if len(fitting) == 1:
        return fitting[0]
    says = "fits several contestants" if fitting else "fits no contestant; there are"
    raise KeyError(f"{key!r} {says}: {', '.join(map(repr, fitting or known))}")

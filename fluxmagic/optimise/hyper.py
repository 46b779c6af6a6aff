"""Hyper-parameters, declared once: constructor, checks, magic options, sliders and docs follow from it."""

from __future__ import annotations

import inspect
import math
import numbers
import re
from collections.abc import Callable, Iterable
from ctypes import c_float
from typing import TYPE_CHECKING, Any, Protocol

from fluxmagic.greek import ascii_name, canonical

__all__ = ["Hyper", "Schedule", "with_parameter_docs"]

Schedule = Callable[[int], float]
"""A hyper-parameter as a function of the number of updates done."""


class HoldsHypers(Protocol):
    """What hyper-parameters are attributes of."""

    def set_hyper(self, hyper: Hyper, value: float | Schedule | None) -> None: ...


class Hyper:
    """A hyper-parameter of an optimiser, declared in its class body.

    Parameters
    ----------
    default : float
    doc : str
        One line.
    low, high : float
        The bounds.
    low_open, high_open : bool
        The bound itself is not allowed.
    scale : {"linear", "log", "memory"}
        How a dial for it moves: evenly, by factors, or evenly in the logarithm of 1 - value (a share that is
        remembered: 0.9, 0.99, 0.999 are equally far apart).
    off : float, optional
        The value that switches it off; None is accepted for it.

    Attributes
    ----------
    name, ascii : str
        Its name in the class, and that name with Greek letters spelled out; both work wherever a user types one.
    """

    def __init__(
        self,
        default: float,
        doc: str,
        *,
        low: float = 0.0,
        high: float = math.inf,
        low_open: bool = False,
        high_open: bool = False,
        scale: str = "linear",
        off: float | None = None,
    ) -> None:
        if scale not in ("linear", "log", "memory"):
            raise ValueError(f"scale is 'linear', 'log' or 'memory', not {scale!r}")
        self.default, self.doc, self.scale, self.off = default, doc, scale, off
        self.low, self.high, self.low_open, self.high_open = low, high, low_open, high_open
        self.name = self.ascii = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = canonical(name)
        self.ascii = ascii_name(name)

    if TYPE_CHECKING:
        # It does not exist: the value lies in the instance's dictionary under the same name.
        def __get__(self, instance: object, owner: type | None = None) -> float: ...

    def __set__(self, instance: HoldsHypers, value: float | Schedule | None) -> None:
        instance.set_hyper(self, value)

    @property
    def range(self) -> str:
        """The bounds in words: "0 ≤ η"."""
        low = "" if self.low == -math.inf else f"{self.low:g} {'<' if self.low_open else '≤'} "
        high = "" if self.high == math.inf else f" {'<' if self.high_open else '≤'} {self.high:g}"
        return f"{low}{self.name}{high}"

    def check(self, value: object, narrow: bool = False, *, may_vanish: bool = False) -> float:
        """Return the value as a float; refuse what is not a real number, or is out of bounds.

        With `narrow` it is checked in float32 too.  There it may round to 0 only with `may_vanish`, where 0 is in
        bounds: a schedule that goes down to 0.
        """
        if value is None and self.off is not None:
            return self.off
        number: Any = value
        if getattr(number, "shape", None) == ():
            number = number.item()
        if isinstance(number, bool) or not isinstance(number, numbers.Real):
            raise TypeError(f"{self.name} is a number ({self.range}), not {number!r}")
        number = float(number)
        if not self.allows(number):
            raise ValueError(f"{self.name} = {number:g} is out of range: {self.range}")
        if narrow:
            rounded = c_float(number).value
            if not self.allows(rounded) or (rounded == 0 != number and not may_vanish):
                raise ValueError(
                    f"{self.name} = {number!r} is {rounded:g} in float32, the dtype of the parameters: {self.range}"
                )
        return number  # type: ignore[no-any-return]

    def allows(self, value: float) -> bool:
        """Tell whether a value is in bounds."""
        low = value > self.low if self.low_open else value >= self.low
        high = value < self.high if self.high_open else value <= self.high
        return low and high and (not math.isinf(value) or value == self.off)

    def __repr__(self) -> str:
        return f"Hyper({self.name}={self.default:g}, {self.doc!r}, {self.range})"


def with_parameter_docs(doc: str, hypers: Iterable[Hyper], paper: str) -> str:
    """Add sections to an optimiser's docstring: its parameters, what follows the summary as notes, and the paper."""
    doc = inspect.cleandoc(doc)
    if "\nParameters\n---" in doc:
        return doc
    lines = ["Parameters", "----------", "params : iterable of Param", "    What is updated, as `params(m)` finds it."]
    for h in hypers:
        default = "off" if h.default == h.off else f"{h.default:g}"
        also = "" if h.ascii == h.name else f"; also `{h.ascii}`"
        lines += [f"{h.name} : float or callable, default {default}", f"    {h.doc}; {h.range}{also}."]
    summary, _, rest = doc.partition("\n\n")
    if rest and not re.search(r"^\w+\n-+$", rest, re.MULTILINE):
        rest = f"Notes\n-----\n{rest}"
    references = f"References\n----------\n{paper}" if paper else ""
    return "\n\n".join(part for part in (summary, "\n".join(lines), rest, references) if part)

"""The options of a magic as a table: a dataclass with one field for each, declared by `option`.

Parsing, checks, errors, help and Tab follow from a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from IPython.core.error import UsageError

from fluxmagic.greek import canonical
from fluxmagic.jupyter.ipython_compat import Namespace
from fluxmagic.jupyter.magics.cell import Cell
from fluxmagic.jupyter.magics.values import did_you_mean, owners
from fluxmagic.optimise import OPTIMISERS, Optimiser

__all__ = ["Option", "OptionTable", "Typed", "option"]

Typed = list[tuple[str, str]]
"""Names of options, and their values as text."""
Read = Callable[[Cell, str, str], object]
"""Of the cell, an option as typed ("--epochs 2") and its value as text, to the checked value."""


@dataclass(frozen=True)
class Option:
    """One option."""

    value: str  # what stands for its value in help and errors; empty for a flag
    help: str
    read: Read
    default: str = ""  # what holds where it is not given, for help
    words: str = ""  # its names in other libraries
    decides: str = ""  # what it says: a line may have one of the options that say the same
    per_epoch: bool = False  # it is evaluated after epochs, which a loss without batches does not have
    many: Callable[[list[Any]], object] | None = None  # it may be given several times, and this collects the values
    suggest: Callable[[Namespace], Iterable[str]] | None = None  # what Tab offers for the value


def option(
    value: str,
    help: str,
    read: Read,
    default: str = "",
    *,
    unset: object = None,
    **details: Any,  # noqa: ANN401 - of Option
) -> Any:  # noqa: ANN401 - a field has any type
    """Declare a field as an option, with the field's value where it is not given; see `Option`."""
    return field(default=unset, metadata={"option": Option(value, help, read, default, **details)})


@dataclass(frozen=True)
class OptionTable:
    """The options of a magic, which are the fields of a dataclass."""

    magic: str
    settings: type
    head: str  # of its help

    @cached_property
    def fields(self) -> dict[str, str]:
        """The names of the fields by the names that users type: `from_` is --from, `no_panel` --no-panel."""
        names = [f.name for f in fields(self.settings) if f.metadata]
        return {name.rstrip("_").replace("_", "-"): name for name in names}

    @cached_property
    def rows(self) -> dict[str, Option]:
        """The options by the names that users type."""
        by_field = {f.name: f.metadata["option"] for f in fields(self.settings) if f.metadata}
        return {typed: by_field[name] for typed, name in self.fields.items()}

    @cached_property
    def elsewhere(self) -> dict[str, str]:
        """What other libraries call an option, and its name here."""
        ours = [*((k, row.words) for k, row in self.rows.items()), *DIALS_ELSEWHERE.items()]
        return {word: name for name, words in ours for word in words.split()}

    def dials(self, typed: Typed) -> Typed:
        """Return what is no option of the table: hyper-parameters."""
        return [(name, text) for name, text in typed if name not in self.rows]

    def read(self, cell: Cell, typed: Typed) -> dict[str, Any]:
        """Evaluate and check the options that are given; return their values by the names of the fields."""
        values: dict[str, Any] = {}
        for name, row in self.rows.items():
            found = [row.read(cell, f"--{k} {text}", text) for k, text in typed if k == name]
            if found:
                values[self.fields[name]] = row.many(found) if row.many else found[0]
        return values

    def check_values(self, typed: Typed) -> None:
        """Check that each option is given once, with a value where it takes one."""
        counts = Counter(name for name, _ in typed)
        for name, text in typed:
            row = self.rows.get(name)
            if counts[name] > 1 and not (row and row.many):
                raise UsageError(f"--{name} is given twice")
            if row and not row.value and text:
                raise UsageError(f"--{name} takes no value, and was given {text}")
            if not text and (row is None or row.value):
                raise UsageError(f"--{name} needs a value" + (f": --{name} {row.value}" if row else ""))

    def check_names(self, names: Iterable[str], *classes: type[Optimiser]) -> None:
        """Check that each option is in the table, or a hyper-parameter of one of the optimisers."""
        own = {alias: h for cls in classes for h in cls.hypers.values() for alias in (h.name, h.ascii)}
        for name in own.keys() & self.rows.keys():
            owner = next(cls.__name__ for cls in classes if canonical(name) in cls.hypers)
            raise UsageError(
                f"--{name}: a dial of {owner}, {own[name].doc}, and an option of {self.magic}, "
                f"{self.rows[name].help}: give the dial another name"
            )
        for name in names:
            if name not in self.rows and name not in own:
                raise UsageError(self._unknown(name, own, classes))

    def _unknown(self, name: str, own: Iterable[str], classes: Iterable[type[Optimiser]]) -> str:
        """Say what is meant by a name that the magic and the optimisers lack."""
        dials = list(dict.fromkeys(name for cls in classes for name in cls.hypers))
        who = list(dict.fromkeys(cls.__name__ for cls in classes))
        if any(name in (h.name, h.ascii) for c in OPTIMISERS.values() for h in c.hypers.values()):
            has, they = ("has", "it has") if len(who) == 1 else ("have", "they have")
            return f"{' and '.join(who)} {has} no --{name}; {they} {', '.join(dials)}"
        ours = self.elsewhere.get(name.lower().replace("_", "-"))
        if ours is not None:
            dial = ours.partition(" ")[0]
            of = "" if dial in self.rows or canonical(dial) in own else f", of {', '.join(owners(dial))}"
            return f"there is no --{name}: here it is --{ours}{of}"
        known = [f"--{k}" for k in (*self.rows, *dials)]
        return f"there is no --{name}{did_you_mean(f'--{name}', known, among=[f'--{k}' for k in own])}"

    def check_combination(self, names: Iterable[str], has_data: bool) -> None:
        """Check that no two options say the same, and that those about epochs have epochs."""
        given = [name for name in self.rows if name in set(names)]
        for name in given:
            row = self.rows[name]
            if row.per_epoch and not has_data:
                raise UsageError(f"--{name} is evaluated after an epoch, and without NAMES in EXPR there is none")
            same = [k for k in given if row.decides and self.rows[k].decides == row.decides]
            if len(same) > 1:
                raise UsageError(f"--{' and --'.join(same)} say {row.decides}: give one of them")


DIALS_ELSEWHERE = {
    "η": "lr learning-rate learningrate alpha step-size",
    "ρ": "momentum",
    "β1 and --β2": "betas beta",
    "ϵ": "eps",
    "weightdecay": "wd weight-decay",
    "clipnorm": "max-norm clip-norm",
    "clip": "clip-value",
}

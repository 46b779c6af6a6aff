"""The help of the magics and the table of optimisers, made from the declarations at the moment of the call."""

from __future__ import annotations

from collections.abc import Iterable

from fluxmagic.jupyter.formatting import format_value
from fluxmagic.jupyter.magics.commands import COMMANDS
from fluxmagic.jupyter.magics.option_table import OptionTable
from fluxmagic.optimise import OPTIMISERS, Hyper, Optimiser
from fluxmagic.table import Table

__all__ = ["help_cell", "help_line", "optimiser_table"]

COMMON = {h.name: h for h in vars(Optimiser).values() if isinstance(h, Hyper)}
"""The hyper-parameters that all optimisers have."""


def help_cell(table: OptionTable, configured: dict[str, str]) -> str:
    """Make what `%%train?` prints; `configured` are defaults that `%config` has set."""
    lines = [table.head, "Options, and what holds without them"]
    for name, row in table.rows.items():
        default = configured.get(name, row.default)
        lines += [f"    {f'--{name} {row.value}'.rstrip():<20}{row.help}{f' [{default}]' if default else ''}"]
    lines += ["", "Optimisers, and their dials with defaults: options too, Greek or ASCII"]
    lines += [f"    {cls.__name__:<12}{_defaults(_own(cls))}" for cls in OPTIMISERS.values()]
    lines += [f"    {'all':<12}{_defaults(COMMON)}", "", "%optimisers lists them with their ranges."]
    return "\n".join(lines)


def help_line() -> str:
    """Make what `%train?` prints."""
    lines = ["Look at a run, or turn it.", "", "    %train COMMAND [--name NAME]", "", "Commands"]
    lines += [f"    {f'{word} {row.arguments}'.rstrip():<40}{row.help}" for word, row in COMMANDS.items()]
    lines += ["", "NAME is a variable that holds the run or its Panel, or the run's own name [run]."]
    return "\n".join(lines)


def optimiser_table(classes: Iterable[type[Optimiser]]) -> Table:
    """Make the table of optimisers: dials, defaults, ranges."""
    rows = [row for cls in classes for row in _rows(cls.__name__, _own(cls))]
    return Table(("optimiser", "dial", "or", "default", "range", "what it is"), [*rows, *_rows("all", COMMON)])


def _own(cls: type[Optimiser]) -> dict[str, Hyper]:
    """Return the hyper-parameters that are not as all optimisers have them."""
    return {k: h for k, h in cls.hypers.items() if getattr(cls, k) is not getattr(Optimiser, k, None)}


def _defaults(hypers: dict[str, Hyper]) -> str:
    return ", ".join(f"{k} {format_value(h.default)}" for k, h in hypers.items())


def _rows(name: str, hypers: dict[str, Hyper]) -> list[tuple[str, ...]]:
    cells = [(k, h.ascii if h.ascii != k else "", format_value(h.default), h.range, h.doc) for k, h in hypers.items()]
    return [("" if i else name, *row) for i, row in enumerate(cells or [("",) * 5])]

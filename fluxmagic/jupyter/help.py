"""What is there: the magics' help and the table of optimisers, made from the declarations at that moment."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import Any

from fluxmagic.jupyter.options import OPTIONS
from fluxmagic.jupyter.text import dial
from fluxmagic.optimise import OPTIMISERS, Hyper, Optimiser

__all__ = ["Optimisers", "help_cell", "help_line"]

HEAD = """\
Train what a cell's loss depends on.

    %%train NAMES in EXPR [--option value …]
    LOSS

EXPR gives the batches, and is evaluated afresh for every epoch; NAMES are bound to each of them, as by `for`.
LOSS is any Python, its last line an expression: the loss.  Values are Python too, evaluated in your namespace.

    %%train x, y in batches(X, Y, 32) --opt ADAM --η 0.001 --epochs 20 --valid Xtest, Ytest
    logitcrossentropy(model(x), y)

The run is put in the variable `run`: run.history, run.events.  ■ ends it after the batch.
"""


def help_cell() -> str:
    """What `%%train?` prints."""
    lines = [HEAD, "Options"]
    lines += [f"    {f'--{name} {value}'.rstrip():<20}{doc}" for name, (value, doc) in OPTIONS.items()]
    lines += ["", "Optimisers, and their dials: options too, Greek or ASCII"]
    lines += [f"    {cls.__name__:<12}{_defaults(cls)}" for cls in OPTIMISERS.values()]
    lines += [f"    {'all':<12}{_defaults(Optimiser)}", "", "%optimisers lists them with their ranges."]
    return "\n".join(lines)


def help_line(commands: Mapping[str, tuple[Any, str, str]]) -> str:
    """What `%train?` prints."""
    lines = ["Look at a run, or turn it.", "", "    %train COMMAND [--name NAME]", "", "Commands"]
    lines += [f"    {f'{word} {usage}'.rstrip():<40}{doc}" for word, (_, usage, doc) in commands.items()]
    lines += ["", "NAME is the run's variable; default `run`."]
    return "\n".join(lines)


def _common(cls: type[Optimiser], name: str) -> bool:
    """Whether a dial is as all optimisers have it."""
    return getattr(cls, name) is getattr(Optimiser, name, None)


COMMON = {h.name: h for h in vars(Optimiser).values() if isinstance(h, Hyper)}


def _defaults(cls: type[Optimiser]) -> str:
    hypers = COMMON if cls is Optimiser else {k: h for k, h in cls.hypers.items() if not _common(cls, k)}
    return ", ".join(f"{k} {dial(h.default)}" for k, h in hypers.items())


class Optimisers:
    """A table of optimisers: names, dials, defaults, ranges.

    Parameters
    ----------
    classes : iterable of type, optional
        Default: all that are registered.
    """

    columns = ("optimiser", "dial", "or", "default", "range", "what it is")

    def __init__(self, classes: Iterable[type[Optimiser]] | None = None) -> None:
        self.rows: list[tuple[str, ...]] = []
        for cls in OPTIMISERS.values() if classes is None else classes:
            name = cls.__name__
            for k, h in cls.hypers.items():
                if not _common(cls, k):
                    self.rows.append((name, k, h.ascii if h.ascii != k else "", dial(h.default), h.range, h.doc))
                    name = ""
            if name:  # it has no dial of its own
                self.rows.append((name, "", "", "", "", ""))
        name = "all"
        for k, h in COMMON.items():
            self.rows.append((name, k, "", dial(h.default), h.range, h.doc))
            name = ""

    def __repr__(self) -> str:
        rows = [self.columns, *self.rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(self.columns))]
        return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows)

    def _repr_html_(self) -> str:
        def line(row: tuple[str, ...], tag: str) -> str:
            return "<tr>" + "".join(f'<{tag} style="text-align:left">{html.escape(c)}</{tag}>' for c in row) + "</tr>"

        head = f"<thead>{line(self.columns, 'th')}</thead>"
        return f"<table>{head}<tbody>{''.join(line(row, 'td') for row in self.rows)}</tbody></table>"

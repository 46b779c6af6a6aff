"""What Tab offers on the line of a magic, from the tables of options and commands: only what fits there."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from fluxmagic.jupyter.ipython_compat import Namespace
from fluxmagic.jupyter.magics.commands import COMMANDS
from fluxmagic.jupyter.magics.named_runs import trainable_names
from fluxmagic.jupyter.magics.option_table import OptionTable
from fluxmagic.jupyter.magics.values import hyper_names, known_optimiser
from fluxmagic.optimise import Optimiser

__all__ = ["Offer", "complete"]

PythonNames = Callable[[str], Iterable[str]]
"""Of the start of a name or an attribute, to the names that it may become."""


class Offer(NamedTuple):
    """What may stand in place of the `fragment` before the cursor."""

    fragment: str
    names: list[str]
    python: bool = False  # the names are those of an expression, in which a keyword may stand, too

    @property
    def described(self) -> dict[str, str]:
        """The names with what they are, which a page shows beside them."""
        kinds = ("option" if n.startswith("--") else "dial" if n.endswith("=") else "name" for n in self.names)
        return dict(zip(self.names, kinds))


def complete(
    text: str, ns: Namespace, tables: dict[str, OptionTable], default: str, python: PythonNames
) -> Offer | None:
    """Complete a cell up to the cursor; None where that is not on the line of a magic.

    `tables` are the options of cell magics, by their names; `default` is the optimiser of a line that names none.
    """
    joined = re.sub(r"\\\n\s*", " ", text)  # a first line that goes on
    cell = re.fullmatch(r"\s*(%%\w+)(\s[^\n]*)", joined)
    if cell is not None and cell[1] in tables:
        return _on_cell_line(cell[2], ns, tables[cell[1]], default, python)
    command = re.fullmatch(r"\s*%train(\s.*)", joined.rpartition("\n")[2])
    return None if command is None else _on_command_line(command[1], ns, python)


def _on_cell_line(line: str, ns: Namespace, table: OptionTable, default: str, python: PythonNames) -> Offer | None:
    dash = re.search(r"(?<=\s)--?[\w-]*$", line)
    if dash is not None:
        return _starting(dash[0], _options(line[: dash.start()], ns, table, default))
    *_, last = re.split(r"\s(?=--[^\W\d])", line)
    named = re.match(r"--([\w-]+)\s*=?", last)
    name, value = (named[1], last[named.end() :]) if named else ("", last)
    fragment = _word(line)
    row = table.rows.get(name)
    if row is not None and not row.value:
        return _starting("", _options(line, ns, table, default))
    if not fragment and line[-1].isspace() and _is_expression(value):
        return Offer("", _options(line, ns, table, default))
    if row is not None and row.suggest is not None:
        return _starting(fragment, row.suggest(ns))
    return _python(line, fragment, python)


def _options(before: str, ns: Namespace, table: OptionTable, default: str) -> list[str]:
    """Give the options that may follow: those of the magic, and the dials of the optimisers that it names last."""
    *_, group = re.split(r"\s--opt\b", before)
    many = "opt" in table.rows and table.rows["opt"].many
    chosen = _optimisers(group, ns) if re.search(r"\s--opt\b", before) else [known_optimiser(default, ns)]
    given = re.findall(r"\s--([\w-]+)", before)
    used = {name for name in given if name not in table.rows or not table.rows[name].many}
    used_here = set(re.findall(r"\s--([\w-]+)", group)) if many else used
    dials = dict.fromkeys(name for cls in chosen for name in hyper_names(cls, used_here))
    return [f"--{name}" for name in (*(k for k in table.rows if k not in used), *dials)]


def _optimisers(group: str, ns: Namespace) -> list[type[Optimiser]]:
    """Return the optimisers that the value of --opt names: one, or those of a list."""
    value = re.split(r"\s--", group)[0]
    found = [known_optimiser(name, ns) for name in re.findall(r"\w+", value)]
    return [cls for cls in found if cls is not Optimiser] or [Optimiser]


def _on_command_line(line: str, ns: Namespace, python: PythonNames) -> Offer | None:
    words = line.split()
    if line[-1:].isspace():
        words.append("")
    word, typed = words[0], words[-1]
    if len(words) == 1:
        return _starting(typed, COMMANDS)
    if words[-2] == "--name":
        return _starting(typed, trainable_names(ns))
    command = COMMANDS.get(word)
    if command is None:
        return None
    options = [f"--{name}" for name in (*command.options, "name") if f"--{name}" not in words]
    if typed.startswith("-"):
        return _starting(typed, options)
    if "=" in typed:
        return _python(line, _word(line), python)
    found = _starting(typed, command.suggest(ns, words))
    return found if found.names or typed else Offer("", options)


def _starting(fragment: str, names: Iterable[str]) -> Offer:
    return Offer(fragment, [name for name in names if name.startswith(fragment)])


def _python(line: str, fragment: str, python: PythonNames) -> Offer | None:
    if line.removesuffix(fragment).endswith("\\"):  # \eta becomes η
        return None
    return Offer(fragment, list(python(fragment)), python=True)


def _word(line: str) -> str:
    found = re.search(r"[\w.]*$", line)
    return found[0] if found else ""


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError):
        return False
    return True

"""What Tab offers on the line of a magic, from the tables of options and commands."""

from __future__ import annotations

import re

from fluxmagic.jupyter.commands import COMMANDS
from fluxmagic.jupyter.ipython_compat import CompletionEvent, Namespace
from fluxmagic.jupyter.options import TRAIN
from fluxmagic.jupyter.values import hyper_names, known_optimiser, run_names

__all__ = ["complete_cell", "complete_line"]


def complete_cell(event: CompletionEvent, ns: Namespace, default: str) -> list[str]:
    """Complete the line of `%%train`: options, hyper-parameters of the optimiser on it (or the default one), values."""
    before = event.text_until_cursor
    value = re.search(r"\s--([\w-]+)(?:\s+|\s*=\s*)[\w.]*$", before)
    row = TRAIN.rows.get(value[1]) if value else None
    if row is not None and row.suggest is not None:
        return list(row.suggest(ns))
    typed = re.search(r"(?<=\s)--?[\w-]*$", before)
    if typed is None:
        return []
    named = re.search(r"\s--opt(?:\s+|\s*=\s*)(\w+)", event.line)
    cls = known_optimiser(named[1] if named else default, ns)
    given = re.findall(r"\s--([\w-]+)", event.line[: typed.start()])
    used = {name for name in given if name not in TRAIN.rows or not TRAIN.rows[name].many}
    names = [f"--{name}" for name in (*TRAIN.rows, *hyper_names(cls, used)) if name not in used]
    # IPython replaces `symbol`, which may be all that was typed or only what follows its last dash
    done = len(typed[0]) - len(event.symbol)
    return [n[done:] for n in names if n.startswith(typed[0][:done])] if done > 0 else names


def complete_line(event: CompletionEvent, ns: Namespace) -> list[str]:
    """Complete the line of `%train`: commands, and what may follow each."""
    words = event.text_until_cursor.split()[1:]
    if not event.text_until_cursor[-1:].isspace():
        words = words[:-1]
    if not words:
        return list(COMMANDS)
    if words[-1] == "--name":
        return run_names(ns)
    command = COMMANDS.get(words[0])
    return [] if command is None else list(command.suggest(ns, words))

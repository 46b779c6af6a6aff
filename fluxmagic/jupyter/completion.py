"""What Tab offers on the line of a magic."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from fluxmagic.jupyter.options import OPTIONS
from fluxmagic.optimise import OPTIMISERS, Optimiser
from fluxmagic.runs import Run

__all__ = ["complete_cell", "complete_line"]


def complete_cell(event: Any, ns: dict[str, Any], default: str) -> list[str]:
    """For `%%train`: options, dials of the optimiser on the line, optimisers after --opt.

    Parameters
    ----------
    event : namespace
        IPython's: `text_until_cursor`, and `symbol`, the part of it that is to be replaced.
    ns : dict
        The user's namespace.
    default : str
        The optimiser where the line names none.
    """
    before = event.text_until_cursor
    if re.search(r"\s--opt(\s+|\s*=\s*)[\w.]*$", before):
        return list(OPTIMISERS)
    typed = re.search(r"(?<=\s)--?[\w-]*$", before)
    if typed is None:
        return []
    named = re.search(r"\s--opt(?:\s+|\s*=\s*)(\w+)", event.line)
    cls = _class(named[1] if named else default, ns)
    used = set(re.findall(r"\s--([\w-]+)", event.line[: typed.start()])) - {"metric"}
    dials = [n for h in cls.hypers.values() if not {h.name, h.ascii} & used for n in dict.fromkeys((h.name, h.ascii))]
    names = [f"--{name}" for name in (*OPTIONS, *dials) if name not in used]
    # IPython replaces `symbol`, which may be all that was typed or only what follows its last dash
    done = len(typed[0]) - len(event.symbol)
    return [n[done:] for n in names if n.startswith(typed[0][:done])] if done > 0 else names


def _class(name: str, ns: dict[str, Any]) -> type[Optimiser]:
    cls = OPTIMISERS.get(name, ns.get(name))
    return cls if isinstance(cls, type) and issubclass(cls, Optimiser) else Optimiser


def complete_line(event: Any, ns: dict[str, Any], commands: Iterable[str]) -> list[str]:
    """For `%train`: commands; after them dials, optimisers, runs.

    Parameters
    ----------
    event, ns
        As for `complete_cell`.
    commands : iterable of str
    """
    words = event.text_until_cursor.split()[1:]
    if not event.text_until_cursor[-1:].isspace():
        words = words[:-1]
    if not words:
        return list(commands)
    runs = [k for k, v in ns.items() if isinstance(v, Run) and not k.startswith("_")]
    if words[-1] == "--name" or words[0] == "compare":
        return runs
    run = ns.get("run")
    cls = run.opt_class if isinstance(run, Run) else None
    if words[0] == "swap":
        if len(words) == 1:
            return list(OPTIMISERS)
        cls = _class(words[1], ns)
    if words[0] in ("set", "swap") and cls is not None:
        return [f"{n}=" for h in cls.hypers.values() for n in dict.fromkeys((h.name, h.ascii))]
    return []

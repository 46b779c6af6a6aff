"""What can be trained, by its name: a variable that holds it or its Panel, or the name that it was given."""

from __future__ import annotations

import sys
from typing import Any

from IPython.core.error import UsageError

from fluxmagic.jupyter.ipython_compat import Namespace
from fluxmagic.jupyter.trainable import Trainable

__all__ = ["find_trainable", "names_listed", "trainable_names"]

KINDS = {"fluxmagic.runs": "Run", "fluxmagic.race": "Race", "fluxmagic.sweep": "Sweep"}
PANELS = "fluxmagic.jupyter.panel"
MAX_NAMES_LISTED = 8


def find_trainable(ns: Namespace, name: str) -> Trainable:
    """Return what has a name; "run" is also the only live Panel's.

    Where there is none, a UsageError has the names that there are.
    """
    named = _variables(ns)
    if name in named:
        return named[name]
    live: list[Trainable] = [panel.run for panel in _live_panels()]
    found = {id(r): r for r in [*named.values(), *live] if r.name == name}
    if not found and name == "run":
        found = {id(r): r for r in live}
    if len(found) == 1:
        return next(iter(found.values()))
    known = list(dict.fromkeys([*named, *(r.name for r in live if r.name)]))
    if len(found) > 1:
        raise UsageError(f"{len(found)} runs are called {name}: give one a name of its own, or a variable")
    hint = f"; there are {names_listed(known)}" if known else ": %%train makes one"
    raise UsageError(f"no run is called {name}{hint}")


def trainable_names(ns: Namespace) -> list[str]:
    """Return the variables that hold what can be trained, and the names of what live Panels train."""
    return list(dict.fromkeys([*_variables(ns), *(p.run.name for p in _live_panels() if p.run.name)]))


def names_listed(names: list[str]) -> str:
    """List names; a long list is cut."""
    more = len(names) - MAX_NAMES_LISTED
    return ", ".join(names[:MAX_NAMES_LISTED]) + (f" and {more} more" if more > 0 else "")


def _variables(ns: Namespace) -> dict[str, Trainable]:
    return {k: x for k, v in list(ns.items()) if not k.startswith("_") and (x := _as_trainable(v)) is not None}


def _as_trainable(value: object) -> Trainable | None:
    """Return what can be trained, of it or of its Panel; the modules of other classes need not be imported."""
    panel = _loaded(PANELS, "Panel")
    if panel is not None and isinstance(value, panel):
        value = value.run
    classes = tuple(cls for module, name in KINDS.items() if (cls := _loaded(module, name)) is not None)
    return value if isinstance(value, classes) else None


def _loaded(module: str, name: str) -> Any:
    """Return a name of a module, or None before that is imported."""
    return getattr(sys.modules.get(module), name, None)


def _live_panels() -> list[Any]:
    live = _loaded(PANELS, "live_panels")
    return [] if live is None else list(live())

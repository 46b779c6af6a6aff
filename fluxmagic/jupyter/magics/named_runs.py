"""What can be trained, by its name: a variable that holds it or its Panel, or the name that it was given."""

from __future__ import annotations

import sys

from IPython.core.error import UsageError

from fluxmagic.jupyter.driving.live_panels import live_panels
from fluxmagic.jupyter.driving.trainable import Trainable
from fluxmagic.jupyter.ipython_compat import Namespace
from fluxmagic.race import Race
from fluxmagic.runs import Run
from fluxmagic.sweep import Sweep

__all__ = ["find_trainable", "trainable_names"]

PANELS = "fluxmagic.jupyter.driving.panel"  # which is imported for the first of them
MAX_NAMES_LISTED = 8


def find_trainable(ns: Namespace, name: str) -> Trainable:
    """Return what has a name; "run" is also the only live Panel's.

    Where there is none, a UsageError has the names that there are.
    """
    named = _variables(ns)
    if name in named:
        return named[name]
    live: list[Trainable] = [panel.run for panel in live_panels()]
    found = {id(r): r for r in [*named.values(), *live] if r.name == name}
    if not found and name == "run":
        found = {id(r): r for r in live}
    if len(found) == 1:
        return next(iter(found.values()))
    known = list(dict.fromkeys([*named, *(r.name for r in live if r.name)]))
    if len(found) > 1:
        raise UsageError(f"{len(found)} runs are called {name}: give one a name of its own, or a variable")
    if not known:
        raise UsageError(f"no run is called {name}: %%train makes one")
    more = len(known) - MAX_NAMES_LISTED
    listed = ", ".join(known[:MAX_NAMES_LISTED]) + (f" and {more} more" if more > 0 else "")
    raise UsageError(f"no run is called {name}; there are {listed}")


def trainable_names(ns: Namespace) -> list[str]:
    """Return the variables that hold what can be trained, and the names of what live Panels train."""
    return list(dict.fromkeys([*_variables(ns), *(p.run.name for p in live_panels() if p.run.name)]))


def _variables(ns: Namespace) -> dict[str, Trainable]:
    return {k: x for k, v in list(ns.items()) if not k.startswith("_") and (x := _as_trainable(v)) is not None}


def _as_trainable(value: object) -> Trainable | None:
    """Return what can be trained, of it or of its Panel."""
    panels = sys.modules.get(PANELS)
    if panels is not None and isinstance(value, panels.Panel):
        value = value.run
    return value if isinstance(value, (Run, Race, Sweep)) else None

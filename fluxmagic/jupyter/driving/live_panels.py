"""The panels that pages show: which cells show them, and what becomes of one when another takes its place."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

from fluxmagic.jupyter.driving.trainable import Trainable
from fluxmagic.jupyter.ipykernel_compat import parent_message
from fluxmagic.jupyter.ipython_compat import Shell

__all__ = ["Cells", "live_panels", "replace_others", "take_cell"]


class Cells:
    """The cells that show a panel."""

    def __init__(self) -> None:
        self.parent: dict[str, Any] = {}  # the request of the last of them: what is printed goes there
        self._executions: dict[str, str] = {}  # by cell: which of its executions

    def enter(self, cell: str, execution: str, parent: dict[str, Any]) -> None:
        """Be shown in a cell."""
        self._executions[cell] = execution
        self.parent = parent

    def leave(self, cell: str, execution: str) -> bool:
        """Learn that a cell is executed; tell whether no cell shows the panel any more for that reason."""
        if self._executions.get(cell, execution) == execution:
            return False
        del self._executions[cell]
        return not self._executions

    def clear(self) -> None:
        """Be shown in no cell."""
        self._executions.clear()


class LivePanel(Protocol):
    """What is asked of a panel here."""

    run: Trainable
    cells: Cells

    @property
    def shown(self) -> bool: ...
    def close(self) -> None: ...


_panels: weakref.WeakSet[Any] = weakref.WeakSet()


def live_panels() -> list[Any]:
    """Give the panels that a page shows."""
    return [p for p in _panels if p.shown]


def take_cell(panel: LivePanel, shell: Shell | None) -> None:
    """Show a panel in the cell that is executed; panels that its last execution has shown are closed."""
    parent = parent_message(shell)
    # by its id where the page tells it
    cell = str(parent.get("metadata", {}).get("cellId") or parent.get("content", {}).get("code", ""))
    execution = str(parent.get("header", {}).get("msg_id", ""))
    for other in [p for p in _panels if p is not panel]:
        if other.cells.leave(cell, execution) and other.shown:
            if other.run.state == "running":
                print(f"`{other.run.name or 'run'}`, which this cell trained before, is paused")
            other.close()
    panel.cells.enter(cell, execution, parent)
    _panels.add(panel)


def replace_others(run: Trainable) -> None:
    """Close a panel of this run, and pause those that train the same parameters."""
    mine = {*map(id, run.params)}
    for other in live_panels():
        if other.run is run:
            other.close()
        elif other.run.state == "running" and not mine.isdisjoint(map(id, other.run.params)):
            other.pause()
            print(f"`{other.run.name or 'run'}` is paused: its Panel trains the same parameters")

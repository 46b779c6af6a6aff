"""The graph behind an array, as a list: for pickle, deepcopy, and for finding the parameters of a loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from fluxmagic.tracker.array import Param, Tracked, node

__all__ = ["leaves", "nodes"]


class _Place(NamedTuple):
    """Stands for a node: its place in the list."""

    number: int


def nodes(*ys: Any) -> list[Tracked]:
    """All that the tracked arrays among ys were computed from, on every level, and they themselves; oldest first."""
    found = {y for y in ys if isinstance(y, Tracked)}
    stack = list(found)
    while stack:
        node = stack.pop()
        for p in (node.value, *node.parents, *node.args):
            if isinstance(p, Tracked) and p not in found:
                found.add(p)
                stack.append(p)
    return sorted(found, key=lambda n: n.serial)


def leaves(y: Any) -> Iterator[Param]:
    """The parameters that y depends on, in the order in which they were made.

    Parameters
    ----------
    y : object

    Returns
    -------
    iterator of Param
        Empty if y is not tracked.

    Examples
    --------
    >>> from fluxmagic import param
    >>> from fluxmagic.tracker import leaves
    >>> a, b, c = param(1.0), param(2.0), param(3.0)
    >>> [p is a or p is b for p in leaves(b * a)]
    [True, True]
    """
    return (n for n in nodes(y) if isinstance(n, Param))


def flatten(y: Tracked) -> list[Any]:
    """y's graph as one list; see `rebuild`."""
    order = nodes(y)
    place = {n: _Place(i) for i, n in enumerate(order)}

    def refer(x: Any) -> Any:
        return place[x] if isinstance(x, Tracked) else x

    return [
        n
        if isinstance(n, Param)
        else (refer(n.value), n.op, tuple(map(refer, n.parents)), tuple(map(refer, n.args)), n.options, n.level)
        for n in order
    ]


def rebuild(flat: list[Any]) -> Tracked:
    """The graph that `flatten` took apart; its last node is handed back."""
    built: list[Tracked] = []

    def get(x: Any) -> Any:
        return built[x.number] if isinstance(x, _Place) else x

    for entry in flat:
        if isinstance(entry, Param):
            built.append(entry)
            continue
        value, op, parents, args, options, level = entry
        built.append(node(get(value), op, tuple(map(get, parents)), tuple(map(get, args)), options, level))
    return built[-1]

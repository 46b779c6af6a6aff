"""The graph behind an array, as a list: for pickle, deepcopy, and for finding the parameters of a loss."""

from __future__ import annotations

import copyreg
from collections.abc import Iterator
from typing import Any, NamedTuple

from fluxmagic.tracker.aliases import Array, ArrayLike
from fluxmagic.tracker.array import Param, Tracked
from fluxmagic.tracker.node import Node, make_node

__all__ = ["leaves", "topological_order"]


class _Ref(NamedTuple):
    """Stands for a node: its position in the list."""

    position: int


def topological_order(*ys: ArrayLike) -> list[Node]:
    """Give the tracked arrays among ys and all that they were computed from, at every depth, oldest first."""
    found = {y for y in ys if isinstance(y, Node)}
    stack = list(found)
    while stack:
        node = stack.pop()
        for p in (node.value, *node.parents, *node.args):
            if isinstance(p, Node) and p not in found:
                found.add(p)
                stack.append(p)
    return sorted(found, key=lambda n: n.id)


def leaves(y: ArrayLike) -> Iterator[Param]:
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
    >>> from fluxmagic.tracker import leaves
    >>> a, b, c = param(1.0), param(2.0), param(3.0)
    >>> [p is a or p is b for p in leaves(b * a)]
    [True, True]
    """
    return (n for n in topological_order(y) if isinstance(n, Param))


def _flatten(y: Tracked) -> tuple[Any, ...]:
    """Give y's graph to pickle as one flat list: chained arrays would overflow the stack of pickle and deepcopy."""
    order = topological_order(y)
    position = {n: _Ref(i) for i, n in enumerate(order)}

    def refer(x: ArrayLike) -> object:
        return position[x] if isinstance(x, Node) else x

    flat = [
        n
        if isinstance(n, Param)
        else (refer(n.value), n.op, tuple(map(refer, n.parents)), tuple(map(refer, n.args)), n.options, n.depth)
        for n in order
    ]
    return _rebuild, (flat,)


def _rebuild(flat: list[Any]) -> Node:
    """Build the graph that `_flatten` took apart, and give its last node."""
    built: list[Node] = []

    def get(x: ArrayLike) -> Array:
        return built[x.position] if isinstance(x, _Ref) else x

    for entry in flat:
        if isinstance(entry, Param):
            built.append(entry)
            continue
        value, op, parents, args, options, depth = entry
        built.append(make_node(get(value), op, tuple(map(get, parents)), tuple(map(get, args)), options, depth))
    return built[-1]


copyreg.pickle(Tracked, _flatten)

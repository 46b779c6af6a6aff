"""A node of the graph: a value, and how it was computed.

This module knows no operation and no protocol of NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, ClassVar, Protocol, overload

import numpy as np

from fluxmagic.tracker.aliases import VJP, Array, ArrayLike, Forward

__all__ = ["PLAIN_ARRAYS", "Node", "Operation", "as_floats", "data", "ids", "make_node"]

PLAIN_ARRAYS: set[type] = {np.ndarray}
"""Types of plain arrays.  `fluxmagic.capture` adds the one of arrays that record what is done with them."""

ids = count()
"""Every node and every update of a parameter takes the next id, so ids order them in time."""


class Operation(Protocol):
    """What the graph needs of an operation; see `fluxmagic.tracker.operation.Op`."""

    name: str
    forward: Forward
    vjps: tuple[VJP | None, ...]
    vjp: VJP | None
    has_residual: bool


class Node:
    """A value, the operation that made it, and that operation's arguments."""

    # value    what the array holds: an ndarray, or, inside a nested gradient, an array tracked by an outer one
    # op       the operation that made it; None for a leaf
    # parents  its tracked arguments at this depth, None in the place of each constant
    # args     all arguments, as the operation saw them (parents' values, constants)
    # options  keyword arguments, or None
    # depth    the number of nested gradients around it: parameters and what follows from them are at 0
    __slots__ = ("__weakref__", "args", "depth", "id", "op", "options", "parents", "value")

    computed: ClassVar[type[Node]]
    """The class of computed arrays."""

    value: Array
    op: Operation | None
    parents: Sequence[Node | None]
    args: Sequence[Any]
    options: dict[str, Any] | None
    depth: int
    id: int

    def __init__(self, value: Array, depth: int = 0) -> None:
        """Make a leaf; `make_node` makes what is computed."""
        self.value = value
        self.op = None
        self.parents = ()
        self.args = ()
        self.options = None
        self.depth = depth
        self.id = next(ids)

    @property
    def data(self) -> np.ndarray:
        """The plain value, an ndarray that shares memory with this array."""
        value = self.value
        while isinstance(value, Node):
            value = value.value
        return value if type(value) in PLAIN_ARRAYS else np.asarray(value)

    @data.setter
    def data(self, new: ArrayLike) -> None:
        raise TypeError("only a parameter's data can be assigned; this array is computed, make a new one instead")


_new = Node.__new__


def make_node(
    value: Array,
    op: Operation,
    parents: Sequence[Node | None],
    args: Sequence[Any],
    options: dict[str, Any] | None,
    depth: int,
) -> Node:
    """Make a computed array.  A function is called in half the time of a class, and each operation makes a node."""
    made = _new(Node.computed)
    made.value = value
    made.op = op
    made.parents = parents
    made.args = args
    made.options = options
    made.depth = depth
    made.id = next(ids)
    return made


def as_floats(x: ArrayLike) -> Array:
    """Convert what is not tracked to an array, integers to float64: they would wrap around, or be half precision."""
    x = x if type(x) in PLAIN_ARRAYS else np.asarray(x)
    return x.astype(np.float64) if x.dtype.kind in "iub" else x


@overload
def data(x: Node) -> np.ndarray: ...
@overload
def data(x: ArrayLike) -> Array: ...
def data(x: ArrayLike) -> Array:
    """Give the plain value of a tracked array, and anything else as it is.

    Parameters
    ----------
    x : object

    Returns
    -------
    ndarray or object
        It shares memory with x.

    Examples
    --------
    >>> from fluxmagic.tracker import data
    >>> data(param([1.0, 2.0]) * 2)
    array([2., 4.])
    """
    return x.data if isinstance(x, Node) else x

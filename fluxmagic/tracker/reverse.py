"""The reverse pass: from a result back to the parameters that it was computed from.

`back` and `update` are what users call; gradients inside of `gradient` go through `backpropagate` too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush, heappushpop
from typing import Any

import numpy as np

from fluxmagic.tracker.aliases import VJP, Array, ArrayLike, Gradients, GradOut, Shape
from fluxmagic.tracker.array import Param, Tracked
from fluxmagic.tracker.constants import BLAS_FLOATS, MAX_BLAS_SUM, ones, scalar
from fluxmagic.tracker.node import PLAIN_ARRAYS, Node, data, ids

__all__ = ["back", "update"]


def backpropagate(y: Node, Δ: Array, until_id: int = -1) -> tuple[dict[Node, Array], int]:
    """Carry Δ, the gradient of y, back through the graph at y's depth.

    Nodes are taken by falling id, so each has received all of its gradient before it passes it on.  Nothing is marked
    on the nodes, and an error leaves nothing behind.  Nodes with an id below `until_id` are leaves, parameters too.
    It returns the gradients of the leaves that are no parameters, and the number of parameters that got their first
    gradient since they were cleared; the parameters' gradients are added into them.
    """
    if y.op is None or y.id < until_id:
        return ({}, int(y.accumulate(Δ))) if type(y) is Param and y.id > until_id else ({y: Δ}, 0)
    gradients: dict[Node, Array] = {}
    heap: list[tuple[int, Node]] = []
    n_reached = 0
    node = y
    while True:
        op: Any = node.op
        value, options = node.value, node.options
        args = _checked_args(node) if node.depth else node.args
        vjp = op.vjp
        δs = op.vjps if vjp is None else _joint_vjp(vjp, node, args, Δ, until_id)
        following: Node | None = None  # in a chain the only node that waits; without a heap, 2 % of a small step
        for p, δ in zip(node.parents, δs):  # there may be more rules than arguments
            if p is None or δ is None:
                continue
            if vjp is None:
                δ = δ(Δ, value, *args, **options) if options else δ(Δ, value, *args)
            δ = δ if δ.shape == p.value.shape else unbroadcast(δ, p.value.shape)
            if type(p) is Param and p.id > until_id:
                n_reached += p.accumulate(δ, node.id)
            elif p in gradients:
                gradients[p] = gradients[p] + δ
            else:
                gradients[p] = δ
                if p.op is None or p.id < until_id:
                    continue
                if following is None:
                    following = p
                else:
                    heappush(heap, (-p.id, p))
        if following is not None:
            node = heappushpop(heap, (-following.id, following))[1] if heap else following
        elif heap:
            node = heappop(heap)[1]
        else:
            return gradients, n_reached
        Δ = gradients.pop(node)


def _joint_vjp(vjp: VJP, node: Node, args: Sequence[Any], Δ: Array, until_id: int) -> Gradients:
    """Apply a rule that gives the gradients of all arguments."""
    grad_out = _grad_buffers(node.parents, until_id)
    return vjp(Δ, node.value, *args, grad_out=grad_out, **(node.options or {}))  # type: ignore[no-any-return]


def _checked_args(node: Node) -> Sequence[Any]:
    """Give the arguments of a node inside a nested gradient, whose values may be parameters."""
    refuse_stale(node.args, node.id)
    return node.args


def _grad_buffers(parents: Sequence[Node | None], until_id: int) -> GradOut:
    """Give for each parent False (no gradient wanted), a buffer that its gradient may be written into, or None."""
    grad_out: list[Array] = []
    for p in parents:
        if p is None:
            grad_out.append(False)
        elif type(p) is Param and p.grad_is_zero and not p.grad_exposed and p.id > until_id:
            buffer: Array = p.gradient
            for other in grad_out:
                if other is buffer:  # the same parameter twice: the second gradient is added
                    buffer = None
            grad_out.append(buffer)
        else:
            grad_out.append(None)
    return grad_out


def refuse_stale(values: Iterable[Any], id: int) -> None:
    """Refuse parameters among the values that were updated after the node of that id was made."""
    for p in values:
        if type(p) is Param:
            p.refuse_update_since(id)


def unbroadcast(δ: Array, shape: Shape) -> Array:
    """Bring a gradient to the shape of what was broadcast (sum), or reduced to a scalar (spread)."""
    if not shape:
        return np.add.reduce(δ, axis=None)
    if δ.shape == ():
        if isinstance(δ, Tracked):
            return np.broadcast_to(δ, shape)
        return np.positive(δ, np.empty(shape, δ.dtype))
    extra = δ.ndim - len(shape)
    if extra < 0:
        raise ValueError(f"a gradient rule gave shape {δ.shape} for an argument of shape {shape}")
    axes = (*range(extra), *[i for i, n in enumerate(shape, extra) if n == 1 and δ.shape[i] != 1])
    δ = _sum_over(δ, axes)
    return δ if δ.shape == shape else δ.reshape(shape)


def _sum_over(δ: Array, axes: tuple[int, ...]) -> Array:
    """Sum up along axes; along the first ones, or the last, by a product with ones."""
    n = math.prod([δ.shape[i] for i in axes])
    if axes and type(δ) in PLAIN_ARRAYS and δ.dtype in BLAS_FLOATS and n <= MAX_BLAS_SUM and δ.size:
        if axes == (δ.ndim - 1,):
            return δ.dot(ones(n, δ.dtype))
        if axes[-1] == len(axes) - 1:
            return δ.reshape(n, -1).T.dot(ones(n, δ.dtype))
    return np.add.reduce(δ, axis=axes)


def back(y: Tracked, Δ: ArrayLike = None) -> None:
    """Reverse pass: add the gradient of y into every parameter that y depends on.

    Parameters
    ----------
    y : Tracked
        A scalar (shape `()`), such as a loss; or any shape, with Δ.
    Δ : array_like, optional
        The gradient of what follows with respect to y, of y's shape.  Default: 1.

    Raises
    ------
    TypeError
        If y is not tracked.
    ValueError
        If y is no scalar and Δ is missing, or Δ is not of y's shape.
    RuntimeError
        If a parameter was updated after y was computed from it.  Gradients may hold a part of y's then, until they
        are cleared.

    Notes
    -----
    A second `back(y)` adds the same gradient once more.  `update`, an optimiser, and `W.data = a` count as updates;
    what is written into the array W.data itself cannot be noticed.

    Examples
    --------
    >>> b = param([3.0, 4.0])
    >>> back(b * 2, [1, 10])
    >>> b.grad
    array([ 2., 20.])
    """
    back_counting(y, Δ)


def back_counting(y: ArrayLike, Δ: ArrayLike = None) -> int:
    """`back`, which also says how many parameters got their first gradient."""
    if not isinstance(y, Tracked):
        raise TypeError(
            f"back() needs a tracked array, and this is a plain {type(y).__name__}: "
            "nothing that it was computed from is a param"
        )
    while y.depth:  # the parameters are at depth 0
        y = y.value
        if not isinstance(y, Tracked):
            raise TypeError("back() inside gradient(): this value depends on no param")
    value = y.value
    if Δ is None:
        if value.shape != ():
            raise ValueError(
                f"back() of an array of shape {value.shape} needs its gradient: pass Δ, back(y, Δ), or reduce "
                "it to a scalar first (y.sum())"
            )
        Δ = scalar(1, value.dtype)
    else:
        Δ = np.asarray(data(Δ), value.dtype)
        if Δ.shape != value.shape:
            raise ValueError(f"back(): Δ of shape {Δ.shape} does not fit y of shape {value.shape}")
    return backpropagate(y, Δ)[1]


def update(p: Param, Δ: ArrayLike) -> Param:
    """Add Δ to a parameter, in place, and clear its gradient.

    Parameters
    ----------
    p : Param
    Δ : array_like
        Of a shape that broadcasts to p's.

    Returns
    -------
    Param
        p itself.

    Raises
    ------
    TypeError
        If p is no parameter.
    ValueError
        If Δ does not fit.

    Notes
    -----
    Flux's `update!(x, Δ)`: `x .+= Δ`.
    """
    if not isinstance(p, Param):
        raise TypeError(f"update() changes a parameter, and this is a {type(p).__name__}")
    Δ = np.asarray(data(Δ))
    if Δ.dtype.kind not in "fiub":
        raise TypeError(f"update(): Δ of dtype {Δ.dtype} does not fit a parameter of dtype {p.dtype}")
    try:
        p.value[...] += Δ
    except ValueError:
        raise ValueError(f"update(): Δ of shape {Δ.shape} does not fit a parameter of shape {p.shape}") from None
    if Δ.shape or Δ:  # update(p, 0) only clears the gradient
        p.updated = next(ids)
    p.zero_grad()
    return p

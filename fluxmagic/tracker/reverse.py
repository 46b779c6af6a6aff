"""The reverse pass: from a result back to what it was computed from."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush, heappushpop
from typing import Any

import numpy as np

from fluxmagic.tracker.array import Array, Param, Tracked, data, serials

__all__ = ["back", "update"]

_ONE = {np.dtype(t): np.ones((), t) for t in (np.float16, np.float32, np.float64)}


def sweep(y: Tracked, Δ: Array, stop: int = -1) -> tuple[dict[Tracked, Array], int]:
    """Carry Δ, the gradient of y, back through the graph at y's level.

    Nodes are taken by falling serial number, so each is reached by all of its gradient before it passes it
    on; the frontier is a heap, nothing is marked on the nodes, and an error leaves nothing behind.

    Parameters
    ----------
    y : Tracked
    Δ : array of y's shape
    stop : int
        Nodes with a smaller serial number are taken as leaves, parameters too.

    Returns
    -------
    gradients : dict
        Of the leaves that are no parameters; the parameters' gradients are added into them.
    touched : int
        How many parameters got their first gradient since they were cleared.

    Raises
    ------
    RuntimeError
        If a parameter was updated after a node was computed from it.
    """
    gradients: dict[Tracked, Array] = {}
    heap: list[tuple[int, Tracked]] = []
    following: Tracked | None = None  # a node that waits alone, as in a chain: that needs no heap,
    carried: Any = None  # and its gradient no dictionary
    touched = 0
    nested = y.level > 0
    if y.op is None or y.serial < stop:
        if type(y) is Param and y.serial >= stop:
            return gradients, int(y.add(Δ))
        return {y: Δ}, 0
    node = y
    while True:
        op: Any = node.op
        parents = node.parents
        options = node.options
        joint = op.joint
        if nested:  # the parameters are among the values then
            refuse_stale(node.args, node.serial)
        if joint is None:
            δs = op.gradients  # each is called when its turn comes
        elif options:
            δs = joint(Δ, node.value, *node.args, into=_offers(parents, stop), **options)
        else:
            δs = joint(Δ, node.value, *node.args, into=_offers(parents, stop))
        for p, δ in zip(parents, δs):  # there may be more rules than arguments
            if p is None or δ is None:
                continue
            if joint is None:
                δ = δ(Δ, node.value, *node.args, **options) if options else δ(Δ, node.value, *node.args)
            if δ.shape != p.value.shape:
                δ = fit(δ, p.value.shape)
            if p.op is not None and p.serial > stop:
                if following is None and not heap:
                    following, carried = p, δ
                elif p is following:
                    carried = carried + δ
                elif p in gradients:
                    gradients[p] = gradients[p] + δ
                else:
                    gradients[p] = δ
                    heappush(heap, (-p.serial, p))
            elif type(p) is Param and p.serial > stop:
                if p.updated > node.serial:
                    refuse_stale((p,), node.serial)
                if p.fresh and not p.shown:  # as p.add does
                    p.fresh = False
                    touched += 1
                    if δ is not p.gradient:  # where the rule has written it
                        p.gradient[...] = δ
                else:
                    touched += p.add(δ)
            elif p in gradients:
                gradients[p] = gradients[p] + δ
            else:
                gradients[p] = δ
        if following is not None:  # alone, or first of the heap
            if not heap:
                node, Δ, following = following, carried, None
                continue
            gradients[following] = carried
            node = heappushpop(heap, (-following.serial, following))[1]
            following = None
        elif heap:
            node = heappop(heap)[1]
        else:
            return gradients, touched
        Δ = gradients.pop(node)


def _offers(parents: Sequence[Tracked | None], stop: int) -> list[Any]:
    """For each parent: False (no gradient wanted), a buffer that its gradient may be written into, or None."""
    into: list[Any] = []
    for p in parents:
        if p is None:
            into.append(False)
        elif type(p) is Param and p.fresh and not p.shown and p.serial > stop:
            buffer: Any = p.gradient
            for other in into:
                if other is buffer:  # the same parameter twice: the second gradient is added
                    buffer = None
            into.append(buffer)
        else:
            into.append(None)
    return into


def refuse_stale(values: Iterable[Any], serial: int) -> None:
    """Raise a RuntimeError if one of the values is a parameter that was updated after that serial number."""
    for p in values:
        if type(p) is Param and p.updated > serial:
            raise RuntimeError(
                f"{_described(p)} was updated after this result was computed from it, so that its gradient would mix "
                "old and new values: compute the loss again after an update"
            )


def _described(p: Param) -> str:
    """A parameter as a sentence names it: by a variable of whoever calls the package, if there is one."""
    frame: Any = sys._getframe()
    while frame is not None:
        if not frame.f_globals.get("__name__", "").startswith("fluxmagic."):
            for name, value in {**frame.f_globals, **frame.f_locals}.items():
                if value is p and not name.startswith("_"):
                    return f"the parameter {name} of shape {p.shape}"
        frame = frame.f_back
    return f"a parameter of shape {p.shape}"


def fit(δ: Array, shape: tuple[int, ...]) -> Array:
    """Bring a gradient to the shape of what was broadcast (sum), or reduced to a scalar (spread)."""
    if δ.shape == ():
        if isinstance(δ, Tracked):
            return np.broadcast_to(δ, shape)
        full = np.empty(shape, δ.dtype)
        full[...] = δ
        return full
    extra = δ.ndim - len(shape)
    if extra < 0:
        raise ValueError(f"a gradient rule gave shape {δ.shape} for an argument of shape {shape}")
    axes = tuple(range(extra)) + tuple(i for i, n in enumerate(shape, extra) if n == 1 and δ.shape[i] != 1)
    δ = δ.sum(axis=axes)
    return δ if δ.shape == shape else δ.reshape(shape)


def back(y: Tracked, Δ: Any = None) -> None:
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
    >>> from fluxmagic import param, back
    >>> b = param([3.0, 4.0])
    >>> back(b * 2, [1, 10])
    >>> b.grad
    array([ 2., 20.])
    """
    backward(y, Δ)


def backward(y: Any, Δ: Any = None) -> int:
    """`back`, which also says how many parameters got their first gradient."""
    if not isinstance(y, Tracked):
        raise TypeError(
            f"back() needs a tracked array, and this is a plain {type(y).__name__}: "
            "nothing that it was computed from is a param"
        )
    while y.level:  # the parameters are at level 0
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
        Δ = _ONE[value.dtype]
    else:
        Δ = np.asarray(data(Δ), value.dtype)
        if Δ.shape != value.shape:
            raise ValueError(f"back(): Δ of shape {Δ.shape} does not fit y of shape {value.shape}")
    return sweep(y, Δ)[1]


def update(p: Param, Δ: Any) -> Param:
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
        p.updated = next(serials)
    p.clear()
    return p

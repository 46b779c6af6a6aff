"""What users put into a graph: hooks, checkpoints, and gradient rules of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from fluxmagic import generators
from fluxmagic.tracker.aliases import Array, ArrayLike, Function, Gradients, GradOut, Option
from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.node import PLAIN_ARRAYS, Node, ids, make_node
from fluxmagic.tracker.operation import Op, define
from fluxmagic.tracker.reverse import backpropagate

__all__ = ["checkpoint", "custom_gradient", "hook"]

Args = tuple[Any, ...]
Inputs = tuple[Node, ...]


def _identity(x: Array, f: Function) -> Array:
    return x


def _private_copy(Δ: Array) -> Array:
    """Copy a gradient for a user's function: the graph may hold the same array elsewhere."""
    return Δ.copy() if isinstance(Δ, np.ndarray) else Δ


HOOK = define(_identity, lambda Δ, y, x, f: f(_private_copy(Δ)), None, name="hook")


def hook(f: Callable[[Array], Array], x: ArrayLike) -> Array:
    """Return x, and in the reverse pass replace its gradient Δ by f(Δ).

    Parameters
    ----------
    f : callable
        Takes the gradient, an array of x's shape, and returns the one that is passed on.
    x : array_like or Tracked

    Returns
    -------
    Tracked
        With x's value; x itself if it is not tracked.

    Examples
    --------
    >>> from fluxmagic.tracker import hook
    >>> W = param(3.0)
    >>> back(hook(lambda Δ: -Δ, W) * 2)
    >>> W.grad
    array(-2.)
    """
    return HOOK(x, f) if isinstance(x, Tracked) else x


def _checkpoint(*values: Array, f: Function, args: Args, inputs: Inputs, draws: generators.Draws) -> Array:
    raise NotImplementedError  # a checkpoint is recorded by `checkpoint` itself


def _d_checkpoint(
    Δ: Array,
    y: Array,
    *values: Array,
    grad_out: GradOut,
    f: Function,
    args: Args,
    inputs: Inputs,
    draws: generators.Draws,
) -> Gradients:
    start = next(ids)
    with generators.replay_draws(draws):
        again = f(*args)
    found = backpropagate(again, Δ, until_id=start)[0]
    return [found.get(x) for x in inputs]


CHECKPOINT = Op("checkpoint", _checkpoint, vjp=_d_checkpoint)


def checkpoint(f: Function, *args: ArrayLike) -> Array:
    """Compute f(*args), forget what is inside, and compute it again in the reverse pass.

    It saves the memory that f's gradient needs, and costs a second forward pass.  Parameters that f closes over get
    their gradients too; random numbers of fluxmagic are drawn again.

    Parameters
    ----------
    f : callable
        Of arrays, to one array.
    *args : array_like or Tracked

    Returns
    -------
    Tracked or ndarray
        f's value.

    Examples
    --------
    >>> from fluxmagic.tracker import checkpoint
    >>> W = param(3.0)
    >>> back(checkpoint(lambda x: x * W, 2.0))
    >>> W.grad
    array(2.)
    """
    start = next(ids)
    with generators.record_draws() as draws:
        y = f(*args)
    if not isinstance(y, Tracked) or y.id < start:
        return y
    inputs = tuple(_external_inputs(y, start))
    return make_node(
        y.value,
        CHECKPOINT,
        inputs,
        tuple(x.value for x in inputs),
        {"f": f, "args": args, "inputs": inputs, "draws": draws},
        y.depth,
    )


def _external_inputs(y: Tracked, start: int) -> list[Node]:
    """Return the nodes from before `start` that the graph of y depends on."""
    found: set[Node] = {y}
    stack: list[Node] = [y]
    entries: list[Node] = []
    while stack:
        for p in stack.pop().parents:
            if p is not None and p not in found:
                found.add(p)
                (entries if p.id < start else stack).append(p)
    return entries


def _checked_gradient(op: Op, i: int, δ: Array, x: Array) -> Array:
    if not isinstance(δ, Tracked) and type(δ) not in PLAIN_ARRAYS:
        δ = np.asarray(δ)
    if δ.shape != x.shape:
        raise ValueError(f"{op.name}: the gradient of argument {i} has shape {δ.shape}, the argument {x.shape}")
    return δ


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function a gradient rule of its own (a decorator).

    Parameters
    ----------
    f : callable
        Takes arrays and returns `(value, pullback)`; `pullback(Δ)` returns the gradient for each argument,
        of its shape, None where there is none.  It is given plain arrays, or, inside a nested `gradient`,
        arrays tracked by the outer one.  Keyword arguments are handed on as they are.

    Returns
    -------
    callable
        Of the same arguments, to the value alone: tracked where an argument is.

    Examples
    --------
    >>> from fluxmagic.tracker import custom_gradient
    >>> @custom_gradient
    ... def log1pexp(x):
    ...     e = np.exp(x)
    ...     return np.log(1 + e), lambda Δ: (Δ * e / (1 + e),)
    >>> gradient(log1pexp, 0.0)
    (array(0.5),)
    """

    @wraps(f)
    def call(*args: ArrayLike, **options: Option) -> Array:
        depth = max((a.depth for a in args if isinstance(a, Tracked)), default=-1)
        if depth < 0:
            return f(*args, **options)[0]
        parents = tuple(a if isinstance(a, Tracked) and a.depth == depth else None for a in args)
        values = tuple(a if p is None else p.value for a, p in zip(args, parents, strict=True))
        result = f(*values, **options)
        if not isinstance(result, tuple) or len(result) != 2 or not callable(result[1]):
            raise TypeError(f"{op.name}: a custom gradient's function returns (value, pullback)")
        value, pullback = result
        if not isinstance(value, Tracked):
            value = value if type(value) in PLAIN_ARRAYS else np.asarray(value)
        elif value.depth >= depth:
            raise TypeError(f"{op.name} closes over a tracked array: hand it in as an argument, or take its .data")
        return make_node(value, op, parents, values, {"pullback": pullback}, depth)

    def joint(Δ: Array, y: Array, *args: ArrayLike, grad_out: GradOut, pullback: Function) -> Gradients:
        δs = pullback(_private_copy(Δ))
        if not isinstance(δs, (tuple, list)):
            δs = (δs,)
        if len(δs) != len(args):
            raise ValueError(f"{op.name}: the pullback returned {len(δs)} gradients for {len(args)} arguments")
        return [
            None if δ is None or grad_out[i] is False else _checked_gradient(op, i, δ, x)
            for i, (δ, x) in enumerate(zip(δs, args, strict=True))
        ]

    op = Op(getattr(f, "__name__", "custom"), f, vjp=joint)
    return call

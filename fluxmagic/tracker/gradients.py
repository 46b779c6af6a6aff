"""Gradients of functions, to any order; hooks, checkpoints and custom gradients.

Each `gradient` in progress has a depth.  Its arguments are wrapped in arrays of that depth, whose values may be tracked
by an outer gradient: so gradients nest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from fluxmagic import generators
from fluxmagic.tracker.aliases import Array, ArrayLike, Function, Gradients, GradOut, Option
from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.node import PLAIN_ARRAYS, Node, data, ids, make_node
from fluxmagic.tracker.operation import Op, define
from fluxmagic.tracker.reverse import backpropagate, refuse_stale, unbroadcast

__all__ = ["checkpoint", "custom_gradient", "forward", "gradient", "hessian", "hook", "jacobian"]


Args = tuple[Any, ...]
Inputs = tuple[Node, ...]


class _Nesting(threading.local):
    """The number of gradients in progress in this thread."""

    depth = 0


nesting = _Nesting()


def _as_input(x: ArrayLike) -> Array:
    if isinstance(x, Tracked):
        return x
    value = x if type(x) in PLAIN_ARRAYS else np.asarray(x)
    if value.dtype.kind in "iub":
        value = value.astype(np.float64)
    if value.dtype.kind != "f":
        raise TypeError(f"a gradient is taken with respect to real numbers, not {value.dtype}")
    if value.dtype.itemsize > 8:
        raise TypeError(f"a gradient is taken in float32 or float64, not {value.dtype}: use x.astype(np.float64)")
    return value


def forward(f: Callable[..., Any], *args: ArrayLike) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """Compute f(*args), and a function that carries a gradient back to the arguments.

    Parameters
    ----------
    f : callable
        Of arrays, to one array.
    *args : array_like
        Floating point; integers become float64.

    Returns
    -------
    y : ndarray
        The value, an array of its own; tracked where it depends on something tracked.
    pullback : callable
        `pullback(Δ)`, Δ of y's shape, is a tuple of gradients of the arguments' shapes.  They are differentiable with
        respect to Δ, too.

    Examples
    --------
    >>> from fluxmagic.tracker import forward
    >>> y, pullback = forward(lambda x: x ** 2, [1.0, 3.0])
    >>> y
    array([1., 9.])
    >>> pullback([1.0, 1.0])
    (array([2., 6.]),)
    """
    values = [_as_input(x) for x in args]
    nesting.depth += 1
    try:
        depth = nesting.depth
        inputs = [Tracked(v, depth=depth) for v in values]
        y = f(*inputs)
    finally:
        nesting.depth -= 1
    depends = isinstance(y, Tracked) and y.depth == depth
    value = y.value if depends else y
    made = next(ids)

    def pullback(Δ: ArrayLike) -> tuple[Any, ...]:
        if not isinstance(Δ, Tracked):
            Δ = np.asarray(Δ, value.dtype if depends else None)
        if np.shape(Δ) != np.shape(value):
            raise ValueError(f"pullback: Δ of shape {np.shape(Δ)} does not fit a value of shape {np.shape(value)}")
        refuse_stale(values, made)
        found: dict[Node, Array] = backpropagate(y, Δ)[0] if depends else {}
        return tuple(_as_gradient(found.get(x), v) for x, v in zip(inputs, values, strict=True))

    # a copy: the graph goes on using its own array
    return (np.copy(value) if isinstance(value, (np.ndarray, np.generic)) else value), pullback


def _as_gradient(δ: Array, x: Array) -> Array:
    if δ is None:
        return np.zeros(x.shape, x.dtype)
    if δ.shape != x.shape:
        δ = unbroadcast(δ, x.shape)
    if δ.dtype != x.dtype:
        δ = δ.astype(x.dtype)
    return δ if isinstance(δ, Tracked) else np.copy(δ)  # a copy: several gradients may be one array


def gradient(f: Callable[..., Any], *args: ArrayLike) -> tuple[Any, ...]:
    """Gradients of a scalar function with respect to each of its arguments.

    Parameters
    ----------
    f : callable
        Of arrays, to a scalar (shape `()`).
    *args : array_like
        Floating point of any shape; integers become float64.

    Returns
    -------
    tuple
        One array for each argument, of its shape and dtype: tracked where it depends on something tracked (inside an
        outer gradient, or on a parameter, so that a loss may hold a gradient), otherwise plain.

    Raises
    ------
    ValueError
        If f's value is no scalar.

    Examples
    --------
    >>> gradient(lambda x: x ** 3, 2.0)
    (array(12.),)
    >>> gradient(lambda x: gradient(lambda x: x ** 3, x)[0], 2.0)
    (array(12.),)
    >>> W = param(2.0)
    >>> back(gradient(lambda w: w ** 3, W)[0])
    >>> W.grad
    array(12.)
    """
    y, pullback = forward(f, *args)
    if np.shape(y) != ():
        raise ValueError(
            f"gradient() is of a scalar function, and this one gave shape {np.shape(y)}: reduce it (sum, mean), "
            "or use jacobian or forward"
        )
    return pullback(np.ones((), getattr(y, "dtype", None)))


def jacobian(f: Function, x: ArrayLike) -> Array:
    """The derivatives of each element of f(x) by each element of x.

    Parameters
    ----------
    f : callable
        Of one array, to one array.
    x : array_like

    Returns
    -------
    ndarray
        Of shape `y.shape + x.shape`.

    Examples
    --------
    >>> from fluxmagic.tracker import jacobian
    >>> jacobian(lambda x: x ** 2, [1.0, 3.0])
    array([[2., 0.],
           [0., 6.]])
    """
    y, pullback = forward(f, x)
    shape = np.shape(y)
    rows = []
    for i in range(int(np.prod(shape))):
        Δ = np.zeros(shape, getattr(y, "dtype", None))
        Δ.flat[i] = 1
        rows.append(pullback(Δ)[0])
    x_shape = np.shape(data(x))
    if not rows:
        return np.zeros(shape + x_shape)
    return np.reshape(np.stack(rows), shape + x_shape)


def hessian(f: Function, x: ArrayLike) -> Array:
    """The second derivatives of a scalar function.

    Parameters
    ----------
    f : callable
        Of one array, to a scalar.
    x : array_like

    Returns
    -------
    ndarray
        Of shape `x.shape + x.shape`.

    Examples
    --------
    >>> from fluxmagic.tracker import hessian
    >>> hessian(lambda x: x[0] ** 2 * x[1], [1.0, 3.0])
    array([[6., 2.],
           [2., 0.]])
    """
    return jacobian(lambda x: gradient(f, x)[0], x)


# -- hooks, checkpoints, custom gradients --------------------------------------------------------------


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

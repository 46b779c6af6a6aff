"""Gradients of functions, to any order.

Each `gradient` in progress has a depth.  Its arguments are wrapped in arrays of that depth, whose values may be tracked
by an outer gradient: so gradients nest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from fluxmagic.tracker.aliases import Array, ArrayLike, Function
from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.node import Node, as_floats, data, ids
from fluxmagic.tracker.reverse import backpropagate, refuse_stale, unbroadcast

__all__ = ["forward", "gradient", "hessian", "jacobian"]


class _Nesting(threading.local):
    """The number of gradients in progress in this thread."""

    depth = 0


nesting = _Nesting()


def _as_input(x: ArrayLike) -> Array:
    if isinstance(x, Tracked):
        return x
    value = as_floats(x)
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

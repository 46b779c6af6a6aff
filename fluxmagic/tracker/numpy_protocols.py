"""The interface of an ndarray for nodes of the graph: operators, methods, and NumPy's two protocols.

Each operator and method stands here beside the NumPy function that it calls, whose rule is in the registry.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from fluxmagic.tracker.aliases import Array, ArrayLike, Function, Index, Option, Shape
from fluxmagic.tracker.calls import with_shapes
from fluxmagic.tracker.node import Node, data, make_node
from fluxmagic.tracker.numpy_calls import apply_function, apply_ufunc
from fluxmagic.tracker.operation import OPS, op_by_name
from fluxmagic.tracker.record import FLOATS, check_dtype, record

__all__ = ["ArrayInterface"]

Method = Callable[..., Array]

_PLAIN = frozenset({np.ndarray, float, int, np.float32, np.float64})


def _infix(function: Function, shortcut: Function | None = None, reflected: bool = False) -> Method:
    """Make an operator's method.

    Outside of nested gradients two arrays, or an array and a number, do not go through `record`: that takes 8 % of a
    small model's step.  `shortcut` is Python's operator, which knows short cuts (x**2) that NumPy's ufuncs do not.
    """

    def method(a: Node, b: ArrayLike) -> Array:
        op = OPS[function]
        if type(b) in _PLAIN and not a.depth:
            y, parent = b, None
        elif isinstance(b, Node) and not a.depth and not b.depth:
            y, parent = b.value, b
        elif b is None or isinstance(b, (str, bytes)):
            return NotImplemented
        else:
            return record(op, (b, a) if reflected else (a, b))
        parents, args = ((parent, a), (y, a.value)) if reflected else ((a, parent), (a.value, y))
        try:
            value = shortcut(*args) if shortcut else op.forward(*args)
        except (ValueError, TypeError, OverflowError) as error:
            raise with_shapes(op.name, args, error) from None
        if value.dtype not in FLOATS:
            check_dtype(op, value)
        return make_node(value, op, parents, args, None, a.depth)

    method.__doc__ = f"Carry out np.{function.__name__}."
    method.numpy_function = function  # type: ignore[attr-defined]
    return method


def _plain_infix(f: Function, reflected: bool = False) -> Method:
    def method(a: Node, b: ArrayLike) -> Array:
        return f(data(b), a.data) if reflected else f(a.data, data(b))

    method.__doc__ = "Carry out the operator on the plain values, element by element."
    return method


def _method(function: Function, one_argument: bool = False) -> Method:
    """Make the method that calls a NumPy function; x.reshape(2, 3) is x.reshape((2, 3)), with one_argument."""

    def method(self: Node, *args: ArrayLike, **options: Option) -> Array:
        if one_argument and len(args) > 1:
            args = (args,)
        return apply_function(function, (self, *args), options)

    method.__doc__ = f"Do what the method of an ndarray does, and record it as np.{function.__name__}."
    method.numpy_function = function  # type: ignore[attr-defined]
    return method


def _plain_method(name: str) -> Method:
    def method(self: Node, *args: ArrayLike, **options: Option) -> Array:
        return getattr(self.data, name)(*args, **options)

    method.__doc__ = "Do what the method of an ndarray does, on the plain value."
    return method


class ArrayInterface(Node):
    """What a tracked array shares with an ndarray."""

    __slots__ = ()

    __array_priority__ = 1000.0
    __pandas_priority__ = 10000  # otherwise pandas goes through a Series element by element
    __hash__ = object.__hash__

    # -- NumPy's protocols -----------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: ArrayLike, **options: Option) -> Array:
        return apply_ufunc(ufunc, method, inputs, options)

    def __array_function__(
        self, function: Function, types: object, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Array:
        return apply_function(function, args, options)

    # -- operators -------------------------------------------------------------------------------------

    __add__ = _infix(np.add, operator.add)
    __radd__ = _infix(np.add, operator.add, reflected=True)
    __sub__ = _infix(np.subtract, operator.sub)
    __rsub__ = _infix(np.subtract, operator.sub, reflected=True)
    __mul__ = _infix(np.multiply, operator.mul)
    __rmul__ = _infix(np.multiply, operator.mul, reflected=True)
    __truediv__ = _infix(np.divide, operator.truediv)
    __rtruediv__ = _infix(np.divide, operator.truediv, reflected=True)
    __mod__ = _infix(np.remainder, operator.mod)
    __rmod__ = _infix(np.remainder, operator.mod, reflected=True)
    __pow__ = _infix(np.power, operator.pow)
    __rpow__ = _infix(np.power, operator.pow, reflected=True)
    __matmul__ = _infix(np.matmul)
    __rmatmul__ = _infix(np.matmul, reflected=True)
    __neg__ = _method(np.negative)
    __pos__ = _method(np.positive)
    __abs__ = _method(np.absolute)
    __divmod__ = _method(np.divmod)

    def __rdivmod__(self, other: ArrayLike) -> tuple[Array, Array]:
        return apply_function(np.divmod, (other, self), {})  # type: ignore[no-any-return]

    __eq__ = _plain_infix(operator.eq)
    __ne__ = _plain_infix(operator.ne)
    __lt__ = _plain_infix(operator.lt)
    __le__ = _plain_infix(operator.le)
    __gt__ = _plain_infix(operator.gt)
    __ge__ = _plain_infix(operator.ge)
    __floordiv__ = _plain_infix(operator.floordiv)
    __rfloordiv__ = _plain_infix(operator.floordiv, reflected=True)

    def __getitem__(self, index: Index) -> Array:
        for i in index if isinstance(index, tuple) else (index,):
            if isinstance(i, Node):
                raise TypeError(
                    "getitem: a tracked array holds no integers; index with a plain array (.data, np.argmax, ...)"
                )
        return record(op_by_name("getitem"), (self,), {"index": index})

    # -- properties ------------------------------------------------------------------------------------

    @property
    def shape(self) -> Shape:
        """Lengths of the axes."""
        return self.value.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        return self.value.dtype  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.value.ndim  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.value.size  # type: ignore[no-any-return]

    @property
    def nbytes(self) -> int:
        """Bytes of the value."""
        return self.data.nbytes

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.data.itemsize

    @property
    def T(self) -> Array:
        """The transposed array; recorded."""
        return record(OPS[np.transpose], (self,))

    @property
    def mT(self) -> Array:
        """Each matrix of the stack transposed; recorded."""
        return record(OPS[np.matrix_transpose], (self,))

    @property
    def real(self) -> Array:
        """The array itself: tracked arrays are real."""
        return self

    @property
    def imag(self) -> np.ndarray:
        """Zeros: tracked arrays are real."""
        return np.zeros(self.shape, self.dtype)

    # -- methods -----------------------------------------------------------------------------------------

    astype = _method(np.astype)
    clip = _method(np.clip)
    conj = _method(np.conjugate)
    conjugate = _method(np.conjugate)
    copy = _method(np.copy)
    cumprod = _method(np.cumprod)
    cumsum = _method(np.cumsum)
    diagonal = _method(np.diagonal)
    dot = _method(np.dot)
    flatten = _method(np.ravel)
    max = _method(np.max)
    mean = _method(np.mean)
    min = _method(np.min)
    prod = _method(np.prod)
    ravel = _method(np.ravel)
    repeat = _method(np.repeat)
    reshape = _method(np.reshape, one_argument=True)
    squeeze = _method(np.squeeze)
    std = _method(np.std)
    sum = _method(np.sum)
    swapaxes = _method(np.swapaxes)
    take = _method(np.take)
    trace = _method(np.trace)
    transpose = _method(np.transpose, one_argument=True)
    var = _method(np.var)

    all = _plain_method("all")
    any = _plain_method("any")
    argmax = _plain_method("argmax")
    argmin = _plain_method("argmin")
    argpartition = _plain_method("argpartition")
    argsort = _plain_method("argsort")
    nonzero = _plain_method("nonzero")
    round = _plain_method("round")
    searchsorted = _plain_method("searchsorted")

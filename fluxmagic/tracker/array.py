"""Tracked arrays and parameters: what a user holds.

`numpy_protocols` has what they share with an ndarray; here are Python's own protocols, gradients and errors.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from fluxmagic.absent import add_absent, present
from fluxmagic.tracker.aliases import Array, ArrayLike, DType, Index
from fluxmagic.tracker.callers import float_caller, refusal, variable_name
from fluxmagic.tracker.constants import BLAS_FLOATS
from fluxmagic.tracker.node import Node, data, ids
from fluxmagic.tracker.numpy_protocols import ArrayInterface

__all__ = ["Param", "Tracked", "as_arrays", "data", "grad", "istracked", "param"]

WORDS = {
    "backward": "back(loss) is the reverse pass",
    "zero_grad": "an optimiser's opt() clears the gradients; W.zero_grad() does it for one parameter",
    "detach": "x.data is the plain array, which leaves the tape",
    "numpy": "x.data is the plain array",
    "cpu": "x.data is the plain array",
    "requires_grad": "istracked(x) tells whether x is tracked; param(x) makes a parameter",
    "requires_grad_": "param(x) makes a parameter",
    "add_": "update(W, Δ) adds to a parameter in place",
    "sub_": "update(W, -Δ) subtracts from a parameter in place",
    "copy_": "W.data = x copies into a parameter",
    "grad_fn": "repr(x) names the operation that made it",
    "view": "x.reshape(shape) it is",
    "permute": "x.transpose(axes) it is",
}
"""What other libraries call it, and what it is here."""


class Tracked(ArrayInterface):
    """An array that remembers how it was computed.

    Not made by hand: `param` makes the leaves, NumPy's operators and functions the rest.

    Attributes
    ----------
    data : ndarray
        The plain value.
    grad : ndarray
        The accumulated gradient; leaves only.
    shape, dtype, ndim, size
        As of an ndarray.
    """

    __slots__ = ()

    @property
    def grad(self) -> np.ndarray:
        raise TypeError(
            "only a parameter collects a gradient; to see the gradient that passes through a computed "
            "array, put `x = hook(f, x)` in its place: f is called with it in the reverse pass"
        )

    # -- Python's own protocols --------------------------------------------------------------------

    def __repr__(self) -> str:
        text = np.array2string(self.data, separator=", ", prefix="tracked(")
        label = "" if self.op is None else f", op={self.op.name}"
        return f"tracked({text}, dtype={self.dtype}{label})"

    def __str__(self) -> str:
        return str(self.data)

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        return format(self._as_float(f"format {spec!r}"), spec)

    def _as_float(self, what: str) -> float:
        self._require_scalar(self.size == 1, what)
        return float(self.data.item())

    def _require_scalar(self, is_scalar: bool, what: str) -> None:
        if not is_scalar:
            raise TypeError(f"{what} needs a scalar, not an array of shape {self.shape}: use .data for the plain array")

    def item(self, *index: Index) -> float:
        """One element as a Python float; without an index, that of an array of size 1."""
        return float(self.data.item(*index)) if index else self._as_float("item()")

    def tolist(self) -> Any:  # noqa: ANN401 - lists as deep as the array
        """The plain value as nested Python lists."""
        return self.data.tolist()

    def __float__(self) -> float:
        self._require_scalar(self.shape == (), "float()")
        if function := float_caller():
            raise TypeError(
                f"{function} takes a tracked array as a plain number (initial=, left=, …), so that "
                "its gradient would be lost: add it by an operation of its own, or pass float(x)"
            )
        return float(self.data)

    def __int__(self) -> int:
        self._require_scalar(self.shape == (), "int()")
        return int(self.data)

    def __bool__(self) -> bool:
        return bool(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Tracked]:
        if not self.shape:
            raise TypeError("iteration over a 0-d tracked array")
        return (self[i] for i in range(len(self)))

    def __contains__(self, item: ArrayLike) -> bool:
        return bool((self.data == data(item)).any())

    def __array__(self, dtype: DType = None, copy: bool | None = None) -> np.ndarray:
        raise TypeError(refusal())

    def __setitem__(self, index: Index, value: ArrayLike) -> None:
        raise TypeError(
            "a tracked array is not written in place: build a new one (np.where, np.concatenate), or, for a "
            "parameter W, use update(W, Δ) or W.data[...] = value"
        )

    def __round__(self, digits: int | None = None) -> float:
        return round(self._as_float("round()"), digits)

    def __dir__(self) -> list[str]:
        return present(type(self))

    def __copy__(self) -> Tracked:
        return self


def _explain_absent(cls: type, name: str) -> str:
    text = f"a tracked array has no attribute {name!r}; "
    if name in WORDS:
        return text + WORDS[name]
    return text + f"the plain array has: .data.{name} (to change a parameter: update(W, Δ) or W.data[...] = value)"


add_absent(Tracked, [*WORDS, *(name for name in dir(np.ndarray) if not name.startswith("__"))], _explain_absent)
Node.computed = Tracked


class Param(Tracked):
    """A leaf of the graph: a parameter, which collects gradients.  Made by `param`."""

    # gradient      the buffer behind .grad
    # grad_is_zero  nothing was added since it was cleared: the first write overwrites
    # grad_exposed  .grad was read, so the buffer itself has to be zero when it is cleared
    # storage       the part of a flat buffer that holds value and gradient (see optimise.flat_buffer)
    # run_ref       a weak reference to the run that trains it
    # updated       an id: nodes with a smaller one hold what was computed from the value before
    __slots__ = ("grad_exposed", "grad_is_zero", "gradient", "run_ref", "storage", "updated")

    def __init__(self, value: np.ndarray) -> None:
        Tracked.__init__(self, value)
        self.gradient = np.zeros_like(value)
        self.grad_is_zero = True
        self.grad_exposed = False
        self.storage: Any = None
        self.run_ref: Any = None
        self.updated = 0

    @property
    def data(self) -> np.ndarray:
        """The plain value.  Assigning copies into place; an optimiser may move the storage, so hold the parameter."""
        return self.value  # type: ignore[no-any-return]

    @data.setter
    def data(self, new: ArrayLike) -> None:
        new = np.asarray(data(new))
        if new.shape != self.value.shape:
            raise ValueError(f"data of shape {new.shape} does not fit a parameter of shape {self.value.shape}")
        if new.dtype.kind not in "fiub":
            raise TypeError(f"data of dtype {new.dtype} does not fit a parameter of dtype {self.value.dtype}")
        self.value[...] = new
        self.updated = next(ids)

    @property
    def grad(self) -> np.ndarray:
        """The accumulated gradient: a live array of the parameter's shape and dtype, zeros at first."""
        if not self.grad_exposed:
            self.grad_exposed = True
            if self.grad_is_zero:
                self.gradient.fill(0)
        return self.gradient

    def accumulate(self, δ: Array, computed_at: int = sys.maxsize) -> bool:
        """Add δ, from a node of that id, to the gradient; say whether it is the first since it was cleared."""
        if self.updated > computed_at:
            self.refuse_update_since(computed_at)
        first = self.grad_is_zero
        if not first or self.grad_exposed:  # what was read may have been written into
            self.gradient += δ
        elif δ is not self.gradient:  # where the rule has not written it already
            self.gradient[...] = δ
        self.grad_is_zero = False
        return first

    def refuse_update_since(self, id: int) -> None:
        """Raise a RuntimeError if the parameter was updated after the node of that id was computed from it."""
        if self.updated > id:
            raise RuntimeError(
                f"{variable_name(self)} was updated after this result was computed from it, so that its gradient would "
                "mix old and new values: compute the loss again after an update"
            )

    def zero_grad(self) -> None:
        """Set the gradient to zero."""
        self.grad_is_zero = True
        if self.grad_exposed:
            self.gradient.fill(0)

    def __repr__(self) -> str:
        return f"param({np.array2string(self.value, separator=', ', prefix='param(')}, dtype={self.dtype})"

    def __iadd__(self, other: ArrayLike) -> NoReturn:  # type: ignore[misc]
        raise TypeError(
            "a parameter is not changed by an in-place operator: use update(W, Δ), W.data[...] += Δ, "
            "or write W + Δ for a new array"
        )

    __isub__ = __imul__ = __itruediv__ = __ipow__ = __imatmul__ = __ifloordiv__ = __imod__ = __iadd__

    def __copy__(self) -> Param:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> Param:
        new = Param(self.value.copy())
        if not self.grad_is_zero or self.grad_exposed:
            new.gradient[...] = self.gradient
            new.grad_is_zero = self.grad_is_zero
        memo[id(self)] = new
        return new

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.value.copy(), None if self.grad_is_zero else self.gradient.copy())


def _restore(value: np.ndarray, gradient: np.ndarray | None) -> Param:
    new = Param(value)
    if gradient is not None:
        new.accumulate(gradient)
    return new


def param(x: ArrayLike) -> Param:
    """Make a parameter: a leaf of the graph, which collects gradients.

    Parameters
    ----------
    x : array_like
        Any shape; it is copied.  float32 and float64 are kept, integers and bools become float64.

    Returns
    -------
    Param
        A tracked array of x's shape.

    Raises
    ------
    TypeError
        If x is tracked already, or of any other dtype.

    Examples
    --------
    >>> W = param([1.0, 2.0])
    >>> back((W * W).sum())
    >>> W.grad
    array([2., 4.])
    """
    if isinstance(x, Tracked):
        raise TypeError("param() makes a leaf of plain numbers, and this array is tracked already: pass x.data")
    value = np.array(x, order="C")
    dtype = value.dtype.newbyteorder("=")
    if dtype not in BLAS_FLOATS:
        if dtype.kind not in "iub":
            raise TypeError(f"param() takes float32, float64, integers and bools, not {dtype}")
        dtype = np.dtype(np.float64)
    return Param(value.astype(dtype, copy=False))


def as_arrays(*xs: ArrayLike) -> tuple[Array, ...]:
    """Convert what is not tracked to arrays."""
    return tuple(x if isinstance(x, Tracked) else np.asarray(x) for x in xs)


def istracked(x: ArrayLike) -> bool:
    """Say whether x is a tracked array.

    Parameters
    ----------
    x : object

    Returns
    -------
    bool

    Examples
    --------
    >>> from fluxmagic.tracker import istracked
    >>> istracked(param(1.0) * 2), istracked(2.0)
    (True, False)
    """
    return isinstance(x, Tracked)


def grad(p: Tracked) -> np.ndarray:
    """The accumulated gradient of a parameter: `p.grad`.

    Parameters
    ----------
    p : Param

    Returns
    -------
    ndarray
        Of p's shape and dtype; a live array, zeros at first.

    Raises
    ------
    TypeError
        If p is no parameter.

    Examples
    --------
    >>> from fluxmagic.tracker import grad
    >>> W = param([1.0, 2.0])
    >>> back((W * 3).sum())
    >>> grad(W)
    array([3., 3.])
    """
    if not isinstance(p, Tracked):
        raise TypeError(f"grad() takes a parameter, not a {type(p).__name__}")
    return p.grad

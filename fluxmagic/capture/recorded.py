"""The array that stands for an ndarray while a step is recorded.

It is no ndarray, so that nothing takes its memory unseen: all that is done with it comes through NumPy's protocols,
operators and methods, or is told as a leak.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import suppress
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from fluxmagic.capture import lowering
from fluxmagic.capture.calls import Ref, leaves
from fluxmagic.capture.lines import is_called_by_package
from fluxmagic.tracker.aliases import Array, ArrayLike, Axis, DType, Index, Option
from fluxmagic.tracker.node import PLAIN_ARRAYS, Node

__all__ = ["Recorded", "RecordedNumber", "WatchedGenerator", "has_arrays", "is_numpys", "recorded_in"]

Result = Any
"""What NumPy would return, recorded."""
Recorder = Any
"""A `Recorder`; its module imports this one."""

FORWARDED = (
    "all any argmax argmin argpartition argsort choose compress conj conjugate cumprod cumsum diagonal flatten "
    "max min nonzero prod ptp ravel repeat reshape round searchsorted squeeze std swapaxes take trace transpose var "
    "view"
)
SQUARE_AND_CO = {2: np.square, 1: np.positive, 0.5: np.sqrt, -1: np.reciprocal}
"""What NumPy's operator ** does for some exponents."""


class Recorded(NDArrayOperatorsMixin):
    """An array, and its place in a recording.

    Attributes
    ----------
    recorder : Recorder
    ref : Ref
        Its value in the recording.
    array : ndarray or scalar of NumPy
        Unset as long as it is put off.
    """

    __slots__ = ("__weakref__", "array", "fixed_dtype", "fixed_shape", "recorder", "ref")
    array: Array
    __array_priority__ = 500.0
    __hash__ = object.__hash__
    __class__ = property(lambda self: np.ndarray)  # for isinstance

    def __init__(self, recorder: Recorder, ref: Ref, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.recorder, self.ref, self.fixed_shape, self.fixed_dtype = recorder, ref, shape, dtype

    number = property(attrgetter("ref.number"))
    shape = property(attrgetter("fixed_shape"))
    dtype = property(attrgetter("fixed_dtype"))
    ndim = property(attrgetter("array.ndim"))
    size = property(attrgetter("array.size"))
    itemsize = property(attrgetter("array.itemsize"))
    nbytes = property(attrgetter("array.nbytes"))
    strides = property(attrgetter("array.strides"))
    real = property(lambda self: self)
    T = property(lambda self: self.recorder.result("view", _T, (self,), {}, self.array.T))
    mT = property(lambda self: self.swapaxes(-1, -2))  # noqa: N815 - NumPy's name

    @property
    def flags(self) -> Array:
        """As NumPy's; the layout is guarded, but not who owns the memory, or may write."""
        found = self.array.flags
        return found if is_called_by_package() else self.recorder.leak(".flags", found)

    # -- NumPy's protocols -----------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, **options: object) -> Result:
        if not USUAL.issuperset(map(type, inputs)) and any(isinstance(x, Node) for x in inputs):
            return NotImplemented
        out = options.pop("out", None)
        if isinstance(out, tuple) and len(out) == 1:
            (out,) = out
        return self.recorder.ufunc(ufunc, method, inputs, options, out)

    def __array_function__(self, function: Option, types: Option, args: Option, options: Option) -> Result:
        if not USUAL.issuperset(types) and any(issubclass(t, Node) for t in types):
            return NotImplemented
        lower = lowering.LOWERED.get(function)
        if lower is not None:
            with suppress(TypeError):  # an option that is not among the simple ones
                result = lower(*args, **options)
                if result is not NotImplemented:
                    return result
        return self.recorder.function(function, args, options)

    # -- methods ---------------------------------------------------------------------------------------

    def dot(self, b: ArrayLike, out: Array = None) -> Result:
        """The product; NumPy's fastest call of it."""
        if isinstance(b, Node):
            return self.array.dot(b)  # the tracker's own error
        return self.recorder.dot(self, b, out)

    def sum(self, axis: Axis = None, dtype: DType = None, out: Array = None, keepdims: bool = False) -> Result:
        """As `np.add.reduce`, which it is."""
        return np.add.reduce(self, axis=axis, dtype=dtype, out=out, keepdims=keepdims)

    def mean(self, axis: Axis = None, dtype: DType = None, out: Array = None, keepdims: bool = False) -> Result:
        """As `np.mean`."""
        return np.mean(self, axis, dtype, out, keepdims=keepdims)

    def copy(self, order: str = "C") -> Result:
        """A copy."""
        return self.recorder.copy(self, self.dtype, order)

    def astype(
        self, dtype: DType, order: str = "K", casting: str = "unsafe", subok: bool = True, copy: bool = True
    ) -> Result:
        """A copy in another dtype."""
        if np.dtype(dtype) == self.dtype and not copy:
            return self
        if isinstance(self.array, np.ndarray):
            return self.recorder.copy(self, np.dtype(dtype), order)
        return self.recorder.method("astype", self, (dtype,), {})

    def item(self, *index: Index) -> Result:
        """A Python number: for the package's own comparisons one that is recorded."""
        if is_called_by_package():
            return self.recorder.item(self, index)
        return self.recorder.leak("item()", self.array.item(*index))

    def clip(self, min: ArrayLike = None, max: ArrayLike = None, out: Array = None, **options: Option) -> Result:
        """As NumPy's, which is a ufunc."""
        if min is None or max is None:
            ufunc, bound = (np.maximum, min) if max is None else (np.minimum, max)
            return ufunc(self, bound, out=out, **options)
        return self.recorder.ufunc(lowering.CLIP, "__call__", (self, min, max), options, out)

    def fill(self, value: ArrayLike) -> None:
        """As NumPy's."""
        self.recorder.set(self, ..., value)

    def __getitem__(self, index: Index) -> Result:
        return self.recorder.get(self, index)

    def __setitem__(self, index: Index, value: ArrayLike) -> None:
        if isinstance(value, Node):
            self.array[self.recorder.plain(index)] = value  # the tracker's own error
        self.recorder.set(self, index, value)

    def __pow__(self, b: ArrayLike) -> Result:
        if not self.shape and not isinstance(self.array, np.ndarray):
            return self.recorder.call(operator.pow, (self, b), {})
        short = self._short_power(b)
        return np.power(self, b) if short is None else short(self)

    def __ipow__(self, b: ArrayLike) -> Result:
        short = self._short_power(b)
        return np.power(self, b, out=(self,)) if short is None else short(self, out=(self,))  # type: ignore[arg-type]

    def _short_power(self, b: ArrayLike) -> np.ufunc | None:
        return SQUARE_AND_CO.get(b) if type(b) in (int, float) and self.dtype.kind == "f" else None

    def __rpow__(self, b: ArrayLike) -> Result:
        if not isinstance(self.array, np.ndarray):  # a scalar's power, whose bits are not those of NumPy's loop
            return self.recorder.call(operator.pow, (b, self), {})
        return np.power(b, self)

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[Result]:
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self.array)))

    # -- where values leave ----------------------------------------------------------------------------

    def __bool__(self) -> bool:
        if self.array.size != 1:
            return bool(self.array)  # NumPy's own error
        return self.recorder.guard(operator.truth, (self,), bool(self.array))  # type: ignore[no-any-return]

    def __contains__(self, x: object) -> bool:
        return bool((self == x).any())

    def __array__(self, dtype: DType = None, copy: bool | None = None) -> np.ndarray:
        self.recorder.refuse("takes what follows from the batch or the parameters as a plain array: np.asarray()")
        return np.array(self.array, dtype, copy=copy) if copy or dtype is not None else np.asarray(self.array)

    def __getattr__(self, name: str) -> Result:
        if name == "array":
            return self.recorder.carry_out()[self.number]
        if name.startswith("__"):
            raise AttributeError(name)
        return self.recorder.leak(f".{name}", getattr(self.array, name))


def _T(x: np.ndarray) -> np.ndarray:
    return x.T


def _forward(name: str) -> Callable[..., Result]:
    def method(self: Recorded, *args: object, **options: object) -> Result:
        return self.recorder.method(name, self, args, options)

    method.__name__ = name
    return method


def _leaving(what: str, f: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Recorded, *args: object) -> object:
        return self.recorder.leak(what, f(self.array, *args))

    return method


for _name in FORWARDED.split():
    if hasattr(np.ndarray, _name):
        setattr(Recorded, _name, _forward(_name))
for _name, _what, _f in (
    ("__float__", "float()", float),
    ("__int__", "int()", int),
    ("__index__", "an index", operator.index),
    ("__complex__", "complex()", complex),
    ("__repr__", "repr()", repr),
    ("__str__", "str()", str),
    ("__format__", "a format", format),
    ("__reduce__", "pickle", lambda a: a.__reduce__()),
    ("__copy__", "a copy", lambda a: a.copy()),
    ("__deepcopy__", "a copy", lambda a, memo: a.copy()),
    ("tolist", "tolist()", lambda a: a.tolist()),
    ("tobytes", "tobytes()", lambda a, *order: a.tobytes(*order)),
):
    setattr(Recorded, _name, _leaving(_what, _f))
PLAIN_ARRAYS.add(Recorded)
USUAL = {Recorded, np.ndarray, int, float}


class RecordedNumber:
    """A Python number out of a recorded array, for the package's own branches: a comparison becomes a guard."""

    __slots__ = ("recorder", "ref", "value")
    __hash__ = object.__hash__

    def __init__(self, recorder: Recorder, value: float, ref: Ref) -> None:
        self.recorder, self.value, self.ref = recorder, value, ref

    def __float__(self) -> float:
        return self.recorder.leak("float()", float(self.value))  # type: ignore[no-any-return]

    def __format__(self, spec: str) -> str:
        return self.recorder.leak("a format", format(self.value, spec))  # type: ignore[no-any-return]


def _comparison(f: Callable[..., Any]) -> Callable[..., bool]:
    def compare(self: RecordedNumber, other: object) -> bool:
        plain = other.value if type(other) is RecordedNumber else other
        return self.recorder.guard(f, (self, other), bool(f(self.value, plain)))  # type: ignore[no-any-return]

    return compare


for _name in ("lt", "le", "eq", "ne", "ge", "gt"):
    setattr(RecordedNumber, f"__{_name}__", _comparison(getattr(operator, _name)))


class WatchedGenerator:
    """Stands for a generator from which an announced draw is made."""

    def __init__(self, recorder: Recorder, rng: np.random.Generator) -> None:
        self._recorder, self._rng = recorder, rng

    def __getattr__(self, name: str) -> Array:
        method, recorder, rng = getattr(self._rng, name), self._recorder, self._rng

        def draw(*args: Option, **options: Option) -> Array:
            if name == "shuffle" or recorded_in((args, options)):
                recorder.refuse(f"draws by {name}()")
                return method(*recorder.plain(args), **recorder.plain(options))
            return recorder.result("draw", name, (rng, *args), options, method(*args, **options))

        return draw if callable(method) else method


def recorded_in(x: ArrayLike) -> list[Recorded]:
    """List the recorded arrays in arguments."""
    return [y for y in leaves(x) if type(y) is Recorded]


def has_arrays(x: object) -> bool:
    """Tell whether a result is an array or a scalar of NumPy, or holds one."""
    if isinstance(x, (tuple, list)):
        return any(map(has_arrays, x))
    return isinstance(x, (np.ndarray, np.generic))


NUMPYS = {f for f in vars(np).values() if isinstance(f, np.ufunc)}
PLAIN = {Recorded, int, float, bool, str, type(None), type(...), np.float32, np.float64, np.int64, np.bool_}
"""Types of which no method is called that is a user's."""


def is_numpys(args: object) -> bool:
    """Tell whether a call with these arguments calls nothing of the user."""
    return all(
        type(x) in PLAIN or (x.dtype.kind in "fiub" if type(x) is np.ndarray else type(x) is np.ufunc and x in NUMPYS)
        for x in leaves(args)
    )

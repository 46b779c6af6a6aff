"""Arrays that put off what a rule asks of NumPy, so that it can be done in one pass over memory.

Whatever cannot be put off (a value is looked at, a function that is not element by element) has everything before it
done by NumPy, in the same order; the rule then goes on with plain arrays.  A rule runs once, and never notices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from fluxmagic.capture.elementwise import COMPARISONS, FUSED, Call
from fluxmagic.tracker.aliases import Array, ArrayLike, Function, Option

__all__ = ["Deferred", "Trace"]

EXACT_INTEGERS = 1 << 24  # in float32


class Trace:
    """What a rule asks of NumPy.

    Parameters
    ----------
    arrays : list of ndarray
        Those that the rule gets; all of one shape and dtype.

    Attributes
    ----------
    calls : list of Call
    constants : list of ndarray
        0-d, of that dtype.
    done : bool
        NumPy has carried out the calls; what follows is no longer put off.
    """

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self.arrays: list[Any] = list(arrays)  # None: a result that was put off
        self.dtype, self.shape = arrays[0].dtype, arrays[0].shape
        self.masks: set[int] = set()  # results of comparisons
        self.calls: list[Call] = []
        self.constants: list[np.ndarray] = []
        self.done = False
        self._given: list[ref[Deferred]] = []

    def stand_in(self, index: int) -> Deferred:
        """Give the deferred array of a number."""
        found = Deferred(self, index)
        self._given.append(ref(found))
        return found

    def defer(self, ufunc: np.ufunc, inputs: tuple[ArrayLike, ...], out: object = None) -> Deferred | None:
        """Put off a call; None if it has to be carried out."""
        if self.done or ufunc not in FUSED or not (out is None or (type(out) is Deferred and out.trace is self)):
            return None
        operands = [self._operand(x) for x in inputs]
        if None in operands or not self._is_of_one_dtype(ufunc, operands, out):  # type: ignore[arg-type]
            return None
        if out is None:
            self.arrays.append(None)
            if ufunc in COMPARISONS:
                self.masks.add(len(self.arrays) - 1)
        index = len(self.arrays) - 1 if out is None else out.index
        self.calls.append(Call(ufunc, tuple(operands), index, self.dtype))  # type: ignore[arg-type]
        return self.stand_in(index) if out is None else out

    def _operand(self, x: object) -> int | None:
        if type(x) is Deferred:
            return x.index if x.trace is self else None
        if type(x) is float or (type(x) is int and abs(x) <= EXACT_INTEGERS):
            x = np.array(x, self.dtype)
        if not isinstance(x, (np.ndarray, np.generic)) or x.shape != () or x.dtype != self.dtype:
            return None
        self.constants.append(np.asarray(x))
        return -len(self.constants)

    def _is_of_one_dtype(self, ufunc: np.ufunc, operands: list[int], out: Deferred | None) -> bool:
        """Tell whether NumPy would compute in the arrays' dtype; a mask is taken as 0 and 1 in a product only."""
        if out is not None and (out.index in self.masks or ufunc in COMPARISONS):
            return False
        masks = self.masks.intersection(operands)
        if masks:
            return ufunc is np.multiply and any(i >= 0 and i not in self.masks for i in operands)
        return max(operands) >= 0 or (ufunc is np.positive and out is not None)

    def carry_out(self) -> list[Any]:
        """Have NumPy do what was put off; return all arrays by their numbers."""
        if not self.done:
            self.done = True
            for ufunc, operands, out, _ in self.calls:
                args = [self.arrays[i] if i >= 0 else self.constants[~i] for i in operands]
                if self.arrays[out] is None:
                    self.arrays[out] = ufunc(*args)
                else:
                    ufunc(*args, out=self.arrays[out])
        return self.arrays

    def forgotten(self) -> bool:
        """Tell whether the rule has kept none of the arrays."""
        return all(given() is None for given in self._given)


def _is_whole(at: object) -> bool:
    return at is Ellipsis or (type(at) is slice and at == slice(None))


def _carried_out(x: ArrayLike) -> ArrayLike:
    if type(x) is Deferred:
        return x.array
    if type(x) in (list, tuple):
        return type(x)(map(_carried_out, x))
    return {k: _carried_out(v) for k, v in x.items()} if type(x) is dict else x


class Deferred(NDArrayOperatorsMixin):
    """Stand in for an ndarray; see the module."""

    __slots__ = ("__weakref__", "index", "trace")
    __class__ = property(lambda self: np.ndarray)

    def __init__(self, trace: Trace, index: int) -> None:
        self.trace, self.index = trace, index

    @property
    def array(self) -> Array:
        """The plain array; from now on nothing is put off."""
        return self.trace.carry_out()[self.index]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(bool) if self.index in self.trace.masks else self.trace.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.trace.shape

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: ArrayLike, out: tuple[ArrayLike, ...] = (), **options: Option
    ) -> Array:
        if method == "__call__" and not options and len(out) < 2:
            deferred = self.trace.defer(ufunc, inputs, *out)
            if deferred is not None:
                return deferred
        if out:
            options["out"] = tuple(map(_carried_out, out))
        return getattr(ufunc, method)(*map(_carried_out, inputs), **options)

    def __array_function__(self, f: Function, types: object, args: tuple[ArrayLike, ...], options: Option) -> Array:
        return f(*_carried_out(args), **_carried_out(options))

    def __array__(self, *args: Option, **options: Option) -> np.ndarray:
        return np.array(self.array, *args, **options) if args or options else self.array

    def __pow__(self, x: ArrayLike) -> Array:
        short = {2: np.square, 1: np.positive, 0.5: np.sqrt, -1: np.reciprocal}  # as NumPy's own operator does
        return short[x](self) if type(x) in (int, float) and x in short else self.array**x

    def __ipow__(self, x: ArrayLike) -> Deferred:
        self[...] = self**x
        return self

    def __getitem__(self, at: Option) -> Array:
        return self if _is_whole(at) else self.array[_carried_out(at)]

    def __setitem__(self, at: Option, value: ArrayLike) -> None:
        if not _is_whole(at) or self.trace.defer(np.positive, (value,), self) is None:
            self.array[_carried_out(at)] = _carried_out(value)

    def __getattr__(self, name: str) -> Option:
        if name.startswith("__array_"):
            raise AttributeError(name)
        return getattr(self.array, name)


def _forwarded(name: str) -> Callable[..., Any]:
    return lambda self, *args: getattr(self.array, name)(*map(_carried_out, args))


for _name in ("bool", "float", "int", "index", "len", "iter", "repr", "str", "format", "contains", "reduce_ex"):
    setattr(Deferred, f"__{_name}__", _forwarded(f"__{_name}__"))

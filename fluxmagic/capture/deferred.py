"""Recorded arrays that put off what a rule asks of NumPy, so that it can be done in one pass over memory.

Whatever cannot be put off (a value is looked at, a function that is not element by element) has everything before it
done by NumPy, in the same order; the rule then goes on with plain arrays.  A rule runs once, and never notices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fluxmagic.capture.calls import Ref
from fluxmagic.capture.elementwise import COMPARISONS, FUSED, Call
from fluxmagic.capture.recorded import Recorded
from fluxmagic.capture.recording import Recorder
from fluxmagic.tracker.aliases import Array, ArrayLike, Index, Option

__all__ = ["Trace"]

EXACT_INTEGERS = 1 << 24  # in float32


class Trace(Recorder):
    """What a rule asks of NumPy.

    Parameters
    ----------
    arrays : list of ndarray
        Those that the rule gets; all of one shape and dtype.

    Attributes
    ----------
    deferred : list of Call
    constants : list of ndarray
        0-d, of that dtype.
    done : bool
        NumPy has carried out the calls; what follows is no longer put off.
    """

    def __init__(self, arrays: list[np.ndarray]) -> None:
        super().__init__()
        self.arrays: list[Any] = list(arrays)  # None: a result that was put off
        self.dtype, self.shape = arrays[0].dtype, arrays[0].shape
        self.masks: set[int] = set()  # results of comparisons
        self.deferred: list[Call] = []
        self.constants: list[np.ndarray] = []
        self.done = False

    def stand_in(self, index: int) -> Recorded:
        """Give the recorded array of a number."""
        return self.keep(Recorded(self, Ref(index), self.shape, np.dtype(bool) if index in self.masks else self.dtype))

    def ufunc(self, f: np.ufunc, method: str, inputs: Option, options: Option, out: Array) -> Array:
        """Put off a call, or have it carried out."""
        simple = method == "__call__" and not options
        deferred = self._defer(f, inputs, out) if simple else None
        return super().ufunc(f, method, inputs, options, out) if deferred is None else deferred

    def get(self, x: Recorded, index: Index) -> Array:
        """Take elements."""
        return x if _is_whole(index) else super().get(x, index)

    def set(self, x: Array, index: Index, value: ArrayLike) -> None:
        """Assign to elements."""
        if not _is_whole(index) or self._defer(np.positive, (value,), x) is None:
            super().set(x, index, value)

    def _defer(self, ufunc: np.ufunc, inputs: tuple[ArrayLike, ...], out: Array) -> Recorded | None:
        if self.done or ufunc not in FUSED or not (out is None or (type(out) is Recorded and out.recorder is self)):
            return None
        operands = [self._operand(x) for x in inputs]
        if None in operands or not self._is_of_one_dtype(ufunc, operands, out):  # type: ignore[arg-type]
            return None
        if out is None:
            self.arrays.append(None)
            if ufunc in COMPARISONS:
                self.masks.add(len(self.arrays) - 1)
        index = len(self.arrays) - 1 if out is None else out.number
        self.deferred.append(Call(ufunc, tuple(operands), index, self.dtype))  # type: ignore[arg-type]
        return self.stand_in(index) if out is None else out

    def _operand(self, x: object) -> int | None:
        if type(x) is Recorded:
            return x.number if x.recorder is self else None
        if type(x) is float or (type(x) is int and abs(x) <= EXACT_INTEGERS):
            x = np.array(x, self.dtype)
        if not isinstance(x, (np.ndarray, np.generic)) or x.shape != () or x.dtype != self.dtype:
            return None
        self.constants.append(np.asarray(x))
        return -len(self.constants)

    def _is_of_one_dtype(self, ufunc: np.ufunc, operands: list[int], out: Recorded | None) -> bool:
        """Tell whether NumPy would compute in the arrays' dtype; a mask is taken as 0 and 1 in a product only."""
        if out is not None and (out.number in self.masks or ufunc in COMPARISONS):
            return False
        masks = self.masks.intersection(operands)
        if masks:
            return ufunc is np.multiply and any(i >= 0 and i not in self.masks for i in operands)
        return max(operands) >= 0 or (ufunc is np.positive and out is not None)

    def carry_out(self) -> list[Any]:
        """Have NumPy do what was put off; return all arrays by their numbers."""
        if not self.done:
            self.done = True
            for ufunc, operands, out, _ in self.deferred:
                args = [self.arrays[i] if i >= 0 else self.constants[~i] for i in operands]
                if self.arrays[out] is None:
                    self.arrays[out] = ufunc(*args)
                else:
                    ufunc(*args, out=self.arrays[out])
        return self.arrays


def _is_whole(at: object) -> bool:
    return at is Ellipsis or (type(at) is slice and at == slice(None))

"""Names for the types that signatures of the tracker share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

Array: TypeAlias = Any
"""A plain or a tracked array.  NumPy's protocols make the two interchangeable, which NumPy's own types cannot say."""
ArrayLike: TypeAlias = Any
"""What `np.asarray` takes, or a tracked array."""
Option: TypeAlias = Any
"""An option of a NumPy function, as NumPy takes it."""
Index: TypeAlias = Any
"""What an array can be indexed with."""
Shape: TypeAlias = tuple[int, ...]
Axis: TypeAlias = int | tuple[int, ...] | None
"""The axes of a reduction: one, several, or all."""
DType: TypeAlias = "DTypeLike | None"
"""What `np.dtype` takes."""
Where: TypeAlias = bool | np.ndarray
"""True, or an array of truth values that selects elements."""

Function: TypeAlias = Callable[..., Any]
"""A NumPy function, or one that is called as it."""
Forward: TypeAlias = Callable[..., Any]
"""Computes the value of an operation from plain arguments."""
VJP: TypeAlias = Callable[..., Any]
"""`(Δ, y, *args, **options)`: the gradient of one argument, from Δ, the gradient of the result y."""
Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments and options of a call."""
GradOut: TypeAlias = Sequence[Any]
"""For each argument: False where no gradient is wanted, a buffer that it may be written into, or None."""
Gradients: TypeAlias = Sequence[Any]
"""The gradient of each argument, None where there is none."""

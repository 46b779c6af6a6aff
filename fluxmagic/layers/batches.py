"""Batches of data in a random order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fluxmagic import generators
from fluxmagic.layers.input_checks import as_array
from fluxmagic.tracker import data

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["as_rows", "batches", "check_size"]


def as_rows(name: str, a: ArrayLike) -> np.ndarray:
    """Convert to an array with rows.  A memory map is not read."""
    if isinstance(a, np.ndarray) and not isinstance(a, np.ma.MaskedArray):
        rows = a
    else:
        each = f"give several arrays one by one, as in batches(X, Y, 32), not as a {type(a).__name__}"
        if isinstance(a, tuple) and any(np.ndim(data(v)) for v in a if hasattr(v, "shape")):
            raise TypeError(f"{name}: {each}; give rows of one array as np.stack(rows)")
        try:
            rows = as_array(name, data(a))
        except ValueError as error:
            raise ValueError(f"{name}: rows of one array have one shape ({error}); {each}") from None
    if not rows.ndim:
        what = "a scalar" if rows.dtype.kind != "O" else f"a {type(a).__name__}"
        fix = ": give .toarray()" if hasattr(a, "toarray") else ": give a list" if isinstance(a, Iterator) else ""
        raise TypeError(f"{name}: {what} has no rows{fix}")
    return rows


def check_size(name: str, size: object) -> int:
    """Require a positive number of rows."""
    if not isinstance(size, (int, np.integer)) or isinstance(size, bool):
        raise TypeError(f"{name}: the size is an integer, not a {type(size).__name__}")
    if size < 1:
        raise ValueError(f"{name}: the size is at least 1, not {size}")
    return int(size)


class batches:  # noqa: N801 - called like a function, and read like one
    """Cut arrays of equal length into batches, in a new order every epoch.

    Parameters
    ----------
    *arrays : array_like
        One or more of equal length: arrays, lists, pandas objects, or memory maps, of which only the rows of a
        batch are read.
    size : int
        The number of samples in a batch; the last positional argument, or by name.
    shuffle : bool
        Whether to draw a new order for each pass.
    drop_last : bool
        Whether to omit a last batch that is shorter.
    rng : numpy.random.Generator or int, optional
        The generator of the order; default: the one that `fluxmagic.seed` seeds.

    Yields
    ------
    tuple of ndarray
        The same rows of each array; for a single array an ndarray.

    Raises
    ------
    ValueError
        If the lengths differ, or size is not positive.
    TypeError
        If the size is not an integer, an array has no rows, or arrays are passed as a tuple.

    Examples
    --------
    >>> data = batches(np.arange(5), np.arange(5) * 10, 2, shuffle=False)
    >>> len(data)
    3
    >>> [x.tolist() for x, y in data]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        *arrays: ArrayLike,
        size: int | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        if size is None and arrays:
            *arrays, size = arrays  # type: ignore[assignment]
        if not isinstance(size, (int, np.integer)) or isinstance(size, bool):
            raise TypeError(f"batches(X, Y, size): the size comes last and is an integer, not a {type(size).__name__}")
        self.size = check_size("batches", size)
        if not arrays:
            raise TypeError("batches(X, Y, size): no array was given")
        self.arrays = tuple(as_rows("batches", a) for a in arrays)
        lengths = [len(a) for a in self.arrays]
        if len(set(lengths)) > 1:
            raise ValueError(f"batches: arrays of different lengths: {', '.join(map(str, lengths))}")
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.rng = generators.as_generator(rng)

    def __len__(self) -> int:
        n = len(self.arrays[0])
        return n // self.size if self.drop_last else -(-n // self.size)

    def __iter__(self) -> Iterator[Any]:
        n, size = len(self.arrays[0]), self.size
        order = generators.note_draw(self.rng).permutation(n) if self.shuffle else None
        return self._rows(order, len(self), n, size)

    def _rows(self, order: np.ndarray | None, count: int, n: int, size: int) -> Iterator[Any]:
        for i in range(count):
            start, end = i * size, min((i + 1) * size, n)
            if order is None:
                rows = tuple([np.array(a[start:end]) for a in self.arrays])
            else:
                at = order[start:end]
                rows = tuple(
                    [a.take(at, 0, mode="clip") if type(a) is np.ndarray else np.asarray(a[at]) for a in self.arrays]
                )
            yield rows if len(rows) > 1 else rows[0]

    def __repr__(self) -> str:
        return f"batches({', '.join(str(a.shape) for a in self.arrays)}, size={self.size})"

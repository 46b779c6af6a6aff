"""Data in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fluxmagic import generators
from fluxmagic.layers.input_checks import as_array
from fluxmagic.tracker import data

__all__ = ["as_rows", "batches", "check_size"]


def as_rows(name: str, a: Any) -> np.ndarray:
    """An array that has rows.  A memory map stays one."""
    if isinstance(a, np.ndarray) and not isinstance(a, np.ma.MaskedArray):
        rows = a
    else:
        each = f"several arrays are given one by one, as in batches(X, Y, 32), not as a {type(a).__name__}"
        if isinstance(a, tuple) and any(np.ndim(data(v)) for v in a if hasattr(v, "shape")):
            raise TypeError(f"{name}: {each}; rows of one array come as np.stack(rows)")
        try:
            rows = as_array(name, data(a))
        except ValueError as error:
            raise ValueError(f"{name}: rows of one array have one shape ({error}); {each}") from None
    if not rows.ndim:
        what = "a scalar" if rows.dtype.kind != "O" else f"a {type(a).__name__}"
        fix = ": give .toarray()" if hasattr(a, "toarray") else ": give a list" if isinstance(a, Iterator) else ""
        raise TypeError(f"{name}: {what} has no rows{fix}")
    return rows


def check_size(name: str, size: Any) -> int:
    """Refuse a number of rows that is no positive integer."""
    if not isinstance(size, (int, np.integer)) or isinstance(size, bool):
        raise TypeError(f"{name}: the size is an integer, not a {type(size).__name__}")
    if size < 1:
        raise ValueError(f"{name}: the size is at least 1, not {size}")
    return int(size)


class batches:  # noqa: N801 - called like a function, and read like one
    """Cut arrays of equal length into batches, in a fresh order every epoch.

    Parameters
    ----------
    *arrays : array_like
        One or more of the same length: arrays, lists, pandas objects, memory maps (of which only the rows
        of a batch are read).
    size : int
        How many samples a batch has; the last positional argument, or by name.
    shuffle : bool
        Whether the order is drawn anew each time.
    drop_last : bool
        Whether a last batch that is shorter is left out.
    rng : numpy.random.Generator or int, optional
        Where the order comes from; default: the generator that `fluxmagic.seed` seeds.

    Yields
    ------
    tuple of ndarray
        The same rows of each array; of a single array the rows themselves.

    Raises
    ------
    ValueError
        If the lengths differ, or size is not positive.
    TypeError
        If the size is no integer, an array has no rows, or arrays come as a tuple: `batches(X, Y, 32)`.

    Examples
    --------
    >>> import numpy as np
    >>> from fluxmagic import batches
    >>> data = batches(np.arange(5), np.arange(5) * 10, 2, shuffle=False)
    >>> len(data)
    3
    >>> [x.tolist() for x, y in data]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        *arrays: Any,
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

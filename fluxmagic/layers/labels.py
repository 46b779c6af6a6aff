"""Labels of classes: checked, and as one-hot rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from fluxmagic.layers.input_checks import as_array
from fluxmagic.tracker import data

__all__ = ["check_labels", "from_text", "is_onehot", "onehot"]


def from_text(dtype: np.dtype[Any]) -> str:
    """How to get class numbers, where labels are text."""
    return ": np.unique(labels, return_inverse=True)[1] gives class numbers for text" if dtype.kind in "OSUT" else ""


def is_onehot(rows: np.ndarray) -> bool:
    """Whether each row has a single 1, and is 0 elsewhere."""
    return bool(((rows == 0) | (rows == 1)).all() and (rows.sum(-1) == 1).all())


_UNSIGNED = {t: (np.dtype(f"u{t.itemsize}"), int(np.iinfo(t).max) + 1) for t in map(np.dtype, "bhilqBHILQ")}
"""For each type of integers the unsigned one of its size, and the first number that it does not hold."""


def check_labels(name: str, labels: np.ndarray, n: int) -> None:
    """Refuse labels that are no integers, or outside 0 … n-1."""
    if not labels.size:
        return
    known = _UNSIGNED.get(labels.dtype)
    if known is None:
        if labels.dtype.kind not in "iu":
            fix = ": labels.astype(int)" if labels.dtype.kind in "fb" else from_text(labels.dtype)
            raise TypeError(f"{name}: labels are integers, not {labels.dtype}{fix}")
        return check_labels(name, labels.astype(labels.dtype.newbyteorder("=")), n)  # of another byte order
    unsigned, top = known
    bits = labels.view(unsigned)  # in which negative ones are large: one pass
    largest = bits.item(bits.argmax())
    if largest >= n or largest >= top:
        wrong = labels[(labels < 0) | (labels >= n)]
        allowed = f"with {n} classes labels are 0 … {n - 1}" if n > 0 else "there are no classes"
        raise ValueError(f"{name}: label {wrong.flat[0]} is out of range: {allowed}")


def onehot(labels: Any, n: int) -> np.ndarray:
    """Labels as rows with a single 1.

    Parameters
    ----------
    labels : array_like of int
        Of any shape, each from 0 to n - 1.
    n : int
        How many classes there are.

    Returns
    -------
    ndarray
        float32, of shape `labels.shape + (n,)`.

    Raises
    ------
    ValueError
        If a label is out of range, or n is no positive integer.
    TypeError
        If labels are no integers.

    Examples
    --------
    >>> from fluxmagic import onehot
    >>> onehot([0, 2], 3)
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    labels = as_array("onehot", data(labels))
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 1:
        raise ValueError(f"onehot(labels, n): n is the number of classes, a positive integer, not {n!r}")
    check_labels("onehot", labels, int(n))
    return np.eye(n, dtype=np.float32)[labels.astype(np.intp)]  # type: ignore[no-any-return]

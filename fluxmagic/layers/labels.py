"""Class labels: their checks, and one-hot rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fluxmagic.layers.input_checks import as_array, extremes
from fluxmagic.tracker import data

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["check_labels", "from_text", "is_onehot", "onehot"]


def from_text(dtype: np.dtype[Any]) -> str:
    """Say how to make class numbers of labels that are text."""
    return ": np.unique(labels, return_inverse=True)[1] gives class numbers for text" if dtype.kind in "OSUT" else ""


def is_onehot(rows: np.ndarray) -> bool:
    """Tell whether each row has a single 1 and is 0 elsewhere."""
    return bool(((rows == 0) | (rows == 1)).all() and (rows.sum(-1) == 1).all())


def check_labels(name: str, labels: np.ndarray, n: int) -> None:
    """Refuse labels that are not integers from 0 to n - 1."""
    if not labels.size:
        return
    if labels.dtype.kind not in "iu":
        fix = ": labels.astype(int)" if labels.dtype.kind in "fb" else from_text(labels.dtype)
        raise TypeError(f"{name}: labels are integers, not {labels.dtype}{fix}")
    low, high = extremes(labels)
    if low < 0 or high >= n:
        wrong = labels[(labels < 0) | (labels >= n)]
        raise ValueError(f"{name}: label {wrong.flat[0]} is out of range: with {n} classes labels are 0 … {n - 1}")


def onehot(labels: ArrayLike, n: int) -> np.ndarray:
    """Turn labels into rows with a single 1.

    Parameters
    ----------
    labels : array_like of int
        Of any shape, each from 0 to n - 1.
    n : int
        The number of classes.

    Returns
    -------
    ndarray
        float32, of shape `labels.shape + (n,)`.

    Raises
    ------
    ValueError
        If a label is out of range, or n is not a positive integer.
    TypeError
        If labels are not integers.

    Examples
    --------
    >>> onehot([0, 2], 3)
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    classes = as_array("onehot", data(labels))
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 1:
        raise ValueError(f"onehot(labels, n): n is the number of classes, a positive integer, not {n!r}")
    check_labels("onehot", classes, int(n))
    rows: np.ndarray = np.eye(n, dtype=np.float32)[classes.astype(np.intp)]
    return rows

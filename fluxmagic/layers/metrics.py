"""Metrics of classification: how many predictions are right."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from fluxmagic.layers.input_checks import as_array
from fluxmagic.layers.labels import check_labels, is_onehot
from fluxmagic.tracker import data

__all__ = ["accuracy", "binaryaccuracy"]


def _plain(name: str, what: str, x: Any, fix: str = "") -> np.ndarray:
    x = as_array(name, data(x))
    if x.dtype.kind not in "fiub":
        raise TypeError(f"{name}: {what} are numbers, not {x.dtype}{fix}")
    return x  # type: ignore[no-any-return]


def accuracy(prediction: Any, labels: Any) -> float:
    """The share of rows whose largest entry is at the label.

    Parameters
    ----------
    prediction : array
        Of shape (n, k), with k ≥ 2 classes: probabilities, or what goes into softmax.
    labels : array_like
        Integers of shape (n,), or one-hot rows of shape (n, k).

    Returns
    -------
    float
        Between 0 and 1; NaN of an empty batch.  A row that holds NaN is wrong.

    Raises
    ------
    ValueError
        If a shape is another one, labels of the prediction's shape are no one-hot rows, or a label is out of range.
    TypeError
        If labels are no integers (floats, bools, text), or predictions no numbers.

    See Also
    --------
    binaryaccuracy : For a prediction in one column.

    Examples
    --------
    >>> from fluxmagic import accuracy
    >>> accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """
    prediction, labels = _plain("accuracy", "predictions", prediction), as_array("accuracy", data(labels))
    shape = prediction.shape
    if len(shape) != 2 or shape[1] < 2:
        fix = "binaryaccuracy takes one prediction a row"
        if len(shape) > 2:
            fix = f"give prediction.reshape(-1, {shape[-1]}) and labels.reshape(-1)"
        elif len(shape) == 1:
            fix += ", and prediction[None] is a single row"
        raise ValueError(f"accuracy: a prediction has the shape (n, k) with k ≥ 2 classes, not {shape}: {fix}")
    if labels.shape == shape:
        if not is_onehot(labels):
            raise ValueError(
                f"accuracy: labels of the prediction's shape {shape} are one-hot rows, each with a single 1, and these "
                f"are not: class numbers have the shape {shape[:1]}"
            )
        labels = labels.argmax(1)
    elif labels.shape == shape[:1]:
        check_labels("accuracy", labels, shape[1])
    else:
        fix = ": give labels[:, 0]" if labels.shape == (shape[0], 1) else ""
        raise ValueError(
            f"accuracy: a prediction of shape {shape} does not go with labels of shape {labels.shape}: they have the "
            f"shape {shape[:1]}, or {shape} as one-hot rows{fix}"
        )
    if not labels.size:
        return float("nan")
    right = prediction.argmax(1) == labels
    return float(np.mean(right & ~np.isnan(prediction).any(1)))


def binaryaccuracy(prediction: Any, labels: Any, threshold: float = 0.5) -> float:
    """The share of predictions on the right side of a threshold: above it for the label 1.

    Parameters
    ----------
    prediction : array
        Of shape (n,) or (n, 1): probabilities, after σ; or what goes into σ, with `threshold=0`.
    labels : array_like
        0 and 1, or bools, of shape (n,) or (n, 1).
    threshold : float
        What a prediction has to exceed to count as 1.

    Returns
    -------
    float
        Between 0 and 1; NaN of an empty batch.  A prediction that is NaN is wrong.

    Raises
    ------
    ValueError
        If a shape is another one, a label is neither 0 nor 1, the threshold is NaN, or a prediction is no
        probability and yet the threshold lies between 0 and 1.
    TypeError
        If something is no number.

    See Also
    --------
    accuracy : For a prediction with a column for each class.

    Examples
    --------
    >>> from fluxmagic import binaryaccuracy
    >>> binaryaccuracy([0.9, 0.2, 0.7], [1, 0, 0]).__round__(3)
    0.667
    >>> binaryaccuracy([2.0, -1.0, 3.0], [True, False, True], threshold=0)
    1.0
    """
    if not isinstance(threshold, numbers.Real) or threshold != threshold:
        raise ValueError(f"binaryaccuracy: threshold is a number, not {threshold!r}")
    p = _column("prediction", _plain("binaryaccuracy", "predictions", prediction))
    y = _column("labels", _plain("binaryaccuracy", "labels", labels, ": labels == 'yes', say, gives bools"))
    if len(p) != len(y):
        raise ValueError(f"binaryaccuracy: {len(p)} predictions and {len(y)} labels")
    wrong = y[(y != 0) & (y != 1)]
    if wrong.size:
        raise ValueError(f"binaryaccuracy: labels are 0 and 1, or bools, and one is {wrong[0]:g}: give labels > 0, say")
    if 0 < threshold < 1 and ((p < -1e-5) | (p > 1 + 1e-5)).any():
        raise ValueError(
            f"binaryaccuracy: predictions are not all probabilities, between 0 and 1, and the threshold is "
            f"{threshold:g}: for what has not gone through σ pass threshold=0"
        )
    if not y.size:
        return float("nan")
    return float(np.mean(((p > threshold) == (y != 0)) & ~np.isnan(p)))


def _column(what: str, x: np.ndarray) -> np.ndarray:
    """One number a row."""
    if x.ndim == 2 and x.shape[1] == 1:
        return x[:, 0]
    if x.ndim != 1:
        fix = ": accuracy takes a column for each class" if x.ndim == 2 else ""
        raise ValueError(f"binaryaccuracy: {what} has the shape (n,) or (n, 1), not {x.shape}{fix}")
    return x

"""Metrics of classification: the share of correct predictions."""

from __future__ import annotations

import numbers

import numpy as np

from fluxmagic.docstrings import with_sections
from fluxmagic.layers.input_checks import as_array
from fluxmagic.layers.labels import check_labels, is_onehot
from fluxmagic.tracker import data
from fluxmagic.tracker.aliases import Array

__all__ = ["accuracy", "binaryaccuracy"]

_metric = with_sections(
    """
    Returns
    -------
    float
        Between 0 and 1; NaN of an empty batch.  A prediction that holds NaN is wrong.

    Raises
    ------
    ValueError
        If shapes do not fit, or a label is not allowed.
    TypeError
        If labels or predictions are of another type.
    """
)


@_metric
def accuracy(prediction: Array, labels: Array) -> float:
    """Compute the share of rows whose largest entry is at the label.

    Parameters
    ----------
    prediction : array
        Of shape (n, k), with k ≥ 2 classes: probabilities, or values before softmax.
    labels : array_like
        Integers of shape (n,), or one-hot rows of shape (n, k).

    See Also
    --------
    binaryaccuracy : For a prediction in one column.

    Examples
    --------
    >>> accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """
    prediction, labels = _as_numbers("accuracy", "predictions", prediction), as_array("accuracy", data(labels))
    _check_rows(prediction.shape)
    classes = _as_classes(labels, prediction.shape)
    if not classes.size:
        return float("nan")
    correct = prediction.argmax(1) == classes
    return float(np.mean(correct & ~np.isnan(prediction).any(1)))


def _as_numbers(name: str, what: str, x: Array, fix: str = "") -> np.ndarray:
    """Convert to a plain array of numbers."""
    a: np.ndarray = as_array(name, data(x))
    if a.dtype.kind not in "fiub":
        raise TypeError(f"{name}: {what} are numbers, not {a.dtype}{fix}")
    return a


def _check_rows(shape: tuple[int, ...]) -> None:
    """Require a prediction with a column for each of two classes or more."""
    if len(shape) == 2 and shape[1] >= 2:
        return
    fix = "use binaryaccuracy for one prediction per row"
    if len(shape) > 2:
        fix = f"give prediction.reshape(-1, {shape[-1]}) and labels.reshape(-1)"
    elif len(shape) == 1:
        fix += ", prediction[None] for a single row of classes"
    raise ValueError(f"accuracy: a prediction has the shape (n, k) with k ≥ 2 classes, not {shape}: {fix}")


def _as_classes(labels: Array, shape: tuple[int, ...]) -> Array:
    """Return a class number for each row of a prediction of that shape."""
    if labels.shape == shape:
        if not is_onehot(labels):
            raise ValueError(
                f"accuracy: labels of the prediction's shape {shape} have to be one-hot rows, each with a single 1; "
                f"class numbers have the shape {shape[:1]}"
            )
        return labels.argmax(1)
    if labels.shape != shape[:1]:
        fix = ": give labels[:, 0]" if labels.shape == (shape[0], 1) else ""
        raise ValueError(
            f"accuracy: labels of shape {labels.shape} do not fit a prediction of shape {shape}: class numbers have "
            f"the shape {shape[:1]}, one-hot rows {shape}{fix}"
        )
    check_labels("accuracy", labels, shape[1])
    return labels


@_metric
def binaryaccuracy(prediction: Array, labels: Array, threshold: float = 0.5) -> float:
    """Compute the share of predictions on the right side of a threshold: above it for the label 1.

    Parameters
    ----------
    prediction : array
        Of shape (n,) or (n, 1): probabilities, after σ; or values before σ, with `threshold=0`.
    labels : array_like
        0 and 1, or bools, of shape (n,) or (n, 1).
    threshold : float
        A prediction above it counts as 1.

    Raises
    ------
    ValueError
        If the threshold is NaN, or lies between 0 and 1 where a prediction does not.

    See Also
    --------
    accuracy : For a prediction with a column for each class.

    Examples
    --------
    >>> binaryaccuracy([0.9, 0.2, 0.7], [1, 0, 0]).__round__(3)
    0.667
    >>> binaryaccuracy([2.0, -1.0, 3.0], [True, False, True], threshold=0)
    1.0
    """
    if not isinstance(threshold, numbers.Real) or threshold != threshold:
        raise ValueError(f"binaryaccuracy: threshold is a number, not {threshold!r}")
    p = _column("prediction", _as_numbers("binaryaccuracy", "predictions", prediction))
    y = _column("labels", _as_numbers("binaryaccuracy", "labels", labels, ": labels == 'yes' gives bools for text"))
    if len(p) != len(y):
        raise ValueError(f"binaryaccuracy: {len(p)} predictions and {len(y)} labels; there has to be one for each")
    wrong = y[(y != 0) & (y != 1)]
    if wrong.size:
        raise ValueError(f"binaryaccuracy: labels are 0 and 1, or bools, but one is {wrong[0]:g}: give labels > 0")
    if 0 < threshold < 1 and ((p < -1e-5) | (p > 1 + 1e-5)).any():
        raise ValueError(
            f"binaryaccuracy: with threshold={threshold:g} predictions are probabilities between 0 and 1, but one is "
            f"not: for values before σ pass threshold=0"
        )
    if not y.size:
        return float("nan")
    return float(np.mean(((p > threshold) == (y != 0)) & ~np.isnan(p)))


def _column(what: str, x: np.ndarray) -> np.ndarray:
    """Return one number for each row."""
    if x.ndim == 2 and x.shape[1] == 1:
        return x[:, 0]
    if x.ndim != 1:
        fix = ": use accuracy for a column for each class" if x.ndim == 2 else ""
        raise ValueError(f"binaryaccuracy: {what} has the shape (n,) or (n, 1), not {x.shape}{fix}")
    return x

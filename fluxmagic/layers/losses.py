"""Losses: functions of (prediction, target) to a scalar; and what goes with classification."""

from __future__ import annotations

from typing import Any

import numpy as np

from fluxmagic.layers.activations import logsoftmax, softplus
from fluxmagic.tracker import Tracked, data
from fluxmagic.tracker.rules.neural import mean_square, softmax_crossentropy

__all__ = [
    "accuracy",
    "binarycrossentropy",
    "crossentropy",
    "logitbinarycrossentropy",
    "logitcrossentropy",
    "mae",
    "mse",
    "onehot",
]


def _floats(name: str, prediction: Any) -> np.ndarray:
    """A plain prediction as an array of floating point."""
    prediction = np.asarray(prediction)
    if prediction.dtype.kind != "f":
        if prediction.dtype.kind not in "iub":
            raise TypeError(f"{name}: predictions are numbers, not {prediction.dtype}")
        prediction = prediction.astype(np.float64)
    return prediction  # type: ignore[no-any-return]


def _pair(name: str, prediction: Any, target: Any) -> tuple[Any, Any]:
    """Both as arrays of the prediction's dtype and of one shape: (n,) against (n, 1) would silently give (n, n)."""
    if not isinstance(prediction, Tracked):
        prediction = _floats(name, prediction)
    if not isinstance(target, (np.ndarray, Tracked)):
        target = np.asarray(target)
    if target.dtype != prediction.dtype:
        if target.dtype.kind not in "fiub":
            raise TypeError(f"{name}: targets are numbers, not {target.dtype}")
        target = target.astype(prediction.dtype)
    if target.shape != prediction.shape and target.shape != ():
        raise ValueError(f"{name}: prediction of shape {prediction.shape} and target of shape {target.shape} differ")
    return prediction, target


def mse(prediction: Any, target: Any) -> Any:
    """Mean squared error: mean((ŷ - y)²), over all entries, as in Flux.

    Parameters
    ----------
    prediction : array
        Of any shape.
    target : array
        Of the same shape, or a scalar; cast to the prediction's dtype.

    Returns
    -------
    Tracked or float
        Scalar, of the prediction's dtype; tracked if the prediction is.

    Raises
    ------
    ValueError
        If the shapes differ.
    TypeError
        If one is not made of real numbers.

    Examples
    --------
    >>> from fluxmagic import mse
    >>> print(mse([1.0, 2.0], [1.0, 4.0]))
    2.0
    """
    prediction, target = _pair("mse", prediction, target)
    return mean_square(prediction, target)


def mae(prediction: Any, target: Any) -> Any:
    """Mean absolute error: mean(|ŷ - y|), over all entries.

    Parameters
    ----------
    prediction : array
        Of any shape.
    target : array
        Of the same shape, or a scalar; cast to the prediction's dtype.

    Returns
    -------
    Tracked or float
        Scalar, of the prediction's dtype; tracked if the prediction is.

    Raises
    ------
    ValueError
        If the shapes differ.
    TypeError
        If one is not made of real numbers.

    Examples
    --------
    >>> from fluxmagic import mae
    >>> print(mae([1.0, 2.0], [1.0, 4.0]))
    1.0
    """
    prediction, target = _pair("mae", prediction, target)
    return np.mean(np.abs(prediction - target))


def _classes(name: str, prediction: Any, target: Any) -> tuple[Any, Any, bool]:
    """Prediction as rows, and either a checked label or a row of weights for each."""
    if isinstance(prediction, Tracked):
        value = prediction.value
    else:
        value = prediction = _floats(name, prediction)
    if not isinstance(target, (np.ndarray, Tracked)):
        target = np.asarray(target)
    shape = value.shape
    if not shape:
        raise ValueError(f"{name}: the prediction is a scalar; it needs an axis of classes, its last")
    if target.shape == shape[:-1]:
        kind = target.dtype.kind
        if kind not in "iu":
            raise TypeError(f"{name}: labels are integers, not {target.dtype}")
        check_labels(name, target, shape[-1])
        if kind == "u":
            target = target.astype(np.intp)  # together with signed integers uint64 would become float64
        labels = True
    elif target.shape == shape:
        if target.dtype != value.dtype:
            if target.dtype.kind not in "fiub":
                raise TypeError(f"{name}: targets are numbers, not {target.dtype}")
            target = target.astype(value.dtype)
        labels = False
    else:
        raise ValueError(
            f"{name}: a prediction of shape {shape} takes labels of shape {shape[:-1]} or one-hot rows of shape "
            f"{shape}, not a target of shape {target.shape}"
        )
    if len(shape) != 2:
        prediction = prediction.reshape((-1, shape[-1]))
        target = target.reshape(-1 if labels else (-1, shape[-1]))
    return prediction, target, labels


_UNSIGNED = {t: (np.dtype(f"u{t.itemsize}"), int(np.iinfo(t).max) + 1) for t in map(np.dtype, "bhilqBHILQ")}
"""For each type of integers the unsigned one of its size, and the first number that it does not hold."""


def check_labels(name: str, labels: np.ndarray, n: int) -> None:
    """Refuse labels outside 0 … n-1."""
    if not labels.size:
        return
    known = _UNSIGNED.get(labels.dtype)
    if known is None:  # of another byte order
        return check_labels(name, labels.astype(labels.dtype.newbyteorder("=")), n)
    unsigned, top = known
    bits = labels.view(unsigned)  # in which negative ones are large: one pass
    largest = bits.item(bits.argmax())
    if largest >= n or largest >= top:
        wrong = labels[(labels < 0) | (labels >= n)]
        allowed = f"with {n} classes labels are 0 … {n - 1}" if n > 0 else "there are no classes"
        raise ValueError(f"{name}: label {wrong.flat[0]} is out of range: {allowed}")


def logitcrossentropy(prediction: Any, target: Any) -> Any:
    """Cross-entropy of softmax(prediction): the mean over the batch of -Σ y logsoftmax(ŷ).

    Parameters
    ----------
    prediction : array
        Of shape (..., classes), before softmax.
    target : array
        Integer labels of shape (...), or one-hot rows (or other weights) of the prediction's shape.

    Returns
    -------
    Tracked or float
        Scalar, of the prediction's dtype; tracked if the prediction is.

    Raises
    ------
    ValueError
        If shapes do not fit, or a label is out of range.
    TypeError
        If labels are no integers, or something else is no real number.

    Examples
    --------
    >>> from fluxmagic import logitcrossentropy
    >>> print(logitcrossentropy([[0.0, 0.0], [1e4, 0.0]], [1, 0]).round(4))
    0.3466
    """
    prediction, target, _ = _classes("logitcrossentropy", prediction, target)
    if isinstance(target, Tracked):
        return -np.sum(target * logsoftmax(prediction)) / len(prediction)
    return softmax_crossentropy(prediction, target)


def crossentropy(prediction: Any, target: Any) -> Any:
    """Cross-entropy of probabilities: the mean over the batch of -Σ y log(ŷ).

    A probability of 0 for what is there makes it infinite; `logitcrossentropy` never is.

    Parameters
    ----------
    prediction : array
        Of shape (..., classes): probabilities, after softmax.
    target : array
        Integer labels of shape (...), or one-hot rows (or other weights) of the prediction's shape.

    Returns
    -------
    Tracked or float
        Scalar, of the prediction's dtype; tracked if the prediction is.

    Raises
    ------
    ValueError
        If shapes do not fit, or a label is out of range.
    TypeError
        If labels are no integers, or something else is no real number.

    Examples
    --------
    >>> from fluxmagic import crossentropy
    >>> print(crossentropy([[0.5, 0.5], [1.0, 0.0]], [1, 0]).round(4))
    0.3466
    """
    prediction, target, labels = _classes("crossentropy", prediction, target)
    n = len(prediction)
    if labels:
        return -np.sum(np.log(prediction[np.arange(n), target])) / n
    return -np.sum(target * _log(prediction, target)) / n


def _log(x: Any, weight: Any) -> Any:
    """log(x), but 0 where the weight that it gets is: 0 log 0 is 0.  Unless the weight wants a gradient itself."""
    return np.log(x if isinstance(weight, Tracked) else np.where(weight == 0, x.dtype.type(1), x))


def _binary(name: str, prediction: Any, target: Any) -> tuple[Any, Any, int]:
    prediction, target = _pair(name, prediction, target)
    plain = data(target)
    right = (plain >= 0) & (plain <= 1)
    if not right.all():
        raise ValueError(f"{name}: targets lie between 0 and 1, and one is {plain[~right].flat[0]:g}")
    return prediction, target, prediction.shape[0] if prediction.ndim else 1


def binarycrossentropy(prediction: Any, target: Any) -> Any:
    """Binary cross-entropy of probabilities: the mean over the batch of -y log(ŷ) - (1-y) log(1-ŷ).

    Parameters
    ----------
    prediction : array
        Probabilities; the first axis is the batch.  Several outputs of one sample are summed.
    target : array
        Of the prediction's shape, between 0 and 1; cast to its dtype.

    Returns
    -------
    Tracked or float
        Scalar, of the prediction's dtype; tracked if the prediction is.

    Raises
    ------
    ValueError
        If the shapes differ, or a target is out of range.
    TypeError
        If one is not made of real numbers.

    Examples
    --------
    >>> from fluxmagic import binarycrossentropy
    >>> print(binarycrossentropy([0.5, 1.0], [1, 1]).round(4))
    0.3466
    """
    prediction, y, n = _binary("binarycrossentropy", prediction, target)
    no = 1 - y
    return -np.sum(y * _log(prediction, y) + no * _log(1 - prediction, no)) / n


def logitbinarycrossentropy(prediction: Any, target: Any) -> Any:
    """Binary cross-entropy of σ(prediction): the mean over the batch of softplus(ŷ) - y ŷ.

    Parameters
    ----------
    prediction : array
        Before σ; the first axis is the batch.  Several outputs of one sample are summed.
    target : array
        Of the prediction's shape, between 0 and 1; cast to its dtype.

    Returns
    -------
    Tracked or float
        Scalar, of the prediction's dtype; tracked if the prediction is.

    Raises
    ------
    ValueError
        If the shapes differ, or a target is out of range.
    TypeError
        If one is not made of real numbers.

    Examples
    --------
    >>> from fluxmagic import logitbinarycrossentropy
    >>> print(logitbinarycrossentropy([0.0, 1e4], [1, 1]).round(4))
    0.3466
    """
    prediction, y, n = _binary("logitbinarycrossentropy", prediction, target)
    return np.sum(softplus(prediction) - y * prediction) / n


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
        If a label is out of range.
    TypeError
        If labels are no integers.

    Examples
    --------
    >>> from fluxmagic import onehot
    >>> onehot([0, 2], 3)
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    labels = np.asarray(labels)
    if labels.size and labels.dtype.kind not in "iu":
        raise TypeError(f"onehot: labels are integers, not {labels.dtype}")
    check_labels("onehot", labels, n)
    return np.eye(n, dtype=np.float32)[labels.astype(np.intp)]  # type: ignore[no-any-return]


def accuracy(prediction: Any, labels: Any) -> float:
    """The share of rows whose largest entry is at the label.

    Parameters
    ----------
    prediction : array
        Of shape (..., classes): probabilities, or what goes into softmax.
    labels : array_like
        Integers of shape (...), or one-hot rows of the prediction's shape.

    Returns
    -------
    float
        Between 0 and 1; NaN of an empty batch.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a label is out of range.

    Examples
    --------
    >>> from fluxmagic import accuracy
    >>> accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """
    prediction, labels = np.asarray(data(prediction)), np.asarray(data(labels))
    if labels.shape == prediction.shape and prediction.ndim:
        labels = labels.argmax(-1)
    elif labels.dtype.kind in "iu" and labels.shape == prediction.shape[:-1] and prediction.ndim:
        check_labels("accuracy", labels, prediction.shape[-1])
    if not prediction.ndim or labels.shape != prediction.shape[:-1]:
        raise ValueError(
            f"accuracy: a prediction of shape {prediction.shape} does not go with labels of shape {labels.shape}"
        )
    if not labels.size:
        return float("nan")
    return float(np.mean(prediction.argmax(-1) == labels))

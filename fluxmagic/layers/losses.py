"""Losses: functions of (prediction, target) to a scalar."""

from __future__ import annotations

from typing import Any

import numpy as np

from fluxmagic.layers.activations import logsoftmax, softplus
from fluxmagic.layers.fused import mean_square, softmax_crossentropy
from fluxmagic.layers.input_checks import as_array
from fluxmagic.layers.labels import check_labels, from_text, is_onehot
from fluxmagic.tracker import Tracked, data

__all__ = [
    "binarycrossentropy",
    "crossentropy",
    "logitbinarycrossentropy",
    "logitcrossentropy",
    "mae",
    "mse",
]


def _floats(name: str, prediction: Any) -> np.ndarray:
    """A plain prediction as an array of floating point."""
    prediction = as_array(name, prediction)
    if prediction.dtype.kind != "f":
        if prediction.dtype.kind not in "iub":
            raise TypeError(f"{name}: predictions are numbers, not {prediction.dtype}")
        prediction = prediction.astype(np.float64)
    return prediction  # type: ignore[no-any-return]


def _targets(name: str, target: Any, dtype: Any) -> Any:
    """Targets as numbers of the prediction's dtype."""
    if target.dtype.kind not in "fiub":
        raise TypeError(f"{name}: targets are numbers, not {target.dtype}{from_text(target.dtype)}")
    return target.astype(dtype)


def _check_regression(name: str, prediction: Any, target: Any) -> tuple[Any, Any]:
    """Both as arrays of the prediction's dtype and of one shape: (n,) against (n, 1) would silently give (n, n)."""
    if not isinstance(prediction, Tracked):
        prediction = _floats(name, prediction)
    if type(target) is not np.ndarray and not isinstance(target, Tracked):
        target = as_array(name, target)
    if target.shape != prediction.shape and target.shape != ():
        raise ValueError(
            f"{name}: prediction of shape {prediction.shape} and target of shape {target.shape} differ"
            + _to_one_shape(prediction.shape, target)
        )
    if target.dtype != prediction.dtype:
        target = _targets(name, target, prediction.dtype)
    return prediction, target


def _to_one_shape(shape: tuple[int, ...], target: Any) -> str:
    """What to write where one of the two has a last axis more."""
    if shape == (*target.shape, 1):
        return ": give prediction[..., 0]"
    if target.shape == (*shape, 1):
        return ": give target[..., 0]"
    if shape[:-1] == target.shape and target.dtype.kind in "iu":
        return f": class numbers go into logitcrossentropy, or here as onehot(target, {shape[-1]})"
    return ""


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
    prediction, target = _check_regression("mse", prediction, target)
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
    prediction, target = _check_regression("mae", prediction, target)
    return np.mean(np.abs(prediction - target))


def _check_classes(name: str, prediction: Any, target: Any) -> tuple[Any, Any, bool]:
    """Prediction as rows, and either a checked label or a row of weights for each."""
    if isinstance(prediction, Tracked):
        value = prediction.value
    else:
        value = prediction = _floats(name, prediction)
    if type(target) is not np.ndarray and not isinstance(target, Tracked):
        target = as_array(name, target)
    shape = value.shape
    if not shape:
        raise ValueError(f"{name}: the prediction is a scalar; it needs an axis of classes, its last")
    if shape[-1] < 2:
        raise ValueError(
            f"{name}: a prediction of shape {shape} has {shape[-1]} class{'' if shape[-1] else 'es'} in its last axis, "
            f"and the loss needs at least 2: for one column use {_BINARY[name]}"
        )
    if target.shape == shape[:-1]:
        check_labels(name, target, shape[-1])
        if target.dtype.kind != "i":
            target = target.astype(np.intp)  # together with signed integers uint64 would become float64
        labels = True
    elif target.shape == shape:
        if target.dtype != value.dtype or len(shape) == 1:
            _check_onehot(name, data(target))
            target = _targets(name, target, value.dtype)
        labels = False
    else:
        fix = ": give target[..., 0]" if target.shape == (*shape[:-1], 1) else ""
        raise ValueError(
            f"{name}: a prediction of shape {shape} takes labels of shape {shape[:-1]} or one-hot rows of shape "
            f"{shape}, not a target of shape {target.shape}{fix}"
        )
    if len(shape) != 2:
        prediction = prediction.reshape((-1, shape[-1]))
        target = target.reshape(-1 if labels else (-1, shape[-1]))
    return prediction, target, labels


_BINARY = {"crossentropy": "binarycrossentropy", "logitcrossentropy": "logitbinarycrossentropy"}


def _check_onehot(name: str, target: np.ndarray) -> None:
    """Refuse class numbers, and labels of yes or no, that have the prediction's shape by accident.

    Weights of any size are floats with an axis for the batch.  A single row has to sum to 1.
    """
    if target.ndim == 1 and target.dtype.kind in "fiub":
        if target.dtype.kind == "f" and (target >= 0).all() and abs(target.sum() - 1) < 1e-3:
            return
        raise ValueError(
            f"{name}: a prediction of shape {target.shape} is a single row of {len(target)} classes, and its target is "
            f"a label or a one-hot row of floats, not {len(target)} labels: for labels of yes or no use {_BINARY[name]}"
        )
    if target.dtype.kind in "iub" and not is_onehot(target):
        raise ValueError(
            f"{name}: integers of the prediction's shape {target.shape} are one-hot rows, each with a single 1, and "
            f"these are not: class numbers have the shape {target.shape[:-1]}, weights are floats"
        )


def _range(x: np.ndarray) -> tuple[float, float]:
    """The least and the largest entry; NaN if there is one.  Twice as fast as `min` and `max`."""
    return (x.item(x.argmin()), x.item(x.argmax())) if x.size else (0.0, 0.0)


def _probabilities(name: str, prediction: Any) -> Any:
    """Refuse what lies outside [0, 1]; what does so by rounding is brought back, its gradient as it was."""
    plain = data(prediction)
    low, high = _range(plain)
    if (low >= 0 and high <= 1) or low != low:  # NaN: the loss is NaN, which the training reports
        return prediction
    rounding = max(1e-5, 10 * float(np.finfo(plain.dtype).eps))
    if low < -rounding or high > 1 + rounding:
        raise ValueError(
            f"{name}: predictions are probabilities, between 0 and 1, and one is "
            f"{low if low < -rounding else high:g}: use logit{name} for what has not gone through "
            f"{'σ' if 'binary' in name else 'softmax'}"
        )
    return prediction + (np.clip(plain, 0, 1) - plain)


def logitcrossentropy(prediction: Any, target: Any) -> Any:
    """Cross-entropy of softmax(prediction): the mean over the batch of -Σ y logsoftmax(ŷ).

    Parameters
    ----------
    prediction : array
        Of shape (..., classes), before softmax, with two classes or more.
    target : array
        Integer labels of shape (...), or one-hot rows (or other weights, as floats) of the prediction's shape.
        Where the prediction is a single row (classes,), a label or a one-hot row of floats.

    Returns
    -------
    Tracked or float
        Scalar, of the prediction's dtype; tracked if the prediction is.

    Raises
    ------
    ValueError
        If shapes do not fit, there are fewer than two classes, or a label is out of range.
    TypeError
        If labels are no integers, or something else is no real number.

    Examples
    --------
    >>> from fluxmagic import logitcrossentropy
    >>> print(logitcrossentropy([[0.0, 0.0], [1e4, 0.0]], [1, 0]).round(4))
    0.3466
    """
    prediction, target, _ = _check_classes("logitcrossentropy", prediction, target)
    if isinstance(target, Tracked):
        return -np.sum(target * logsoftmax(prediction)) / len(prediction)
    return softmax_crossentropy(prediction, target)


def crossentropy(prediction: Any, target: Any) -> Any:
    """Cross-entropy of probabilities: the mean over the batch of -Σ y log(ŷ).

    A probability of 0 for what is there makes it infinite; `logitcrossentropy` never is.

    Parameters
    ----------
    prediction : array
        Of shape (..., classes): probabilities, after softmax, with two classes or more.
    target : array
        Integer labels of shape (...), or one-hot rows (or other weights, as floats) of the prediction's shape.
        Where the prediction is a single row (classes,), a label or a one-hot row of floats.

    Returns
    -------
    Tracked or float
        Scalar, of the prediction's dtype; tracked if the prediction is.

    Raises
    ------
    ValueError
        If shapes do not fit, there are fewer than two classes, a label is out of range, or a prediction lies
        outside [0, 1].
    TypeError
        If labels are no integers, or something else is no real number.

    Examples
    --------
    >>> from fluxmagic import crossentropy
    >>> print(crossentropy([[0.5, 0.5], [1.0, 0.0]], [1, 0]).round(4))
    0.3466
    """
    prediction, target, labels = _check_classes("crossentropy", prediction, target)
    prediction = _probabilities("crossentropy", prediction)
    n = len(prediction)
    if labels:
        return -np.sum(np.log(prediction[np.arange(n), target])) / n
    return -np.sum(target * _log(prediction, target)) / n


def _log(x: Any, weight: Any) -> Any:
    """log(x), but 0 where the weight that it gets is: 0 log 0 is 0.  Unless the weight wants a gradient itself."""
    return np.log(x if isinstance(weight, Tracked) else np.where(weight == 0, x.dtype.type(1), x))


def _check_binary(name: str, prediction: Any, target: Any) -> tuple[Any, Any, int]:
    prediction, target = _check_regression(name, prediction, target)
    plain = data(target)
    low, high = _range(plain)
    if not (low >= 0 and high <= 1):
        right = (plain >= 0) & (plain <= 1)
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
        If the shapes differ, or a prediction or target lies outside [0, 1].
    TypeError
        If one is not made of real numbers.

    Examples
    --------
    >>> from fluxmagic import binarycrossentropy
    >>> print(binarycrossentropy([0.5, 1.0], [1, 1]).round(4))
    0.3466
    """
    prediction, y, n = _check_binary("binarycrossentropy", prediction, target)
    prediction = _probabilities("binarycrossentropy", prediction)
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
    prediction, y, n = _check_binary("logitbinarycrossentropy", prediction, target)
    low, high = _range(data(prediction))
    if low == -np.inf or high == np.inf:  # ∞ - ∞ would be NaN, and so would 0 · ∞ where the target is 0
        no = 1 - y
        return np.sum(y * softplus(-_counted(prediction, y)) + no * softplus(_counted(prediction, no))) / n
    return np.sum(softplus(prediction) - y * prediction) / n


def _counted(x: Any, weight: Any) -> Any:
    """x, but 0 where the weight that it gets is.  Unless the weight wants a gradient itself."""
    return x if isinstance(weight, Tracked) else np.where(weight == 0, x.dtype.type(0), x)

"""Losses: functions of a prediction and a target that return a scalar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fluxmagic.docstrings import with_sections
from fluxmagic.layers.activations import logsoftmax, softplus
from fluxmagic.layers.fused import mean_square, softmax_crossentropy
from fluxmagic.layers.input_checks import as_array, extremes
from fluxmagic.layers.labels import check_labels, from_text, is_onehot
from fluxmagic.tracker import Tracked, data
from fluxmagic.tracker.aliases import Array

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["binarycrossentropy", "crossentropy", "logitbinarycrossentropy", "logitcrossentropy", "mae", "mse"]

_RETURNS = """
    Returns
    -------
    Tracked or float
        Scalar, of the prediction's dtype; tracked if the prediction is.
"""

_regression_loss = with_sections(
    """
    Parameters
    ----------
    prediction : array
        Of any shape.
    target : array
        Of the same shape, or a scalar; cast to the prediction's dtype.

    Raises
    ------
    ValueError
        If the shapes differ.
    TypeError
        If prediction or target is not an array of real numbers.
    """
    + _RETURNS
)

_class_loss = with_sections(
    """
    Parameters
    ----------
    prediction : array
        Of shape (..., classes), with two classes or more.
    target : array
        Integer labels of shape (...), or one-hot rows (or other weights, as floats) of the prediction's shape.
        Where the prediction is a single row (classes,), a label or a one-hot row of floats.

    Raises
    ------
    ValueError
        If the shapes do not fit, there are fewer than two classes, or a label is out of range.
    TypeError
        If labels are not integers, or something else is not a real number.
    """
    + _RETURNS
)

_binary_loss = with_sections(
    """
    Parameters
    ----------
    prediction : array
        The first axis is the batch.  Several outputs of one sample are summed.
    target : array
        Of the prediction's shape, between 0 and 1; cast to its dtype.

    Raises
    ------
    ValueError
        If the shapes differ, or a target lies outside [0, 1].
    TypeError
        If prediction or target is not an array of real numbers.
    """
    + _RETURNS
)


@_regression_loss
def mse(prediction: Array, target: Array) -> Array:
    """Mean squared error: mean((ŷ - y)²), over all entries, as in Flux.

    Examples
    --------
    >>> print(mse([1.0, 2.0], [1.0, 4.0]))
    2.0
    """
    prediction, target = _check_regression("mse", prediction, target)
    return mean_square(prediction, target)


@_regression_loss
def mae(prediction: Array, target: Array) -> Array:
    """Mean absolute error: mean(|ŷ - y|), over all entries.

    Examples
    --------
    >>> print(mae([1.0, 2.0], [1.0, 4.0]))
    1.0
    """
    prediction, target = _check_regression("mae", prediction, target)
    return np.mean(np.abs(prediction - target))


@_class_loss
def logitcrossentropy(prediction: Array, target: Array) -> Array:
    """Cross-entropy of softmax(prediction): the mean over the batch of -Σ y logsoftmax(ŷ).

    Examples
    --------
    >>> print(logitcrossentropy([[0.0, 0.0], [1e4, 0.0]], [1, 0]).round(4))
    0.3466
    """
    prediction, target, _ = _check_classes("logitcrossentropy", prediction, target)
    if isinstance(target, Tracked):
        return -np.sum(target * logsoftmax(prediction)) / len(prediction)
    return softmax_crossentropy(prediction, target)


@_class_loss
def crossentropy(prediction: Array, target: Array) -> Array:
    """Cross-entropy of probabilities: the mean over the batch of -Σ y log(ŷ).

    Softmax returns such probabilities.  If the target's class has probability 0, the loss is infinite;
    `logitcrossentropy` stays finite.

    Raises
    ------
    ValueError
        If a prediction lies outside [0, 1].

    Examples
    --------
    >>> print(crossentropy([[0.5, 0.5], [1.0, 0.0]], [1, 0]).round(4))
    0.3466
    """
    prediction, target, labels = _check_classes("crossentropy", prediction, target)
    prediction = _clip_probabilities("crossentropy", prediction)
    n = len(prediction)
    if labels:
        return -np.sum(np.log(prediction[np.arange(n), target])) / n
    return -np.sum(target * _log(prediction, target)) / n


@_binary_loss
def binarycrossentropy(prediction: Array, target: Array) -> Array:
    """Binary cross-entropy of probabilities: the mean over the batch of -y log(ŷ) - (1-y) log(1-ŷ).

    Raises
    ------
    ValueError
        If a prediction lies outside [0, 1].

    Examples
    --------
    >>> print(binarycrossentropy([0.5, 1.0], [1, 1]).round(4))
    0.3466
    """
    prediction, y, n = _check_binary("binarycrossentropy", prediction, target)
    prediction = _clip_probabilities("binarycrossentropy", prediction)
    no = 1 - y
    return -np.sum(y * _log(prediction, y) + no * _log(1 - prediction, no)) / n


@_binary_loss
def logitbinarycrossentropy(prediction: Array, target: Array) -> Array:
    """Binary cross-entropy of σ(prediction): the mean over the batch of softplus(ŷ) - y ŷ.

    Examples
    --------
    >>> print(logitbinarycrossentropy([0.0, 1e4], [1, 1]).round(4))
    0.3466
    """
    prediction, y, n = _check_binary("logitbinarycrossentropy", prediction, target)
    low, high = extremes(data(prediction))
    if low == -np.inf or high == np.inf:  # ∞ - ∞ would be NaN, and so would 0 · ∞ where the target is 0
        no = 1 - y
        at_one, at_zero = _where_weighted(prediction, y, 0), _where_weighted(prediction, no, 0)
        return np.sum(y * softplus(-at_one) + no * softplus(at_zero)) / n
    return np.sum(softplus(prediction) - y * prediction) / n


# -- checks of the arguments ---------------------------------------------------------------------------

_BINARY = {"crossentropy": "binarycrossentropy", "logitcrossentropy": "logitbinarycrossentropy"}
"""The loss for two classes in one column that goes with each loss of several classes."""


def _as_arrays(name: str, prediction: Array, target: Array) -> tuple[Array, Array, Array]:
    """Convert what is untracked to arrays, the prediction to floating point; return also the prediction's value."""
    if isinstance(prediction, Tracked):
        value = prediction.value
    else:
        value = as_array(name, prediction)
        if value.dtype.kind != "f":
            if value.dtype.kind not in "iub":
                raise TypeError(f"{name}: predictions are numbers, not {value.dtype}")
            value = value.astype(np.float64)
        prediction = value
    if type(target) is not np.ndarray and not isinstance(target, Tracked):
        target = as_array(name, target)
    return prediction, target, value


def _cast_target(name: str, target: Array, dtype: DTypeLike) -> Array:
    """Cast numbers to the prediction's dtype."""
    if target.dtype.kind not in "fiub":
        raise TypeError(f"{name}: targets are numbers, not {target.dtype}{from_text(target.dtype)}")
    return target.astype(dtype)


def _check_regression(name: str, prediction: Array, target: Array) -> tuple[Array, Array]:
    """Return both as arrays of one dtype and one shape: (n,) against (n, 1) would broadcast to (n, n)."""
    prediction, target, value = _as_arrays(name, prediction, target)
    if target.shape != value.shape and target.shape != ():
        raise ValueError(
            f"{name}: prediction of shape {value.shape} and target of shape {target.shape} differ"
            + _shape_advice(value.shape, target)
        )
    if target.dtype != value.dtype:
        target = _cast_target(name, target, value.dtype)
    return prediction, target


def _shape_advice(shape: tuple[int, ...], target: Array) -> str:
    """Suggest an expression that makes the shapes equal."""
    if shape == (*target.shape, 1):
        return ": give prediction[..., 0]"
    if target.shape == (*shape, 1):
        return ": give target[..., 0]"
    if shape[:-1] == target.shape and target.dtype.kind in "iu":
        return f": for class numbers use logitcrossentropy, or pass onehot(target, {shape[-1]})"
    return ""


def _check_classes(name: str, prediction: Array, target: Array) -> tuple[Array, Array, bool]:
    """Return the prediction as rows, for each a checked label or a row of weights, and whether these are labels."""
    prediction, target, value = _as_arrays(name, prediction, target)
    shape = value.shape
    if not shape:
        raise ValueError(f"{name}: the prediction is a scalar; its last axis has to hold the classes")
    if shape[-1] < 2:
        raise ValueError(
            f"{name}: a prediction of shape {shape} has {shape[-1]} class{'' if shape[-1] else 'es'} in its last axis, "
            f"and the loss needs at least 2: for one column use {_BINARY[name]}"
        )
    labels = target.shape == shape[:-1]
    if labels:
        check_labels(name, target, shape[-1])
        if target.dtype.kind != "i":
            target = target.astype(np.intp)  # uint64 and a signed integer would give float64
    elif target.shape == shape:
        if target.dtype != value.dtype or len(shape) == 1:
            _check_onehot(name, data(target))
            target = _cast_target(name, target, value.dtype)
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


def _check_onehot(name: str, target: np.ndarray) -> None:
    """Refuse class numbers and yes/no labels that have the prediction's shape by accident.

    Floats with a batch axis may be any weights; a single row has to sum to 1.
    """
    if target.ndim == 1 and target.dtype.kind in "fiub":
        if target.dtype.kind == "f" and (target >= 0).all() and abs(target.sum() - 1) < 1e-3:
            return
        raise ValueError(
            f"{name}: a prediction of shape {target.shape} is a single row of {len(target)} classes, and its target is "
            f"a label or a one-hot row of floats, not {len(target)} labels: for yes/no labels use {_BINARY[name]}"
        )
    if target.dtype.kind in "iub" and not is_onehot(target):
        raise ValueError(
            f"{name}: integers of the prediction's shape {target.shape} have to be one-hot rows, each with a single 1; "
            f"class numbers have the shape {target.shape[:-1]}, weights are floats"
        )


def _check_binary(name: str, prediction: Array, target: Array) -> tuple[Array, Array, int]:
    """Return prediction and target of one shape, with targets between 0 and 1, and the size of the batch."""
    prediction, target = _check_regression(name, prediction, target)
    plain = data(target)
    low, high = extremes(plain)
    if not (low >= 0 and high <= 1):
        wrong = plain[~((plain >= 0) & (plain <= 1))]
        raise ValueError(f"{name}: targets lie between 0 and 1, but one is {wrong.flat[0]:g}")
    return prediction, target, prediction.shape[0] if prediction.ndim else 1


def _clip_probabilities(name: str, prediction: Array) -> Array:
    """Refuse predictions outside [0, 1]; clip those that rounding took there, with the gradient of 1."""
    plain = data(prediction)
    low, high = extremes(plain)
    if (low >= 0 and high <= 1) or low != low:  # NaN makes the loss NaN, which training reports
        return prediction
    rounding = max(1e-5, 10 * float(np.finfo(plain.dtype).eps))
    if low < -rounding or high > 1 + rounding:
        raise ValueError(
            f"{name}: predictions are probabilities between 0 and 1, but one is {low if low < -rounding else high:g}: "
            f"for values before {'σ' if 'binary' in name else 'softmax'} use logit{name}"
        )
    return prediction + (np.clip(plain, 0, 1) - plain)


def _where_weighted(x: Array, weight: Array, other: float) -> Array:
    """Return x where its weight is not 0, and `other` elsewhere; all of x if the weight is tracked itself."""
    return x if isinstance(weight, Tracked) else np.where(weight == 0, x.dtype.type(other), x)


def _log(x: Array, weight: Array) -> Array:
    """Return log(x), and 0 where its weight is 0, so that 0 log 0 is 0."""
    return np.log(_where_weighted(x, weight, 1))

"""Inputs that losses refuse: shapes that would broadcast, wrong labels, predictions outside 0 to 1."""

import numpy as np
import pandas as pd
import pytest

from fluxmagic import (
    binarycrossentropy,
    crossentropy,
    gradient,
    logitbinarycrossentropy,
    mae,
    mse,
    onehot,
    param,
    softmax,
    σ,
)
from tests.layers.test_losses import CLASSIFY, EVERY, RNG, rows


@pytest.mark.parametrize("loss", [mse, mae, binarycrossentropy, logitbinarycrossentropy])
@pytest.mark.parametrize(
    ("a", "b", "fix"),
    [
        ((3,), (3, 1), ": give target[..., 0]"),
        ((3, 1), (3,), ": give prediction[..., 0]"),
        ((32, 1), (32,), ": give prediction[..., 0]"),
        ((2, 3, 1), (2, 3), ": give prediction[..., 0]"),
        ((3,), (4,), ""),
        ((2, 3), (3,), ""),
        ((), (1,), ": give target[..., 0]"),
    ],
)
def test_shapes_that_would_broadcast_are_refused_with_a_fix(loss, a, b, fix):
    x, t = np.full(a, 0.5), np.full(b, 0.5)
    with pytest.raises(ValueError) as caught:
        loss(x, t)
    assert str(caught.value) == f"{loss.__name__}: prediction of shape {a} and target of shape {b} differ{fix}"
    if fix:
        mended = {"prediction": x, "target": t}
        name = fix.removeprefix(": give ").partition("[")[0]
        mended[name] = mended[name][..., 0]
        assert np.isfinite(loss(**mended))


@pytest.mark.parametrize("loss", [mse, mae, binarycrossentropy, logitbinarycrossentropy])
def test_regression_losses_refuse_class_numbers_with_a_fix(loss):
    with pytest.raises(ValueError, match=r"differ: for class numbers use logitcrossentropy, or pass onehot\(target, 3"):
        loss(np.full((4, 3), 0.5), [0, 1, 2, 0])


@pytest.mark.parametrize("loss", EVERY)
def test_losses_refuse_masked_arrays(loss):
    x, hidden = np.full((2, 2), 0.5), np.ma.masked_equal(np.eye(2), 0)
    for args in ((x, hidden), (hidden, x)):
        with pytest.raises(TypeError, match=rf"{loss.__name__}: a masked array would lose its mask; fill it first"):
            loss(*args)
    with pytest.raises(TypeError, match="onehot: a masked array"):
        onehot(np.ma.masked_equal([0, 1], 1), 2)


@pytest.mark.parametrize("loss", EVERY)
def test_text_labels_are_refused_with_a_fix(loss):
    names = np.array(["cat", "dog", "cat"])
    message = "not <U3: np.unique(labels, return_inverse=True)[1] gives class numbers for text"
    x = np.full((3, 2), 0.5) if "cross" in loss.__name__ and "binary" not in loss.__name__ else np.full(3, 0.5)
    for labels in (names, names.tolist()):
        with pytest.raises(TypeError) as caught:
            loss(x, labels)
        assert message in str(caught.value)
    with pytest.raises(TypeError, match=r"np\.unique\(labels, return_inverse=True\)"):
        loss(x, pd.Series(names))
    assert np.isfinite(loss(x, np.unique(names, return_inverse=True)[1]))


@CLASSIFY
@pytest.mark.parametrize("shape", [(4, 1), (1, 1), (1,), (2, 3, 1), (0, 1), (4, 0)])
@pytest.mark.parametrize("hot", [False, True])
def test_a_single_class_is_refused_with_the_binary_loss_as_fix(loss, shape, hot):
    # over one class softmax is 1 and the loss 0, whatever the prediction
    twin = {"crossentropy": "binarycrossentropy", "logitcrossentropy": "logitbinarycrossentropy"}[loss.__name__]
    with pytest.raises(ValueError, match=rf"{loss.__name__}: .* class(es)? in its last axis, .* use {twin}$"):
        loss(np.full(shape, 0.5), np.zeros(shape if hot else shape[:-1], int))


@CLASSIFY
@pytest.mark.parametrize(
    "labels", [[1, 0, 1, 0], [1, 0, 0, 0], [1.0, 0.0, 1.0, 0.0], [0.0] * 4, [2, 0, 3, 1], [True] * 4]
)
def test_labels_of_a_vector_of_predictions_are_refused(loss, labels):
    x = np.array([0.5, 0.25, 0.125, 0.125])
    with pytest.raises(ValueError, match=r"a single row of 4 classes, .* not 4 labels: .* use (logit)?binarycross"):
        loss(x, labels)
    assert loss(x, 1) == loss(x[None], [1]) == loss(x, onehot(1, 4)) == loss(x[None], onehot([1], 4))
    assert loss(x, softmax(x)) == pytest.approx(loss(x[None], softmax(x)[None]))


@CLASSIFY
def test_integers_of_the_predictions_shape_have_to_be_one_hot(loss):
    x = np.full((2, 2), 0.5)
    for labels in ([[1, 2], [0, 1]], [[1, 1], [0, 1]], [[0, 0], [0, 1]], np.ones((2, 2), bool), np.full((2, 2), -1)):
        with pytest.raises(ValueError, match=r"class numbers have the shape \(2,\), weights are floats"):
            loss(x, labels)
    with pytest.raises(ValueError, match=r"one-hot rows, each with a single 1"):  # one row, labels in a row
        loss(np.full((1, 4), 0.25), [[1, 0, 1, 0]])
    assert loss(x, np.array([[1.0, 2.0], [0.0, 1.0]])) == pytest.approx(2 * np.log(2))


@CLASSIFY
def test_as_many_rows_as_classes_take_labels_and_one_hot_rows_alike(loss):
    x = rows(loss, RNG.normal(size=(4, 4)))
    t = np.array([2, 0, 3, 3])
    for hot in (onehot(t, 4), onehot(t, 4).astype(int), onehot(t, 4).astype(bool)):
        assert loss(x, t) == pytest.approx(loss(x, hot))
    assert loss(x[:1], [2]) == pytest.approx(loss(x[:1], onehot([2], 4)))


@pytest.mark.parametrize("wrap", [np.asarray, param])
@pytest.mark.parametrize(
    ("loss", "x", "t", "wrong"),
    [
        (binarycrossentropy, [1.5], [1.0], "1.5: for values before σ use logitbinarycrossentropy"),
        (binarycrossentropy, [0.5, -0.01], [1.0, 0.0], "-0.01: for values before σ use logitbinarycrossentropy"),
        (binarycrossentropy, [np.inf], [1.0], "inf: for values before σ use logitbinarycrossentropy"),
        (crossentropy, [[2.0, -1.0]], [0], "-1: for values before softmax use logitcrossentropy"),
        (crossentropy, [[2.0, 0.0]], [0], "2: for values before softmax use logitcrossentropy"),
        (crossentropy, [[1.001, 0.0]], [[1.0, 0.0]], "1.001: for values before softmax use logitcrossentropy"),
        (crossentropy, [0.5, 1.5], 0, "1.5: for values before softmax use logitcrossentropy"),
    ],
)
def test_predictions_outside_0_to_1_are_refused_with_the_logit_loss_as_fix(wrap, loss, x, t, wrong):
    with pytest.raises(ValueError) as caught:
        loss(wrap(x), np.asarray(t))
    expected = f"{loss.__name__}: predictions are probabilities between 0 and 1, but one is {wrong}"
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_probability_outside_0_to_1_by_rounding_is_clipped_and_keeps_its_gradient(dtype):
    slop = dtype(1e-7)
    high, low = np.array([1 + slop, 0.5], dtype), np.array([-slop, 0.5], dtype)
    assert high[0] > 1
    half = pytest.approx(np.log(2) / 2)
    assert binarycrossentropy(high, [1, 1]) == half
    assert binarycrossentropy(low, [0, 1]) == half
    assert crossentropy(np.array([[1 + slop, -slop]], dtype), [0]) == 0
    with np.errstate(divide="ignore"):
        assert binarycrossentropy(high, [0, 1]) == np.inf  # and not log of a negative number, NaN
        assert crossentropy(np.array([[1 + slop, -slop]], dtype), [1]) == np.inf
    np.testing.assert_allclose(gradient(lambda x: binarycrossentropy(x, [1, 1]), high)[0], [-0.5, -1])
    np.testing.assert_allclose(gradient(lambda x: crossentropy(x, [0]), np.array([[1 + slop, 0]], dtype))[0], [[-1, 0]])


@pytest.mark.parametrize("loss", [crossentropy, binarycrossentropy])
def test_a_prediction_of_nan_gives_a_loss_of_nan(loss):
    x = np.array([[0.5, np.nan], [0.5, 0.5]])
    assert np.isnan(loss(x, np.eye(2)[::-1]))


def test_softmax_and_sigmoid_of_float32_pass_as_probabilities():
    z = RNG.normal(0, 8, (500, 7)).astype(np.float32)
    assert np.isfinite(crossentropy(softmax(z), z.argmax(1)))
    assert np.isfinite(binarycrossentropy(σ(z / 8), z > 0))
    assert np.isfinite(crossentropy(softmax(z.astype(np.float16)), z.argmax(1)))

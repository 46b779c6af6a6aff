"""Losses against plain formulas, their gradients, and targets that they refuse."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fluxmagic import (
    back,
    binarycrossentropy,
    crossentropy,
    gradient,
    logitbinarycrossentropy,
    logitcrossentropy,
    mae,
    mse,
    onehot,
    param,
    softmax,
    σ,
)
from fluxmagic.tracker import gradcheck

RNG = np.random.default_rng(0)
CLASSIFY = pytest.mark.parametrize("loss", [crossentropy, logitcrossentropy])
BINARY = pytest.mark.parametrize("loss", [binarycrossentropy, logitbinarycrossentropy])
EVERY = [mse, mae, crossentropy, logitcrossentropy, binarycrossentropy, logitbinarycrossentropy]


def rows(loss, logits):
    return logits if loss is logitcrossentropy else softmax(logits)


def plain(logits, labels):
    """Cross-entropy, one row at a time."""
    flat, total = logits.reshape(-1, logits.shape[-1]), 0.0
    for row, k in zip(flat, np.ravel(labels), strict=True):
        total -= np.log(np.exp(row[k]) / np.exp(row).sum())
    return total / len(flat)


# -- mse, mae --------------------------------------------------------------------------------------------


def test_mse_and_mae_are_means_over_all_entries():
    y, t = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))
    assert mse(y, t) == pytest.approx(sum((y - t).ravel() ** 2) / 12)
    assert mae(y, t) == pytest.approx(sum(abs(y - t).ravel()) / 12)
    assert mse(param(y), t).data == mse(y, t)


def test_a_scalar_target_stands_for_all_entries():
    assert mse(np.array([1.0, 3.0]), 2) == 1.0


def test_integer_predictions_do_not_truncate_the_targets():
    assert mse(np.array([1, 2]), np.array([0.5, 2.5])) == 0.25
    assert mae([1, 2], [0.5, 2.5]) == 0.5
    assert logitcrossentropy(np.array([[1, 2]]), [0]) == pytest.approx(plain(np.array([[1.0, 2.0]]), [0]))


# -- classification ----------------------------------------------------------------------------------------


@CLASSIFY
@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3)])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int8, np.uint8, np.uint64, ">i4", ">u2"])
def test_labels_and_one_hot_rows_give_the_mean_over_the_batch(loss, shape, dtype):
    logits, labels = RNG.normal(size=(*shape, 4)), np.asarray(RNG.integers(4, size=shape)).astype(dtype)
    x = rows(loss, logits)
    assert loss(x, labels) == pytest.approx(plain(logits, labels))
    assert loss(x, onehot(labels, 4)) == pytest.approx(plain(logits, labels))
    assert loss(param(x), labels).data == pytest.approx(plain(logits, labels))
    back(loss(p := param(x), labels))
    back(loss(q := param(x), onehot(labels, 4)))
    np.testing.assert_allclose(p.grad, q.grad, rtol=1e-9, atol=1e-12)


@CLASSIFY
def test_labels_may_be_lists_and_pandas_objects(loss):
    x = rows(loss, RNG.normal(size=(3, 4)))
    expected = loss(x, np.array([0, 3, 1]))
    for labels in ([0, 3, 1], (0, 3, 1), pd.Series([0, 3, 1], index=[7, 8, 9])):
        assert loss(x, labels) == expected
    assert loss(pd.DataFrame(x), pd.DataFrame(onehot([0, 3, 1], 4))) == pytest.approx(expected)
    assert loss(x.tolist(), [0, 3, 1]) == expected


@CLASSIFY
def test_targets_may_be_weights_of_any_size(loss):
    logits, weights = RNG.normal(size=(5, 3)), RNG.random((5, 3))
    logs = np.log(softmax(logits))
    assert loss(rows(loss, logits), weights) == pytest.approx(-(weights * logs).sum() / 5)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000), n=st.integers(1, 4), hot=st.booleans())
@CLASSIFY
def test_gradients_agree_with_differences_to_second_order(loss, seed, n, hot):
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=(n, 3)), rng.integers(3, size=n)
    if loss is crossentropy:
        x = rng.uniform(0.3, 0.9, size=(n, 3))
    t = rng.random((n, 3)) if hot else t
    assert gradcheck(lambda x: np.sin(loss(x, t)), x)
    assert gradcheck(lambda x: np.sin(gradient(lambda x: np.sin(loss(x, t)), x)[0]).sum(), x)


@pytest.mark.parametrize("hot", [False, True])
@pytest.mark.parametrize("layout", [np.asfortranarray, lambda x: np.repeat(x, 2, 1)[:, ::2], lambda x: x[::-1][::-1]])
def test_gradient_does_not_depend_on_how_the_prediction_lies_in_memory(layout, hot):
    x, t = RNG.normal(size=(4, 5)), np.array([0, 1, 4, 2])
    t = onehot(t, 5) if hot else t
    found = gradient(lambda z: logitcrossentropy(z, t), layout(x))[0]
    np.testing.assert_allclose(found, gradient(lambda z: logitcrossentropy(z, t), x)[0])
    W = param(RNG.normal(size=(5, 3)))
    data = RNG.normal(size=(4, 3))
    back(logitcrossentropy((W @ data.T).T, t))
    np.testing.assert_allclose(W.grad, gradient(lambda W: logitcrossentropy(data @ W.T, t), W.data)[0])


def test_a_second_pass_adds_the_same_gradient_once_more():
    W = param(RNG.normal(size=(4, 3)))
    l = logitcrossentropy(W, [0, 1, 2, 0])
    back(l)
    once = W.grad.copy()
    back(l)
    np.testing.assert_allclose(W.grad, 2 * once)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_up_to_1e4_give_accurate_losses(dtype):
    x = np.array([[1e4, 0, -1e4], [-1e4, 1e4, 0]], dtype)
    for t in (np.array([0, 0]), onehot([0, 0], 3)):
        p = param(x)
        l = logitcrossentropy(p, t)
        back(l)
        assert float(l) == 1e4
        np.testing.assert_allclose(p.grad, [[0, 0, 0], [-0.5, 0.5, 0]])
    z = np.array([1e4, -1e4, 1e4, -1e4], dtype)
    p = param(z)
    l = logitbinarycrossentropy(p, [1, 0, 0, 1])
    back(l)
    assert float(l) == 5e3
    np.testing.assert_allclose(p.grad, [0, 0, 0.25, -0.25])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_infinite_logit_of_the_right_class_has_no_loss(dtype):
    z = np.array([-np.inf, np.inf, 0], dtype)
    l, δ = logitbinarycrossentropy(z, [0, 1, 1]), gradient(lambda z: logitbinarycrossentropy(z, [0, 1, 1]), z)[0]
    assert l == pytest.approx(np.log(2) / 3)
    np.testing.assert_allclose(δ, [0, 0, -1 / 6], atol=1e-7)
    assert logitbinarycrossentropy(z, [1, 1, 1]) == np.inf
    assert logitbinarycrossentropy(z, [0, 0.5, 1]) == np.inf
    with np.errstate(invalid="ignore"):
        assert np.isnan(logitbinarycrossentropy(np.array([np.nan, 0], dtype), [0, 1]))
        assert np.isnan(logitbinarycrossentropy(np.array([np.nan, np.inf], dtype), [0, 1]))


@pytest.mark.parametrize("hot", [False, True])
@pytest.mark.parametrize("size", [31.0, 33.0, 79.0, 81.0, 1e20, 1e30])
def test_logits_of_any_size_give_accurate_losses_in_float32(size, hot):
    x = param(np.array([[size, 0, -size], [-size, 0, size / 2]], np.float32))
    t = np.array([0, 1])
    l = logitcrossentropy(x, onehot(t, 3) if hot else t)
    back(l)
    assert float(l) == pytest.approx(size / 4, rel=1e-6)
    np.testing.assert_allclose(x.grad, [[0, 0, 0], [0, -0.5, 0.5]], atol=1e-7)


@pytest.mark.parametrize("hot", [False, True])
@settings(deadline=None)
@given(x=hnp.arrays(np.float32, (3, 4), elements=st.floats(-40, 40, width=32)))
def test_small_losses_are_accurate_and_not_negative(hot, x):
    t = np.array([0, 1, 2])
    x[t, t] = x.max(axis=1)
    found = logitcrossentropy(x, onehot(t, 4) if hot else t)
    assert found >= 0
    assert found == pytest.approx(logitcrossentropy(x.astype(np.float64), t), rel=1e-6, abs=2e-7)


@pytest.mark.parametrize("hot", [False, True])
def test_half_precision_does_not_overflow(hot):
    t = np.array([0, 1])
    x = np.array([[20, 0, -20], [-20, 0, 20]], np.float16)
    assert logitcrossentropy(x, onehot(t, 3) if hot else t) == pytest.approx(10, rel=1e-2)


@CLASSIFY
@pytest.mark.parametrize(
    ("labels", "wrong"),
    [
        ([0, 4], "4"),
        ([0, -1], "-1"),
        ([-3, 0], "-3"),
        (np.array([0, -1], np.int8), "-1"),
        (np.array([1, 200], np.uint8), "200"),
        (np.array([0, 4], ">i4"), "4"),
    ],
)
def test_a_label_out_of_range_is_an_error_that_names_it(loss, labels, wrong):
    with pytest.raises(ValueError) as caught:
        loss(np.full((2, 4), 0.25), labels)
    assert str(caught.value) == f"{loss.__name__}: label {wrong} is out of range: with 4 classes labels are 0 … 3"


def test_labels_of_a_small_dtype_are_checked_against_more_classes_than_it_holds():
    with pytest.raises(ValueError, match="label -1 is out of range: with 300 classes"):
        logitcrossentropy(np.zeros((2, 300)), np.array([1, -1], np.int8))
    assert logitcrossentropy(np.zeros((2, 300)), np.array([1, 127], np.int8)) == pytest.approx(np.log(300))


@CLASSIFY
def test_targets_of_other_shapes_or_types_are_refused(loss):
    x = np.full((2, 4), 0.25)
    with pytest.raises(ValueError, match=r"labels of shape \(2,\) or one-hot rows of shape \(2, 4\), not .* \(3,\)"):
        loss(x, [0, 1, 2])
    with pytest.raises(ValueError, match=r"not a target of shape \(2, 1\): give target\[\.\.\., 0\]$"):
        loss(x, [[0], [1]])
    with pytest.raises(TypeError, match=r"labels are integers, not float64: labels\.astype\(int\)$"):
        loss(x, [0.0, 1.0])
    with pytest.raises(TypeError, match=r"labels are integers, not bool: labels\.astype\(int\)$"):
        loss(x, [True, False])
    with pytest.raises(TypeError, match="targets are numbers, not <U1"):
        loss(x, np.full((2, 4), "a"))
    with pytest.raises(ValueError, match="the prediction is a scalar"):
        loss(1.0, 0)


@pytest.mark.parametrize("loss", EVERY)
@pytest.mark.parametrize("x", [np.full((2, 2), 0.5 + 0j), np.full((2, 2), "a"), np.array([[None, 1], [2, 3]])])
def test_predictions_other_than_real_numbers_are_refused(loss, x):
    with pytest.raises(TypeError, match=f"{loss.__name__}: predictions are numbers"):
        loss(x, np.zeros((2, 2)))


def test_crossentropy_is_infinite_only_where_the_target_has_probability_0():
    sure = np.array([[1.0, 0.0]])
    assert crossentropy(sure, [0]) == 0
    assert crossentropy(sure, onehot([0], 2)) == 0
    with np.errstate(divide="ignore"):
        assert crossentropy(sure, [1]) == np.inf
        assert crossentropy(sure, onehot([1], 2)) == np.inf
        assert binarycrossentropy([1.0], [0]) == np.inf
    assert binarycrossentropy([1.0, 0.0], [1, 0]) == 0
    for loss, t in ((crossentropy, onehot([0], 2)), (binarycrossentropy, sure)):
        assert np.isfinite(gradient(lambda x, f=loss, t=t: f(x, t), sure)[0]).all()


# -- binary ------------------------------------------------------------------------------------------------


@BINARY
@pytest.mark.parametrize("shape", [(), (5,), (5, 3)])
def test_binary_losses_are_means_over_the_batch_and_sums_over_outputs(loss, shape):
    z, t = RNG.normal(size=shape), RNG.random(shape)
    p = σ(z)
    expected = -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum() / (shape[0] if shape else 1)
    assert loss(p if loss is binarycrossentropy else z, t) == pytest.approx(expected)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000))
@BINARY
def test_binary_gradients_agree_with_differences_to_second_order(loss, seed):
    rng = np.random.default_rng(seed)
    x, t = rng.uniform(0.2, 0.8, (3, 2)), rng.integers(2, size=(3, 2))
    assert gradcheck(lambda x: np.sin(loss(x, t)), x)
    assert gradcheck(lambda x: np.sin(gradient(lambda x: np.sin(loss(x, t)), x)[0]).sum(), x)


@BINARY
@pytest.mark.parametrize("wrong", [1.5, -0.5, np.nan, 2])
def test_binary_targets_out_of_range_are_refused(loss, wrong):
    with pytest.raises(ValueError, match=f"{loss.__name__}: targets lie between 0 and 1, but one is {wrong:g}"):
        loss(np.array([0.5, 0.5]), [0, wrong])


# -- all of them -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", EVERY)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loss_and_gradient_keep_the_predictions_dtype_whatever_the_targets(loss, dtype):
    for t in (np.eye(3), np.eye(3, dtype=np.float32), np.eye(3, dtype=int), np.eye(3, dtype=bool)):
        p = param(np.full((3, 3), 0.3, dtype))
        l = loss(p, t)
        assert l.shape == ()
        assert l.dtype == dtype
        back(l)
        assert p.grad.dtype == dtype
        assert p.grad.any()


@pytest.mark.parametrize("loss", EVERY)
def test_a_target_may_be_tracked_and_gets_its_gradient(loss):
    x, t = np.array([[0.2, 0.5, 0.3]]), np.array([[0.0, 0.25, 0.75]])
    δ = gradient(lambda t: loss(x, t), t)[0]
    h = 1e-6 * np.eye(3)
    # t = 0 is a bound of the binary ones: a step to one side
    ahead = [(loss(x, t + e) - loss(x, t)) / 1e-6 for e in h]
    np.testing.assert_allclose(δ[0], ahead, rtol=1e-4, atol=1e-5)


# -- onehot ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,)])
def test_onehot_has_a_single_one_at_the_label(shape):
    labels = RNG.integers(5, size=shape)
    rows = onehot(labels, 5)
    assert rows.shape == (*shape, 5)
    assert rows.dtype == np.float32
    assert (rows.sum(-1) == 1).all()
    assert (rows.argmax(-1) == labels).all()


def test_onehot_refuses_other_values_than_labels():
    with pytest.raises(ValueError, match="onehot: label 3 is out of range: with 3 classes labels are 0 … 2"):
        onehot([0, 3], 3)
    with pytest.raises(ValueError, match="label -1"):
        onehot(-1, 3)
    with pytest.raises(TypeError, match=r"onehot: labels are integers, not float64: labels\.astype\(int\)"):
        onehot([0.0], 3)
    with pytest.raises(TypeError, match=r"onehot: labels are integers, not <U1: np\.unique\("):
        onehot(["a", "b"], 2)
    for n in (0, -1, 2.0, True, [0, 1], "3"):
        with pytest.raises(ValueError, match=r"onehot\(labels, n\): n is the number of classes, a positive integer"):
            onehot([0], n)
    assert onehot([0, 0], 1).tolist() == [[1], [1]]

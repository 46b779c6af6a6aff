"""Values of the metrics, and arguments that they refuse."""

import numpy as np
import pandas as pd
import pytest

from fluxmagic import accuracy, binaryaccuracy, onehot, param

X = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])


def test_accuracy_is_the_share_of_rows_whose_largest_entry_is_at_the_label():
    for prediction in (X, param(X), X.tolist(), pd.DataFrame(X)):
        for labels in (
            [1, 0, 1, 1],
            pd.Series([1, 0, 1, 1]),
            onehot([1, 0, 1, 1], 2),
            np.eye(2, dtype=bool)[[1, 0, 1, 1]],
        ):
            assert accuracy(prediction, labels) == 0.75
    assert type(accuracy(X, [1, 0, 1, 1])) is float
    assert accuracy(X[:1], [1]) == accuracy(X[:1], [[0, 1]]) == 1.0
    assert np.isnan(accuracy(np.zeros((0, 3)), []))


def test_as_many_rows_as_classes_take_labels_and_one_hot_rows_alike():
    x, t = np.eye(3)[[1, 2, 0]], np.array([1, 2, 2])
    assert accuracy(x, t) == accuracy(x, onehot(t, 3)) == pytest.approx(2 / 3)


def test_a_row_that_holds_nan_is_wrong():
    x = np.array([[np.nan, 0.0], [0.0, 1.0], [1.0, np.nan]])
    assert accuracy(x, [0, 1, 1]) == pytest.approx(1 / 3)  # argmax finds NaN
    assert binaryaccuracy([np.nan, 0.2], [0, 0]) == 0.5


@pytest.mark.parametrize(
    ("prediction", "labels", "error", "message"),
    [
        # one column or one dimension: argmax over it is no decision
        (np.array([2.0, -1, 3, -2]), [1, 0, 1, 0], ValueError, r"not \(4,\): use binaryaccuracy for one prediction"),
        (np.array([[0.1], [0.9]]), [[1], [0]], ValueError, r"not \(2, 1\): use binaryaccuracy"),
        (np.array([[0.1], [0.9]]), [0, 0], ValueError, r"not \(2, 1\): use binaryaccuracy"),
        (X[0], 1, ValueError, r"not \(2,\): .*prediction\[None\] for a single row"),
        (X[0], [0, 1], ValueError, r"not \(2,\)"),
        (1.0, 1, ValueError, r"not \(\)"),
        (np.zeros((2, 0)), [0, 0], ValueError, r"not \(2, 0\)"),
        (np.zeros((2, 3, 4)), np.zeros((2, 3), int), ValueError, r"give prediction\.reshape\(-1, 4\) and labels"),
        # class numbers where one-hot rows are due
        (np.zeros((2, 2)), [[1, 1], [0, 1]], ValueError, r"one-hot rows.*class numbers have the shape \(2,\)"),
        (np.zeros((2, 2)), [[2, 0], [0, 1]], ValueError, "one-hot rows"),
        (np.zeros((2, 2)), [[0.4, 0.6], [0.5, 0.5]], ValueError, "one-hot rows"),
        (X, [["a", "b"]] * 4, ValueError, "one-hot rows"),
        # labels
        (X, [[1], [0], [1], [1]], ValueError, r"labels of shape \(4, 1\) .*: give labels\[:, 0\]$"),
        (X[:2], ["b", "a"], TypeError, r"labels are integers, not <U1: np\.unique\(labels, return_inverse=True\)"),
        (X[:2], np.array(["b", "a"], object), TypeError, r"labels are integers, not object: np\.unique"),
        (X[:2], [1.0, 0.0], TypeError, r"labels are integers, not float64: labels\.astype\(int\)"),
        (X[:2], [True, False], TypeError, "labels are integers, not bool"),
        (X[:2], [0, 2], ValueError, "accuracy: label 2 is out of range: with 2 classes labels are 0 … 1"),
        (X[:2], [0, -1], ValueError, "accuracy: label -1 is out of range"),
        (X[:3], [0, 1], ValueError, r"labels of shape \(2,\) do not fit a prediction of shape \(3, 2\)"),
        (np.full((2, 2), "a"), [0, 1], TypeError, "accuracy: predictions are numbers, not <U1"),
    ],
)  # fmt: skip
def test_accuracy_refuses_arguments_that_would_broadcast(prediction, labels, error, message):
    with pytest.raises(error, match=message):
        accuracy(prediction, labels)


def test_binaryaccuracy_is_the_share_on_the_right_side_of_the_threshold():
    p, y = np.array([0.9, 0.2, 0.7, 0.5]), np.array([1, 0, 0, 0])
    for prediction in (p, p[:, None], p.tolist(), param(p), param(p[:, None]), pd.Series(p)):
        for labels in (y, y[:, None], y.tolist(), y == 1, y.astype(np.float32), pd.Series(y)):
            assert binaryaccuracy(prediction, labels) == 0.75
    assert type(binaryaccuracy(p, y)) is float
    assert binaryaccuracy(p, y, 0.75) == 1.0
    assert binaryaccuracy(p, y, threshold=0.1) == 0.25
    assert binaryaccuracy(np.array([2.0, -1, 3, -2]), np.array([1, 0, 1, 0]), threshold=0) == 1.0
    assert binaryaccuracy([0.9], [1]) == binaryaccuracy([[0.9]], [[1]]) == 1.0
    assert np.isnan(binaryaccuracy([], []))


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ((X, [1, 0, 1, 1]), ValueError, r"prediction has the shape \(n,\) or \(n, 1\), not \(4, 2\): use accuracy"),
        ((X[:, 0], X), ValueError, r"labels has the shape .* not \(4, 2\)"),
        ((X[:1].T.reshape(1, 2), [0, 1]), ValueError, r"not \(1, 2\)"),
        ((0.5, 1), ValueError, r"not \(\)"),
        ((X[:, 0], [1, 0]), ValueError, "4 predictions and 2 labels"),
        (([0.5, 0.5], [1, -1]), ValueError, "labels are 0 and 1, or bools, but one is -1: give labels > 0"),
        (([0.5, 0.5], [1, 2]), ValueError, "one is 2"),
        (([0.5, 0.5], [1, np.nan]), ValueError, "one is nan"),
        (([0.5, 0.5], ["yes", "no"]), TypeError, "labels are numbers, not <U3: labels == 'yes' gives bools"),
        ((["a"], [1]), TypeError, "predictions are numbers, not <U1"),
        (([2.0, -1.0], [1, 0]), ValueError, "with threshold=0.5 .*: for values before σ pass threshold=0"),
        (([0.5], [1], float("nan")), ValueError, "threshold is a number, not nan"),
        (([0.5], [1], "0.5"), ValueError, "threshold is a number, not '0.5'"),
    ],
)
def test_binaryaccuracy_refuses_arguments_that_would_broadcast(args, error, message):
    with pytest.raises(error, match=message):
        binaryaccuracy(*args)


@pytest.mark.parametrize("metric", [accuracy, binaryaccuracy])
def test_masked_arrays_are_refused(metric):
    x = X if metric is accuracy else X[:, 0]
    for args in ((np.ma.masked_less(x, 0.5), [1, 0, 1, 0]), (x, np.ma.masked_equal([1, 0, 1, 0], 1))):
        with pytest.raises(TypeError, match=rf"{metric.__name__}: a masked array would lose its mask"):
            metric(*args)


def test_a_probability_past_1_by_rounding_is_accepted():
    assert binaryaccuracy(np.array([1 + 1e-7, -1e-7], np.float32), [1, 0]) == 1.0

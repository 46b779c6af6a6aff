"""Predictions for many rows: plain arrays, computed in test mode and in chunks."""

import numpy as np
import pandas as pd
import pytest

import fluxmagic
from fluxmagic import BatchNorm, Chain, Dense, Dropout, param, params, predict, relu, softmax, state, tanh, testmode

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 3)).astype(np.float32)


def model(dropout=0.5):
    m = Chain(Dense(3, 8, relu, rng=0), BatchNorm(8), Dropout(dropout), Dense(8, 2, rng=1), softmax)
    m[1].mean[...], m[1].var[...] = RNG.normal(size=8), RNG.random(8) + 0.5
    return m


def in_test_mode(m, x):
    with testmode(m):
        return m(x).data


def test_predict_returns_the_output_in_test_mode_as_a_plain_array():
    m = model()
    y = predict(m, X)
    assert type(y) is np.ndarray
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, in_test_mode(m, X))
    assert m[1].training
    assert m[2].training


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10, 11, 1024])
def test_chunks_do_not_change_the_result(size):
    m, calls = model(), []
    y = predict(lambda x: calls.append(len(x)) or m(x), X, size=size)
    np.testing.assert_allclose(y, in_test_mode(m, X), rtol=2e-6)
    assert calls == [min(size, 10 - i) for i in range(0, 10, size)]


def test_only_the_rows_of_a_chunk_are_copied_from_a_memory_map(tmp_path):
    np.save(tmp_path / "X.npy", X)
    stored = np.load(tmp_path / "X.npy", mmap_mode="r")
    seen = []
    predict(lambda x: seen.append(type(x)) or x.sum(1), stored, size=4)
    assert seen == [np.ndarray] * 3


@pytest.mark.parametrize("kind", [list, np.ndarray.tolist, pd.DataFrame, param, np.asfortranarray, np.float64])
def test_rows_may_come_as_any_kind_of_array(kind):
    m = model()
    np.testing.assert_array_equal(predict(m, kind(X)), in_test_mode(m, X))


def test_pandas_rows_are_taken_by_position_and_mixed_columns_are_refused_with_a_fix():
    m = Dense(2, 1, rng=0)
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}, index=[1, 0])
    np.testing.assert_array_equal(predict(m, frame), m(frame.to_numpy()).data)
    frame["b"] = [True, False]
    with pytest.raises(TypeError, match=r"takes numbers, not object: x\.astype\(float\)"):
        predict(m, frame)
    np.testing.assert_array_equal(predict(m, frame.astype(float)), m(frame.to_numpy(float)).data)


@pytest.mark.parametrize("n", [0, 1])
def test_an_empty_input_gives_an_empty_output_of_the_right_shape(n):
    y = predict(model(), X[:n])
    assert y.shape == (n, 2)
    assert y.dtype == np.float32


def test_predict_takes_any_callable():
    w = param(2.0)
    assert predict(lambda x: w * x + 1, [1.0, 2.0, 3.0], size=2).tolist() == [3, 5, 7]
    assert predict(lambda x: x[:, None, None] * np.ones((2, 4)), np.arange(5), size=2).shape == (5, 2, 4)
    assert predict(lambda x: x.argmax(1), X, size=3).tolist() == X.argmax(1).tolist()
    assert predict(lambda x: [float(v) for v in x], [1, 2]).tolist() == [1, 2]
    assert predict(tanh, X).shape == X.shape


class Noise:
    """Takes no notice of modes."""

    buffers = ("seen",)

    def __init__(self, rng):
        self.rng, self.seen = rng, np.zeros(1)

    def __call__(self, x):
        self.seen += len(x)
        return x + self.rng.normal(size=x.shape) + fluxmagic.generators.as_generator().normal()


@pytest.mark.parametrize("fails", [False, True])
def test_predict_restores_state_and_generators(fails):
    def stop(x):
        if fails:
            raise RuntimeError("in the model")
        return x

    m = Chain(model(), Dropout(0.5, rng=3), Noise(np.random.default_rng(1)), stop)
    fluxmagic.seed(5)

    def trace():
        rngs = [x for x in (*state(m), fluxmagic.generators.as_generator()) if isinstance(x, np.random.Generator)]
        arrays = [np.array(getattr(x, "data", x)) for x in state(m) if not isinstance(x, np.random.Generator)]
        return [repr(rng.bit_generator.state) for rng in rngs], [a.tobytes() for a in arrays]

    before = trace()
    if fails:
        with pytest.raises(RuntimeError, match="in the model"):
            predict(m, X, size=4)
    else:
        predict(m, X, size=4)
    assert trace() == before
    assert all(not p.grad.any() for p in params(m))
    assert m[0][1].training


def test_predict_does_not_disturb_training_in_another_thread():
    # what BatchNorm and Dropout keep is not put back: it belongs to the training
    m = Chain(BatchNorm(3), Dropout(0.5, rng=0))
    other = m[0]

    def training_goes_on(x):
        other.mean += 1
        return m(x)

    predict(training_goes_on, X, size=5)
    assert other.mean.tolist() == [2, 2, 2]


def test_the_result_is_a_copy():
    kept, buffer = X.copy(), np.empty((4, 3), np.float32)
    y = predict(lambda x: x, kept)
    y += 1
    np.testing.assert_array_equal(kept, X)

    def fill(x):
        buffer[: len(x)] = x
        return buffer[: len(x)]

    np.testing.assert_array_equal(predict(fill, X, size=4), X)
    assert not predict(lambda x: np.multiply(x, 0, out=x), kept).any()
    np.testing.assert_array_equal(kept, X)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: predict(lambda x: x.sum(), X), ValueError, r"output of shape \(\) for 10 rows of shape \(3,\)"),
        (lambda: predict(lambda x: x.T, X), ValueError, r"output of shape \(3, 10\) for 10 rows"),
        (lambda: predict(lambda x: x[:-1], X), ValueError, r"shape \(9, 3\) for 10 rows"),
        (lambda: predict(lambda x: None, X), ValueError, r"shape \(\) for 10 rows"),
        (lambda: predict(lambda x: (x, x), X), TypeError, "one array as output, not a tuple"),
        (lambda: predict(lambda x: x[:, : len(x)], X[:, :3], size=8), ValueError, r"rows of shape \(2,\) after \(3,\)"),
        (lambda: predict(X, model()), TypeError, r"predict\(m, X\): m is a model .*, not a ndarray"),
        (lambda: predict(model(), 3.0), TypeError, "predict: a scalar has no rows"),
        (lambda: predict(model(), {"x": X}), TypeError, "predict: a dict has no rows"),
        (lambda: predict(model(), (X, X[:, 0])), TypeError, "predict: give several arrays one by one"),
        (lambda: predict(model(), [[1.0], [1.0, 2.0]]), ValueError, "predict: rows of one array have one shape"),
        (lambda: predict(model(), X, size=0), ValueError, "predict: the size is at least 1, not 0"),
        (lambda: predict(model(), X, size=2.5), TypeError, "predict: the size is an integer, not a float"),
        (lambda: predict(model(), X[:, :2]), ValueError, r"Dense\(3, 8, relu\) takes input of width 3"),
    ],
)  # fmt: skip
def test_wrong_models_and_data_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()

"""The fully connected layer."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fluxmagic
from fluxmagic import (
    BatchNorm,
    Chain,
    Dense,
    LayerNorm,
    back,
    elu,
    gelu,
    gradient,
    identity,
    leakyrelu,
    logσ,
    param,
    params,
    relu,
    softmax,
    softplus,
    swish,
    tanh,
    σ,
)
from fluxmagic.tracker import data, gradcheck


def test_weights_are_out_by_in_and_the_bias_starts_at_zero():
    layer = Dense(10, 5, σ)
    assert (layer.W.shape, layer.b.shape) == ((5, 10), (5,))
    assert layer.W.dtype == layer.b.dtype == np.float32
    assert not layer.b.data.any()
    bound = np.sqrt(6 / 15)
    assert 0.5 * bound < np.abs(layer.W.data).max() <= bound


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3), (0, 3), (2, 0, 3), (1, 1, 2, 3)])
def test_computes_the_activation_of_x_times_w_transposed_plus_b(shape, dtype):
    layer = Dense(3, 2, σ, dtype=dtype, rng=0)
    layer.b.data = [0.1, -0.2]
    x = np.random.default_rng(1).normal(size=shape)
    y = layer(x)
    assert y.dtype == dtype
    assert y.shape == (*shape[:-1], 2)
    expected = σ(x.astype(dtype) @ layer.W.data.T + layer.b.data)
    np.testing.assert_allclose(y.data, expected, rtol=1e-6)
    if len(shape) == 1:  # Flux's σ(W x + b)
        np.testing.assert_allclose(y.data, σ(layer.W.data @ x.astype(dtype) + layer.b.data), rtol=1e-6)


ACTIVATIONS = [identity, σ, tanh, relu, leakyrelu, elu, gelu, swish, softplus, logσ, softmax, np.tanh, np.sin, abs]


@settings(deadline=None, max_examples=4)
@given(shape=st.sampled_from([(3,), (1, 3), (4, 3), (2, 2, 3)]), seed=st.integers(0, 100))
@pytest.mark.parametrize("f", ACTIVATIONS)
def test_gradients_agree_with_differences_to_second_order(f, shape, seed):
    rng = np.random.default_rng(seed)
    layer = Dense(3, 2, f, dtype=np.float64)
    x, W, b = rng.normal(size=shape), rng.normal(size=(2, 3)), rng.normal(size=2)

    def y(x, W, b):
        layer.W, layer.b = W, b
        return np.sin(layer(x)).sum()

    assert gradcheck(y, x, W, b)
    assert gradcheck(lambda *xs: sum(np.sin(δ).sum() for δ in gradient(y, *xs)), x, W, b)


@pytest.mark.parametrize("f", [σ, relu, softplus])
def test_large_layers_have_accurate_gradients(f):
    m = Chain(Dense(200, 130, f, rng=0), Dense(130, 140, f, rng=1), Dense(140, 3, rng=2))
    x = np.random.default_rng(3).normal(size=(5, 200)).astype(np.float32)
    back(np.sin(m(x)).sum())

    def plainly(*ps):
        y = x.astype(float)
        for W, b, g in zip(ps[::2], ps[1::2], (f, f, identity), strict=True):
            y = g(y @ W.T + b)
        return np.sin(y).sum()

    expected = gradient(plainly, *[p.data.astype(float) for p in params(m)])
    for p, δ in zip(params(m), expected, strict=True):
        np.testing.assert_allclose(p.grad, δ, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_gradients_do_not_depend_on_how_the_input_lies_in_memory(order):
    layer, shape = Dense(3, 2, tanh, dtype=np.float64, rng=0), (4, 5, 3)[3 - len(order) :]
    x = np.random.default_rng(1).normal(size=shape)
    p = param(x.transpose(order))
    back(np.sin(layer(p.transpose(np.argsort(order)))).sum())
    W, b = layer.W.data, layer.b.data
    expected = gradient(lambda x: np.sin(np.tanh(x @ W.T + b)).sum(), x)[0]
    np.testing.assert_allclose(p.grad.transpose(np.argsort(order)), expected)


def test_a_layer_used_twice_gets_both_gradients():
    layer, x = Dense(2, 2, tanh, dtype=np.float64, rng=0), np.array([[0.3, -0.2]])
    back(layer(layer(x)).sum())
    W, b = layer.W.data.copy(), layer.b.data.copy()
    expected = gradient(lambda W, b: np.tanh(np.tanh(x @ W.T + b) @ W.T + b).sum(), W, b)
    np.testing.assert_allclose(layer.W.grad, expected[0])
    np.testing.assert_allclose(layer.b.grad, expected[1])


@pytest.mark.parametrize(
    "x",
    [
        [1, 2, 3],
        [[1, 2, 3], [4, 5, 6]],
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        np.ones((2, 3), bool),
        np.ones((2, 3), np.float16),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12.0).reshape(2, 6)[:, ::2],
        pd.DataFrame({"a": [1, 2], "b": [3.0, 4.0], "c": [0, 1]}),
        pd.Series([1, 2, 3]),
    ],
    ids=lambda x: type(x).__name__ + str(getattr(x, "dtype", "")),
)
def test_input_of_any_kind_is_cast_to_the_layers_dtype(x):
    layer = Dense(3, 2, rng=0)
    y = layer(x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.data, np.asarray(x, np.float32) @ layer.W.data.T, rtol=1e-6)


def test_a_tracked_input_is_cast_and_keeps_its_gradient():
    layer = Dense(3, 2, rng=0)
    δ = gradient(lambda x: layer(x).sum(), np.ones((4, 3)))[0]
    assert δ.dtype == np.float64
    np.testing.assert_allclose(data(δ), np.tile(layer.W.data.sum(0), (4, 1)), rtol=1e-6)


@pytest.mark.parametrize(
    "x", [np.ones(4), np.ones((3, 4)), np.ones((3, 4), np.float32), np.ones((3, 0)), np.array(1.0), 3.0]
)
def test_a_wrong_width_is_an_error_with_both_numbers(x):
    with pytest.raises(ValueError) as caught:
        Dense(3, 2)(x)
    assert "Dense(3, 2) takes input of width 3, shape (..., 3)" in str(caught.value)
    assert f"not of shape {np.shape(x)}" in str(caught.value)


@pytest.mark.parametrize("x", [np.ones(3, complex), np.array(["a", "b", "c"]), np.array([1, None, 2])])
def test_dense_refuses_other_values_than_real_numbers(x):
    with pytest.raises(TypeError, match=r"Dense\(3, 2\) takes numbers, not"):
        Dense(3, 2)(x)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Dense(0, 2), ValueError, "positive integers, not 0"),
        (lambda: Dense(2, 1.5), ValueError, "positive integers, not 1.5"),
        (lambda: Dense(True, 2), ValueError, "positive integers, not True"),
        (lambda: Dense(2, 2, "relu"), TypeError, "σ is a function, not 'relu'"),
        (lambda: Dense(2, 2, relu, sigma=tanh), TypeError, "σ is given twice"),
        (lambda: BatchNorm(2, relu, sigma=tanh), TypeError, "BatchNorm: σ is given twice"),
        (lambda: BatchNorm(2, ϵ=1e-3, epsilon=1e-4), TypeError, "BatchNorm: ϵ is given twice"),
        (lambda: LayerNorm(2, ϵ=1e-3, epsilon=1e-4), TypeError, "LayerNorm: ϵ is given twice"),
        (lambda: Dense(2, 2, dtype=int), TypeError, "dtype is float32 or float64, not int64"),
        (lambda: Dense(2, 2, dtype=np.float16), TypeError, "dtype is float32 or float64, not float16"),
        (lambda: Dense(2, 3, init=lambda *n, rng: np.zeros((2, 3))), ValueError, r"shape \(2, 3\), not \(3, 2\)"),
        (lambda: Dense(2, 3, rng="0"), TypeError, "rng is a numpy.random.Generator, an integer seed or None"),
    ],
)
def test_wrong_arguments_of_layers_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_initial_weights_depend_on_the_seed():
    fluxmagic.seed(3)
    a = Dense(4, 4).W.data
    fluxmagic.seed(3)
    b = Dense(4, 4).W.data
    np.testing.assert_array_equal(a, b)
    assert (Dense(4, 4).W.data != a).any()
    np.testing.assert_array_equal(Dense(4, 4, rng=1).W.data, Dense(4, 4, rng=np.random.default_rng(1)).W.data)


def test_init_is_called_with_both_widths_and_the_generator():
    rng = np.random.default_rng(0)
    layer = Dense(3, 2, init=lambda n_out, n_in, rng: rng.normal(size=(n_out, n_in)), rng=rng)
    np.testing.assert_array_equal(layer.W.data, np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32))


def test_sigma_is_the_ascii_name():
    layer = Dense(3, 2, sigma=relu)
    assert layer.σ is layer.sigma is relu


@pytest.mark.parametrize(
    ("f", "text"),
    [(identity, ""), (σ, ", σ"), (relu, ", relu"), (gelu, ", gelu"), (np.tanh, ", tanh"), (lambda x: x, ", <lambda>")],
)
def test_the_repr_of_dense_is_its_constructor(f, text):
    assert repr(Dense(10, 5, f)) == f"Dense(10, 5{text})"


def test_an_activation_may_be_any_callable():
    class Scale(list):  # not hashable
        def __call__(self, x):
            return x * self[0]

    layer = Dense(3, 2, Scale([2.0]), rng=0)
    np.testing.assert_allclose(layer(np.ones(3)).data, 2 * layer.W.data.sum(1), rtol=1e-6)


def test_weights_replaced_by_plain_arrays_are_frozen():
    m = Chain(Dense(3, 4, relu, rng=0), Dense(4, 2, rng=0))
    x = np.ones((2, 3))
    expected = m(x).data
    m[0].W, m[0].b = m[0].W.data, m[0].b.data
    back(m(x).sum())
    assert len(params(m)) == 2
    assert all(p.grad.any() for p in params(m))
    m[1].W, m[1].b = m[1].W.data, m[1].b.data
    assert type(m(x)) is np.ndarray
    np.testing.assert_array_equal(m(x), expected)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_of_models_are_independent(copied):
    shared = Dense(3, 3, σ)
    m = Chain(shared, shared, Dense(3, 2, gelu), softmax)
    twin = copied(m)
    x = np.ones((4, 3))
    np.testing.assert_array_equal(m(x).data, twin(x).data)
    assert repr(twin) == repr(m)
    assert twin[0] is twin[1]
    twin[0].W.data += 1
    assert (m(x).data != twin(x).data).any()
    assert len(params(twin)) == 4

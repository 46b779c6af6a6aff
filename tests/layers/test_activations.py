"""Activations and softmax: values and gradients, also for large arguments."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fluxmagic import (
    back,
    elu,
    gelu,
    gradient,
    identity,
    leakyrelu,
    logsigmoid,
    logsoftmax,
    logσ,
    param,
    relu,
    sigmoid,
    softmax,
    softplus,
    swish,
    tanh,
    σ,
)
from fluxmagic.tracker import gradcheck

X = np.array([-1e4, -800.0, -100.0, -20.0, -3.0, -1.0, -1e-3, 0.0, 1e-3, 1.0, 3.0, 20.0, 100.0, 800.0, 1e4])


def sig(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else (math.exp(x) / (1 + math.exp(x)))


def plus(x):
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


K = math.sqrt(2 / math.pi)


def gelu_slope(x):
    t = math.tanh(K * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * K * (1 + 3 * 0.044715 * x * x)


# name: function, value, slope; written out for one number
TABLE = {
    "σ": (σ, sig, lambda x: sig(x) * sig(-x)),
    "tanh": (tanh, math.tanh, lambda x: 1 - math.tanh(x) ** 2),
    "relu": (relu, lambda x: max(x, 0), lambda x: float(x > 0)),
    "leakyrelu": (leakyrelu, lambda x: x if x > 0 else 0.01 * x, lambda x: 1 if x > 0 else 0.01),
    "elu": (elu, lambda x: x if x > 0 else math.expm1(x), lambda x: 1 if x > 0 else math.exp(x)),
    "gelu": (gelu, lambda x: 0.5 * x * (1 + math.tanh(K * (x + 0.044715 * x**3))), gelu_slope),
    "swish": (swish, lambda x: x * sig(x), lambda x: sig(x) + x * sig(x) * sig(-x)),
    "softplus": (softplus, plus, sig),
    "logσ": (logσ, lambda x: -plus(-x), lambda x: sig(-x)),
    "identity": (identity, lambda x: x, lambda x: 1),
}
ROWS = pytest.mark.parametrize(("f", "value", "slope"), TABLE.values(), ids=TABLE)
DTYPES = pytest.mark.parametrize(("dtype", "rtol", "atol"), [(np.float64, 1e-9, 1e-14), (np.float32, 1e-4, 1e-6)])


@ROWS
@DTYPES
def test_values_are_accurate_up_to_1e4_and_keep_the_dtype(f, value, slope, dtype, rtol, atol):
    expected = [value(float(x)) for x in X]
    for x in (X.astype(dtype), param(X.astype(dtype))):
        y = f(x)
        assert y.dtype == dtype
        np.testing.assert_allclose(getattr(y, "data", y), expected, rtol, atol)
    np.testing.assert_allclose(f(X.astype(dtype)), f(param(X.astype(dtype))).data, rtol=0, atol=0)


@ROWS
@DTYPES
def test_gradients_are_accurate_up_to_1e4_and_keep_the_dtype(f, value, slope, dtype, rtol, atol):
    x = param(X.astype(dtype))
    back(f(x).sum())
    assert x.grad.dtype == dtype
    np.testing.assert_allclose(x.grad, [slope(float(v)) for v in X], rtol, atol)


@ROWS
@DTYPES
def test_second_order_is_finite_up_to_1e4_and_keeps_the_dtype(f, value, slope, dtype, rtol, atol):
    second = gradient(lambda x: gradient(lambda x: f(x).sum(), x)[0].sum(), X.astype(dtype))[0]
    assert second.dtype == dtype
    h = 1e-4
    expected = [0 if abs(v) < h else (slope(v + h) - slope(v - h)) / (2 * h) for v in X]
    away = np.abs(X) > 0.5
    np.testing.assert_allclose(second[away], np.array(expected)[away], rtol=max(rtol, 1e-5), atol=max(atol, 1e-6))
    assert np.isfinite(second).all()


@settings(deadline=None, max_examples=10)
@given(x=hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=3), elements=st.floats(0.1, 3)))
@pytest.mark.parametrize("f", [row[0] for row in TABLE.values()], ids=TABLE)
@pytest.mark.parametrize("sign", [1, -1])
def test_gradients_of_first_and_second_order_agree_with_differences(f, sign, x):
    assert gradcheck(lambda x: np.sin(f(x)).sum(), sign * x)
    assert gradcheck(lambda x: np.sin(gradient(lambda x: np.sin(f(x)).sum(), x)[0]).sum(), sign * x)


@pytest.mark.parametrize("f", [row[0] for row in TABLE.values()], ids=TABLE)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3)])
def test_scalars_and_empty_arrays_keep_their_shape(f, shape):
    x = param(np.full(shape, 0.5))
    y = f(x)
    assert y.shape == shape
    back(y, np.ones(shape))
    assert x.grad.shape == shape


def test_greek_and_ascii_names_are_the_same():
    assert sigmoid is σ
    assert logsigmoid is logσ


def test_relu_takes_views():
    x = np.linspace(-1, 1, 1000).reshape(10, -1)
    np.testing.assert_array_equal(relu(x[:, 1:]), x[:, 1:] * (x[:, 1:] > 0))
    np.testing.assert_array_equal(relu(x.T), x.T * (x.T > 0))


def test_relu_at_zero_has_gradient_zero():
    x = param([0.0, -0.0])
    back(relu(x).sum())
    assert x.grad.tolist() == [0, 0]


def test_slopes_can_be_chosen():
    assert leakyrelu(np.array(-2.0), 0.5) == -1.0
    assert elu(np.array(-1e9), α=3.0) == -3.0
    x = param(-2.0)
    back(leakyrelu(x, a=0.5))
    assert x.grad == 0.5
    x.grad[...] = 0
    back(elu(x, α=3.0))
    assert x.grad == pytest.approx(3 * math.exp(-2))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, bool])
@pytest.mark.parametrize("f", [row[0] for k, row in TABLE.items() if k != "tanh"] + [softmax, logsoftmax])
def test_integers_do_not_wrap_around(f, dtype):
    x = np.array([[0, 1, 100], [127, 3, 20]]).astype(dtype)
    np.testing.assert_allclose(f(x).astype(float), f(x.astype(float)), rtol=1e-12)


def test_nan_stays_nan():
    for f, _, _ in TABLE.values():
        with np.errstate(invalid="ignore"):
            assert np.isnan(f(np.array(np.nan)))


# -- softmax -------------------------------------------------------------------------------------------


@DTYPES
def test_softmax_is_over_the_last_axis_and_accurate_up_to_1e4(dtype, rtol, atol):
    x = np.array([[[1.0, 2.0, 3.0], [1e4, 0.0, -1e4]], [[-1e4, -1e4, -1e4], [1e4, 1e4, 0.0]]], dtype)
    e = np.exp(x[0, 0] - 3)
    expected = np.array([[e / e.sum(), [1, 0, 0]], [[1 / 3] * 3, [0.5, 0.5, 0]]])
    for f in (softmax, lambda x: np.exp(logsoftmax(x))):
        for y in (f(x), f(param(x)).data):
            assert y.dtype == dtype
            np.testing.assert_allclose(y, expected, rtol, atol)
    assert logsoftmax(x)[0, 1].tolist() == [0, -1e4, -2e4]
    back(np.sum(logsoftmax(p := param(x))[..., 0]))
    assert np.isfinite(p.grad).all()


@settings(deadline=None, max_examples=15)
@given(x=hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=3), elements=st.floats(-3, 3)), data=st.data())
@pytest.mark.parametrize("f", [softmax, logsoftmax])
def test_softmax_gradients_agree_with_differences_along_any_axis(f, x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    assert gradcheck(lambda x: np.sin(f(x, axis=axis) * 3).sum(), x)
    assert gradcheck(lambda x: np.sin(gradient(lambda x: np.sin(f(x, axis=axis) * 3).sum(), x)[0]).sum(), x)
    np.testing.assert_allclose(softmax(x, axis=axis).sum(axis=axis), 1)

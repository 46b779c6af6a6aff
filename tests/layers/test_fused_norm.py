"""The fused operation of LayerNorm and BatchNorm against the formula, its gradients, and numbers at the limits."""

import numpy as np
import pytest

from fluxmagic import BatchNorm, LayerNorm, back, gelu, gradient, param, params, relu, tanh, σ
from fluxmagic.layers.fused_norm import normalize
from fluxmagic.tracker import gradcheck
from fluxmagic.tracker.operation import Op

RNG = np.random.default_rng(0)
LAYERS = pytest.mark.parametrize("make", [LayerNorm, BatchNorm])


def composed(x, γ, β, ϵ, axis):
    """Give the formula, of operations that are checked by themselves."""
    axes = -1 if axis else tuple(range(x.ndim - 1))
    centered = x - np.mean(x, axis=axes, keepdims=True)
    return centered / np.sqrt(np.mean(np.square(centered), axis=axes, keepdims=True) + ϵ) * γ + β


def fused(x, γ, β, ϵ, axis, activation=None):
    return normalize(x, γ, β, ϵ, axis, activation)[0]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3), (7, 1)])
def test_values_and_gradients_are_those_of_the_formula(shape, axis):
    x, γ, β, Δ = (RNG.normal(size=s) for s in (shape, shape[-1:], shape[-1:], shape))
    np.testing.assert_allclose(fused(x, γ, β, 1e-3, axis), composed(x, γ, β, 1e-3, axis), atol=1e-12)
    ours, theirs = (
        gradient(lambda x, γ, β, f=f: (f(x, γ, β, 1e-3, axis) * Δ).sum(), x, γ, β) for f in (fused, composed)
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-11)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("activation", [None, tanh, σ])
def test_gradients_agree_with_differences_to_second_order(activation, axis):
    x, γ, β, Δ = RNG.normal(size=(4, 3)), RNG.normal(size=3), RNG.normal(size=3), RNG.normal(size=(4, 3))

    def f(x, γ, β, Δ):
        return (np.sin(fused(x, γ, β, 1e-3, axis, activation)) * Δ).sum()

    assert gradcheck(f, x, γ, β, Δ)
    for i in range(4):
        assert gradcheck(lambda *args, i=i: np.sin(gradient(f, *args)[i]).sum(), x, γ, β, Δ)


@pytest.mark.parametrize("activation", [relu, tanh, σ, gelu, np.tanh, lambda y: y * 2])
def test_an_activation_of_batchnorm_is_that_of_its_output(activation):
    x = RNG.normal(size=(5, 3))
    inside, outside = BatchNorm(3, activation, dtype=np.float64), BatchNorm(3, dtype=np.float64)
    y, expected = inside(x), activation(outside(x))
    np.testing.assert_allclose(y.data, expected.data)
    back(np.sin(y).sum())
    back(np.sin(expected).sum())
    for a, b in zip(params(inside), params(outside), strict=True):
        np.testing.assert_allclose(a.grad, b.grad, atol=1e-12)
    fuses = isinstance(activation, Op) or activation is np.tanh
    assert (y.op.name == "normalize") == fuses


@LAYERS
@pytest.mark.parametrize(("dtype", "largest"), [(np.float32, 3e38), (np.float64, 1e308)])
def test_numbers_whose_squares_or_sums_overflow_are_normalised(make, dtype, largest):
    x = RNG.random((6, 4))
    expected = (x - (x.mean(1, keepdims=True) if make is LayerNorm else x.mean(0))) / (
        x.std(1, keepdims=True) if make is LayerNorm else x.std(0)
    )
    for size in (largest, largest**0.6):
        layer = make(4, dtype=dtype)
        W = param((x * size).astype(dtype))
        y = layer(W)
        np.testing.assert_allclose(y.data, expected, rtol=1e-4, atol=1e-5)
        back((y * y.data).sum())
        assert np.isfinite(W.grad).all()
        np.testing.assert_allclose(layer.γ.grad, (expected * expected).sum(0), rtol=1e-3)


@LAYERS
def test_large_and_small_numbers_go_together(make):
    layer, x = make(4), RNG.random((4, 4))
    scale = np.array([1, 1e25, 1e-3, 1]).astype(np.float32)
    wide = (x * (scale[:, None] if make is LayerNorm else scale)).astype(np.float32)
    at = np.s_[[0, 3]] if make is LayerNorm else np.s_[:, [0, 3]]
    np.testing.assert_allclose(layer(wide).data[at], make(4)(x).data[at], atol=1e-6)
    assert abs(layer(wide).data[np.s_[1] if make is LayerNorm else np.s_[:, 1]]).max() > 0.9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layernorm_of_no_rows_has_gradients_of_zero(dtype):
    layer, W = LayerNorm(3, dtype=dtype), param(np.zeros((0, 3), dtype))
    back(layer(W).sum())
    assert W.grad.shape == (0, 3)
    assert (layer.γ.grad == 0).all()
    assert layer.β.grad.dtype == dtype


@LAYERS
def test_a_number_that_is_not_finite_makes_its_own_row_or_feature_nan(make):
    x = RNG.random((4, 4)).astype(np.float32)
    x[1, 2] = np.inf
    nan = np.isnan(make(4)(x).data)
    assert nan[1].all() if make is LayerNorm else nan[:, 2].all()
    assert nan.sum() == 4


@LAYERS
def test_frozen_parameters_pass_the_gradient_of_the_input(make):
    layer, W = make(3, dtype=np.float64), param(RNG.normal(size=(4, 3)))
    Δ = RNG.normal(size=(4, 3))
    back((layer(W) * Δ).sum())
    expected = W.grad.copy()
    W.zero_grad()
    layer.γ, layer.β = layer.γ.data, layer.β.data
    back((layer(W) * Δ).sum())
    np.testing.assert_array_equal(W.grad, expected)
    assert type(layer(RNG.normal(size=(4, 3)))) is np.ndarray

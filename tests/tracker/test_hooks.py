"""Hooks, checkpoints, and gradient rules of a user."""

from __future__ import annotations

import numpy as np
import pytest

import fluxmagic
from fluxmagic import Dense, back, generators, gradient, param
from fluxmagic.tracker import (
    checkpoint,
    custom_gradient,
    gradcheck,
    hessian,
    hook,
    update,
)

# -- hooks


def test_a_hook_is_the_identity_forward_and_its_function_backward():
    W = param([1.0, 2.0])
    seen = []
    y = hook(lambda Δ: seen.append(Δ.copy()) or -2 * Δ, W * 3)
    assert y.data.tolist() == [3, 6]
    assert seen == []
    back((y * y).sum())
    assert np.array_equal(seen, [[6, 12]])
    assert W.grad.tolist() == [-36, -72]


def test_a_hook_sees_the_whole_gradient_once():
    W = param(1.0)
    seen = []
    x = hook(lambda Δ: seen.append(float(Δ)) or Δ, W * 1)
    back(x + x * 2 + x * x)
    assert seen == [5]


def test_a_hook_on_what_is_not_tracked_does_nothing():
    x = np.ones(2)
    assert hook(None, x) is x


def test_hooks_nest():
    # a hook acts on every gradient that passes: on the inner one, and on the outer one through it
    assert gradient(lambda x: gradient(lambda x: hook(lambda Δ: 2 * Δ, x) ** 3, x)[0], 1.0)[0] == 24


def test_a_hook_may_write_into_its_gradient():
    W, V = param([1.0, 2.0]), param([1.0, 2.0])

    def clipped(Δ):
        Δ[...] = 0
        return Δ

    back((hook(clipped, W) + V).sum())
    assert W.grad.tolist() == [0, 0]
    assert V.grad.tolist() == [1, 1]


# -- checkpoints


def test_a_checkpoint_gives_the_same_gradients():
    W, b = param([[1.0, 2.0], [3.0, 4.0]]), param([0.5, -1.0])
    x = param([0.1, 0.2])

    def block(x):
        return np.tanh(W @ x + b)

    back(block(block(x)).sum())
    expected = [p.grad.copy() for p in (W, b, x)]
    for p in (W, b, x):
        update(p, 0)
    y = checkpoint(block, checkpoint(block, x))
    back(y.sum())
    assert all(np.allclose(p.grad, e, rtol=1e-14) for p, e in zip((W, b, x), expected, strict=True))
    back(y.sum())
    assert all(np.allclose(p.grad, 2 * e, rtol=1e-14) for p, e in zip((W, b, x), expected, strict=True))


def test_a_checkpoint_forgets_what_is_inside_and_computes_it_again():
    calls = []
    W = param(np.ones(3))

    def f(x):
        calls.append(1)
        return np.exp(np.sin(np.exp(x * W)))

    y = checkpoint(f, 2.0)
    assert len(calls) == 1
    assert y.parents == (W,)
    back(y.sum())
    assert len(calls) == 2
    assert gradcheck(lambda W: np.sum(np.exp(np.sin(np.exp(2.0 * W)))), W.data)
    assert np.allclose(W.grad, gradient(lambda W: np.sum(np.exp(np.sin(np.exp(2.0 * W)))), W.data)[0])


def test_a_checkpoint_draws_the_same_random_numbers_again():
    W = param(np.ones(50))
    rng = np.random.default_rng(0)

    def dropped(x):
        return x * (generators.note_draw(rng).random(50) < 0.5)

    y = checkpoint(lambda W: dropped(W) * 3, W)
    kept = y.data != 0
    after = rng.bit_generator.state
    back(y.sum())
    assert np.array_equal(W.grad != 0, kept)
    assert 5 < kept.sum() < 45
    assert rng.bit_generator.state == after


def test_checkpoints_nest_within_gradients_and_each_other():
    def inner(x):
        return np.sin(x) * x

    f = lambda x: np.sum(checkpoint(lambda x: checkpoint(inner, x) ** 2, x))
    g = lambda x: np.sum(inner(x) ** 2)
    x = [0.5, 1.5]
    assert np.allclose(gradient(f, x)[0], gradient(g, x)[0])
    assert np.allclose(hessian(f, x), hessian(g, x))


def test_a_checkpoint_of_constants_is_plain():
    assert checkpoint(lambda x: x * 2, 3.0) == 6
    W = param(1.0)
    assert checkpoint(lambda: W) is W


def test_a_checkpoint_of_a_layer():
    layer = Dense(3, 2, fluxmagic.σ)
    x = np.ones((4, 3), np.float32)
    back(checkpoint(layer, x).sum())
    W = layer.W.grad.copy()
    update(layer.W, 0)
    back(layer(x).sum())
    assert np.array_equal(layer.W.grad, W)


# -- a user's rules


@custom_gradient
def cube(x, scale=1):
    """A docstring."""
    return scale * x**3, lambda Δ: (Δ * scale * 3 * x**2,)


def test_a_rule_of_ones_own_is_used():
    @custom_gradient
    def pretend(a, b):
        return a * b, lambda Δ: (Δ * 10, None)

    W, V = param([1.0, 2.0]), param([3.0, 4.0])
    y = pretend(W, V)
    assert y.data.tolist() == [3, 8]
    back(y.sum())
    assert W.grad.tolist() == [10, 10]
    assert V.grad.tolist() == [0, 0]
    assert pretend(2.0, 3.0) == 6
    assert cube.__doc__ == "A docstring."
    assert cube.__name__ == "cube"
    assert "cube" in repr(cube(W))


def test_a_rule_of_ones_own_gets_plain_arrays_at_the_outermost_level():
    kinds = []

    @custom_gradient
    def f(x, y):
        kinds.append((type(x), type(y)))
        return x * y, lambda Δ: (Δ * y, Δ * x)

    f(param([1.0]), 2.0)
    gradient(lambda x: f(x, np.ones(1))[0], [1.0])
    assert kinds == [(np.ndarray, float), (np.ndarray, np.ndarray)]


def test_a_rule_of_ones_own_nests_and_takes_keywords():
    assert gradcheck(lambda x: np.sum(np.sin(cube(x, scale=2))), [0.5, 1.0])
    assert gradient(lambda x: gradient(cube, x)[0], 2.0)[0] == 12
    assert hessian(lambda x: np.sum(cube(x)), [1.0, 2.0]).tolist() == [[6, 0], [0, 12]]


@pytest.mark.parametrize(
    ("pullback", "error", "text"),
    [
        (lambda Δ: (Δ, Δ), ValueError, "wrong: the pullback returned 2 gradients for 1"),
        (lambda Δ: (np.ones(3),), ValueError, r"wrong: the gradient of argument 0 has shape \(3,\).*\(2,\)"),
        (lambda Δ: (1.0,), ValueError, r"wrong.*\(\).*\(2,\)"),
    ],
)
def test_a_pullback_of_wrong_count_or_shape_is_named(pullback, error, text):
    @custom_gradient
    def wrong(x):
        return x * 2, pullback

    with pytest.raises(error, match=text):
        back(wrong(param([1.0, 2.0])).sum())


def test_a_function_that_returns_no_pullback_is_named():
    @custom_gradient
    def wrong(x):
        return x * 2

    with pytest.raises(TypeError, match=r"wrong.*\(value, pullback\)"):
        wrong(param([1.0, 2.0]))


def test_a_rule_that_closes_over_a_tracked_array_is_refused():
    W = param([1.0, 2.0])

    @custom_gradient
    def closing(x):
        return x * W, lambda Δ: (Δ * W,)

    with pytest.raises(TypeError, match=r"closing.*argument"):
        closing(param([1.0, 2.0]))

"""Nested gradients, pullbacks, Jacobians and Hessians."""

from __future__ import annotations

import numpy as np
import pytest

from fluxmagic import SGD, back, gradient, param, train
from fluxmagic.tracker import (
    Tracked,
    forward,
    gradcheck,
    hessian,
    istracked,
    jacobian,
)

# -- nesting


def test_gradients_nest_to_any_order():
    def derivative(f):
        return lambda x: gradient(f, x)[0]

    f = lambda x: x**5
    for expected in (5 * 16.0, 20 * 8.0, 60 * 4.0, 120 * 2.0, 120.0, 0.0):
        f = derivative(f)
        y = f(2.0)
        assert type(y) is np.ndarray
        assert y == expected
    g = np.sin
    for _ in range(4):
        g = derivative(g)
    assert np.isclose(g(0.7), np.sin(0.7))


def test_perturbations_are_not_confused():
    # d/dx [x · d/dy (x + y)] = 1, not 2: the inner derivative does not depend on x
    assert gradient(lambda x: x * gradient(lambda y: x + y, 1.0)[0], 1.0)[0] == 1
    # d/dx [x · d/dy (x y)] = 2x
    assert gradient(lambda x: x * gradient(lambda y: x * y, 2.0)[0], 3.0)[0] == 6
    # d/dx d/dy x² y³ = 6 x y²
    assert gradient(lambda x: gradient(lambda y: x**2 * y**3, 2.0)[0], 3.0)[0] == 2 * 3 * 3 * 4
    # the same variable on both levels: d/dx [d/dy (x y + y²) at y = x] = d/dx (x + 2x)
    assert gradient(lambda x: gradient(lambda y: x * y + y * y, x)[0], 5.0)[0] == 3
    # what does not depend on the inner variable has the inner gradient 0
    assert gradient(lambda x: x + gradient(lambda y: x * x, 1.0)[0], 3.0)[0] == 1


def test_a_value_of_an_outer_gradient_is_a_constant_inside():
    def f(x):
        z = np.exp(x)
        inner = gradient(lambda y: y * z, 1.0)[0]
        return inner * x

    assert np.isclose(gradient(f, 1.0)[0], 2 * np.e)


def test_gradients_inside_are_tracked_outside_plain():
    seen = []

    def f(x):
        (δ,) = gradient(lambda y: np.sum(y**3), x)
        seen.append(istracked(δ))
        return np.sum(δ**2)

    assert type(gradient(f, [1.0, 2.0])[0]) is np.ndarray
    assert seen == [True]
    assert type(gradient(np.sum, [1.0])[0]) is np.ndarray


def test_parameters_within_gradient():
    W = param([2.0, 3.0])
    (δ,) = gradient(lambda x: np.sum(W * x * x), [1.0, 2.0])
    assert istracked(δ)  # it depends on W
    assert δ.tolist() == [4, 12]
    assert not W.grad.any()  # gradient() leaves parameters alone
    (δ,) = gradient(lambda W: np.sum(W**2), W)
    assert δ.tolist() == [4, 6]
    assert not W.grad.any()
    assert type(gradient(lambda x: np.sum(W.data * x * x), [1.0, 2.0])[0]) is np.ndarray


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda W: W + gradient(lambda w: w**3, W)[0], 13),
        (lambda W: W + gradient(lambda w: w**3, W * 1)[0], 13),
        (lambda W: W + gradient(lambda x: W * W * x**3, 1.0)[0], 13),  # by a closure
        (lambda W: W + hessian(lambda w: w**4 / 4, W), 1 + 6 * 2),
        (lambda W: W + forward(lambda w: w**3, W)[1](1.0)[0], 13),
        (lambda W: W + forward(lambda x: W**3 * x, 1.0)[0], 13),
    ],
)
def test_a_loss_that_holds_a_gradient_has_one_gradient(loss, expected):
    W = param(2.0)
    back(loss(W))
    assert W.grad == expected
    W = param(2.0)
    train(lambda: loss(W), [()], SGD([W], 1.0))
    assert W.data == 2 - expected
    assert gradient(loss, 2.0)[0] == expected


def test_back_of_a_loss_that_holds_a_gradient():
    W = param([2.0, 3.0])

    def penalty(x):
        y, pullback = forward(lambda x: np.sum(W * x**2), x)
        return y, pullback

    y, pullback = penalty(param([1.0, 2.0]) * 1)
    assert istracked(y)
    (δ,) = pullback(1.0)
    back(np.sum(δ**2))  # δ = 2 W x, Σδ² = Σ 4 W² x²
    assert W.grad.tolist() == [8 * 2 * 1, 8 * 3 * 4]


def test_gradient_of_a_tracked_value_keeps_the_graph():
    W = param(3.0)
    (δ,) = gradient(lambda x: x**3, W * 1)
    assert isinstance(δ, Tracked)
    back(δ)
    assert W.grad == 18


def test_jacobian_and_hessian():
    x = np.array([1.0, 2.0, 3.0])
    A = np.arange(6.0).reshape(2, 3)
    J = jacobian(lambda x: A @ x, x)
    assert J.tolist() == A.tolist()
    assert jacobian(lambda x: np.outer(x, x), x).shape == (3, 3, 3)
    assert jacobian(np.sum, x).tolist() == [1, 1, 1]
    assert jacobian(lambda x: x * 2, np.float32(1)).dtype == np.float32
    assert jacobian(lambda x: x[:0], x).shape == (0, 3)
    assert jacobian(lambda x: np.ones(2), x).tolist() == [[0, 0, 0]] * 2
    H = hessian(lambda x: x @ np.diag([1.0, 2, 3]) @ x + x[0] * x[2], x)
    assert np.allclose(H, [[2, 0, 1], [0, 4, 0], [1, 0, 6]])
    assert hessian(lambda X: np.sum(X**3), np.ones((2, 2))).shape == (2, 2, 2, 2)
    assert np.allclose(hessian(np.sum, x), np.zeros((3, 3)))


def test_jacobian_of_a_jacobian():
    J = jacobian(lambda x: jacobian(lambda x: x**3, x), [1.0, 2.0])
    assert J.shape == (2, 2, 2)
    assert J[0, 0, 0] == 6
    assert J[1, 1, 1] == 12
    assert np.count_nonzero(J) == 2


def test_forward_can_be_pulled_back_many_times():
    y, pullback = forward(lambda a, b: a * b, [1.0, 2.0], [3.0, 4.0])
    assert type(y) is np.ndarray
    assert y.tolist() == [3, 8]
    for _ in range(2):
        a, b = pullback([1.0, 10.0])
        assert a.tolist() == [3, 40]
        assert b.tolist() == [1, 20]


def test_forward_gives_an_array_of_its_own():
    for f in (np.exp, lambda x: x, lambda x: np.reshape(np.exp(x), (1,))[0]):
        x = np.zeros(()) if f is not np.exp else np.zeros(1)
        y, pullback = forward(f, x)
        y += 1
        assert pullback(np.ones(np.shape(y)))[0] == 1
        assert not x.any()


def test_a_pullback_is_differentiable_with_respect_to_its_gradient():
    _, pullback = forward(np.square, [1.0, 3.0])
    assert gradient(lambda d: pullback(d)[0].sum(), [1.0, 1.0])[0].tolist() == [2, 6]
    assert jacobian(lambda d: pullback(d)[0], [1.0, 1.0]).tolist() == [[2, 0], [0, 6]]
    _, pullback = forward(lambda a, b: np.matmul(a, b), np.eye(2), [1.0, 2.0])
    assert gradcheck(lambda d: sum(np.sum(np.sin(δ)) for δ in pullback(d)), [0.3, 0.5])
    # from within: the value that it is taken at, and the gradient that it is given
    f = lambda x: forward(lambda y: y**3, x)[1](x)[0]  # 3x²·x
    assert gradient(f, 2.0)[0] == 36
    W = param([2.0, 3.0])
    back(pullback(W)[1].sum())
    assert W.grad.tolist() == [1, 1]
    assert type(pullback([1.0, 1.0])[0]) is np.ndarray

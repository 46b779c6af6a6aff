"""Reverse pass, nested gradients, hooks, checkpoints, rules of one's own."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import fluxmagic
from fluxmagic import ADAM, SGD, Dense, back, generators, gradient, param, train
from fluxmagic.tracker import (
    Tracked,
    checkpoint,
    custom_gradient,
    forward,
    grad,
    gradcheck,
    hessian,
    hook,
    istracked,
    jacobian,
    update,
)

# -- back


def test_back_accumulates_and_a_second_one_adds_the_same_once_more():
    W = param([1.0, 2.0])
    loss = np.sum(W**3)
    back(loss)
    assert W.grad.tolist() == [3, 12]
    back(loss)
    assert W.grad.tolist() == [6, 24]
    back(W.sum())
    assert W.grad.tolist() == [7, 25]
    assert float(loss) == 9


def test_back_with_a_given_gradient():
    W = param(np.eye(2, dtype=np.float32))
    back(W @ [1.0, 2.0], [3, 4])
    assert W.grad.tolist() == [[3, 6], [4, 8]]
    assert W.grad.dtype == np.float32


def test_back_of_a_parameter_itself():
    W = param(2.0)
    back(W)
    back(W, 3)
    assert W.grad == 4


def test_a_parameter_used_many_times_gets_the_sum():
    W = param([[1.0, 2.0], [3.0, 4.0]])
    back(np.sum(W @ W + W * W.T - W[0] + W.sum() / W.size))
    expected = gradient(lambda W: np.sum(W @ W + W * W.T - W[0] + W.sum() / W.size), W.data)[0]
    assert np.allclose(W.grad, expected)
    assert gradcheck(lambda W: np.sum(W @ W + W * W.T - W[0] + W.sum() / W.size), W.data)


def test_matrix_product_of_a_parameter_with_itself():
    W = param(np.array([[1.0, 2.0], [3.0, 4.0]]))
    x = np.array([[1.0, -1.0], [0.5, 2.0]])
    back((W @ W).sum())
    assert np.allclose(W.grad, np.ones((2, 2)) @ W.data.T + W.data.T @ np.ones((2, 2)))
    update(W, 0)
    back((x @ W).sum() + (x @ W).sum())
    assert np.allclose(W.grad, 2 * x.T @ np.ones((2, 2)))


def test_gradients_of_parameters_do_not_share_memory():
    a, b = param([1.0, 2.0]), param([1.0, 2.0])
    Δ = np.ones(2)
    back(a + b, Δ)
    a.grad[0] = 5
    assert b.grad.tolist() == [1, 1]
    assert Δ.tolist() == [1, 1]


def test_gradient_hands_out_arrays_of_its_own():
    x = np.array([1.0, 2.0])
    a, b = gradient(lambda a, b: np.sum(a + b), x, x)
    assert not np.shares_memory(a, b)
    a[0] = 9
    assert b[0] == 1
    assert gradient(lambda x: x.T.reshape(4).sum(), np.ones((2, 2)))[0].flags.writeable


def test_an_unused_argument_has_gradient_zero():
    a, b = gradient(lambda a, b: a * 2, 3.0, np.ones((2, 1), np.float32))
    assert a == 2
    assert b.tolist() == [[0], [0]]
    assert b.dtype == np.float32
    assert gradient(lambda x: 5.0, [1.0, 2.0])[0].tolist() == [0, 0]


def test_ties_share_the_gradient_equally():
    x = [1.0, 3.0, 3.0]
    assert gradient(np.max, x)[0].tolist() == [0, 0.5, 0.5]
    assert gradient(lambda x: np.min(-x), x)[0].tolist() == [0, -0.5, -0.5]
    assert gradient(lambda x: np.sum(np.maximum(x, 3.0)), x)[0].tolist() == [0, 0.5, 0.5]
    assert gradient(lambda a, b: np.minimum(a, b), 1.0, 1.0) == (0.5, 0.5)
    assert gradient(lambda x: np.sum(np.max([[2.0, 2.0], [1.0, 3.0]] * x, axis=1)), 1.0)[0] == 5
    assert gradient(lambda x: np.sum(fluxmagic.relu(x)), [-1.0, 0.0, 2.0])[0].tolist() == [0, 0, 1]
    assert gradient(lambda x: np.ptp(x), [1.0, 1.0, 2.0])[0].tolist() == [-0.5, -0.5, 1]
    assert gradient(lambda x: np.linalg.norm(x, np.inf), [-3.0, 3.0, 1.0])[0].tolist() == [-0.5, 0.5, 0]


def test_kinks_have_the_gradients_that_the_docs_name():
    assert gradient(np.abs, 0.0)[0] == 0
    assert gradient(lambda x: np.clip(x, -1, 1).sum(), [-2.0, -1.0, 0.5, 1.0, 2.0])[0].tolist() == [0, 1, 1, 1, 0]
    assert gradient(np.linalg.norm, [0.0, 0.0])[0].tolist() == [0, 0]
    assert gradient(np.std, [2.0, 2.0])[0].tolist() == [0, 0]
    assert gradient(lambda a, b: np.hypot(a, b), 0.0, 0.0) == (0, 0)
    assert gradient(lambda a, b: np.arctan2(a, b), 0.0, 0.0) == (0, 0)


def test_gradient_through_nan_comes_from_where_nan_came():
    x = [1.0, np.nan, 3.0]
    assert gradient(np.max, x)[0].tolist() == [0, 1, 0]
    assert gradient(lambda x: np.sum(np.maximum(x, 0.0)), x)[0].tolist() == [1, 1, 1]
    assert gradient(np.median, x)[0].tolist() == [0, 1, 0]
    assert gradient(lambda x: np.sum(np.sort(x) * [1, 2, 3]), [3.0, np.nan, 1.0])[0].tolist() == [2, 3, 1]
    assert gradient(lambda x: np.sum(np.fmax(x, 0.0)), x)[0].tolist() == [1, 0, 1]
    assert gradient(np.nanmax, x)[0].tolist() == [0, 0, 1]
    assert gradient(lambda x: np.sum(np.nan_to_num(x)), x)[0].tolist() == [1, 0, 1]


def test_repeated_values_are_sorted_with_one_gradient_each():
    x = [2.0, 1.0, 2.0, 1.0]
    δ = gradient(lambda x: np.sum(np.sort(x) * [1.0, 2.0, 3.0, 4.0]), x)[0]
    assert sorted(δ) == [1, 2, 3, 4]
    assert {δ[1], δ[3]} == {1, 2}
    assert sorted(gradient(lambda x: np.sum(np.partition(x, 1) * [1.0, 2.0, 3.0, 4.0]), x)[0]) == [1, 2, 3, 4]


def test_powers_at_zero():
    assert gradient(lambda x: x**2, 0.0)[0] == 0
    assert gradient(lambda x: x**1, 0.0)[0] == 1
    assert gradient(lambda x: x**0, 0.0)[0] == 0
    assert gradient(lambda x: np.sum(x ** np.array([0, 1, 2, 3])), 0.0)[0] == 1
    assert gradient(lambda n: 0.0**n, 2.0)[0] == 0
    assert gradient(lambda a, n: a**n, 0.0, 2.0) == (0, 0)
    assert hessian(lambda x: np.sum(x ** np.array([1.0, 2.0, 3.0])), 0.0) == 2
    with np.errstate(divide="ignore"):
        assert gradient(lambda n: np.power(np.zeros(1), n)[0], -1.0)[0] == -np.inf


def test_shares_of_large_exponentials_keep_their_digits():
    for f in (np.logaddexp, np.logaddexp2):
        assert gradient(f, 1e17, 1e17) == (0.5, 0.5)
        assert gradient(f, np.inf, np.inf) == (0.5, 0.5)
        assert gradient(f, -np.inf, -np.inf) == (0.5, 0.5)
        assert gradient(f, np.inf, 0.0) == (1, 0)
        assert gradient(f, -1000.0, 1000.0)[1] == 1
    assert gradient(fluxmagic.tracker.logsumexp, [1e17, 1e17, 0.0])[0].tolist() == [0.5, 0.5, 0]
    assert gradient(fluxmagic.tracker.logsumexp, np.array([1e4, 1e4], np.float32))[0].tolist() == [0.5, 0.5]


def test_entropy_of_nothing_has_the_logarithm_as_its_gradient():
    special = pytest.importorskip("scipy.special")
    assert gradient(special.xlogy, 0.0, 2.0) == (np.log(2.0), 0)
    assert gradient(special.xlog1py, 0.0, 2.0) == (np.log(3.0), 0)
    assert gradient(lambda x: special.xlogy(x, np.zeros(1)).sum(), 0.0)[0] == 0
    assert gradient(lambda x: special.xlog1py(x, -np.ones(1)).sum(), 0.0)[0] == 0


def test_determinants_of_singular_matrices():
    x = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 1.0]])
    assert np.linalg.det(x) == 0
    assert gradcheck(np.linalg.det, x)
    assert gradcheck(lambda x: np.sum(gradient(np.linalg.det, x)[0] ** 2), x)
    assert gradcheck(np.linalg.det, np.zeros((2, 2)))
    assert gradient(np.linalg.det, np.zeros((1, 1)))[0].tolist() == [[1]]


def test_equal_and_zero_eigenvalues_and_singular_values():
    w = np.array([1.0, 2.0, 3.0])
    assert np.allclose(gradient(lambda x: np.sum(np.linalg.eigh(x)[0]), np.eye(3))[0], np.eye(3))
    assert np.allclose(gradient(lambda x: np.sum(np.linalg.eigvalsh(x) * w), np.diag(w))[0], np.diag(w))
    assert np.allclose(gradient(lambda x: np.sum(np.linalg.svd(x, False)[1]), np.eye(3, 2))[0], np.eye(3, 2))
    low = np.outer(w, [1.0, 1.0])
    (δ,) = gradient(lambda x: np.linalg.svd(x, full_matrices=False).S[0], low)
    assert np.allclose(δ, np.outer(w, [1, 1]) / np.linalg.norm(low))
    with pytest.warns(RuntimeWarning, match="divide|invalid"):  # the vectors of equal values are not determined
        gradient(lambda x: np.linalg.eigh(x)[1][0, 1], np.eye(3))


def test_infinite_sums_of_exponentials():
    inf = np.inf
    assert gradient(lambda a, b: np.logaddexp(a, b), -inf, 0.0) == (0, 1)
    assert gradient(lambda a, b: np.logaddexp(a, b), inf, 0.0) == (1, 0)
    assert gradient(fluxmagic.tracker.logsumexp, [-inf, 0.0, 0.0])[0].tolist() == [0, 0.5, 0.5]
    assert gradient(fluxmagic.tracker.logsumexp, [1e4, -1e4])[0].tolist() == [1, 0]


def test_empty_arrays_have_empty_gradients():
    for f in (np.sum, np.prod, lambda x: np.sum(np.sort(x)), lambda x: np.sum(x @ x.T), lambda x: np.sum(x[:0])):
        assert gradient(f, np.zeros((0, 3)))[0].shape == (0, 3)
    with pytest.raises(ValueError, match=r"max.*zero-size"):
        np.max(param(np.zeros(0)))


def test_reshape_and_ravel_in_the_order_of_memory():
    weights = np.arange(6.0)
    for x in (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3))):
        for f in (lambda x: x.reshape(6, order="A"), lambda x: x.ravel("A"), lambda x: np.ravel(x, order="F")):
            assert np.array_equal(forward(f, x)[0], f(x))
            (δ,) = gradient(lambda x, f=f: np.sum(f(x) * weights), x)
            assert np.array_equal(f(δ if x.flags.c_contiguous else np.asfortranarray(δ)), weights)


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


# -- a graph that is older than its parameters


def stale(name="W"):
    return pytest.raises(RuntimeError, match=rf"{name} of shape .* was updated after.*compute the loss again")


def test_back_after_an_update_names_the_parameter():
    W, V = param(3.0), param([1.0])
    l = W * W
    hidden = V * 2
    back(l)
    update(W, -1.0)
    with stale():
        back(l)
    assert W.grad == 0
    with stale():
        back(l * 1)  # made later, of what is stale
    back(W * W)
    assert W.grad == 4
    back(hidden.sum())
    assert V.grad == 2
    model = [V]
    l = (model[0] * 2).sum()
    V.data = [5.0]
    del V
    with stale("a parameter"):
        back(l)


@pytest.mark.parametrize("make", [lambda W: SGD([W], 0.1), lambda W: ADAM([W]), lambda W: SGD([W], 0.1, clip=1)])
def test_back_after_an_optimisers_update_is_stale(make):
    W = param([3.0, 1.0])
    opt = make(W)
    for _ in range(2):
        l = (W * W).sum()
        back(l)
        opt()
        with stale():
            back(l)
    back((W * W).sum())


def test_what_changes_no_value_makes_nothing_stale():
    W = param(3.0)
    opt = SGD([W], 0.1)
    l = W * W
    back(l)
    W.zero_grad()
    update(W, 0)
    opt.clear()
    back(l)
    assert W.grad == 6


@pytest.mark.parametrize(
    "build",
    [
        lambda W: checkpoint(lambda: W * W),
        lambda W: np.sum(cube(W)),
        lambda W: gradient(lambda x: x * W, 1.0)[0] * W,
    ],
)
def test_stale_graphs_of_all_kinds(build):
    W = param(3.0)
    l = build(W)
    update(W, 1)
    with stale():
        back(l)


def test_a_stale_pullback():
    W = param(3.0)
    _, at_W = forward(np.square, W)
    _, closing = forward(lambda x: np.exp(x * W), 1.0)
    update(W, 1)
    for pullback in (at_W, closing):
        with stale():
            pullback(1.0)


def test_integers_become_float64_in_gradients():
    (δ,) = gradient(lambda x: np.sum(x * x), [1, 2])
    assert δ.dtype == np.float64
    assert δ.tolist() == [2, 4]


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


# -- rules of one's own


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


# -- after an error


def test_after_an_error_in_a_rule_the_next_back_is_right():
    W, V = param([1.0, 2.0]), param([3.0, 4.0])
    fails = [True]

    @custom_gradient
    def f(x):
        def pullback(Δ):
            if fails:
                raise RuntimeError("inside")
            return (Δ * 2,)

        return x * 2, pullback

    loss = np.sum(f(W * V) + V * V)
    with pytest.raises(RuntimeError, match="inside"):
        back(loss)
    for p in (W, V):
        update(p, 0)
        assert not grad(p).any()
    fails.clear()
    back(loss)
    assert W.grad.tolist() == [6, 8]
    assert V.grad.tolist() == [2 + 6, 4 + 8]


def test_after_an_error_inside_gradient_the_next_one_is_plain():
    def fails(x):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        gradient(lambda x: gradient(fails, x)[0], 1.0)
    assert type(gradient(np.sum, [1.0])[0]) is np.ndarray
    assert gradient(lambda x: x * gradient(lambda y: x + y, 1.0)[0], 1.0)[0] == 1


def test_operations_of_the_table_are_pickled_and_copied_by_name():
    W = param([1.0])
    op = np.sin(W).op
    assert pickle.loads(pickle.dumps(op)) is op
    assert copy.deepcopy(op) is op
    with pytest.raises(TypeError, match="cube"):
        pickle.dumps(cube(W))


@pytest.mark.parametrize("shape", [(0,), (0, 0), (3, 0)])
def test_the_norm_of_nothing_has_the_gradient_of_nothing(shape):
    for options in ({}, {"keepdims": True}, {"axis": -1}):
        assert gradient(lambda x, o=options: np.linalg.norm(x, **o).sum(), np.ones(shape))[0].shape == shape

"""The reverse pass: gradients of parameters, graphs older than their parameters, errors."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import fluxmagic
from fluxmagic import ADAM, SGD, back, gradient, param
from fluxmagic.tracker import (
    checkpoint,
    custom_gradient,
    forward,
    grad,
    gradcheck,
    hessian,
    update,
)
from fluxmagic.tracker.reverse import unbroadcast
from tests.tracker.test_hooks import cube

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


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_gradient_is_summed_over_the_axes_that_were_broadcast(dtype, order):
    for shape in [(2, 3, 4), (3, 4), (0, 4), (3, 0), (1, 4), (70_000, 2)]:
        δ = np.asarray(np.random.default_rng(0).integers(-3, 4, shape), dtype, order)
        n = len(shape)
        smaller = {tuple(shape[i] if bits >> i & 1 else 1 for i in range(n)) for bits in range(2**n)}
        for target in smaller | {shape[i:] for i in range(1, n)}:
            axes = tuple(i for i in range(n) if i < n - len(target) or target[i - n + len(target)] != shape[i])
            δ_sum = unbroadcast(δ, target)
            assert δ_sum.dtype == dtype
            np.testing.assert_array_equal(δ_sum, np.add.reduce(δ, axis=axes).reshape(target))

"""Rules with options: where, initial, dtype, and functions that are plain in part."""

from __future__ import annotations

import numpy as np
import pytest

from fluxmagic import back, gradient, logitcrossentropy, logsoftmax, mse, param, softmax
from fluxmagic.tracker import gradcheck, hessian

INTEGERS = [np.int8, np.uint8, np.int16, np.uint64, np.bool_]

# -- options


@pytest.mark.parametrize("name", ["nansum", "nanmean", "nanprod", "nanvar", "nanstd", "nanmax", "nanmin"])
def test_where_of_reductions_that_pass_over_nan(name):
    where = np.array([True, True, False, True])
    f = getattr(np, name)
    more = {"initial": 0.1} if name in ("nanmax", "nanmin") else {}
    x = np.array([0.3, np.nan, 5.0, 0.8])
    (δ,) = gradient(lambda x: f(x, where=where, **more), x)
    (expected,) = gradient(lambda x: getattr(np, name[3:])(x, **more), x[[0, 3]])
    assert np.allclose(δ, [expected[0], 0, 0, expected[1]], rtol=1e-12)


CHOSEN = np.array([[True, False, True, True], [True, True, False, True]])
OPTIONS = {
    **{key: {"dtype": np.float64, "initial": 0.5, "where": CHOSEN} for key in ("sum", "prod", "nansum", "nanprod")},
    **{key: {"initial": 0.5, "where": CHOSEN} for key in ("max", "min", "amax", "nanmax", "nanmin")},
    **{key: {"dtype": np.float64, "where": CHOSEN} for key in ("mean", "nanmean")},
    **{key: {"dtype": np.float64, "ddof": 1, "where": CHOSEN} for key in ("var", "std", "nanvar", "nanstd")},
    **{key: {} for key in ("ptp", "median", "nanmedian", "average")},
}


@pytest.mark.parametrize("axis", [None, -1, (0, 1)])
@pytest.mark.parametrize("name", OPTIONS)
def test_reductions_take_all_their_keywords_at_once(name, axis):
    f = lambda x: getattr(np, name)(x, axis=axis, keepdims=True, **OPTIONS[name])
    x = np.random.default_rng(0).uniform(0.3, 2, (2, 4))
    assert np.array_equal(f(param(x)).data, f(x))
    assert gradcheck(lambda x: np.sum(np.sin(f(x))), x)
    if hasattr(x, name):
        back(np.sum(np.sin(getattr(W := param(x), name)(axis=axis, keepdims=True, **OPTIONS[name]))))
        assert np.allclose(W.grad, gradient(lambda x: np.sum(np.sin(f(x))), x)[0])


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sum(x, 0, None, None, True, 0.5, CHOSEN),
        lambda x: np.max(x, 0, None, True, 0.5, CHOSEN),
        lambda x: np.mean(x, 0, None, None, True),
        lambda x: np.var(x, 1, None, None, 1, True),
        lambda x: x.var(1, None, None, 1),
        lambda x: np.std(x, 1, correction=1),
        lambda x: np.ptp(x, 1, None, True),
        lambda x: np.quantile(x, 0.3, 1, None, False, "linear", True),
        lambda x: np.maximum.reduce(x, 1, None, None, True),
        lambda x: np.sort(x, 0, "stable"),
        lambda x: np.partition(x, 1, 1, "introselect"),
    ],
)
def test_options_may_be_given_by_place(f):
    x = np.random.default_rng(0).uniform(0.3, 2, (2, 4))
    assert np.array_equal(f(param(x)).data, f(x))
    assert gradcheck(lambda x: np.sum(np.sin(f(x)) * 1.5), x)


@pytest.mark.parametrize("order", ["C", "F", "A", "K"])
def test_orders_are_those_of_numpy(order):
    base = np.arange(24.0).reshape(2, 3, 4)
    weights = np.cos(np.arange(24))
    for x in (base, base.T, base.transpose(1, 2, 0), base[:, ::-1], base.transpose(1, 0, 2)[::-1]):
        W = param(base)
        for f in (lambda x: np.ravel(x, order), lambda x: x.flatten(order=order), lambda x: x.ravel(order)):
            (δ,) = gradient(lambda x, f=f: np.sum(f(x) * weights), x)
            expected = np.zeros(24)
            numbered = np.arange(24.0).reshape(x.shape)
            laid = np.empty_like(x)  # in memory as x is, but for negative strides
            laid[...] = numbered
            if order in "CF" or all(s > 0 for s in x.strides):
                places = f(laid).astype(int)
                expected[places] = weights
                assert np.array_equal(δ.ravel(), expected)
        assert np.array_equal(np.ravel(W.T, order).data, np.ravel(W.data.T, order))
    W = param(base)
    for copied in (W.copy(order), W.copy(order=order), np.copy(W, order), np.copy(W, order=order, subok=False)):
        assert np.array_equal(copied.data, base)
        back(copied.sum())
    assert (W.grad == 4).all()


# -- what is plain in part


def test_the_edges_of_a_histogram_follow_the_values():
    x = np.array([0.5, 2.9, 1.3, -1.0])
    assert gradient(lambda x: np.histogram(x, 4)[1][-1], np.arange(5.0))[0].tolist() == [0, 0, 0, 0, 1]
    edges = lambda f: lambda x: np.sum(np.sin(f(x)))
    for f in (
        lambda x: np.histogram(x, 4)[1],
        lambda x: np.histogram(x, 4, density=True)[0],
        lambda x: np.histogram(x, "sturges")[1],
        lambda x: np.histogram_bin_edges(x, 3),
        lambda x: np.histogram2d(x, x * x, 3)[1],
        lambda x: np.histogram2d(x, np.arange(4.0), [3, [0, 2, 3]], density=True)[0],
        lambda x: np.histogram(np.arange(4.0), np.sort(x))[1],
        lambda x: np.histogram(np.arange(4.0), np.sort(x), density=True)[0],
    ):
        assert np.array_equal(f(param(x)).data, f(x))
        assert gradcheck(edges(f), x)
    counts, edges = np.histogram(param(x), 4, (0, 1))
    assert type(counts) is type(edges) is np.ndarray
    assert np.histogram(param([]), 2)[1].tolist() == [0, 0.5, 1]
    assert np.histogram(param([2.0, 2.0]), 2)[1].tolist() == [1.5, 2, 2.5]
    for f in (np.histogram, np.histogram_bin_edges):
        with pytest.raises(TypeError, match="weights"):
            f(x, weights=param(x))


def test_a_step_takes_its_value_at_zero():
    x = np.array([-1.0, 0.0, 2.0, 0.0])
    (δ,) = gradient(lambda w: np.sum(np.heaviside(x, w) * [1.0, 2.0, 3.0, 4.0]), 0.5)
    assert δ == 6
    assert type(np.heaviside(param(x), 0.5)) is np.ndarray
    assert np.heaviside(param(np.float32(0)), param(np.float32(3))).dtype == np.float32


@pytest.mark.parametrize(
    ("shapes", "subscripts"),
    [
        (((2,), (1,)), "i,i"),
        (((2,), (1,)), "i,i->i"),
        (((1,), (1,)), "i,i"),
        (((1, 3), (2, 3), (2, 1)), "ij,ij,ij->j"),
        (((1, 3), (2, 1)), "...j,...j->..."),
        (((3, 3), (1,)), "ii,i->i"),
        (((1, 2), (3, 2)), "ij,ij"),
    ],
)
def test_einsum_broadcasts_axes_of_length_one(shapes, subscripts):
    rng = np.random.default_rng(0)
    xs = [rng.standard_normal(s) for s in shapes]
    f = lambda *xs: np.sum(np.sin(np.einsum(subscripts, *xs)))
    assert gradcheck(f, *xs)
    assert gradcheck(lambda *xs: sum(np.sum(np.sin(δ)) for δ in gradient(f, *xs)), *xs)


def test_einsum_of_small_integers():
    a, b = np.full((2, 2), 100, np.int8), np.full((2, 2), 100, np.int8)
    (δ,) = gradient(
        lambda x: np.einsum("ij,jk,kl->", x, a, b, optimize=["einsum_path", (1, 2), (0, 1)]), np.ones((2, 2))
    )
    assert (δ == [40_000, 40_000]).all()


def test_sparse_matrices_on_the_right_of_a_product():
    sparse = pytest.importorskip("scipy.sparse")
    dense = np.array([[1.0, 0, 2], [0, 3, 0]])
    for S in (sparse.csr_array(dense), sparse.csr_matrix(dense), sparse.coo_array(dense)):
        for x in (np.array([[1.0, 2.0]]), np.array([3.0, -1.0])):
            assert np.array_equal((param(x) @ S).data, x @ dense)
            assert gradcheck(lambda x, S=S: np.sum(np.sin(x @ S)), x)
            assert gradcheck(lambda x, S=S: np.sum(gradient(lambda x: np.sum(np.sin(x @ S)), x)[0] ** 2), x)
        for f in (lambda W, S=S: W - S, lambda W, S=S: S - W, lambda W, S=S: W * S, lambda W, S=S: np.add(W, S)):
            with pytest.raises(TypeError, match=r"W @ S alone.*S\.toarray\(\)|\.data"):
                f(param(dense))
        with pytest.raises(TypeError, match=r"\(W\.T @ S\.T\)\.T"):
            S @ param(dense.T)


# -- 0 · ∞, and sums of many


def test_a_class_that_is_ruled_out_by_its_logit():
    x, rows = np.array([[-np.inf, 0.0, 1.0], [0.0, -np.inf, 1.0]]), np.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    expected = -(np.log(1 / (1 + np.e)) + 0.5 * np.log(1 / (1 + np.e)) + 0.5 * np.log(np.e / (1 + np.e))) / 2
    assert logitcrossentropy(x, rows) == pytest.approx(expected)
    assert logitcrossentropy(x[:1], rows[:1]) == pytest.approx(1.3132616875)
    (δ,) = gradient(lambda x: logitcrossentropy(x, rows), x)
    (by_labels,) = gradient(lambda x: logitcrossentropy(x, [1]), x[:1])
    assert np.allclose(δ[0] * 2, by_labels[0])
    assert np.allclose(
        gradient(lambda x: np.sum(gradient(lambda x: logitcrossentropy(x, rows), x)[0][:, 2]), x)[0][0, 0], 0
    )
    assert logitcrossentropy(x, np.array([[1.0, 0, 0], [0, 0, 1]])) == np.inf
    many = np.tile(x, (30_000, 1))
    assert logitcrossentropy(many, np.tile(rows, (30_000, 1))) == pytest.approx(expected)


def test_softmax_of_no_classes_is_empty():
    for f in (softmax, logsoftmax):
        for shape in ((3, 0), (0, 3), (0,)):
            assert f(np.ones(shape)).shape == shape
            assert gradient(lambda x, f=f: f(x).sum(), np.ones(shape))[0].shape == shape


def test_entropies_where_nothing_is():
    special = pytest.importorskip("scipy.special")
    assert gradient(lambda x: special.xlogy(np.zeros(1), x).sum(), 0.0)[0] == 0
    assert gradient(lambda x: special.xlog1py(np.zeros(1), x).sum(), -1.0)[0] == 0
    assert gradient(lambda x: special.rel_entr(np.zeros(1), x).sum(), 0.0)[0] == 0
    assert gradient(lambda x: special.xlogy(np.full(1, 3.0), x).sum(), 2.0)[0] == 1.5
    assert hessian(lambda x: special.xlogy(x[0], x[1]), [0.0, 2.0]).tolist() == [[0, 0.5], [0.5, 0]]


def test_losses_of_many_single_numbers_keep_their_digits():
    rng = np.random.default_rng(0)
    a = rng.random(3_000_000, dtype=np.float32)
    assert mse(a, np.zeros_like(a)) == pytest.approx(np.mean(a.astype(float) ** 2), rel=3e-7)
    assert mse(a, np.zeros_like(a)).dtype == np.float32
    x, labels = rng.standard_normal((200_000, 3)).astype(np.float32), rng.integers(0, 3, 200_000)
    expected = logitcrossentropy(x.astype(float), labels)
    assert logitcrossentropy(x, labels) == pytest.approx(expected, rel=5e-7)
    assert logitcrossentropy(x, np.eye(3)[labels]) == pytest.approx(expected, rel=5e-7)
    assert mse(np.full(2, 200, np.float16), np.zeros(2, np.float16)) == 40_000
    assert mse(np.full(40, 100, np.float16), np.zeros(40, np.float16)) == 10_000

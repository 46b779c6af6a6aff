"""Rules at integers, zeros, kinks and the ends of the range, where differences say nothing."""

from __future__ import annotations

import numpy as np
import pytest

from fluxmagic import gradient, param
from fluxmagic.tracker import forward, gradcheck, hessian, logsumexp

INTEGERS = [np.int8, np.uint8, np.int16, np.uint64, np.bool_]

# -- NumPy's own integers, which wrap around


@pytest.mark.parametrize("kind", [int, *INTEGERS])
def test_a_shift_of_any_integer_type(kind):
    weights = np.arange(1.0, 6)
    for shift, axis in ((kind(1), None), (kind(1), 0), ((kind(1), kind(0)), (0, 0)), (np.array([1], kind), 0)):
        (δ,) = gradient(lambda x, s=shift, a=axis: (np.roll(x, s, a) * weights).sum(), np.ones(5))
        assert δ.tolist() == [2, 3, 4, 5, 1]
    (δ,) = gradient(lambda x: (np.rot90(x, kind(1)) * [[1.0, 2.0]]).sum(), np.ones((2, 1)))
    assert δ.tolist() == [[1], [2]]


def test_a_shift_that_is_no_integer_is_refused():
    with pytest.raises(TypeError):
        gradient(lambda x: np.roll(x, 1.5).sum(), np.ones(5))


@pytest.mark.parametrize(
    ("b", "expected"),
    [
        (np.array([-128], np.int8), -128 * 1.01**-129),
        (np.int8(-128), -128 * 1.01**-129),
        (np.array([0, 1, 2], np.uint8), 1 + 2 * 1.01),
        (np.uint8(0), 0),
        (np.array([True, False]), 1),
        (np.iinfo(np.int64).min, -0.0),
    ],
)
def test_exponents_of_any_integer_type(b, expected):
    for power in (lambda x: x**b, lambda x: np.power(x, b), lambda x: np.float_power(x, b)):
        assert np.isclose(gradient(lambda x, power=power: np.sum(power(x)), 1.01)[0], expected, rtol=1e-12)
    x = np.array([1.01], np.float32)
    if np.asarray(b).dtype.itemsize < 2:
        assert (param(x) ** b).dtype == (x**b).dtype == np.float32


def test_small_integers_in_other_rules():
    big = np.array([100, 120], np.int8)
    assert np.allclose(
        gradient(lambda y: np.sum(np.arctan2(big, y)), 50.0)[0],
        -np.sum(big / (50.0**2 + big * 1.0**2 * big.astype(float))),
    )
    assert gradient(lambda x: np.var(x, ddof=np.uint8(2)), [1.0, 2.0, 4.0])[0].tolist() == pytest.approx(
        gradient(lambda x: np.var(x, ddof=2), [1.0, 2.0, 4.0])[0].tolist()
    )
    assert gradient(lambda x: np.var(x, ddof=np.uint8(2)), np.arange(300.0))[0][0] == 2 / 298 * -149.5
    a, b = np.full((1, 100), 100, np.int8), np.full((100, 100), 100, np.int8)
    x = np.ones((100, 1))
    (δ,) = gradient(lambda x: np.linalg.multi_dot([a, b, x])[0, 0], x)
    assert np.array_equal(δ, (a.astype(float) @ b).T)
    for low, high in ((100, 120), (120, -100)):
        points, values = np.array([-100, 120], np.int8), np.array([low, high], np.int8)
        assert gradient(lambda x: np.interp(x, points, values), 10.0)[0] == (high - low) / 220  # noqa: B023
    special = pytest.importorskip("scipy.special")
    assert gradient(lambda x: special.jv(np.array([0], np.uint8), x).sum(), 0.5)[0] == pytest.approx(-special.j1(0.5))
    assert gradient(lambda x: special.iv(np.array([127], np.int8), x).sum(), 50.0)[0] == pytest.approx(
        (special.iv(126, 50.0) + special.iv(128, 50.0)) / 2
    )
    assert gradient(lambda r: special.huber(np.array([1], np.uint8), r).sum(), -3.0)[0] == -1
    y = np.array([127], np.int8)
    assert gradient(lambda x: special.xlog1py(x, y).sum(), 1.0)[0] == pytest.approx(np.log(128.0))


# -- products that are 0, or have lost digits


def test_products_that_underflow():
    assert gradient(np.prod, [1e-200, 1e-200])[0].tolist() == [1e-200, 1e-200]
    assert gradient(np.nanprod, [1e-200, np.nan, 1e-200])[0].tolist() == [1e-200, 0, 1e-200]
    assert gradient(lambda x: np.prod(x, axis=0, where=[True, False, True]), [1e-200, 7.0, 1e-200])[0].tolist() == [
        1e-200, 0, 1e-200
    ]  # fmt: skip
    assert gradient(lambda x: np.prod(x, initial=3.0), [1e-200, 1e-200])[0].tolist() == pytest.approx(
        [3e-200] * 2, abs=0
    )
    assert gradient(lambda x: np.cumprod(x)[-1], [1e-200, 1e-200])[0].tolist() == [1e-200, 1e-200]
    tiny = np.nextafter(0, 1)  # a single bit is left: what is divided by it has no digits
    assert gradient(np.prod, [3.3, tiny])[0].tolist() == [tiny, 3.3]
    assert gradient(lambda x: np.cumprod(x).sum(), [3.3, tiny])[0].tolist() == [1 + tiny, 3.3]


def test_long_products_with_zeros_take_linear_memory():
    x = np.r_[0.0, np.ones(29_999)]
    (δ,) = gradient(np.prod, x)
    assert δ[0] == 1
    assert not δ[1:].any()
    (δ,) = gradient(lambda x: np.cumprod(x).sum(), np.r_[1.0, x])
    assert δ[:3].tolist() == [1, 30_000, 0]
    (δ,) = gradient(lambda x: gradient(np.prod, x)[0][0], x)
    assert δ[0] == 0
    assert (δ[1:] == 1).all()


@pytest.mark.parametrize("zeros", [[], [0], [3], [1, 2], [0, 1, 3]])
def test_products_with_zeros_to_third_order(zeros):
    x = np.array([0.7, -1.3, 0.4, 1.9])
    x[zeros] = 0
    for f in (np.prod, lambda x: np.sum(np.cumprod(x) * [1.0, -2.0, 3.0, 0.5])):
        second = lambda x, f=f: np.sum(gradient(f, x)[0] * [1.0, 2.0, -1.0, 0.3])
        assert gradcheck(f, x)
        assert gradcheck(second, x)
        assert gradcheck(lambda x, s=second: np.sum(gradient(s, x)[0] ** 2), x)


def test_determinants_that_underflow_or_are_large():
    n = 200
    assert not gradient(np.linalg.det, 0.01 * np.eye(n))[0].any()  # 1e-398
    assert not gradient(np.linalg.det, np.zeros((n, n)))[0].any()
    assert gradient(np.linalg.det, np.diag(np.r_[0.0, np.ones(n - 1)]))[0][0, 0] == pytest.approx(1)
    x = np.diag([1e-200, 1e-200])
    assert np.allclose(gradient(np.linalg.det, x)[0], x, rtol=1e-12, atol=0)
    assert gradient(lambda x: np.trace(gradient(np.linalg.det, x)[0]), x)[0][0, 0] == pytest.approx(1)
    second = gradient(lambda x: np.sum(gradient(np.linalg.det, x)[0][0]), 1e-20 * np.eye(20))[0]  # 1e-360
    assert np.isfinite(second).all()
    assert np.abs(second).max() == 0
    stack = np.array([np.zeros((2, 2)), np.eye(2), [[1.0, 2.0], [2.0, 4.0]]])
    assert np.allclose(
        gradient(lambda x: np.linalg.det(x).sum(), stack)[0], [np.zeros((2, 2)), np.eye(2), [[4, -2], [-2, 1]]]
    )


@pytest.mark.parametrize("f", [lambda a, b: np.hypot(a, b), lambda a, b: np.linalg.norm(np.stack([a, b]))])
def test_lengths_whose_squares_underflow(f):
    assert gradient(f, 3e-200, 4e-200) == (pytest.approx(0.6), pytest.approx(0.8))
    assert gradient(lambda a, b: np.arctan2(a, b), 3e-200, 4e-200)[0] == pytest.approx(0.16e200)


@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1e200])
def test_spreads_and_norms_whose_powers_leave_the_range(scale):
    x = np.array([[1.0, 3.0, 2.0], [2.0, 2.0, 5.0]])
    where = np.array([True, True, False])
    for f in (
        lambda x: np.std(x, axis=1, ddof=1).sum(),
        lambda x: np.std(x, where=where),
        lambda x: np.nanstd(x),
        lambda x: np.linalg.norm(x),
        lambda x: np.linalg.norm(x, 3, axis=1).sum(),
        lambda x: np.linalg.norm(x, 1.5, axis=0).sum(),
    ):
        (expected,) = gradient(f, x)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            assert np.allclose(gradient(f, x * scale)[0], expected, rtol=1e-10)


# -- kinks: the gradient there is a choice, a second derivative does not exist


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.linalg.norm(x) ** 2,
        lambda x: np.linalg.norm(x, 2) ** 2,
        lambda x: np.linalg.norm(x, 3) ** 2,
        lambda x: np.linalg.norm(x[None]) ** 2,
        lambda x: np.linalg.vector_norm(x) ** 2,
        lambda x: np.hypot(x[0], x[1]) ** 2,
        lambda x: np.arctan2(x[0], x[1]) ** 2,
        lambda x: np.std(x) ** 2,
        lambda x: np.nanstd(x) ** 2,
    ],
)
def test_the_second_derivative_at_a_kink_is_nan_and_not_silently_zero(f):
    assert not gradient(f, np.zeros(2))[0].any()
    assert np.isfinite(hessian(f, [0.3, 0.4])).all()
    with pytest.warns(RuntimeWarning, match="divide|invalid"):
        H = hessian(f, np.zeros(2))
    assert np.isnan(H).any()


def test_a_norm_of_order_below_two_curves_without_bound_at_zero():
    with pytest.warns(RuntimeWarning, match="divide|invalid"):
        assert not np.isfinite(hessian(lambda x: np.linalg.norm(x, 1.5), [0.0, 1.0])[0, 0])
    assert hessian(lambda x: np.linalg.norm(x, 3), [0.0, 1.0]).tolist() == [[0, 0], [0, 0]]


# -- nothing to reduce, and half precision


def test_reductions_of_nothing():
    assert gradient(lambda x: np.sum(np.std(x, axis=0)), np.zeros((2, 0)))[0].shape == (2, 0)
    with pytest.warns(RuntimeWarning):
        assert np.isnan(gradient(lambda x: np.var(x, ddof=1), np.ones(1))[0])
    with pytest.warns(RuntimeWarning):
        assert np.isnan(gradient(lambda x: np.std(x, ddof=1), np.ones(1))[0])
    with pytest.warns(RuntimeWarning):
        assert gradient(np.std, np.zeros(0))[0].shape == (0,)
    assert logsumexp(np.zeros((2, 0)), axis=1).tolist() == [-np.inf] * 2
    assert gradient(lambda x: np.sum(np.exp(logsumexp(x, axis=1))), np.zeros((2, 0)))[0].shape == (2, 0)


def test_a_mean_of_half_precision_is_summed_in_single():
    x = np.full(2, 60000, np.float16)
    assert forward(np.mean, x)[0] == 60000
    assert forward(lambda x: x.mean(), x)[0] == 60000
    assert gradient(np.mean, x)[0].tolist() == [0.5, 0.5]

"""Grids, statistics and scans where the generic cases do not go: ends, ties, NaN, nothing at all, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from fluxmagic import back, gradient, param
from fluxmagic.tracker import gradcheck

V = param([1.0, 2.0, 4.0])


def test_interp_takes_the_slope_to_the_right_and_none_beyond_the_ends():
    xp, fp = [0.0, 1.0, 3.0], [0.0, 2.0, 3.0]
    assert gradient(lambda x: np.interp(x, xp, fp).sum(), np.array([-1.0, 0, 1, 2, 3, 4]))[0].tolist() == [
        0, 2, 0.5, 0.5, 0.5, 0,
    ]  # fmt: skip
    assert np.isnan(gradient(lambda x: np.interp(x, xp, fp), np.nan)[0])
    assert gradient(lambda f: np.interp([-1, 5], xp, f).sum(), fp)[0].tolist() == [1, 0, 1]
    assert gradient(lambda f: np.interp([-1, 5], xp, f, left=0, right=0).sum(), fp)[0].tolist() == [0, 0, 0]
    assert gradient(lambda x: np.interp(x, xp, fp).sum(), np.zeros((0, 2)))[0].shape == (0, 2)
    assert gradient(lambda x, f: np.interp(x=x, xp=[1.0], fp=f, period=2), 0.5, [3.0])[1].tolist() == [1]


def test_interp_refuses_what_it_has_no_gradient_for():
    with pytest.raises(TypeError, match="period="):
        np.interp(0.5, V, V, period=param(3.0))
    with pytest.raises(ValueError, match="not 0"):
        np.interp(V, [0, 1], [0, 1], period=0)
    with pytest.raises(ValueError, match=r"one length.*\(3,\), \(2,\)"):
        np.interp(0.5, V, [0, 1])


def test_linspace_counts_as_numpys_and_refuses_integers():
    y, step = np.linspace(V, 8, num=1, retstep=True)
    assert y.shape == (1, 3)
    assert np.isnan(step.data if hasattr(step, "data") else step).all()
    assert np.linspace(V, 8, dtype=np.float32, num=2).dtype == np.float32
    with pytest.raises(TypeError, match="int64"):
        np.linspace(V, 8, num=3, dtype=int)
    with pytest.raises(ValueError, match="-1"):
        np.linspace(V, 8, num=-1)


def test_gradient_of_a_grid_names_what_does_not_fit():
    assert isinstance(np.gradient(param(np.eye(3))), tuple)
    assert np.gradient(V, np.array([1, 2, 4])).data.tolist() == np.gradient(V.data, np.array([1, 2, 4])).tolist()
    with pytest.raises(ValueError, match="edge_order is 1 or 2, not 3"):
        np.gradient(V, edge_order=3)
    with pytest.raises(ValueError, match=r"axis 0 has 3 elements.*needs 4|axis 0 has 2 elements.*needs 3"):
        np.gradient(V[:2], edge_order=2)
    with pytest.raises(TypeError, match="one for each, not 3"):
        np.gradient(V, 1, 2, 3)
    with pytest.raises(ValueError, match=r"\(2,\).*axis 0 of length 3"):
        np.gradient(V, [0, 1])


def test_coordinates_that_happen_to_be_even_have_a_gradient_too():
    assert gradcheck(lambda h: (np.gradient(np.array([1.0, 4.0, 2.0]), h) ** 2).sum(), np.array([0.0, 1.0, 2.0]))


def test_covariances_check_their_weights_and_keep_numpys_warning():
    with pytest.raises(TypeError, match="fweights="):
        np.cov(param(np.ones((2, 3))), fweights=V)
    with pytest.raises(ValueError, match="aweights cannot be negative"):
        np.cov(param(np.ones((2, 3))), aweights=-V)
    with pytest.raises(ValueError, match="no observations"):
        np.cov(param(np.zeros((0, 3))))
    with pytest.raises(ValueError, match="two axes"):
        np.cov(param(np.zeros((2, 2, 2))))
    with pytest.warns(RuntimeWarning, match="Degrees of freedom"), np.errstate(all="ignore"):
        np.cov(param(np.ones((2, 1))))


@pytest.mark.parametrize("options", [{}, {"ddof": 0}, {"bias": True, "fweights": [1, 2, 3]}, {"ddof": 2}])
def test_covariances_have_a_gradient_to_the_weights(options):
    x = np.array([[1.0, 2.0, 5.0], [0.5, -1.0, 2.0]])
    a = np.array([0.7, 1.0, 2.0])
    assert gradcheck(lambda x, a: (np.cov(x, aweights=a, **options) ** 2).sum(), x, a)
    assert np.allclose(np.cov(param(x), aweights=param(a), **options).data, np.cov(x, aweights=a, **options))
    assert np.cov(x.astype(np.float32), aweights=param(a.astype(np.float32)), **options).dtype == np.float64
    assert gradcheck(lambda a: np.cov(x[0], aweights=a, **options), a)


def test_quantiles_without_nan_leave_nan_without_a_gradient():
    x = np.array([[np.nan, 3.0, 1.0], [np.nan, np.nan, np.nan], [2.0, 2.0, np.nan]])
    with pytest.warns(RuntimeWarning, match="All-NaN"):
        δ = gradient(lambda x: np.nansum(np.nanmedian(x, axis=1)), x)[0]
    assert δ.tolist() == [[0, 0.5, 0.5], [0, 0, 0], [0.5, 0.5, 0]]
    x = np.array([np.nan, 5.0, 1.0, 2.0])
    assert gradient(lambda x: np.nanpercentile(x, 75), x)[0].tolist() == [0, 0.5, 0, 0.5]
    assert gradient(lambda x: np.nanquantile(x, 1), x)[0].tolist() == [0, 1, 0, 0]
    for bad in ({"method": "nearest"}, {"weights": [1, 1, 1], "method": "inverted_cdf"}):
        with pytest.raises(TypeError, match="method='linear' and no weights"):
            np.nanquantile(V, 0.5, **bad)
    with pytest.raises(TypeError, match=r"q\.data"):
        np.nanquantile(V.data, param(0.5))
    with pytest.raises(ValueError, match="range"):
        np.nanquantile(V, 1.5)


def test_least_squares_of_nothing_and_of_less_than_full_rank():
    for shape in ((3, 0), (0, 2)):
        a, b = np.ones(shape), np.ones(shape[0])
        δa, δb = gradient(lambda a, b: np.linalg.lstsq(a, b)[0].sum() + np.linalg.lstsq(a, b)[1].sum(), a, b)
        assert (δa.shape, δb.shape) == (a.shape, b.shape)
    a = np.outer([1.0, 2.0, 3.0], [1.0, 1.0])
    x, residuals, rank, s = np.linalg.lstsq(param(a), param([1.0, 2.0, 3.0]))
    assert rank == 1
    assert residuals.shape == (0,)
    assert np.allclose(x.data, [0.5, 0.5])
    assert np.allclose(s.data, np.linalg.svd(a, compute_uv=False))
    with pytest.raises(np.linalg.LinAlgError, match=r"\(3, 2\) and \(2,\)"):
        np.linalg.lstsq(param(a), [1.0, 2.0])


def test_factors_without_a_gradient_are_refused():
    for mode in ("complete", "raw", "full"):
        with pytest.raises(TypeError, match=rf"qr: mode='{mode}'.*'reduced' and 'r' have one"):
            np.linalg.qr(param(np.ones((3, 2))), mode=mode)


def test_bincount_counts_plain_numbers_with_tracked_weights():
    with pytest.raises(TypeError, match="weights="):
        np.bincount(V)
    with pytest.raises(ValueError, match="length"):
        np.bincount([1, 2], V)
    back(np.bincount([1, 1, 0], V, 5) @ np.arange(5.0))
    assert V.grad.tolist() == [1, 1, 0]


def test_insert_keeps_the_dtype_of_the_array_and_refuses_integers():
    assert np.insert(param(np.ones(2, np.float32)), 1, V).dtype == np.float32
    assert np.insert(V, [], V[:0]).data.tolist() == [1, 2, 4]
    with pytest.raises(TypeError, match=r"int64.*astype\(float\)"):
        np.insert(np.arange(3), 1, V)
    with pytest.raises(IndexError, match="insert"):
        np.insert(V, 9, 1.0)


def test_a_running_maximum_shares_ties_link_by_link():
    x = np.array([1.0, 3.0, 3.0, 2.0, 5.0, np.nan, 7.0])
    assert gradient(lambda x: np.maximum.accumulate(x)[3], x)[0].tolist() == [0, 0.5, 0.5, 0, 0, 0, 0]
    assert gradient(lambda x: np.maximum.accumulate(x)[6], x)[0].tolist() == [0, 0, 0, 0, 0, 1, 0]
    assert gradient(lambda x: np.fmax.accumulate(x)[6], x)[0].tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert gradient(lambda x: np.minimum.accumulate(x, axis=-1).sum(), np.zeros((2, 0)))[0].shape == (2, 0)
    assert np.maximum.accumulate(param(np.ones((2, 3), np.float32)), axis=1, dtype=np.float64).dtype == np.float64


def test_running_sums_of_exponentials_hold_for_what_is_large_and_infinite():
    for x in ([1e4, 1e4], [-1e4, 1e4], [-np.inf, 1.0], [np.inf, np.inf], [-np.inf, -np.inf]):
        δ = gradient(lambda x: np.logaddexp.accumulate(x)[-1], np.array(x))[0]
        assert δ.sum() == 1
        assert np.array_equal(δ, gradient(lambda x: np.logaddexp.reduce(x), np.array(x))[0])
    with pytest.raises(TypeError, match="initial="):
        np.logaddexp.reduce(V, initial=V[0])
    assert gradient(lambda x: np.logaddexp.reduce(x, axis=None, initial=-np.inf), np.zeros((2, 2)))[0].sum() == 1
    assert gradient(lambda x: np.fmax.reduce(x, where=[True, True, False], initial=0.0), [1.0, np.nan, 3.0])[
        0
    ].tolist() == [1, 0, 0]


def test_running_sums_pass_over_nan():
    x = np.array([1.0, np.nan, 3.0])
    assert gradient(lambda x: np.nancumsum(x).sum(), x)[0].tolist() == [3, 0, 1]
    assert gradient(lambda x: np.nancumprod(x, dtype=np.float32).sum(), x)[0].tolist() == [5, 0, 1]

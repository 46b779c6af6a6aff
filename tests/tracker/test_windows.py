"""Borders, windows, pieces and choices where the generic cases do not go."""

from __future__ import annotations

import numpy as np
import pytest

from fluxmagic import gradient, param
from fluxmagic.tracker import gradcheck, ngradient

V = param([1.0, 2.0, 4.0])
windows = np.lib.stride_tricks.sliding_window_view


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
@pytest.mark.parametrize("widths", [(0, 0), (1, 0), (2, 5), (11, 9)])
def test_odd_mirror_images_are_numpys_however_wide(n, mode, widths):
    def pad(x):
        return np.pad(x, widths, mode, reflect_type="odd")

    x = np.array([1.0, -2.0, 5.0, 3.0])[:n]
    assert np.array_equal(pad(param(x)).data, pad(x))
    assert gradcheck(lambda x: (pad(x) * np.arange(n + sum(widths))).sum(), x)


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.3.0", reason="NumPy takes no dict yet")
def test_pad_takes_widths_by_axis():
    x = np.arange(6.0).reshape(2, 3)
    for mode in ("constant", "edge", "mean", "linear_ramp"):
        assert np.array_equal(np.pad(param(x), {-1: (1, 2)}, mode).data, np.pad(x, ((0, 0), (1, 2)), mode))
        assert np.array_equal(np.pad(param(x), {0: 1}, mode).data, np.pad(x, ((1, 1), (0, 0)), mode))


def test_pad_shares_ties_and_fills_an_empty_border_with_zeros():
    x = np.array([3.0, 3.0, 1.0])
    assert gradient(lambda x: np.pad(x, (1, 0), "maximum")[0], x)[0].tolist() == [0.5, 0.5, 0]
    assert np.pad(V, 1, "empty").data.tolist() == [0, 1, 2, 4, 0]
    assert gradient(lambda x: np.pad(x, 1, "empty").sum(), x)[0].tolist() == [1, 1, 1]
    assert gradient(lambda x: np.pad(x, 2, constant_values=7).sum(), x)[0].tolist() == [1, 1, 1]
    assert np.pad(param(np.ones(2, np.float32)), 2, "median").dtype == np.float32


def test_pad_says_what_it_takes():
    for options in ({"mode": "edges"}, {"mode": "mean", "end_values": 1}, {"mode": "maximum", "stat_length": 0}):
        with pytest.raises(ValueError, match="pad"):
            np.pad(V, 1, **options)
    with pytest.raises(ValueError, match="pad"):
        np.pad(V, -1, "mean")
    with pytest.raises(TypeError, match="pad"):
        np.pad(V, 1.5, "mean")
    with pytest.raises(ValueError, match="empty axis"):
        np.pad(V[:0], 1, "mean")
    with pytest.raises(TypeError, match="end_values="):
        np.pad(V, 1, "linear_ramp", end_values=V[0])


def test_windows_do_not_write_and_are_no_longer_than_the_array():
    with pytest.raises(TypeError, match="writeable"):
        windows(V, 2, writeable=True)
    with pytest.raises(ValueError, match="sliding_window_view"):
        windows(V, 4)
    assert gradient(lambda x: windows(x, 2).sum(), np.arange(4.0))[0].tolist() == [1, 2, 2, 1]


def test_piecewise_counts_its_functions_and_gives_them_what_they_chose():
    with pytest.raises(ValueError, match="2 conditions take 2 or 3 functions, not 1"):
        np.piecewise(V, [V < 1, V > 2], [0])
    assert gradient(lambda x: np.piecewise(x, x > 0, [lambda v: v * v, 1]), 3.0) == (6,)
    assert gradient(lambda x: np.piecewise(x, [x > 5], [np.square]).sum(), V.data)[0].tolist() == [0, 0, 0]
    x = np.array([-1.0, 4.0])
    with np.errstate(invalid="raise"):  # no root is taken of what was not chosen
        assert gradient(lambda x: np.piecewise(x, [x > 0], [np.sqrt, 0]).sum(), x)[0].tolist() == [0, 0.25]


def test_choices_are_made_by_plain_integers():
    with pytest.raises(TypeError, match="integers to choose by"):
        np.choose(V, [1, 2, 3])
    with pytest.raises(ValueError, match="choose"):
        np.choose([0, 5], [V[:2], V[1:]])
    assert np.choose([1, 0], [param(np.ones(2, np.float32)), 2.0]).dtype == np.float32


def test_the_slopes_of_i0_hold_from_nothing_to_where_it_overflows():
    assert gradient(np.i0, 0.0) == (0,)
    for x in (1e-3, 3.0, -40.0, 600.0):
        assert gradient(np.i0, x)[0] == pytest.approx(ngradient(np.i0, x)[0], rel=1e-5)
    assert gradient(lambda x: gradient(np.i0, x)[0], 0.0)[0] == pytest.approx(0.5, rel=1e-14)
    assert gradient(np.i0, 10.0)[0] == pytest.approx(2670.9883037012546, rel=1e-14)


def test_lists_of_axes_are_checked():
    with pytest.raises(TypeError, match="numbers from 0 to 51"):
        np.einsum(V, [0], V, [52])
    with pytest.raises(TypeError, match="a list of its axes"):
        np.einsum(V, V)


def test_a_ufunc_looks_at_what_where_lets_in_alone():
    x, y = np.array([4.0, 0.0, -1.0]), np.array([2.0, 0.0, 3.0])
    with np.errstate(all="raise"):
        δs = gradient(lambda x, y: np.divide(x, y, where=y != 0).sum(), x, y)
        assert [δ.tolist() for δ in δs] == [[0.5, 0, 1 / 3], [-1, 0, 1 / 9]]
        assert gradient(lambda x: np.sqrt(x, where=x.data > 0).sum(), x)[0].tolist() == [0.25, 0, 0]
        assert np.log(param(x), where=x > 0).data.tolist() == [np.log(4), 0, 0]
    assert gradient(lambda x: np.exp(x, where=False), 1.0) == (0,)
    assert gradient(lambda x: np.add.outer(x, x, where=np.eye(3, dtype=bool)).sum(), x)[0].tolist() == [2, 2, 2]
    assert np.log(param(np.ones(3, np.float32)), where=x > 0).dtype == np.float32


def test_a_ufunc_computes_in_the_dtype_that_is_asked_for():
    W = param(np.ones(2, np.float32))
    assert np.add(W, np.arange(2), dtype=np.float32).dtype == np.float32
    assert np.exp(W, dtype=float).dtype == np.float64
    with pytest.raises(TypeError, match="float32 or float64"):
        np.exp(W, dtype=np.float16)

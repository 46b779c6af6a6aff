"""Downsampling: few points, true extremes, cheap updates."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxmagic.jupyter.pictures.downsample import MinMaxSeries


def grown(values, cuts, bins):
    d = MinMaxSeries(bins)
    for n in sorted({*cuts, len(values)}):
        if n <= len(values):
            d.update(n, lambda rows: values[rows])
    return d


floats = st.one_of(st.floats(-1e6, 1e6), st.just(float("nan")), st.just(float("inf")))


@settings(deadline=None, max_examples=60)
@given(st.lists(floats, min_size=1, max_size=300), st.lists(st.integers(1, 300), max_size=6), st.integers(2, 16))
def test_extremes_and_sums_are_kept_however_the_series_grows(values, cuts, bins):
    values = np.array(values)
    d = grown(values, cuts, bins)
    x, y = d.line()
    assert len(x) == len(y) <= 2 * bins
    assert (np.diff(x) >= 0).all()
    assert x[0] >= 1
    finite = values[np.isfinite(values)]
    if len(finite):
        assert np.nanmin(y) == finite.min()
        assert np.nanmax(y) == finite.max()
        np.testing.assert_allclose(np.nansum(d.mean * d.count), finite.sum(), rtol=1e-9, atol=1e-6)
    else:
        assert np.isnan(y).all()
    assert d.count.sum() == len(finite)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=200), st.lists(st.integers(1, 200), max_size=5))
def test_bins_do_not_depend_on_the_times_of_updates(values, cuts):
    values = np.array(values)
    a, b = grown(values, cuts, 8), grown(values, [], 8)
    np.testing.assert_allclose(a.line(), b.line())
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-9, atol=1e-12)


def test_a_million_values_are_a_thousand_points_and_updates_read_only_news():
    values = np.random.default_rng(0).normal(size=1_000_100)
    d = MinMaxSeries()
    d.update(1_000_000, lambda rows: values[rows])
    assert len(d.line()[0]) <= 1000
    read = []
    d.update(1_000_100, lambda rows: read.append(rows) or values[rows])
    assert sum(r.stop - r.start for r in read) <= 100 + d.size
    assert np.nanmax(d.line()[1]) == values.max()


def test_a_series_that_became_shorter_is_read_anew():
    d = grown(np.arange(50.0), [], 8)
    d.update(10, lambda rows: np.full(50, 7.0)[rows])
    assert d.n == 10
    assert set(d.line()[1]) == {7.0}


def test_moving_average_has_no_bias_to_the_first_value():
    values = np.array([3.0, 1.0, 4.0, 1.0, 5.0])
    d = grown(values, [], 8)
    np.testing.assert_array_equal(d.moving_average(0.0)[1], values)
    weights = 0.5 ** np.arange(5)[::-1]
    np.testing.assert_allclose(d.moving_average(0.5)[1][-1], (weights * values).sum() / weights.sum())
    np.testing.assert_allclose(grown(np.full(100, 2.0), [], 8).moving_average(0.99)[1], 2.0)


def test_moving_average_skips_values_that_are_not_finite():
    y = grown(np.array([2.0, np.nan, 2.0]), [], 8).moving_average(0.9)[1]
    np.testing.assert_allclose(y, 2.0)

"""The landscapes' values, gradients, minima and attributes."""

import re

import numpy as np
import pytest

import fluxmagic
from fluxmagic import gradient, landscapes, param
from fluxmagic.tracker import gradcheck, hessian

VALUES = {"styblinski_tang": -78.33233140754282}  # of the minima; 0 elsewhere
NAMES = ("rosenbrock", "beale", "himmelblau", "saddle", "rastrigin", "styblinski_tang")
ALL = [getattr(landscapes, name) for name in NAMES] + [landscapes.quadratic(1), landscapes.quadratic(50)]
each = pytest.mark.parametrize("f", ALL, ids=repr)


@each
def test_the_gradient_is_that_of_central_differences(f):
    for w in (f.start, f.start + 0.37, np.array([0.3, -0.7])):
        assert gradcheck(f, w)


@each
def test_a_minimum_has_its_value_no_slope_and_positive_curvature(f):
    for w in f.minima:
        assert f(w) == pytest.approx(VALUES.get(f.__name__, 0), abs=1e-12)
        assert np.abs(gradient(f, w)[0]).max() < 1e-11
        assert np.linalg.eigvalsh(hessian(f, w)).min() > 0


@each
def test_no_point_of_the_view_lies_below_the_minima(f):
    if len(f.minima):
        grid = np.stack(np.meshgrid(*(np.linspace(*span, 201) for span in f.view)), -1)
        assert f(grid).min() >= f(f.minima[0]) - 1e-12


@each
def test_start_and_minima_lie_in_the_view(f):
    for x, y in [f.start, *f.minima]:
        assert f.view[0][0] < x < f.view[0][1]
        assert f.view[1][0] < y < f.view[1][1]


@each
def test_values_come_point_by_point_in_the_shape_of_the_batch(f):
    w = np.random.default_rng(0).uniform(-1, 1, (3, 4, 2))
    assert f(w).shape == (3, 4)
    assert f(w)[1, 2] == pytest.approx(f(w[1, 2]), rel=1e-14)
    assert f(param(f.start)).shape == ()


@each
def test_the_docstring_has_the_formula_and_the_source(f):
    assert "²" in f.__doc__
    assert re.search(r"\b(19|20)\d\d\b", f.__doc__)  # the year of its source


def test_the_saddle_has_no_minimum():
    assert landscapes.saddle.minima.shape == (0, 2)
    assert np.prod(np.linalg.eigvalsh(hessian(landscapes.saddle, np.zeros(2)))) < 0


def test_start_and_minima_are_copies():
    landscapes.beale.start[:] = 0
    landscapes.beale.minima[:] = 0
    assert landscapes.beale.start.tolist() == [1, 1]
    assert landscapes.beale.minima.tolist() == [[3, 0.5]]


@pytest.mark.parametrize("w", [1.0, [1.0], [1.0, 2.0, 3.0], np.ones((2, 3))])
def test_a_last_axis_of_another_length_than_two_is_refused(w):
    with pytest.raises(ValueError, match=r"beale takes an array of shape \(…, 2\), not"):
        landscapes.beale(w)


@pytest.mark.parametrize("κ", [0.5, -1, float("inf"), float("nan")])
def test_a_condition_number_below_one_is_refused(κ):
    with pytest.raises(ValueError, match="from 1 up"):
        landscapes.quadratic(κ)


def test_the_module_is_public():
    assert "landscapes" in fluxmagic.__all__

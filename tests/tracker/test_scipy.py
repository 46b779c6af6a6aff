"""SciPy's functions that are no ufuncs, and the edges of those that are."""

from __future__ import annotations

import numpy as np
import pytest

from fluxmagic import gradient, param
from fluxmagic.tracker import gradcheck

special = pytest.importorskip("scipy.special")
linalg = pytest.importorskip("scipy.linalg")
ours = pytest.importorskip("fluxmagic.tracker.scipy")
M = np.array([[2.0, 0.5, 0.1], [0.3, -1.5, 0.7], [0.2, 0.4, 1.0]])
V = param([1.0, 2.0, 4.0])


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1)])
def test_values_are_scipys(axis):
    x = M * 50
    for name in ("softmax", "log_softmax", "logsumexp"):
        found = getattr(ours, name)(param(x), axis=axis)
        assert np.allclose(found.data, getattr(special, name)(x, axis=axis), rtol=1e-13, atol=0)
        assert isinstance(getattr(ours, name)(x, axis=axis), (np.ndarray, np.float64))
    for b in (M, 2.0, np.array([0.0, 1, 1])):
        y, sign = ours.logsumexp(param(x), axis, b, True, return_sign=True)
        expected = special.logsumexp(x, axis, b, True, return_sign=True)
        assert np.allclose(y.data, expected[0], rtol=1e-13)
        assert np.array_equal(sign, expected[1])
    assert gradcheck(lambda x: np.sum(ours.logsumexp(x, axis, np.array([0.5, 1, 2]))), M)


def test_exponentials_of_large_and_infinite_numbers():
    x = np.array([1e4, -1e4, -np.inf])
    assert ours.softmax(param(x)).data.tolist() == [1, 0, 0]
    assert gradient(lambda x: ours.log_softmax(x)[0], x)[0].tolist() == [0, 0, 0]
    assert gradient(lambda x: ours.softmax(x, 1).sum() + ours.log_softmax(x, -1).sum(), np.ones((3, 0)))[0].shape == (
        3,
        0,
    )
    assert ours.softmax(np.ones((3, 0)), 1).shape == (3, 0)
    assert gradient(lambda x: ours.logsumexp(x, (0,)), 3.0) == (1,)
    assert np.isneginf(ours.logsumexp(param(x), b=[0, 0, 1]).data)
    assert ours.softmax(param(x.astype(np.float32))).dtype == np.float32
    assert gradient(lambda b: ours.logsumexp([0.0, 0.0], b=b), np.array([1.0, 3.0]))[0].tolist() == [0.25, 0.25]


@pytest.mark.parametrize("trans", [0, 1, 2, "N", "T", "C"])
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("b", [M[0], M[:, :2]])
def test_triangular_solutions_are_scipys(trans, lower, unit, b):
    def solve(a, b):
        return ours.solve_triangular(a, b, trans, lower, unit)

    expected = linalg.solve_triangular(M, b, trans, lower, unit)
    assert np.allclose(solve(param(M), param(b)).data, expected, rtol=1e-14)
    assert gradcheck(lambda a, b: np.sum(solve(a, b) ** 2), M, b)
    δ = gradient(lambda a: solve(a, b).sum(), M)[0]
    assert np.array_equal(δ, np.tril(δ, -unit) if lower else np.triu(δ, unit))


def test_triangular_solutions_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="'T' or 'C', not 'X'"):
        ours.solve_triangular(param(M), V, trans="X")
    with pytest.raises(ValueError, match=r"\(3,\) and \(3,\)"):
        ours.solve_triangular(V, V)
    with pytest.raises(ValueError, match=r"solve_triangular of shapes \(3, 3\) and \(2,\)"):
        ours.solve_triangular(param(M), V[:2])
    with pytest.raises(np.linalg.LinAlgError, match="singular"):
        ours.solve_triangular(param(np.zeros((3, 3))), V)


@pytest.mark.parametrize("name", ["logsumexp", "softmax", "log_softmax"])
def test_scipys_own_functions_name_ours(name):
    with pytest.raises(
        TypeError, match=rf"scipy.special.{name} takes plain.*fluxmagic.tracker.scipy import {name}.*\.data"
    ):
        getattr(special, name)(V)


def test_the_other_functions_of_scipy_say_what_to_do():
    with pytest.raises(TypeError, match=r"polygamma takes plain.*fluxmagic.tracker.scipy import polygamma"):
        special.polygamma(1, V)
    with pytest.raises(TypeError, match=r"multigammaln takes plain.*fluxmagic.tracker.scipy import multigammaln"):
        special.multigammaln(V, 2)
    for a, b in ((param(M), M), (M, V)):
        with pytest.raises(
            TypeError, match=r"solve_triangular takes plain.*fluxmagic.tracker.scipy import solve_triangular"
        ):
            linalg.solve_triangular(a, b)
    with pytest.raises(TypeError, match=r"inv takes plain.*np.linalg.inv"):
        linalg.inv(param(M))
    with pytest.raises(TypeError, match=r"expm takes plain.*custom_gradient.*\.data"):
        linalg.expm(param(M))
    with pytest.raises(TypeError, match=r"does not turn into a plain one by itself"):
        np.asarray(V)


def test_orders_and_shapes_have_no_gradient_and_are_refused():
    for f in (special.jv, special.yv, special.iv, special.gammainc, special.gammaincc):
        with pytest.raises(TypeError, match=rf"{f.__name__}: no gradient passes through the (order|shape a)"):
            f(V, 2.0)
    with pytest.raises(TypeError, match="polygamma: n is a plain integer"):
        ours.polygamma(V, 2.0)
    with pytest.raises(ValueError, match="condition"):
        ours.multigammaln(param(0.5), 3)


def test_slopes_at_the_kinks_and_far_out():
    assert gradient(lambda r: special.huber(1.0, r).sum(), np.array([-3.0, -1, 0, 1, 3]))[0].tolist() == [
        -1,
        -1,
        0,
        1,
        1,
    ]
    assert gradient(special.huber, 1.0, 3.0)[0] == 2
    assert gradient(special.kl_div, 0.0, 0.0) == (0, 0)
    assert gradient(special.j1, 0.0)[0] == 0.5
    assert gradient(special.i1, 0.0)[0] == 0.5
    assert gradient(special.log_ndtr, -1e4)[0] == pytest.approx(1e4, rel=1e-7)
    assert gradient(special.log_ndtr, 40.0)[0] == 0
    assert gradient(special.erfcx, 1e6)[0] == pytest.approx(-1e-12 / np.sqrt(np.pi), rel=1e-12)
    assert gradient(special.pseudo_huber, 1.0, 1e-4)[0] == pytest.approx(2.5e-17, rel=1e-7)
    assert gradient(lambda x: special.jv(1.5, x).sum(), np.ones((0, 2)))[0].shape == (0, 2)
    assert special.jv(1, param(np.ones(2, np.float32))).dtype == np.float32

"""loadparams: order, copies, and checks before anything is assigned."""

import numpy as np
import pytest

from fluxmagic import Chain, Dense, loadparams, param, params


def model():
    return Chain(Dense(2, 3, rng=0), Dense(3, 1, rng=1))


def test_loadparams_assigns_in_the_order_of_params():
    m, other = model(), Chain(Dense(2, 3, rng=5), Dense(3, 1, rng=6))
    loadparams(m, params(other))
    for p, q in zip(params(m), params(other), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
        assert p is not q
        assert not np.shares_memory(p.data, q.data)
    loadparams(m, (np.full(p.shape, i) for i, p in enumerate(params(m))))
    assert [float(p.data.flat[0]) for p in params(m)] == [0, 1, 2, 3]
    assert all(p.dtype == np.float32 for p in params(m))


def test_parameters_may_be_loaded_in_another_order():
    p, q = param([1.0, 2.0]), param([3.0, 4.0])
    loadparams([p, q], [q, p])
    assert (p.data.tolist(), q.data.tolist()) == ([3, 4], [1, 2])


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda xs: xs[:-1], ValueError, "3 arrays for 4 parameters"),
        (lambda xs: [*xs, np.ones(1)], ValueError, "5 arrays for 4 parameters"),
        (
            lambda xs: [xs[0], np.ones(4), xs[2], np.ones((1, 1))],
            ValueError,
            r"shapes differ: \[0\].b: \(4,\) for \(3,\); \[1\].b: \(1, 1\) for \(1,\)",
        ),
        (lambda xs: [*xs[:3], np.array(["a"])], TypeError, "real numbers, not <U1"),
        (lambda xs: [*xs[:3], np.array([1j])], TypeError, "real numbers, not complex128"),
    ],
)
def test_loadparams_checks_everything_before_it_assigns_anything(spoil, error, message):
    m = model()
    before = [p.data.copy() for p in params(m)]
    with pytest.raises(error, match=message):
        loadparams(m, spoil([np.zeros(p.shape) for p in params(m)]))
    for p, old in zip(params(m), before, strict=True):
        np.testing.assert_array_equal(p.data, old)


def test_a_number_too_large_for_the_parameter_is_refused_before_anything_is_assigned():
    W, b = param(np.ones(1, np.float32)), param(np.ones(2, np.float32))
    with pytest.raises(ValueError, match=r"loadparams: \[1\]: a number of float64 is too large for float32"):
        loadparams([W, b], [np.zeros(1), np.array([1e300, 0])])
    assert (W.data.tolist(), b.data.tolist()) == ([1], [1, 1])
    loadparams([W, b], [np.zeros(1), np.array([np.inf, 3])])
    assert b.data.tolist() == [np.inf, 3]


def test_loadparams_without_parameters_is_an_error():
    with pytest.raises(ValueError, match="found no parameter"):
        loadparams([], [])

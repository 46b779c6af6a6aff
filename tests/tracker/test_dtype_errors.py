"""Errors of dtypes, of back, gradient and the checks."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fluxmagic import back, gradient, param
from fluxmagic.tracker import custom_gradient, forward, gradcheck, hessian, jacobian, ngradient

W = param([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
S = param(np.eye(2))
x = np.ones(3)


@pytest.fixture(autouse=True)
def nothing_changes():
    before = W.data.copy()
    yield
    assert np.array_equal(W.data, before)
    assert not W.grad.any()
    assert x.tolist() == [1, 1, 1]


# -- dtypes


@pytest.mark.parametrize("y", [1j, np.array([1j, 1, 1]), np.complex64(1)])
def test_complex_numbers_are_refused_with_the_operation(y):
    for f in (lambda: W * y, lambda: y * W, lambda: np.add(y, W), lambda: np.power(W, y)):
        with pytest.raises(TypeError, match=r"(multiply|add|power).*complex"):
            f()


@pytest.mark.parametrize("y", ["a", None, b"x", object(), np.array([None, 1, 2]), np.array(["a", "b", "c"]), {}])
def test_what_is_no_number_is_refused(y):
    for f in (lambda: W * y, lambda: y - W, lambda: np.multiply(W, y), lambda: W @ y):
        with pytest.raises((TypeError, ValueError)):
            f()


def test_integer_results_are_refused():
    with pytest.raises(TypeError, match=r"sum.*int64"):
        W.sum(dtype=np.int64)
    with pytest.raises(TypeError, match=r"astype.*int"):
        W.astype(int)


@pytest.mark.parametrize(
    "f",
    [
        lambda: np.add(W, 1, where=np.ones((2, 3))),
        lambda: np.add(W, 1, where=W),
        lambda: np.divmod(W, 1, where=[True, False, True]),
        lambda: np.matmul(W, W.T, where=True, dtype=complex),
        lambda: np.add(W, 1, dtype=int),
        lambda: np.add(W, 1, order="F"),
        lambda: np.var(W, mean=0.0),
        lambda: np.std(W, mean=W.mean()),
        lambda: np.sum(W, initial=W[0, 0]),
        lambda: np.histogram(x, weights=W[0]),
        lambda: np.pad(W, 1, mode=lambda *_: None),
        lambda: np.pad(W, 1, mode="linear_ramp", end_values=W[0, 0]),
        lambda: np.pad(W, 1, constant_values=W[0, 0]),
        lambda: np.linalg.svd(W),
        lambda: np.where(W),
        lambda: np.quantile(W, 0.5, method="nearest"),
        lambda: np.percentile(x, W[0, 0]),
    ],
)
def test_options_without_a_gradient_are_refused(f):
    with pytest.raises(TypeError, match=r"add|divmod|matmul|mean|initial|weights|pad|svd|where|quantile|percentile"):
        f()


@pytest.mark.parametrize(
    "f",
    [
        lambda: np.sum(x, where=W[0]),
        lambda: np.max(x, initial=0, where=W[0]),
        lambda: np.add.reduce(W, initial=W[0, 0]),
        lambda: np.add.accumulate(W, axis=W[0, 0]),
        lambda: np.nan_to_num(W, True, W[0, 0]),
        lambda: np.linalg.norm(W, W[0, 0]),
        lambda: W.sum(initial=W[0, 0]),
        lambda: np.nansum(W, initial=W[0, 0]),
    ],
)
def test_a_tracked_option_is_refused_by_name(f):
    with pytest.raises(TypeError, match=r"no gradient passes through (where|initial|axis|argument [23])"):
        f()


@pytest.mark.parametrize(
    "f",
    [
        lambda: np.sum(x, initial=W[0, 0]),
        lambda: np.prod(x, initial=W[0, 0]),
        lambda: np.max(x, initial=W[0, 0]),
        lambda: np.min(x, initial=W[0, 0]),
        lambda: np.nansum(x, initial=W[0, 0]),
        lambda: np.nanmax(x, initial=W[0, 0]),
        lambda: x.sum(initial=W[0, 0]),
        lambda: np.interp(x, x, x, left=W[0, 0]),
        lambda: np.add.reduce(x, initial=W[0, 0]),
        lambda: [float(W[0, 0]), np.multiply.reduce(x, initial=W[0, 0])],
    ],
)
def test_a_number_that_numpy_takes_by_float_is_refused(f):
    with pytest.raises((TypeError, ValueError)) as caught:
        f()
    error = caught.value.__cause__ or caught.value  # NumPy says that it is a sequence, and why
    assert re.search(r"(np\.\w+|a ufunc's reduce) takes a tracked array as a plain number.*float\(x\)", str(error))


def test_a_number_that_scipy_takes_by_float_is_refused():
    integrate = pytest.importorskip("scipy.integrate")
    with pytest.raises(TypeError, match=r"scipy\.integrate\.quad takes a tracked array as a plain number"):
        integrate.quad(lambda u: W[0, 0] * u, 0, 1)


def test_float_goes_beside_a_call_with_an_initial_value():
    def both(w):
        return float(w), np.add.reduce(np.ones(3), initial=float(w)), float(w)

    assert both(W[0, 0] * 0 + 2) == (2, 5, 2)


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda: np.clip(W, 0, 1, dtype=float), "clip: dtype= does not go with tracked arrays"),
        (lambda: np.maximum.reduce(W, 0, float), "max: dtype= does not go"),
        (lambda: np.einsum("ij->", W, order="C"), "einsum: order= does not go"),
        (lambda: W.astype(np.float32, order="C"), "astype: order= does not go"),
        (lambda: W.sum(foo=1), "sum: foo= does not go"),
        (lambda: np.stack(W, 0, 0), r"stack\(\) takes"),
        (lambda: np.nanvar(W, mean=2.0), "nanvar.*leave mean= away"),
        (lambda: W * np.longdouble(2), f"multiply.*at most 64 bits.*{np.longdouble(1).dtype}"),
        (lambda: gradient(np.sum, np.ones(2, np.longdouble)), "astype"),
        (lambda: np.full_like(x, W[0, 0]), r"np\.full_like\(a, W\).*np\.broadcast_to\(W, a\.shape\)"),
        (lambda: np.nan_to_num(x, nan=W[0, 0]), r"np\.where\(np\.isnan\(a\), W, a\)"),
    ],
)
def test_errors_name_what_was_called_and_nothing_private(f, text):
    with pytest.raises(TypeError, match=text) as caught:
        f()
    assert not re.search(r"\b_\w|lambda|<locals>", str(caught.value))


def test_an_option_of_none_is_not_given():
    assert float(np.quantile(W, 0.5, weights=None)) == 3.5
    assert np.maximum.reduce(W, 0, None).tolist() == [4, 5, 6]
    assert np.clip(W, 2, 3, dtype=None).tolist() == [[2, 2, 3], [3, 3, 3]]


# -- back, gradient and the checks


def test_back_of_what_is_not_tracked_says_so():
    for y in (1.0, np.ones(()), None, [W]):
        with pytest.raises(TypeError, match=r"tracked.*param"):
            back(y)


def test_back_of_an_array_says_to_pass_Δ():
    for y in (W, W * 2, W[:1, :1].sum(axis=0)):
        with pytest.raises(ValueError, match=r"pass Δ"):
            back(y)


def test_back_with_a_Δ_that_does_not_fit_names_both_shapes():
    with pytest.raises(ValueError, match=r"\(2,\).*\(2, 3\)"):
        back(W * 2, np.ones(2))
    with pytest.raises(ValueError, match=r"\(1,\).*\(\)"):
        back(W.sum(), [1.0])


def test_gradient_of_an_array_names_jacobian_and_forward():
    with pytest.raises(ValueError, match=r"\(2, 3\).*jacobian or forward"):
        gradient(lambda x: x * 2, W.data)
    with pytest.raises(ValueError, match=r"scalar"):
        hessian(lambda x: x * 2, [1.0, 2.0])


@pytest.mark.parametrize("x", [1j, "a", None, [1j]])
def test_gradients_are_with_respect_to_real_numbers(x):
    for f in (gradient, jacobian, hessian):
        with pytest.raises(TypeError, match="real numbers"):
            f(lambda x: x, x)


def test_a_pullback_checks_the_shape_of_Δ():
    _, pullback = forward(lambda x: x * 2, [1.0, 2.0])
    with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
        pullback(np.ones(3))


def test_gradcheck_names_argument_element_and_both_values():
    @custom_gradient
    def wrong(x):
        return x * x, lambda Δ: (Δ * 3 * x,)

    with pytest.raises(AssertionError, match=r"argument 1, element \(1,\).* 6\b.* 4\b"):
        gradcheck(lambda a, b: np.sum(a) + wrong(b)[1], [1.0], [0.0, 2.0])


def test_checks_by_differences_refuse_float32_and_arrays():
    for f in (gradcheck, ngradient):
        with pytest.raises(TypeError, match=r"float64.*argument 1 is float32"):
            f(lambda a, b: a + b, 1.0, np.float32(1))
        with pytest.raises(TypeError, match=r"dtype=np\.float64"):
            f(lambda a: np.float32(1) * a.astype(np.float32), 1.0)
        with pytest.raises(ValueError, match=r"scalar.*\(2,\)"):
            f(lambda a: a * 2, [1.0, 2.0])


def test_ngradient_and_gradcheck_of_a_right_gradient():
    (δ,) = ngradient(lambda x: np.sum(x**3), [1, 2])
    assert δ.dtype == np.float64
    assert np.allclose(δ, [3, 12])
    assert gradcheck(lambda x, y: np.sum(x**3) * y, [1, 2], 3) is True


def test_gradcheck_does_not_change_its_arguments():
    x = np.array([1.0, 2.0])

    def f(x):
        if isinstance(x, np.ndarray):
            x += 1
        return np.sum(x * x)

    ngradient(f, x)
    assert x.tolist() == [1, 2]

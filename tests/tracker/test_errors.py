"""Errors of writing in place, of missing rules, of shapes and axes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.exceptions import AxisError
from numpy.linalg import LinAlgError

from fluxmagic import param

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


# -- in place


def write(target, index, value):
    target[index] = value


def in_place(name, target):
    getattr(target, name)(2)


@pytest.mark.parametrize("index", [0, (0, 1), slice(None), ..., [0, 1]])
def test_assigning_elements_names_update_and_data(index):
    with pytest.raises(TypeError, match=r"update\(W, Δ\).*W\.data\[\.\.\.\]"):
        write(W, index, 1)
    with pytest.raises(TypeError, match=r"np\.where"):
        write(W * 2, index, 1)


@pytest.mark.parametrize("operator", ["iadd", "isub", "imul", "itruediv", "ipow", "imatmul", "ifloordiv", "imod"])
def test_in_place_operators_on_a_leaf_name_update_and_data(operator):
    with pytest.raises(TypeError, match=r"update\(W, Δ\).*W\.data\[\.\.\.\]"):
        in_place(f"__{operator}__", W)


@pytest.mark.parametrize(
    "f",
    [
        lambda: np.exp(W, out=np.empty((2, 3))),
        lambda: np.exp(x, out=W),
        lambda: np.add(W, 1, np.empty((2, 3))),
        lambda: np.sum(W, out=np.empty(())),
        lambda: np.sum(W, 0, None, np.empty(3)),
        lambda: np.mean(W, 0, None, np.empty(3)),
        lambda: np.max(W, 0, np.empty(3)),
        lambda: W.mean(0, None, np.empty(3)),
        lambda: W.sum(out=np.empty(())),
        lambda: W.clip(0, 1, np.empty((2, 3))),
        lambda: np.clip(W, 0, 1, out=np.empty((2, 3))),
        lambda: np.clip(W, 0, 1, np.empty((2, 3))),
        lambda: np.concatenate([W, W], out=np.empty((4, 3))),
        lambda: np.stack([W, W], out=np.empty((2, 2, 3))),
        lambda: np.dot(S, S, np.empty((2, 2))),
        lambda: S.dot(S, out=np.empty((2, 2))),
        lambda: np.matmul(S, S, out=np.empty((2, 2))),
        lambda: np.einsum("ij->ji", W, out=np.empty((3, 2))),
        lambda: np.cumsum(W, 0, None, np.empty((2, 3))),
        lambda: np.median(W, 0, np.empty(3)),
        lambda: np.add.reduce(W, out=np.empty(3)),
        lambda: np.take(W, [0], 0, np.empty((1, 3))),
        lambda: np.nansum(W, out=np.empty(())),
        lambda: np.linalg.multi_dot([S, S], out=np.empty((2, 2))),
    ],
)
def test_out_names_update(f):
    with pytest.raises(TypeError, match=r"out= does not go with tracked arrays.*update\(W, Δ\).*W\.data\[\.\.\.\]"):
        f()


def test_out_of_none_is_no_out():
    assert float(np.sum(W, out=None)) == 21
    assert float(np.sum(W, None, None, None)) == 21
    assert np.exp(W, out=None).shape == (2, 3)


@pytest.mark.parametrize(
    "f",
    [
        lambda: np.add.at(W, 0, 1),
        lambda: np.subtract.at(x, [0], W[0, :1]),
        lambda: np.copyto(x, W[0]),
        lambda: np.put(x, [0], W[0, :1]),
        lambda: np.place(x, [True, False, False], W[0, :1]),
        lambda: np.putmask(x, x > 0, W[0]),
        lambda: np.fill_diagonal(W, 1),
        lambda: np.put_along_axis(W, np.zeros((2, 1), int), 1, 1),
    ],
)
def test_functions_that_write_in_place_are_refused(f):
    with pytest.raises(TypeError, match=r"writes in place.*np\.where.*update"):
        f()


# -- functions without a rule


@pytest.mark.parametrize(
    ("f", "name"),
    [
        (lambda: np.polyfit(x, W, 1), "np.polyfit"),
        (lambda: np.unique(W), "np.unique"),
        (lambda: np.linalg.eig(W), "np.linalg.eig"),
        (lambda: np.linalg.tensorsolve(W, W), "np.linalg.tensorsolve"),
        (lambda: np.fft.fft(W), "np.fft.fft"),
        (lambda: np.ldexp(W, 1), "np.ldexp"),
        (lambda: np.frexp(W), "np.frexp"),
        (lambda: np.nextafter(W, 1), "np.nextafter"),
        (lambda: np.arctan2.reduce(W), "arctan2.reduce"),
        (lambda: np.add.reduceat(W, [0]), "add.reduceat"),
        (lambda: np.frompyfunc(abs, 1, 1)(W), "abs"),
        (lambda: np.bitwise_and(W, 1), "np.bitwise_and"),
        (lambda: np.histogramdd(W), "np.histogramdd"),
    ],
)
def test_a_function_without_a_rule_is_named_with_the_two_ways_out(f, name):
    with pytest.raises(TypeError, match=re.escape(name) + r".*custom_gradient.*\.data"):
        f()


@pytest.mark.parametrize("convert", [np.asarray, np.array, np.ascontiguousarray, np.float64, np.atleast_1d(0).dot])
def test_conversion_to_a_plain_array_says_data(convert):
    with pytest.raises(TypeError, match=r"\.data"):
        convert(W)


@pytest.mark.parametrize(
    "f",
    [
        lambda: np.array([W.sum(), W.sum()]),
        lambda: np.asarray([W[0], W[1]]),
        lambda: np.r_[W[0], W[1]],
        lambda: np.c_[W],
        lambda: np.array([[1.0, W[0, 0]]]),
    ],
)
def test_building_arrays_of_tracked_ones_names_stack(f):
    with pytest.raises(TypeError, match=r"np\.stack|\.data"):
        f()


@pytest.mark.parametrize("i", [W.sum(), W, (0, W[0, 0]), [W[0, 0]]])
def test_an_index_is_a_plain_integer(i):
    with pytest.raises((TypeError, IndexError), match=r"plain|\.data|ndex"):
        W[i]
    with pytest.raises((TypeError, IndexError), match=r"plain|\.data|ndex"):
        x[i]


# -- shapes and axes


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda: W + np.ones(2), r"add.*\(2, 3\) and \(2,\)"),
        (lambda: np.ones(2) - W, r"subtract.*\(2,\) and \(2, 3\)"),
        (lambda: W @ W, r"matmul.*\(2, 3\) and \(2, 3\)"),
        (lambda: np.ones(5) @ W, r"matmul.*\(5,\) and \(2, 3\)"),
        (lambda: np.dot(W, W), r"dot.*\(2, 3\) and \(2, 3\)"),
        (lambda: np.maximum(W, np.ones((3, 3))), r"maximum.*\(2, 3\) and \(3, 3\)"),
        (lambda: np.where(x > 0, W, np.ones(4)), r"where.*\(2, 3\) and \(4,\)"),
        (lambda: W.reshape(4, 2), r"reshape.*\(2, 3\)"),
        (lambda: np.concatenate([W, S]), r"concatenate.*\(2, 3\) and \(2, 2\)"),
        (lambda: np.stack([W, S]), r"stack.*\(2, 3\) and \(2, 2\)"),
        (lambda: np.vstack([W, S]), r"vstack.*\(2, 3\) and \(2, 2\)"),
        (lambda: np.hstack([W, x]), r"hstack.*\(2, 3\) and \(3,\)"),
        (lambda: np.einsum("ij,jk", W, W), r"einsum.*\(2, 3\) and \(2, 3\)"),
        (lambda: np.tensordot(W, W, 1), r"tensordot.*\(2, 3\) and \(2, 3\)"),
        (lambda: np.broadcast_to(W, (3, 3)), r"broadcast_to.*\(2, 3\)"),
        (lambda: np.linalg.solve(S, W.T), r"linalg\.solve.*\(2, 2\) and \(3, 2\)"),
        (lambda: np.split(W, 2, 1), "split.*equal division"),
        (lambda: np.cross(W, np.ones(2)), "cross.*3 and 2"),
        (lambda: np.average(W, weights=x), "average|weights"),
        (lambda: np.transpose(W, (0, 1, 2)), r"transpose.*\(2, 3\)"),
        (lambda: np.pad(W, ((1, 2, 3),)), r"pad.*\(2, 3\)"),
        (lambda: np.max(np.sum(W) * np.ones(0)), "max"),
    ],
)
def test_shapes_that_do_not_fit_are_named_with_the_operation(f, text):
    with pytest.raises((ValueError, TypeError), match=text) as caught:
        f()
    assert isinstance(caught.value, ValueError) or "average" in text


@pytest.mark.parametrize(
    "f",
    [
        np.sum, np.mean, np.max, np.min, np.prod, np.var, np.std, np.median, np.cumsum, np.cumprod, np.sort, np.flip,
        np.ptp, np.average, np.diff, np.nansum, np.argmax, np.nanmax,
    ],
)  # fmt: skip
def test_a_wrong_axis_is_numpys_axis_error_with_the_operation(f):
    with pytest.raises(AxisError, match=f"{f.__name__}.*axis 2|axis 2"):
        f(W, axis=2)
    with pytest.raises(AxisError, match="axis -3"):
        f(W, axis=-3)


@pytest.mark.parametrize("f", [np.expand_dims, np.squeeze, lambda x, axis: np.moveaxis(x, axis, 0)])
def test_a_wrong_axis_of_functions_that_move_axes(f):
    with pytest.raises(AxisError, match="7"):
        f(W, axis=7)


def test_the_operation_is_named_in_axis_errors():
    with pytest.raises(AxisError, match="cumsum of shapes"):
        W.cumsum(2)
    with pytest.raises(AxisError, match="diff: "):
        np.diff(W, axis=5)
    with pytest.raises(AxisError, match="concatenate of shapes"):
        np.concatenate([W, W], axis=4)


def test_an_index_out_of_range_is_an_index_error_with_the_shape():
    with pytest.raises(IndexError, match=r"getitem.*\(2, 3\).*index 5"):
        W[5]
    with pytest.raises(IndexError, match="getitem"):
        W[0, 0, 0]
    with pytest.raises(IndexError, match="getitem"):
        W["a"]


@pytest.mark.parametrize("f", [np.linalg.inv, np.linalg.det, np.linalg.cholesky, np.linalg.slogdet])
def test_linear_algebra_of_what_is_not_square_is_numpys_error_with_the_operation(f):
    with pytest.raises(LinAlgError, match=f.__name__):
        f(W)


def test_singular_and_indefinite_matrices_are_numpys_errors_with_the_operation():
    singular = param([[1.0, 2.0], [2.0, 4.0]])
    with pytest.raises(LinAlgError, match=r"linalg\.inv.*[Ss]ingular"):
        np.linalg.inv(singular)
    with pytest.raises(LinAlgError, match=r"linalg\.solve.*[Ss]ingular"):
        np.linalg.solve(singular, np.ones(2))
    with pytest.raises(LinAlgError, match=r"linalg\.cholesky.*positive definite"):
        np.linalg.cholesky(-singular)
    with pytest.raises(LinAlgError, match="matrix_power"):
        np.linalg.matrix_power(W, 2)

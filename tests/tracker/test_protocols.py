"""The protocols of Python and NumPy."""

from __future__ import annotations

import copy
import math
import operator
import pickle

import numpy as np
import pandas as pd
import pytest

from fluxmagic import back, param
from fluxmagic.tracker import Param, Tracked, data, gradient, istracked, update

W = param([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


# -- Python's protocols


def test_numbers_come_out_of_scalars():
    l = param(2.5)
    assert float(l) == 2.5
    assert int(l) == 2
    assert complex(l) == 2.5
    assert round(l) == 2
    assert round(l * 1.111, 1) == 2.8
    assert f"{l:.3f}" == "2.500"
    assert f"{l}" == "2.5"
    assert f"{W[:1, :1]:.1f}" == "1.0"
    assert math.log(l) == math.log(2.5)
    assert l.item() == 2.5
    assert W.item(1) == W.item(0, 1) == 2.0
    assert bool(l)
    assert not l * 0


@pytest.mark.parametrize("f", [float, int, round, "{:.2f}".format, lambda x: x.item()])
def test_numbers_out_of_arrays_are_refused_with_the_shape(f):
    with pytest.raises(TypeError, match=r"\(2, 3\).*\.data"):
        f(W)


def test_truth_of_an_array_is_ambiguous_as_in_numpy():
    with pytest.raises(ValueError, match="ambiguous"):
        bool(W)


def test_length_iteration_and_membership():
    assert len(W) == 2
    rows = list(W)
    assert all(isinstance(r, Tracked) for r in rows)
    assert [r.tolist() for r in rows] == W.tolist()
    a, b = W
    assert float(a[0]), float(b[0]) == (1, 4)
    assert 3.0 in W
    assert 7.0 not in W
    with pytest.raises(TypeError, match="0-d"):
        iter(param(1.0))
    with pytest.raises(TypeError):
        len(param(1.0))


def test_builtin_sum_and_max():
    p = param([3.0, 1.0])
    assert gradient(lambda x: sum(x * x), [3.0, 1.0])[0].tolist() == [6, 2]
    assert float(max(p)) == 3
    assert [float(x) for x in sorted(p)] == [1, 3]


def test_hash_is_by_identity_and_equality_by_element():
    a, b = param([1.0]), param([1.0])
    assert {a: 1, b: 2}[b] == 2
    assert len({a, b, a}) == 2
    assert type(a == b) is np.ndarray
    assert (a == b).tolist() == [True]
    assert (a != 1).tolist() == [False]


def test_repr_says_that_it_is_tracked():
    assert repr(param([1.0, 2.0])) == "param([1., 2.], dtype=float64)"
    assert repr(param(np.float32(1)) * 2) == "tracked(2., dtype=float32, op=multiply)"
    assert "tracked" in repr(W.sum())
    assert str(param([1.0])) == "[1.]"
    assert len(repr(param(np.zeros(10**6)))) < 1000


def test_adding_to_a_total_makes_a_new_value():
    p = param([1.0, 2.0])
    total = 0
    for k in range(3):
        total += (p * k).sum()
    first = total
    total += p.sum()
    total -= 1
    total *= 2
    total /= 2
    assert total is not first
    assert float(first) == 9
    back(total)
    assert p.grad.tolist() == [4, 4]


def test_missing_attributes_say_where_the_plain_array_is():
    with pytest.raises(AttributeError, match=r"\.data\.fill.*update"):
        W.fill(0)
    with pytest.raises(AttributeError, match="no attribute 'shap'"):
        W.shap
    assert not hasattr(W, "sort")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), copy.copy])
def test_copies_of_a_parameter_are_parameters_of_their_own(copied):
    p = param(np.array([1, 2], np.float32))
    back((p * p).sum())
    q = copied(p)
    assert type(q) is Param
    assert q.data.tolist() == [1, 2]
    assert q.dtype == np.float32
    assert q.grad.tolist() == [2, 4]
    update(q, 1)
    back(q.sum())
    assert p.data.tolist() == [1, 2]
    assert p.grad.tolist() == [2, 4]
    assert q.grad.tolist() == [1, 1]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_of_a_graph_can_be_differentiated(copied):
    p = param([1.0, 2.0])
    loss = np.sum(np.sin(p)[[0, 1, 1]] * p[:1])
    again = copied({"loss": loss, "p": p})
    assert float(again["loss"]) == float(loss)
    back(again["loss"])
    assert not p.grad.any()
    back(loss)
    assert np.array_equal(again["p"].grad, p.grad)


def test_shape_dtype_and_size():
    assert (W.shape, W.ndim, W.size, W.dtype, W.nbytes, W.itemsize) == ((2, 3), 2, 6, np.float64, 48, 8)
    assert np.shape(W) == (2, 3)
    assert np.ndim(W) == 2
    assert np.size(W) == 6
    assert W.real is W
    assert not W.imag.any()
    assert W.tolist() == W.data.tolist()


# -- an ndarray or a pandas object on either side


OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.mod]
COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
OTHERS = {
    "ndarray": np.array([0.5, 2.0, 1.5]),
    "float32": np.array([0.5, 2.0, 1.5], np.float32),
    "int": np.array([1, 2, 3]),
    "list": [0.5, 2.0, 1.5],
    "0-d": np.array(1.5),
    "np.float64": np.float64(1.5),
    "np.int64": np.int64(2),
    "float": 1.5,
    "python int": 2,
    "bool": True,
    "Series": pd.Series([0.5, 2.0, 1.5], index=list("abc")),
    "column": pd.DataFrame({"a": [0.5, 2.0, 1.5]})["a"],
    "Index": pd.Index([0.5, 2.0, 1.5]),
    "tracked": param([0.5, 2.0, 1.5]),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("op", OPERATORS)
def test_operators_take_anything_on_either_side(op, other):
    p = param([1.0, 2.0, 3.0])
    plain = np.asarray(data(other))
    for found, expected in ((op(p, other), op(p.data, plain)), (op(other, p), op(plain, p.data))):
        assert isinstance(found, Tracked)
        assert found.shape == expected.shape
        assert np.allclose(found.data, expected, rtol=1e-15)


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("op", COMPARISONS)
def test_comparisons_are_plain_on_either_side(op, other):
    p = param([1.0, 2.0, 3.0])
    plain = np.asarray(data(other))
    for found, expected in ((op(p, other), op(p.data, plain)), (op(other, p), op(plain, p.data))):
        assert not istracked(found)
        assert np.array_equal(np.asarray(found), expected)


def test_matrix_product_with_pandas_and_ndarrays_on_either_side():
    p = param(np.eye(2))
    frame = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]])
    for product in (p @ frame, frame.to_numpy() @ p, p @ frame.to_numpy()):
        assert isinstance(product, Tracked)
        assert product.tolist() == frame.to_numpy().tolist()
    back((p @ frame).sum())
    assert p.grad.tolist() == [[3, 7], [3, 7]]
    with pytest.raises(TypeError, match=r"to_numpy\(\) @ W"):  # pandas makes an array of p
        frame @ p


def test_pandas_arithmetic_is_differentiated_as_a_whole():
    w = param([1.0, 2.0])
    y = pd.Series([3.0, 5.0])
    loss = ((y - w) ** 2).sum()
    assert loss.shape == ()
    back(loss)
    assert w.grad.tolist() == [-4, -6]


def test_masked_arrays_are_refused():
    masked = np.ma.masked_array([1.0, 2.0, 3.0], [True, False, False])
    with pytest.raises(TypeError, match="mask"):
        param([1.0, 2.0, 3.0]) * masked


@pytest.mark.parametrize("x", [2, 2.0, True, -1])
@pytest.mark.parametrize("op", OPERATORS)
def test_python_scalars_never_widen_float32(op, x):
    p = param(np.array([1.0, 2.0], np.float32))
    assert op(p, x).dtype == np.float32
    assert op(abs(x), p).dtype == np.float32
    assert gradient(lambda p: np.sum(op(p, x)), p.data)[0].dtype == np.float32


def test_in_place_operators_on_a_plain_array_are_refused():
    x = np.ones(3)
    with pytest.raises(TypeError, match="out="):
        x += param(np.ones(3))
    assert x.tolist() == [1, 1, 1]


# -- plain results


@pytest.mark.parametrize(
    "f",
    [
        np.argmax, np.argmin, np.argsort, np.nonzero, np.sign, np.floor, np.ceil, np.rint, np.trunc, np.round, np.isnan,
        np.isinf, np.isfinite, np.isposinf, np.isneginf, np.signbit, np.any, np.all, np.shape, np.ndim, np.size,
        np.zeros_like, np.ones_like, np.argwhere, np.flatnonzero, np.count_nonzero, np.array2string, np.array_repr,
        np.iscomplexobj, np.isreal, np.imag, np.fix, np.nanargmax, np.logical_not, np.histogram, np.around,
    ],
)  # fmt: skip
def test_flat_functions_give_plain_results(f):
    found, expected = f(W), f(W.data)
    assert not istracked(found)
    assert type(found) is type(expected)
    assert np.array_equal(found[0], expected[0]) if isinstance(found, tuple) and found else np.all(found == expected)


@pytest.mark.parametrize("f", [np.isclose, np.allclose, np.array_equal, np.array_equiv, np.isin, np.logical_and])
def test_flat_functions_of_two_give_plain_results(f):
    for args in ((W, W.data), (W.data, W), (W, W)):
        assert not istracked(f(*args))
        assert np.all(f(*args))


@pytest.mark.parametrize("name", ["argmax", "argmin", "argsort", "all", "any", "round", "nonzero"])
def test_flat_methods_give_plain_results(name):
    found = getattr(W, name)()
    assert not istracked(found)
    assert np.array_equal(found, getattr(W.data, name)())


def test_what_people_call_on_predictions():
    labels = np.array([2, 0])
    assert np.mean(W.argmax(axis=1) == labels) == 0.5
    assert np.bincount(W.argmax(1), minlength=3).tolist() == [0, 0, 2]
    assert (W > 2).sum() == 4
    assert np.searchsorted(W[0], 2.5) == 2
    assert np.digitize(W, [2, 4]).tolist() == [[0, 1, 1], [2, 2, 2]]
    assert (W // 2).tolist() == [[0, 1, 1], [2, 2, 3]]
    assert (7 // W[0]).tolist() == [7, 3, 2]
    assert np.testing.assert_allclose(W.data, W.data) is None
    assert np.full_like(W, 2).tolist() == [[2, 2, 2]] * 2
    assert np.savetxt is not None
    assert W[W.data > 4].tolist() == [5, 6]
    assert W[W > 4].tolist() == [5, 6]
    assert W[np.argmax(W, 0), [0, 1, 2]].tolist() == [4, 5, 6]


def test_a_tracked_array_is_saved_as_its_plain_value(tmp_path):
    np.save(tmp_path / "w.npy", W)
    np.savez(tmp_path / "w.npz", w=W)
    assert np.array_equal(np.load(tmp_path / "w.npy"), W.data)
    with np.load(tmp_path / "w.npz") as saved:
        assert np.array_equal(saved["w"], W.data)


def test_completion_offers_what_a_tracked_array_has():
    names = dir(param(1.0) * 2)
    assert {"data", "shape", "reshape", "T"} <= set(names)
    assert not {"fill", "backward", "detach"} & set(names)
    assert not hasattr(param(1.0), "fill")

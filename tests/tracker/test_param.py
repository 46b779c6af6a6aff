"""Parameters, and data, grad and update."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fluxmagic import back, param
from fluxmagic.tracker import data, grad, istracked, update

W = param([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


# -- param, data, grad, update


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_param_keeps_floats_and_copies(dtype):
    x = np.arange(3, dtype=dtype)
    p = param(x)
    x[0] = 9
    assert p.dtype == dtype
    assert p.data[0] == 0
    assert p.grad.shape == (3,)
    assert p.grad.dtype == dtype
    assert not p.grad.any()


@pytest.mark.parametrize("x", [3, True, [1, 2], np.arange(2, dtype=np.uint8), (1, (2.5)), pd.Series([1, 2])])
def test_param_makes_float64_of_all_other_numbers(x):
    assert param(x).dtype == np.float64
    assert param(x).shape == np.shape(x)


@pytest.mark.parametrize("x", [1j, "a", None, np.float16(1), np.array([None]), np.datetime64("2020-01-01")])
def test_param_refuses_other_dtypes(x):
    with pytest.raises(TypeError, match="float32, float64, integers and bools"):
        param(x)


def test_param_of_a_tracked_array_is_refused():
    with pytest.raises(TypeError, match=r"pass x\.data"):
        param(W)
    with pytest.raises(TypeError, match=r"np\.stack"):
        param([W.sum(), W.sum()])


def test_param_takes_any_memory_layout_and_byte_order():
    x = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(param(x[::-1].T).data, x[::-1].T)
    swapped = param(x.astype(">f8"))
    assert swapped.dtype == np.dtype(float)
    assert swapped.dtype.isnative
    assert np.array_equal(swapped.data, x)


def test_data_and_grad_are_live_plain_arrays():
    p = param([1.0, 2.0])
    assert type(p.data) is np.ndarray
    assert data(p) is p.data
    assert grad(p) is p.grad
    g = p.grad
    back((p * p).sum())
    assert g.tolist() == [2, 4]
    p.data[0] = 7
    assert float(p[0]) == 7
    assert type((p * 2).data) is np.ndarray
    assert type(p.sum().data) is np.ndarray


@pytest.mark.parametrize("x", [3, [1, 2], np.ones(2), None])
def test_data_of_something_untracked_is_itself(x):
    assert data(x) is x


def test_istracked():
    assert istracked(W)
    assert istracked(W.sum())
    assert not istracked(W.data)
    assert not istracked(1.0)


def test_a_computed_array_has_no_grad_and_the_error_names_hook():
    with pytest.raises(TypeError, match="hook"):
        (W * 2).grad
    with pytest.raises(TypeError, match="hook"):
        grad(W * 2)
    with pytest.raises(TypeError, match="ndarray"):
        grad(W.data)


def test_assigning_data_copies_into_place():
    p = param(np.zeros(2, np.float32))
    storage = p.data
    p.data = [1, 2.5]
    assert storage.tolist() == [1, 2.5]
    p.data = param([3.0, 4.0])
    assert storage.tolist() == [3, 4]
    assert p.dtype == np.float32
    p.data += 1
    assert storage.tolist() == [4, 5]


def test_assigning_data_checks_first():
    p = param([1.0, 2.0])
    with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
        p.data = np.ones(3)
    with pytest.raises(ValueError, match=r"\(\).*\(2,\)"):
        p.data = 1.0
    with pytest.raises(TypeError, match="complex"):
        p.data = [1j, 2]
    with pytest.raises(TypeError, match="computed"):
        (p * 2).data = [1, 2]
    assert p.data.tolist() == [1, 2]


def test_update_adds_and_clears():
    p = param(np.ones(2, np.float32))
    back(p.sum())
    assert update(p, [1, 2]) is p
    assert p.data.tolist() == [2, 3]
    assert p.dtype == np.float32
    assert not p.grad.any()
    update(p, -1)
    assert p.data.tolist() == [1, 2]


def test_update_with_the_gradient_itself():
    p = param([1.0, 2.0])
    back((p * p).sum())
    update(p, -0.5 * grad(p))
    assert p.data.tolist() == [0, 0]
    back((p + 1).sum())
    update(p, p.grad)
    assert p.data.tolist() == [1, 1]


@pytest.mark.parametrize("Δ", [np.ones(3), np.ones((2, 2)), np.ones((5, 2))])
def test_update_of_a_wrong_shape_names_both_and_changes_nothing(Δ):
    p = param([1.0, 2.0])
    back(p.sum())
    with pytest.raises(ValueError, match=r"update.*\(.*\(2,\)"):
        update(p, Δ)
    assert p.data.tolist() == [1, 2]
    assert p.grad.tolist() == [1, 1]


def test_update_takes_parameters_and_real_numbers():
    with pytest.raises(TypeError, match="update"):
        update(np.ones(2), 1)
    with pytest.raises(TypeError, match="update"):
        update(W * 2, 1)
    with pytest.raises(TypeError, match="complex"):
        update(param(1.0), 1j)

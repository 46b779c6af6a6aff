"""The parameters of an optimiser: what is taken, how they lie in memory, overlapping lists."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxmagic import (
    ADAM,
    SGD,
    Chain,
    Dense,
    Momentum,
    Nesterov,
    back,
    param,
    params,
)
from fluxmagic.optimise import OPTIMISERS, Hyper, Optimiser
from fluxmagic.optimise.flat_buffer import ALIGNMENT
from fluxmagic.optimise.memory import BLOCK

ALL = [o for o in OPTIMISERS.values() if o.__module__ == "fluxmagic.optimise.rules"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: param(1.0), r"list of parameters: \[W\], or params\(m\)"),
        (lambda: [np.ones(3)], r"this is a ndarray: param\(...\) makes one"),
        (lambda: [param(1.0) * 2], "this is a Tracked"),
        (lambda: Chain(Dense(2, 2)), r"this is a Dense: .*params\(m\) finds those of a model"),
        (lambda: 3, "not a int"),
        (lambda: np.array(3.0), "not a ndarray"),
        (lambda: ["W"], "this is a str"),
        (lambda: [], "given no parameters"),
    ],
)
def test_what_is_no_parameter_is_refused(wrong, message):
    with pytest.raises(TypeError, match=message):
        SGD(wrong(), 0.1)


def test_parameters_may_come_from_any_iterable_and_count_once():
    p, q = param(1.0), param(1.0)
    opt = SGD((x for x in (p, q, p)), 0.1)
    assert opt.params == [p, q]
    back(p + q)
    opt()
    assert p.data == q.data == pytest.approx(0.9)


def test_an_update_clears_its_own_gradients_and_no_others():
    p, q = param([1.0, 2.0]), param(3.0)
    opt = SGD([p], 0.1)
    back((p * q).sum())
    opt()
    assert p.grad.tolist() == [0, 0]
    assert q.grad == 3.0


def test_gradients_of_several_passes_add_up_until_the_update():
    p = param(1.0)
    opt = SGD([p], 0.1)
    back(p * 2.0)
    back(p * 3.0)
    opt()
    assert p.data == pytest.approx(0.5)


def test_a_gradient_from_before_the_optimiser_was_made_counts():
    p = param(1.0)
    back(p * 2.0)
    opt = SGD([p], 0.1)
    assert p.grad == 2.0
    opt()
    assert p.data == pytest.approx(0.8)


def test_a_gradient_that_was_written_by_hand_counts():
    p = param([1.0, 1.0])
    opt = SGD([p], 0.1)
    p.grad[...] = [1, 2]
    back(p.sum())
    opt()
    np.testing.assert_allclose(p.data, [0.8, 0.7])
    p.grad[...] = [1, 2]  # and nothing else
    opt()
    np.testing.assert_allclose(p.data, [0.7, 0.5])
    assert not p.grad.any()


def test_moving_the_storage_keeps_values_and_gradients():
    p, q = param(np.arange(6.0).reshape(2, 3)), param(np.float32(7))
    back(p.sum())
    before = p.data.copy()
    opt = Momentum([p, q], 0.1)
    assert (p.data == before).all()
    assert (p.grad == 1).all()
    assert p.data.shape == (2, 3)
    assert q.data == 7
    assert q.dtype == np.float32
    assert p.data.ctypes.data % ALIGNMENT == 0
    opt()
    np.testing.assert_allclose(p.data, before - 0.1)


def test_assigned_data_is_what_the_next_update_starts_from():
    p = param([1.0, 2.0])
    opt = SGD([p], 0.1)
    p.data = [5.0, 6.0]
    back(p.sum())
    opt()
    np.testing.assert_allclose(p.data, [4.9, 5.9])


@pytest.mark.parametrize("empty", [np.zeros((0, 3)), np.zeros(0, np.float32)])
def test_empty_parameters_do_no_harm(empty):
    p, q = param(empty), param([1.0])
    for opt in (ADAM([p], 0.1), Nesterov([p, q], 0.1, clipnorm=1.0)):
        back(q.sum())
        opt()
    assert p.data.shape == empty.shape


def test_more_parameters_than_a_block_holds_are_all_updated():
    p = param(np.zeros(2 * BLOCK + 100, np.float32))
    opt = Momentum([p], 1.0)
    back((p * np.float32(2)).sum())
    opt()
    assert (p.data == -2).all()
    assert len(opt.memory.blocks) == 3


def test_a_rule_cannot_write_to_its_constants():
    class Halving(Optimiser):
        η = Hyper(0.1, "learning rate")

        def step(self, δ, s, η):
            η *= 0.5
            return δ * η

    p = param([1.0])
    opt = Halving([p])
    back(p.sum())
    with pytest.raises(ValueError, match="read-only"):
        opt()
    assert p.data == 1


def four():
    return [param(np.arange(n, dtype=float) + i) for i, n in enumerate((3, 2, 5, 1))]


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_optimisers_over_overlapping_lists_all_stay_right(data):
    """Several optimisers, each over some of the parameters, do what they would do with memory of their own."""
    lists = data.draw(st.lists(st.permutations(range(4)).flatmap(st.permutations), min_size=1, max_size=3))
    lists = [order[: data.draw(st.integers(1, 4))] for order in lists]
    rules = [data.draw(st.sampled_from([SGD, Momentum, ADAM])) for _ in lists]
    shared, alone = four(), [four() for _ in lists]
    opts = [cls([shared[i] for i in order], 0.1) for cls, order in zip(rules, lists, strict=True)]
    own = [cls([ps[i] for i in order], 0.1) for cls, order, ps in zip(rules, lists, alone, strict=True)]
    for k in data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=6)):
        back(sum((p * p * (i + 1)).sum() for i, p in enumerate(shared)))
        back(sum((p * p * (i + 1)).sum() for i, p in enumerate(alone[k])))
        opts[k]()
        own[k]()
        for i in range(4):
            np.testing.assert_array_equal(shared[i].data, alone[k][i].data)
            if i in lists[k]:
                assert not shared[i].grad.any()
            for other in alone:
                other[i].data = shared[i].data
                other[i].zero_grad()
            shared[i].zero_grad()


def test_the_same_list_keeps_its_storage():
    ps = params(Chain(Dense(3, 2), Dense(2, 1)))
    SGD(ps, 0.1)
    where = [p.data.ctypes.data for p in ps]
    Momentum(ps, 0.1)
    assert [p.data.ctypes.data for p in ps] == where

"""Numbers that leave the range of their dtype."""

import numpy as np
import pytest

from fluxmagic import (
    ADAM,
    ADAMW,
    SGD,
    ADAGrad,
    AdaMax,
    Momentum,
    Nesterov,
    NotFinite,
    back,
    param,
)
from fluxmagic.optimise import OPTIMISERS, Hyper, Optimiser
from fluxmagic.optimise.memory import BLOCK
from fluxmagic.optimise.optimiser import CHECK_EVERY

ALL = [o for o in OPTIMISERS.values() if o.__module__ == "fluxmagic.optimise.rules"]


@pytest.mark.parametrize("cls", [c for c in ALL if "ϵ" in c.hypers or "ε" in c.hypers])
def test_an_epsilon_that_is_zero_in_the_dtype_is_refused(cls):
    p, wide = param(np.ones(1, np.float32)), param(np.ones(1))
    with pytest.raises(ValueError, match="ε = 1e-46 is 0 in float32, the dtype of the parameters: 0 < ε"):
        cls([p], epsilon=1e-46)
    opt = cls([p])
    with pytest.raises(ValueError, match="is 0 in float32"):
        opt.epsilon = 1e-46
    with pytest.raises(ValueError, match="is 0 in float32"):
        opt.epsilon = lambda n: 1e-46
    assert opt.epsilon == 1e-8
    assert cls([wide], epsilon=1e-46).epsilon == 1e-46
    with pytest.raises(ValueError, match="is 0 in float32"):
        cls([wide, p], epsilon=1e-46)
    opt.epsilon = 1e-40  # denormal, and not 0
    back((p * 0.0).sum())
    opt()
    assert p.data == 1


@pytest.mark.parametrize(
    ("cls", "dial", "value", "there"),
    [
        (SGD, "η", 1e-46, "0"),
        (SGD, "η", 1e39, "inf"),
        (SGD, "weightdecay", 1e-50, "0"),
        (SGD, "clip", 1e-46, "0"),
        (SGD, "weightdecay", 1e300, "inf"),
        (SGD, "decay", 1e300, "inf"),
        (Momentum, "ρ", 1 - 1e-9, "1"),
        (ADAM, "β2", 1 - 1e-9, "1"),
    ],
)
def test_a_dial_that_means_something_else_in_the_dtype_is_refused(cls, dial, value, there):
    p = param(np.ones(1, np.float32))
    with pytest.raises(ValueError, match=rf"{dial} = .* is {there} in float32"):
        cls([p], **{dial: value})
    opt = cls([p])
    before = opt.values
    with pytest.raises(ValueError, match="in float32"):
        setattr(opt, dial, value)
    assert opt.values == before
    setattr(cls([param(np.ones(1))]), dial, value)


def test_a_schedule_may_go_down_to_nothing():
    p = param(np.ones(1, np.float32))
    opt = SGD([p], lambda n: 10.0 ** (-40 * n))
    for _ in range(3):
        back((p * np.float32(0.5)).sum())
        opt()
    assert p.data == 0.5


SQUARES = [o for o in ALL if o not in (SGD, Momentum, Nesterov)]


@pytest.mark.parametrize("cls", SQUARES)
def test_a_huge_gradient_does_not_freeze_a_parameter(cls):
    W = param(np.zeros(2, np.float32))
    opt = cls([W], weightdecay=0.0)
    path = []
    for k in range(10):
        back((W * np.float32(1e20 if k == 5 else 1)).sum())
        before, state = W.data.copy(), opt.state_dict()
        if k != 5 or cls is AdaMax:
            opt()
        else:
            with pytest.raises(NotFinite) as caught:
                opt()
            error = caught.value
            assert error.what.startswith("state ")
            assert error.parameter is W
            assert str(error).startswith(
                f"step 6: the {error.what} of a parameter of shape (2,) is not finite; nothing"
            )
            np.testing.assert_array_equal(W.data, before)
            after = opt.state_dict()
            assert (after["n"], after["numbers"]) == (state["n"], state["numbers"])
            for a, b in zip(after["arrays"].values(), state["arrays"].values(), strict=True):
                np.testing.assert_array_equal(a, b)
            assert not W.grad.any()
        path.append(float(W.data[0]))
    assert np.isfinite(path).all()
    assert path[-1] < path[5]  # it goes on


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("size", [3, BLOCK + 3])
def test_an_update_that_overflows_leaves_weights_and_state_as_they_were(cls, size, dtype):
    large = float(np.finfo(dtype).max) / 2
    p, q = param(np.full(size, 1.0, dtype)), param(np.full(size, -1.9 * large, dtype))
    opt = cls([p, q])
    p.grad[...] = q.grad[...] = 0.01
    opt()
    before, state = [p.data.copy(), q.data.copy()], opt.state_dict()
    if "η" in cls.hypers:
        opt.η = large
    p.grad[...], q.grad[...] = 0.01, large
    with pytest.raises(NotFinite, match="nothing was updated"):
        opt()
    np.testing.assert_array_equal(p.data, before[0])
    np.testing.assert_array_equal(q.data, before[1])
    after = opt.state_dict()
    assert (after["n"], after["numbers"]) == (state["n"], state["numbers"]) != (0, cls.numbers)
    for a, b in zip(after["arrays"].values(), state["arrays"].values(), strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_weight_decay_of_a_huge_weight_that_overflows_is_refused():
    p = param(np.array([1e38, 1.0], np.float32))
    for opt in (SGD([p], 1.0, weightdecay=100.0), ADAMW([p], 1.0, weightdecay=1e4)):
        back((p * np.float32(0)).sum())
        with pytest.raises(NotFinite, match="the updated value of a parameter"):
            opt()
        assert p.data.tolist() == [np.float32(1e38), 1.0]


def test_a_sum_of_squares_that_grows_out_of_the_range_is_seen_before_it_gets_there():
    p = param(np.zeros(1, np.float32))
    opt = ADAGrad([p])
    opt()  # the first update is made with a copy at hand
    state = opt.state_dict()
    state["arrays"]["a"][0][...] = 3.4e38
    opt.load_state_dict(state)
    back((p * np.float32(1e14)).sum())
    opt()  # 1e28 is nothing beside it
    back((p * np.float32(1e18)).sum())
    with pytest.raises(NotFinite, match="the state a of"):
        opt()
    assert opt.state_dict()["arrays"]["a"] == [np.float32(3.4e38)]


def test_a_state_that_is_not_finite_any_more_is_found_wherever_it_comes_from(registry):
    class Spoiling(Optimiser):
        state = ("m",)

        def step(self, δ, s):
            if self.n == 200:
                s.m[1] = np.nan
            return 0 * δ

    p = param(np.ones(3))
    opt = Spoiling([p])
    with pytest.raises(NotFinite, match=r"the state m of .* other weights may be updated already") as caught:
        for _ in range(400):
            opt()
    assert not caught.value.kept
    assert 200 < opt.n <= 200 + CHECK_EVERY


def test_a_gradient_that_is_not_finite_is_refused_by_hand_too():
    p, q = param(np.ones(2)), param(np.ones(2))
    opt = SGD([p, q], 0.1)
    back((p * 1.0).sum() + (q * np.array([1.0, np.nan])).sum())
    with pytest.raises(NotFinite, match=r"step 1: the gradient of .* is not finite; nothing was updated") as caught:
        opt()
    assert caught.value.parameter is q
    assert p.data.tolist() == [1, 1]
    assert not q.grad.any()


def test_a_rule_that_steps_where_the_gradient_is_zero_does_the_same_however_parameters_are_cut(registry):
    class Push(Optimiser):
        η = Hyper(0.1, "learning rate")

        def step(self, δ, s):
            return self.η * (δ + 1)

    def walked(ps):
        opt = Push(ps, clipnorm=1.0, weightdecay=0.5)
        for _ in range(20):
            back(sum((p * p).sum() for p in ps))
            opt()
        return np.concatenate([p.data for p in ps])

    found = walked([param([1.0, 2.0, 3.0]), param([4.0])])
    np.testing.assert_allclose(found, walked([param([1.0, 2.0, 3.0, 4.0])]))

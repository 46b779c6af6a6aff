"""The state of an optimiser: what it holds, saved, restored and copied."""

import copy
import pickle

import numpy as np
import pytest

from fluxmagic import (
    ADAM,
    SGD,
    Chain,
    Dense,
    Momentum,
    back,
    mse,
    param,
    params,
    relu,
)
from fluxmagic.optimise import OPTIMISERS

ALL = [o for o in OPTIMISERS.values() if o.__module__ == "fluxmagic.optimise.rules"]


def model(cls, seed=0, **dials):
    m = Chain(Dense(3, 4, relu, rng=seed), Dense(4, 2, rng=seed, dtype=np.float64))
    return m, cls(params(m), **dials)


def train_on(m, opt, steps, seed=1):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        back(mse(m(rng.normal(size=(5, 3))), rng.normal(size=(5, 2))))
        opt()


def values(m):
    return [p.data.copy() for p in params(m)]


@pytest.mark.parametrize("cls", ALL)
def test_state_dict_is_all_that_another_needs_to_go_on(cls):
    m, opt = model(cls, decay=0.1, clip=0.5)
    train_on(m, opt, 5)
    other, again = model(cls)
    for p, v in zip(params(other), values(m), strict=True):
        p.data = v
    again.load_state_dict(opt.state_dict())
    assert again.n == 5
    assert again.values == opt.values
    train_on(m, opt, 5, seed=2)
    train_on(other, again, 5, seed=2)
    for a, b in zip(values(m), values(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_state_dict_holds_copies_in_the_parameters_shapes():
    m, opt = model(ADAM)
    train_on(m, opt, 2)
    state = opt.state_dict()
    for arrays in state["arrays"].values():
        assert [(a.shape, a.dtype) for a in arrays] == [(p.shape, p.dtype) for p in params(m)]
    state["arrays"]["m"][0][...] = 1e9
    state["hypers"]["η"] = 1e9
    assert opt.state_dict()["arrays"]["m"][0].max() < 1e9
    assert opt.η == 0.001


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.pop("n"), "lacks n"),
        (lambda s: s.update(name="SGD"), "it is of SGD"),
        (lambda s: s.update(n=-1), "n is -1"),
        (lambda s: s["hypers"].update(η=-1.0), "0 ≤ η"),
        (lambda s: s["hypers"].pop("β1"), "its hypers are"),
        (lambda s: s["numbers"].clear(), "its numbers are none"),
        (lambda s: s["numbers"].update({"Πβ1": "one"}), "Πβ1 is 'one'"),
        (lambda s: s["arrays"].pop("u"), "its arrays are m, not m, u"),
        (lambda s: s["arrays"]["u"].pop(), "u is of 3 parameters, not 4"),
        (lambda s: s["arrays"]["u"].reverse(), r"u\[0\] is float64 of shape \(2,\)"),
        (lambda s: s["arrays"].update(m=[a.astype(np.float16) for a in s["arrays"]["m"]]), r"m\[0\] is float16"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_nothing_changes(spoil, message):
    m, opt = model(ADAM)
    train_on(m, opt, 3)
    state = copy.deepcopy(opt.state_dict())
    state["n"] = 77
    state["hypers"]["η"] = 0.7
    spoil(state)
    before = opt.state_dict()
    with pytest.raises(ValueError, match=message):
        opt.load_state_dict(state)
    after = opt.state_dict()
    assert (after["n"], after["hypers"], after["numbers"]) == (before["n"], before["hypers"], before["numbers"])
    for k in before["arrays"]:
        for a, b in zip(before["arrays"][k], after["arrays"][k], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("cls", [SGD, ADAM])
def test_a_model_copied_with_its_optimiser_goes_on_alone(cls, copied):
    m, opt = model(cls, η=0.05)
    train_on(m, opt, 3)
    other, again = copied((m, opt))
    assert again.params == params(other)
    before = values(m)
    train_on(other, again, 3, seed=2)
    for a, b in zip(before, values(m), strict=True):
        np.testing.assert_array_equal(a, b)
    train_on(m, opt, 3, seed=2)
    for a, b in zip(values(m), values(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_repr_says_what_differs_from_the_defaults():
    assert repr(Momentum([param(1.0)], 0.5, decay=0.1)) == "Momentum(1 parameters, η=0.5, decay=0.1)"

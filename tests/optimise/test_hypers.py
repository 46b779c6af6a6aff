"""Hyper-parameters: their names, bounds, schedules, and the declaration that they come from."""

import inspect

import numpy as np
import pytest

from fluxmagic import (
    ADAM,
    SGD,
    Momentum,
    back,
    param,
)
from fluxmagic.optimise import OPTIMISERS, Hyper

ALL = [o for o in OPTIMISERS.values() if o.__module__ == "fluxmagic.optimise.rules"]


# -- dials: names --------------------------------------------------------------------------------------


def test_eta_may_come_by_position_by_its_greek_or_its_ascii_name():
    assert [SGD([param(1.0)], *a, **k).η for a, k in (((0.3,), {}), ((), {"η": 0.3}), ((), {"eta": 0.3}))] == [0.3] * 3


@pytest.mark.parametrize("cls", ALL)
def test_every_dial_has_an_ascii_name_that_reads_and_sets_the_same(cls):
    opt = cls([param(1.0)])
    for h in cls.hypers.values():
        assert h.ascii.isascii()
        setattr(opt, h.ascii, 0.5)
        assert getattr(opt, h.name) == getattr(opt, h.ascii) == opt.values[h.name] == 0.5


def test_epsilon_is_one_name_however_it_is_spelled():
    opt = ADAM([param(1.0)], **{"ϵ": 1e-3})
    assert opt.ϵ == opt.epsilon == getattr(opt, "ϵ") == getattr(opt, "ε") == 1e-3  # noqa: B009
    setattr(opt, "ϵ", 1e-4)  # noqa: B010
    assert opt.ϵ == 1e-4
    assert ADAM([param(1.0)], epsilon=1e-5).ϵ == 1e-5


@pytest.mark.parametrize(
    "call",
    [
        lambda p: SGD([p], 0.1, η=0.1),
        lambda p: SGD([p], 0.1, eta=0.1),
        lambda p: SGD([p], η=0.1, eta=0.1),
        lambda p: ADAM([p], β1=0.1, beta1=0.1),
        lambda p: ADAM([p], **{"ϵ": 0.1, "ε": 0.1}),
    ],
)
def test_the_same_dial_twice_is_an_error(call):
    with pytest.raises(TypeError, match="is given twice"):
        call(param(1.0))


def test_a_dial_that_the_optimiser_lacks_is_an_error_that_lists_those_it_has():
    with pytest.raises(TypeError, match="SGD has no rho; it has η, decay, clip, clipnorm, weightdecay"):
        SGD([param(1.0)], rho=0.9)
    with pytest.raises(TypeError, match="takes the parameters, η and keywords"):
        SGD([param(1.0)], 0.1, 0.9)
    opt = SGD([param(1.0)])
    with pytest.raises(AttributeError, match="SGD has no lr; it has η"):
        opt.lr = 0.1
    with pytest.raises(AttributeError, match="SGD has no ρ; it has η"):
        opt.ρ
    with pytest.raises(AttributeError, match="SGD has no rho; it has η"):
        opt.rho = 0.9


@pytest.mark.parametrize("name", ["params", "n", "hypers", "state", "numbers", "name"])
def test_what_is_no_dial_cannot_be_assigned(name):
    with pytest.raises(AttributeError):
        setattr(SGD([param(1.0)]), name, None)


# -- dials: bounds -------------------------------------------------------------------------------------

BOUNDS = {"η": "0 ≤ η", "ρ": "0 ≤ ρ < 1", "β1": "0 ≤ β1 < 1", "β2": "0 ≤ β2 < 1", "ε": "0 < ε"}
BOUNDS |= {"decay": "0 ≤ decay", "clip": "0 < clip", "clipnorm": "0 < clipnorm", "weightdecay": "0 ≤ weightdecay"}
WRONG = {"η": [-1e-9], "ρ": [-0.1, 1.0, 1.5], "β1": [-0.1, 1.0], "β2": [-0.1, 1.0], "ε": [0.0, -1.0]}
WRONG |= {"decay": [-1.0], "clip": [0.0, -1.0], "clipnorm": [0.0, -1.0], "weightdecay": [-1.0]}


@pytest.mark.parametrize("cls", ALL)
def test_values_out_of_bounds_are_refused_with_the_bound_and_nothing_changes(cls):
    opt = cls([param(1.0)])
    before = opt.values
    for k in cls.hypers:
        for wrong in [*WRONG[k], np.nan, -np.inf]:
            with pytest.raises(ValueError, match=BOUNDS[k]):
                setattr(opt, k, wrong)
            with pytest.raises(ValueError, match=BOUNDS[k]):
                cls([param(1.0)], **{k: wrong})
    with pytest.raises(ValueError):
        opt.decay = np.inf
    assert opt.values == before


@pytest.mark.parametrize("wrong", ["0.1", None, True, np.True_, 1j, [0.1], np.ones(1), object()])
def test_a_dial_takes_nothing_but_a_real_number(wrong):
    opt = SGD([param(1.0)], 0.3)
    with pytest.raises(TypeError, match=r"η is a number \(0 ≤ η\)"):
        opt.η = wrong
    assert opt.η == 0.3


@pytest.mark.parametrize("right", [1, np.float32(1), np.int8(1), np.array(1.0), np.array(1)])
def test_a_dial_takes_any_kind_of_real_number_and_keeps_a_float(right):
    opt = SGD([param(1.0)], right)
    assert type(opt.η) is float
    assert opt.η == 1.0


def test_bounds_themselves_are_allowed_where_they_are_said_to_be():
    ADAM([param(1.0)], 0, β1=0, β2=0, decay=0, weightdecay=0, clip=None, clipnorm=np.inf)


def test_the_declaration_says_all_that_a_dial_needs():
    h = Momentum.ρ
    assert (h.name, h.ascii, h.default, h.low, h.high, h.high_open, h.scale) == ("ρ", "rho", 0.9, 0, 1, True, "memory")
    assert SGD.η.scale == "log"
    assert all(h.doc and "\n" not in h.doc for cls in ALL for h in cls.hypers.values())
    with pytest.raises(ValueError, match="scale is"):
        Hyper(1.0, "what", scale="square")


def test_the_signature_is_made_from_the_declaration():
    assert str(inspect.signature(Momentum)) == (
        "(params, η=0.01, *, ρ=0.9, decay=0.0, clip=inf, clipnorm=inf, weightdecay=0.0)"
    )


# -- schedules -----------------------------------------------------------------------------------------


def test_a_function_of_the_updates_done_is_a_schedule():
    p = param(0.0)
    opt = SGD([p], lambda n: 1 / (n + 1))
    seen = []
    for _ in range(3):
        back(p * 1.0)
        opt()
        seen.append(opt.η)
    assert seen == [1, 1 / 2, 1 / 3]
    assert p.data == pytest.approx(-(1 + 1 / 2 + 1 / 3))


def test_a_value_set_by_hand_beats_a_schedule_and_a_schedule_replaces_a_value():
    opt = SGD([param(0.0)], lambda n: 0.5)
    opt.η = 0.1
    opt()
    assert (opt.η, opt.schedules) == (0.1, {})
    opt.eta = lambda n: 0.25 + n
    opt()
    assert opt.η == 1.25


def test_a_schedule_that_leaves_the_bounds_is_refused_before_anything_is_updated():
    p = param(1.0)
    opt = SGD([p], lambda n: 1.0 - n)
    back(p * 1.0)
    opt()
    back(p * 1.0)
    opt()
    back(p * 1.0)
    with pytest.raises(ValueError, match="0 ≤ η"):
        opt()
    assert p.data == 0.0
    assert opt.n == 2
    with pytest.raises(ValueError, match="0 ≤ η"):
        opt.η = lambda n: -1.0


def test_completion_offers_what_an_optimiser_has_and_no_words_of_others():
    names = dir(SGD([param(1.0)]))
    assert {"η", "eta", "decay", "params", "n", "state_dict"} <= set(names)
    assert not {"lr", "momentum", "rho", "zero_grad"} & set(names)
    assert len(names) == len(set(names))
    assert not hasattr(SGD, "lr")

"""What all optimisers share: declared dials, the parameters they hold, state in and out, a class of one's own."""

import copy
import inspect
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxmagic import (
    ADAM,
    ADAMW,
    SGD,
    ADAGrad,
    AdaMax,
    Chain,
    Dense,
    Momentum,
    Nesterov,
    NotFinite,
    Run,
    back,
    logitcrossentropy,
    mse,
    param,
    params,
    relu,
)
from fluxmagic.optimise import OPTIMISERS, Hyper, Optimiser
from fluxmagic.optimise.flat_buffer import ALIGNMENT
from fluxmagic.optimise.memory import BLOCK
from fluxmagic.optimise.optimiser import CHECK_EVERY, SMALL

ALL = [o for o in OPTIMISERS.values() if o.__module__ == "fluxmagic.optimise.rules"]


@pytest.fixture
def registry():
    before = dict(OPTIMISERS)
    yield OPTIMISERS
    OPTIMISERS.clear()
    OPTIMISERS.update(before)


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


# -- parameters ----------------------------------------------------------------------------------------


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

    del OPTIMISERS["Halving"]
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


# -- state in and out ----------------------------------------------------------------------------------


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


# -- an optimiser of one's own ---------------------------------------------------------------------------


def test_an_optimiser_of_ones_own_is_a_dozen_lines_and_gets_everything(registry):
    class Lion(Optimiser):
        """Steps of constant size along the sign of a momentum.  https://arxiv.org/abs/2302.06675"""

        η = Hyper(1e-2, "learning rate", scale="log")
        β1 = Hyper(0.9, "memory of the direction", high=1, high_open=True, scale="memory")
        β2 = Hyper(0.99, "memory of the momentum", high=1, high_open=True, scale="memory")
        state = ("m",)

        def step(self, δ, s):
            step = self.η * np.sign(self.β1 * s.m + (1 - self.β1) * δ)
            s.m += (1 - self.β2) * (δ - s.m)
            return step

    assert registry["Lion"] is Lion
    assert str(inspect.signature(Lion)).startswith("(params, η=0.01, *, β1=0.9, β2=0.99, decay=0.0")
    p, m, x = param([1.0, -2.0, 0.5]), np.zeros(3), np.array([1.0, -2.0, 0.5])
    opt = Lion([p], eta=0.1, weightdecay=0.01)
    for n in range(6):
        if n == 3:
            opt.beta1 = 0.5
        back((p * p).sum())
        opt()
        δ = 2 * x + 0.01 * x
        β1 = 0.9 if n < 3 else 0.5
        x, m = x - 0.1 * np.sign(β1 * m + (1 - β1) * δ), 0.99 * m + 0.01 * δ
        np.testing.assert_allclose(p.data, x)
    again = Lion([param(np.zeros(3))])
    again.load_state_dict(opt.state_dict())
    np.testing.assert_allclose(again.state_dict()["arrays"]["m"][0], m)
    with pytest.raises(ValueError, match="0 ≤ β2 < 1"):
        opt.β2 = 1.0


def test_a_class_that_inherits_keeps_the_dials_and_may_change_a_default(registry):
    class Careful(ADAM):
        η = Hyper(1e-5, "learning rate", scale="log")

    assert Careful([param(1.0)]).values == {**ADAM([param(1.0)]).values, "η": 1e-5}
    assert Careful([param(1.0)], beta2=0.5).β2 == 0.5


def test_a_class_with_an_underscore_is_not_offered(registry):
    class _Base(Optimiser):
        pass

    assert "_Base" not in registry


@pytest.mark.parametrize("name", ["n", "params", "state", "step", "clear", "values"])
def test_a_dial_whose_name_is_taken_is_refused_and_the_class_not_offered(name, registry):
    with pytest.raises(TypeError, match=f"Wrong: {name} is taken"):
        type("Wrong", (Optimiser,), {name: Hyper(1.0, "what")})
    assert "Wrong" not in registry


def test_a_greek_and_an_ascii_dial_of_the_same_name_are_refused(registry):
    with pytest.raises(TypeError, match="eta is taken"):
        type("Wrong", (Optimiser,), {"η": Hyper(1.0, "rate"), "eta": Hyper(1.0, "rate")})


def test_names_of_state_may_be_greek_as_typed(registry):
    class Own(Optimiser):
        state = ("ϵ",)

        def step(self, δ, s):
            s.ϵ += δ
            return s.ϵ

    p = param(0.0)
    opt = Own([p])
    back(p * 1.0)
    opt()
    assert p.data == -1.0


def test_a_class_without_a_step_says_so(registry):
    class Nothing(Optimiser):
        pass

    with pytest.raises(NotImplementedError, match=r"Nothing defines no step\(δ, s\)"):
        Nothing([param(1.0)])()


def fragile(fails, size, registry, **dials):
    """Two parameters, and an optimiser whose rule raises between them at that update."""

    class Fragile(Optimiser):
        η = Hyper(0.1, "learning rate")
        state = ("m",)
        numbers = {"power": 1.0}

        def constants(self):
            self._numbers.power *= 0.5
            return (self.η,)

        def step(self, δ, s, η):
            s.m += δ
            if s.p.dtype == np.float64 and self.n == fails:
                raise RuntimeError("no more")
            return η * s.m

    p, q = param(np.ones(size, np.float32)), param(np.ones(3))
    return p, q, Fragile([p, q], **dials), lambda: (p * np.float32(2)).sum() + (q * 3).sum()


@pytest.mark.parametrize("dials", [{}, {"clipnorm": 1.0, "decay": 0.1}])
@pytest.mark.parametrize(("fails", "size"), [(0, 3), (1, 3), (0, SMALL), (5, 3)])
def test_a_rule_that_raises_half_way_changes_nothing(registry, fails, size, dials):
    p, q, opt, loss = fragile(fails, size, registry, **dials)
    for _ in range(fails):
        back(loss())
        opt()
    before, state = [p.data.copy(), q.data.copy()], opt.state_dict()
    back(loss())
    with pytest.raises(RuntimeError, match="no more") as caught:
        opt()
    assert not hasattr(caught.value, "__notes__")
    np.testing.assert_array_equal(p.data, before[0])
    np.testing.assert_array_equal(q.data, before[1])
    assert not p.grad.any()
    after = opt.state_dict()
    assert (after["n"], after["numbers"]) == (state["n"], state["numbers"]) == (fails, {"power": 0.5**fails})
    for a, b in zip(state["arrays"]["m"], after["arrays"]["m"], strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_update_of_a_large_model_that_raises_says_that_it_is_half_done(registry):
    p, q, opt, loss = fragile(2, SMALL, registry)
    for _ in range(2):
        back(loss())
        opt()
    back(loss())
    with pytest.raises(RuntimeError, match="no more") as caught:
        opt()
    (note,) = caught.value.__notes__
    assert note.startswith("Fragile was in the middle of update 3: some parameters and states may be updated")
    assert "run.rewind(run.steps)" in note
    assert opt.n == 2
    assert not p.grad.any()
    assert not q.grad.any()


def test_a_run_goes_back_to_the_last_whole_update_after_a_rule_that_raised(registry):
    p, q, opt, loss = fragile(5, SMALL, registry)
    run = Run(lambda x: loss(), [0] * 10, opt)
    run.step(5)
    kept = p.data.copy(), q.data.copy(), opt.state_dict()
    with pytest.raises(RuntimeError, match="no more"):
        run.step()
    assert (p.data != kept[0]).all()
    run.rewind(run.steps)
    np.testing.assert_array_equal(p.data, kept[0])
    np.testing.assert_array_equal(q.data, kept[1])
    for a, b in zip(opt.state_dict()["arrays"]["m"], kept[2]["arrays"]["m"], strict=True):
        np.testing.assert_array_equal(a, b)


# -- an optimiser of one's own: its state ------------------------------------------------------------------


def averaging(registry, assign):
    class Averaging(Optimiser):
        η = Hyper(0.1, "learning rate")
        state = ("m",)

        def step(self, δ, s):
            assign(s, 0.9 * s.m + 0.1 * δ)
            return self.η * s.m

    return Averaging


def set_array(s, new):
    s.m = new


def set_elements(s, new):
    s.m[...] = new


@pytest.mark.parametrize("shapes", [[(3,), (2, 2)], [(BLOCK + 5,)]])
def test_a_state_that_is_assigned_is_written_in_place(registry, shapes):
    found = []
    for assign in (set_array, set_elements):
        ps = [param(np.linspace(1, 2, int(np.prod(shape))).reshape(shape)) for shape in shapes]
        opt = averaging(registry, assign)(ps)
        for _ in range(4):
            back(sum((p * p).sum() for p in ps))
            opt()
        found.append([p.data for p in ps] + opt.state_dict()["arrays"]["m"])
    assert all(a.any() for a in found[0])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_state_that_is_assigned_is_saved_rewound_and_replayed(registry, tmp_path):
    cls = averaging(registry, set_array)
    p = param([1.0, 2.0])
    loss = lambda x: ((p - x) ** 2).sum()
    run = Run(loss, [0.0] * 20, cls([p]))
    run.step(7)
    there = p.data.copy(), run.opt.state_dict()["arrays"]["m"][0]
    run.save(tmp_path / "run.npz")
    run.step(5)
    end = p.data.copy()
    run.rewind(7)
    np.testing.assert_array_equal(p.data, there[0])
    np.testing.assert_array_equal(run.opt.state_dict()["arrays"]["m"][0], there[1])
    q = param([0.0, 0.0])
    again = Run.load(tmp_path / "run.npz", lambda x: ((q - x) ** 2).sum(), [0.0] * 20, [q])
    again.step(5)
    np.testing.assert_array_equal(q.data, end)
    again.replay()


def test_a_gradient_that_is_kept_as_state_is_copied(registry):
    class Lagging(Optimiser):
        state = ("last",)

        def step(self, δ, s):
            step = 0.1 * s.last
            s.last = δ  # its memory holds the next gradient soon
            return step

    p = param(0.0)
    opt = Lagging([p])
    for k in (1.0, 2.0, 4.0):
        back(p * k)
        opt()
    assert p.data == pytest.approx(-0.3)
    assert opt.state_dict()["arrays"]["last"] == [4.0]


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (lambda δ: δ[:1], r"gave an array of shape \(1,\)"),
        (lambda δ: δ[:, None], r"gave an array of shape \(\d+, 1\)"),
        (lambda δ: None, "gave a NoneType"),
        (lambda δ: param(1.0) * 2, "gave a Tracked|leave the tape"),
    ],
)
@pytest.mark.parametrize("hypers", [{}, {"clip": 1.0}])
def test_a_rule_that_gives_no_step_of_the_gradients_shape_is_refused(registry, result, says, hypers):
    class Mistaken(Optimiser):
        def step(self, δ, s):
            return result(δ)

    p = param([1.0, 2.0])
    back((p * [3.0, 4.0]).sum())
    with pytest.raises(TypeError, match=says):
        Mistaken([p], **hypers)()
    assert p.data.tolist() == [1.0, 2.0]


def test_a_rule_may_give_one_number(registry):
    class Constant(Optimiser):
        def step(self, δ, s):
            return 0.5

    p = param([1.0, 2.0])
    Constant([p])()
    assert p.data.tolist() == [0.5, 1.5]


def test_what_a_rule_keeps_without_a_declaration_is_refused(registry):
    class Hidden(Optimiser):
        def step(self, δ, s):
            s.m = δ
            return δ

    with pytest.raises(AttributeError, match=r's has no m, it has p, δ, tmp; .* state = \("m",\)'):
        Hidden([param(1.0)])()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("count", 1.0, "keeps a number count that it does not declare: numbers = {'count': 1.0}"),
        ("k", [1], "k is a list, not a number"),
    ],
)
def test_a_number_that_could_not_be_restored_is_refused(registry, name, value, words):
    class Counting(Optimiser):
        numbers = {"k": 0.0}

        def step(self, δ, s):
            setattr(self._numbers, name, value)
            return δ

    p = param(1.0)
    opt = Counting([p])
    back(p * 1.0)
    opt()
    with pytest.raises(TypeError, match=words):
        opt.state_dict()


def test_a_rule_may_use_the_package_itself(registry):
    inner = param([1.0, 2.0])

    class Searching(Optimiser):
        def step(self, δ, s):
            back(logitcrossentropy(inner.reshape(1, 2), [0]))
            SGD([inner], 0.1)()
            return 0.1 * δ

    p = param(1.0)
    opt = Searching([p])
    for _ in range(3):
        back(p * 1.0)
        opt()
    assert p.data == pytest.approx(0.7)


# -- numbers that leave the range of their dtype -------------------------------------------------------------


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

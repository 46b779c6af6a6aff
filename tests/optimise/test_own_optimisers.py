"""A user's own optimiser: what its class gets, its state, and its errors."""

import inspect

import numpy as np
import pytest

from fluxmagic import (
    ADAM,
    SGD,
    Run,
    back,
    logitcrossentropy,
    param,
)
from fluxmagic.optimise import OPTIMISERS, Hyper, Optimiser
from fluxmagic.optimise.memory import BLOCK
from fluxmagic.optimise.optimiser import SMALL

ALL = [o for o in OPTIMISERS.values() if o.__module__ == "fluxmagic.optimise.rules"]


# -- a user's optimiser ---------------------------------------------------------------------------


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


def test_a_rule_declared_plain_runs_without_a_copy_and_a_rule_that_replaces_it_does_not(registry):
    class Plain(Optimiser, plain=True):
        def step(self, δ, s):
            if self.n == 1:
                raise RuntimeError("no more")
            return δ

    class Replacing(Plain):
        def step(self, δ, s):
            return super().step(δ, s)

    assert (Plain.plain, Replacing.plain) == (True, False)
    for cls, notes in ((Plain, 1), (Replacing, 0)):
        opt = cls([param(1.0)])
        opt()
        with pytest.raises(RuntimeError, match="no more") as caught:
            opt()
        assert len(getattr(caught.value, "__notes__", [])) == notes


def test_a_rule_takes_the_hyper_parameters_that_it_names(registry):
    class Named(Optimiser):
        η = Hyper(0.1, "learning rate")
        ρ = Hyper(0.5, "share")

        def step(self, δ, s, ρ, η):
            assert ρ.dtype == η.dtype == δ.dtype
            return ρ * η * δ

    p = param(np.ones(2, np.float32))
    opt = Named([p])
    for right in (0.95, 0.75):
        back(p.sum())
        opt()
        np.testing.assert_allclose(p.data, right)
        opt.η = 0.4


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


# -- a user's optimiser: its state ------------------------------------------------------------------


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

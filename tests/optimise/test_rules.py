"""Update rules: the same path as the formulas, and down every hill."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxmagic import ADAM, ADAMW, SGD, ADADelta, Nesterov, back, mse, param
from fluxmagic.optimise import OPTIMISERS

from .formulas import STEPS, trajectory

NAMES = list(STEPS)
SHAPES = [(3, 4), (), (5,), (1, 2, 2)]
DEFAULTS = {
    "SGD": {"η": 0.1},
    "Momentum": {"η": 0.01, "ρ": 0.9},
    "Nesterov": {"η": 0.01, "ρ": 0.9},
    "ADAM": {"η": 0.001, "β1": 0.9, "β2": 0.999, "ε": 1e-8},
    "RMSProp": {"η": 0.001, "ρ": 0.9, "ε": 1e-8},
    "ADAGrad": {"η": 0.01, "ε": 1e-8},
    "ADADelta": {"ρ": 0.9, "ε": 1e-8},
    "AdaMax": {"η": 0.002, "β1": 0.9, "β2": 0.999, "ε": 1e-8},
    "AMSGrad": {"η": 0.001, "β1": 0.9, "β2": 0.999, "ε": 1e-8},
    "NADAM": {"η": 0.001, "β1": 0.9, "β2": 0.999, "ε": 1e-8},
    "ADAMW": {"η": 0.001, "β1": 0.9, "β2": 0.999, "ε": 1e-8},
}
COMMON = {"decay": 0.0, "clip": np.inf, "clipnorm": np.inf, "weightdecay": 0.0}


def walk(name, dials, seed=0, dtype=np.float64):
    """Paths of the optimiser and of the formulas, for random gradients and given dials at each update."""
    rng = np.random.default_rng(seed)
    start = [rng.normal(size=s).astype(dtype) for s in SHAPES]
    gradients = [[rng.normal(size=s).astype(dtype) for s in SHAPES] for _ in dials]
    full = []
    for turned in dials:
        full.append({**(full[-1] if full else {**DEFAULTS[name], **COMMON}), **turned})
    ps = [param(p) for p in start]
    opt = OPTIMISERS[name](ps)
    path = []
    for δs, turned in zip(gradients, dials, strict=True):
        for k, v in turned.items():
            setattr(opt, k, v)
        back(sum((p * δ).sum() for p, δ in zip(ps, δs, strict=True)))
        opt()
        path.append([p.data.copy() for p in ps])
    return path, trajectory(name, start, gradients, [{"ϵ": h.get("ε"), **h} for h in full])


def assert_same(found, expected, rtol=1e-9, atol=1e-12):
    for n, (a, b) in enumerate(zip(found, expected, strict=True)):
        for p, q in zip(a, b, strict=True):
            np.testing.assert_allclose(p, q, rtol=rtol, atol=atol, err_msg=f"update {n}")


def test_the_formulas_are_those_of_all_optimisers():
    assert set(NAMES) == {k for k, o in OPTIMISERS.items() if o.__module__ == "fluxmagic.optimise.rules"}


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_those_of_the_table(name):
    assert {k: h.default for k, h in OPTIMISERS[name].hypers.items()} == {**DEFAULTS[name], **COMMON}


@pytest.mark.parametrize("name", NAMES)
def test_follows_the_formulas_with_its_defaults(name):
    # as many updates as two sweeps for denormal numbers
    assert_same(*walk(name, [{}] * 260))


@pytest.mark.parametrize("name", NAMES)
def test_follows_the_formulas_when_dials_are_turned_on_the_way(name):
    turns = [{}] * 5
    for k in DEFAULTS[name]:
        values = {"η": (0.05, 0.0, 0.002), "ρ": (0.5, 0.0, 0.99), "β1": (0.99, 0.0, 0.5), "β2": (0.9, 0.0, 0.99)}
        for v in values.get(k, (1e-3, 1e-10)):
            turns += [{k: v}, {}, {}]
    assert_same(*walk(name, turns))


@pytest.mark.parametrize("name", NAMES)
def test_clipnorm_clip_weightdecay_and_decay_act_in_this_order(name):
    turns = [{"clipnorm": 2.0, "clip": 0.3, "weightdecay": 0.2, "decay": 0.1}, {}, {}, {"decay": 0.5}, {}]
    turns += [{"clipnorm": np.inf}, {"clip": 1.5}, {"clip": np.inf}, {"weightdecay": 0.0}, {"decay": 0}, {}]
    assert_same(*walk(name, turns))


@pytest.mark.parametrize("name", NAMES)
def test_float32_follows_the_formulas_to_its_own_precision(name):
    found, expected = walk(name, [{}] * 20, dtype=np.float32)
    assert all(p.dtype == np.float32 for p in found[-1])
    assert_same(found, expected, rtol=2e-4, atol=1e-5)


values = {
    "η": st.floats(0, 1),
    "ρ": st.floats(0, 0.999),
    "β1": st.floats(0, 0.999),
    "β2": st.floats(0, 0.999),
    "ε": st.floats(1e-10, 1),
    "decay": st.floats(0, 2),
    "clip": st.floats(1e-3, 10),
    "clipnorm": st.floats(1e-3, 10),
    "weightdecay": st.floats(0, 1),
}


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_dial_may_be_turned_at_any_update(data):
    name = data.draw(st.sampled_from(NAMES))
    dial = st.sampled_from([*DEFAULTS[name], *COMMON]).flatmap(lambda k: st.tuples(st.just(k), values[k]))
    turns = data.draw(st.lists(st.lists(dial, max_size=3).map(dict), min_size=1, max_size=8))
    assert_same(*walk(name, turns), atol=1e-9)


def test_a_beta_turned_live_keeps_the_bias_correction_right():
    p = param(0.0)
    opt = ADAM([p], 1.0, β1=0.9, ϵ=1e-300)
    for n in range(20):
        if n == 10:
            opt.β1 = 0.99
        before = p.data.copy()
        back(p * 1.0)
        opt()
        assert before - p.data == pytest.approx(1.0, rel=1e-9)  # m̂ / √û of a constant gradient 1


def test_adamw_shrinks_the_weights_apart_from_the_gradient():
    p = param(2.0)
    opt = ADAMW([p], 0.1, weightdecay=0.5)
    opt()
    assert p.data == pytest.approx(2.0 - 0.1 * 0.5 * 2.0)


def test_adadelta_has_no_learning_rate():
    with pytest.raises(TypeError, match=r"ADADelta takes the parameters and keywords"):
        ADADelta([param(1.0)], 0.1)
    with pytest.raises(TypeError, match="ADADelta has no η"):
        ADADelta([param(1.0)], η=0.1)


def test_a_parameter_that_a_step_did_not_reach_counts_as_gradient_zero():
    p, q = param(1.0), param(1.0)
    opt = Nesterov([p, q], 0.1, ρ=0.5)
    back(p + q)
    opt()
    back(p * 1.0)
    opt()
    assert q.data == pytest.approx(1 - 0.15 - 0.5**2 * 0.1)  # its velocity goes on alone


def test_clipnorm_takes_the_norm_over_all_parameters_and_both_dtypes():
    p, q = param(np.zeros(2, np.float32)), param(np.zeros(3))
    opt = SGD([p, q], 1.0, clipnorm=1.0)
    back((p * np.float32(3)).sum() + (q[:1] * 4).sum())
    opt()
    norm = np.sqrt(3**2 + 3**2 + 4**2)
    np.testing.assert_allclose(p.data, np.full(2, -3 / norm), rtol=1e-6)
    np.testing.assert_allclose(q.data, [-4 / norm, 0, 0], rtol=1e-6)


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 1e30), (np.float64, 1e200)])
def test_clipnorm_is_right_where_the_square_of_the_gradient_overflows(dtype, size):
    p = param(np.zeros(4, dtype))
    opt = SGD([p], 1.0, clipnorm=1.0)
    back((p * dtype(size)).sum())
    opt()
    np.testing.assert_allclose(p.data, np.full(4, -0.5), rtol=1e-6)


def test_a_gradient_that_stays_zero_leaves_no_denormal_numbers():
    p = param(np.ones(3, np.float32))
    opt = ADAM([p], 1e-3)
    back((p * 1e-3).sum())
    opt()
    for _ in range(2000):
        opt()
    for arrays in opt.state_dict()["arrays"].values():
        a = np.abs(arrays[0])
        assert ((a == 0) | (a >= np.finfo(np.float32).tiny)).all()


# -- down every hill -----------------------------------------------------------------------------------


def quadratic(dtype):
    λ, p = np.geomspace(1, 100, 10).astype(dtype), param(np.ones(10, dtype))
    return [p], lambda: (λ * p * p).sum() * 0.5


def rosenbrock(dtype):
    p = param(np.array([-1.2, 1.0], dtype))
    return [p], lambda: (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


def regression(dtype):
    rng = np.random.default_rng(0)
    X, A = rng.normal(size=(100, 10)).astype(dtype), rng.normal(size=(10, 10)).astype(dtype)
    W, b = param(np.zeros((10, 10), dtype)), param(np.zeros(10, dtype))
    return [W, b], lambda: mse(X @ W.T + b, X @ A.T)


PLAIN = {quadratic: 0.01, rosenbrock: 0.001, regression: 0.1}
FAST = {quadratic: 0.002, rosenbrock: 0.0002, regression: 0.05}
ADAPTIVE = {quadratic: 0.05, rosenbrock: 0.05, regression: 0.05}
RATES = {"SGD": PLAIN, "Momentum": FAST, "Nesterov": FAST, "RMSProp": dict.fromkeys(PLAIN, 0.01)}
RATES["ADAGrad"] = dict.fromkeys(PLAIN, 0.5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("objective", [quadratic, rosenbrock, regression])
@pytest.mark.parametrize("name", NAMES)
def test_converges(name, objective, dtype):
    ps, loss = objective(dtype)
    dials = {"ρ": 0.95, "ε": 1e-6} if name == "ADADelta" else {"η": RATES.get(name, ADAPTIVE)[objective]}
    opt = OPTIMISERS[name](ps, **dials)
    first = float(loss())
    for _ in range(3000 if objective is rosenbrock else 1000):
        back(loss())
        opt()
    assert float(loss()) < first * (2e-2 if objective is rosenbrock else 1e-3)
    assert all(p.dtype == dtype for p in ps)

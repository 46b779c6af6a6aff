"""Diagonal, LayerNorm, BatchNorm, Dropout, and test mode."""

import copy
import pickle
import threading

import numpy as np
import pytest

import fluxmagic
from fluxmagic import (
    SGD,
    BatchNorm,
    Chain,
    Dense,
    Diagonal,
    Dropout,
    LayerNorm,
    NotFinite,
    Run,
    back,
    batches,
    gradient,
    loadparams,
    mse,
    param,
    params,
    relu,
    state,
    testmode,
    train,
)
from fluxmagic.layers import training_mode
from fluxmagic.tracker import Param, checkpoint, gradcheck

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 3)) * [1, 10, 100] + [0, 5, -50]


# -- Diagonal ------------------------------------------------------------------------------------------------


def test_diagonal_scales_and_shifts_each_feature():
    layer = Diagonal(3, dtype=np.float64)
    np.testing.assert_array_equal(layer(X).data, X)
    layer.α.data, layer.β.data = [1, 2, 3], [10, 0, -10]
    np.testing.assert_allclose(layer(X).data, X * [1, 2, 3] + [10, 0, -10])
    np.testing.assert_allclose(layer(X[0]).data, X[0] * [1, 2, 3] + [10, 0, -10])
    assert layer.alpha is layer.α
    assert layer.beta is layer.β


# -- LayerNorm ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3), (0, 3)])
def test_layernorm_normalises_each_sample(shape):
    layer = LayerNorm(3, dtype=np.float64, ϵ=1e-3)
    layer.γ.data, layer.β.data = [1, 2, 3], [0, 1, 0]
    x = RNG.normal(size=shape) * 7 + 3
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3) * [1, 2, 3] + [0, 1, 0]
    np.testing.assert_allclose(layer(x).data, expected)
    np.testing.assert_allclose(layer(param(x)).data, expected)


def test_layernorm_of_equal_features_is_zero_and_not_nan():
    assert (LayerNorm(4)(np.full((2, 4), 3.0)).data == 0).all()


# -- BatchNorm ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3)])
def test_batchnorm_normalises_by_the_batch_and_updates_its_running_statistics(shape):
    layer = BatchNorm(3, relu, dtype=np.float64, ϵ=1e-3, momentum=0.25)
    layer.γ.data, layer.β.data = [1, 2, 3], [0, 1, 0]
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(3):
        x = RNG.normal(size=shape) * 7 + 3
        flat = x.reshape(-1, 3)
        expected = (x - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-3) * [1, 2, 3] + [0, 1, 0]
        np.testing.assert_allclose(layer(x).data, np.maximum(expected, 0))
        mean, var = 0.75 * mean + 0.25 * flat.mean(0), 0.75 * var + 0.25 * flat.var(0, ddof=1)
    np.testing.assert_allclose(layer.mean, mean)
    np.testing.assert_allclose(layer.var, var)
    testmode(layer)
    expected = np.maximum((x - mean) / np.sqrt(var + 1e-3) * [1, 2, 3] + [0, 1, 0], 0)
    np.testing.assert_allclose(layer(x).data, expected)
    np.testing.assert_allclose(layer(x[0]).data, expected[0])
    np.testing.assert_allclose(layer.mean, mean)


def test_a_training_batch_of_one_sample_is_refused_and_nothing_changes():
    layer = BatchNorm(3)
    for x in (X[:1], X[0], X[:0]):
        with pytest.raises(ValueError, match=r"BatchNorm\(3\) takes its statistics from a batch.*drop_last=True"):
            layer(x)
    assert (layer.mean == 0).all()


def test_a_batch_that_is_not_finite_does_not_change_the_running_statistics():
    m = Chain(BatchNorm(3), Dense(3, 1))
    x = X.copy()
    x[0, 0] = np.inf
    with np.errstate(invalid="ignore"), pytest.raises(NotFinite):
        train(lambda x: m(x).sum(), [x], SGD(params(m), 0.1))
    assert (m[0].mean == 0).all()
    assert (m[0].var == 1).all()


def test_a_checkpoint_updates_running_statistics_once():
    once, twice = BatchNorm(3), BatchNorm(3)
    back(once(X).sum())
    back(checkpoint(twice, X).sum())
    np.testing.assert_array_equal(once.mean, twice.mean)
    np.testing.assert_array_equal(once.γ.grad, twice.γ.grad)


@pytest.mark.parametrize("make", [Diagonal, LayerNorm, BatchNorm])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_keep_the_dtype_and_agree_with_differences(make, dtype):
    layer = make(3, dtype=dtype)
    back(layer(X).sum())
    assert all(p.dtype == p.grad.dtype == dtype for p in params(layer))
    if dtype == np.float64:
        first, second = ("α", "β") if make is Diagonal else ("γ", "β")

        def f(x, a, b):
            setattr(layer, first, a)
            setattr(layer, second, b)
            return np.sin(layer(x)).sum()

        x = RNG.normal(size=(4, 3))
        assert gradcheck(f, x, np.full(3, 1.5), np.ones(3))
        assert gradcheck(lambda x: np.sin(gradient(f, x, np.full(3, 1.5), np.ones(3))[0]).sum(), x)


@pytest.mark.parametrize("make", [Diagonal, LayerNorm, BatchNorm])
def test_layers_refuse_input_of_another_width(make):
    layer = make(3)
    with pytest.raises(ValueError, match=rf"{make.__name__}\(3\) takes input of width 3, .* not of shape \(2, 4\)"):
        layer(np.ones((2, 4)))
    with pytest.raises(TypeError, match="takes numbers, not <U1"):
        layer(np.array(["a", "b", "c"]))
    with pytest.raises(ValueError, match="widths are positive integers, not 0"):
        make(0)
    with pytest.raises(TypeError, match="dtype is float32 or float64, not int64"):
        make(3, dtype=int)
    assert layer([[1, 2, 3], [4, 5, 7]]).dtype == np.float32


@pytest.mark.parametrize("make", [LayerNorm, BatchNorm])
def test_epsilon_by_either_name_is_positive(make):
    assert make(3, ϵ=0.5).ϵ == make(3, epsilon=0.5).epsilon == 0.5
    for wrong in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"{make.__name__}: .* is out of range: 0 < "):
            make(3, epsilon=wrong)


def test_momentum_lies_between_0_and_1():
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match="0 ≤ momentum ≤ 1"):
            BatchNorm(3, momentum=wrong)


# -- Dropout -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_zeroes_a_share_and_scales_the_rest(dtype):
    layer = Dropout(0.3, rng=0)
    x = np.ones((200, 100), dtype)
    y = layer(x)
    assert y.dtype == dtype
    assert set(np.unique(y)) == {dtype(0), dtype(1 / 0.7)}
    assert abs((y == 0).mean() - 0.3) < 0.01
    assert (layer(x) != y).any()
    p = param(x)
    back(layer(p).sum())
    assert set(np.unique(p.grad)) == {dtype(0), dtype(1 / 0.7)}


def test_dropout_with_p_0_draws_nothing():
    fluxmagic.seed(0)
    x = np.ones(5)
    assert Dropout(0)(x) is x
    assert Dropout(0.5)(np.ones(3)).tolist() == (2.0 * (np.random.default_rng(0).random(3, np.float32) >= 0.5)).tolist()


def test_dropout_of_integers_is_not_truncated():
    assert set(Dropout(0.5, rng=0)([3] * 20).tolist()) == {0.0, 6.0}
    assert set(np.unique(Dropout(0.2, rng=0)(np.ones(50, int)))) == {0.0, 1.25}


@pytest.mark.parametrize("p", [-0.1, 1, 1.5, np.nan, "0.5", True, None])
def test_a_probability_out_of_range_is_refused_also_by_assignment(p):
    with pytest.raises(ValueError, match="0 ≤ p < 1"):
        Dropout(p)
    layer = Dropout(0.5)
    with pytest.raises(ValueError, match="0 ≤ p < 1"):
        layer.p = p
    assert layer.p == 0.5


@pytest.mark.parametrize("p", [0.0, 0.5])
@pytest.mark.parametrize("x", [["a", "b"], np.array([1, None]), np.array([1j])])
def test_dropout_refuses_other_values_than_numbers(p, x):
    with pytest.raises(TypeError, match=r"Dropout\(.*\) takes numbers, not"):
        Dropout(p)(x)
    with pytest.raises(TypeError, match="Dropout: a masked array would lose its mask"):
        Dropout(p)(np.ma.masked_equal([1.0, 2.0], 1))


def test_dropout_follows_the_seed_and_copies_follow_it_too():
    layer, x = Dropout(0.5), np.ones(50)
    twin = copy.deepcopy(layer)
    fluxmagic.seed(4)
    a = layer(x)
    fluxmagic.seed(4)
    np.testing.assert_array_equal(twin(x), a)
    own = Dropout(0.5, rng=1)
    other = pickle.loads(pickle.dumps(own))
    np.testing.assert_array_equal(own(x), other(x))


def test_a_checkpoint_repeats_the_draws_of_dropout():
    for layer in (Dropout(0.5), Dropout(0.5, rng=0)):
        W = param(np.ones(50))
        y = checkpoint(layer, W)
        back(y.sum())
        np.testing.assert_array_equal(W.grad, y.data)


# -- modes -------------------------------------------------------------------------------------------------


def both():
    return Chain(Dense(3, 4, rng=0), BatchNorm(4), Dropout(0.5), Chain(Dropout(0.5, rng=1)))


def test_testmode_as_a_call_stays_set():
    m = both()
    testmode(m)
    before = [np.copy(x) if isinstance(x, np.ndarray) else x for x in state(m)]
    a, b = m(X), m(X)
    np.testing.assert_array_equal(a.data, b.data)
    assert not [1 for x, y in zip(before, state(m), strict=True) if isinstance(x, np.ndarray) and (x != y).any()]
    testmode(m, False)
    assert (m(X).data != m(X).data).any()
    assert m[1].mean.any()


def test_testmode_as_a_context_restores_the_mode_of_each_layer():
    m = both()
    testmode(m[3])
    with pytest.raises(ZeroDivisionError), testmode(m):
        np.testing.assert_array_equal(m(X).data, m(X).data)
        1 / 0
    assert not m[1].test_mode
    assert not m[2].test_mode
    assert m[3][0].test_mode
    with testmode(m, False):
        assert not m[3][0].test_mode
    assert m[3][0].test_mode


def test_testmode_finds_layers_wherever_params_does():
    m = both()
    f = lambda x: m(x)
    with testmode({"f": [f]}):
        np.testing.assert_array_equal(f(X).data, f(X).data)


def test_the_repr_of_testmode_names_layers_and_mode():
    assert repr(testmode(Chain(Dropout(0.5), BatchNorm(2)))) == "Dropout(0.5), BatchNorm(2): in test mode"
    assert repr(testmode(Dense(2, 2), False)) == "no layer: in training mode"


def test_evaluating_holds_for_its_own_thread_only():
    layer, x, seen = Dropout(0.5), np.ones(100), []
    with training_mode.evaluating():
        assert layer(x) is x
        other = threading.Thread(target=lambda: seen.append(layer(x)))
        other.start()
        other.join()
    assert (seen[0] == 0).any()
    assert (layer(x) == 0).any()


def test_copies_keep_mode_and_statistics_and_are_independent():
    m = both()
    m(X)
    testmode(m)
    for twin in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        np.testing.assert_array_equal(twin(X).data, m(X).data)
        twin[1].mean += 1
        assert (twin(X).data != m(X).data).any()


def test_validation_of_a_run_is_in_test_mode_and_changes_nothing():
    def made():
        fluxmagic.seed(0)
        m = Chain(Dense(3, 8, relu, rng=0), BatchNorm(8), Dropout(0.3), Dense(8, 1, rng=1))
        rng = np.random.default_rng(5)
        x, y = rng.normal(size=(32, 3)), rng.normal(size=(32, 1))
        return m, lambda x, y: mse(m(x), y), batches(x, y, 8), (x, y)

    m, loss, data, valid = made()
    run = Run(loss, data, SGD(params(m), 0.05), epochs=3, valid=valid)
    run.train()
    with testmode(m):
        assert run.history["valid"][-1] == pytest.approx(float(loss(*valid)), rel=1e-6)
    other, loss, data, _ = made()
    Run(loss, data, SGD(params(other), 0.05), epochs=3).train()
    for a, b in zip(state(m), state(other), strict=True):
        np.testing.assert_array_equal(np.asarray(getattr(a, "data", a)), np.asarray(getattr(b, "data", b)))


def test_restoring_state_and_the_default_generator_repeats_training():
    m = both()
    opt = SGD(params(m), 0.01)

    def go():
        for _ in range(3):
            back((m(X) ** 2).sum())
            opt()
        return [p.data.copy() for p in params(m)] + [m[1].mean.copy(), m[1].var.copy()]

    go()
    default = fluxmagic.generators.as_generator()
    kept = [
        x.bit_generator.state if isinstance(x, np.random.Generator) else np.copy(getattr(x, "data", x))
        for x in [*state(m), default]
    ]
    first = go()
    for x, old in zip([*state(m), default], kept, strict=True):
        if isinstance(x, np.random.Generator):
            x.bit_generator.state = old
        else:
            (x.data if hasattr(x, "grad") else x)[...] = old
    for a, b in zip(first, go(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_of_layers_with_state_is_rewound_and_replayed():
    fluxmagic.seed(0)
    m = Chain(Dense(3, 8, relu, rng=0), BatchNorm(8), Dropout(0.3), Dropout(0.2, rng=1), Dense(8, 1, rng=1))
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(30, 3)), rng.normal(size=(30, 1))
    run = Run(lambda x, y: mse(m(x), y), batches(x, y, 8), SGD(params(m), 0.05), epochs=3, valid=(x, y))

    def now():
        return [np.copy(x.data if isinstance(x, Param) else x) for x in state(m) if not hasattr(x, "bit_generator")]

    run.step(5)
    at_five = now()
    run.train()
    end = now()
    assert any((a != b).any() for a, b in zip(at_five, end, strict=True))
    run.rewind(5)
    for a, b in zip(at_five, now(), strict=True):
        np.testing.assert_array_equal(a, b)
    run.train()
    for a, b in zip(end, now(), strict=True):
        np.testing.assert_array_equal(a, b)
    run.replay()
    for a, b in zip(end, now(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_loadparams_assigns_the_parameters_of_all_layers():
    m, other = both(), both()
    loadparams(m, params(other))
    assert len(params(m)) == 4


def test_a_network_of_all_layers_learns():
    fluxmagic.seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 2)) * [1, 50]
    y = (x[:, :1] * x[:, 1:] > 0).astype(float)
    m = Chain(BatchNorm(2), Dense(2, 32, relu), LayerNorm(32), Dropout(0.1), Diagonal(32), Dense(32, 1))
    loss = lambda x, y: fluxmagic.logitbinarycrossentropy(m(x), y)
    train(loss, [b for _ in range(100) for b in batches(x, y, 16)], fluxmagic.ADAM(params(m), 0.01))
    with testmode(m):
        assert ((m(x).data > 0) == y).mean() > 0.95

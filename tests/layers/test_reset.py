"""Layers draw their weights anew."""

import numpy as np
import pytest

from fluxmagic import BatchNorm, Chain, Dense, Diagonal, LayerNorm, param, params, tanh
from fluxmagic.layers import reset, state


def values(m):
    return [p.data.copy() for p in params(m)]


def model():
    return Chain(Dense(3, 4, tanh, rng=0), BatchNorm(4), LayerNorm(4), Diagonal(4), Dense(4, 1, rng=1))


def test_the_same_seed_gives_the_same_weights_whatever_they_were():
    a, b = model(), model()
    for p in params(b):
        p.data = p.data + 1
    b[1].mean += 3
    b[1].var *= 2
    assert reset(a, rng=5) == reset(b, rng=5) == []
    for x, y in zip(
        values(a) + [s.copy() for s in state(a) if isinstance(s, np.ndarray)],
        values(b) + [s.copy() for s in state(b) if isinstance(s, np.ndarray)],
        strict=True,
    ):
        assert x.tobytes() == y.tobytes()
    first = values(a)[0]
    reset(a, rng=6)
    assert not np.array_equal(first, values(a)[0])


def test_a_reset_model_is_the_model_made_anew():
    rng = np.random.default_rng(3)
    made = Chain(Dense(3, 4, tanh, rng=rng), BatchNorm(4), LayerNorm(4), Diagonal(4), Dense(4, 1, rng=rng))
    m = model()
    reset(m, rng=3)
    assert [v.tobytes() for v in values(m)] == [v.tobytes() for v in values(made)]


def test_dense_keeps_its_init():
    m = Dense(2, 3, init=lambda n_out, n_in, rng: np.full((n_out, n_in), rng.integers(100)))
    reset(m, rng=1)
    assert np.unique(m.W.data).tolist() == [np.random.default_rng(1).integers(100)]


def test_parameters_of_no_layer_keep_their_values_and_are_named():
    w, m = param([1.0, 2.0]), Dense(2, 2, rng=0)
    assert reset([w, m], rng=1) == [w]
    assert w.data.tolist() == [1.0, 2.0]


def test_frozen_weights_stay():
    m = Dense(2, 2, rng=0)
    m.W = np.ones((2, 2), np.float32)
    reset(m, rng=1)
    assert m.W.tolist() == [[1, 1], [1, 1]]


def test_the_reset_of_an_object_without_parameters_is_not_called():
    class Environment:
        def reset(self, seed):
            pytest.fail("called")

    reset([Environment(), Dense(1, 1)], rng=0)


def test_a_layer_of_the_user_may_define_it():
    class Scale:
        def __init__(self):
            self.k = param(3.0)

        def reset(self, rng):
            self.k.data = rng.normal()

    m = Scale()
    assert reset(m, rng=2) == []
    assert m.k.data == np.random.default_rng(2).normal()


def test_a_reset_that_replaces_a_parameter_is_refused_and_leaves_the_parameter():
    class Scale:
        def __init__(self):
            self.k = param(3.0)

        def reset(self, rng):
            self.k = param(rng.normal())

    m = Scale()
    k = m.k
    with pytest.raises(TypeError, match=r"Scale.reset puts another object in the place of k.*self.k.data = "):
        reset(m, rng=2)
    assert m.k is k
    assert k.data == 3

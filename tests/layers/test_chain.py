"""Layers one after the other."""

import re

import numpy as np
import pytest

from fluxmagic import BatchNorm, Chain, Dense, Dropout, LayerNorm, back, gelu, param, params, relu, softmax, σ


def test_a_chain_applies_its_layers_in_order():
    m = Chain(lambda x: x + 1, np.square, lambda x: x * 10)
    assert m(2) == 90
    assert Chain()(7) == 7


def test_a_chain_is_a_sequence_whose_slices_are_chains():
    a, b, c = Dense(3, 4), relu, Dense(4, 2)
    m = Chain(a, b, c)
    assert (m[0], m[1], m[-1]) == (a, b, c)
    assert isinstance(m[:2], Chain)
    assert list(m[1:]) == [b, c]
    assert list(m[::-1]) == [c, b, a]
    assert len(m) == 3
    assert list(m) == [a, b, c]
    with pytest.raises(IndexError):
        m[3]
    np.testing.assert_array_equal(m[1:](m[:1](np.ones(3))).data, m(np.ones(3)).data)


def test_the_repr_of_a_chain_is_its_constructor():
    m = Chain(Dense(10, 5, σ), Dense(5, 2), softmax)
    assert repr(m) == "Chain(Dense(10, 5, σ), Dense(5, 2), softmax)"
    assert repr(Chain(Chain(gelu), np.tanh, lambda x: x)) == "Chain(Chain(gelu), tanh, <lambda>)"
    named = Chain(BatchNorm(2, relu), LayerNorm(2), Dropout(0.25))
    assert repr(named) == "Chain(BatchNorm(2, relu), LayerNorm(2), Dropout(0.25))"


def test_a_layer_has_to_be_callable():
    for layers in ([Dense(1, 1)], (Dense(1, 1) for _ in range(2))):
        with pytest.raises(TypeError, match=r"Chain takes layers .*: use Chain\(\*layers\) for a list"):
            Chain(layers)
    with pytest.raises(TypeError, match=r"Chain takes layers and functions, not 3$"):
        Chain(relu, 3)


def test_parameters_of_functions_in_a_chain_are_found():
    W = param([[1.0, 2.0]])
    m = Chain(lambda x: x @ W.T, relu)
    back(m(np.ones((3, 2))).sum())
    assert W.grad.tolist() == [[3, 3]]
    assert params(m) == [W]


def table(m):
    cells = re.findall(r"<tr>(.*?)</tr>", m._repr_html_())
    return [re.sub(r"(<[^>]+>)+", "|", row).strip("|") for row in cells]


def test_the_table_for_a_notebook_lists_layers_shapes_and_counts():
    m = Chain(Dense(10, 5, σ), BatchNorm(5), Dense(5, 200), lambda x: x, softmax)
    assert table(m) == [
        "layer|parameters|count",
        "0|Dense(10, 5, σ)|W (5, 10), b (5,)|55",
        "1|BatchNorm(5)|γ (5,), β (5,)|10",
        "2|Dense(5, 200)|W (200, 5), b (200,)|1,200",
        "3|&lt;lambda&gt;|0",
        "4|softmax|0",
        "in all|1,265",
    ]


def test_a_shared_layer_counts_once_in_the_total():
    shared = Dense(2, 2)
    assert table(Chain(shared, shared))[-1] == "in all|6"

"""The search for parameters and state in models, functions and containers."""

import collections
import dataclasses
import datetime
import decimal
import functools
import types

import numpy as np
import pytest

from fluxmagic import SGD, BatchNorm, Chain, Dense, Dropout, batches, loadparams, param, params, state, testmode, train
from fluxmagic.layers import named_params
from fluxmagic.layers.traversal import traverse

A, B, C, D = (param(float(i)) for i in range(4))  # globals that functions name
TABLE = {"inner": [C, (D,)]}


class Attributes:
    def __init__(self):
        self.second, self.first, self.name, self.plain = B, A, "x", np.ones(3)

    def __call__(self, x):
        return x * self.first + self.second

    @property
    def secret(self):
        raise AssertionError("a property was looked at")


class Slots:
    __slots__ = ("missing", "p", "q")

    def __init__(self):
        self.p, self.q = A, B


class MoreSlots(Slots):
    __slots__ = ("r",)

    def __init__(self):
        super().__init__()
        self.r = C


@dataclasses.dataclass
class Data:
    w: object
    scale: float = 1.0
    rest: object = None


Named = collections.namedtuple("Named", "u v")


def uses_globals(x):
    return B * x + A


def nested_use(x):
    def inner(y):
        return y * C

    return inner(x) + sum(D for _ in range(1))


def with_defaults(x, w=A, *, b=B):
    return w * x + b


def attribute_holder(x):
    return x * attribute_holder.W


attribute_holder.W = D


def closure():
    w, b, unused = param(1.0), param(2.0), param(3.0)
    return (lambda x: w * x + b), [w, b], unused


def wrapped(f):
    @functools.wraps(f)
    def call(*args):
        return f(*args)

    return call


@pytest.mark.parametrize(
    ("found_in", "expected"),
    [
        (lambda: A, [A]),
        (lambda: [B, A, B], [B, A]),
        (lambda: (A, [B, {"k": C}], collections.deque([D])), [A, B, C, D]),
        (lambda: {"z": A, "a": B}, [A, B]),
        (lambda: collections.OrderedDict(b=B, a=A), [B, A]),
        (lambda: {D, C, B}, [B, C, D]),
        (lambda: frozenset([B, A]), [A, B]),
        (lambda: Named(B, A), [B, A]),
        (lambda: Attributes(), [B, A]),
        (lambda: types.SimpleNamespace(x=A, y=[B]), [A, B]),
        (lambda: Slots(), [A, B]),
        (lambda: MoreSlots(), [C, A, B]),
        (lambda: Data([A], rest=Data(B)), [A, B]),
        (lambda: uses_globals, [B, A]),
        (lambda: nested_use, [C, D]),
        (lambda: with_defaults, [A, B]),
        (lambda: attribute_holder, [D]),
        (lambda: wrapped(uses_globals), [B, A]),
        (lambda: functools.partial(with_defaults, w=C), [A, B, C]),
        (lambda: functools.partial(pow, D), [D]),
        (lambda: Attributes().__call__, [B, A]),
        (lambda: lambda x: TABLE["inner"], [C, D]),
        (lambda: Chain(uses_globals, Attributes()), [B, A]),
    ],
)
def test_params_are_found_once_each_in_order_of_definition(found_in, expected):
    found = params(found_in())
    assert len(found) == len(expected)
    assert all(p is q for p, q in zip(found, expected, strict=True))


def test_layers_of_a_set_come_in_the_order_in_which_they_were_made():
    layers = [Dense(1, 1) for _ in range(20)]
    assert [id(p) for p in params(set(layers))] == [id(p) for p in params(layers)]
    assert [path for path, _ in named_params(set(layers[:2]))] == ["{0}.W", "{0}.b", "{1}.W", "{1}.b"]


def test_only_names_that_a_closure_uses_are_found():
    f, named, _ = closure()
    assert set(map(id, params(f))) == set(map(id, named))


def test_several_roots_are_traversed_in_order():
    assert [id(p) for p in params([B], A, [B, C])] == [id(p) for p in (B, A, C)]


def test_params_of_a_chain_are_weights_before_biases_layer_by_layer():
    m = Chain(Dense(3, 4), np.tanh, Chain(Dense(4, 2)))
    expected = [m[0].W, m[0].b, m[2][0].W, m[2][0].b]
    assert [id(p) for p in params(m)] == [id(p) for p in expected]
    assert [path for path, _ in named_params(m)] == ["[0].W", "[0].b", "[2][0].W", "[2][0].b"]
    assert [id(p) for p in params(m[:-1])] == [id(p) for p in expected[:2]]


def test_params_of_a_loss_function_are_those_of_its_model():
    m = Chain(Dense(2, 2))
    loss = lambda x, y: ((m(x) - y) ** 2).sum()
    assert [id(p) for p in params(loss)] == [id(m[0].W), id(m[0].b)]


def test_parameters_are_told_apart_by_identity():
    p, q = param([1.0]), param([1.0])
    assert len(params([p, q, p])) == 2
    shared = Dense(2, 2)
    assert len(params(Chain(shared, shared))) == 2


def test_cycles_are_traversed_once():
    a, b = types.SimpleNamespace(w=A), types.SimpleNamespace(w=B)
    a.other, b.other = b, a
    loop = [a]
    loop.append(loop)
    assert [id(p) for p in params(loop)] == [id(A), id(B)]


def test_deep_nesting_needs_no_recursion():
    deep = A
    for _ in range(20_000):
        deep = [deep]
    assert params(deep)[0] is A


N = 100_000
DATA = {
    "list": [0.5] * N,
    "pairs": [(0.5, 1)] * N,
    "texts": ("a", None, b"b", 1j, True, np.float32(1)) * N,
    "arrays": [(np.ones(2), np.ones(1))] * N,
    "records": [{"x": 0.5, "tags": ["a", "b"], "y": (1, 2)}] * N,
    "columns": {"x": [0.5] * N, "y": (1,) * N},
    "set": set(range(N)),
    "moments": [datetime.datetime(2000, 1, 1), decimal.Decimal(1), abs, np] * N,
}


@pytest.mark.parametrize("kind", DATA)
def test_data_that_a_function_names_is_not_traversed(kind):
    # an entry of its own for each of 2·10⁶ numbers took 2.3 s, and the whole of it for NotFinite and snapshots again
    data, W = DATA[kind], param(1.0)
    f = lambda x: W * x + len(data)
    assert [path for path, _ in traverse(f)] == ["", "W"]
    assert [path for path, _ in traverse([data, W])] == ["", "[1]"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda p: [*range(1000), p],
        lambda p: [0.5, (1, [2, {"k": (3, p)}])],
        lambda p: {"x": [1, 2], "y": {"z": [[[[[[p]]]]]]}},
        lambda p: [(1, 2)] * 1000 + [(1, Data(p))],
        lambda p: [(1, 2), collections.deque([3, p])],
        lambda p: [{1, 2}, frozenset([p])],
        lambda p: [[1], [types.SimpleNamespace(p=p)]],
        lambda p: [[1], [lambda: p]],
        lambda p: ((1,), ((functools.partial(pow, p),),)),
        lambda p: {"f": [1], "g": [Attributes().__call__, p]},
    ],
)
def test_a_parameter_among_data_is_found(wrap):
    p = param(1.0)
    assert any(q is p for q in params(wrap(p)))


def test_a_generator_among_data_is_found():
    rng = np.random.default_rng(0)
    assert state([1, 2, (3, {"rng": [rng]})]) == [rng]


def test_what_a_function_names_has_a_place_of_its_own():
    def first():
        bw = param(1.0)
        return lambda x: x * bw

    def second():
        w = param(2.0)
        return lambda x: x * w

    a, ab = first(), second()
    found = {path: float(p) for path, p in named_params(lambda x: a(x) + ab(x))}
    assert found == {"a.bw": 1.0, "ab.w": 2.0}
    assert [path for path, _ in named_params([a])] == ["[0].bw"]
    assert [path for path, _ in named_params(a)] == ["bw"]


def test_data_between_parameters_does_not_change_their_places():
    found = dict(named_params([1, A, (2, 3), {"k": [4, B]}, collections.deque([5, C])]))
    assert [(path, id(p)) for path, p in found.items()] == [("[1]", id(A)), ("[3]['k'][1]", id(B)), ("[4][1]", id(C))]


class Holder:
    W = param(1.0)  # of the class


OBJECTS = np.empty(1, object)
OBJECTS[0] = A


@pytest.mark.parametrize("nothing", [Holder, Holder(), np, types, OBJECTS, "W", 3, None, [], abs, np.tanh, lambda x: x])
def test_modules_classes_and_arrays_are_not_entered(nothing):
    with pytest.raises(ValueError, match=r"params\(\) found no parameter in"):
        params(nothing)


@pytest.mark.parametrize(
    "iterator",
    [
        lambda: (p for p in (A, B)),
        lambda: map(abs, [A]),
        lambda: iter([A]),
        lambda: zip([A], [B]),
        lambda: [C, (p for p in (A, B))],  # C alone would be found
        lambda: (C, iter([A])),
    ],
)
@pytest.mark.parametrize("look", [params, named_params, testmode, lambda m: loadparams(m, [1.0])])
def test_a_generator_is_refused_and_the_fix_is_named(look, iterator):
    name = "testmode" if look is testmode else "params"
    with pytest.raises(TypeError, match=rf"{name}: a \w+ can be read only once: pass a list, {name}\(list"):
        look(iterator())


def test_no_argument_is_an_error():
    with pytest.raises(ValueError, match="found no parameter in nothing"):
        params()


def test_unbound_names_of_a_function_are_skipped():
    def f(x):
        return later * x  # noqa: F821

    def outer():
        def g(x):
            return later * x + A

        found = params(g)
        later = B
        return found, later

    assert outer()[0] == [A]
    with pytest.raises(ValueError, match="found no parameter"):
        params(f)


def test_part_of_a_model_is_frozen_by_training_the_parameters_of_the_rest():
    m = Chain(Dense(2, 3, np.tanh), Dense(3, 1))
    frozen = [p.data.copy() for p in params(m[0])]
    last = m[1].W.data.copy()
    rng = np.random.default_rng(0)
    data = [(rng.normal(size=(4, 2)), rng.normal(size=(4, 1))) for _ in range(5)]
    train(lambda x, y: ((m(x) - y) ** 2).sum(), data, SGD(params(m[1:]), 0.01))
    for p, before in zip(params(m[0]), frozen, strict=True):
        np.testing.assert_array_equal(p.data, before)
    assert (m[1].W.data != last).all()


# -- state -------------------------------------------------------------------------------------------------


def test_state_is_all_that_changes_in_training_in_order():
    rng = np.random.default_rng(0)
    m = Chain(Dense(2, 3), BatchNorm(3), Dropout(0.5, rng=rng), Dropout(0.1))
    found = state(m)
    bn = m[1]
    expected = [m[0].W, m[0].b, bn.mean, bn.var, bn.γ, bn.β, rng]
    assert [id(x) for x in found] == [id(x) for x in expected]


def test_state_has_generators_of_the_data_that_a_function_names():
    data = batches(np.arange(4), 2, rng=0)
    f = lambda: (A, data)
    assert {id(x) for x in state(f)} == {id(A), id(data.rng)}


def test_a_user_s_layer_may_list_its_buffers():
    class Counter:
        buffers = ("seen",)

        def __init__(self):
            self.seen = np.zeros(2)

    class Unrelated:
        def buffers(self):
            return 1

    c = Counter()
    found = state([c, Unrelated()])
    assert len(found) == 1
    assert found[0] is c.seen

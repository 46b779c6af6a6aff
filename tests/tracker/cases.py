"""Every operation by one line: its name, how it is called, and what arguments Hypothesis draws for it.

`inputs` draws `(arrays, options)`; the generic tests in `test_operations` call `function(*arrays, **options)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

DOMAINS = {"real": (-2.0, 2.0), "positive": (0.3, 2.0), "unit": (-0.9, 0.9), "above 1": (1.2, 3.0), "(0, 1)": (0.1, 0.9)}


class Case(NamedTuple):
    name: str
    function: Callable[..., Any]
    inputs: st.SearchStrategy[tuple[tuple[np.ndarray, ...], dict[str, Any]]]


def shapes(least: int = 0, most: int = 3, side: int = 0) -> st.SearchStrategy[tuple[int, ...]]:
    return hnp.array_shapes(min_dims=least, max_dims=most, min_side=side, max_side=3)


@st.composite
def array(draw: Any, shape: Any = (), domain: str = "real", place: int = 0) -> np.ndarray:
    """Random numbers; arrays in different places differ, so that nothing ties by accident."""
    shape = draw(shape) if isinstance(shape, st.SearchStrategy) else shape
    rng = np.random.default_rng([place, draw(st.integers(0, 2**32 - 1))])
    return rng.uniform(*DOMAINS[domain], shape)


def given(options: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({k: v if isinstance(v, st.SearchStrategy) else st.just(v) for k, v in options.items()})


def one(shape: Any = None, domain: str = "real", **options: Any) -> Any:
    """One array, of any shape up to three axes."""
    return st.tuples(st.tuples(array(shapes() if shape is None else shape, domain)), given(options))


def of(*shapes: Any, domain: str = "real", **options: Any) -> Any:
    """Arrays of these shapes."""
    return st.tuples(st.tuples(*(array(s, domain, i) for i, s in enumerate(shapes))), given(options))


@st.composite
def broadcasting(draw: Any, *domains: str, **options: Any) -> Any:
    """Arrays that broadcast against each other, one for each domain."""
    drawn = draw(hnp.mutually_broadcastable_shapes(num_shapes=len(domains), max_dims=3, max_side=3, min_side=0))
    arrays = tuple(draw(array(s, d, i)) for i, (s, d) in enumerate(zip(drawn.input_shapes, domains, strict=True)))
    return arrays, draw(given(options))


@st.composite
def reducing(draw: Any, *, many: bool = True, keepdims: bool = True, side: int = 1, least: int = 0, **options: Any) -> Any:
    """An array, and an axis of it: None, one, negative, or (many) a tuple."""
    shape = draw(shapes(least=least, side=side))
    x = draw(array(shape))
    options = draw(given(options))
    one_axis = st.integers(-len(shape), len(shape) - 1) if shape else st.none()
    axes: Any = st.none() | one_axis
    if many and shape:
        axes = axes | st.lists(st.integers(0, len(shape) - 1), unique=True, max_size=len(shape)).map(tuple)
    options["axis"] = draw(axes)
    if keepdims:
        options["keepdims"] = draw(st.booleans())
    return (x,), options


@st.composite
def along(draw: Any, *, side: int = 0, count: int = 1, **options: Any) -> Any:
    """Arrays of one shape with at least one axis, and one of its axes."""
    shape = draw(shapes(1, side=side))
    xs = tuple(draw(array(shape, place=i)) for i in range(count))
    return xs, {**draw(given(options)), "axis": draw(st.integers(-len(shape), len(shape) - 1))}


@st.composite
def indexed(draw: Any, index: Callable[[tuple[int, ...]], st.SearchStrategy[Any]]) -> Any:
    shape = draw(shapes(1, side=1))
    return (draw(array(shape)),), {"index": draw(index(shape))}


@st.composite
def permuted(draw: Any) -> Any:
    shape = draw(shapes(1))
    axes = draw(st.permutations(range(len(shape))))
    signs = draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
    return (draw(array(shape)),), {"axes": tuple(a - len(shape) if s else a for a, s in zip(axes, signs, strict=True))}


@st.composite
def matrices(draw: Any) -> Any:
    """Two arrays that `@` takes: vectors, matrices, and stacks that broadcast."""
    drawn = draw(hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, max_side=3, min_side=0))
    return tuple(draw(array(s, place=i)) for i, s in enumerate(drawn.input_shapes)), {}


CASES: list[Case] = []


def case(name: str, function: Callable[..., Any], inputs: Any) -> None:
    CASES.append(Case(name, function, inputs))


def unary(domain: str, *functions: Callable[..., Any]) -> None:
    for f in functions:
        case(f.__name__, f, one(domain=domain))


def binary(a: str, b: str, *functions: Callable[..., Any]) -> None:
    for f in functions:
        case(f.__name__, f, broadcasting(a, b))


def method(name: str, inputs: Any) -> None:
    case(f".{name}", lambda x, **options: getattr(x, name)(**options), inputs)


# -- arithmetic

binary("real", "real", np.add, np.subtract, np.multiply, np.maximum, np.minimum)
binary("real", "positive", np.divide)
binary("positive", "real", np.power)
case("+", lambda a, b: a + b, broadcasting("real", "real"))
case("-", lambda a, b: a - b, broadcasting("real", "real"))
case("*", lambda a, b: a * b, broadcasting("real", "real"))
case("/", lambda a, b: a / b, broadcasting("real", "positive"))
case("**", lambda a, b: a**b, broadcasting("positive", "real"))
case("scalars on the left", lambda a: 1 - 0.3 * (1 + 0.5 / a) ** 2, one(domain="positive"))
case("scalars on the right", lambda a: (a * 3 - 1) / 2 + 1, one())
for exponent in (0, 1, 2, 3, -1, 0.5, -1.5):
    case(f"** {exponent}", lambda a, n=exponent: a**n, one(domain="positive"))
case("negative base", lambda a: a**3 + a**2 + np.power(a, np.array(3)), one())
case("2 ** x", lambda a: 2**a, one())
case("unary", lambda a: -a + +(a * a) - abs(a), one())
unary("real", np.absolute, np.negative, np.positive, np.square)

# -- element by element

unary("real", np.exp, np.expm1, np.tanh, np.sin, np.cos)
unary("positive", np.sqrt, np.log, np.log1p)

# -- choices

case("where", lambda a, b: np.where(np.asarray(a > b), a, b), broadcasting("real", "real"))
case("where with a scalar", lambda a: np.where(a > 0, a * a, 0), one())
case("clip", np.clip, one(a_min=-0.5, a_max=st.none() | st.just(0.7)))
case("clip, min=", lambda x: np.clip(x, min=-0.5), one())
case("clip by arrays", lambda x, low, high: np.clip(x, low - 1, high + 1), broadcasting("real", "(0, 1)", "(0, 1)"))
method("clip", one(min=-0.5, max=0.7))
method("copy", one())
case("copy", np.copy, one())

# -- reductions

for name in ("sum", "mean", "max", "min", "prod"):
    case(name, getattr(np, name), reducing())
    method(name, reducing())
for name in ("sum", "prod"):
    case(f"{name} of empty", getattr(np, name), reducing(side=0))
case("sum, positional axis", lambda x: x.sum(0) + np.sum(x, -1)[0], one((3, 2)))
for name in ("var", "std"):
    case(name, getattr(np, name), reducing(ddof=0).filter(lambda c: getattr(np, "var")(c[0][0], c[1]["axis"]).min() > 0))
    case(f".{name}, ddof", lambda x, n=name, **o: getattr(x, n)(ddof=1, **o), of((4, 3), axis=st.sampled_from([None, 0, -1, (0, 1)])))
case("add.reduce", np.add.reduce, one(shapes(1)))
case("maximum.reduce", lambda x: np.maximum.reduce(x, axis=0), one(shapes(1, side=1)))

# -- shapes and axes

case("reshape", lambda x: np.reshape(x, (3, -1)), of((2, 3)))
case(".reshape", lambda x, order: x.reshape(3, 2, order=order) * x.reshape((3, 2)), of((2, 3), order=st.sampled_from("CFA")))
case("ravel", np.ravel, one(order=st.sampled_from("CFA")))
case(".ravel, .flatten", lambda x: x.ravel() * x.flatten(), one())
case("transpose", np.transpose, permuted())
case(".transpose", lambda x, axes: x.transpose(*axes) * x.transpose(axes), permuted())
case(".T", lambda x: x.T, one())
case("squeeze", np.squeeze, one())
method("squeeze", of((3, 1, 2), axis=st.sampled_from([None, 1, -2, (1,)])))
case("expand_dims", np.expand_dims, one(axis=st.sampled_from([0, -1, (0, 1), (0, -1)])))
case("broadcast_to", np.broadcast_to, of((3, 1), shape=st.sampled_from([(3, 1), (3, 2), (2, 3, 4), (0, 3, 1)])))
case("getitem, basic", lambda x, index: x[index], indexed(lambda s: hnp.basic_indices(s, allow_newaxis=True)))
case("getitem, integers", lambda x, index: x[index], indexed(lambda s: hnp.integer_array_indices(s)))
case("getitem, mask", lambda x, index: x[index], indexed(lambda s: hnp.arrays(bool, s)))
case("getitem, mixed", lambda x: x[[0, 2, 0], 1:] + x[None, ..., [1, 1, 0], -1, None][0] * x[2, 1], of((3, 2)))
case("iteration", lambda x: sum(row * i for i, row in enumerate(x, 1)), of((3, 2)))
case("concatenate", lambda a, b, axis: np.concatenate([a, b, a], axis), along(count=2))
case("concatenate, flat", lambda a, b: np.concatenate((a, b), axis=None), of((2, 3), (2, 1)))
case("stack", lambda a, b, axis: np.stack([a, b * 2], axis=axis), along(count=2))

# -- products

case("@", lambda a, b: a @ b, matrices())
case("matmul", np.matmul, matrices())
for subscripts in ("i,i", "i,j->ij", "ij,jk", "ij,jk->ki", "ij->ji", "ii", "ii->i", "ij->", "ij->j"):
    operands = subscripts.partition("->")[0].split(",")
    case(f"einsum {subscripts}", lambda *xs, s=subscripts: np.einsum(s, *xs), of(*[(3,) * len(o) for o in operands]))
case("einsum, broadcasting", lambda a, b: np.einsum("...ij,jk", a, b), of((2, 3, 1), (1, 2)))
case("einsum, three", lambda a, b, c: np.einsum("ij,jk,ik->k", a, b, c, optimize=True), of((2, 3), (3, 2), (2, 2)))

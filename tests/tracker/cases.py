"""Every operation by one line: its name, how it is called, and what arguments Hypothesis draws for it.

`inputs` draws `(arrays, options)`; the generic tests in `test_operations` call `function(*arrays, **options)`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fluxmagic.layers import logsoftmax, logσ, softmax, softplus, σ
from fluxmagic.tracker import logsumexp

try:
    from scipy import special

    from fluxmagic.tracker import scipy
except ImportError:
    special = None

NEW_CLIP = np.lib.NumpyVersion(np.__version__) >= "2.1.0"
DOMAINS = {
    "real": (-2.0, 2.0),
    "positive": (0.3, 2.0),
    "unit": (-0.9, 0.9),
    "above 1": (1.2, 3.0),
    "(0, 1)": (0.1, 0.9),
}


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
def reducing(
    draw: Any, *, many: bool = True, keepdims: bool = True, side: int = 1, least: int = 0, **options: Any
) -> Any:
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
if NEW_CLIP:
    case("clip, min=", lambda x: np.clip(x, min=-0.5), one())
    case("clip by a keyword", lambda x, low: np.clip(x, max=low), broadcasting("real", "(0, 1)"))
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
    case(name, getattr(np, name), reducing(ddof=0).filter(lambda c: np.var(c[0][0], c[1]["axis"]).min() > 0))
    case(
        f".{name}, ddof",
        lambda x, n=name, **o: getattr(x, n)(ddof=1, **o),
        of((4, 3), axis=st.sampled_from([None, 0, -1, (0, 1)])),
    )
case("add.reduce", np.add.reduce, one(shapes(1)))
case("maximum.reduce", lambda x: np.maximum.reduce(x, axis=0), one(shapes(1, side=1)))

# -- shapes and axes

case("reshape", lambda x: np.reshape(x, (3, -1)), of((2, 3)))
case(
    ".reshape",
    lambda x, order: x.reshape(3, 2, order=order) * x.reshape((3, 2)),
    of((2, 3), order=st.sampled_from("CF")),
)
case("ravel", np.ravel, one(order=st.sampled_from("CF")))
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
case("stack @ vector", lambda a, b: a @ b, of((2, 4, 3), (3,)))
case("matmul", np.matmul, matrices())
for subscripts in ("i,i", "i,j->ij", "ij,jk", "ij,jk->ki", "ij->ji", "ii", "ii->i", "ij->", "ij->j"):
    operands = subscripts.partition("->")[0].split(",")
    case(f"einsum {subscripts}", lambda *xs, s=subscripts: np.einsum(s, *xs), of(*[(3,) * len(o) for o in operands]))
case("einsum, broadcasting", lambda a, b: np.einsum("...ij,jk", a, b), of((2, 3, 1), (1, 2)))
case("einsum, three", lambda a, b, c: np.einsum("ij,jk,ik->k", a, b, c, optimize=True), of((2, 3), (3, 2), (2, 2)))

# -- more element by element

unary("real", np.exp2, np.sinh, np.cosh, np.arctan, np.arcsinh, np.sinc, np.fabs, np.deg2rad)
unary("real", np.nan_to_num, np.conjugate, np.real, np.radians)
for f in (np.rad2deg, np.degrees):
    case(f.__name__, lambda x, f=f: f(x) / 50, one())
unary("positive", np.log2, np.log10, np.reciprocal, np.cbrt)
case("cbrt of negative", lambda x: np.cbrt(-x), one(domain="positive"))
unary("unit", np.arcsin, np.arccos, np.arctanh, np.tan)
unary("above 1", np.arccosh)
case("sinc around 0", lambda x: np.sinc(x * 0.1), one())
binary("real", "real", np.logaddexp, np.logaddexp2, np.hypot, np.fmax, np.fmin, np.arctan2, np.copysign)
binary("positive", "real", np.float_power)
binary("real", "positive", np.mod, np.remainder, np.fmod)
case("%", lambda a, b: a % b + 5 % b + a % 2, broadcasting("real", "above 1"))
case("divmod", lambda a, b: divmod(a, b)[1] + divmod(5, b)[1], broadcasting("real", "above 1"))
case("modf", lambda a: np.modf(a)[0], one())
case("select", lambda a: np.select([a > 1, a > 0], [a, a * a], 0.5), one(shapes(1)))
case("astype", lambda x: x.astype(x.dtype) * np.astype(x, x.dtype), one())
case("astype, to a type", lambda x: x.astype(x.dtype.type), one())
case("full_like", lambda x: np.full_like(x, x.sum()), one(shapes(1, side=1)))

# -- more reductions

WHERE = np.array([[True, False, True], [False, False, True]])
for name in ("sum", "mean", "prod", "var", "std"):
    case(
        f"{name}, where",
        getattr(np, name),
        of((2, 3), axis=st.sampled_from([None, -1, (0, 1)]) if name[1] in "ure" else None, where=WHERE),
    )
    case(f"{name}, where, of fewer axes", lambda x, n=name: getattr(np, n)(x, where=WHERE[0]), of((2, 3)))
case("max, where", lambda x: np.max(x, axis=1, initial=-3, where=WHERE) - x.min(1, initial=9, where=WHERE), of((2, 3)))
for f in (np.sum, np.prod, np.max):
    case(f"{f.__name__} of a scalar along an axis", f, of((), axis=st.sampled_from([0, -1]), keepdims=st.booleans()))
case("sum, prod, initial", lambda x: x.sum(initial=2) + np.prod(x * 1, axis=0, initial=3)[0], of((2, 3)))
for name in ("nansum", "nanmean", "nanprod", "nanvar", "nanstd", "nanmax", "nanmin"):
    case(
        name,
        lambda x, n=name, **o: getattr(np, n)(np.where(np.eye(2, 3) > 0, np.nan, x), **o),
        of((2, 3), axis=st.sampled_from([None, 1, -1, (0, 1)])),
    )
case("ptp", np.ptp, reducing())
case("median", np.median, reducing())
for q in (0, 0.3, 0.5, 1, [0.25, 0.9]):
    case(f"quantile {q}", np.quantile, reducing(q=st.just(q)))
case("percentile", lambda x: np.percentile(x, 40, axis=0) + np.percentile(x, [10, 60], 0)[1], of((4, 3)))
case("average", np.average, reducing())
case("average, weights", lambda x, w: np.average(x, weights=w), of((2, 3), (2, 3), domain="positive"))
case("average along an axis", lambda x, w: np.average(x, 1, w, keepdims=True), of((2, 3), (3,), domain="positive"))
case("average, returned", lambda x, w: np.average(x, 0, w, True), of((2, 3), (2, 3), domain="positive"))
case("prod with a zero", lambda x: np.prod(x * np.array([1.0, 0, 1]), axis=-1), one((2, 3)))
case("prod with zeros", lambda x: np.prod(x * np.array([0.0, 0, 1]), axis=-1), one((2, 3)))
case(
    "prod of columns with zeros",
    lambda x: np.prod(x * np.array([[0.0, 1], [1, 0], [1, 1]]), axis=0, keepdims=True),
    one((3, 2)),
)
case("cumsum", np.cumsum, reducing(many=False, keepdims=False, side=0))
case("cumprod", np.cumprod, reducing(many=False, keepdims=False, side=0))
case(".cumsum, .cumprod", lambda x, axis: x.cumsum(axis) + x.cumprod(axis=axis), along())
case("cumprod with a zero", lambda x: np.cumprod(x * np.array([1.0, 0, 1]), axis=-1), one((2, 3)))
case("cumprod with zeros, flat", lambda x: np.cumprod(x * np.array([1.0, 0, 0])), one((2, 3)))
case("accumulate", lambda x: np.add.accumulate(x) * np.multiply.accumulate(x, axis=1), one((2, 3)))
case("multiply.reduce, minimum.reduce", lambda x: np.multiply.reduce(x) + np.minimum.reduce(x, axis=0), one((2, 3)))
case("outer of ufuncs", lambda a, b: np.subtract.outer(a, b) * np.multiply.outer(a, b), of((2,), (2, 3)))
if hasattr(np, "cumulative_sum"):
    case("cumulative_sum", np.cumulative_sum, along(include_initial=st.booleans()))
    case("cumulative_prod", np.cumulative_prod, along(include_initial=st.booleans()))
case("diff", np.diff, along())
case("diff, twice", np.diff, along(n=2, side=2))
case("diff, none", lambda a: np.diff(a, 0, prepend=1.0), one((3,)))
case("diff, ends", lambda a, b: np.diff(a, axis=0, prepend=b, append=0), of((2, 3), (1, 3)))
case(
    "trapezoid",
    lambda y, x: np.trapezoid(y, x.cumsum()) + np.trapezoid(y, dx=2)[0],
    of((2, 3), (3,), domain="positive"),
)
case("logsumexp", lambda x, **o: logsumexp(x, **o), reducing())
for f in (softmax, logsoftmax):
    case(f.name, lambda x, axis, f=f: f(x, axis=axis), along(side=1))
for f in (σ, logσ, softplus):
    case(f.name, lambda x, f=f: f(x), one())

# -- order

case("sort", np.sort, along())
case("sort, flat", lambda x: np.sort(x, None), one(shapes(1)))
case("sort, positional, kind", lambda x: np.sort(x, 0, kind="stable"), one((3, 2)))
case("partition", np.partition, along(kth=0, side=1))
case("partition, several", lambda x: np.partition(x, [1, 3], 0) + np.partition(x, 2, axis=None)[:1], one((5, 2)))

# -- more shapes

case("permute_dims", np.permute_dims, permuted())
case("matrix_transpose", np.matrix_transpose, one(shapes(2)))
case(".mT", lambda x: x.mT, one(shapes(2)))
case("swapaxes", lambda x: np.swapaxes(x, 0, -1) * x.swapaxes(-1, 0), one(shapes(1)))
case("moveaxis", lambda x: np.moveaxis(x, 0, -1), one(shapes(1)))
case("moveaxis, several", lambda x: np.moveaxis(x, (0, -1), (1, 0)), one((2, 1, 3)))
case("rollaxis", lambda x: np.rollaxis(x, 2) + np.rollaxis(x, -1, 0), one((2, 1, 3)))
for f in (np.atleast_1d, np.atleast_2d, np.atleast_3d):
    case(f.__name__, f, one())
case("atleast_2d of several", lambda a, b: np.atleast_2d(a, b), of((3,), ()))
case("broadcast_arrays", lambda a, b: np.broadcast_arrays(a, b), broadcasting("real", "real"))
for options in ({}, {"indexing": "ij"}, {"sparse": True}):
    case(f"meshgrid {options}", lambda a, b, o=options: np.meshgrid(a, b, **o), of((2,), (3,)))
case("meshgrid of three", lambda a, b, c: np.meshgrid(a, b, c), of((2,), (3,), ()))
case("flip", np.flip, reducing(keepdims=False, side=0))
for f in (np.fliplr, np.rot90):
    case(f.__name__, f, one(shapes(2)))
case("flipud", np.flipud, one(shapes(1)))
case("rot90, k, axes", np.rot90, of((2, 3, 1), k=st.integers(-2, 5), axes=st.sampled_from([(0, 1), (2, 0), (1, -1)])))
case("roll", np.roll, reducing(many=False, keepdims=False, side=0, shift=st.integers(-4, 4)))
case("roll, several", np.roll, of((2, 3), shift=st.just((1, -2)), axis=st.just((0, 1))))
case("tril", np.tril, of((2, 3, 3), k=st.integers(-2, 2)))
case("triu", np.triu, of((3, 2), k=st.integers(-2, 2)))
for options in (
    {},
    {"mode": "constant", "constant_values": 3},
    {"mode": "edge"},
    {"mode": "reflect"},
    {"mode": "symmetric"},
    {"mode": "wrap"},
):
    case(f"pad {options}", lambda x, o=options: np.pad(x, ((1, 2), (0, 1)), **o) * 2, of((2, 3)))
case("tile", np.tile, one(reps=st.sampled_from([2, (2, 1), (1, 0), (2, 1, 2)])))
case("repeat", np.repeat, reducing(many=False, keepdims=False, repeats=st.integers(0, 2)))
case(".repeat", lambda x: x.repeat([2, 0, 1], axis=1), of((2, 3)))
case("diag", np.diag, one(shapes(1, 2), k=st.integers(-1, 1)))
case("diagflat", np.diagflat, one(shapes(1, 2)))
case(
    "diagonal", np.diagonal, of((3, 2, 3), offset=st.integers(-1, 1), axis1=st.just(-1), axis2=st.sampled_from([0, 1]))
)
case(".diagonal, linalg.diagonal", lambda x: x.diagonal(1) + np.linalg.diagonal(x)[:2], of((3, 3)))
case("trace", np.trace, of((3, 2, 3), offset=st.integers(-1, 1), axis1=st.just(2), axis2=st.sampled_from([0, 1])))
case(".trace, linalg.trace", lambda x: x.trace(0, 1, 2) + np.linalg.trace(x), of((2, 3, 3)))
case("take", lambda x: np.take(x, [0, 2, 0], 1)[0] + x.take([1, 4, 1]), of((2, 3)))
case("take_along_axis", lambda x: np.take_along_axis(x, np.array([[0, 0, 2]]), 1), of((2, 3)))
case("delete", lambda x: np.delete(x, [0, 2], axis=1), of((2, 3)))
case("resize", lambda x: np.resize(x, (3, 4)), of((2, 3)))
case(
    "compress, extract",
    lambda x: np.compress([True, False, True], x, axis=1)[0] + np.extract(np.arange(6) % 3 < 1, x),
    of((2, 3)),
)

# -- more joining, and splitting

for f in (np.vstack, np.hstack, np.dstack, np.column_stack):
    case(f.__name__, lambda a, b, f=f: f([a, b, a]), of((2, 3), (2, 3)))
    case(f"{f.__name__} of vectors", lambda a, b, f=f: f((a, b)), of((3,), (3,)))
case("hstack of scalars", lambda a, b: np.hstack([a, b, 1.5]), of((), ()))
case("append", lambda a, b: np.append(a, b)[0] + np.append(a, b[None], axis=0), of((2, 3), (3,)))
case("block", lambda a, b: np.block([[a, b], [b.T, 2 * a]]), of((2, 2), (2, 2)))
case("block of vectors", lambda a, b: np.block([a, b, 1.0]), of((2,), (3,)))
case("split", lambda x, axis: np.split(x, [1, 2], axis), along(side=2))
case("split into equal parts", lambda x: np.split(x, 2, 1), of((3, 4)))
case("array_split", lambda x, axis: np.array_split(x, 2, axis=axis), along())
case("array_split, overlapping", lambda x: np.array_split(x, [3, 1]), of((4, 2)))
case("vsplit, hsplit", lambda x: np.vsplit(x, 2) + np.hsplit(x, [1]), of((2, 3)))
case("dsplit, hsplit", lambda x: np.dsplit(x, 2) + np.hsplit(x[0, 0], 2), of((2, 1, 4)))
if hasattr(np, "unstack"):
    case("unstack", lambda x: np.unstack(x, axis=1), of((2, 3)))

# -- more products

for shape_a, shape_b in (
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3, 2)),
    ((2, 1, 3), (2, 3, 2)),
    ((), (2, 3)),
    ((3,), ()),
    ((0, 2), (2, 3)),
):
    case(f"dot {shape_a} {shape_b}", np.dot, of(shape_a, shape_b))
for shape_a, shape_b in (((3,), (3,)), ((2, 3), (3,)), ((2, 3), (4, 3)), ((2, 1, 3), (2, 3)), ((), (2, 3)), ((2,), ())):
    case(f"inner {shape_a} {shape_b}", np.inner, of(shape_a, shape_b))
case(".dot", lambda a, b: a.dot(b) + a.dot(2), of((2, 2), (2, 2)))
case("vdot", lambda a, b: np.vdot(a, b), of((2, 3), (3, 2)))
case("outer", np.outer, of(shapes(0, 2), shapes(0, 2)))
case("linalg.outer", np.linalg.outer, of((2,), (3,)))
for axes in (0, 1, 2, ((0, 2), (2, 1)), ([2], [-2]), ((1, 0), (0, 2)), ((), ())):
    case(
        f"tensordot {axes}",
        np.tensordot,
        of(
            (2, 3, 2),
            (3, 2, 2)
            if axes in (((0, 2), (2, 1)), ((1, 0), (0, 2)))
            else (2, 2, 3)
            if axes == ([2], [-2])
            else (2, 3)
            if axes == 1
            else (3, 2)
            if axes == 2
            else (2,),
            axes=axes,
        ),
    )
case("linalg.tensordot", lambda a, b: np.linalg.tensordot(a, b, axes=1), of((2, 3), (3, 2)))
case(
    "vecdot",
    np.vecdot,
    broadcasting("real", "real").filter(lambda c: all(x.ndim for x in c[0]) and c[0][0].shape[-1] == c[0][1].shape[-1]),
)
case("linalg.vecdot", lambda a, b: np.linalg.vecdot(a, b, axis=0) + np.vecdot(a, b, axis=-2), of((3, 2), (3, 2)))
if hasattr(np, "matvec"):
    case("matvec", lambda a, b: np.matvec(a, b), of((2, 2, 3), (3,)))
    case("vecmat", lambda a, b: np.vecmat(b, a), of((2, 3, 2), (3,)))
case("linalg.matmul", np.linalg.matmul, of((2, 3), (3, 2)))
for shape_a, shape_b in (((2,), (3,)), ((2, 3), (3, 2)), ((2, 1, 2), (2,)), ((), (2, 2))):
    case(f"kron {shape_a} {shape_b}", np.kron, of(shape_a, shape_b))
case("cross", np.cross, of((3,), (2, 3)))
case("cross, axes", lambda a, b: np.cross(a, b, axisa=0, axisb=1, axisc=0), of((3, 2), (2, 3)))
case("cross, axis", lambda a, b: np.cross(a, b, axis=0) + np.linalg.cross(a, b, axis=0), of((3, 2), (3, 2)))
for mode in ("full", "same", "valid"):
    case(f"convolve {mode}", np.convolve, of((5,), (3,), mode=mode))
case("convolve, the longer last", lambda a, b: np.convolve(a, b, "same"), of((2,), (5,)))
for mode in ("full", "same", "valid"):
    case(f"correlate {mode}", np.correlate, of((5,), (3,), mode=mode))
    case(f"correlate {mode}, the longer last", np.correlate, of((2,), (5,), mode=mode))
case("polyval", np.polyval, of((4,), shapes()))

# -- linear algebra


def _definite(x: Any) -> Any:
    return np.matmul(x, np.swapaxes(x, -1, -2)) + 2 * np.eye(3, dtype=x.dtype)


def _regular(x: Any) -> Any:
    return x * 0.1 + np.array([[2, 0, 1], [0, 3, 0], [0, 1, -1]], x.dtype)


def _spread(x: Any) -> Any:
    """Of well separated singular values."""
    return x * 0.2 + np.eye(*x.shape[-2:], dtype=x.dtype) * np.arange(1, x.shape[-1] + 1, dtype=x.dtype)


stacks = st.sampled_from([(3, 3), (2, 3, 3), (0, 3, 3)])
case("linalg.inv", lambda x: np.linalg.inv(_regular(x)), one(stacks))
case("linalg.solve", lambda a, b: np.linalg.solve(_regular(a), b), of(stacks, (3, 2)))
case("linalg.solve for a vector", lambda a, b: np.linalg.solve(_regular(a), b), of(stacks, (3,)))
case("linalg.solve of a plain matrix", lambda b: np.linalg.solve(np.eye(3, dtype=b.dtype) * 2, b), of((3,)))
case("linalg.det", lambda x: np.linalg.det(_regular(x)), one(stacks))
case("linalg.det of empty and 1×1", lambda x, y: np.linalg.det(x) + np.linalg.det(y), of((0, 0), (1, 1)))
case("linalg.slogdet", lambda x: np.linalg.slogdet(_regular(x)).logabsdet, one(stacks))
case("linalg.cholesky", lambda x: np.linalg.cholesky(_definite(x)), one(stacks))
case("linalg.cholesky, upper", lambda x: np.linalg.cholesky(_definite(x), upper=True), one((3, 3)))
case("linalg.pinv, tall", lambda x: np.linalg.pinv(_spread(x)), of((4, 2)))
case("linalg.pinv, wide", lambda x: np.linalg.pinv(_spread(x)), of((2, 2, 3)))
case(
    "linalg.eigh",
    lambda x: np.abs(np.linalg.eigh(_spread(x + x.T)).eigenvectors) + np.linalg.eigh(_spread(x + x.T))[0],
    of((3, 3)),
)
case("linalg.eigvalsh", lambda x: np.linalg.eigvalsh(_spread(x + np.swapaxes(x, -1, -2))), one(stacks))
for shape in ((3, 3), (4, 2), (2, 4)):
    case(
        f"linalg.svd {shape}", lambda x: [np.abs(p) for p in np.linalg.svd(_spread(x), full_matrices=False)], of(shape)
    )
    case(
        f"linalg.svdvals {shape}",
        lambda x: np.linalg.svd(_spread(x), compute_uv=False) + np.linalg.svdvals(_spread(x)),
        of(shape),
    )
for n in (-2, -1, 1, 2, 3, 5):
    case(f"linalg.matrix_power {n}", lambda x, n=n: np.linalg.matrix_power(_regular(x), n) / 4**n, one(stacks))
case("linalg.multi_dot", lambda *xs: np.linalg.multi_dot(xs), of((2, 3), (3, 2), (2, 4), (4, 1)))
case("linalg.multi_dot with vectors", lambda *xs: np.linalg.multi_dot(xs), of((3,), (3, 2), (2,)))
case("linalg.norm", lambda x: np.linalg.norm(x + 3), one(shapes(side=1)))
for order in (None, 1, 2, 3, 2.5, -1, np.inf, -np.inf, 0):
    case(
        f"linalg.norm {order}",
        lambda x, o=order, **k: np.linalg.norm(x + 3, o, **k),
        of((2, 3), axis=st.sampled_from([0, -1, (1,)]), keepdims=st.booleans()),
    )
for order in (None, "fro", 1, -1, 2, -2, np.inf, -np.inf, "nuc"):
    case(
        f"linalg.norm {order} of matrices",
        lambda x, o=order, **k: np.linalg.norm(_spread(x), o, **k),
        of((2, 3, 3), axis=st.sampled_from([(1, 2), (-1, -2)]), keepdims=st.booleans()),
    )
    case(f"linalg.norm {order} of a matrix", lambda x, o=order: np.linalg.norm(_spread(x), o), of((2, 3)))
case("linalg.vector_norm", lambda x, **k: np.linalg.vector_norm(x + 3, **k), reducing(ord=st.sampled_from([2, 1, 3])))
case(
    "linalg.matrix_norm",
    lambda x, **k: np.linalg.matrix_norm(_spread(x), **k),
    one((2, 3, 3), ord=st.sampled_from(["fro", "nuc"]), keepdims=st.booleans()),
)

# -- grids


def _rising(x: Any) -> Any:
    """Points of a grid, none of which is where an x may be."""
    return np.cumsum(np.exp(x)) - 2.5


case("interp", lambda x, xp, fp: np.interp(x, _rising(xp), fp), of((2, 5), (4,), (4,)))
case("interp of plain points", lambda fp: np.interp([0.5, 3, -1, 1.25], [0, 1, 2], fp, left=2.0), of((3,)))
case("interp, ends", lambda x, fp, a, b: np.interp(x, [-1, 0, 1], fp, a, right=b), of((7,), (3,), (), ()))
case("interp, period", lambda x, fp: np.interp(3 * x, [3.0, 0.5, 5.2], fp, period=3.7), of((5,), (3,)))
case("interp of one point", lambda x, fp: np.interp(x, [0.1], fp), of((), (1,)))
for options in ({}, {"endpoint": False, "num": 4}, {"num": 1}, {"num": 2, "axis": -1}, {"num": 0}):
    case(f"linspace {options}", lambda a, b, o=options: np.linspace(a, b, **o), broadcasting("real", "real"))
case("linspace, step", lambda a, b: np.linspace(a, b, 3, False, True), of((2,), ()))
case("linspace of a number and an array", lambda b: np.linspace(0.5, b, 4, axis=1), of((2, 3)))
case("geomspace", lambda a, b: np.geomspace(a, b, 5, axis=1), of((2,), (2,), domain="positive"))
case(
    "logspace",
    lambda a, b: np.logspace(a, b, 4, base=2) + np.logspace(a, 1, num=4, base=b),
    of((2,), (2,), domain="positive"),
)
case(
    "gradient", np.gradient, of((3, 4), axis=st.sampled_from([None, 0, -1, (1, 0)]), edge_order=st.sampled_from([1, 2]))
)
case("gradient, distance", lambda f: np.gradient(f, 0.3, edge_order=2), of((5,)))
case("gradient, distances", lambda f, h: np.gradient(f, 0.3, np.cumsum(np.exp(h))), of((2, 4), (4,)))
case(
    "gradient, distances to second order",
    lambda f, h: np.gradient(f, np.cumsum(np.exp(h)), axis=1, edge_order=2),
    of((2, 4), (4,)),
)
case("gradient, even coordinates", lambda f: np.gradient(f, [0, 2, 4], edge_order=2), of((3,)))
case("unwrap", lambda p: np.unwrap(p * 4, axis=0) + np.unwrap(3 * p, 2.0, period=5), of((5, 2)))

# -- statistics

RAMP = np.array([0.0, 1.0, 3.0, 1.0])  # without spread there is no correlation
for options in (
    {},
    {"rowvar": False},
    {"bias": True},
    {"ddof": 2},
    {"fweights": [1, 2, 0, 3]},
    {"aweights": np.array([0.5, 1, 2, 1]), "ddof": 0, "fweights": [1, 2, 1, 1]},
    {"aweights": np.array([0.5, 1, 2, 1])},
):
    case(f"cov {options}", lambda x, o=options: np.cov(x.T if "rowvar" in o else x, **o), of((3, 4)))
case("cov of two", lambda a, b: np.cov(a, b), of((3, 4), (4,)))
case("cov of a vector", lambda x: np.cov(x), of((4,)))
case("cov of two in columns", lambda a, b: np.cov(a, b, False), of((4, 2), (4, 1)))
case("corrcoef", lambda x: np.corrcoef(x + RAMP.astype(x.dtype)), of((3, 4)))
case(
    "corrcoef of two",
    lambda a, b: np.corrcoef(a + RAMP.astype(a.dtype), y=b + RAMP[::-1].astype(b.dtype)),
    of((4,), (4,)),
)
case("corrcoef of a vector", lambda x: np.corrcoef(x + RAMP.astype(x.dtype)), of((4,)))
HOLES = np.array([[False, True, False, False], [False, False, False, False], [True, True, True, False]])
for name, q in (("nanmedian", None), ("nanquantile", 0.3), ("nanquantile", [0, 0.9, 1]), ("nanpercentile", 40)):
    case(
        f"{name} {q}",
        lambda x, n=name, q=q, **o: getattr(np, n)(np.where(HOLES, np.nan, x), *([] if q is None else [q]), **o),
        of((3, 4), axis=st.sampled_from([None, 1, -1, (0, 1)]), keepdims=st.booleans()),
    )
case("bincount", lambda w: np.bincount([0, 3, 1, 0], w, minlength=6), of((4,)))
case(
    "insert",
    lambda x, v, **o: np.insert(x, values=v, **o),
    of((2, 3), (2,), axis=1, obj=1) | of((2, 3), (3,), axis=0, obj=-1),
)
case("insert several", lambda x, v: np.insert(x, [0, 2, 2], v, axis=-1), of((2, 3), (2, 3)))
case(
    "insert, flat",
    lambda x, v: np.insert(x, slice(1, 6, 2), v) * np.insert(x, [-1, 0, 2], 2.0)[:9],
    of((2, 3), ()),
)

# -- scans

for name in ("maximum", "minimum", "fmax", "fmin", "logaddexp", "logaddexp2", "hypot", "subtract"):
    case(f"{name}.accumulate", getattr(np, name).accumulate, along())
case("divide.accumulate", np.divide.accumulate, one(shapes(1), "positive"))
for name in ("logaddexp", "logaddexp2", "fmax", "fmin"):
    case(f"{name}.reduce", getattr(np, name).reduce, reducing())
case("logaddexp.reduce, where, initial", lambda x: np.logaddexp.reduce(x, 1, where=WHERE, initial=0.3), of((2, 3)))
for name in ("nancumsum", "nancumprod"):
    case(
        name,
        lambda x, n=name, **o: getattr(np, n)(np.where(HOLES, np.nan, x), **o),
        of((3, 4), axis=st.sampled_from([None, 0, -1])),
    )

# -- factors

for shape in ((3, 3), (4, 2), (2, 4), (2, 3, 2), (0, 2, 2)):
    case(f"linalg.qr {shape}", lambda x: np.linalg.qr(_spread(x)), of(shape))
case("linalg.qr, r", lambda x: np.linalg.qr(_spread(x), mode="r") * 2, of((3, 2)))
case("linalg.qr, complete", lambda x: np.linalg.qr(_spread(x), "complete"), of((2, 3)))
for shape in ((4, 2), (2, 4), (3, 3)):
    case(
        f"linalg.lstsq {shape}",
        lambda a, b: [part for i, part in enumerate(np.linalg.lstsq(_spread(a), b)) if i != 2],
        of(shape, (shape[0], 2)),
    )
case("linalg.lstsq for a vector", lambda a, b: np.linalg.lstsq(_spread(a), b, rcond=-1)[:2], of((4, 2), (4,)))
case(
    "linalg.lstsq of less than full rank",
    lambda a, b: np.linalg.lstsq(np.outer(a + 3, a + 2), b, rcond=1e-4)[0],
    of((3,), (3,)),
)

# -- windows and borders

windows = np.lib.stride_tricks.sliding_window_view
case("sliding_window_view", lambda x: [windows(x, 2, axis=1) * 2, windows(x, (2, 2), (1, 1))], of((2, 4)))
case("sliding_window_view, all axes", lambda x: windows(x, window_shape=(2, 3)), of((3, 4)))
case("fftshift, ifftshift", lambda x: np.fft.fftshift(x) + 2 * np.fft.ifftshift(x, axes=-1), of((3, 5)))
for options in (
    {"mode": "mean"},
    {"mode": "mean", "stat_length": ((1, 2), (2, 3))},
    {"mode": "maximum"},
    {"mode": "minimum", "stat_length": 2},
    {"mode": "median"},
    {"mode": "linear_ramp"},
    {"mode": "linear_ramp", "end_values": ((1, -1), (2, 3))},
    {"mode": "reflect", "reflect_type": "odd"},
    {"mode": "symmetric", "reflect_type": "odd"},
):
    case(f"pad, {options}", lambda x, o=options: np.pad(x, ((1, 2), (0, 7)), **o) * 2, of((2, 3)))
for widths in (2, (1, 3), ((2,), (1,)), ((0, 3),), [[0, 0], [1, 2]], np.array([[1, 0], [0, 1]])):
    case(
        f"pad by {widths!r}",
        lambda x, w=widths, **o: np.pad(x, w, **o),
        of((2, 3), mode=st.sampled_from(["constant", "edge", "symmetric", "wrap", "mean", "linear_ramp"])),
    )
case("pad of one element", lambda x: np.pad(x, 2, "reflect", reflect_type="odd") + np.pad(x, 2, "median"), of((1,)))

# -- choices and powers

case(
    "piecewise",
    lambda x: np.piecewise(x, [x < -1, x > 0], [lambda v, k: np.sin(k * v), lambda v, k: v * v * k, 3.0], k=2),
    one(),
)
case("piecewise, one condition", lambda x: np.piecewise(x, x > 0, [lambda v: v * v.sum(), 0.5]), of((4,)))
case("piecewise, overlapping", lambda x: np.piecewise(x, [x > -1, x > 0], [np.square, np.exp]), of((7,)))
case("choose", lambda a, b: np.choose([[0, 1, 2], [2, 1, 0]], [a, b, 2.0]), of((2, 3), (3,)))
case(
    "choose, mode",
    lambda a: np.choose(np.array([4, -1, 1]), a, mode="wrap") + np.choose([9, 0, 1], a, mode="clip"),
    of((3, 3)),
)
case("ediff1d", lambda x, b: np.ediff1d(x)[:2] + np.ediff1d(x, b, to_begin=[1.0])[-2:], of((2, 3), (2, 1)))
case("vander", np.vander, of((3,), N=st.sampled_from([None, 0, 1, 2, 5]), increasing=st.booleans()))
case("i0", lambda x: np.i0(3 * x), one())
case(
    "einsum, lists",
    lambda a, b: np.einsum(a, [0, 1], b, [1, 26], [26, 0]) + np.einsum(a, [30, 1], b, [1, 2]).T,
    of((2, 3), (3, 2)),
)
case("einsum, lists with dots", lambda a, b: np.einsum(a, [..., 0], b, [0], optimize=True), of((4, 2, 3), (3,)))

# -- options of ufuncs


def _where(f: Callable[..., Any], *xs: Any) -> Any:
    """f of the elements that `where=` lets in; the rest, which NumPy leaves undefined (and warns of), is 1."""
    with warnings.catch_warnings(action="ignore"):
        y = f(*xs, where=WHERE)
    return np.where(WHERE, y, 1.0)


case("log, where", lambda x: _where(np.log, x), one((2, 3), "positive"))
case("multiply, where", lambda a, b: _where(np.multiply, a, b), of((3,), (2, 1)))
case("add of a number, where", lambda a: _where(np.add, 2, a), of((2, 3)))
case("multiply, dtype", lambda a, b: np.multiply(a, b, dtype=float) * 1.5 + np.add(a, 1, dtype="d"), of((2,), ()))

# -- scipy.special, where it is installed

if special is not None:
    unary("real", special.expit, special.log_expit, special.erf, special.erfc, special.ndtr)
    unary("positive", special.gamma, special.gammaln, special.digamma, special.entr)
    unary("(0, 1)", special.logit, special.erfinv)
    binary("real", "positive", special.xlogy, special.xlog1py)
    binary("positive", "positive", special.betaln, special.rel_entr)
    unary("real", special.log_ndtr, special.erfcx, special.erfi, special.dawsn, special.j0, special.j1, special.i1)
    case("special.i0", special.i0, one())
    unary("positive", special.rgamma, special.y0, special.y1)
    unary("(0, 1)", special.ndtri, special.erfcinv)
    case("erfcx of large numbers", lambda x: special.erfcx(x + 50) * 1000, one())
    binary("positive", "positive", special.beta, special.kl_div, special.pseudo_huber)
    binary("(0, 1)", "real", special.huber)
    for order in (0, 1, 2.5, np.array([[-1.0], [3.0]])):
        for f in (special.jv, special.yv, special.iv):
            case(f"{f.__name__} of order {order}", lambda x, f=f, v=order: f(v, x), of((3,), domain="above 1"))
    for f in (special.gammainc, special.gammaincc):
        case(f.__name__, lambda x, f=f: f(1.3, x) + f([0.5, 1, 2], x[..., :1]), of((2, 3), domain="positive"))
    case("scipy.polygamma", lambda x: scipy.polygamma(1, x).astype(x.dtype), one(domain="positive"))
    for lower in (False, True):
        case(
            f"scipy.solve_triangular {lower}",
            lambda a, b, lower=lower, **o: scipy.solve_triangular(_regular(a), b, lower=lower, **o),
            of((3, 3), (3, 2), trans=st.sampled_from([0, 1, "C"]), unit_diagonal=st.booleans()),
        )
    case("scipy.solve_triangular for a vector", lambda a, b: scipy.solve_triangular(_regular(a), b), of((3, 3), (3,)))

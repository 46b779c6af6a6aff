"""Products of matrices and tensors."""

from __future__ import annotations

import numpy as np

from fluxmagic.tracker.aliases import Array, Call, Gradients, GradOut, Option
from fluxmagic.tracker.array import Tracked, as_arrays
from fluxmagic.tracker.node import PLAIN_ARRAYS
from fluxmagic.tracker.operation import Op, composed, define

Axes = tuple[int, ...]

# for plain arrays, in half the time of np.vdot; unlike dot it does not warn of overflow
vdot = getattr(np.vdot, "__wrapped__", np.vdot)


def _swap(x: Array) -> Array:
    return x.T if x.ndim == 2 else np.swapaxes(x, -1, -2)


def fits_buffer(buffer: Array, x: Array, y: Array) -> bool:
    """Say whether the product of two matrices can be written into a buffer."""
    return (
        type(buffer) in PLAIN_ARRAYS
        and type(x) in PLAIN_ARRAYS
        and type(y) in PLAIN_ARRAYS
        and x.ndim == 2 == y.ndim
        and x.dtype == y.dtype == buffer.dtype
    )


def _matmul(a: Array, b: Array) -> Array:
    # dot is the same product of vectors and matrices, with a shorter call
    if type(a) in PLAIN_ARRAYS and type(b) in PLAIN_ARRAYS and 0 < a.ndim < 3 and 0 < b.ndim < 3:
        return a.dot(b)
    return a @ b if hasattr(b, "tocsr") else np.matmul(a, b)  # SciPy's matrices have `@` only


def _d_matmul(Δ: Array, y: Array, a: Array, b: Array, grad_out: GradOut) -> Gradients:
    to_a, to_b = grad_out
    if a.ndim == 1 and b.ndim == 1:
        return (None if to_a is False else Δ * b), (None if to_b is False else Δ * a)
    return (None if to_a is False else _d_left(Δ, a, b, to_a), None if to_b is False else _d_right(Δ, a, b, to_b))


def outer(a: Array, b: Array, buffer: Array) -> Array:
    """Multiply each entry of a by the vector b; write the result into the buffer if it fits."""
    fits = PLAIN_ARRAYS.issuperset((type(a), type(b), type(buffer))) and a.dtype == b.dtype == buffer.dtype
    return np.multiply(a[..., None], b, buffer if fits else None)


def _d_left(Δ: Array, a: Array, b: Array, buffer: Array) -> Array:
    if b.ndim == 1:
        return outer(Δ, b, buffer)
    if a.ndim == 1 and not hasattr(b, "tocsr"):
        return np.matmul(b, Δ[..., None])[..., 0]
    return Δ.dot(b.T, buffer) if fits_buffer(buffer, Δ, b) else _matmul(Δ, _swap(b))


def _d_right(Δ: Array, a: Array, b: Array, buffer: Array) -> Array:
    if a.ndim == 1:
        return np.multiply(a[:, None], Δ[..., None, :])
    if b.ndim == 1:
        if a.ndim == 2:
            return np.matmul(Δ, a)
        return np.sum(np.multiply(a, Δ[..., None]), axis=tuple(range(a.ndim - 1)))
    return a.T.dot(Δ, buffer) if fits_buffer(buffer, Δ, a) else _matmul(_swap(a), Δ)


define(np.matmul, forward=_matmul, vjp=_d_matmul, aliases=[np.linalg.matmul])

# -- products that sum over axes -----------------------------------------------------------------------


def _grad_of_tensordot(Δ: Array, a: Array, b: Array, over_a: Axes, over_b: Axes, grad_out: GradOut) -> Gradients:
    """Return the gradients of a product over pairs of axes, whose result has the free axes of a, then those of b."""
    free_a = tuple(i for i in range(a.ndim) if i not in over_a)
    free_b = tuple(i for i in range(b.ndim) if i not in over_b)
    n = len(free_a)
    δa = δb = None
    if grad_out[0] is not False:  # axes of a: free ones, then the others in b's order
        δ = np.tensordot(Δ, b, (tuple(range(n, Δ.ndim)), free_b))
        δa = np.transpose(δ, _inverse(free_a + tuple(over_a[over_b.index(i)] for i in sorted(over_b))))
    if grad_out[1] is not False:
        δ = np.tensordot(a, Δ, (free_a, tuple(range(n))))
        δb = np.transpose(δ, _inverse(tuple(over_b[over_a.index(i)] for i in sorted(over_a)) + free_b))
    return δa, δb


def _inverse(order: Axes) -> Axes:
    return tuple(int(i) for i in np.argsort(order))


def _grad_of_scale(Δ: Array, a: Array, b: Array, grad_out: GradOut) -> tuple[Array, Array]:
    return (None if grad_out[0] is False else Δ * b), (None if grad_out[1] is False else Δ * a)


def _normalize_tensordot(a: Array, b: Array, axes: Option = 2) -> Call:
    a, b = as_arrays(a, b)
    if np.ndim(axes):
        over_a, over_b = (tuple(map(int, np.atleast_1d(i))) for i in axes)
    else:
        over_a, over_b = tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    return (a, b), {"axes": (over_a, over_b)}


def _d_tensordot(Δ: Array, y: Array, a: Array, b: Array, grad_out: GradOut, axes: tuple[Axes, Axes]) -> Gradients:
    over_a, over_b = tuple(i % a.ndim for i in axes[0]), tuple(i % b.ndim for i in axes[1])
    return _grad_of_tensordot(Δ, a, b, over_a, over_b, grad_out)


define(np.tensordot, vjp=_d_tensordot, normalize_call=_normalize_tensordot, aliases=[np.linalg.tensordot])


def _d_dot(Δ: Array, y: Array, a: Array, b: Array, grad_out: GradOut) -> Gradients:
    if not np.ndim(a) or not np.ndim(b):
        return _grad_of_scale(Δ, a, b, grad_out)
    return _grad_of_tensordot(Δ, a, b, (a.ndim - 1,), (max(b.ndim - 2, 0),), grad_out)


def _d_inner(Δ: Array, y: Array, a: Array, b: Array, grad_out: GradOut) -> Gradients:
    if not np.ndim(a) or not np.ndim(b):
        return _grad_of_scale(Δ, a, b, grad_out)
    return _grad_of_tensordot(Δ, a, b, (a.ndim - 1,), (b.ndim - 1,), grad_out)


def _d_outer(Δ: Array, y: Array, a: Array, b: Array, grad_out: GradOut) -> Gradients:
    flat_a, flat_b = np.ravel(a), np.ravel(b)
    return (
        None if grad_out[0] is False else np.reshape(np.matmul(Δ, flat_b), np.shape(a)),
        None if grad_out[1] is False else np.reshape(np.matmul(flat_a, Δ), np.shape(b)),
    )


def _d_vdot(Δ: Array, y: Array, a: Array, b: Array, grad_out: GradOut) -> Gradients:
    return (
        None if grad_out[0] is False else Δ * np.reshape(b, np.shape(a)),
        None if grad_out[1] is False else Δ * np.reshape(a, np.shape(b)),
    )


def _normalize_pair(a: Array, b: Array, out: Option = None) -> Call:
    return as_arrays(a, b), {"out": out}


define(np.dot, vjp=_d_dot, normalize_call=_normalize_pair)
define(np.inner, vjp=_d_inner, normalize_call=_normalize_pair)
define(np.outer, vjp=_d_outer, normalize_call=_normalize_pair, aliases=[np.linalg.outer])
define(np.vdot, vjp=_d_vdot, normalize_call=_normalize_pair)


VECDOT = define(
    lambda a, b: np.vecdot(a, b),
    lambda Δ, y, a, b: Δ[..., None] * b,
    lambda Δ, y, a, b: Δ[..., None] * a,
    name="vecdot",
)


@composed(np.vecdot, np.linalg.vecdot)
def _vecdot(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    x1, x2 = as_arrays(x1, x2)
    if axis != -1:
        x1, x2 = np.moveaxis(x1, axis, -1), np.moveaxis(x2, axis, -1)
    return VECDOT(x1, x2)


if hasattr(np, "matvec"):  # NumPy 2.2
    define(np.matvec, lambda Δ, y, a, b: Δ[..., None] * b[..., None, :], lambda Δ, y, a, b: np.vecmat(Δ, a))
    define(np.vecmat, lambda Δ, y, a, b: np.matvec(b, Δ), lambda Δ, y, a, b: a[..., None] * Δ[..., None, :])


@composed(np.kron)
def _kron(a: Array, b: Array) -> Array:
    a, b = as_arrays(a, b)
    n = max(a.ndim, b.ndim)
    a, b = (np.reshape(x, (1,) * (n - x.ndim) + x.shape) for x in (a, b))
    product = np.expand_dims(a, tuple(range(1, 2 * n, 2))) * np.expand_dims(b, tuple(range(0, 2 * n, 2)))
    return np.reshape(product, tuple(i * j for i, j in zip(a.shape, b.shape, strict=True)))


CROSS: Op = define(
    lambda a, b: np.cross(a, b), lambda Δ, y, a, b: CROSS(b, Δ), lambda Δ, y, a, b: CROSS(Δ, a), name="cross"
)


@composed(np.cross, np.linalg.cross)
def _cross(a: Array, b: Array, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Array:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = as_arrays(a, b)
    a, b = np.moveaxis(a, axisa, -1), np.moveaxis(b, axisb, -1)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise ValueError(f"vectors of length 3, not {a.shape[-1]} and {b.shape[-1]}")
    return np.moveaxis(CROSS(a, b), -1, axisc)


@composed(np.convolve)
def _convolve(a: Array, v: Array, mode: str = "full") -> Array:
    return CONVOLVE(*as_arrays(a, v), mode=mode) if np.size(a) >= np.size(v) else CONVOLVE(*as_arrays(v, a), mode=mode)


@composed(np.correlate)
def _correlate(a: Array, v: Array, mode: str = "valid") -> Array:
    a, v = as_arrays(a, v)
    if a.size < v.size:
        return np.flip(_correlate(v, a, mode))
    return CONVOLVE(a, np.flip(v), mode=mode)


@composed(np.polyval)
def _polyval(p: Array, x: Array) -> Array:
    (x,), y = as_arrays(x), np.zeros_like(x)
    for coefficient in p:
        y = y * x + coefficient
    return y


def _d_convolve(Δ: Array, y: Array, a: Array, v: Array, grad_out: GradOut, mode: str = "full") -> Gradients:
    n, m = len(a), len(v)
    start = {"full": 0, "same": (m - 1) // 2, "valid": m - 1}[mode]
    Δ = np.pad(Δ, (start, n + m - 1 - start - len(Δ)))  # as in mode "full"
    return (
        None if grad_out[0] is False else CONVOLVE(Δ, np.flip(v), mode="valid"),
        None if grad_out[1] is False else CONVOLVE(Δ, np.flip(a), mode="valid"),
    )


CONVOLVE: Op = define(lambda a, v, mode="full": np.convolve(a, v, mode), vjp=_d_convolve, name="convolve")

# -- einsum ------------------------------------------------------------------------------------------


def _parse(subscripts: str, shapes: list[tuple[int, ...]]) -> tuple[list[str], str]:
    """Return a letter for every axis of every operand and of the result, also for those of '...'."""
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    operands = inputs.split(",")
    free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" if c not in subscripts]
    dots = [len(s) - len(o.replace("...", "")) if "..." in o else 0 for o, s in zip(operands, shapes, strict=True)]
    letters = "".join(free[: max(dots, default=0)])
    operands = [o.replace("...", letters[len(letters) - n :]) for o, n in zip(operands, dots, strict=True)]
    if not arrow:
        every = "".join(operands)
        output = letters + "".join(sorted(c for c in set(every) if every.count(c) == 1 and c not in letters))
    return operands, output.replace("...", letters)


def _from_lists(*given: Array) -> tuple[str, tuple[Array, ...]]:
    """Return the string for einsum(a, [0, 1], b, [1, 2], [0, 2]); letters sort as the numbers do, capitals first."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

    def term(axes: Option) -> str:
        if isinstance(axes, Tracked) or not all(i is Ellipsis or 0 <= i < len(letters) for i in axes):
            raise TypeError("einsum: after each array a list of its axes, numbers from 0 to 51, or a string before all")
        return "".join("..." if i is Ellipsis else letters[i] for i in axes)

    terms = ",".join(map(term, given[1::2]))
    if len(given) % 2:
        terms += "->" + term(given[-1])
    return terms, given[: len(given) // 2 * 2 : 2]


def _normalize_einsum(subscripts: Option, *operands: Array, **options: Option) -> Array:
    if not isinstance(subscripts, str):
        subscripts, operands = _from_lists(subscripts, *operands)
    return operands, {"subscripts": subscripts, **options}


def _einsum(*operands: Array, subscripts: str, optimize: Option = False) -> Array:
    return np.einsum(subscripts, *operands, optimize=optimize)


def _d_einsum(
    Δ: Array, y: Array, *xs: Array, grad_out: GradOut, subscripts: str, optimize: Option = False
) -> Gradients:
    terms, output = _parse(subscripts, [np.shape(x) for x in xs])
    length: dict[str, int] = {}  # of each letter's axis; an axis of length 1 is broadcast
    for term, x in zip(terms, xs, strict=True):
        for letter, n in zip(term, np.shape(x), strict=True):
            if n != 1 or letter not in length:
                length[letter] = n
    if not isinstance(optimize, (bool, str)):
        optimize = True  # a given path belongs to other operands
    result: list[Array] = []
    for k, x in enumerate(xs):
        if grad_out[k] is False:
            result.append(None)
            continue
        operands = [Δ, *(_as_float(o, Δ) for i, o in enumerate(xs) if i != k)]
        labels = [output, *(t for i, t in enumerate(terms) if i != k)]
        free = iter(c for c in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in "".join(terms))
        target = ""
        for axis, letter in enumerate(terms[k]):
            n = x.shape[axis]
            if n != length[letter]:  # it was broadcast: sum
                continue
            if letter in target:  # the gradient belongs on a diagonal
                other = next(free)
                operands.append(np.eye(n, dtype=x.dtype))
                labels.append(letter + other)
                letter = other
            elif not any(
                letter in t and np.shape(o)[t.index(letter)] == n for o, t in zip(operands, labels, strict=True)
            ):
                # the axis was summed over
                operands.append(np.ones(n, x.dtype))
                labels.append(letter)
            target += letter
        δ = np.einsum(",".join(labels) + "->" + target, *operands, optimize=optimize)
        result.append(np.reshape(δ, np.shape(x)))
    return result


def _as_float(x: Array, Δ: Array) -> Array:
    """Convert integers to float64: products of small ones may overflow."""
    return x if isinstance(x, Tracked) or np.asarray(x).dtype.kind == "f" else np.asarray(x, Δ.dtype)


define(np.einsum, forward=_einsum, vjp=_d_einsum, normalize_call=_normalize_einsum)

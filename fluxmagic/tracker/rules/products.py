"""Products of matrices and tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from fluxmagic.tracker.array import Array
from fluxmagic.tracker.operation import define


def _swap(x: Array) -> Array:
    return x.T if x.ndim == 2 else np.swapaxes(x, -1, -2)


def can_write(buffer: Any, *operands: Any) -> bool:
    return isinstance(buffer, np.ndarray) and all(
        type(x) is np.ndarray and x.ndim == 2 and x.dtype == buffer.dtype for x in operands
    )


def _d_matmul(Δ: Array, y: Array, a: Array, b: Array, into: Any) -> tuple[Any, Any]:
    δa = δb = None
    if a.ndim == 1 and b.ndim == 1:
        return (None if into[0] is False else Δ * b), (None if into[1] is False else Δ * a)
    if into[0] is not False:
        if b.ndim == 1:
            δa = np.multiply(Δ[..., None], b)
        elif a.ndim == 1:
            δa = (np.matmul(b, Δ[..., None]))[..., 0]
        elif can_write(into[0], Δ, b):
            δa = np.dot(Δ, b.T, out=into[0])
        else:
            δa = np.matmul(Δ, _swap(b))
    if into[1] is not False:
        if a.ndim == 1:
            δb = np.multiply(a[:, None], Δ[..., None, :])
        elif b.ndim == 1:
            δb = np.matmul(Δ, a) if a.ndim == 2 else np.sum(np.multiply(a, Δ[..., None]), axis=tuple(range(a.ndim - 1)))
        elif can_write(into[1], Δ, a):
            δb = np.dot(a.T, Δ, out=into[1])
        else:
            δb = np.matmul(_swap(a), Δ)
    return δa, δb


define(np.matmul, joint=_d_matmul, operators="matmul rmatmul")

# -- einsum ------------------------------------------------------------------------------------------


def _parse(subscripts: str, shapes: list[tuple[int, ...]]) -> tuple[list[str], str]:
    """One letter for every axis of every operand and of the result; '...' is spelled out."""
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


def _bind_einsum(subscripts: Any, *operands: Any, **options: Any) -> Any:
    if not isinstance(subscripts, str):
        raise TypeError("einsum: with tracked arrays write the subscripts as a string, 'ij,jk->ik'")
    return operands, {"subscripts": subscripts, **options}


def _einsum(*operands: Any, subscripts: str, optimize: Any = False) -> Any:
    return np.einsum(subscripts, *operands, optimize=optimize)


def _d_einsum(Δ: Array, y: Array, *xs: Any, into: Any, subscripts: str, optimize: Any = False) -> list[Any]:
    terms, output = _parse(subscripts, [np.shape(x) for x in xs])
    result: list[Any] = []
    for k, x in enumerate(xs):
        if into[k] is False:
            result.append(None)
            continue
        operands = [Δ, *(o for i, o in enumerate(xs) if i != k)]
        labels = [output, *(t for i, t in enumerate(terms) if i != k)]
        present = set("".join(labels))
        free = iter(c for c in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in "".join(terms))
        target = ""
        for axis, letter in enumerate(terms[k]):
            n = x.shape[axis]
            if letter in target:  # a diagonal was taken: put the gradient back on it
                other = next(free)
                operands.append(np.eye(n, dtype=x.dtype))
                labels.append(letter + other)
                letter = other
            elif letter not in present:  # this axis was summed away
                operands.append(np.ones(n, x.dtype))
                labels.append(letter)
            target += letter
        result.append(np.einsum(",".join(labels) + "->" + target, *operands, optimize=optimize))
    return result


define(np.einsum, forward=_einsum, joint=_d_einsum, bind=_bind_einsum)

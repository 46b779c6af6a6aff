"""What a NumPy function, or a ufunc, comes to when one of its arguments is tracked."""

from __future__ import annotations

from typing import Any

import numpy as np

from fluxmagic.tracker.aliases import Array, ArrayLike, DType, Function, Where
from fluxmagic.tracker.calls import (
    is_call_error,
    missing_rule,
    only_given,
    out_by_name,
    reject_out,
    reject_tracked,
    signature,
    wrong_call,
)
from fluxmagic.tracker.node import Node, data
from fluxmagic.tracker.operation import (
    COMPOSITES,
    NON_DIFFERENTIABLE,
    OPS,
    UFUNC_METHODS,
    UNSUPPORTED,
    Op,
    enter_late_rules,
    op_by_name,
)
from fluxmagic.tracker.record import apply, record

__all__ = ["apply_function", "apply_ufunc"]


def apply_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Array:
    """Carry out np.add(W, 1), np.add.reduce(W) and the like."""
    if method == "__call__" and not options and ufunc in OPS:
        return record(OPS[ufunc], inputs)
    name = ufunc.__name__
    if method == "at":
        raise TypeError(
            f"{name}.at writes in place, which has no gradient: build a new array (np.where, np.concatenate), "
            f"or, for a parameter W, use update(W, Δ) or write to W.data[...]"
        )
    if options:
        reject_out(name, options)
        if method != "__call__":
            reject_tracked(name, options)
    if ufunc in NON_DIFFERENTIABLE:
        return getattr(ufunc, method)(*map(data, inputs), **options)
    op = UFUNC_METHODS.get((ufunc, method))
    if op is not None:
        options.setdefault("axis", 0)
        if options.get("dtype", ...) is None:
            del options["dtype"]
        return apply(op, inputs, options)
    if method == "outer" and len(inputs) == 2:
        arrays: list[Array] = [x if isinstance(x, Node) else np.asarray(x) for x in inputs]
        a, b = arrays
        inputs = (np.reshape(a, a.shape + (1,) * b.ndim), b)
    elif method != "__call__":
        raise missing_rule(f"{name}.{method}")
    return _apply_with_ufunc_options(ufunc, inputs, options)


def _apply_with_ufunc_options(ufunc: np.ufunc, inputs: tuple[Any, ...], options: dict[str, Any]) -> Array:
    rule, name = _ufunc_rule(ufunc), ufunc.__name__
    if ufunc.signature and ufunc in COMPOSITES:
        return rule(*inputs, **options)
    given = [np.asarray(x) if type(x) in (list, tuple) else x for x in inputs]
    where, dtype = options.pop("where", True), options.pop("dtype", None)
    if options:
        raise TypeError(f"{name}: {', '.join(options)}= does not go with tracked arrays; where= and dtype= do")
    if dtype is not None:
        given = [_cast(x, dtype, name) for x in given]
    return rule(*given) if where is True else _selected(rule, ufunc, given, where)


def _cast(x: ArrayLike, dtype: DType, name: str) -> Array:
    """Give an input in the dtype that a ufunc computes in."""
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise TypeError(f"{name}: with tracked arrays dtype= is float32 or float64, not {dtype}")
    return x if isinstance(x, (int, float)) else np.asarray(x, dtype) if not isinstance(x, Node) else x.astype(dtype)  # type: ignore[attr-defined]


def _selected(rule: Function, ufunc: np.ufunc, inputs: list[Any], where: Where) -> Array:
    """Carry out a ufunc on the elements that `where` selects; the others, which NumPy leaves undefined, are 0."""
    if ufunc.nout > 1 or ufunc.signature or isinstance(where, Node) or np.asarray(where).dtype != bool:
        raise TypeError(f"{ufunc.__name__}: where= takes plain truth values, of a ufunc that has one result by element")
    shape = np.broadcast_shapes(np.shape(where), *map(np.shape, inputs))
    chosen = np.broadcast_to(where, shape)
    y = rule(*(np.broadcast_to(x, shape)[chosen] if np.ndim(x) else x for x in inputs))
    return op_by_name("scatter")(y, index=chosen, shape=shape)


def _ufunc_rule(ufunc: np.ufunc) -> Function:
    rule = COMPOSITES.get(ufunc) or OPS.get(ufunc)
    if rule is None:
        if enter_late_rules():
            return _ufunc_rule(ufunc)
        in_numpy = getattr(np, ufunc.__name__, None) is ufunc
        raise missing_rule(f"np.{ufunc.__name__}" if in_numpy else f"the ufunc {ufunc.__name__}")
    return rule


def apply_function(function: Function, args: tuple[Any, ...], options: dict[str, Any]) -> Array:
    """Carry out np.sum(W) and the like."""
    op = OPS.get(function)
    if op is not None:
        if options or len(args) > 1 or op.normalize_call is not None:
            return _apply_with_options(op, function, args, options)
        return record(op, args)
    if function in NON_DIFFERENTIABLE:
        return function(*map(_untrack, args), **{k: _untrack(v) for k, v in options.items()})
    if function in COMPOSITES:
        return COMPOSITES[function](*args, **options)
    name = f"{function.__module__.replace('numpy', 'np', 1)}.{function.__name__}"
    if function in UNSUPPORTED:
        raise TypeError(f"{name} does not go with tracked arrays: {UNSUPPORTED[function]}")
    if enter_late_rules():
        return apply_function(function, args, options)
    raise missing_rule(name)


def _apply_with_options(op: Op, function: Function, args: tuple[Any, ...], options: dict[str, Any]) -> Array:
    """Carry out op on a call's arguments, which NumPy takes by place or by name."""
    if op.normalize_call is not None:
        try:
            args, options = op.normalize_call(*args, **only_given(op.normalize_call, options))
        except TypeError as error:
            raise wrong_call(op.name, error) if is_call_error(error) else error from None
    else:
        args, options = out_by_name(function, args, options)
    if options:
        reject_out(op.name, options)
        if any(isinstance(v, Node) for v in options.values()):
            if op.normalize_call is None:  # np.linalg.solve(a=W, b=x): arrays go by place
                bound = signature(function).bind(*args, **options)
                args, options = bound.args, bound.kwargs
            reject_tracked(op.name, options)
    if op.vjp is None:
        for i in range(max(len(op.vjps), 1), len(args)):
            if isinstance(args[i], Node):
                raise TypeError(
                    f"{op.name}: no gradient passes through argument {i + 1}; give it as a plain array (.data)"
                )
    return apply(op, args, options or None)


def _untrack(x: ArrayLike) -> ArrayLike:
    """Give the plain values of an array, or of a list of arrays."""
    return type(x)(map(_untrack, x)) if type(x) in (list, tuple) else data(x)

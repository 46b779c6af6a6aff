"""What an operation is, and the registry of all.

`define` enters an operation: a forward function (NumPy's own, as a rule) and its gradients.  `composed` enters a
function that needs no gradient of its own, `define_plain` one whose result has none, and `define_unsupported` one
that cannot work.  Everything else of the package reads these tables.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FunctionType
from typing import Any
from weakref import WeakSet

import numpy as np

from fluxmagic.tracker.aliases import VJP, Array, ArrayLike, Forward, Function, Option
from fluxmagic.tracker.calls import is_call_error, only_given, out_by_name, reject_out, same_kind, wrong_call
from fluxmagic.tracker.record import apply

__all__ = ["Op", "composed", "define", "define_plain", "define_unsupported", "differentiable", "symmetric"]

OPS: dict[Function, Op] = {}
"""From a NumPy function or ufunc to its operation."""
OPS_BY_NAME: dict[str, Op] = {}
"""Every operation by name."""
UFUNC_METHODS: dict[tuple[np.ufunc, str], Op] = {}
"""From a ufunc and "reduce" or "accumulate" to the operation."""
COMPOSITES: dict[Function, Function] = {}
"""From a NumPy function to one that does the same by other operations, and so needs no gradient."""
NON_DIFFERENTIABLE: set[Function] = set()
"""NumPy functions and ufuncs whose result is plain: no gradient passes."""
UNSUPPORTED: dict[Function, str] = {}
"""NumPy functions that cannot work with tracked arrays, and what to do instead."""
EVERY_OP: WeakSet[Op] = WeakSet()
"""Every operation, also those of custom gradients."""
LATE_RULES: dict[str, Callable[[], object]] = {}
"""From a module that is not imported here to a function that enters the rules of its functions."""


class Op:
    """One operation: a name, a forward function, and a gradient.

    Parameters
    ----------
    name : str
        What the operation is called in errors and on the nodes of the graph.
    forward : callable
        Computes the value from plain arguments.
    vjps : tuple of callable or None
        For each argument a function `(Δ, y, *args, **options)` that gives its gradient: Δ is the gradient
        of the result y.  None where there is none.  Written with NumPy functions, so that, given tracked
        arrays, it is itself tracked: this is how gradients nest.  Broadcasting need not be undone here.
    vjp : callable, optional
        Instead of `vjps`: one function `(Δ, y, *args, grad_out, **options)` for all arguments, which
        returns a tuple.  `grad_out[i]` is False where no gradient is wanted, otherwise None, or a buffer
        that the gradient of argument i may be written into and returned.
    normalize_call : callable, optional
        Where NumPy's way to call it is not (arrays..., options): takes a call's arguments, returns
        the arrays and the options, `(args, options)`.
    needs_output_only : bool
        The gradient needs the result y only, not the argument: such an activation is fused into `Dense`.
    has_residual : bool
        `forward` returns `(value, residual)`, and the gradient gets `residual=`: what it would otherwise have
        to compute again.  Inside a nested gradient it is None, and the rule has to compute it.
    """

    def __init__(
        self,
        name: str,
        forward: Forward,
        vjps: tuple[VJP | None, ...] = (),
        *,
        vjp: VJP | None = None,
        normalize_call: Function | None = None,
        needs_output_only: bool = False,
        has_residual: bool = False,
    ) -> None:
        self.name = name
        self.forward = forward
        self.vjps = vjps
        self.vjp = vjp
        self.normalize_call = normalize_call
        self.needs_output_only = needs_output_only
        self.has_residual = has_residual
        EVERY_OP.add(self)

    def __call__(self, *args: ArrayLike, **options: Option) -> Array:
        return apply(self, args, options)

    def __getattr__(self, name: str) -> object:
        if name != "__signature__":
            raise AttributeError(f"an operation has no attribute {name!r}")
        if isinstance(self.forward, np.ufunc):
            return inspect.Signature([inspect.Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD)])
        given = inspect.signature(self.forward).parameters.values()
        return inspect.Signature([p for p in given if p.name != "out"])

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str | tuple[Any, ...]:
        if OPS_BY_NAME.get(self.name) is not self:
            raise TypeError(f"{self.name} is no entry of the table, and cannot be pickled or copied")
        return op_by_name, (self.name,)


def op_by_name(name: str) -> Op:
    """Give the operation of that name."""
    return OPS_BY_NAME[name]


@contextmanager
def ops_become(cls: type[Op]) -> Iterator[None]:
    """Within it every operation is of a subclass, whose properties may give other rules."""
    ops = list(EVERY_OP)
    try:
        for op in ops:
            op.__class__ = cls
        yield
    finally:
        for op in ops:
            op.__class__ = Op


def define(
    function: Function,
    *vjps: VJP | None,
    name: str | None = None,
    forward: Forward | None = None,
    aliases: Iterable[Function] = (),
    as_reduce: np.ufunc | None = None,
    as_accumulate: np.ufunc | None = None,
    **settings: Option,
) -> Op:
    """Enter an operation into the registry.

    Parameters
    ----------
    function : callable
        NumPy's function or ufunc, or a function whose docstring the operation takes.
    *vjps, **settings
        See `Op`.
    name : str, optional
        Default: the function's name.
    forward : callable, optional
        What computes the value; default: `function`.
    aliases : iterable
        Other NumPy functions that mean the same (np.absolute, np.abs).
    as_reduce, as_accumulate : ufunc, optional
        This operation is that ufunc's `reduce` or `accumulate`.
    """
    op = Op(name or function.__name__, forward or function, vjps, **settings)
    if isinstance(function, FunctionType) and function.__doc__:
        op.__doc__ = inspect.cleandoc(function.__doc__)
    OPS_BY_NAME[op.name] = op
    OPS.update(dict.fromkeys((function, *aliases), op))
    if as_reduce is not None:
        UFUNC_METHODS[as_reduce, "reduce"] = op
    if as_accumulate is not None:
        UFUNC_METHODS[as_accumulate, "accumulate"] = op
    return op


def symmetric(vjp: VJP) -> tuple[VJP, VJP]:
    """Give both rules of an operation with f(a, b) = f(b, a) from that of a."""
    return vjp, lambda Δ, y, a, b: vjp(Δ, y, b, a)


def differentiable(*vjps: VJP | None, **settings: Option) -> Callable[[Function], Op]:
    """Make an operation of the function below, whose name and docstring it takes (a decorator; see `define`)."""
    return lambda function: define(function, *vjps, **settings)


def composed(*functions: Function) -> Callable[[Function], Function]:
    """Enter a function that does what NumPy's does by way of other operations (a decorator).

    For what returns several arrays, or is a short formula; the parameters are named as NumPy's.
    """
    name = functions[0].__name__

    def enter(f: Function) -> Function:
        @wraps(f)
        def call_composed(*args: ArrayLike, **options: Option) -> Array:
            args, options = out_by_name(functions[0], args, options)
            reject_out(name, options)
            try:
                return f(*args, **only_given(f, options))
            except (ValueError, IndexError, TypeError) as error:
                if is_call_error(error):
                    raise wrong_call(name, error) from None
                text = str(error)
                raise error if text.startswith(name) else same_kind(error, f"{name}: {text}") from None

        COMPOSITES.update(dict.fromkeys(functions, call_composed))
        return f

    return enter


def define_plain(*functions: Function) -> None:
    """Enter functions whose result is plain: their tracked arguments are taken as plain arrays."""
    NON_DIFFERENTIABLE.update(functions)


def define_unsupported(*functions: Function, instead: str) -> None:
    """Enter functions that cannot work with tracked arrays, and what to do instead."""
    UNSUPPORTED.update(dict.fromkeys(functions, instead))


def enter_late_rules() -> bool:
    """Enter the rules of modules that were imported since; tell whether there were any."""
    modules = [m for m in LATE_RULES if m in sys.modules]
    for module in modules:
        LATE_RULES.pop(module)()
    return bool(modules)

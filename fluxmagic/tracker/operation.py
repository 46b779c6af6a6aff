"""The rule table: what an operation is, and how one is carried out and recorded.

An operation is one entry, made by `define`: a forward function (NumPy's own, as a rule) and how its
gradient is computed.  Operators, methods, ufuncs and functions all come from that entry.  A second table,
filled by `plain`, lists the functions whose result has no gradient.
"""

from __future__ import annotations

import inspect
import operator
import re
import sys
from collections.abc import Callable, Iterable
from functools import cache, wraps
from importlib import import_module
from types import FunctionType
from typing import Any

import numpy as np

from fluxmagic.tracker.array import Param, Tracked, data, node

__all__ = ["Op", "apply", "composed", "define", "differentiable", "plain", "refused"]

Rule = Callable[..., Any]

RULES: dict[Any, Op] = {}
"""From NumPy's function or ufunc to the operation that stands for it."""
NAMED: dict[str, Op] = {}
"""Every operation by name."""
COMPOSED: dict[Any, Callable[..., Any]] = {}
"""From NumPy's function to one that does the same by way of other operations, and so needs no rule."""
FORMS: dict[str, list[str]] = {}
"""How each operation can be called, beside by its own name; for the reference."""
PLAIN: set[Any] = set()
"""NumPy's functions and ufuncs whose result is plain: no gradient passes."""
REFUSED: dict[Any, str] = {}
"""NumPy's functions that cannot work with tracked arrays, and what to do instead."""
_UFUNC_METHODS: dict[tuple[np.ufunc, str], Op] = {}

_FLOATS = frozenset(map(np.dtype, "fde"))
_NUMBERS = (int, float, np.number, np.bool_)


class Op:
    """One operation: a name, a forward function, and a gradient.

    Parameters
    ----------
    name : str
        What the operation is called in errors and on the nodes of the graph.
    forward : callable
        Computes the value from plain arguments.
    gradients : tuple of callable or None
        For each argument a function `(Δ, y, *args, **options)` that gives its gradient: Δ is the gradient
        of the result y.  None where there is none.  Written with NumPy functions, so that, given tracked
        arrays, it is itself tracked: this is how gradients nest.  Broadcasting need not be undone here.
    joint : callable, optional
        Instead of `gradients`: one function `(Δ, y, *args, into, **options)` for all arguments, which
        returns a tuple.  `into[i]` is False where no gradient is wanted, otherwise None, or a buffer
        that the gradient of argument i may be written into and returned.
    keeps : bool
        `forward` returns `(value, kept)`, and the gradient gets `kept=`: what it would otherwise have to
        compute again.  Inside a nested gradient kept is None, and the rule has to compute it.
    bind : callable, optional
        Where NumPy's way to call it is not (arrays..., options): takes a call's arguments, returns
        the arrays and the options, `(args, options)`.
    """

    def __init__(
        self,
        name: str,
        forward: Callable[..., Any],
        gradients: tuple[Rule | None, ...] = (),
        *,
        joint: Rule | None = None,
        bind: Rule | None = None,
        of_output: bool = False,
        keeps: bool = False,
    ) -> None:
        self.name = name
        self.forward = forward
        self.gradients = gradients
        self.joint = joint
        self.bind = bind
        self.of_output = of_output
        self.keeps = keeps

    def __call__(self, *args: Any, **options: Any) -> Any:
        return call(self, args, options)

    def document(self, doc: str) -> None:
        """Give the operation a docstring, and a signature that `help` shows."""
        self.__doc__ = inspect.cleandoc(doc)
        if isinstance(self.forward, np.ufunc):
            self.__signature__ = _UNARY
        else:
            given = inspect.signature(self.forward).parameters.values()
            self.__signature__ = inspect.Signature([p for p in given if p.name != "out"])

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str | tuple[Any, ...]:
        if NAMED.get(self.name) is not self:
            raise TypeError(f"{self.name} is no entry of the table, and cannot be pickled or copied")
        return named, (self.name,)


_UNARY = inspect.Signature([inspect.Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD)])


def named(name: str) -> Op:
    """The operation of that name."""
    return NAMED[name]


def define(
    function: Any,
    *gradients: Rule | None,
    name: str | None = None,
    forward: Callable[..., Any] | None = None,
    joint: Rule | None = None,
    bind: Rule | None = None,
    of_output: bool = False,
    keeps: bool = False,
    operators: str = "",
    methods: str = "",
    also: Iterable[Any] = (),
    reduces: np.ufunc | None = None,
    accumulates: np.ufunc | None = None,
    doc: str | None = None,
) -> Op:
    """Enter an operation into the table.

    Parameters
    ----------
    function : callable
        NumPy's function or ufunc, or a function of one's own.
    *gradients, joint, bind, keeps
        See `Op`.
    name : str, optional
        Default: the function's name.
    forward : callable, optional
        What computes the value; default: `function`.
    of_output : bool
        The gradient needs the result y only, not the argument: such an activation is fused into `Dense`.
    operators : str
        The operator's special names, "add radd"; the reflected one is the one that starts with r.
    methods : str
        Names of methods of a tracked array that stand for this operation.
    also : iterable
        Other NumPy functions that mean the same (np.absolute, np.abs).
    reduces, accumulates : ufunc, optional
        This operation is that ufunc's `reduce` or `accumulate`.
    doc : str, optional
        The docstring of an operation that users call by its own name; default: that of a function of one's own.

    Returns
    -------
    Op
        Called with plain arrays it gives plain ones, with tracked ones tracked ones.
    """
    op = Op(
        name or function.__name__,
        forward or function,
        gradients,
        joint=joint,
        bind=bind,
        of_output=of_output,
        keeps=keeps,
    )
    if isinstance(function, FunctionType):
        doc = doc or function.__doc__
    if doc is not None:
        op.document(doc)
    NAMED[op.name] = op
    for f in (function, *also):
        RULES[f] = op
    if reduces is not None:
        _UFUNC_METHODS[reduces, "reduce"] = op
    if accumulates is not None:
        _UFUNC_METHODS[accumulates, "accumulate"] = op
    for special in operators.split():
        setattr(Tracked, f"__{special}__", _operator(op, special))
    for method in methods.split():
        setattr(Tracked, method, _method(op, function, method))
    _note_forms(op.name, (function, *also), operators, methods)
    return op


def differentiable(*gradients: Rule | None, **settings: Any) -> Callable[[Callable[..., Any]], Op]:
    """Make an operation of the function below, whose name and docstring it takes (a decorator; see `define`)."""
    return lambda function: define(function, *gradients, **settings)


def _note_forms(name: str, functions: Iterable[Any], operators: str, methods: str) -> None:
    found = FORMS.setdefault(name, [])
    for f in functions:
        module = (getattr(f, "__module__", None) or "numpy").replace("numpy", "np", 1)
        if not module.startswith("fluxmagic"):
            found.append(f"{module}.{f.__name__}")
    found += [f"x.__{special}__" for special in operators.split()]
    found += [f"x.{method}()" for method in methods.split()]


def composed(*functions: Any, methods: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function that does what NumPy's does by way of other operations (a decorator).

    For what returns several arrays, or is a short formula; the parameters are named as NumPy's.
    """
    name = functions[0].__name__

    def enter(f: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(f)
        def call_composed(*args: Any, **options: Any) -> Any:
            args, options = _out_by_name(functions[0], args, options)
            refuse_out(name, options)
            try:
                return f(*args, **only_given(f, options))
            except (ValueError, IndexError, TypeError) as error:
                if _is_of_call(error):
                    raise wrong_call(name, error) from None
                text = str(error)
                raise error if text.startswith(name) else renamed(error, f"{name}: {text}") from None

        COMPOSED.update(dict.fromkeys(functions, call_composed))
        _note_forms(name, functions, "", methods)
        for method in methods.split():
            setattr(Tracked, method, _composed_method(call_composed, method))
        return f

    return enter


def plain(*functions: Any, operators: str = "", methods: str = "") -> None:
    """Enter functions whose result is plain: their tracked arguments are taken as plain arrays."""
    PLAIN.update(functions)
    for special in operators.split():
        setattr(Tracked, f"__{special}__", _plain_operator(special))
    for method in methods.split():
        setattr(Tracked, method, _plain_method(method))


def refused(*functions: Any, instead: str) -> None:
    """Enter functions that are refused, with what to do instead."""
    REFUSED.update(dict.fromkeys(functions, instead))


# -- carrying out ------------------------------------------------------------------------------------


def apply(op: Op, args: tuple[Any, ...], options: dict[str, Any] | None) -> Tracked:
    """Carry out op on arguments of which at least one is tracked, and record it."""
    parents: list[Tracked | None] = []
    values: list[Any] = []
    level = 0
    for a in args:
        kind = type(a)
        if kind is Param or (kind is Tracked and not a.level):
            parents.append(a)
            values.append(a.value)
        elif kind is np.ndarray or kind is int or kind is float:
            parents.append(None)
            values.append(a)
        else:
            parents, values, level, nested = _sorted(op, args)
            if nested:
                value: Any = apply(op, tuple(values), options)
                if op.keeps:
                    options = {**(options or {}), "kept": None}
                return node(value, op, parents, values, options, level)
            break
    try:
        value = op.forward(*values, **options) if options else op.forward(*values)
    except (ValueError, IndexError, TypeError, OverflowError) as error:
        raise explained(op, values, error) from None
    if op.keeps:
        value, kept = value
        options = {**options, "kept": kept} if options else {"kept": kept}
    if value.dtype not in _FLOATS:
        check_dtype(op, value)
    return node(value, op, parents, values, options, level)


def _sorted(op: Op, args: tuple[Any, ...]) -> tuple[list[Tracked | None], list[Any], int, bool]:
    """Parents and values of any arguments, their level, and whether a value is itself tracked, further out."""
    level = max(a.level for a in args if isinstance(a, Tracked))
    parents: list[Tracked | None] = []
    values: list[Any] = []
    nested = False
    for a in args:
        if isinstance(a, Tracked):
            if a.level == level:
                parents.append(a)
                a = a.value
            else:
                parents.append(None)
            nested = nested or isinstance(a, Tracked)
        else:
            if (type(a) is list or type(a) is tuple) and (op.joint is not None or len(values) < len(op.gradients)):
                a = np.asarray(a)
            else:
                a = constant(op, a)
            parents.append(None)
        values.append(a)
    return parents, values, level, nested


def call(op: Op, args: tuple[Any, ...], options: dict[str, Any] | None = None) -> Any:
    """Carry out op on any arguments."""
    for a in args:
        if isinstance(a, Tracked):
            return apply(op, args, options)
    try:
        value = op.forward(*args, **options) if options else op.forward(*args)
    except (ValueError, IndexError) as error:
        raise explained(op, args, error) from None
    return value[0] if op.keeps else value


def constant(op: Op, a: Any) -> Any:
    """An argument that is not tracked, as NumPy sees it."""
    if type(a) is not np.ndarray and hasattr(a, "tocsr") and op.name != "matmul":
        raise TypeError(f"{op.name}: a sparse array S goes with tracked ones in W @ S alone; otherwise S.toarray()")
    if type(a) is np.ndarray or not hasattr(a, "__array__") or isinstance(a, (np.generic, type)):
        return a  # np.float32 itself, an argument of astype, has an __array__ too
    if isinstance(a, np.ma.MaskedArray):
        raise TypeError(f"{op.name}: a masked array would lose its mask; fill it first (a.filled(...))")
    return np.asarray(a)  # pandas, memory maps


def check_dtype(op: Op, value: Any) -> None:
    """Refuse what is not real floating point: no gradient is defined for it here."""
    if value.dtype.newbyteorder("=") not in _FLOATS:
        raise TypeError(
            f"{op.name}: a tracked array goes with real numbers, in at most 64 bits, and the result would be "
            f"{value.dtype}"
        )


def explained(op: Op, values: Iterable[Any], error: Exception) -> Exception:
    """NumPy's error, of its own kind, with the operation and the shapes."""
    if _is_of_call(error):
        return wrong_call(op.name, error)
    shapes = " and ".join(str(np.shape(data(v))) for v in values if isinstance(v, (np.ndarray, np.number, Tracked)))
    return renamed(error, f"{op.name} of shapes {shapes}: {error}")


_CALLED = re.compile(r"[\w.<>]+\(\) (?=got an? |takes |missing )")


def _is_of_call(error: Exception) -> bool:
    return isinstance(error, TypeError) and _CALLED.match(str(error)) is not None


def wrong_call(name: str, error: Exception) -> Exception:
    """Python's error of a call that does not fit, with the operation's name in place of a private one."""
    text = _CALLED.sub("", str(error))
    option = re.fullmatch(r"got an unexpected keyword argument '(\w+)'.*", text)
    if option:
        return TypeError(f"{name}: {option[1]}= does not go with tracked arrays")
    return TypeError(f"{name}() {text}")


def only_given(f: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """Without the options that f does not know and that are None, NumPy's word for not given."""
    if all(v is not None for v in options.values()):
        return options
    known = _signature(f).parameters
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return options
    return {k: v for k, v in options.items() if v is not None or k in known}


def renamed(error: Exception, text: str) -> Exception:
    """An error of the same kind, with another text."""
    try:
        return type(error)(text)
    except Exception:
        return ValueError(text)


# -- operators and methods ---------------------------------------------------------------------------

_PLAIN_OPERANDS = frozenset({np.ndarray, float, int, np.float32, np.float64})


def _operator(op: Op, special: str) -> Callable[..., Any]:
    if special in ("neg", "pos", "abs"):
        return lambda a: apply(op, (a,), None)
    reflected = special[0] == "r"
    # NumPy's operators know short cuts (x**2) that its ufuncs do not
    forward = getattr(operator, special[reflected:]) if isinstance(op.forward, np.ufunc) else op.forward

    def method(a: Tracked, b: Any) -> Any:
        x, y, parent = a.value, b, None
        kind = type(b)
        if (kind is Tracked or kind is Param) and a.level == 0 == b.level and not reflected:
            y, parent = b.value, b
        elif kind not in _PLAIN_OPERANDS or type(x) is Tracked:
            if isinstance(b, (str, bytes)) or b is None:
                return NotImplemented
            return apply(op, (b, a) if reflected else (a, b), None)
        parents, args = ((None, a), (y, x)) if reflected else ((a, parent), (x, y))
        try:
            value = forward(*args)
        except (ValueError, TypeError, OverflowError) as error:
            raise explained(op, args, error) from None
        if value.dtype not in _FLOATS:
            check_dtype(op, value)
        return node(value, op, parents, args, None, a.level)

    method.__name__ = f"__{special}__"
    method.__doc__ = f"{op.name}, recorded."
    return method


def _method(op: Op, function: Any, name: str) -> Callable[..., Any]:
    spread = name in ("reshape", "transpose")  # x.reshape(2, 3) beside x.reshape((2, 3))

    def method(self: Tracked, *args: Any, **options: Any) -> Any:
        if spread and len(args) > 1:
            args = (args,)
        if not options and len(args) < 2:
            return apply(op, (self, *args), None)
        plainly = len(args) < 2 and "out" not in options and op.bind is None
        for v in options.values():
            plainly = plainly and not isinstance(v, Tracked)
        if plainly:
            return apply(op, (self, *args), options)
        return call_with_options(op, function, (self, *args), options)

    method.__name__ = name
    method.__doc__ = f"As the method of an ndarray; recorded as {op.name}."
    return method


def _composed_method(f: Callable[..., Any], name: str) -> Callable[..., Any]:
    def method(self: Tracked, *args: Any, **options: Any) -> Any:
        return f(self, *args, **options)

    method.__name__ = name
    method.__doc__ = "As the method of an ndarray; recorded."
    return method


def _plain_operator(special: str) -> Callable[..., Any]:
    reflected = special == "rfloordiv"
    f = getattr(operator, special[reflected:])

    def method(a: Tracked, b: Any) -> Any:
        return f(data(b), a.data) if reflected else f(a.data, data(b))

    method.__name__ = f"__{special}__"
    method.__doc__ = "Compares the plain values, element by element."
    return method


def _plain_method(name: str) -> Callable[..., Any]:
    def method(self: Tracked, *args: Any, **options: Any) -> Any:
        return getattr(self.data, name)(*args, **options)

    method.__name__ = name
    method.__doc__ = "As the method of an ndarray, of the plain value."
    return method


# -- NumPy's protocols -------------------------------------------------------------------------------


def refuse_out(name: str, options: dict[str, Any]) -> None:
    """Refuse `out=`: an array that is written in place has no place in the graph."""
    out = options.pop("out", None)
    if out is not None and not (isinstance(out, tuple) and all(o is None for o in out)):
        raise TypeError(
            f"{name}: out= does not go with tracked arrays; "
            "take the result, and for a parameter W use update(W, Δ) or W.data[...] = value"
        )


def refuse_tracked(name: str, options: dict[str, Any]) -> None:
    """Refuse a tracked option: its gradient would be lost in silence."""
    for k, v in options.items():
        if isinstance(v, Tracked):
            raise TypeError(f"{name}: no gradient passes through {k}=; give it as a plain array (.data)")


def no_rule(what: str) -> TypeError:
    return TypeError(
        f"{what} has no gradient rule: give it one with fluxmagic.tracker.custom_gradient, "
        "or leave the tape with .data if no gradient is wanted"
    )


def call_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What np.add(W, 1), np.add.reduce(W) and the like come to."""
    name = ufunc.__name__
    if method == "at":
        raise TypeError(
            f"{name}.at writes in place, which has no gradient: build a new array (np.where, np.concatenate), "
            f"or, for a parameter W, use update(W, Δ) or write to W.data[...]"
        )
    if options:
        refuse_out(name, options)
        if method != "__call__":
            refuse_tracked(name, options)
    if ufunc in PLAIN:
        return getattr(ufunc, method)(*map(data, inputs), **options)
    op = _UFUNC_METHODS.get((ufunc, method))
    if op is not None:
        options.setdefault("axis", 0)
        if options.get("dtype", ...) is None:
            del options["dtype"]
        return call(op, inputs, options)
    if method == "outer" and len(inputs) == 2:
        a, b = (x if isinstance(x, Tracked) else np.asarray(x) for x in inputs)
        inputs = (np.reshape(a, a.shape + (1,) * b.ndim), b)
    elif method != "__call__":
        raise no_rule(f"{name}.{method}")
    rule = _ufunc_rule(ufunc)
    if ufunc.signature and ufunc in COMPOSED:
        return rule(*inputs, **options)
    given = [np.asarray(x) if type(x) in (list, tuple) else x for x in inputs]
    where, dtype = options.pop("where", True), options.pop("dtype", None)
    if options:
        raise TypeError(f"{name}: {', '.join(options)}= does not go with tracked arrays; where= and dtype= do")
    if dtype is not None:
        given = [_cast(x, dtype, name) for x in given]
    return rule(*given) if where is True else _where(rule, ufunc, given, where)


def _cast(x: Any, dtype: Any, name: str) -> Any:
    """An input in the dtype that a ufunc computes in."""
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise TypeError(f"{name}: with tracked arrays dtype= is float32 or float64, not {dtype}")
    return x if isinstance(x, (int, float)) else x.astype(dtype) if isinstance(x, Tracked) else np.asarray(x, dtype)


def _where(rule: Callable[..., Any], ufunc: np.ufunc, inputs: list[Any], where: Any) -> Any:
    """A ufunc of those elements that `where` lets in alone; the others, which NumPy leaves undefined, are 0."""
    if ufunc.nout > 1 or ufunc.signature or isinstance(where, Tracked) or np.asarray(where).dtype != bool:
        raise TypeError(f"{ufunc.__name__}: where= takes plain truth values, of a ufunc that has one result by element")
    shape = np.broadcast_shapes(np.shape(where), *map(np.shape, inputs))
    chosen = np.broadcast_to(where, shape)
    y = rule(*(np.broadcast_to(x, shape)[chosen] if np.ndim(x) else x for x in inputs))
    return NAMED["scatter"](y, index=chosen, shape=shape)


def _ufunc_rule(ufunc: np.ufunc) -> Callable[..., Any]:
    rule = COMPOSED.get(ufunc) or RULES.get(ufunc)
    if rule is None and "scipy.special" in sys.modules:  # SciPy is not required, nor loaded for its own sake
        import_module("fluxmagic.tracker.rules.special")
        rule = COMPOSED.get(ufunc) or RULES.get(ufunc)
    if rule is None:
        in_numpy = getattr(np, ufunc.__name__, None) is ufunc
        raise no_rule(f"np.{ufunc.__name__}" if in_numpy else f"the ufunc {ufunc.__name__}")
    return rule


def call_function(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What np.sum(W) and the like come to."""
    if function in PLAIN:
        return function(*map(_plain_deep, args), **{k: _plain_deep(v) for k, v in options.items()})
    op = RULES.get(function)
    if op is not None:
        if options or len(args) > 1 or op.bind is not None:
            return call_with_options(op, function, args, options)
        return apply(op, args, None)
    if function in COMPOSED:
        return COMPOSED[function](*args, **options)
    name = f"{function.__module__.replace('numpy', 'np', 1)}.{function.__name__}"
    if function in REFUSED:
        raise TypeError(f"{name} does not go with tracked arrays: {REFUSED[function]}")
    raise no_rule(name)


def call_with_options(op: Op, function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Carry out op on a call's arguments, which NumPy lets one write by place or by name."""
    if op.bind is not None:
        try:
            args, options = op.bind(*args, **only_given(op.bind, options))
        except TypeError as error:
            raise wrong_call(op.name, error) if _is_of_call(error) else error from None
    else:
        args, options = _out_by_name(function, args, options)
    if options:
        refuse_out(op.name, options)
        if any(isinstance(v, Tracked) for v in options.values()):
            args, options = _tracked_by_name(op, function, args, options)
    if op.joint is None:
        for i in range(max(len(op.gradients), 1), len(args)):
            if isinstance(args[i], Tracked):
                raise TypeError(
                    f"{op.name}: no gradient passes through argument {i + 1}; give it as a plain array (.data)"
                )
    return call(op, args, options or None)


def _tracked_by_name(op: Op, function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """np.solve(a=W, b=x): arrays go by place."""
    if op.bind is None:
        bound = _signature(function).bind(*args, **options)
        args, options = bound.args, bound.kwargs
    refuse_tracked(op.name, options)
    return args, options


def _out_by_name(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """A call's arguments, with `out` and what comes after it by name: our functions have no such place."""
    out = _place_of_out(function)
    if len(args) <= out:
        return args, options
    named = list(_signature(function).parameters)[out : len(args)]
    return args[:out], {**dict(zip(named, args[out:], strict=False)), **options}


@cache
def _place_of_out(function: Any) -> int:
    try:
        names = list(_signature(function).parameters)
    except ValueError:  # written in C, without a signature
        return sys.maxsize
    return names.index("out") if "out" in names else sys.maxsize


@cache
def _signature(function: Any) -> inspect.Signature:
    return inspect.signature(function)


def _plain_deep(x: Any) -> Any:
    if isinstance(x, Tracked):
        return x.data
    if type(x) in (list, tuple):
        return type(x)(map(_plain_deep, x))
    return x


def _array_ufunc(self: Tracked, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    return call_ufunc(ufunc, method, inputs, options)


def _array_function(self: Tracked, func: Any, types: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return call_function(func, args, options)


Tracked.__array_ufunc__ = _array_ufunc  # type: ignore[attr-defined]
Tracked.__array_function__ = _array_function  # type: ignore[attr-defined]

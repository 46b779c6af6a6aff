"""Write down what NumPy is asked to do in one step.

The step itself is an ordinary one: loss and reverse pass run as they are, on `Recorded` arrays.  What leaves them (a
float, a pickle) is noted as a leak with its place; the step goes on with the plain value, and is not replayed.
"""

from __future__ import annotations

import functools
import operator
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np

from fluxmagic import generators
from fluxmagic.capture.calls import Call, Ref, Value, replace
from fluxmagic.capture.lines import described, user_line
from fluxmagic.capture.recorded import Recorded, RecordedNumber, WatchedGenerator, has_arrays, is_numpys, recorded_in
from fluxmagic.capture.undo import Undo
from fluxmagic.tracker.aliases import Array, ArrayLike, DType, Function, Index, Option
from fluxmagic.tracker.custom import HOOK
from fluxmagic.tracker.operation import Op

__all__ = ["FollowedOp", "Leak", "Recorder"]

RAISING = {"raise", "call"}
SHAPES = {np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.iscomplexobj, np.isrealobj, np.common_type}
"""Functions that do not look at values."""
WRITERS = {np.put, np.place, np.putmask, np.fill_diagonal, np.put_along_axis, np.copyto}
"""Functions that write into their first argument."""
TEXTS = {np.array2string, np.array_repr, np.array_str, np.save, np.savez, np.savez_compressed, np.savetxt}
OWN_RESULT = {"ufunc", "reduce", "dot", "copy", "draw"}
"""Kinds of calls whose result lies in memory of its own."""


class Leak(BaseException):
    """A rule cannot be followed call by call.  No Exception: code that catches those must not catch it."""


def _surely(method: Function) -> Function:
    """Make a method refuse what an error has decided, or may decide: replayed calls raise none.

    Where it calls NumPy alone there are no calls to be watched, which take a third of a recording.
    """

    @functools.wraps(method)
    def carried_out(recorder: Recorder, *args: Option, **options: Option) -> Array:
        watch = recorder.watch if _active.recorder is recorder else None
        if watch is not None:
            sys.setprofile(None)
            if not is_numpys(args):
                sys.setprofile(watch)
        try:
            if not RAISING.isdisjoint(np.geterr().values()):
                recorder.refuse("lets NumPy raise floating-point errors: np.errstate()")
            return method(recorder, *args, **options)
        except Exception as error:
            if not recorder.in_rule:  # a rule that fails is carried out as one call
                recorder.refuse(f"may catch an error: {type(error).__name__}")
            raise
        finally:
            if watch is not None:
                sys.setprofile(watch)

    return carried_out


class _Active(threading.local):
    recorder: Recorder | None = None


_active = _Active()


class Recorder:
    """One recording.

    Attributes
    ----------
    calls, values : list
    inputs : list of int
        The values of the batch's arrays.
    reason : str or None
        The first thing that cannot be replayed.
    undo : Undo
        What the step has written into, and the generators that it has drawn from.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.values: list[Value] = []
        self.inputs: list[int] = []
        self._batch: dict[int, np.ndarray] = {}
        self.reason: str | None = None
        self._externals: dict[int, tuple[np.ndarray, Ref]] = {}  # by their ids
        self.undo = Undo()
        self._alive: list[weakref.ref[Recorded]] = []
        self.in_rule = False
        self.watch: Callable[..., object] | None = None  # over the calls that are made
        self._where: tuple[str, int] | None = None  # of all calls of a rule

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within it, this thread records; may be entered again, to go on.  Rules of a `FollowedOp` are followed."""
        outer, _active.recorder = _active.recorder, self
        try:
            with generators.watching_draws(self._watch):
                yield
        finally:
            _active.recorder = outer

    @property
    def listens(self) -> bool:
        """Whether this thread records, and is not within a function that is called as it is."""
        return _active.recorder is self

    def alive(self) -> list[Recorded]:
        """Return the recorded arrays that are still referred to."""
        return [x for ref in self._alive if (x := ref()) is not None]

    # -- values ----------------------------------------------------------------------------------------

    def _new(self, a: Array, source: str, root: int | None = None, array: np.ndarray | None = None) -> Recorded:
        number, scalar = len(self.values), type(a) is not np.ndarray and not isinstance(a, np.ndarray)
        root, strides = number if root is None else root, () if scalar else a.strides
        self.values.append(Value(number, a.shape, a.dtype, strides, scalar, root, source, array))
        return self._recorded(a, Ref(number))

    def _recorded(self, a: Array, ref: Ref) -> Recorded:
        recorded = Recorded(self, ref, a.shape, a.dtype)
        recorded.array = a
        return self.keep(recorded)

    def keep(self, recorded: Recorded) -> Recorded:
        """Remember a recorded array for `alive`; return it."""
        self._alive.append(weakref.ref(recorded))
        return recorded

    def input(self, a: np.ndarray) -> Recorded:
        """Record an array of the batch."""
        recorded = self._new(a, "input")
        self.inputs.append(recorded.number)
        self._batch[recorded.number] = a
        return recorded

    def external(self, a: np.ndarray) -> Recorded:
        """Record a plain array, which the program reads and writes where it lies."""
        if id(a) in self._externals:
            return self._recorded(*self._externals[id(a)])
        recorded = self._new(a, "external", array=a)
        self._externals[id(a)] = a, recorded.ref
        return recorded

    def plain(self, x: ArrayLike) -> Array:
        """Give arguments as NumPy gets them."""
        return replace(x, lambda y: y.array if type(y) is Recorded else y)

    def _refer(self, x: ArrayLike) -> Array:
        """Give a part of an argument as a call keeps it."""
        if type(x) is Recorded or type(x) is RecordedNumber:
            return x.ref
        return self._externals[id(x)][1] if type(x) is np.ndarray and id(x) in self._externals else x

    def leak(self, what: str, value: ArrayLike) -> Array:
        """Note that a value leaves the recording; return it."""
        self.refuse(f"reads a value: {what}")
        return value

    def refuse(self, what: str) -> None:
        """Note why the step cannot be replayed; what follows the place in the user's code."""
        if _active.recorder is self:
            if self.in_rule:
                raise Leak(what)
            self.refuse_at_all(f"{described(user_line())} {what}")

    def refuse_at_all(self, reason: str) -> None:
        """Note why the step cannot be replayed, unless a reason is known."""
        self.reason = self.reason or reason

    # -- calls -----------------------------------------------------------------------------------------

    def _add(self, kind: str, function: Function | str, args: Option, options: Option, **more: Option) -> Call:
        args, options = replace(tuple(args), self._refer), replace(options, self._refer)
        call = Call(kind, function, args, options, where=self._where or user_line(), **more)
        if _active.recorder is self:
            self.calls.append(call)
        return call

    def result(self, kind: str, function: Function | str, args: Option, options: Option, value: Array) -> Array:
        """Record a call and what it gave; a view is known by its memory."""
        if _active.recorder is not self:
            return value
        if type(value) in (bool, int, float):
            value = np.asarray(value)[()]
        if type(value) is not np.ndarray and not has_arrays(value):
            if value is not None and not isinstance(value, (np.dtype, type, str)):
                self.refuse(f"takes a {type(value).__name__} out of {getattr(function, '__name__', function)}()")
            return value
        recorded = self._wrap(value, () if kind in OWN_RESULT else recorded_in((args, options)))
        out = recorded.number if type(recorded) is Recorded else _numbers(recorded)
        if type(out) is int and self.values[out].source == "view":
            kind = "view"
        self._add(kind, function, args, options, effect=kind == "draw", out=out)
        return recorded

    def _wrap(self, value: Array, given: Sequence[Recorded]) -> Array:
        if type(value) is np.ndarray or isinstance(value, (np.ndarray, np.generic)):
            if value.dtype.kind == "O":
                self.refuse("makes an array of objects")
            for x in given:
                if isinstance(x.array, np.ndarray) and np.may_share_memory(x.array, value):
                    return self._new(value, "view", self.values[x.number].root)
            return self._new(value, "made")
        if isinstance(value, (tuple, list)):
            parts = [self._wrap(v, given) for v in value]
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
        if value is not None:
            self.refuse(f"takes a {type(value).__name__} out of a result")
        return value

    def _target(self, x: Array) -> Recorded:
        """Give an array that is about to be written; its contents are kept for `undo`."""
        target = x if type(x) is Recorded else self.external(x)
        if _active.recorder is self:
            root = self.values[self.values[target.number].root]
            kept = self._batch.get(root.number, root.array)
            if kept is not None:
                self.undo.keep(kept)
        return target

    def ufunc(self, f: np.ufunc, method: str, inputs: Option, options: Option, out: Array) -> Array:
        """Call a ufunc or a method of it."""
        if method == "at":
            target, *rest = inputs
            return self.write(f.at, target, rest, options)
        if method == "reduce":
            kind, function = "reduce", f.reduce
            keepdims = bool(options.pop("keepdims", False))
            inputs = (*inputs, options.pop("axis", 0), options.pop("dtype", None), None, keepdims)
        else:
            kind, function = ("ufunc", f) if method == "__call__" and f.nout == 1 else ("call", getattr(f, method))
        arrays = [x.array if type(x) is Recorded else x for x in inputs]
        given = self.plain(options) if options else {}
        if out is None:
            return self.result(kind, function, inputs, options, function(*arrays, **given))
        if kind == "call" or isinstance(out, tuple):
            self.refuse(f"calls {f.__name__} with several arrays as out=")
            return function(*arrays, **{**given, "out": self.plain(out)})
        target = self._target(out)
        if kind == "reduce":
            arrays[3] = target.array
            function(*arrays, **given)
        else:
            function(*arrays, **{**given, "out": target.array})
        self._add(kind, function, inputs, options, target=target.ref)
        return out

    def dot(self, a: Recorded, b: ArrayLike, out: Array) -> Array:
        """Call the product of arrays."""
        if out is None:
            return self.result("dot", np.dot, (a, b), {}, a.array.dot(b.array if type(b) is Recorded else b))
        target = self._target(out)
        a.array.dot(b.array if type(b) is Recorded else b, target.array)
        self._add("dot", np.dot, (a, b), {}, target=target.ref)
        return out

    def function(self, f: Function, args: Option, options: Option) -> Array:
        """Call a NumPy function."""
        if f in SHAPES:
            return f(*self.plain(args), **self.plain(options))
        if f in WRITERS and args:
            return self.write(f, args[0], args[1:], options)
        if f in TEXTS:
            self.refuse(f"reads a value: {f.__name__}()")
        elif options.get("out") is not None:
            self.refuse(f"calls {f.__name__} with out=")
        else:
            return self.call(f, args, options)
        return f(*self.plain(args), **self.plain(options))

    def get(self, x: Recorded, index: Index) -> Array:
        """Take elements."""
        return self.result("call", operator.getitem, (x, index), {}, x.array[self.plain(index)])

    def method(self, name: str, x: Recorded, args: Option, options: Option) -> Array:
        """Call a method of an array."""
        value = getattr(x.array, name)(*self.plain(args), **self.plain(options))
        if any(value is y.array for y in recorded_in((args, options))):
            self.refuse(f"calls {name} with out=")
            return value
        return self.result("call", name, (x, *args), options, value)

    def call(self, f: Function, args: Option, options: Option, effect: bool = False) -> Array:
        """Call something as it is."""
        outer, _active.recorder = _active.recorder, None
        try:
            value = f(*self.plain(args), **self.plain(options))
        finally:
            _active.recorder = outer
        result = self.result("call", f, args, options, value)
        if effect and _active.recorder is self:
            self.calls[-1].effect = True
        return result

    def copy(self, x: Recorded, dtype: DType, order: str) -> Array:
        """Copy an array."""
        return self.result("copy", np.copyto, (x,), {}, np.array(x.array, dtype, order=order))  # type: ignore[call-overload]

    def set(self, x: Array, index: Index, value: ArrayLike) -> None:
        """Assign to elements."""
        target = self._target(x)
        target.array[self.plain(index)] = self.plain(value)
        self._add("set", operator.setitem, (index, value), {}, target=target.ref)

    def write(self, f: Function, x: Array, args: Option, options: Option) -> None:
        """Call a function that writes into its first argument."""
        target = self._target(x)
        f(target.array, *self.plain(args), **self.plain(options))
        self._add("write", f, args, options, target=target.ref)

    def item(self, x: Recorded, index: Index) -> Array:
        """Take a Python number, for a comparison."""
        value = x.array.item(*self.plain(index))
        if _active.recorder is not self:
            return value
        ref = self._new(np.asarray(value)[()], "made").ref
        self._add("item", "item", (x, *index), {}, out=ref.number)
        return RecordedNumber(self, value, ref)

    def guard(self, f: Function, args: Option, wants: bool) -> bool:
        """Record what a branch depends on."""
        self._add("guard", f, args, {}, wants=wants)
        return wants

    # -- rules and draws -------------------------------------------------------------------------------

    def rule(self, f: Function, op: Op, /, *args: Option, **options: Option) -> Array:
        """Carry out a rule: by what it asks of NumPy, or as one call where that cannot be followed."""
        args = tuple([self.external(a) if type(a) is np.ndarray else a for a in args])
        if op is not HOOK:
            mark, n_values = len(self.calls), len(self.values)
            outer, self.in_rule, self._where = (self.in_rule, self._where), True, self._where or user_line()
            try:
                result = f(*args, **options)
                return self._recorded(*self._externals[id(result)]) if id(result) in self._externals else result
            except (Leak, Exception):  # where the rule itself fails it fails again below
                calls = self.calls[mark:]
                roots = [self.values[c.target.number].root for c in calls if c.target is not None]
                if not self.listens or any(c.effect for c in calls) or min(roots, default=n_values) < n_values:
                    raise
                del self.calls[mark:]
            finally:
                self.in_rule, self._where = outer
        if "grad_out" in options:
            options = {**options, "grad_out": [False if b is False else None for b in options["grad_out"]]}
        given = [(x.array, x.array.copy()) for x in recorded_in((args, options))]
        result = self.call(f, args, options, effect=op is HOOK)
        if any(a.tobytes() != before.tobytes() for a, before in given):
            self.refuse(f"calls {op.name}, which writes into an array that it is given")
        return result

    def _watch(self, rng: np.random.Generator) -> Array:
        if generators.is_replaying():
            self.refuse_at_all("the loss draws at random within a checkpoint")
        self.undo.keep_generator(rng)
        return WatchedGenerator(self, rng)


for _name in ("ufunc", "dot", "function", "method", "call", "get", "set", "write"):
    setattr(Recorder, _name, _surely(getattr(Recorder, _name)))


class FollowedOp(Op):
    """An operation whose rules are recorded in a thread that records."""

    forward = property(lambda op: _followed(vars(op)["forward"], op))
    vjps = property(lambda op: tuple([_followed(f, op) for f in vars(op)["vjps"]]))
    vjp = property(lambda op: _followed(vars(op)["vjp"], op))


def _followed(f: Function | None, op: Op) -> Function | None:
    recorder = _active.recorder
    return f if f is None or recorder is None else partial(recorder.rule, f, op)


def _numbers(x: ArrayLike) -> Array:
    if type(x) is Recorded:
        return x.number
    return [_numbers(part) for part in x] if isinstance(x, (tuple, list)) else None

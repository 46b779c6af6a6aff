"""What a recording and a program consist of: values, and calls of NumPy that make them.

A `Program` is a flat list of calls, in the order in which an ordinary step makes them.  Carried out on arrays of the
same layouts it gives the same bits.  `text` turns it into Python; another back end may compile it from the same list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fluxmagic.capture.lines import described

__all__ = ["Call", "Program", "Ref", "Value", "leaves", "outs", "refs", "replace"]

NESTED = {tuple, list, dict, slice}
Argument = Any
"""An argument of a call: a `Ref`, a constant, or a tuple, list, dict or slice of such."""


class Ref(NamedTuple):
    """Stands for a value in the arguments of a call."""

    number: int


@dataclass(slots=True)
class Value:
    """What is known of a value; each result of a call has one of its own."""

    number: int  # its place in the list of values
    shape: tuple[int, ...]  # as recorded, like dtype and strides: a guard of the program sees to it that they hold
    dtype: np.dtype[Any]
    strides: tuple[int, ...]
    scalar: bool  # it is a scalar of NumPy (np.float32) or Python, and no array
    root: int  # the value in whose memory it lies: another one for a view, its own number otherwise
    source: str
    """"input": an array of the batch.  "external": an array of the user, a parameter or a gradient; or a constant.
    "made": the result of a call.  "view": a view of its root."""
    array: np.ndarray | None = None  # of an external value the array itself, which is read and written where it lies

    @property
    def size(self) -> int:
        """The number of elements."""
        n = 1
        for length in self.shape:
            n *= length
        return n

    @property
    def nbytes(self) -> int:
        """The bytes of the elements."""
        return self.size * self.dtype.itemsize

    def like(self, other: Value) -> bool:
        """Tell whether both have one shape, dtype and layout."""
        return (self.shape, self.dtype, self.strides) == (other.shape, other.dtype, other.strides)


@dataclass(slots=True, eq=False)
class Call:
    """One call.

    Its kind says how it is carried out:

    - "ufunc": `function(*args, **options)`, element by element, or with a signature as matmul.
    - "reduce": `function(x, axis, dtype, None, keepdims)`, where function is the `reduce` of a ufunc.
    - "dot": `a.dot(b)`.
    - "copy": a copy of `args[0]` in the dtype and layout of the result.
    - "view": `function(*args, **options)`, whose result lies in the memory of an argument.
    - "call": `function(*args, **options)`, called as it is.
    - "draw": the method `function` of the generator `args[0]`, whose draw is announced.
    - "item": the Python number `args[0].item(*args[1:])`.
    - "set": `target[args[0]] = args[1]`.
    - "write": `function(target, *args, **options)`, which writes into the target.
    - "guard": `function(*args)` has to be `wants`, or the step is not this one.
    """

    kind: str
    function: Callable[..., Any] | str  # a string is the name of a method of `args[0]`
    args: tuple[Argument, ...]
    options: dict[str, Argument] = field(default_factory=dict)
    out: Any = None  # the values of the result: an int, or a nested list of int
    target: Ref | None = None  # the value that is written in place; of a ufunc, reduce or dot as its `out`
    effect: bool = False  # it is called also if no value needs it: a user's function, a draw
    wants: bool = True  # of a guard
    where: tuple[str, int] = ("", 0)  # the file and line of the user's code, for messages

    @property
    def read(self) -> list[int]:
        """The values that its arguments name."""
        return refs((self.args, self.options) if self.options else self.args)

    @property
    def written(self) -> list[int]:
        """The values that it makes or writes into."""
        return outs(self.out) if self.target is None else [*outs(self.out), self.target.number]

    @property
    def line(self) -> str:
        """The place in the user's code as text."""
        return described(self.where)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.function if isinstance(self.function, str) else getattr(self.function, "__name__", self.kind)


@dataclass
class Program:
    """A step as a list of calls: the loss of a batch, and the gradients, written where the optimiser reads them."""

    calls: list[Call]  # they change nothing but `buffers` and the parameters' gradients
    values: list[Value]
    inputs: list[int]  # the values of the batch's arrays, in the order of the loss's arguments
    result: int | None  # the value of the loss; None of an update rule, which only writes
    effects: list[Call] = field(default_factory=list)
    """Writes to other arrays (running statistics), made behind the update, when nothing can fail any more."""
    buffers: dict[int, np.ndarray] = field(default_factory=dict)
    """For each value that lies at one place in every step: the array that holds it.

    Values that are not needed at once share memory, and a value may be made in the very array of one that it takes
    over.  A value without a buffer (a scalar, the result of a "call") is a new object in every step.
    """

    def root(self, number: int) -> int:
        """The value in whose memory a value lies."""
        return self.values[number].root

    @property
    def written_externals(self) -> list[np.ndarray]:
        """The arrays that `effects` write into."""
        roots = [self.root(c.target.number) for c in self.effects if c.target is not None]
        return [a for n in dict.fromkeys(roots) if (a := self.values[n].array) is not None]

    @property
    def generators(self) -> list[np.random.Generator]:
        """The generators that it draws from."""
        return list({id(c.args[0]): c.args[0] for c in self.calls if c.kind == "draw"}.values())


def replace(x: Argument, leaf: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - any argument
    """Replace what is in tuples, lists, dicts and slices."""
    kind = type(x)
    if kind is tuple or kind is list:
        return kind([replace(y, leaf) if type(y) in NESTED else leaf(y) for y in x])
    if kind is dict:
        return {k: replace(y, leaf) for k, y in x.items()}
    if kind is slice:
        return slice(replace(x.start, leaf), replace(x.stop, leaf), replace(x.step, leaf))
    return leaf(x)


def leaves(x: Argument) -> list[Any]:
    """List what is in tuples, lists, dicts and slices, at any depth."""
    kind = type(x)
    if kind not in NESTED:
        return [x]
    found: list[Any] = []
    for y in x.values() if kind is dict else (x.start, x.stop, x.step) if kind is slice else x:
        if type(y) in NESTED:
            found += leaves(y)
        else:
            found.append(y)
    return found


def refs(x: Argument) -> list[int]:
    """List the numbers of the values that an argument names."""
    return [y.number for y in leaves(x) if type(y) is Ref]


def outs(out: object) -> list[int]:
    """List the numbers of the values of a result."""
    return [out] if type(out) is int else [n for n in leaves(out) if n is not None]

"""From a program to Python: straight-line calls with `out=`, bound methods and constants without axes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fluxmagic import generators
from fluxmagic.capture.calls import Call, Program, Ref, Value, outs, refs
from fluxmagic.capture.plan import aligned, as_value, dtype_of, is_dense

__all__ = ["Writer", "indent"]

INFIX: dict[object, str] = {
    np.add: "+", np.subtract: "-", np.multiply: "*", np.divide: "/", operator.pow: "**", operator.eq: "==",
    operator.ne: "!=", operator.ge: ">=", operator.gt: ">", operator.le: "<=", operator.lt: "<",
}  # fmt: skip
SMALL = 4096
"""Elements up to which an operand is first copied to the shape of the result, which broadcasting is slower than."""

NUMPYS = {f for f in vars(np).values() if isinstance(f, np.ufunc)}

copyto = getattr(np.copyto, "__wrapped__", np.copyto)


class Writer:
    """Writes the calls of a program, line by line; after another writer, whose names it knows, into the same function.

    Attributes
    ----------
    lines : list of str
    names, known, constants : dict
        The objects that the text names, by name; the names by what they were made for; numbers as arrays.
    """

    def __init__(self, program: Program, before: Writer | None = None) -> None:
        self.program = program
        self.values, self.buffers = program.values, program.buffers
        self.lines: list[str] = []
        self.names: dict[str, Any] = dict(before.names) if before else {}
        self.known: dict[object, str] = dict(before.known) if before else {}
        self.constants: dict[object, np.ndarray] = dict(before.constants) if before else {}
        self._spreads: dict[object, np.ndarray] = {}
        self._current: dict[int, int] = {}  # from a spread array to the root whose elements it holds
        self._inputs = {n: f"x{k}" for k, n in enumerate(program.inputs)}

    def function(self, name: str, arguments: Iterable[str], body: Iterable[str]) -> Callable[..., Any]:
        """Compile a function; what it names are local constants.  Its text is the attribute `source`."""
        head = f"def {name}({', '.join(arguments)}):"
        lines = [head, *indent(body), f"return {name}"]
        source = "\n".join([f"def make({', '.join(self.names)}):", *indent(lines)])
        scope: dict[str, Any] = {}
        exec(compile(source, f"<captured {name}>", "exec"), scope)
        f: Callable[..., Any] = scope["make"](**self.names)
        f.source = "\n".join(line[4:] for line in source.splitlines()[1:-1])  # type: ignore[attr-defined]
        return f

    # -- names -----------------------------------------------------------------------------------------

    def name(self, x: object, hint: str = "c", key: object = None) -> str:
        """Give an object a name."""
        key = id(x) if key is None else key
        known = self.known.get(key)
        if known is None:
            known = self.known[key] = f"{hint}{len(self.known)}"
            self.names[known] = x
        return known

    def method(self, x: object, method: str) -> str:
        """Give a bound method; of an array that stays it is looked up once."""
        array = self.buffers.get(x.number) if type(x) is Ref else x
        if array is None:
            return f"{self.text(x)}.{method}"
        return self.name(getattr(array, method), "m", (id(array), method))

    def text(self, x: object) -> str:
        """Write an argument."""
        kind = type(x)
        if isinstance(x, Ref):
            if x.number in self.buffers:
                name = self.name(self.buffers[x.number], "a")
                return f"{name}[()]" if self.values[x.number].scalar else name  # whose powers have other bits
            return self._inputs.get(x.number, f"v{x.number}")
        if x is None or x is Ellipsis or kind in (bool, int, str) or (kind is float and np.isfinite(x)):  # type: ignore[call-overload]
            return "..." if x is Ellipsis else repr(x)
        if kind in (tuple, list) and refs(x):
            inner = "".join(f"{self.text(y)}, " for y in x)  # type: ignore[attr-defined]
            return f"({inner})" if kind is tuple else f"[{inner}]"
        if isinstance(x, slice) and refs(x):
            return f"slice({self.text(x.start)}, {self.text(x.stop)}, {self.text(x.step)})"
        return self.name(x)

    def _operand(self, x: object, dtype: np.dtype[Any] | None) -> str:
        """Write an operand of a ufunc; a number as an array without axes, which NumPy takes 0.2 µs faster."""
        if isinstance(x, np.generic):
            a = np.asarray(x)
        elif type(x) in (int, float) and dtype is not None and dtype.kind == "f":
            a = np.array(x, dtype)
        else:
            return self.text(x)
        return self.name(self.constants.setdefault((a.dtype, a.tobytes()), a), "k")

    def _arguments(self, args: Iterable[object], c: Call) -> str:
        return ", ".join([*map(self.text, args), *(f"{k}={self.text(x)}" for k, x in c.options.items())])

    # -- calls -----------------------------------------------------------------------------------------

    def write(self, calls: Iterable[Call]) -> list[str]:
        """Write calls; return their lines."""
        start = len(self.lines)
        for c in calls:
            getattr(self, f"_{c.kind}")(c)
            self.forget_spreads(c)
        return self.lines[start:]

    def _assign(self, c: Call, call: str) -> None:
        """Write a call that makes a new result; one whose shape may follow from values has to be as recorded."""
        left = _names(c.out)
        self.lines.append(f"{left} = {call}" if left else call)
        if c.kind == "call":
            for n in outs(c.out):
                v = self.values[n]
                if v.shape:
                    layout = [self.name(x, "g", (kind, x)) for kind, x in (("shape", v.shape), ("strides", v.strides))]
                    self.lines.append(f"if v{n}.shape != {layout[0]} or v{n}.strides != {layout[1]}: return None")

    def _ufunc(self, c: Call) -> None:
        out = c.out if c.target is None else c.target.number
        if c.target is None and out not in self.buffers:
            if all(map(self._is_scalar, c.args)) and not c.options and c.function in INFIX and len(c.args) == 2:
                return self._assign(c, f"{self.text(c.args[0])} {INFIX[c.function]} {self.text(c.args[1])}")
            return self._assign(c, f"{self.name(c.function, 'f')}({self._arguments(c.args, c)})")
        dtype = next((d for x in c.args if (d := dtype_of(self.program, x)) is not None), None)
        # SciPy's compute with Python's numbers in float64
        operand = self._operand if c.function in NUMPYS else lambda x, dtype: self.text(x)
        args = [self._spread(x, self.values[out], c, k) or operand(x, dtype) for k, x in enumerate(c.args)]
        options = [f"{k}={self.text(x)}" for k, x in c.options.items()]
        by_name = "out=" if c.function in (np.maximum, np.minimum) else ""  # which NumPy 2.4 asks for
        self.lines.append(
            f"{self.name(c.function, 'f')}({', '.join([*args, by_name + self.text(Ref(out)), *options])})"
        )
        return None

    def _is_scalar(self, x: object) -> bool:
        return self.values[x.number].scalar if isinstance(x, Ref) else not isinstance(x, np.ndarray)

    def _spread(self, x: object, v: Value, c: Call, place: int) -> str | None:
        """Copy a small operand to the result's shape, or truth values to its dtype; name the copy, if there is one."""
        elementwise = not c.options and getattr(c.function, "signature", None) is None
        if type(x) is not Ref or not elementwise or v.size > SMALL or v.dtype.kind != "f":
            return None
        w = self.values[x.number]
        broadcast = w.shape != v.shape or (0 in w.strides and w.strides != v.strides)
        wanted = (broadcast and w.dtype == v.dtype) or (w.dtype == bool and c.function in INFIX)
        if w.scalar or not w.shape or not wanted:
            return None
        key = v.shape, v.dtype, v.strides, x.number if x.number in self.buffers else (place,)
        a = self._spreads.get(key)
        if a is None:
            a = self._spreads[key] = np.empty(v.shape, v.dtype) if not is_dense(v) else as_value(v, aligned(v.nbytes))
        if self._current.get(id(a)) != w.root or x.number not in self.buffers:
            self.lines.append(f"{self.name(copyto)}({self.name(a, 'a')}, {self.text(x)})")
            self._current[id(a)] = w.root
        return self.name(a, "a")

    def forget_spreads(self, c: Call) -> None:
        """Forget copies of what a call has overwritten."""
        written = [self.buffers[n] for n in c.written if n in self.buffers]
        for key, a in self._spreads.items():
            source = key[3]  # type: ignore[index]
            if (
                id(a) in self._current
                and source in self.buffers
                and any(np.may_share_memory(self.buffers[source], b) for b in written)
            ):
                self._current.pop(id(a), None)

    def _reduce(self, c: Call) -> None:
        x, axis, dtype, _, keepdims = c.args
        out = c.out if c.target is None else c.target.number
        placed = out in self.buffers
        call = self._arguments((x, axis, dtype, Ref(out) if placed else None, keepdims), c)
        call = f"{self.name(c.function, 'f', (id(getattr(c.function, '__self__', None)), c.name))}({call})"
        self.lines.append(call) if placed else self._assign(c, call)

    def _dot(self, c: Call) -> None:
        a, b = c.args
        out = c.out if c.target is None else c.target.number
        if out in self.buffers:
            self.lines.append(f"{self.method(a, 'dot')}({self.text(b)}, {self.text(Ref(out))})")
        else:
            self._assign(c, f"{self.method(a, 'dot')}({self.text(b)})")

    def _copy(self, c: Call) -> None:
        if c.out in self.buffers:
            self._copy_to(c.out, c.args[0])
        else:
            self._assign(c, f"{self.text(c.args[0])}.astype({self.name(self.values[c.out].dtype)})")

    def _copy_to(self, out: int, x: object) -> None:
        v, w = self.values[out], self.values[x.number] if type(x) is Ref else None
        if w is not None and (v.shape, v.dtype) == (w.shape, w.dtype) and v.dtype.kind == "f":
            self.lines.append(f"{self.name(np.positive, 'f')}({self.text(x)}, {self.text(Ref(out))})")
        else:
            self.lines.append(f"{self.name(copyto)}({self.text(Ref(out))}, {self.text(x)}, 'unsafe')")

    def _view(self, c: Call) -> None:
        if c.out not in self.buffers:
            self._call(c)

    def _call(self, c: Call) -> None:
        if isinstance(c.function, str):
            self._assign(c, f"{self.method(c.args[0], c.function)}({self._arguments(c.args[1:], c)})")
        elif c.function is operator.getitem:
            self._assign(c, f"{self.text(c.args[0])}[{self.text(c.args[1])}]")
        elif c.function is operator.pow:
            self._assign(c, f"{self.text(c.args[0])} ** {self.text(c.args[1])}")
        else:
            self._assign(c, f"{self.name(c.function, 'f')}({self._arguments(c.args, c)})")

    def _item(self, c: Call) -> None:
        self.lines.append(f"v{c.out} = {self.method(c.args[0], 'item')}({self._arguments(c.args[1:], c)})")

    def _draw(self, c: Call) -> None:
        rng, *args = c.args
        method = f"{self.name(generators.note_draw, 'note_draw')}({self.name(rng, 'rng')}).{c.function}"
        if c.out in self.buffers:
            self.lines.append(f"{method}(None, {self.name(self.values[c.out].dtype.type)}, {self.text(Ref(c.out))})")
        else:
            self._assign(c, f"{method}({self._arguments(args, c)})")

    def _set(self, c: Call) -> None:
        index, x = c.args
        if c.target is not None and index is Ellipsis and c.target.number in self.buffers:
            self._copy_to(c.target.number, x)
        else:
            self.lines.append(f"{self.text(c.target)}[{self.text(index)}] = {self.text(x)}")

    def _write(self, c: Call) -> None:
        self.lines.append(f"{self.name(c.function, 'f')}({self._arguments((c.target, *c.args), c)})")

    def _guard(self, c: Call) -> None:
        test = self.text(c.args[0])
        if c.function in INFIX:
            test = f"({test} {INFIX[c.function]} {self.text(c.args[1])})"
        self.lines.append(f"if {'not ' * c.wants}{test}: return None  # {c.line}")


def indent(lines: Iterable[str]) -> list[str]:
    """Move lines to the right."""
    return [f"    {line}" for line in lines]


def _names(out: object) -> str:
    """Write what a result is assigned to."""
    if isinstance(out, list):
        return f"({', '.join(_names(part) or '_' for part in out)},)"
    return "" if out is None else f"v{out}"

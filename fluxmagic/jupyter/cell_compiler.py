"""The code of a `%%train` cell, compiled once, under the cell's own name, so that errors point at the user's line."""

from __future__ import annotations

import ast
import dis
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from types import CodeType, FunctionType
from typing import Any

import numpy as np
from IPython.core.error import UsageError

from fluxmagic.layers.batches import batches
from fluxmagic.tracker import data

__all__ = ["Body", "Cell", "Data", "names_read"]

BATCH = "_fluxmagic_batch"
LOOKING = {"dir", "eval", "exec", "locals", "vars"}  # what sees the names where it is called


class Cell:
    """The text of a cell, and how to compile pieces of it.

    Code becomes functions whose globals are the user's namespace and which have no locals of their own: they
    run there as if they had been typed in a cell, and what they name can be found by looking at them.

    Parameters
    ----------
    ip : InteractiveShell
    magic : str
        The line without its `%%train`.
    body : str
        What stands below it.
    """

    def __init__(self, ip: Any, magic: str, body: str) -> None:
        self.ip = ip
        self.ns: dict[str, Any] = ip.user_ns
        self.data_text = ""
        raw, head, number = _raw(ip, magic, body)
        self.head = head.split("\n")
        self.at = len(self.head)  # the number of the last line above the body
        blank = sum(1 for _ in takewhile(lambda line: not line.strip(), body.splitlines()))  # IPython drops these
        self.above = "\n" * (self.at + blank)
        self.code: str = ip.transform_cell(body)
        self.name: str = ip.compile.cache(head + self.above[self.at - 1 :] + self.code, number, raw_code=raw)

    def function(self, code: CodeType) -> FunctionType:
        """Code as a function in the user's namespace."""
        return FunctionType(code, self.ns, "<cell>")

    def expression(self, what: str, text: str) -> FunctionType:
        """A piece of the line, as a function without arguments that evaluates it.

        Raises
        ------
        UsageError
            If it is no expression; `what` names it there.
        """
        try:
            tree = ast.parse(text, mode="eval")
        except SyntaxError as error:
            raise UsageError(f"{what} {text}: {error.msg}") from None
        return self.function(self.ip.compile(self._placed(tree, text), self.name, "eval"))

    def binding(self, names: str, value: ast.expr | None = None) -> FunctionType:
        """A function of a batch that binds names to it, as `for` does, and then evaluates what is given."""
        code = f"def bind({BATCH}):\n {names} = {BATCH}" if names else "def bind():\n pass"
        tree = self._placed(ast.parse(code), names or "%%train")
        function: Any = tree.body[0]
        if value is not None:
            function.body.append(ast.Return(value))
        bound = _names(function)
        if bound:
            function.body.insert(0, ast.Global(bound))
        scratch: dict[str, Any] = {}
        exec(self.ip.compile(ast.fix_missing_locations(tree), self.name, "exec"), scratch)
        return self.function(scratch["bind"].__code__.replace(co_name="<module>"))  # what code of a cell is called

    def loss(self, names: str) -> tuple[list[FunctionType], FunctionType]:
        """What computes the loss: functions to be called in turn, the first with a batch; and the body as a whole.

        Raises
        ------
        UsageError
            If it does not end with an expression.
        SyntaxError
            Pointing at the line.
        """
        compiler = self.ip.compile
        try:
            tree = self.ip.transform_ast(compiler.ast_parse(self.above + self.code, self.name))
        except SyntaxError as error:
            raise error.with_traceback(None) from None
        if not tree.body or not isinstance(tree.body[-1], ast.Expr):
            raise UsageError(
                "the cell's last statement has to be an expression, the loss: "
                + (f"`{ast.unparse(tree.body[-1]).splitlines()[0]}` is none" if tree.body else "there is nothing")
            )
        _check_foreign(tree.body[-1].value)
        whole = self.function(compiler(tree, self.name, "exec"))
        *statements, last = tree.body
        # in a function that binds names they would mean something else: `locals()`, annotations, imports of all names
        if not statements and not any(isinstance(n, ast.Name) and n.id in LOOKING for n in ast.walk(last)):
            return [self.binding(names, last.value)], whole
        pieces = (
            compiler(ast.Module(statements, []), self.name, "exec"),
            compiler(ast.Expression(last.value), self.name, "eval"),
        )
        return [self.binding(names), *map(self.function, pieces)], whole

    def _placed(self, tree: Any, text: str) -> Any:
        """A piece of the line, at its place in the cell."""
        number, line = next(((i, x) for i, x in enumerate(self.head, 1) if text in x), (self.at, self.head[-1]))
        at = len(line[: max(line.find(text), 0)].encode())
        node: Any
        for node in ast.walk(tree):
            if hasattr(node, "lineno"):
                node.lineno = node.end_lineno = number
                node.col_offset += at
                node.end_col_offset += at
        return tree


def _raw(ip: Any, magic: str, body: str) -> tuple[str, str, int]:
    """The cell as it was typed (a debugger's name for it follows from that), what stands above the body, its number."""
    history = [""] if ip.history_manager is None else ip.history_manager.input_hist_raw
    typed = history[-1]
    end = body.rstrip()
    if end and typed.lstrip().startswith("%%train") and typed.rstrip().endswith(end):
        return typed, typed[: typed.rindex(end)].rstrip(), len(history) - 1
    return f"%%train {magic}\n{body}", f"%%train {magic}", ip.execution_count


class Body:
    """What the cell says, of a batch that its names are bound to.

    Attributes
    ----------
    loss : function
        Of a batch, to the loss; names stay bound.  Its attribute `aside` is what to call for a look at the loss.
    whole : function
        The body, to be looked at: parameters are found by what it names.
    names : str
        What batches are bound to.
    count : int or None
        How many things they are unpacked into; None where any batch will do.
    bound, stored : set, list of str
        The variables that a batch is bound to; and these and all that the body binds.
    """

    def __init__(self, cell: Cell, names: str) -> None:
        self.ns = cell.ns
        self.names = names
        self.bind = cell.binding(names)
        steps, self.whole = cell.loss(names)
        target: Any = ast.parse(f"{names or '_'} = 0").body[0]
        parts = getattr(target.targets[0], "elts", None)
        self.count = None if parts is None or any(isinstance(p, ast.Starred) for p in parts) else len(parts)
        self.stored = list(dict.fromkeys(name for f in steps for name in _stored(f)))
        self.bound = set(_stored(self.bind))
        # a function, and no method: to call one takes 1 µs less between all that a step does
        loss: Any = steps[0] if len(steps) == 1 and self.count != 1 else self._in_turn(*steps)
        loss.aside = self._aside(loss)
        loss.batch_names = [ast.unparse(part) for part in parts or target.targets]  # for errors
        self.loss = loss

    def metric(self, value: Callable[[], Any]) -> Callable[..., Any]:
        """A function of a batch, that evaluates an expression with the names bound to it."""
        return self._aside(self._in_turn(self.bind, value))

    def _in_turn(self, bind: Callable[[Any], Any], *rest: Callable[[], Any]) -> Callable[..., Any]:
        """One function of a batch for several that are called one after another; it gives what the last one does."""
        if not self.names:

            def evaluate_without() -> Any:
                value = None
                for f in rest:
                    value = f()
                return value

            return evaluate_without

        def evaluate(d: Any) -> Any:
            value = bind(d if self.count != 1 or isinstance(d, (tuple, list)) else (d,))
            for f in rest:
                value = f()
            return value

        return evaluate

    def _aside(self, f: Callable[[Any], Any]) -> Callable[..., Any]:
        """For a look: of the one batch that `Data` gives, or of validation data, an array for each name."""
        return lambda *batch: self._apart(f, batch[0] if len(batch) == 1 else batch)

    def _apart(self, f: Callable[[Any], Any], d: Any) -> Any:
        """Call, and put the names back: looking changes nothing."""
        ns = self.ns
        before = {k: ns[k] for k in self.stored if k in ns}
        try:
            return f(d)
        finally:
            for k in self.stored:
                ns.pop(k, None)
            ns.update(before)


def _names(target: ast.AST) -> list[str]:
    """The variables that code binds."""
    found = [n.id for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return list(dict.fromkeys(found))


def _check_foreign(loss: ast.expr) -> None:
    """Refuse what ends a training step in other libraries, and is no loss."""
    if not (isinstance(loss, ast.Call) and isinstance(loss.func, ast.Attribute) and not loss.args):
        return
    what = ast.unparse(loss)
    if loss.func.attr == "backward":
        raise UsageError(f"{what} is no loss: end the cell with the loss itself, {ast.unparse(loss.func.value)}")
    if loss.func.attr in ("step", "zero_grad") and ast.unparse(loss.func.value).lower().startswith("opt"):
        raise UsageError(f"{what} is no loss: %%train updates by itself; end the cell with the loss, and name --opt")


def names_read(f: FunctionType, ns: dict[str, Any]) -> set[str]:
    """The variables of the namespace that code reads, also in functions of the namespace that it names."""
    read: set[str] = set()
    codes, seen = [f.__code__], set()
    while codes:
        code = codes.pop()
        if code in seen:
            continue
        seen.add(code)
        codes += [c for c in code.co_consts if isinstance(c, CodeType)]
        for i in dis.get_instructions(code):
            if i.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
                read.add(i.argval)
                codes += [g.__code__ for g in _functions(ns.get(i.argval), code.co_names) if g.__globals__ is ns]
    return read


def _functions(value: Any, names: Iterable[str]) -> list[FunctionType]:
    """The functions that code with these names may call by using a value: itself, or methods of its class."""
    value = getattr(value, "__func__", value)
    if isinstance(value, FunctionType):
        return [value]
    classes = reversed((value if isinstance(value, type) else type(value)).__mro__)
    methods = {k: f for c in classes for k, f in vars(c).items() if isinstance(f, FunctionType)}
    called = [k for k in methods if k in names or k.startswith("__")]
    for k in called:  # which grows
        called += [n for n in methods[k].__code__.co_names if n in methods and n not in called]
    return [methods[k] for k in called]


def _stored(f: FunctionType) -> Iterator[str]:
    """The names that code binds in the namespace, or takes away from it; also functions and `:=` within it."""
    codes = [f.__code__]
    while codes:
        code = codes.pop()
        codes += [c for c in code.co_consts if isinstance(c, CodeType)]
        own = ("STORE_NAME", "DELETE_NAME") if code is f.__code__ else ()  # those of a class statement are the class's
        for i in dis.get_instructions(code):
            if i.opname in ("STORE_GLOBAL", "DELETE_GLOBAL", *own):
                yield i.argval


class Data:
    """The line's expression, evaluated afresh for every epoch; each of its batches is handed on whole."""

    def __init__(self, expr: FunctionType, names: str, count: int | None) -> None:
        self.expr = expr
        self.names = names
        self.count = count

    def __call__(self) -> Whole:
        source = self.expr()
        self._check(source)
        return Sized(source) if hasattr(source, "__len__") else Whole(source)

    def _check(self, source: Any) -> None:
        """Refuse what would bind rows, or names of columns, where arrays are meant."""
        found = None
        if hasattr(source, "columns") and hasattr(source, "iloc"):
            found = "a DataFrame, which gives the names of its columns: name its columns, batches(df['a'], df['b'], 32)"
        elif self.count is None:
            return
        elif isinstance(source, batches):
            if len(source.arrays) == 1 < self.count:
                found = "batches of one array, whose rows would be bound: give one for each name, batches(X, Y, 32)"
        elif type(source) is tuple and len(source) == self.count and all(np.ndim(data(a)) for a in source):
            found = "a tuple of arrays, each of which is a batch then: [(X, Y)] is one batch, batches(X, Y, 32) several"
        if found:
            raise UsageError(f"{self.names} in {found}")


class Whole:
    """Batches as tuples of one: `x in pairs` binds x to a pair, as `for` would."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def __iter__(self) -> Iterator[tuple[Any]]:
        return zip(self.source)


class Sized(Whole):
    """Batches whose number is known."""

    def __len__(self) -> int:
        return len(self.source)

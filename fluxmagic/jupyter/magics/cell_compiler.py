"""The code of a magic's cell as functions, compiled once under the cell's own name: errors point at the user's line.

`CellCompiler` compiles pieces of a cell; `CellLoss` and `CellData` are what a run calls for its body and its data.
The functions have the user's namespace as globals and no locals: they run as code of a cell does.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import takewhile
from types import CodeType, FunctionType
from typing import Any

import numpy as np
from IPython.core.error import UsageError

from fluxmagic.jupyter.ipython_compat import Namespace, Shell, cache_code, parse_cell, typed_cell
from fluxmagic.jupyter.magics.cell_names import names_bound
from fluxmagic.layers.batches import batches
from fluxmagic.tracker import data

__all__ = ["CellCompiler", "CellData", "CellLoss"]

BATCH = "_fluxmagic_batch"
NAMESPACE_READERS = {"dir", "eval", "exec", "locals", "vars"}  # these see the names at the place of the call


class CellCompiler:
    """Compiler for the pieces of one cell: the `line` of its `magic`, and the `body` below."""

    def __init__(self, shell: Shell, line: str, body: str, magic: str = "%%train") -> None:
        self.shell = shell
        self.ns = shell.user_ns
        self.magic = magic
        typed = typed_cell(shell, f"{magic} {line}", body)
        self.head = typed.head.split("\n")
        blank = sum(1 for _ in takewhile(lambda line: not line.strip(), body.splitlines()))  # IPython drops these
        self.above = "\n" * (len(self.head) + blank)
        self.code = shell.transform_cell(body)
        self.name = cache_code(shell, typed.head + self.above[len(self.head) - 1 :] + self.code, typed)

    def function(self, code: CodeType) -> FunctionType:
        """Make code a function in the user's namespace."""
        return FunctionType(code, self.ns, "<cell>")

    def expression(self, what: str, text: str) -> FunctionType:
        """Compile a piece of the line to a function without arguments; an error begins with `what`."""
        try:
            tree = ast.parse(text, mode="eval")
        except SyntaxError as error:
            raise UsageError(f"{what} {text}: {error.msg}") from None
        self._locate(tree, text)
        return self.function(self.shell.compile(tree, self.name, "eval"))

    def compile_binding(self, names: str, value: ast.expr | None = None) -> FunctionType:
        """Compile a function of a batch that binds names to it, as `for` does, and then evaluates an expression."""
        code = f"def bind({BATCH}):\n {names} = {BATCH}" if names else "def bind():\n pass"
        tree = ast.parse(code)
        self._locate(tree, names or self.magic)
        (function,) = tree.body
        assert isinstance(function, ast.FunctionDef)
        if value is not None:
            function.body.append(ast.Return(value))
        found = (n for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
        if bound := list(dict.fromkeys(n.id for n in found)):
            function.body.insert(0, ast.Global(bound))
        scratch: dict[str, FunctionType] = {}
        exec(self.shell.compile(ast.fix_missing_locations(tree), self.name, "exec"), scratch)
        # the name that code of a cell has in tracebacks
        return self.function(scratch["bind"].__code__.replace(co_name="<module>"))

    def loss(self, names: str) -> tuple[list[FunctionType], FunctionType]:
        """Compile the body to functions, to be called one after another, the first with a batch; and to one function.

        It is a UsageError if the body does not end with an expression.
        """
        try:
            tree = parse_cell(self.shell, self.above + self.code, self.name)
        except SyntaxError as error:
            raise error.with_traceback(None) from None
        *statements, last = tree.body or [ast.Pass()]
        if not isinstance(last, ast.Expr):
            found = f"not `{ast.unparse(last).splitlines()[0]}`" if tree.body else "but the cell is empty"
            raise UsageError(f"the cell's last statement has to be an expression, the loss, {found}")
        _reject_training_step(last.value, self.magic)
        compiler = self.shell.compile
        body = self.function(compiler(tree, self.name, "exec"))
        # Statements are not put into a function: annotations and star imports would mean something else there.
        reads_namespace = any(isinstance(n, ast.Name) and n.id in NAMESPACE_READERS for n in ast.walk(last))
        if not statements and not reads_namespace:
            return [self.compile_binding(names, last.value)], body
        pieces = (
            compiler(ast.Module(statements, []), self.name, "exec"),
            compiler(ast.Expression(last.value), self.name, "eval"),
        )
        return [self.compile_binding(names), *map(self.function, pieces)], body

    def _locate(self, tree: ast.AST, text: str) -> None:
        """Give the nodes of a piece of the line their place in the cell."""
        last = len(self.head), self.head[-1]
        number, line = next(((i, x) for i, x in enumerate(self.head, 1) if text in x), last)
        offset = len(line[: max(line.find(text), 0)].encode())
        for node in ast.walk(tree):
            if isinstance(node, (ast.expr, ast.stmt, ast.arg, ast.keyword)):
                node.lineno = node.end_lineno = number
                node.col_offset += offset
                node.end_col_offset = (node.end_col_offset or 0) + offset


def _reject_training_step(loss: ast.expr, magic: str) -> None:
    """Refuse the calls that end a training step in other libraries."""
    if not (isinstance(loss, ast.Call) and isinstance(loss.func, ast.Attribute) and not loss.args):
        return
    what, owner = ast.unparse(loss), ast.unparse(loss.func.value)
    if loss.func.attr == "backward":
        raise UsageError(f"{what} is not a loss: end the cell with the loss itself, {owner}")
    if loss.func.attr in ("step", "zero_grad") and owner.lower().startswith("opt"):
        raise UsageError(f"{what} is not a loss: {magic} updates by itself; end the cell with the loss, and name --opt")


class CellLoss:
    """The body of a cell as the loss of a batch.

    `loss` is a function of a batch; names stay bound.  Its attribute `without_rebinding` leaves the namespace as it
    was, and `batch_names` are the parts of a batch, for errors.  For captured steps, `bind` binds the batch's names
    alone, `body` is where the search for what it reads begins, and `rebound_names` are as here.
    """

    def __init__(self, compiler: CellCompiler, names: str) -> None:
        self.names = names  # what a batch is bound to
        self._bind = compiler.compile_binding(names)
        steps, self.body = compiler.loss(names)  # the whole body: parameters are found by the names that it reads
        assignment = ast.parse(f"{names or '_'} = 0").body[0]
        assert isinstance(assignment, ast.Assign)
        (target,) = assignment.targets
        parts = target.elts if isinstance(target, (ast.List, ast.Tuple)) else None
        # the number of things that a batch is unpacked into; None for any number
        self.arity = None if parts is None or any(isinstance(p, ast.Starred) for p in parts) else len(parts)
        self.rebound_names = list(dict.fromkeys(name for f in steps for name in names_bound(f)))
        self.batch_variables = set(names_bound(self._bind))  # the others are those of the body
        # a function, not a method: its call takes 1 µs less between all that a step does
        loss: Any = steps[0] if len(steps) == 1 and self.arity != 1 else self._sequence(*steps)
        loss.without_rebinding = self._without_rebinding(loss)
        loss.batch_names = [ast.unparse(part) for part in parts or [target]]
        loss.body, loss.rebound_names = self.body, self.rebound_names
        if names:
            loss.bind = self._sequence(self._bind)
        self.loss: Callable[..., Any] = loss

    @property
    def ns(self) -> Namespace:
        """The user's namespace: that of its code, which in another process has what the code reads."""
        return self._bind.__globals__

    def metric(self, value: FunctionType) -> Callable[..., Any]:
        """Make an expression a function of a batch, which binds the names and restores them."""
        return self._without_rebinding(self._sequence(self._bind, value))

    def aside(self, value: FunctionType) -> Callable[[], object]:
        """Make an expression that reads no names of the batch a function, which restores them."""
        return self._without_rebinding(value)

    def _sequence(self, bind: FunctionType, *rest: FunctionType) -> Callable[..., Any]:
        """Make one function of a batch that calls functions one after another and returns the last one's value."""

        def evaluate_without_batch() -> object:
            value = None
            for f in rest:
                value = f()
            return value

        def evaluate(batch: object) -> object:
            value = bind(batch if self.arity != 1 or isinstance(batch, (tuple, list)) else (batch,))
            for f in rest:
                value = f()
            return value

        return evaluate if self.names else evaluate_without_batch

    def _without_rebinding(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """Make a function restore the names.

        It takes the one batch of `CellData`, or an array for each name, as validation data has it; or nothing.
        """

        def evaluate(*batch: object) -> object:
            ns = self.ns
            before = {k: ns[k] for k in self.rebound_names if k in ns}
            try:
                return f(*batch) if len(batch) < 2 else f(batch)
            finally:
                for k in self.rebound_names:
                    ns.pop(k, None)
                ns.update(before)

        return evaluate


class CellData:
    """The data of the line, evaluated afresh for every epoch; a batch is one argument of the loss."""

    def __init__(self, expr: FunctionType, names: str, arity: int | None) -> None:
        self.expr = expr
        self.names = names
        self.arity = arity

    def __call__(self) -> SingleTuples:
        source = self.expr()
        if problem := self._problem(source):
            raise UsageError(f"{self.names} in {problem}")
        return SizedSingleTuples(source) if hasattr(source, "__len__") else SingleTuples(source)

    def _problem(self, source: object) -> str:
        """Describe data whose rows, or names of columns, would be bound where arrays are meant."""
        if hasattr(source, "columns") and hasattr(source, "iloc"):
            return "a DataFrame, which gives the names of its columns: name its columns, batches(df['a'], df['b'], 32)"
        if self.arity is None:
            return ""
        if isinstance(source, batches) and (n := len(source.arrays)) != self.arity:
            what = "one array, whose rows would be bound" if n == 1 else f"{n} arrays"
            return f"batches of {what}: give one for each name, batches(X, Y, 32)"
        if type(source) is tuple and len(source) == self.arity and all(np.ndim(data(a)) for a in source):
            return "a tuple of arrays, each of which is a batch then: [(X, Y)] is one batch, batches(X, Y, 32) several"
        return ""


class SingleTuples:
    """Batches as tuples of one: `x in pairs` binds x to a pair, as `for` does."""

    def __init__(self, source: Iterable[object]) -> None:
        self.source = source

    def __iter__(self) -> Iterator[tuple[Any]]:
        return zip(self.source)


class SizedSingleTuples(SingleTuples):
    """Such batches where their number is known."""

    source: Collection[object]

    def __len__(self) -> int:
        return len(self.source)

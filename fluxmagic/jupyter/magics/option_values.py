"""The kinds of values that options have: each is a function that reads the text and checks the value."""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType
from typing import Any

import numpy as np
from IPython.core.error import UsageError

from fluxmagic.greek import canonical
from fluxmagic.jupyter.magics.cell import Cell
from fluxmagic.jupyter.magics.cell_compiler import CellLoss
from fluxmagic.jupyter.magics.cell_names import names_read
from fluxmagic.jupyter.magics.option_table import Read, Typed
from fluxmagic.jupyter.magics.values import as_int, as_optimiser, check_hyperparameters, evaluate, owners
from fluxmagic.jupyter.pictures.beside import ShownExpression
from fluxmagic.layers import params
from fluxmagic.optimise import Optimiser
from fluxmagic.runs import Run
from fluxmagic.runs.early_stopping import Condition
from fluxmagic.tracker import Param

HISTORY_COLUMNS = ("step", "epoch", "seconds", "loss", "valid", "opt")


def flag(cell: Cell, what: str, text: str) -> bool:
    return True


def word(cell: Cell, what: str, text: str) -> str:
    return text


def integer(low: int) -> Read:
    return lambda cell, what, text: as_int(expression(cell, what, text), low, what)


def speed(cell: Cell, what: str, text: str) -> float:
    """Read steps a second; "max" is no limit."""
    value = math.inf if text == "max" else expression(cell, what, text)
    if not isinstance(value, (int, float, np.number)) or isinstance(value, bool) or not value > 0:
        raise UsageError(f"{what}: give steps a second, above 0, or max, not {value!r}")
    return float(value)


def expression(cell: Cell, what: str, text: str) -> object:
    """Evaluate a value in the user's namespace."""
    return evaluate(cell.compiler.expression(what.split()[0], text), what)


def fixed_expression(cell: Cell, what: str, text: str) -> object:
    """Evaluate a value that training does not change."""
    f = cell.compiler.expression(what.split()[0], text)
    check_reads(f, cell.loss, what)
    return evaluate(f, what)


def condition(cell: Cell, what: str, text: str) -> Condition:
    """Read a condition in which losses, metrics, epoch and step go by their names."""
    f = cell.compiler.expression("--until", text)
    return Condition(lambda values: eval(f.__code__, f.__globals__, dict(values)))


def optimiser(cell: Cell, what: str, text: str) -> type[Optimiser]:
    return as_optimiser(text, cell.compiler.ns, "--opt ")


def variable(cell: Cell, what: str, text: str) -> str:
    """Read the name of a variable for the run, which the cell does not use otherwise."""
    name = canonical(text)
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UsageError(f"--name {text}: give the name of a variable")
    loss, value = cell.loss, cell.compiler.ns.get(name)
    if name in loss.rebound_names or (name in loss.body.__code__.co_names and not isinstance(value, Run | None)):
        raise UsageError(f"--name {name}: the cell uses that variable; choose another name for the run")
    return name


def validation(cell: Cell, what: str, text: str) -> object:
    """Read validation data that can be bound to the names."""
    value, loss = fixed_expression(cell, what, text), cell.loss
    if isinstance(value, Iterator):
        raise UsageError(f"{what}: a generator can be gone through once; give arrays, or batches(...)")
    arrays = value if isinstance(value, tuple) else (value,) if hasattr(value, "__array__") else None
    if arrays is None:
        if not isinstance(value, Iterable):
            raise UsageError(f"{what}: give arrays, or something that gives batches, not a {type(value).__name__}")
        if isinstance(value, list) and len(value) == loss.arity and all(hasattr(a, "__array__") for a in value):
            raise UsageError(f"{what}: a list gives batches, each of these arrays one: leave the brackets out")
        return value
    if loss.arity is not None and len(arrays) != loss.arity:
        raise UsageError(f"{what}: {len(arrays)} for {loss.arity} names, `{loss.names}`")
    try:
        lengths = [len(a) for a in arrays]
    except TypeError as error:
        raise UsageError(f"{what}: {error}") from None
    if len(set(lengths)) > 1:
        raise UsageError(f"{what}: arrays of different lengths: {', '.join(map(str, lengths))}")
    return value


def metric(cell: Cell, what: str, text: str) -> tuple[str, Callable[..., Any]]:
    """Read the name of a metric, and its function of a batch."""
    name, equals, expr = (part.strip() for part in text.partition("="))
    if not name.isidentifier() or not equals or not expr:
        raise UsageError(f"{what}: give name=EXPR, as in acc=accuracy(model(x), y)")
    name = canonical(name)
    if name in HISTORY_COLUMNS or owners(name):
        raise UsageError(f"--metric {name}: the history has a column of that name; choose another")
    f = cell.compiler.expression(f"--metric {name}", expr)
    _names_read_of_batch(cell, what, f, "for the validation data")
    return name, cell.loss.metric(f)


def shown(cell: Cell, what: str, text: str) -> ShownExpression:
    """Read what is to be shown: an expression that may read names of the batch."""
    f = cell.compiler.expression("--show", text)
    if _names_read_of_batch(cell, what, f, "aside from the steps"):
        return ShownExpression(text, cell.loss.metric(f), reads_batch=True)
    return ShownExpression(text, cell.loss.aside(f), reads_batch=False)


def _names_read_of_batch(cell: Cell, what: str, f: FunctionType, where: str) -> set[str]:
    """Return the names of the batch that code reads; it is a UsageError if it reads one that the body binds."""
    read = names_read(f, cell.compiler.ns)
    unbound = sorted(read & {*cell.loss.rebound_names} - cell.loss.batch_variables)
    if unbound:
        raise UsageError(
            f"{what}: reads {unbound[0]}, which only the cell's body binds: it has no value {where}; "
            "write the expression out"
        )
    return read & cell.loss.batch_variables


def parameters(cell: Cell, what: str, text: str) -> list[Param]:
    value = fixed_expression(cell, what, text)
    try:
        return params(list(value) if isinstance(value, Iterator) else value)
    except ValueError as error:
        raise UsageError(f"{what}: {error}") from None


def check_reads(f: FunctionType, loss: CellLoss, what: str) -> None:
    """Refuse code that reads what training binds: from the second epoch on it would be another value."""
    read = sorted(names_read(f, loss.ns) & {*loss.rebound_names, *loss.batch_variables})
    if read:
        who = (
            f"`{loss.names}` is bound to each batch" if read[0] in loss.batch_variables else "the cell's body binds it"
        )
        raise UsageError(f"{what}: reads {read[0]}, and {who}: choose another name there")


def check_data(cell: Cell, who: str) -> None:
    """Refuse data that can be gone through once, or that reads what training binds: several runs go through it."""
    if cell.data is None:
        return
    check_reads(cell.data.expr, cell.loss, f"the data {cell.line.expr}")
    cell.check_repeatable(who)


def dials(cell: Cell, typed: Typed, cls: type[Optimiser]) -> dict[str, Any]:
    """Read hyper-parameters of an optimiser: numbers or schedules, by their own names."""
    values = {k: (f"--{k} {text}", expression(cell, f"--{k} {text}", text)) for k, text in typed}
    return check_hyperparameters(cls, values)


def by_name(metrics: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Collect metrics; a name given twice is a UsageError."""
    found: dict[str, Any] = {}
    for name, value in metrics:
        if name in found:
            raise UsageError(f"--metric {name} is given twice")
        found[name] = value
    return found

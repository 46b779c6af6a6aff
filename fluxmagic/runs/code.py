"""A run as a script."""

from __future__ import annotations

import ast
import dataclasses
import textwrap
from typing import TYPE_CHECKING, Any

from fluxmagic.names import ascii_name
from fluxmagic.optimise import schedules
from fluxmagic.runs.record import Event, Record

if TYPE_CHECKING:
    from fluxmagic.runs.run import Run

__all__ = ["Source", "as_code"]


@dataclasses.dataclass(frozen=True)
class Source:
    """The text of a `%%train` cell.

    Attributes
    ----------
    names : str
        What a batch is bound to: "x, y".
    data : str
        The expression that gives the batches.
    body : str
        The loss: statements, the last of them an expression.
    """

    names: str
    data: str
    body: str


def as_code(run: Run, module: str, path: Any) -> str:
    """A script that does again what was done by hand; see `Run.as_code`."""
    record = run._record
    turns = len(record.events)
    used: set[str] = set()
    steps = _steps(record, used)
    title = f"Run {run.name!r}" if run.name else "Run"
    head = [
        f'"""{title}: {run.opt_name}, {run.steps:,} steps, {turns} turn{"s" * (turns != 1)}.',
        "",
        f"The run is saved in {path}; ends in the same bits on the same machine, NumPy and number of BLAS threads.",
        '"""',
        "",
    ]
    if record.refused:
        head += ["from contextlib import suppress", ""]
    head += [f"from fluxmagic import {'NotFinite, ' * bool(record.refused)}Run, params"]
    if used:
        head += [f"from fluxmagic.optimise import {', '.join(sorted(used))}"]
    schedules = sorted(
        {e.name for e in record.events if _is_own(e.new)} | {k for k, v in record.values.items() if _is_own(v)}
    )
    own = [f"{ascii_name(k)}_schedule" for k in schedules]
    if run.source is None:
        head += [f"from {module} import {', '.join(['data', 'loss', 'model', *own])}", ""]
        what = "loss, data, params(model)" + ", model=model" * (run.model is not None)
    else:
        functions, what = _cell(run.source)
        head += [f"from {module} import *  # what the cell names: data, model, functions"]
        head += [f"from {module} import {', '.join(own)}"] * bool(own)
        head += functions
    if own:
        again = ", ".join(f'"{k}": {name}' for k, name in zip(schedules, own, strict=True))
        what += f", schedules={{{again}}}"
    lines = [f"run = Run.load({str(path)!r}, {what})  # its start: weights, seed, optimiser", "run.rewind(0)", *steps]
    return "\n".join(head + lines) + "\n"


def _steps(record: Record, used: set[str]) -> list[str]:
    """Steps and turns, in order."""
    marks = {len(record.loss), *(e.step for e in record.events), *(after for after, _ in record.put_back)}
    marks.update(*((s - 1, s) for s in record.refused))
    lines: list[str] = []
    at = 0
    for mark in sorted(marks):
        if mark in record.refused:
            lines += ["with suppress(NotFinite):", f"    run.step({mark - at})  # not finite: refused"]
        elif mark > at:
            lines.append(f"run.step({mark - at})")
        at = mark
        lines += [_turn(e, used) for e in record.events if e.step == mark]
        lines += [f"run.put_back({best})  # the best weights" for after, best in record.put_back if after == mark]
    if record.kept is not None:
        lines.append(f"run.put_back({record.kept})  # the best weights")
    return lines


def _turn(event: Event, used: set[str]) -> str:
    if event.name == "opt":
        return f'run.swap("{event.new}")'
    return f"run.set({event.name}={_value(event.name, event.new, used)})"


def _value(name: str, value: Any, used: set[str]) -> str:
    if not callable(value):
        return "None" if value == float("inf") else repr(value)
    if _is_own(value):
        return f"{ascii_name(name)}_schedule"
    used.add(type(value).__name__)
    return repr(value)


def _is_own(value: Any) -> bool:
    return callable(value) and type(value).__name__ not in schedules.__all__


def _cell(source: Source) -> tuple[list[str], str]:
    """The functions that a cell's text amounts to, and the first arguments of `Run.load`."""
    targets = ast.parse(f"for {source.names} in _: pass").body[0].target  # type: ignore[attr-defined]
    targets = list(targets.elts) if isinstance(targets, ast.Tuple) else [targets]
    arguments = [ast.unparse(t) if isinstance(t, ast.Name) else f"arg{i}" for i, t in enumerate(targets)]
    unpack = [f"{ast.unparse(t)} = arg{i}" for i, t in enumerate(targets) if not isinstance(t, ast.Name)]
    loss, data = (_free(name, source) for name in ("cell_loss", "cell_data"))
    functions = [
        *("", "", f"def {loss}({', '.join(arguments)}):"),
        *(f"    {line}" if line else line for line in [*unpack, *_body(source)]),
        *("", "", f"def {data}():", f"    return {source.data}", "", ""),
    ]
    return functions, f"{loss}, {data}, params({loss})"


def _free(name: str, source: Source) -> str:
    """A name that the cell does not use: it would find the function instead of what it means."""
    while name in source.body or name in source.data:
        name += "_"
    return name


def _body(source: Source) -> list[str]:
    """The cell's body as a function's: its last expression is what is returned."""
    body = textwrap.dedent(source.body).strip("\n")
    last = ast.parse(body).body[-1]
    lines = body.splitlines()
    line = lines[last.lineno - 1].encode()
    lines[last.lineno - 1] = (line[: last.col_offset] + b"return " + line[last.col_offset :]).decode()
    return lines

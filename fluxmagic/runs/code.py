"""A run as a script."""

from __future__ import annotations

import ast
import dataclasses
import textwrap
from typing import Any

from fluxmagic.names import ascii_name
from fluxmagic.optimise import schedules

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


def as_code(run: Any, module: str, path: Any) -> str:
    """A script that does again what was done by hand; see `Run.as_code`."""
    record = run._record
    turns = len(record.events)
    name = f" {run.name!r}" if run.name else ""
    used: set[str] = set()
    steps = _steps(run, used)
    imports = ["NotFinite"] * any("NotFinite" in line for line in steps) + ["Run", "params"]
    head = [
        f'"""Run{name}: {run.opt_name}, {run.steps:,} steps, {turns} turn{"s" * (turns != 1)}.',
        "",
        f"The run is saved in {path}; ends in the same bits on the same machine, NumPy and number of BLAS threads.",
        '"""',
        "",
    ]
    if "suppress" in "".join(steps):
        head += ["from contextlib import suppress", ""]
    head += [f"from fluxmagic import {', '.join(imports)}"]
    if used:
        head += [f"from fluxmagic.optimise import {', '.join(sorted(used))}"]
    source: Source | None = run.source
    if source is None:
        head += [f"from {module} import data, loss, model", ""]
        trained = "params(model)"
    else:
        head += [f"from {module} import *  # what the cell names: data, model, functions", "", ""]
        head += [f"def loss({_arguments(source.names)}):", *_body(source), "", ""]
        head += ["def data():", f"    return {source.data}", "", ""]
        trained = "params(loss)"
    own = sorted(
        {e.name for e in record.events if _is_own(e.new)} | {k for k, v in record.values.items() if _is_own(v)}
    )
    again = ""
    if own:
        again = ", schedules={" + ", ".join(f'"{k}": {ascii_name(k)}_schedule' for k in own) + "}"
        head += [f"from {module} import {', '.join(f'{ascii_name(k)}_schedule' for k in own)}", ""]
    lines = [
        f"run = Run.load({str(path)!r}, loss, data, {trained}{again})  # its start: weights, seed, optimiser",
        "run.rewind(0)",
        *steps,
    ]
    return "\n".join(head + lines) + "\n"


def _steps(run: Any, used: set[str]) -> list[str]:
    """Steps and turns, in order."""
    record = run._record
    marks = sorted(
        {e.step for e in record.events} | set(record.refused) | {s - 1 for s in record.refused} | {run.steps}
    )
    lines: list[str] = []
    at = 0
    for mark in [0, *marks]:
        if mark > at:
            if mark in record.refused:
                lines += ["with suppress(NotFinite):", f"    run.step({mark - at})  # not finite: refused"]
            else:
                lines.append(f"run.step({mark - at})")
            at = mark
            lines += _turns(run, mark, used)
        elif mark == 0 and not lines:
            lines += _turns(run, 0, used)
    if run._best is not None and run.state in ("done", "stopped") and run._best[1] != run.steps:
        lines.append(f"run.rewind({run._best[1]})  # the best weights were put back in the end")
    return lines


def _turns(run: Any, step: int, used: set[str]) -> list[str]:
    return [
        f'run.swap("{e.new}")' if e.name == "opt" else f"run.set({e.name}={_value(e.name, e.new, used)})"
        for e in run._record.events
        if e.step == step
    ]


def _value(name: str, value: Any, used: set[str]) -> str:
    if not callable(value):
        return "None" if value == float("inf") else repr(value)
    if _is_own(value):
        return f"{ascii_name(name)}_schedule"
    used.add(type(value).__name__)
    return repr(value)


def _is_own(value: Any) -> bool:
    return callable(value) and type(value).__name__ not in schedules.__all__


def _arguments(names: str) -> str:
    targets = ast.parse(f"for {names} in _: pass").body[0].target  # type: ignore[attr-defined]
    if isinstance(targets, ast.Tuple):
        return ", ".join(ast.unparse(t) if isinstance(t, ast.Name) else f"arg{i}" for i, t in enumerate(targets.elts))
    return ast.unparse(targets)


def _body(source: Source) -> list[str]:
    """The cell's body as a function's: its last expression is what is returned."""
    body = textwrap.dedent(source.body).strip("\n")
    last = ast.parse(body).body[-1]
    lines = body.splitlines()
    lines[last.lineno - 1] = "return " + lines[last.lineno - 1]
    targets = ast.parse(f"for {source.names} in _: pass").body[0].target  # type: ignore[attr-defined]
    unpack = []
    if isinstance(targets, ast.Tuple):
        unpack = [f"{ast.unparse(t)} = arg{i}" for i, t in enumerate(targets.elts) if not isinstance(t, ast.Name)]
    return [f"    {line}" if line else line for line in unpack + lines]

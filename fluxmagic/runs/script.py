"""A run as a script."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import os
import re
import symtable
import textwrap
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

from fluxmagic.greek import ascii_name
from fluxmagic.optimise.schedules import is_ready_made
from fluxmagic.runs import archive
from fluxmagic.runs.archive import ArchiveError
from fluxmagic.runs.record import Event, Record
from fluxmagic.version import __version__

if TYPE_CHECKING:
    from fluxmagic.runs.run import Run

_TIME = re.compile(r"""get_ipython\(\)\.run_line_magic\('time', ('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\)""")
"""What IPython makes of `%time EXPRESSION`; parameters could not be found in its text."""

__all__ = ["CellSource", "as_code", "own_schedules", "saved_script"]


@dataclasses.dataclass(frozen=True)
class CellSource:
    """The text of a `%%train` cell.

    Attributes
    ----------
    names : str
        What a batch is bound to: "x, y".
    data : str
        The expression that gives the batches.
    body : str
        The loss: Python statements, the last of them an expression; `%` and `!` as IPython transforms them.
    """

    names: str
    data: str
    body: str


def as_code(run: Run, module: str, path: Any) -> str:
    """A script that does again what was done by hand; see `Run.as_code`."""
    if not all(part.isidentifier() and not iskeyword(part) for part in module.split(".")):
        raise ValueError(f"module is the name of a module, as import takes it, not {module!r}")
    record = run.record
    turns = len(record.events)
    own = own_schedules(record)
    used: set[str] = set()
    steps = _steps(record, own, used)
    title = f"Run {str(run.name)!r}" if run.name else "Run"
    numerics = run._environment.get("numerics", 1)
    head = [
        f'"""{_in_docstring(f"{title}: {run.opt_name}, {run.steps:,} steps, {turns} turn" + "s" * (turns != 1))}.',
        "",
        _in_docstring(
            f"It begins as the run in {str(path)!r} did, which `run.save` writes, and ends in the same bits on the"
        ),
        f"same machine, NumPy and number of BLAS threads, with fluxmagic {__version__} (numerics {numerics}).",
        '"""',
        "",
    ]
    if record.rejected:
        head += ["from contextlib import suppress", ""]
    head += [f"from fluxmagic import {'NotFinite, ' * bool(record.rejected)}Run, params"]
    if used:
        head += [f"from fluxmagic.optimise import {', '.join(sorted(used))}"]
    names = [_schedule_name(k, i) for k, found in own.items() for i in range(len(found))]
    part = _part(run)
    if part:
        head += ["from fluxmagic.layers import named_params"]
    if run.source is None:
        data = [] if run.data is None else ["data"]
        head += [f"from {module} import {', '.join([*data, 'loss', 'model', *names])}", ""]
        root = "loss" if part and run.model is None else "model"
        what = f"loss, {'data' if data else None}, "
    else:
        functions, root, source = _cell(run.source)
        head += [f"from {module} import *  # what the cell names: data, model, functions"]
        head += [f"from {module} import {', '.join(names)}"] * bool(names)
        head += functions
        what = f"{root}, {source}, "
    what += f"[p for k, p in named_params({root}) if k in {part}]" if part else f"params({root})"
    if run.source is None and run.model is not None:
        what += ", model=model"
    if own:
        again = ", ".join(f"{k!r}: {_schedules(k, found)}" for k, found in own.items()).replace("'", '"')
        what += f", schedules={{{again}}}"
    lines = [f"run = Run.load({str(path)!r}, {what})  # its start: weights, seed, optimiser", "run.rewind(0)", *steps]
    script = "\n".join(head + lines) + "\n"
    try:
        compile(script, "script", "exec")
    except SyntaxError as error:
        raise ValueError(f"the cell cannot be written as a function of a script: {error.msg}") from None
    return script


def _part(run: Run) -> list[str]:
    """The places of the parameters that the run trains; empty where those are all that its model or loss has."""
    names = run._names()
    trained = {id(p) for p in run.training.params}
    return sorted(names[i] for i in trained) if trained < names.keys() else []


def saved_script(run: Run, name: str | None = None) -> str:
    """Save a run beside the script that loads it, and give the script.

    Parameters
    ----------
    run : Run
    name : str, optional
        The file is NAME.npz in the working directory; NAME-2.npz, and so on, where that is not a file of this run.
        Default: the run's name.

    Returns
    -------
    str
        Its first line says where the run is.

    Raises
    ------
    ValueError, TypeError, OSError
        If the run cannot be saved; see `Run.save`.
    """
    stem = re.sub(r"[^\w.-]+", "_", str(name or run.name or "run")).strip("._") or "run"
    stem = stem.encode()[:200].decode(errors="ignore")
    path = f"{stem}.npz"
    for i in itertools.count(2):
        if not os.path.lexists(path) or _is_of(run, path):
            break
        path = f"{stem}-{i}.npz"
    run.save(path)
    return f"# The run is saved in {path}\n{run.as_code(path=path)}"


def _is_of(run: Run, path: str) -> bool:
    try:
        return archive.read(path, "run")[0].get("id") == run.id
    except (ArchiveError, OSError):
        return False


def own_schedules(record: Record) -> dict[str, list[Any]]:
    """The user's own functions that a dial has followed, by its name, in the order in which they came."""
    found: dict[str, list[Any]] = {}
    turns = ((e.name, x) for e in (*record.events, *record.plan) for x in (e.old, e.new))
    for name, value in [*record.values.items(), *turns]:
        if _is_own(value) and not any(value is f for f in found.get(name, [])):
            found.setdefault(name, []).append(value)
    return dict(sorted(found.items()))


def _in_docstring(text: str) -> str:
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _schedule_name(name: str, i: int) -> str:
    return f"{ascii_name(name)}_schedule" + f"_{i + 1}" * (i > 0)


def _schedules(name: str, found: list[Any]) -> str:
    names = [_schedule_name(name, i) for i in range(len(found))]
    return names[0] if len(names) == 1 else f"[{', '.join(names)}]"


def _steps(record: Record, own: dict[str, list[Any]], used: set[str]) -> list[str]:
    """Steps and turns, in order."""
    marks = {len(record.loss), *(e.step for e in record.events), *(after for after, _ in record.restored_weights)}
    marks.update(*((s - 1, s) for s in record.rejected))
    lines: list[str] = []
    at = 0
    for mark in sorted(marks):
        if mark in record.rejected:
            lines += ["with suppress(NotFinite):", f"    run.step({mark - at})  # not finite: refused"]
        elif mark > at:
            lines.append(f"run.step({mark - at})")
        at = mark
        lines += [_turn(e, own, used) for e in record.events if e.step == mark]
        lines += [
            f"run.put_back({best})  # the best weights" for after, best in record.restored_weights if after == mark
        ]
    if record.kept is not None:
        lines.append(f"run.put_back({record.kept})  # the best weights")
    return lines


def _turn(event: Event, own: dict[str, list[Any]], used: set[str]) -> str:
    if event.name == "opt":
        return f'run.swap("{event.new}")' if event.new.isidentifier() else f"run.swap({event.new!r})"
    value = _value(event.name, event.new, own, used)
    if event.name.isidentifier() and not iskeyword(event.name):
        return f"run.set({event.name}={value})"
    return f"run.set(**{{{event.name!r}: {value}}})"


def _value(name: str, value: Any, own: dict[str, list[Any]], used: set[str]) -> str:
    if not callable(value):
        return "None" if value == float("inf") else repr(float(value))
    if _is_own(value):
        return _schedule_name(name, next(i for i, f in enumerate(own[name]) if f is value))
    kind = type(value).__name__
    used.add(kind)
    fields = {k: v.item() if hasattr(v, "item") else v for k, v in dataclasses.asdict(value).items()}
    return f"{kind}({', '.join(f'{k}={v!r}' for k, v in fields.items())})"


def _is_own(value: Any) -> bool:
    return callable(value) and not is_ready_made(value)


def _cell(source: CellSource) -> tuple[list[str], str, str]:
    """The functions that a cell's text amounts to, and the names of its loss and its data.

    The cell's names are globals there, as they are in a notebook: what one step assigns the next one finds.
    """
    body = _TIME.sub(lambda m: str(ast.literal_eval(m[1])), source.body)
    try:
        ast.parse(body)
    except IndentationError:
        body = textwrap.dedent(body)
    loss, data, batch = (_free(name, source) for name in ("cell_loss", "cell_data", "batch"))
    symbols = symtable.symtable((f"{source.names} = 0\n" if source.names else "") + body, "cell", "exec").get_symbols()
    # an annotated name cannot be global; it is a local of the function
    stored = sorted(s.get_name() for s in symbols if (s.is_assigned() or s.is_imported()) and not s.is_annotated())
    taken = [f"    {source.names} = {batch}"] if source.names else []
    if source.names:
        tail = [
            "",
            "",
            f"def {data}():",
            f"    return zip({_bracketed(source.data)})  # a batch is one argument",
            "",
            "",
        ]
    else:
        data, batch, tail = "None", "", ["", ""]
    shell = [
        "from IPython.core.interactiveshell import InteractiveShell",
        "",
        "get_ipython = InteractiveShell.instance(user_ns=globals()).get_ipython  # for the cell's % and !",
    ]
    functions = [
        *(shell if "get_ipython" in body else []),
        *("", "", f"def {loss}({batch}):"),
        *([f"    global {', '.join(stored)}"] if stored else []),
        *taken,
        *_body(body),
        *tail,
    ]
    return functions, loss, data


def _bracketed(expr: str) -> str:
    return f"({expr})" if isinstance(ast.parse(expr, mode="eval").body, ast.Tuple) else expr


def _free(name: str, source: CellSource) -> str:
    """A name that the cell does not use: it would find the function instead of what it means."""
    while name in source.body or name in source.data:
        name += "_"
    return name


def _body(body: str) -> list[str]:
    """The cell's body as a function's, indented: its last expression is what is returned."""
    tree = ast.parse(body)
    lines = body.split("\n")
    last = tree.body[-1]
    line = lines[last.lineno - 1].encode()
    lines[last.lineno - 1] = (line[: last.col_offset] + b"return " + line[last.col_offset :]).decode()
    strings = (ast.Constant, ast.JoinedStr, getattr(ast, "TemplateStr", ast.JoinedStr))
    inside = {  # lines that begin within a string: what is put before them would be part of it
        i for n in ast.walk(tree) if isinstance(n, strings) for i in range(n.lineno, n.end_lineno or n.lineno)
    }
    indented = [line if i in inside or not line.strip() else f"    {line}" for i, line in enumerate(lines)]
    while indented and not indented[-1].strip():
        indented.pop()
    return indented

"""A record as a Python script that does the run again.  It knows no `Run`."""

from __future__ import annotations

import ast
import re
import symtable
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from keyword import iskeyword

from fluxmagic.greek import ascii_name
from fluxmagic.optimise import schedules as ready_made
from fluxmagic.runs.archive import AnyPath
from fluxmagic.runs.loop import Loop
from fluxmagic.runs.record import Event, Record
from fluxmagic.version import __version__

__all__ = ["CellSource", "own_schedules", "write_script"]

_TIME = re.compile(r"""get_ipython\(\)\.run_line_magic\('time', ('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\)""")
"""What IPython makes of `%time EXPRESSION`; parameters could not be found in its text."""

_SCRIPT = '''"""{title}.

It begins as the run in {path} did, which `run.save` writes, and ends in the same bits on the
same machine, NumPy and number of BLAS threads, with fluxmagic {version} (numerics {numerics}).
"""

{definitions}
run = Run.load({arguments})  # its start: weights, seed, optimiser
run.rewind(0)
{steps}
'''


@dataclass(frozen=True)
class CellSource:
    """The text of a `%%train` cell."""

    names: str  # what a batch is bound to: "x, y"
    data: str  # the expression that gives the batches
    body: str  # the loss: statements, the last of them an expression; `%` and `!` as IPython transforms them


def write_script(loop: Loop, path: AnyPath, module: str, name: object, cell: CellSource | None) -> str:
    """Write a script that ends in the same bits.

    The run is saved in `path`; `module` has loss, data and model, or what the cell names.  ValueError if the module is
    not a name, or the cell cannot be written as a function.
    """
    if not all(k.isidentifier() and not iskeyword(k) for k in module.split(".")):
        raise ValueError(f"module is the name of a module, as import takes it, not {module!r}")
    record, problem = loop.record, loop.problem
    has_data, has_model = problem.data is not None, problem.model is not None
    places, trained = problem.names(), {id(p) for p in loop.state.params}
    part = sorted(places[i] for i in trained) if trained < places.keys() else []  # empty for all
    own = own_schedules(record)
    names = {
        (k, id(f)): f"{ascii_name(k)}_schedule" + f"_{i}" * (i > 1)
        for k, found in own.items()
        for i, f in enumerate(found, 1)
    }
    loss, data, functions = ("loss", "data" if has_data else "None", [""]) if cell is None else _functions(cell)
    root = loss if cell is not None or (part and not has_model) else "model"
    arguments = [repr(str(path)), loss, data]
    arguments += [f"[p for k, p in named_params({root}) if k in {part}]" if part else f"params({root})"]
    arguments += ["model=model"] * (cell is None and has_model)
    if own:
        given = {k: ", ".join(names[k, id(f)] for f in found) for k, found in own.items()}
        items = (f'"{k}": [{found}]' if "," in found else f'"{k}": {found}' for k, found in given.items())
        arguments += [f"schedules={{{', '.join(items)}}}"]
    steps = _steps(record, names)
    used = sorted(k for k in ready_made.__all__ if any(f"={k}(" in line for line in steps))
    objects = [*(["data"] * has_data), "loss", "model"] if cell is None else []
    imports = ["from contextlib import suppress", ""] * bool(record.rejected)
    imports += [f"from fluxmagic import {'NotFinite, ' * bool(record.rejected)}Run, params"]
    imports += [f"from fluxmagic.optimise import {', '.join(used)}"] * bool(used)
    imports += ["from fluxmagic.layers import named_params"] * bool(part)
    imports += [f"from {module} import *  # what the cell names: data, model, functions"] * (cell is not None)
    imports += [f"from {module} import {', '.join([*objects, *names.values()])}"] * bool(objects or names)
    title, n = f"Run {str(name)!r}" if name else "Run", len(record.gestures)
    script = _SCRIPT.format(
        title=_in_docstring(f"{title}: {record.active}, {len(record.loss):,} steps, {n} turn" + "s" * (n != 1)),
        path=_in_docstring(repr(str(path))),
        version=__version__,
        numerics=loop.environment.get("numerics", 1),
        definitions="\n".join(imports + functions),
        arguments=", ".join(arguments),
        steps="\n".join(steps),
    )
    try:
        compile(script, "script", "exec")
    except SyntaxError as error:
        raise ValueError(f"the cell cannot be written as a function of a script: {error.msg}") from None
    return script


def own_schedules(record: Record) -> dict[str, list[Callable[[int], float]]]:
    """Give the user's own schedules by hyper-parameter, in the order in which they came."""
    found: dict[str, list[Callable[[int], float]]] = {}
    changes = ((e.name, x) for e in (*record.events, *record.plan) for x in (e.old, e.new))
    for name, x in [*record.values.items(), *changes]:
        if callable(x) and not ready_made.is_ready_made(x) and not any(x is f for f in found.get(name, [])):
            found.setdefault(name, []).append(x)
    return dict(sorted(found.items()))


def _in_docstring(text: str) -> str:
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _steps(record: Record, names: Mapping[tuple[str, int], str]) -> list[str]:
    """Steps, changes and restored weights in order."""
    marks = {len(record.loss), *(e.step for e in record.events), *(after for after, _ in record.restored_weights)}
    marks.update(*((s - 1, s) for s in record.rejected))
    lines: list[str] = []
    at, drags = 0, [e for last, e in pairwise(record.events) if e.goes_on_from(last)]
    for mark in sorted(marks):
        if mark in record.rejected:
            lines += ["with suppress(NotFinite):", f"    run.step({mark - at})  # not finite: rejected"]
        elif mark > at:
            lines.append(f"run.step({mark - at})")
        at = mark
        lines += [_event_line(e, names, "drag" if e in drags else "set") for e in record.events if e.step == mark]
        restored = [best for after, best in record.restored_weights if after == mark]
        lines += [f"run.put_back({best})  # the best weights" for best in restored]
    if record.kept is not None:
        lines.append(f"run.put_back({record.kept})  # the best weights")
    return lines


def _event_line(event: Event, names: Mapping[tuple[str, int], str], verb: str) -> str:
    name, x = event.name, event.new
    if name == "opt":
        return f'run.swap("{x}")' if x.isidentifier() else f"run.swap({x!r})"
    if not callable(x):
        value = "None" if x == float("inf") else repr(float(x))
    elif ready_made.is_ready_made(x):
        arguments = {k: v.item() if hasattr(v, "item") else v for k, v in asdict(x).items()}
        value = f"{type(x).__name__}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})"
    else:
        value = names[name, id(x)]
    is_keyword = not name.isidentifier() or iskeyword(name)
    return f"run.{verb}(**{{{name!r}: {value}}})" if is_keyword else f"run.{verb}({name}={value})"


def _functions(cell: CellSource) -> tuple[str, str, list[str]]:
    """Give the names of a cell's loss and data as functions, and the lines of these.

    The names that a step assigns are globals, as in a notebook: the next one finds them.
    """
    body = _TIME.sub(lambda m: str(ast.literal_eval(m[1])), cell.body)
    try:
        ast.parse(body)
    except IndentationError:
        body = textwrap.dedent(body)
    loss, data, batch = (_unused_name(name, cell) for name in ("cell_loss", "cell_data", "batch"))
    symbols = symtable.symtable((f"{cell.names} = 0\n" if cell.names else "") + body, "cell", "exec").get_symbols()
    # an annotated name cannot be global; it is a local of the function
    stored = sorted(s.get_name() for s in symbols if (s.is_assigned() or s.is_imported()) and not s.is_annotated())
    shell = [
        "from IPython.core.interactiveshell import InteractiveShell",
        "",
        "get_ipython = InteractiveShell.instance(user_ns=globals()).get_ipython  # for the cell's % and !",
    ]
    binding, tail = [], ["", ""]
    if cell.names:
        expr = f"({cell.data})" if isinstance(ast.parse(cell.data, mode="eval").body, ast.Tuple) else cell.data
        binding = [f"    {cell.names} = {batch}"]
        tail = ["", "", f"def {data}():", f"    return zip({expr})  # a batch is one argument", "", ""]
    else:
        data, batch = "None", ""
    functions = [
        *(shell if "get_ipython" in body else []),
        *("", "", f"def {loss}({batch}):"),
        *([f"    global {', '.join(stored)}"] if stored else []),
        *binding,
        *_returning_body(body),
        *tail,
    ]
    return loss, data, functions


def _unused_name(name: str, cell: CellSource) -> str:
    while name in cell.body or name in cell.data:
        name += "_"
    return name


def _returning_body(body: str) -> list[str]:
    """Indent a body, and return its last expression."""
    tree = ast.parse(body)
    lines = body.rstrip().split("\n")
    last = tree.body[-1]
    line = lines[last.lineno - 1].encode()
    lines[last.lineno - 1] = (line[: last.col_offset] + b"return " + line[last.col_offset :]).decode()
    strings = (ast.Constant, ast.JoinedStr, getattr(ast, "TemplateStr", ast.JoinedStr))
    inside = {  # lines that begin within a string are not indented
        i for n in ast.walk(tree) if isinstance(n, strings) for i in range(n.lineno, n.end_lineno or n.lineno)
    }
    return [line if i in inside or not line.strip() else f"    {line}" for i, line in enumerate(lines)]

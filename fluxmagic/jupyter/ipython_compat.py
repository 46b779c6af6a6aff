"""What IPython does not promise: only this module uses these names.

| IPython     | names                                                                                           |
|-------------|-------------------------------------------------------------------------------------------------|
| 8.7 to 9.18 | `magics_manager.magics`, `.registry`; `configurables`; `Completer.custom_matchers`;              |
|             | `history_manager.input_hist_raw`; `compile.cache`, `.ast_parse`, `.format_code_name`;            |
|             | `Completer.global_matches`; `InteractiveTB`, and an error's `_render_traceback_`                 |
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from types import CodeType
from typing import Any, NamedTuple, Protocol

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult
from IPython.core.magic import Magics

__all__ = [
    "CompletionContext", "Matcher", "Namespace", "Shell", "SimpleMatcherResult", "TypedCell", "add_magics",
    "add_matcher", "cache_code", "cell_label", "loaded_magics", "matches", "parse_cell", "python_matches",
    "remove_magics", "remove_matcher", "render_traceback", "text_until_cursor", "typed_cell",
]  # fmt: skip

Namespace = dict[str, Any]
Hidden = dict[str, dict[str, Any]]
"""Magics that others of the same name replace, by kind and name."""


class Shell(Protocol):
    """The parts of IPython's shell that the magics use."""

    user_ns: Namespace

    @property
    def compile(self) -> Callable[..., CodeType]: ...
    def transform_cell(self, raw_cell: str) -> str: ...
    def transform_ast(self, node: ast.Module) -> ast.Module: ...


Matcher = Callable[[CompletionContext], SimpleMatcherResult]


class TypedCell(NamedTuple):
    """A cell as the user typed it."""

    text: str  # all of it; IPython names the code after it
    head: str  # what stands above the body
    number: int  # its execution count


def add_magics(shell: Shell, magics: Magics) -> Hidden:
    """Register magics; return those that they hide."""
    manager = _unchecked(shell).magics_manager
    hidden = {
        kind: {name: manager.magics[kind][name] for name in names if name in manager.magics[kind]}
        for kind, names in magics.magics.items()
    }
    manager.register(magics)
    return hidden


def remove_magics(shell: Shell, magics: Magics, hidden: Hidden) -> None:
    """Remove magics, and restore those that they hid."""
    ip = _unchecked(shell)
    manager = ip.magics_manager
    for kind, names in magics.magics.items():
        for name in names:
            manager.magics[kind].pop(name, None)
        manager.magics[kind].update(hidden[kind])
    manager.registry.pop(type(magics).__name__, None)
    ip.configurables[:] = [c for c in ip.configurables if c is not magics]


def loaded_magics(shell: Shell | None, name: str) -> Any:  # noqa: ANN401 - of any class
    """Return the registered magics of a class with this name."""
    return None if shell is None else _unchecked(shell).magics_manager.registry.get(name)


def add_matcher(shell: Shell, matcher: Matcher) -> None:
    """Ask a matcher for completions."""
    _unchecked(shell).Completer.custom_matchers.append(matcher)


def remove_matcher(shell: Shell, matcher: Matcher) -> None:
    """Undo `add_matcher`."""
    _unchecked(shell).Completer.custom_matchers.remove(matcher)


def text_until_cursor(context: CompletionContext) -> str:
    """Return what is typed in a cell before the cursor."""
    lines = context.full_text.split("\n")[: context.cursor_line + 1]
    return "\n".join([*lines[:-1], lines[-1][: context.cursor_position]])


def matches(fragment: str, names: dict[str, str], keep: set[str]) -> SimpleMatcherResult:
    """Return completions of a fragment with what they are; those of other matchers, but for `keep`, are left out."""
    return SimpleMatcherResult(
        completions=[SimpleCompletion(name, type=what) for name, what in names.items()],
        matched_fragment=fragment,
        suppress=True,
        do_not_suppress=keep,
        ordered=True,
    )


def python_matches(shell: Shell, symbol: str) -> list[str]:
    """Complete a name or an attribute; on the line of a magic, IPython itself does not."""
    completer = _unchecked(shell).Completer
    return list(completer.attr_matches(symbol) if "." in symbol else completer.global_matches(symbol))


def typed_cell(shell: Shell, head: str, body: str) -> TypedCell:
    """Return the cell of a magic's line and body as it was typed, from the history where that has it."""
    ip = _unchecked(shell)
    history = [""] if ip.history_manager is None else ip.history_manager.input_hist_raw
    typed = history[-1]
    end = body.rstrip()
    if end and typed.lstrip().startswith(head.split()[0]) and typed.rstrip().endswith(end):
        return TypedCell(typed, typed[: typed.rindex(end)].rstrip(), len(history) - 1)
    return TypedCell(f"{head}\n{body}", head, ip.execution_count)


def cache_code(shell: Shell, code: str, cell: TypedCell) -> str:
    """Let tracebacks show code as that of a cell; return the file name to compile it under."""
    name: str = _unchecked(shell).compile.cache(code, cell.number, raw_code=cell.text)
    return name


def cell_label(shell: Shell, name: str) -> str:
    """Return "Cell In[3]" for the file name of a cell's code, and "" for another."""
    return " ".join(_unchecked(shell).compile.format_code_name(name) or ())


def render_traceback(shell: Shell, error: BaseException) -> list[str]:
    """Write an error with its traceback as `%xmode` says; without frames, the error alone."""
    writer = _unchecked(shell).InteractiveTB
    if error.__traceback__ is None:
        return list(writer.get_exception_only(type(error), error))
    lines = list(writer.structured_traceback(type(error), error, error.__traceback__, tb_offset=0))
    return lines + [note for note in getattr(error, "__notes__", ()) if note not in lines]  # before IPython 8.21


def parse_cell(shell: Shell, code: str, name: str) -> ast.Module:
    """Parse code as IPython does: with its own flags and transformers of the tree."""
    return shell.transform_ast(_unchecked(shell).compile.ast_parse(code, name))


def _unchecked(shell: Shell | None) -> Any:  # noqa: ANN401 - its other names have no types
    return shell

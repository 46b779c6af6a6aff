"""The grammar of a magic's line, `NAMES in EXPR --option value …`, split with Python's own tokenizer.

The pieces stay text: every Python expression works as a value without quotes.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from IPython.core.error import UsageError

from fluxmagic.greek import canonical

__all__ = ["Line", "join_continued", "parse", "split_assignments", "split_groups", "split_options"]

USAGE = "NAMES in EXPR [--option value …]"
OPTION = re.compile(r"--([^\W\d]\w*(?:-[^\W\d]\w*)*)\s*(?:=(?!=))?")
OPEN, CLOSE = "([{", ")]}"


@dataclass(frozen=True)
class Line:
    """The parts of a cell magic's line."""

    names: str  # the target of each batch, as after `for`; empty where the loss takes no batch
    expr: str  # the data; empty in the same case
    options: list[tuple[str, str]]  # normalised names, and values as typed; the value of a flag is empty


def parse(line: str, magic: str = "%%train") -> Line:
    """Split the line of a cell; where it does not follow the grammar, a UsageError says in one line why."""
    usage = f"{magic} {USAGE}"
    head, options = split_options(line)
    if not head and any(name == "steps" for name, _ in options):
        return Line("", "", options)
    at = next((t.start[1] for t in top_level_tokens(head) if t.type == tokenize.NAME and t.string == "in"), None)
    if at is None:
        none = "there is none; a loss that takes no batch is computed --steps N times"
        says = f"there is no `in` in {head!r}{_instead(head)}" if head else none
        raise UsageError(f"{usage}: {says}")
    names, expr = head[:at].strip(), head[at + 2 :].strip()
    if not names or not expr:
        raise UsageError(f"{usage}: there is nothing {'before' if not names else 'after'} `in`")
    try:
        loop = ast.parse(f"for {names} in _: pass").body
    except SyntaxError:
        loop = []
    if len(loop) != 1 or not isinstance(loop[0], ast.For):
        raise UsageError(f"{usage}: {names!r} cannot be bound to a batch; write names, as in `x, y in data`")
    return Line(names, expr, options)


def _instead(head: str) -> str:
    """Suggest what may be meant by data without names."""
    try:
        tree: Any = ast.parse(head, mode="eval").body
    except SyntaxError:
        return ""
    if isinstance(tree, ast.Call) and getattr(tree.func, "id", None) == "range":
        steps = f", or --steps {ast.unparse(tree.args[0])}" if len(tree.args) == 1 else ""
        return f"; say _ in {head}{steps}"
    return f"; say x, y in {head}" if isinstance(tree, ast.Call) else ""


def join_continued(line: str, cell: str) -> tuple[str, str]:
    """Join a magic's line that ends in a backslash with the lines below; return the line and the rest of the cell."""
    while line.rstrip().endswith("\\"):
        more, _, cell = cell.partition("\n")
        line = f"{line.rstrip()[:-1].rstrip()} {more.strip()}"
    return line, cell


def split_options(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Split text into the part before the first ` --option`, and the options with their values.

    `--` begins an option at the start of the text or after a space, if a letter follows, outside of strings, brackets
    and comments.  A comment at the end is dropped.
    """
    text = text.strip()
    marks: list[re.Match[str]] = []
    end = len(text)
    before: tokenize.TokenInfo | None = None
    for t in top_level_tokens(text):
        if t.type == tokenize.COMMENT:
            end = t.start[1]
        elif t.string == "-" and before is not None and before.string == "-" and before.end == t.start:
            start = before.start[1]
            if (not start or text[start - 1].isspace()) and (m := OPTION.match(text, start)):
                marks.append(m)
        before = t
    stops = [m.start() for m in marks] + [end]
    options = [(canonical(m[1]), text[m.end() : stop].strip()) for m, stop in zip(marks, stops[1:])]
    return text[: stops[0]].strip(), options


def split_groups(
    options: list[tuple[str, str]], first: str
) -> tuple[list[tuple[str, str]], list[list[tuple[str, str]]]]:
    """Split options into those before the first one of a name, and the groups that begin with each of that name."""
    starts = [i for i, (name, _) in enumerate(options) if name == first]
    stops = [*starts[1:], len(options)]
    return options[: starts[0] if starts else None], [options[i:stop] for i, stop in zip(starts, stops)]


def split_assignments(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Split text into the part before the first `name=`, and names with values: "SGD η=0.1, clip=2*c" has two."""
    text = text.strip()
    tokens = list(top_level_tokens(text))
    marks = [
        (name.start[1], name.string, equals.end[1])
        for name, equals in pairwise(tokens)
        if name.type == tokenize.NAME and equals.string == "="
    ]
    stops = [start for start, _, _ in marks] + [len(text)]
    found = [
        (canonical(name), text[begin:stop].strip().rstrip(",").rstrip())
        for (_, name, begin), stop in zip(marks, stops[1:])
    ]
    return text[: stops[0]].strip().rstrip(",").rstrip(), found


def top_level_tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    """Yield the tokens outside of brackets, and the brackets; an open bracket or string is a UsageError."""
    if "\0" in text:
        raise UsageError(f"there is a null character in {text!r}")
    opened: list[tokenize.TokenInfo] = []
    try:
        for t in tokenize.generate_tokens(io.StringIO(text).readline):
            if t.type == tokenize.ERRORTOKEN and t.string[0] in "'\"":
                raise UsageError(f"a string is not closed: {text[t.start[1] :]}")
            closes = t.type == tokenize.OP and t.string in CLOSE
            if closes and (not opened or OPEN.index(opened.pop().string) != CLOSE.index(t.string)):
                raise UsageError(f"{t.string!r} closes nothing: {text[: t.end[1]]}")
            if not opened:
                yield t
            if t.type == tokenize.OP and t.string in OPEN:
                opened.append(t)
    except (tokenize.TokenError, SyntaxError) as error:
        if opened:
            raise UsageError(f"{opened[-1].string!r} was never closed: {text[opened[-1].start[1] :]}") from None
        raise UsageError(f"{error.args[0]}: {text}") from None

"""The cell of a magic that trains: its line in parts, its body as a loss, its data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from IPython.core.error import UsageError

from fluxmagic.jupyter.ipython_compat import Shell
from fluxmagic.jupyter.magics.cell_compiler import CellCompiler, CellData, CellLoss
from fluxmagic.jupyter.magics.magic_line import Line, join_continued, parse
from fluxmagic.runs.script import CellSource

__all__ = ["Cell", "read_cell"]


@dataclass(frozen=True)
class Cell:
    """A cell whose code is compiled, and has not run."""

    line: Line
    compiler: CellCompiler
    loss: CellLoss
    data: CellData | None  # None where the loss takes no batch

    @property
    def source(self) -> CellSource:
        """What a script needs of it."""
        return CellSource(self.line.names, self.line.expr, self.compiler.code)

    def explain(self, error: Exception) -> None:
        """Add to an error of the first step that a batch of several parts was bound to one name."""
        names, batch = self.line.names, self.compiler.ns.get(self.line.names)
        if isinstance(batch, (tuple, list)) and len(batch) > 1:
            each = ", ".join("xyzuvw"[: len(batch)])
            error.add_note(
                f"Each batch has {len(batch)} parts, and {names} is bound to all of them: {each} in {self.line.expr} "
                "gives each a name."
            )

    def check_repeatable(self, why: str) -> None:
        """Check that the data can be gone through more than once."""
        given = self.compiler.ns.get(self.line.expr)
        if isinstance(given, Iterator):
            raise UsageError(
                f"the data {self.line.expr}: a {type(given).__name__} can be gone through once, and {why}: "
                "write here what makes it, or a list, or batches(...)"
            )


def read_cell(shell: Shell, line: str, body: str, magic: str = "%%train") -> Cell:
    """Parse the line and compile the body; a first line that ends in a backslash goes on in the next."""
    line, body = join_continued(line, body)
    typed = parse(line, magic)
    compiler = CellCompiler(shell, line, body, magic)
    loss = CellLoss(compiler, typed.names)
    if not typed.names:
        return Cell(typed, compiler, loss, None)
    return Cell(typed, compiler, loss, CellData(compiler.expression("the data", typed.expr), loss.names, loss.arity))

"""Tracebacks of the user's own frames: those of this package are cut out, in every `%xmode`.

`%config FluxMagics.full_tracebacks = True` leaves them in.  Scripts are not touched: only cells and panels call this.
"""

from __future__ import annotations

import os
import site
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from types import TracebackType

from fluxmagic.jupyter.ipython_compat import Shell, cell_label, loaded_magics, render_traceback

__all__ = ["error_with_place", "users_frames_only"]

LIBRARIES = tuple(
    f"{path}{os.sep}"
    for path in {*map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")), site.getusersitepackages()}
)
GENERATED = "<frozen ", "<decorator-gen", "<__array_function__"  # file names of code that libraries make


class users_frames_only:  # noqa: N801 - a context, as a function is
    """Cut this package's frames out of the traceback of an error that passes.

    Parameters
    ----------
    shell : InteractiveShell or None
    above : bool
        Whether to keep the line that called the package.  For the cell of a magic it is not what the user typed.
    """

    # no generator: contextlib would put the traceback back
    def __init__(self, shell: Shell | None, *, above: bool = True) -> None:
        self.shell, self.above = shell, above

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, tb: object) -> None:
        if error is not None and self.shell is not None and not _shows_all(self.shell):
            _cut_chain(error)
            with suppress(AttributeError):  # a class may refuse attributes
                # IPython asks the error for its traceback when all frames above have been passed
                render = partial(_formatted, error, self.shell, self.above, error.__traceback__)
                error._render_traceback_ = render  # type: ignore[attr-defined]


def _formatted(error: BaseException, shell: Shell, above: bool, own: TracebackType | None) -> list[str]:
    """Return the lines of a traceback as IPython writes them: with the user's frames above it, or its own alone."""
    if above:
        _cut_chain(error)
    else:
        error.__traceback__ = own
    return render_traceback(shell, error)


def error_with_place(error: BaseException, shell: Shell | None) -> str:
    """Return an error in one line, with the user's line where it was raised: "KeyError: 'x' (Cell In[3], line 2)"."""
    said = " ".join(f"{type(error).__name__}: {error}".removesuffix(": ").split())
    *_, last = [None, *_frames(_users_frames(error.__traceback__))]
    if last is None:
        return said
    file = last.tb_frame.f_code.co_filename
    place = (shell and cell_label(shell, file)) or os.path.basename(file)
    return f"{said} ({place}, line {last.tb_lineno})"


def _shows_all(shell: Shell) -> bool:
    return bool(getattr(loaded_magics(shell, "FluxMagics"), "full_tracebacks", False))


def _cut_chain(error: BaseException) -> None:
    """Cut the tracebacks of an error, of those that it follows from, and of those in a group."""
    todo: list[BaseException | None] = [error]
    done: set[int] = set()
    while todo:
        e = todo.pop()
        if e is not None and id(e) not in done:
            done.add(id(e))
            e.__traceback__ = _users_frames(e.__traceback__)
            todo += [e.__cause__, e.__context__, *(e.exceptions if isinstance(e, BaseExceptionGroup) else ())]


def _users_frames(tb: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the package's frames, and without those of libraries that it calls."""
    kept: list[TracebackType] = []
    cutting = True
    for t in _frames(tb):
        if str(t.tb_frame.f_globals.get("__name__", "")).partition(".")[0] in ("fluxmagic", "IPython"):
            cutting = True
        elif not t.tb_frame.f_code.co_filename.startswith((*LIBRARIES, *GENERATED)):
            cutting = False
        if not cutting:
            kept.append(t)
    result = None
    for t in reversed(kept):
        result = TracebackType(result, t.tb_frame, t.tb_lasti, t.tb_lineno)
    return result


def _frames(tb: TracebackType | None) -> Iterator[TracebackType]:
    while tb is not None:
        yield tb
        tb = tb.tb_next

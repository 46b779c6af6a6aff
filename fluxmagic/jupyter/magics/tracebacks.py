"""Tracebacks of the user's own frames: those of this package are cut out, in every `%xmode`.

`%config FluxMagics.full_tracebacks = True` leaves them in.  Scripts are not touched: only cells and panels call this.
"""

from __future__ import annotations

import os
import site
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType

from fluxmagic.jupyter.ipython_compat import Shell, cell_label, loaded_magics, render_traceback

__all__ = ["error_with_place", "formatted", "users_frames_only"]

PACKAGE = "fluxmagic"
LIBRARIES = tuple(
    f"{path}{os.sep}"
    for path in {*map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")), site.getusersitepackages()}
)
GENERATED = "<frozen ", "<decorator-gen", "<__array_function__"  # file names of code that libraries make


@contextmanager
def users_frames_only(shell: Shell | None, *, above: bool = True) -> Iterator[None]:
    """Cut this package's frames out of the traceback of an error that passes.

    Parameters
    ----------
    shell : InteractiveShell or None
    above : bool
        Whether to keep the line that called the package.  For the cell of a magic it is not what the user typed.
    """
    try:
        yield
    except BaseException as error:
        if shell is not None and not _shows_all(shell):
            _cut_chain(error, above)
            with suppress(AttributeError):  # a class may refuse attributes
                # IPython asks the error for its traceback when all frames above have been passed
                error._render_traceback_ = partial(formatted, error, shell, above=above)  # type: ignore[attr-defined]
        raise


def formatted(error: BaseException, shell: Shell, *, above: bool = True) -> list[str]:
    """Return the lines of a traceback as IPython writes them, with the user's frames alone."""
    if not _shows_all(shell):
        _cut_chain(error, above)
    return render_traceback(shell, error)


def error_with_place(error: BaseException, shell: Shell | None) -> str:
    """Return an error in one line, with the user's line where it was raised: "KeyError: 'x' (Cell In[3], line 2)"."""
    said = " ".join(f"{type(error).__name__}: {error}".removesuffix(": ").split())
    *_, last = [None, *_frames(_users_frames(error.__traceback__, above=True))]
    if last is None:
        return said
    file = last.tb_frame.f_code.co_filename
    place = (shell and cell_label(shell, file)) or os.path.basename(file)
    return f"{said} ({place}, line {last.tb_lineno})"


def _shows_all(shell: Shell) -> bool:
    return bool(getattr(loaded_magics(shell, "FluxMagics"), "full_tracebacks", False))


def _cut_chain(error: BaseException, above: bool) -> None:
    """Cut the tracebacks of an error and of those that it follows from."""
    todo: list[BaseException | None] = [error]
    done: set[int] = set()
    while todo:
        e = todo.pop()
        if e is not None and id(e) not in done:
            done.add(id(e))
            e.__traceback__ = _users_frames(e.__traceback__, above or e is not error)
            todo += [e.__cause__, e.__context__]


def _users_frames(tb: TracebackType | None, above: bool) -> TracebackType | None:
    """Return a traceback without the package's frames, and without those of libraries that it calls."""
    frames = list(_frames(tb))
    modules = [str(t.tb_frame.f_globals.get("__name__", "")).partition(".")[0] for t in frames]
    start = 0 if above or PACKAGE not in modules else modules.index(PACKAGE)
    kept: list[TracebackType] = []
    cutting = True
    for t, module in zip(frames[start:], modules[start:]):
        if module in (PACKAGE, "IPython"):
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

"""What `%train` can do with a run: one small function for each command."""

from __future__ import annotations

import ast
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from IPython.core.error import UsageError
from IPython.display import display

from fluxmagic.jupyter.magic_line import assignments
from fluxmagic.jupyter.options import dials, evaluate, optimiser, whole
from fluxmagic.jupyter.text import progress, summary
from fluxmagic.optimise import NotFinite, Optimiser
from fluxmagic.runs import Run
from fluxmagic.runs.script import own_schedules, saved_script

__all__ = ["COMMANDS", "drive_here", "one_line"]

HERE = os.path.dirname(os.path.dirname(__file__)) + os.sep
OURS = HERE, contextlib.__file__  # files whose frames are no user's


def drive_here(run: Run, ip: Any, panel: bool = True) -> None:
    """Drive a run to its end in this cell."""
    from fluxmagic.jupyter.driver import drive  # matplotlib takes its time

    def check() -> None:
        try:
            drive(run, ip, panel=panel)
        except Exception as error:
            option = getattr(error, "option", None)
            if option is None or run.steps:
                raise
            told = str(error).removeprefix(f"{option} ").removeprefix(f"{option}: ")
            raise UsageError(f"--{option}: {type(error).__name__}: {' '.join(told.split())}") from None

    _straight(ip, check)


def _straight(ip: Any, f: Callable[[], Any]) -> None:
    """Call f; an error's traceback goes straight from this cell to the user's own line."""
    try:
        f()
    except (NotFinite, KeyboardInterrupt, UsageError) as error:
        raise error.with_traceback(None) from None
    except Exception as error:
        at = next((tb for tb in _frames(error) if tb.tb_frame.f_globals is ip.user_ns), error.__traceback__)
        raise error.with_traceback(at) from error.__cause__


def _frames(error: BaseException) -> Iterator[TracebackType]:
    tb = error.__traceback__
    while tb is not None:
        yield tb
        tb = tb.tb_next


@contextmanager
def one_line() -> Iterator[None]:
    """What a run refuses is a line without a traceback; errors in the user's own code keep theirs."""
    try:
        yield
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(str(error)) from None
    except (TypeError, ValueError, RuntimeError) as error:
        if all(tb.tb_frame.f_code.co_filename.startswith(OURS) for tb in _frames(error)):
            raise UsageError(str(error)) from None
        raise


def _run(ip: Any, name: str) -> Run:
    """The run of that name: a variable that holds it or its Panel, or its own name; the only live Panel's for "run"."""
    named = {k: run for k, v in ip.user_ns.items() if not k.startswith("_") and (run := _held(v)) is not None}
    if name in named:
        return named[name]
    live = [r for p in live_panels() if (r := _held(p)) is not None]
    found = {id(r): r for r in [*named.values(), *live] if r.name == name}
    if not found and name == "run":
        found = {id(r): r for r in live}
    if len(found) == 1:
        return next(iter(found.values()))
    there = list(dict.fromkeys([*named, *(r.name for r in live if r.name)]))
    which = f"say which one, --name {' or '.join(there)}" if there else "%%train makes one"
    raise UsageError(f"there is no run called {name}: {which}")


def live_panels() -> list[Any]:
    """The Panels that a page shows."""
    module = sys.modules.get("fluxmagic.jupyter.panel")  # without it there is none
    return [] if module is None else [p for p in module._shown if p._view is not None]


def _held(value: Any) -> Run | None:
    module = sys.modules.get("fluxmagic.jupyter.panel")
    run = value.run if module is not None and isinstance(value, module.Panel) else value
    return run if isinstance(run, Run) else None


def _said(run: Run) -> None:
    print(summary(run).split("\n", 1)[0])


def _number(ip: Any, text: str, low: int, what: str) -> int:
    return whole(evaluate(lambda: eval(text, ip.user_ns), f"{what} {text}"), low, f"{what} {text}")


def _given(ip: Any, cls: type[Optimiser], pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Dials from `name=value`s."""
    values: dict[str, tuple[str, Any]] = {}
    for name, text in pairs:
        if name in values:
            raise UsageError(f"{name} is given twice")
        what = f"{name}={text}"
        values[name] = what, evaluate(lambda text=text: eval(text, ip.user_ns), what)  # type: ignore[misc]
    return dials(cls, values)


def _class(run: Run) -> type[Optimiser]:
    if run.opt_class is None:
        raise UsageError(f"{run.opt_name} is {run.opt_kind}: it has no dials, and none can take over")
    return run.opt_class


def status(ip: Any, name: str, rest: str) -> None:
    run = _run(ip, name)
    if run.state == "running":
        print(progress(run))
    print(summary(run))


def stop(ip: Any, name: str, rest: str) -> None:
    run = _run(ip, name)
    run.stop()
    print(f"{name} stops after the batch" if run.state == "running" else f"{name} is {run.state}")


def pause(ip: Any, name: str, rest: str) -> None:
    run = _run(ip, name)
    run.pause()
    print(f"{name} pauses after the batch" if run.state == "running" else f"{name} is {run.state}")


def resume(ip: Any, name: str, rest: str) -> None:
    run = _run(ip, name)
    if run.finished:
        what = "epochs" if run.step_limit is None else "steps"
        raise UsageError(f"{name} has done its {run.epochs or run.step_limit} {what}: %%train --resume adds some")
    if run.state == "running":
        raise UsageError(f"{name} is running already")
    if run.driver is None:
        drive_here(run, ip)
    else:
        run.driver.resume()


def step(ip: Any, name: str, rest: str) -> None:
    run = _run(ip, name)
    n = _number(ip, rest or "1", 1, "%train step")
    _straight(ip, lambda: run.step(n))
    print(progress(run))


def set_(ip: Any, name: str, rest: str) -> None:
    run = _run(ip, name)
    head, pairs = assignments(rest)
    if head or not pairs:
        raise UsageError(f"%train set {rest}: dial=value, as in η=0.01")
    run.set(**_given(ip, _class(run), pairs))
    _said(run)


def swap(ip: Any, name: str, rest: str) -> None:
    run = _run(ip, name)
    head, pairs = assignments(rest)
    _class(run)
    cls = optimiser(head, ip.user_ns, "%train swap ")
    run.swap(cls, **_given(ip, cls, pairs))
    _said(run)


def rewind(ip: Any, name: str, rest: str) -> None:
    run = _run(ip, name)
    run.rewind(_number(ip, rest, 0, "%train rewind"))
    print(progress(run))


def branch(ip: Any, name: str, rest: str) -> None:
    run = _run(ip, name)
    head, pairs = assignments(rest)
    new, _, opt = head.partition(" ")
    if not new.isidentifier():
        raise UsageError(f"%train branch {rest}: a name for the new run comes first")
    epochs = [text for k, text in pairs if k == "epochs"]
    cls = optimiser(opt.strip(), ip.user_ns, "%train branch ") if opt else None
    options = _given(ip, cls or _class(run), [p for p in pairs if p[0] != "epochs"])
    if epochs:
        options["epochs"] = _number(ip, epochs[-1], 1, "epochs")
    ip.user_ns[new] = run.branch(new, cls, **options)
    _said(ip.user_ns[new])


def code(ip: Any, name: str, rest: str) -> None:
    print(saved_script(_run(ip, name), name), end="")


def save(ip: Any, name: str, rest: str) -> None:
    path = _path(rest)
    _run(ip, name).save(path)
    print(f"{name} is saved in {path}")


def load(ip: Any, name: str, rest: str) -> None:
    run = _run(ip, name)  # the file holds no code
    options = {"valid": run.valid, "metrics": run.metrics, "model": run.model}
    new = Run.load(_path(rest), run.loss, run.data, run.params, own_schedules(run.record), **options)
    new.source = run.source
    ip.user_ns[name] = new
    _said(new)


def _path(text: str) -> str:
    quoted = text[0] in "'\"" and text[-1] == text[0]
    return os.path.expanduser(ast.literal_eval(text) if quoted else text)


def compare(ip: Any, name: str, rest: str) -> None:
    from fluxmagic.jupyter.comparison import compare  # matplotlib takes its time

    runs = [_run(ip, word) for word in rest.replace(",", " ").split()]
    display(compare(*runs))  # type: ignore[no-untyped-call]


COMMANDS: dict[str, tuple[Callable[[Any, str, str], None], str, str]] = {
    "status": (status, "", "what it is and where it stands"),
    "stop": (stop, "", "end it after the batch"),
    "pause": (pause, "", "let it rest after the batch"),
    "resume": (resume, "", "go on: in this cell, or in its panel"),
    "step": (step, "[N]", "take a step, or N"),
    "set": (set_, "dial=value …", "turn dials"),
    "swap": (swap, "OPTIMISER [dial=value …]", "go on with another optimiser"),
    "rewind": (rewind, "N", "go back to where it was after N steps"),
    "branch": (branch, "NEW [OPTIMISER] [dial=value …]", "a second run from here, in the variable NEW"),
    "code": (code, "", "a script that does the same; the run is saved beside it"),
    "save": (save, "PATH", "write it to a file"),
    "load": (load, "PATH", "read one that was saved, of this run's loss and data"),
    "compare": (compare, "RUN RUN …", "the curves of runs, one over the other"),
}
"""By name: what it does, what has to follow, a line of help."""

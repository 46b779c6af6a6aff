"""The commands of `%train`: a function with its `@command(...)` is one row of the table `COMMANDS`."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from IPython.core.error import UsageError
from IPython.display import display

from fluxmagic.jupyter.errors import train_here
from fluxmagic.jupyter.formatting import progress, summary
from fluxmagic.jupyter.ipython_compat import Namespace, Shell
from fluxmagic.jupyter.magic_line import split_assignments
from fluxmagic.jupyter.values import (
    as_int,
    as_optimiser,
    check_hyperparameters,
    evaluate_text,
    hyper_names,
    known_optimiser,
    run_names,
)
from fluxmagic.optimise import OPTIMISERS, Optimiser
from fluxmagic.runs import Run
from fluxmagic.runs.script import own_schedules, saved_script

__all__ = ["COMMANDS", "Command", "Target"]


class Target:
    """What a command acts on: a run by its name, in a shell."""

    def __init__(self, shell: Shell, name: str) -> None:
        self.shell = shell
        self.ns = shell.user_ns
        self.name = name

    @cached_property
    def run(self) -> Run:
        """The run; a UsageError if there is none of that name."""
        return find_run(self.ns, self.name)

    @property
    def opt_class(self) -> type[Optimiser]:
        """The class of its optimiser; a UsageError if that is a plain function."""
        if self.run.opt_class is None:
            raise UsageError(f"{self.run.opt_name} is {self.run.opt_kind}: it has no dials, and none can take over")
        return self.run.opt_class


Suggest = Callable[[Namespace, list[str]], Iterable[str]]
"""Of the user's namespace and the words so far, to what Tab offers next."""


@dataclass(frozen=True)
class Command:
    """One command."""

    arguments: str  # what follows; empty for nothing, in brackets where it may be left out
    help: str
    function: Callable[[Target, str], None]  # of the target, and of what follows as text
    suggest: Suggest

    def __call__(self, word: str, target: Target, rest: str) -> None:
        """Carry it out, if what follows is what it takes."""
        if not rest and self.arguments and not self.arguments.startswith("["):
            raise UsageError(f"%train {word} needs more: %train {word} {self.arguments}")
        if rest and not self.arguments:
            raise UsageError(f"%train {word} takes nothing more, and was given {rest}")
        self.function(target, rest)


COMMANDS: dict[str, Command] = {}


def command(
    arguments: str, help: str, suggest: Suggest = lambda ns, words: ()
) -> Callable[[Callable[[Target, str], None]], Callable[[Target, str], None]]:
    """Enter a function into the table, under its own name without underscores at the end."""

    def enter(f: Callable[[Target, str], None]) -> Callable[[Target, str], None]:
        COMMANDS[f.__name__.rstrip("_")] = Command(arguments, help, f, suggest)
        return f

    return enter


def find_run(ns: Namespace, name: str) -> Run:
    """Return the run of a name: a variable that holds it or its Panel, or its own name; "run" is the only live Panel's.

    Where there is none, a UsageError has the names that there are.
    """
    named = {k: run for k, v in ns.items() if not k.startswith("_") and (run := _run_of(v)) is not None}
    if name in named:
        return named[name]
    live: list[Run] = [panel.run for panel in _live_panels()]
    found = {id(r): r for r in [*named.values(), *live] if r.name == name}
    if not found and name == "run":
        found = {id(r): r for r in live}
    if len(found) == 1:
        return next(iter(found.values()))
    known = list(dict.fromkeys([*named, *(r.name for r in live if r.name)]))
    hint = f"say which one, --name {' or '.join(known)}" if known else "%%train makes one"
    raise UsageError(f"there is no run called {name}: {hint}")


def _run_of(value: object) -> Run | None:
    """Return a run, or the run of a Panel."""
    module = sys.modules.get("fluxmagic.jupyter.panel")  # there is no Panel before it is imported
    run: object = value.run if module is not None and isinstance(value, module.Panel) else value
    return run if isinstance(run, Run) else None


def _live_panels() -> list[Any]:
    module = sys.modules.get("fluxmagic.jupyter.panel")
    return [] if module is None else module.live_panels()


def _parse_int(target: Target, text: str, low: int, what: str) -> int:
    return as_int(evaluate_text(text, target.ns, f"{what} {text}"), low, f"{what} {text}")


def _parse_hyperparameters(target: Target, cls: type[Optimiser], pairs: list[tuple[str, str]]) -> dict[str, Any]:
    values: dict[str, tuple[str, object]] = {}
    for name, text in pairs:
        if name in values:
            raise UsageError(f"{name} is given twice")
        values[name] = f"{name}={text}", evaluate_text(text, target.ns, f"{name}={text}")
    return check_hyperparameters(cls, values)


def _parse_path(text: str) -> str:
    quoted = text[0] in "'\"" and text[-1] == text[0]
    return os.path.expanduser(ast.literal_eval(text) if quoted else text)


def _suggest_dials(ns: Namespace, words: list[str]) -> Iterable[str]:
    run = ns.get("run")
    return [f"{name}=" for name in hyper_names(run.opt_class)] if isinstance(run, Run) and run.opt_class else []


def _suggest_optimiser(ns: Namespace, words: list[str]) -> Iterable[str]:
    return OPTIMISERS if len(words) == 1 else [f"{name}=" for name in hyper_names(known_optimiser(words[1], ns))]


def _print_state(target: Target, will: str) -> None:
    state = target.run.state
    print(f"{target.name} {will} after the batch" if state == "running" else f"{target.name} is {state}")


def _print_headline(run: Run) -> None:
    print(summary(run).split("\n", 1)[0])


@command("", "what it is and where it stands")
def status(target: Target, rest: str) -> None:
    if target.run.state == "running":
        print(progress(target.run))
    print(summary(target.run))


@command("", "end it after the batch")
def stop(target: Target, rest: str) -> None:
    target.run.stop()
    _print_state(target, "stops")


@command("", "pause it after the batch")
def pause(target: Target, rest: str) -> None:
    target.run.pause()
    _print_state(target, "pauses")


@command("", "go on: in this cell, or in its panel")
def resume(target: Target, rest: str) -> None:
    run = target.run
    if run.finished:
        unit = "epochs" if run.step_limit is None else "steps"
        raise UsageError(
            f"{target.name} has done its {run.epochs or run.step_limit} {unit}: %%train --resume adds some"
        )
    if run.state == "running":
        raise UsageError(f"{target.name} is running already")
    if run.driver is None:
        train_here(run, target.shell)
    else:
        run.driver.resume()


@command("[N]", "take a step, or N")
def step(target: Target, rest: str) -> None:
    run = target.run
    n = _parse_int(target, rest or "1", 1, "%train step")
    run.step(n)
    print(progress(run))


@command("dial=value …", "turn dials", _suggest_dials)
def set_(target: Target, rest: str) -> None:
    run = target.run
    head, pairs = split_assignments(rest)
    if head or not pairs:
        raise UsageError(f"%train set {rest}: give dial=value, as in η=0.01")
    run.set(**_parse_hyperparameters(target, target.opt_class, pairs))
    _print_headline(run)


@command("OPTIMISER [dial=value …]", "go on with another optimiser", _suggest_optimiser)
def swap(target: Target, rest: str) -> None:
    head, pairs = split_assignments(rest)
    assert target.opt_class
    cls = as_optimiser(head, target.ns, "%train swap ")
    target.run.swap(cls, **_parse_hyperparameters(target, cls, pairs))
    _print_headline(target.run)


@command("N", "go back to where it was after N steps")
def rewind(target: Target, rest: str) -> None:
    target.run.rewind(_parse_int(target, rest, 0, "%train rewind"))
    print(progress(target.run))


@command("NEW [OPTIMISER] [dial=value …]", "a second run from here, in the variable NEW")
def branch(target: Target, rest: str) -> None:
    run = target.run
    head, pairs = split_assignments(rest)
    new, _, opt = head.partition(" ")
    if not new.isidentifier():
        raise UsageError(f"%train branch {rest}: a name for the new run comes first")
    epochs = [text for k, text in pairs if k == "epochs"]
    cls = as_optimiser(opt.strip(), target.ns, "%train branch ") if opt else None
    options = _parse_hyperparameters(target, cls or target.opt_class, [p for p in pairs if p[0] != "epochs"])
    if epochs:
        options["epochs"] = _parse_int(target, epochs[-1], 1, "epochs")
    target.ns[new] = run.branch(new, cls, **options)
    _print_headline(target.ns[new])


@command("", "a script that does the same; the run is saved beside it")
def code(target: Target, rest: str) -> None:
    print(saved_script(target.run, target.name), end="")


@command("PATH", "write it to a file")
def save(target: Target, rest: str) -> None:
    path = _parse_path(rest)
    target.run.save(path)
    print(f"{target.name} is saved in {path}")


@command("PATH", "read one that was saved, of this run's loss and data")
def load(target: Target, rest: str) -> None:
    run = target.run  # the file holds no code
    options: dict[str, Any] = {"valid": run.valid, "metrics": run.metrics, "model": run.model}
    new = Run.load(_parse_path(rest), run.loss, run.data, run.params, own_schedules(run.record), **options)
    new.source = run.source
    target.ns[target.name] = new
    _print_headline(new)


@command("RUN RUN …", "the curves of runs, one over the other", lambda ns, words: run_names(ns))
def compare(target: Target, rest: str) -> None:
    from fluxmagic.jupyter.comparison import compare  # matplotlib takes its time

    runs = [find_run(target.ns, word) for word in rest.replace(",", " ").split()]
    display(compare(*runs))  # type: ignore[no-untyped-call]

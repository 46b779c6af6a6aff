"""The commands of `%train`: a function with its `@command(...)` is one row of the table `COMMANDS`.

Keyword parameters of the function are options of the command: `log: bool = False` is the flag --log, `steps: str = "9"`
is --steps with a value, as text.
"""

from __future__ import annotations

import ast
import glob
import inspect
import os
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.display import display

from fluxmagic.greek import canonical
from fluxmagic.jupyter import formatting
from fluxmagic.jupyter.driving.trainable import Trainable
from fluxmagic.jupyter.ipython_compat import Namespace, Shell
from fluxmagic.jupyter.magics.errors import train_here
from fluxmagic.jupyter.magics.magic_line import split_assignments, split_options
from fluxmagic.jupyter.magics.named_runs import find_trainable, trainable_names
from fluxmagic.jupyter.magics.values import (
    as_int,
    as_optimiser,
    check_hyperparameters,
    did_you_mean,
    evaluate_text,
    hyper_names,
    known_optimiser,
)
from fluxmagic.optimise import OPTIMISERS, Optimiser
from fluxmagic.runs import Run
from fluxmagic.runs.run import saved_script
from fluxmagic.runs.script import own_schedules

if TYPE_CHECKING:
    from fluxmagic.jupyter.driving.presentation import Presentation

__all__ = ["COMMANDS", "Command", "Target", "carry_out"]


class Target:
    """What a command acts on, by its name, in a shell."""

    def __init__(self, shell: Shell, name: str) -> None:
        self.shell = shell
        self.ns = shell.user_ns
        self.name = name

    @cached_property
    def trainable(self) -> Trainable:
        """What has that name; a UsageError if nothing has."""
        return find_trainable(self.ns, self.name)

    @property
    def run(self) -> Run:
        """The run of that name; a UsageError if it is something else."""
        return _as_run(self.trainable, self.name)

    @property
    def opt_class(self) -> type[Optimiser]:
        """The class of its optimiser; a UsageError if that is a plain function."""
        if self.run.opt_class is None:
            raise UsageError(f"{self.run.opt_name} is {self.run.opt_kind}: it has no dials, and none can take over")
        return self.run.opt_class


Suggest = Callable[[Namespace, list[str]], Iterable[str]]
"""Of the user's namespace and the words so far, with the one that is being typed, to what Tab offers for that one."""


@dataclass(frozen=True)
class Command:
    """One command."""

    arguments: str  # what follows; empty for nothing, in brackets where it may be left out
    help: str
    function: Callable[..., None]  # of the target, of what follows as text, and of its options
    suggest: Suggest

    @cached_property
    def options(self) -> dict[str, str | bool]:
        """Options and their defaults; that of a flag is False."""
        found = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in found if p.kind is p.KEYWORD_ONLY}

    def __call__(self, word: str, target: Target, rest: str, options: list[tuple[str, str]]) -> None:
        """Carry it out, if what follows is what it takes."""
        values = self._read(word, options)
        if not rest and self.arguments and not self.arguments.startswith("["):
            raise UsageError(f"%train {word} needs more: %train {word} {self.arguments}")
        if rest and not self.arguments:
            raise UsageError(f"%train {word} takes nothing more, and was given {rest}")
        self.function(target, rest, **values)

    def _read(self, word: str, options: list[tuple[str, str]]) -> dict[str, str | bool]:
        values: dict[str, str | bool] = {}
        for name, text in options:
            if name not in self.options:
                known = ", ".join(f"--{k}" for k in (*self.options, "name"))
                raise UsageError(f"%train {word} has no --{name}; it has {known}")
            flag = self.options[name] is False
            if flag and text:
                raise UsageError(f"%train {word} --{name} takes no value, and was given {text}")
            if not flag and not text:
                raise UsageError(f"%train {word} --{name} needs a value")
            values[name] = flag or text
        return values


COMMANDS: dict[str, Command] = {}


def command(
    arguments: str, help: str, suggest: Suggest = lambda ns, words: ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Enter a function into the table, under its own name without underscores at the end."""

    def enter(f: Callable[..., None]) -> Callable[..., None]:
        COMMANDS[f.__name__.rstrip("_")] = Command(arguments, help, f, suggest)
        return f

    return enter


def carry_out(shell: Shell, line: str) -> Target:
    """Carry out the line of `%train`; return what it acted on."""
    head, options = split_options(line)
    word, _, rest = (head or "status").partition(" ")
    if word not in COMMANDS:
        raise UsageError(f"%train {word}: unknown command{did_you_mean(word, COMMANDS)}")
    twice = next((name for name, n in Counter(name for name, _ in options).items() if n > 1), None)
    if twice is not None:
        raise UsageError(f"--{twice} is given twice")
    if not dict(options).get("name", "run"):
        raise UsageError("--name needs a value")
    target = Target(shell, dict(options).get("name", "run"))
    COMMANDS[word](word, target, rest.strip(), [o for o in options if o[0] != "name"])
    return target


def _as_run(trainable: Trainable, name: str) -> Run:
    if not isinstance(trainable, Run):
        raise UsageError(f"{name} is a {type(trainable).__name__}: this takes a run, such as one = {name}[0]")
    return trainable


def _parse_int(target: Target, text: str, low: int, what: str) -> int:
    return as_int(evaluate_text(text, target.ns, f"{what} {text}"), low, f"{what} {text}")


def _parse_hyperparameters(target: Target, cls: type[Optimiser], pairs: list[tuple[str, str]]) -> dict[str, Any]:
    values: dict[str, tuple[str, object]] = {}
    for name, text in pairs:
        if name in values:
            raise UsageError(f"{name} is given twice")
        values[name] = f"{name}={text}", evaluate_text(text, target.ns, f"{name}={text}")
    return check_hyperparameters(cls, values)


def _parse_dials(target: Target, text: str, most: int = 2) -> list[str]:
    """Read the names of dials that its optimiser has."""
    names = text.replace(",", " ").split()
    known = hyper_names(target.opt_class)
    for name in names:
        if canonical(name) not in known:
            raise UsageError(f"{target.run.opt_name} has no dial {name}{did_you_mean(name, known)}")
    if len(names) > most:
        raise UsageError(f"{' '.join(names)}: name {'one dial' if most == 1 else 'one or two dials'}")
    return [canonical(name) for name in names]


def _parse_path(text: str) -> str:
    quoted = text[0] in "'\"" and text[-1] == text[0]
    return os.path.expanduser(ast.literal_eval(text) if quoted else text)


def _suggest_dials(ns: Namespace, words: list[str]) -> Iterable[str]:
    name = words[words.index("--name") + 1] if "--name" in words[:-1] else "run"
    with suppress(UsageError):
        run = find_trainable(ns, name)
        if isinstance(run, Run) and run.opt_class:
            return _dials(run.opt_class, words)
    return ()


def _suggest_names(ns: Namespace, words: list[str]) -> Iterable[str]:
    return [dial.removesuffix("=") for dial in _suggest_dials(ns, words) if dial.removesuffix("=") not in words[1:-1]]


def _suggest_optimiser(ns: Namespace, words: list[str]) -> Iterable[str]:
    return OPTIMISERS if len(words) == 2 else _dials(known_optimiser(words[1], ns), words)


def _suggest_branch(ns: Namespace, words: list[str]) -> Iterable[str]:
    if len(words) == 2:
        return ()
    cls = known_optimiser(words[2], ns)
    if len(words) == 3:
        return [*OPTIMISERS, *_suggest_dials(ns, words)]
    return _suggest_dials(ns, words) if cls is Optimiser else _dials(cls, words)


def _dials(cls: type[Optimiser], words: list[str]) -> list[str]:
    used = [word.partition("=")[0] for word in words[:-1] if "=" in word]
    return [f"{name}=" for name in hyper_names(cls, used)]


def _suggest_path(ns: Namespace, words: list[str]) -> Iterable[str]:
    typed = words[-1]
    start = os.path.expanduser(typed)
    found = glob.glob(f"{glob.escape(start)}*")
    return sorted(typed + path[len(start) :] + os.sep * os.path.isdir(path) for path in found)


def _suggest_runs(ns: Namespace, words: list[str]) -> Iterable[str]:
    return [name for name in trainable_names(ns) if name not in words[1:-1]]


def _words(trainable: Trainable) -> ModuleType | Presentation:
    if isinstance(trainable, Run):
        return formatting
    from fluxmagic.jupyter.driving.presentation import presentation  # it needs widgets

    return presentation(trainable)


def _print_state(target: Target, will: str) -> None:
    state = target.trainable.state
    print(f"{target.name} {will} after the batch" if state == "running" else f"{target.name} is {state}")


def _print_headline(run: Run) -> None:
    print(formatting.summary(run).split("\n", 1)[0])


@command("", "what it is and where it stands")
def status(target: Target, rest: str) -> None:
    if target.trainable.state == "running":
        print(_words(target.trainable).progress(target.trainable))
    print(_words(target.trainable).summary(target.trainable))


@command("", "end it after the batch")
def stop(target: Target, rest: str) -> None:
    target.trainable.stop()
    _print_state(target, "stops")


@command("", "pause it after the batch")
def pause(target: Target, rest: str) -> None:
    target.trainable.pause()
    _print_state(target, "pauses")


@command("", "go on: in this cell, or in its panel")
def resume(target: Target, rest: str) -> None:
    training = target.trainable
    if training.finished:
        raise UsageError(f"{target.name} has done {_budget(training)}")
    if training.state == "running":
        raise UsageError(f"{target.name} is running already")
    if training.driver is None:
        train_here(training, target.shell)
    else:
        training.driver.resume()


def _budget(training: Trainable) -> str:
    if not isinstance(training, Run):
        return "all its steps"
    n, unit = training.epochs or training.step_limit or 0, "epoch" if training.step_limit is None else "step"
    return f"its {n:,} {unit}{'s' * (n != 1)}: %%train --resume adds some"


@command("[N]", "take a step, or N")
def step(target: Target, rest: str) -> None:
    n = _parse_int(target, rest or "1", 1, "%train step")
    target.trainable.step(n)
    print(_words(target.trainable).progress(target.trainable))


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
    print(_words(target.run).progress(target.run))


@command("NEW [OPTIMISER] [dial=value …]", "a second run from here, in the variable NEW", _suggest_branch)
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


@command("PATH", "write it to a file", _suggest_path)
def save(target: Target, rest: str) -> None:
    path = _parse_path(rest)
    target.run.save(path)
    print(f"{target.name} is saved in {path}")


@command("PATH", "read one that was saved, of this run's loss and data", _suggest_path)
def load(target: Target, rest: str) -> None:
    run = target.run  # the file holds no code
    options: dict[str, Any] = {"valid": run.valid, "metrics": run.metrics, "model": run.model}
    new = Run.load(_parse_path(rest), run.loss, run.data, run.params, own_schedules(run.record), **options)
    new.source = run.source
    target.ns[target.name] = new
    _print_headline(new)


@command("RUN RUN … [--log]", "the curves of runs, one over the other; --log: on a logarithmic axis", _suggest_runs)
def compare(target: Target, rest: str, *, log: bool = False) -> None:
    from fluxmagic.jupyter.pictures.comparison import compare  # matplotlib takes its time

    runs = [_as_run(find_trainable(target.ns, word), word) for word in rest.replace(",", " ").split()]
    display(compare(*runs, log=log or None))  # type: ignore[no-untyped-call]


@command("DIAL [DIAL] [--steps N]", "a map of the dials around their values; a click turns them", _suggest_names)
def map_(target: Target, rest: str, *, steps: str = "100") -> None:
    from fluxmagic.jupyter.sweep.around import show_map  # matplotlib takes its time

    sweep = target.run.map(*_parse_dials(target, rest), steps=_parse_int(target, steps, 1, "--steps"), train=False)
    target.ns[f"{target.name}_map"] = sweep
    show_map(sweep)


@command("DIAL [--steps N]", "a test of the range of learning rates from here", _suggest_names)
def find(target: Target, rest: str, *, steps: str = "100") -> None:
    (dial,) = _parse_dials(target, rest, 1)
    found = target.run.find(dial, steps=_parse_int(target, steps, 20, "--steps"))
    display(found)  # type: ignore[no-untyped-call]
    print(found)


@command("[RUN …]", "the loss on the plane through its path, with the paths of other runs on it", _suggest_runs)
def landscape(target: Target, rest: str) -> None:
    others = [_as_run(find_trainable(target.ns, word), word) for word in rest.replace(",", " ").split()]
    display(target.run.landscape(*others))  # type: ignore[no-untyped-call]

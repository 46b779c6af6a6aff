"""What a `%%train` line asks for, all of it checked before anything is changed."""

from __future__ import annotations

import difflib
import keyword
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from IPython.core.error import UsageError

from fluxmagic.greek import canonical
from fluxmagic.jupyter.cell_compiler import Body, Cell, names_read
from fluxmagic.layers import params
from fluxmagic.optimise import OPTIMISERS, Optimiser
from fluxmagic.runs import Run
from fluxmagic.tracker import Param, Tracked

__all__ = ["OPTIONS", "Settings", "choices", "dials", "evaluate", "optimiser", "settings", "whole"]

OPTIONS = {
    "opt": ("NAME", "the optimiser: a registered one, or a class in the namespace"),
    "epochs": ("N", "how often to go through the data; default 1"),
    "steps": ("N", "in place of --epochs: end after N steps; without NAMES in EXPR the loss takes no batch"),
    "valid": ("EXPR", "what the loss is validated on after every epoch; bound to the same NAMES"),
    "metric": ("name=EXPR", "a number to follow beside the loss, on the validation data; may be given several times"),
    "until": ("EXPR", "end after an epoch for which this is true; `valid` and metrics go by their names"),
    "patience": ("N", "end when the validation loss has had no new minimum for N epochs, with the best weights"),
    "params": ("EXPR", "what to train: parameters or models; default: all that the first batch's loss depends on"),
    "seed": ("N", "for the order of the data and dropout"),
    "name": ("NAME", "the variable that the run is put in; default `run`"),
    "resume": ("", "go on with the run of that name, step numbers and optimiser state included"),
    "reset": ("", "first put back the oldest known start of these weights, whichever run began there"),
    "from": ("NAME", "first put back the weights that run NAME started from"),
    "no-panel": ("", "show the curve without dials"),
}
"""By name: what stands for the value (nothing for a flag), and one line of help."""

ELSEWHERE = {
    "lr": "η", "learning-rate": "η", "learningrate": "η", "alpha": "η", "step-size": "η",
    "momentum": "ρ", "betas": "β1 and --β2", "beta": "β1 and --β2", "eps": "ϵ", "wd": "weightdecay",
    "weight-decay": "weightdecay", "max-norm": "clipnorm", "clip-norm": "clipnorm", "clip-value": "clip",
    "optimizer": "opt", "optimiser": "opt", "optim": "opt", "num-epochs": "epochs", "n-epochs": "epochs",
    "max-epochs": "epochs", "max-steps": "steps", "val": "valid", "validation": "valid", "validation-data": "valid",
    "metrics": "metric", "early-stopping": "patience", "random-state": "seed",
}  # fmt: skip
"""What other libraries call an option, and what it is called here."""

COLUMNS = ("step", "epoch", "seconds", "loss", "valid", "opt")


@dataclass
class Settings:
    """Options with their values; None, empty or False for what was not given."""

    opt: type[Optimiser] | None
    hypers: dict[str, Any]
    epochs: int | None
    valid: Any
    metrics: dict[str, Callable[..., Any]]
    until: Callable[[], Any] | None
    patience: int | None
    params: list[Param] | None
    seed: int | None
    name: str
    steps: int | None
    start: str | None
    resume: bool
    reset: bool
    panel: bool


def settings(
    cell: Cell,
    body: Body,
    data: Callable[[], Any] | None,
    given: list[tuple[str, str]],
    default: Callable[[str, bool], type[Optimiser]],
) -> Settings:
    """Evaluate and check options.

    Parameters
    ----------
    cell : Cell
    body : Body
    data : function or None
        The line's expression; None where the loss takes no batch.
    given : list of (str, str)
        Names, and values as they were typed.
    default : callable
        Of the run's name and whether it is to go on, to the optimiser that dials belong to where --opt is not given.

    Raises
    ------
    UsageError
        In one line, with the choices.
    """
    texts = _once(given)
    name = _name(texts.get("name", "run"), cell, body)
    opt = optimiser(texts["opt"], cell.ns, "--opt ") if "opt" in texts else None
    cls = opt or default(name, "resume" in texts)
    _known(texts, cls)
    if "resume" in texts and "reset" in texts:
        raise UsageError("--resume goes on from the weights as they are, --reset goes back: one of the two")
    if "from" in texts and ("resume" in texts or "reset" in texts):
        raise UsageError("--from says where to start from, and so do --resume and --reset: one of them")
    if "steps" in texts and "epochs" in texts:
        raise UsageError("--steps and --epochs both say when the run ends: one of the two")
    for option in ("valid", "metric"):
        if data is None and option in texts:
            raise UsageError(f"--{option} is evaluated after an epoch, and without NAMES in EXPR there is none")
    if data is not None:
        check_reads(data, body, f"the data {cell.data_text}")

    def value(option: str) -> Any:
        what = f"--{option}"
        f = cell.expression(what, texts[option])
        if option in ("valid", "params"):
            check_reads(f, body, f"{what} {texts[option]}")
        return evaluate(f, f"{what} {texts[option]}")

    def count(option: str, low: int) -> int | None:
        return whole(value(option), low, f"--{option} {texts[option]}") if option in texts else None

    hypers = {
        k: (f"--{k} {text}", evaluate(cell.expression(f"--{k}", text), f"--{k} {text}"))
        for k, text in texts.items()
        if k not in OPTIONS
    }
    return Settings(
        opt=opt,
        hypers=dials(cls, hypers),
        epochs=count("epochs", 1),
        valid=_valid(value("valid"), body, texts["valid"]) if "valid" in texts else None,
        metrics=dict(_metrics(cell, body, [text for k, text in given if k == "metric"])),
        until=cell.expression("--until", texts["until"]) if "until" in texts else None,
        patience=count("patience", 1),
        params=_params(value("params"), texts["params"]) if "params" in texts else None,
        seed=count("seed", 0),
        name=name,
        steps=count("steps", 1),
        start=texts.get("from"),
        resume="resume" in texts,
        reset="reset" in texts,
        panel="no-panel" not in texts,
    )


def check_reads(f: Any, body: Body, what: str) -> None:
    """Refuse code that reads what training binds: from the second epoch on it would be another value."""
    read = sorted(names_read(f, body.ns) & {*body.stored, *body.bound})
    if read:
        who = f"`{body.names}` is bound to each batch" if read[0] in body.bound else "the cell's body binds it"
        raise UsageError(f"{what}: reads {read[0]}, and {who}: choose another name there")


def _name(text: str, cell: Cell, body: Body) -> str:
    """Where the run is put: not in place of something that the cell needs."""
    name = canonical(text)
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UsageError(f"--name {text}: the name of a variable is wanted")
    there = cell.ns.get(name)
    if name in body.stored or (name in body.whole.__code__.co_names and not isinstance(there, Run | None)):
        raise UsageError(f"--name {name}: the cell has another use for that variable; choose another for the run")
    return name


def _once(given: list[tuple[str, str]]) -> dict[str, str]:
    """Options by name: each once, with a value where it takes one."""
    texts: dict[str, str] = {}
    for name, text in given:
        if name in texts and name != "metric":
            raise UsageError(f"--{name} is given twice")
        flag = name in OPTIONS and not OPTIONS[name][0]
        if flag and text:
            raise UsageError(f"--{name} takes no value, and was given {text}")
        if not flag and not text:
            raise UsageError(f"--{name} needs a value" + (f": --{name} {OPTIONS[name][0]}" if name in OPTIONS else ""))
        texts[name] = text
    return texts


def _known(texts: dict[str, str], cls: type[Optimiser]) -> None:
    """Whether all options are ones of the magic, or dials of the optimiser."""
    own = {alias for h in cls.hypers.values() for alias in (h.name, h.ascii)}
    for name in own & OPTIONS.keys():
        doc = next(h.doc for h in cls.hypers.values() if name in (h.name, h.ascii))
        raise UsageError(
            f"--{name}: a dial of {cls.__name__}, {doc}, and an option of %%train, {OPTIONS[name][1]}: "
            "give the dial another name"
        )
    for name in texts:
        if name in OPTIONS or name in own:
            continue
        if any(name in (h.name, h.ascii) for c in OPTIMISERS.values() for h in c.hypers.values()):
            raise UsageError(f"{cls.__name__} has no --{name}; it has {', '.join(cls.hypers)}")
        if (ours := ELSEWHERE.get(name.lower().replace("_", "-"))) is not None:
            raise UsageError(f"there is no --{name}: here it is --{ours}{_owners(ours, own)}")
        there = [f"--{k}" for k in (*OPTIONS, *cls.hypers)]
        raise UsageError(f"there is no --{name}{choices(f'--{name}', there, among=[f'--{k}' for k in sorted(own)])}")


def _owners(dial: str, own: set[str]) -> str:
    """Which optimisers have a dial that the one on the line lacks."""
    name = dial.partition(" ")[0]
    owners = [c.__name__ for c in OPTIMISERS.values() if name in c.hypers]
    return "" if name in OPTIONS or name in own else f", of {', '.join(owners)}"


def choices(name: str, there_are: Iterable[str], *, among: Iterable[str] = ()) -> str:
    """For the end of an error: what comes close to a name, and what there is."""
    there = list(there_are)
    lower = {c.lower(): c for c in [*among, *there]}
    close = difflib.get_close_matches(name.lower(), lower, 1)
    guess = f" (did you mean {lower[close[0]]}?)" if close else ""
    return f"{guess}; there are {', '.join(there)}"


def evaluate(f: Callable[[], Any], what: str) -> Any:
    """The value of something that the user typed.

    Raises
    ------
    UsageError
        With `what` and the error, if there is one.
    """
    try:
        return f()
    except Exception as error:
        raise UsageError(f"{what}: {type(error).__name__}: {error}") from None


def whole(value: Any, low: int, what: str) -> int:
    """A whole number that is not below a bound, or a UsageError."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < low:
        raise UsageError(f"{what}: a whole number is wanted, {low} or more, not {value!r}")
    return int(value)


def optimiser(text: str, ns: dict[str, Any], what: str = "") -> type[Optimiser]:
    """The optimiser that is registered under a name, or the class that an expression gives."""
    registered = OPTIMISERS.get(canonical(text))
    if registered is not None:
        return registered
    value: object = None
    with suppress(Exception):
        value = eval(text, ns)
    if isinstance(value, str):
        value = OPTIMISERS.get(value)
    if isinstance(value, type) and issubclass(value, Optimiser) and value is not Optimiser:
        return value
    wrong = "there is no such optimiser" if value is None else "that is no class of optimiser"
    raise UsageError(f"{what}{text}: {wrong}{choices(text, OPTIMISERS)}")


def dials(cls: type[Optimiser], given: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    """Hyper-parameters under their own names, checked.

    Parameters
    ----------
    cls : type
        The optimiser.
    given : dict
        By the names that were typed: what to say in an error, and the value, a number or a schedule.
    """
    try:
        cls.canonical(given)
    except TypeError as error:
        raise UsageError(str(error)) from None
    checked = {}
    for typed, (what, value) in given.items():
        (name,) = cls.canonical({typed: value})
        try:
            if callable(value) and not isinstance(value, Tracked):
                cls.hypers[name].check(value(0))
                checked[name] = value
            else:
                checked[name] = cls.hypers[name].check(value)
        except Exception as error:
            raise UsageError(f"{what}: {error}") from None
    return checked


def _valid(value: Any, body: Body, text: str) -> Any:
    """Validation data, if it can be bound to the names."""
    what = f"--valid {text}"
    if isinstance(value, Iterator):
        raise UsageError(f"{what}: a generator can be gone through once; give arrays, or batches(...)")
    arrays = value if isinstance(value, tuple) else (value,) if hasattr(value, "__array__") else None
    if arrays is None:
        if not isinstance(value, Iterable):
            raise UsageError(f"{what}: arrays, or something that gives batches, not a {type(value).__name__}")
        if isinstance(value, list) and len(value) == body.count and all(hasattr(a, "__array__") for a in value):
            raise UsageError(f"{what}: a list gives batches, each of these arrays one: leave the brackets away")
        return value
    if body.count is not None and len(arrays) != body.count:
        raise UsageError(f"{what}: {len(arrays)} for {body.count} names, `{body.names}`")
    try:
        lengths = [len(a) for a in arrays]
    except TypeError as error:
        raise UsageError(f"{what}: {error}") from None
    if len(set(lengths)) > 1:
        raise UsageError(f"{what}: arrays of different lengths: {', '.join(map(str, lengths))}")
    return value


def _metrics(cell: Cell, body: Body, texts: list[str]) -> Iterator[tuple[str, Callable[..., Any]]]:
    seen: set[str] = set()
    for text in texts:
        name, equals, expr = (part.strip() for part in text.partition("="))
        if not name.isidentifier() or not equals or not expr:
            raise UsageError(f"--metric {text}: name=EXPR, as in acc=accuracy(model(x), y)")
        name = canonical(name)
        if name in seen:
            raise UsageError(f"--metric {name} is given twice")
        if name in COLUMNS or any(name in c.hypers for c in OPTIMISERS.values()):
            raise UsageError(f"--metric {name}: the history has a column of that name; choose another")
        seen.add(name)
        f = cell.expression(f"--metric {name}", expr)
        bound = sorted(names_read(f, body.ns) & {*body.stored} - {*body.bound})
        if bound:
            raise UsageError(
                f"--metric {text}: reads {bound[0]}, which only the cell's body binds: there is no value of it for the "
                "validation data; write the expression out"
            )
        yield name, body.metric(f)


def _params(value: Any, text: str) -> list[Param]:
    try:
        return params(list(value) if isinstance(value, Iterator) else value)
    except ValueError as error:
        raise UsageError(f"--params {text}: {error}") from None

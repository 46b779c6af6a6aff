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

from fluxmagic.jupyter.cell import Body, Cell
from fluxmagic.layers import params
from fluxmagic.names import canonical
from fluxmagic.optimise import OPTIMISERS, Optimiser
from fluxmagic.runs import Run
from fluxmagic.tracker import Param, Tracked

__all__ = ["OPTIONS", "Settings", "choices", "dials", "evaluate", "optimiser", "settings", "whole"]

OPTIONS = {
    "opt": ("NAME", "the optimiser: a registered one, or a class in the namespace"),
    "epochs": ("N", "how often to go through the data; default 1"),
    "valid": ("EXPR", "what the loss is validated on after every epoch; bound to the same NAMES"),
    "metric": ("name=EXPR", "a number to follow beside the loss, on the validation data; may be given several times"),
    "until": ("EXPR", "end after an epoch for which this is true; `valid` and metrics go by their names"),
    "patience": ("N", "end when the validation loss has had no new minimum for N epochs, with the best weights"),
    "params": ("EXPR", "what to train: parameters or models; default: all that the first batch's loss depends on"),
    "seed": ("N", "for the order of the data and dropout"),
    "name": ("NAME", "the variable that the run is put in; default `run`"),
    "resume": ("", "go on with the run of that name, step numbers and optimiser state included"),
    "reset": ("", "first put back the weights that the run of that name started from"),
    "no-panel": ("", "show the curve without dials"),
}
"""By name: what stands for the value (nothing for a flag), and one line of help."""

COLUMNS = ("step", "epoch", "seconds", "loss", "valid")


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
    resume: bool
    reset: bool
    panel: bool


def settings(
    cell: Cell, body: Body, given: list[tuple[str, str]], default: Callable[[str, bool], type[Optimiser]]
) -> Settings:
    """Evaluate and check options.

    Parameters
    ----------
    cell : Cell
    body : Body
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

    def value(option: str) -> Any:
        what = f"--{option}"
        return evaluate(cell.expression(what, texts[option]), f"{what} {texts[option]}")

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
        resume="resume" in texts,
        reset="reset" in texts,
        panel="no-panel" not in texts,
    )


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
    for name in texts:
        if name in OPTIONS or name in own:
            continue
        if any(name in (h.name, h.ascii) for c in OPTIMISERS.values() for h in c.hypers.values()):
            raise UsageError(f"{cls.__name__} has no --{name}; it has {', '.join(cls.hypers)}")
        there = [f"--{k}" for k in (*OPTIONS, *cls.hypers)]
        raise UsageError(f"there is no --{name}{choices(f'--{name}', there, among=[f'--{k}' for k in sorted(own)])}")


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
        cls.named(given)
    except TypeError as error:
        raise UsageError(str(error)) from None
    checked = {}
    for typed, (what, value) in given.items():
        (name,) = cls.named({typed: value})
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
        yield name, body.metric(cell.expression(f"--metric {name}", expr))


def _params(value: Any, text: str) -> list[Param]:
    try:
        return params(list(value) if isinstance(value, Iterator) else value)
    except ValueError as error:
        raise UsageError(f"--params {text}: {error}") from None

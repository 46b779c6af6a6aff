"""The options of `%%train`: `Settings` is their table.

A field is one row: parsing, checks, errors, help and Tab follow from it.  All is checked before anything changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from types import FunctionType
from typing import Any

from IPython.core.error import UsageError

from fluxmagic.greek import canonical
from fluxmagic.jupyter import option_values as kinds
from fluxmagic.jupyter.magic_line import Line
from fluxmagic.jupyter.option_values import Cell, Option, option
from fluxmagic.jupyter.values import check_hyperparameters, did_you_mean, owners, run_names
from fluxmagic.optimise import OPTIMISERS, Optimiser
from fluxmagic.runs.early_stopping import Condition
from fluxmagic.tracker import Param

__all__ = ["OPTIONS", "Settings", "read_settings"]

ENDS, STARTS = "when the run ends", "where the run starts"


@dataclass(frozen=True)
class Settings:
    """The options of a line with their values; `from_` is --from, `no_panel` --no-panel."""

    opt: type[Optimiser] | None = option(
        "NAME",
        "the optimiser: a registered one, or a class in the namespace",
        kinds.optimiser,
        "optimizer optimiser optim",
        suggest=lambda ns: OPTIMISERS,
    )
    epochs: int | None = option(
        "N",
        "how often to go through the data; default 1",
        kinds.integer(1),
        "num-epochs n-epochs max-epochs",
        decides=ENDS,
    )
    steps: int | None = option(
        "N",
        "in place of --epochs: end after N steps; without NAMES in EXPR the loss takes no batch",
        kinds.integer(1),
        "max-steps",
        decides=ENDS,
    )
    valid: object = option(
        "EXPR",
        "what the loss is validated on after every epoch; bound to the same NAMES",
        kinds.validation,
        "val validation validation-data",
        per_epoch=True,
    )
    metric: dict[str, Callable[..., Any]] | None = option(
        "name=EXPR",
        "a number to follow beside the loss, on the validation data; may be given several times",
        kinds.metric,
        "metrics",
        per_epoch=True,
        many=True,
    )
    until: Condition | None = option(
        "EXPR", "end after an epoch for which this is true; `valid` and metrics go by their names", kinds.condition
    )
    patience: int | None = option(
        "N",
        "end when the validation loss has had no new minimum for N epochs, with the best weights",
        kinds.integer(1),
        "early-stopping",
    )
    params: list[Param] | None = option(
        "EXPR",
        "what to train: parameters or models; default: all that the first batch's loss depends on",
        kinds.parameters,
    )
    seed: int | None = option("N", "for the order of the data and dropout", kinds.integer(0), "random-state")
    name: str = option(
        "NAME", "the variable that the run is put in; default `run`", kinds.variable, default="run", suggest=run_names
    )
    resume: bool = option(
        "",
        "go on with the run of that name, step numbers and optimiser state included",
        kinds.flag,
        default=False,
        decides=STARTS,
    )
    reset: bool = option(
        "",
        "first put back the oldest known start of these weights, whichever run began there",
        kinds.flag,
        default=False,
        decides=STARTS,
    )
    from_: str | None = option(
        "NAME",
        "first put back the weights that run NAME started from",
        kinds.word,
        decides=STARTS,
        suggest=run_names,
    )
    no_panel: bool = option("", "show the curve without dials", kinds.flag, default=False)
    hypers: dict[str, Any] = field(default_factory=dict)


ROWS: dict[str, Option] = {f.name: f.metadata["option"] for f in fields(Settings) if f.metadata}
OPTIONS = {name.rstrip("_").replace("_", "-"): row for name, row in ROWS.items()}
"""The rows by the names that users type."""


def read_settings(
    cell: Cell, line: Line, data: FunctionType | None, default: Callable[[str, bool], type[Optimiser]]
) -> Settings:
    """Evaluate and check the options of a line; an error is a UsageError in one line, with the choices.

    `data` is the line's expression, None where the loss takes no batch.  `default` gives the optimiser where --opt is
    not given, of the run's name and of whether the run goes on.
    """
    _check_values(line.options)
    texts = dict(line.options)
    name = kinds.variable(cell, "--name", texts.get("name", "run"))
    cls = kinds.optimiser(cell, "--opt", texts["opt"]) if "opt" in texts else default(name, "resume" in texts)
    _check_names(texts, cls)
    _check_combination(texts, data is not None)
    if data is not None:
        kinds.check_reads(data, cell.loss, f"the data {line.expr}")
    hypers: dict[str, tuple[str, object]] = {}
    for k, text in texts.items():
        if k not in OPTIONS:
            hypers[k] = f"--{k} {text}", kinds.expression(cell, f"--{k} {text}", text)
    values: dict[str, Any] = {"name": name, "hypers": check_hyperparameters(cls, hypers)}
    for field_name, (option_name, row) in zip(ROWS, OPTIONS.items()):
        found = [row.read(cell, f"--{k} {text}", text) for k, text in line.options if k == option_name]
        if found:
            values[field_name] = _by_name(option_name, found) if row.many else found[0]
    return Settings(**values)


def _by_name(option_name: str, pairs: list[Any]) -> dict[str, object]:
    """Collect the pairs of an option that may be given several times."""
    for name, n in Counter(name for name, _ in pairs).items():
        if n > 1:
            raise UsageError(f"--{option_name} {name} is given twice")
    return dict(pairs)


def _check_values(typed: list[tuple[str, str]]) -> None:
    """Check that each option is given once, with a value where it takes one."""
    counts = Counter(name for name, _ in typed)
    for name, text in typed:
        row = OPTIONS.get(name)
        if counts[name] > 1 and not (row and row.many):
            raise UsageError(f"--{name} is given twice")
        if row and not row.value and text:
            raise UsageError(f"--{name} takes no value, and was given {text}")
        if not text and (row is None or row.value):
            raise UsageError(f"--{name} needs a value" + (f": --{name} {row.value}" if row else ""))


def _check_names(texts: dict[str, str], cls: type[Optimiser]) -> None:
    """Check that each option is one of the magic, or a hyper-parameter of the optimiser."""
    own = {alias: h for h in cls.hypers.values() for alias in (h.name, h.ascii)}
    for name in own.keys() & OPTIONS.keys():
        raise UsageError(
            f"--{name}: a dial of {cls.__name__}, {own[name].doc}, and an option of %%train, {OPTIONS[name].help}: "
            "give the dial another name"
        )
    for name in texts:
        if name in OPTIONS or name in own:
            continue
        if any(name in (h.name, h.ascii) for c in OPTIMISERS.values() for h in c.hypers.values()):
            raise UsageError(f"{cls.__name__} has no --{name}; it has {', '.join(cls.hypers)}")
        if (ours := ELSEWHERE.get(name.lower().replace("_", "-"))) is not None:
            raise UsageError(f"there is no --{name}: here it is --{ours}{_belongs_to(ours, own)}")
        known = [f"--{k}" for k in (*OPTIONS, *cls.hypers)]
        raise UsageError(f"there is no --{name}{did_you_mean(f'--{name}', known, among=[f'--{k}' for k in own])}")


def _check_combination(texts: dict[str, str], has_data: bool) -> None:
    """Check that no two options say the same, and that those about epochs have epochs."""
    for name in texts.keys() & OPTIONS.keys():
        row = OPTIONS[name]
        if row.per_epoch and not has_data:
            raise UsageError(f"--{name} is evaluated after an epoch, and without NAMES in EXPR there is none")
        same = [k for k, other in OPTIONS.items() if k in texts and row.decides and other.decides == row.decides]
        if len(same) > 1:
            raise UsageError(f"--{' and --'.join(same)} say {row.decides}: give one of them")


DIALS_ELSEWHERE = {
    "η": "lr learning-rate learningrate alpha step-size",
    "ρ": "momentum",
    "β1 and --β2": "betas beta",
    "ϵ": "eps",
    "weightdecay": "wd weight-decay",
    "clipnorm": "max-norm clip-norm",
    "clip": "clip-value",
}
ELSEWHERE = {
    name: ours
    for ours, names in (*((k, row.words) for k, row in OPTIONS.items()), *DIALS_ELSEWHERE.items())
    for name in names.split()
}
"""What other libraries call an option, and its name here."""


def _belongs_to(ours: str, own: Iterable[str]) -> str:
    """Name the optimisers with a hyper-parameter that the one on the line lacks."""
    name = ours.partition(" ")[0]
    return "" if name in OPTIONS or canonical(name) in own else f", of {', '.join(owners(name))}"

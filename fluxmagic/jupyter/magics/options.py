"""The options of `%%train`: `Settings` is their table.

A field is one row.  All is checked before anything changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fluxmagic.jupyter.magics import option_values as kinds
from fluxmagic.jupyter.magics.cell import Cell
from fluxmagic.jupyter.magics.named_runs import trainable_names
from fluxmagic.jupyter.magics.option_table import OptionTable, option
from fluxmagic.jupyter.pictures.beside import ShownExpression
from fluxmagic.optimise import OPTIMISERS, Optimiser
from fluxmagic.runs.early_stopping import Condition
from fluxmagic.tracker import Param

__all__ = ["ENDS", "TRAIN", "Settings", "read_settings"]

HEAD = """\
Train what a cell's loss depends on.

    %%train NAMES in EXPR [--option value …]
    LOSS

EXPR gives the batches, and is evaluated afresh for every epoch; NAMES are bound to each of them, as by `for`.
LOSS is any Python, its last line an expression: the loss.  Values are Python too, evaluated in your namespace.

    %%train x, y in batches(X, Y, 32) --opt ADAM --η 0.001 --epochs 20 --valid Xtest, Ytest
    logitcrossentropy(model(x), y)

The run is put in the variable `run`: run.history, run.events.  ■ ends it after the batch.
"""
ENDS, STARTS = "when the run ends", "where the run starts"


@dataclass(frozen=True)
class Settings:
    """The options of a line with their values; `from_` is --from, `no_panel` --no-panel."""

    opt: type[Optimiser] | None = option(
        "NAME",
        "the optimiser: a registered one, or a class in the namespace",
        kinds.optimiser,
        "ADAM",
        words="optimizer optimiser optim",
        suggest=lambda ns: OPTIMISERS,
    )
    epochs: int | None = option(
        "N",
        "how often to go through the data",
        kinds.integer(1),
        "1",
        words="num-epochs n-epochs max-epochs",
        decides=ENDS,
    )
    steps: int | None = option(
        "N",
        "in place of --epochs: end after N steps; without NAMES in EXPR the loss takes no batch",
        kinds.integer(1),
        words="max-steps",
        decides=ENDS,
    )
    valid: object = option(
        "EXPR",
        "what the loss is validated on after every epoch; bound to the same NAMES",
        kinds.validation,
        "nothing",
        words="val validation validation-data",
        per_epoch=True,
    )
    metric: dict[str, Callable[..., Any]] | None = option(
        "name=EXPR",
        "a number to follow beside the loss, on the validation data; may be given several times",
        kinds.metric,
        "nothing",
        words="metrics",
        per_epoch=True,
        many=kinds.by_name,
    )
    until: Condition | None = option(
        "EXPR",
        "end after an epoch for which this is true; `valid` and metrics go by their names",
        kinds.condition,
        "never",
    )
    patience: int | None = option(
        "N",
        "end when the validation loss has had no new minimum for N epochs, with the best weights",
        kinds.integer(1),
        "no limit",
        words="early-stopping",
    )
    params: list[Param] | None = option(
        "EXPR", "what to train: parameters or models", kinds.parameters, "all that the first batch's loss depends on"
    )
    seed: int | None = option(
        "N", "for the order of the data and dropout", kinds.integer(0), "drawn", words="random-state"
    )
    name: str = option(
        "NAME", "the variable that the run is put in", kinds.variable, "run", unset="run", suggest=trainable_names
    )
    resume: bool = option(
        "",
        "go on with the run of that name, step numbers and optimiser state included",
        kinds.flag,
        "a new run, with the weights as they are",
        unset=False,
        decides=STARTS,
    )
    reset: bool = option(
        "",
        "first put back the oldest known start of these weights, whichever run began there",
        kinds.flag,
        unset=False,
        decides=STARTS,
    )
    from_: str | None = option(
        "NAME",
        "first put back the weights that run NAME started from",
        kinds.word,
        decides=STARTS,
        suggest=trainable_names,
    )
    show: list[ShownExpression] | None = option(
        "EXPR",
        "what to show beside the curve: anything with a rich display; may be given several times",
        kinds.shown,
        "nothing",
        many=list,
    )
    speed: float = option("N", "steps a second at most, where there are dials", kinds.speed, "max", unset=math.inf)
    capture: bool = option(
        "",
        "record the step and replay it: two to three times as fast for small models, in the same bits",
        kinds.flag,
        "ordinary steps",
        words="compile jit torch-compile",
        unset=False,
    )
    no_panel: bool = option("", "show the curve without dials", kinds.flag, "dials, where a page can", unset=False)
    hypers: dict[str, Any] = field(default_factory=dict)


TRAIN = OptionTable("%%train", Settings, HEAD)


def read_settings(cell: Cell, default: Callable[[str, bool], type[Optimiser]]) -> Settings:
    """Evaluate and check the options of a cell; an error is a UsageError in one line, with the choices.

    `default` gives the optimiser where --opt is not given, of the run's name and of whether the run goes on.
    """
    typed = cell.line.options
    TRAIN.check_values(typed)
    texts = dict(typed)
    name = kinds.variable(cell, "--name", texts.get("name", "run"))
    cls = kinds.optimiser(cell, "--opt", texts["opt"]) if "opt" in texts else default(name, "resume" in texts)
    TRAIN.check_names(texts, cls)
    TRAIN.check_combination(texts, cell.data is not None)
    if cell.data is not None:
        kinds.check_reads(cell.data.expr, cell.loss, f"the data {cell.line.expr}")
    hypers = kinds.dials(cell, TRAIN.dials(typed), cls)
    return Settings(**{**TRAIN.read(cell, typed), "name": name, "hypers": hypers})

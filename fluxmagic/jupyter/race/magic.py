"""`%%race`: its options, and the race that a cell makes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from IPython.core.error import UsageError

from fluxmagic.greek import canonical
from fluxmagic.jupyter.ipython_compat import Namespace
from fluxmagic.jupyter.magics import option_values as kinds
from fluxmagic.jupyter.magics.cell import Cell
from fluxmagic.jupyter.magics.cell_runs import begin, run_options
from fluxmagic.jupyter.magics.errors import refusals_as_usage_errors
from fluxmagic.jupyter.magics.magic_line import split_groups
from fluxmagic.jupyter.magics.named_runs import trainable_names
from fluxmagic.jupyter.magics.option_table import OptionTable, Typed, option
from fluxmagic.jupyter.magics.options import Settings
from fluxmagic.optimise import OPTIMISERS, Optimiser
from fluxmagic.race import Race
from fluxmagic.runs import Run

__all__ = ["RACE", "RaceSettings", "new_race", "read_race"]

HEAD = """\
Let optimisers race: side by side on the same weights and the same batches.

    %%race NAMES in EXPR --opt NAME [--dial value …] --opt NAME [--dial value …] …
    LOSS

The line is that of %%train.  Each --opt begins a contestant, and the dials after it are its own.  A dial before the
first --opt goes to all that have it.  Any other option counts for all, wherever it stands.

    %%race --steps 300 --opt SGD --η 0.001 --opt Momentum --η 0.0002 --ρ 0.99
    landscapes.rosenbrock(w)

The race is put in the variable `race`: race["SGD"] is a run, race["SGD"].take() gives the weights its values.  Without
that the weights are afterwards as before.
"""


NOT_HERE = {
    "resume": "a race begins anew; race.extend() and Panel(race) go on with the last one",
    "show": "a race shows losses, and its weights change hands between steps; race[0].take(), and show it then",
}


@dataclass(frozen=True)
class RaceSettings(Settings):
    """The options of a line with their values; `contestants` are optimisers with their dials."""

    opt: Any = option(
        "NAME",
        "a contestant: a registered optimiser, or a class in the namespace; the dials after it are its own",
        kinds.optimiser,
        words="optimizer optimiser optim",
        many=list,
        suggest=lambda ns: OPTIMISERS,
    )
    name: str = option(
        "NAME", "the variable that the race is put in", kinds.variable, "race", unset="race", suggest=trainable_names
    )
    resume: bool = False
    show: None = None
    contestants: list[tuple[type[Optimiser], dict[str, Any]]] = field(default_factory=list)


RACE = OptionTable("%%race", RaceSettings, HEAD)


def read_race(cell: Cell) -> RaceSettings:
    """Evaluate and check the options of a cell; an error is a UsageError in one line."""
    typed = cell.line.options
    names = [name for name, _ in typed]
    for name in names:
        if name in NOT_HERE:
            raise UsageError(f"--{name}: {NOT_HERE[name]}")
    before, groups = split_groups(typed, "opt")
    RACE.check_values([(name, text) for name, text in typed if name in RACE.rows])
    for part in (before, *groups):
        RACE.check_values(RACE.dials(part))
    classes = [kinds.optimiser(cell, "--opt", group[0][1]) for group in groups]
    if len(classes) < 2:
        raise UsageError(f"%%race takes --opt twice or more, one for each contestant, and was given {len(classes)}")
    RACE.check_names([name for name, _ in before], *classes)
    for cls, group in zip(classes, groups):
        RACE.check_names([name for name, _ in group], cls)
    RACE.check_combination(names, cell.data is not None)
    kinds.check_data(cell, "every contestant does")
    contestants = [(cls, _dials(cell, cls, before, group)) for cls, group in zip(classes, groups)]
    values = RACE.read(cell, typed)
    return RaceSettings(**{"name": kinds.variable(cell, "--name", "race"), **values, "contestants": contestants})


def _dials(cell: Cell, cls: type[Optimiser], before: Typed, own: Typed) -> dict[str, Any]:
    """Read a contestant's dials: its own, and those of all that it has."""
    known = {alias for h in cls.hypers.values() for alias in (h.name, h.ascii)}
    shared = [(name, text) for name, text in RACE.dials(before) if canonical(name) in known]
    return {**kinds.dials(cell, shared, cls), **kinds.dials(cell, RACE.dials(own), cls)}


def new_race(settings: RaceSettings, epochs: int, cell: Cell, ns: Namespace) -> tuple[Race, Run | None]:
    """Make a race over the weights that the line says; return it, and the run whose weights were put aside for that.

    `epochs` holds where the line has neither --epochs nor --steps.
    """
    with refusals_as_usage_errors():
        options = run_options(settings, epochs, cell.loss)
        race = Race(cell.loss.loss, cell.data, settings.params, settings.contestants, **options)
    for run in race:
        run.source = cell.source
    return race, begin(race, settings, cell.loss, ns)

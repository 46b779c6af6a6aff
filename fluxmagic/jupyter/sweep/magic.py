"""`%%sweep`: its options, and the sweep that a cell makes of them."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from IPython.core.error import UsageError

from fluxmagic.jupyter.ipython_compat import Namespace
from fluxmagic.jupyter.magics import option_values as kinds
from fluxmagic.jupyter.magics.cell import Cell
from fluxmagic.jupyter.magics.cell_runs import begin
from fluxmagic.jupyter.magics.errors import refusals_as_usage_errors
from fluxmagic.jupyter.magics.named_runs import trainable_names
from fluxmagic.jupyter.magics.option_table import OptionTable, option
from fluxmagic.jupyter.magics.options import ENDS, Settings
from fluxmagic.jupyter.magics.values import evaluate
from fluxmagic.optimise import OPTIMISERS, Optimiser
from fluxmagic.runs import Run
from fluxmagic.sweep import Sweep, loguniform, uniform

__all__ = ["SWEEP", "SweepSettings", "new_sweep", "read_sweep"]

HEAD = """\
Train what a cell's loss depends on many times: with each combination of dials, optimisers and lengths.

    %%sweep NAMES in EXPR [--option value …]
    LOSS

The line is that of %%train.  A list, tuple, range or array after a dial, --opt, --epochs or --steps is tried at each
entry; loguniform(a, b) and uniform(a, b) are drawn from, --samples times.

    %%sweep x, y in batches(X, Y, 32) --opt [Momentum, ADAM] --η np.logspace(-3, 0, 8) --epochs 5 --valid Xtest, Ytest
    logitcrossentropy(model(x), y)

The sweep is put in the variable `sweep`: sweep.table, sweep.best, sweep[3] is a run, sweep.best.take() gives the
weights its values.  Without that the weights are afterwards as before.
"""
RANKS = "what ranks the points"
CHOSEN = ("samples", "seeds", "seed", "valid", "max", "min", "halving", "on", "timeout", "name")


@dataclass(frozen=True)
class SweepSettings(Settings):
    """The options of a line with their values; `grid` is what is swept, and what is fixed."""

    opt: Any = option(
        "NAME or [NAME, …]",
        "the optimiser, or several: registered ones, or classes in the namespace",
        kinds.word,
        "ADAM",
        words="optimizer optimiser optim",
        suggest=lambda ns: OPTIMISERS,
    )
    epochs: Any = option(
        "N or list", "how often to go through the data", kinds.expression, "1", words="num-epochs", decides=ENDS
    )
    steps: Any = option("N or list", "in place of --epochs: end a trial after N steps", kinds.expression, decides=ENDS)
    samples: int | None = option("N", "draw N points from loguniform(a, b), uniform(a, b)", kinds.integer(1))
    seeds: int | None = option(
        "N",
        "repeat each point with N seeds: layers draw weights anew",
        kinds.integer(1),
        "the weights as they are",
    )
    max: str | None = option("METRIC", "rank the points by the largest METRIC", kinds.word, decides=RANKS)
    min: str | None = option(
        "METRIC",
        "rank the points by the smallest METRIC",
        kinds.word,
        "the validation loss, or the mean loss of the last epoch",
        decides=RANKS,
    )
    halving: int | None = option(
        "N", "keep one point in N after 1/N² and 1/N of the steps", kinds.integer(2), "all points to their ends"
    )
    on: Any = option(
        "EXPR",
        "where: a number of processes, a concurrent.futures.Executor, a Dask client",
        kinds.expression,
        "this process, by turns",
    )
    timeout: float | None = option("SECONDS", "a trial that takes longer has failed", kinds.expression, "no limit")
    name: str = option(
        "NAME", "the variable that the sweep is put in", kinds.variable, "sweep", unset="sweep", suggest=trainable_names
    )
    resume: bool = False
    reset: bool = False
    from_: None = None
    show: None = None
    speed: float = math.inf
    grid: dict[str, Any] = field(default_factory=dict)


SWEEP = OptionTable("%%sweep", SweepSettings, HEAD)


def read_sweep(cell: Cell, default: Callable[[], type[Optimiser]]) -> SweepSettings:
    """Evaluate and check the options of a cell; an error is a UsageError in one line."""
    typed = cell.line.options
    names, opts = [name for name, _ in typed], [text for name, text in typed if name == "opt"]
    if len(opts) > 1:
        raise UsageError(f"--opt is given {len(opts)} times: give a list, --opt [{', '.join(opts)}]")
    if gone := {"resume", "reset", "from", "show", "speed"}.intersection(names):
        raise UsageError(
            f"there is no --{min(gone)}: a sweep begins with the weights as they are, or with --seeds anew; "
            "sweep.train() goes on with what is not done"
        )
    SWEEP.check_values(typed)
    classes = _optimisers(cell, opts[0]) if opts else default()
    SWEEP.check_names(names, *(classes if isinstance(classes, list) else [classes]))
    SWEEP.check_combination(names, cell.data is not None)
    kinds.check_data(cell, "every trial does")
    grid: dict[str, Any] = {"opt": classes}
    for name, text in SWEEP.dials(typed):
        grid[name] = _dial(cell, name, text)
    values = SWEEP.read(cell, typed)
    values.pop("opt", None)
    lengths = {k: values.pop(k) for k in ("epochs", "steps") if k in values}
    values = {"name": kinds.variable(cell, "--name", "sweep"), **values, "grid": {**grid, **lengths}}
    return SweepSettings(**values)


def _optimisers(cell: Cell, text: str) -> type[Optimiser] | list[type[Optimiser]]:
    """Read one optimiser or a list; an entry is a registered name first, then a name of the namespace."""
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        tree = None
    if isinstance(tree, (ast.List, ast.Tuple)):
        entries = [e.value if isinstance(e, ast.Constant) else ast.unparse(e) for e in tree.elts]
        return [kinds.optimiser(cell, "--opt", str(entry)) for entry in entries]
    value = cell.compiler.ns.get(text)
    if isinstance(value, (list, tuple)) and text not in OPTIMISERS:
        return [v if isinstance(v, type) else kinds.optimiser(cell, "--opt", str(v)) for v in value]
    return kinds.optimiser(cell, "--opt", text)


def _dial(cell: Cell, name: str, text: str) -> object:
    """Evaluate a dial; loguniform and uniform are always ours."""
    f = cell.compiler.expression(f"--{name}", text)
    ours = {**cell.compiler.ns, "loguniform": loguniform, "uniform": uniform}
    return evaluate(FunctionType(f.__code__, ours), f"--{name} {text}")


def new_sweep(settings: SweepSettings, epochs: int, cell: Cell, ns: Namespace) -> tuple[Sweep, Run | None]:
    """Make a sweep from the weights as they are; `epochs` holds where the line has neither --epochs nor --steps."""
    s, loss = settings, cell.loss
    grid = s.grid if s.grid.keys() & {"epochs", "steps"} else {**s.grid, "epochs": epochs}
    options = {k: getattr(s, k) for k in ("until", "patience")} | ({"capture": True} if s.capture else {})
    chosen = {k: getattr(s, k) for k in CHOSEN}
    with refusals_as_usage_errors():
        sweep = Sweep(loss.loss, cell.data, s.params, grid, metrics=s.metric, model=loss.body, **chosen, **options)
    if not s.seeds:
        begin([], settings, loss, ns)
    print(f"{len(sweep):,} trials: {_axes(sweep)}")
    return sweep, None


def _axes(sweep: Sweep) -> str:
    parts = []
    for name, values in sweep.grid.axes.items():
        parts.append(f"{name} from {values!r}" if isinstance(values, uniform) else f"{len(values)} × {name}")
        lack = [c.__name__ for c in sweep.grid.classes if name not in (*c.hypers, "opt", "epochs", "steps")]
        parts[-1] += f" (not {', '.join(lack)})" if lack else ""
    return ", ".join([*parts, *([f"{sweep.seeds} seeds"] if sweep.seeds else [])]) or "one point"

"""The run of a `%%train` cell: a new one, over the weights as they are or as they were, or one that goes on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple
from weakref import ref

from IPython.core.error import UsageError

from fluxmagic.jupyter.ipython_compat import Namespace
from fluxmagic.jupyter.magics import origins
from fluxmagic.jupyter.magics.cell import Cell
from fluxmagic.jupyter.magics.cell_compiler import CellLoss
from fluxmagic.jupyter.magics.named_runs import find_trainable
from fluxmagic.jupyter.magics.options import Settings
from fluxmagic.jupyter.magics.values import evaluate
from fluxmagic.jupyter.pictures.beside import ShownExpression, evaluate_beside, show_beside
from fluxmagic.layers import named_params
from fluxmagic.optimise import Optimiser
from fluxmagic.runs import Run
from fluxmagic.tracker import Param

__all__ = ["Started", "begin", "new_run", "resume_run", "run_options"]


class Started(NamedTuple):
    """A run that can take its first step."""

    run: Run
    displaced: Run | None = None  # the run whose weights were put aside for the start that was asked for


def new_run(settings: Settings, opt: type[Optimiser], epochs: int, cell: Cell, ns: Namespace) -> Started:
    """Make a run, restore the weights that it starts from, and print where they come from.

    `opt` is the optimiser, also where the line names none; `epochs` holds where it has neither --epochs nor --steps.
    """
    loss = cell.loss
    made = opt if settings.params is None else opt(settings.params, **settings.hypers)
    hypers = settings.hypers if settings.params is None else None
    strict = settings.params is None
    run = Run(loss.loss, cell.data, made, hypers=hypers, strict=strict, **run_options(settings, epochs, loss))
    _show(run, settings.show)
    return Started(run, begin([run], settings, loss, ns))


def run_options(settings: Settings, epochs: int, loss: CellLoss) -> dict[str, Any]:
    """Give what a line says of a run, of whatever optimiser."""
    return {
        "epochs": None if settings.steps else settings.epochs or epochs,
        "steps": settings.steps,
        "valid": settings.valid,
        "metrics": settings.metric,
        "model": loss.body,
        "seed": settings.seed,
        "name": settings.name,
        "until": settings.until,
        "patience": settings.patience,
        "capture": settings.capture or None,
    }


def begin(runs: Iterable[Run], settings: Settings, loss: CellLoss, ns: Namespace) -> Run | None:
    """Restore the weights that new runs start from, and print where they come from; return the run that had them."""
    trained = settings.params or [p for _, p in named_params(loss.body)]
    before = _last_run(trained)
    same = ns.get(settings.name)
    if before is None and isinstance(same, Run) and same.steps and _share(same.params, trained):
        before = same
    start = None if settings.from_ is None else _start(settings.from_, trained, ns)
    for run in runs:
        origins.follow(run, before)
    if start is not None:
        start.reset_weights()
        print(f"starts from the weights that {_quoted(start)} started from")
        return before
    if before is None:
        return None
    if settings.reset:
        first = origins.reset(before)
        print(f"starts from the weights that {f'`{first}`' if first else 'the first run'} started from")
        return before
    if origins.changed(before):
        print(f"goes on from weights that were changed after {_quoted(before)} had trained them")
    else:
        steps = f"{before.steps:,} step{'s' * (before.steps != 1)}"
        print(f"goes on from weights trained by {_quoted(before)}, {steps}")
    return None


def resume_run(settings: Settings, epochs: int, cell: Cell, ns: Namespace) -> Started:
    """Change the run of that name to what the line says now."""
    run = _resumable(settings, cell, ns)
    _show(run, settings.show)
    if settings.steps is not None:
        run.epochs, run.step_limit = None, run.steps + settings.steps
    else:
        broken_off = int(run.history["epoch"][-1]) == run.epoch
        run.step_limit = None
        run.epochs = run.epoch - 1 + broken_off + (settings.epochs or epochs)
    run.loss, run.data, run.model = cell.loss.loss, cell.data, cell.loss.body
    run.valid, run.metrics = settings.valid, settings.metric or {}
    run.until, run.patience = settings.until, settings.patience
    run.capture = run.capture or settings.capture
    if settings.opt is not None:
        run.swap(settings.opt, **settings.hypers)
    elif settings.hypers:
        run.set(**settings.hypers)
    print(f"goes on with `{settings.name}`, after step {run.steps:,}")
    return Started(run)


def _resumable(settings: Settings, cell: Cell, ns: Namespace) -> Run:
    """Return the run of that name; a UsageError if it cannot go on with what the cell says."""
    what = f"--resume: `{settings.name}`"
    run = ns.get(settings.name)
    if not isinstance(run, Run) or not run.steps:
        raise UsageError(f"{what} is not a run that has taken a step: leave --resume out to begin one")
    if run.opt_class is None and (settings.opt is not None or settings.hypers):
        raise UsageError(f"{what} is trained by {run.opt_name}, {run.opt_kind} without dials: leave them out")
    if settings.seed not in (None, run.seed):
        raise UsageError(f"{what} was seeded with {run.seed} when it began: leave --seed out")
    if not _share(run.params, [p for _, p in named_params(cell.loss.body)]):
        raise UsageError(f"{what} trains parameters that the loss does not name: was the model made anew?")
    if settings.params is not None and {*map(id, settings.params)} != {*map(id, run.params)}:
        raise UsageError(f"{what} trains other parameters than --params: leave one of them out")
    if (cell.data is None) != (run.data is None):
        has = "takes no batch: leave NAMES in EXPR out" if run.data is None else "has data: NAMES in EXPR"
        raise UsageError(f"{what} {has}")
    _last_run(run.params)
    return run


def _show(run: Run, show: list[ShownExpression] | None) -> None:
    """Try what is to be shown beside a run."""
    for shown in show or ():
        shown.run = ref(run)
        evaluate(partial(evaluate_beside, run, shown), f"--show {shown.text}")
    if show is not None:
        show_beside(run, show)


def _start(name: str, trained: list[Param], ns: Namespace) -> Run:
    """Return the run that --from names."""
    try:
        run = find_trainable(ns, name)
    except UsageError as error:
        raise UsageError(f"--from {name}: {error}") from None
    if not isinstance(run, Run) or not run.steps:
        raise UsageError(f"--from {name}: give the name of a run that has taken a step")
    if not _share(run.params, trained):
        raise UsageError(f"--from {name}: that run trains other parameters than this cell's loss names")
    return run


def _last_run(params: list[Param]) -> Run | None:
    """Return the run that trained parameters last; a UsageError if one is training them now."""
    runs = {id(r): r for p in params if p.run_ref is not None and (r := p.run_ref()) is not None}
    for r in runs.values():
        if r.state == "running":
            raise UsageError(f"these weights are being trained by {_quoted(r)}: pause or stop it first")
    return next((r for r in runs.values() if r.steps and isinstance(r, Run)), None)  # a race gives its weights back


def _share(some: list[Param], others: list[Param]) -> bool:
    return not {*map(id, some)}.isdisjoint(map(id, others))


def _quoted(run: Run) -> str:
    return f"`{run.name}`" if run.name else "a run"

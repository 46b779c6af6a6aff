"""`%%train`, `%train` and `%optimisers`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from traitlets import Bool, Int, Unicode

from fluxmagic.jupyter import origins
from fluxmagic.jupyter.cell_compiler import Body, Cell, Data
from fluxmagic.jupyter.commands import COMMANDS, drive_here, one_line
from fluxmagic.jupyter.completion import complete_cell, complete_line
from fluxmagic.jupyter.help import Optimisers, help_cell, help_line
from fluxmagic.jupyter.magic_line import continued, cut, parse
from fluxmagic.jupyter.options import Settings, choices, optimiser, settings
from fluxmagic.layers import named_params
from fluxmagic.optimise import Optimiser
from fluxmagic.runs import Run
from fluxmagic.runs.early_stopping import Condition
from fluxmagic.runs.script import CellSource
from fluxmagic.tracker import Param

__all__ = ["FluxMagics"]


@magics_class
class FluxMagics(Magics):
    """Training in a cell; `%config FluxMagics` shows what can be set."""

    shell: Any
    opt = Unicode("ADAM", help="The optimiser of %%train where --opt is not given.").tag(config=True)
    epochs = Int(1, help="How often %%train goes through the data where --epochs is not given.").tag(config=True)
    panel = Bool(True, help="Whether %%train shows dials, where somebody can turn them.").tag(config=True)

    # -- coming and going ------------------------------------------------------------------------------------

    def add(self) -> None:
        """Put the magics and their completion into the shell."""
        manager = self.shell.magics_manager
        self._hidden = {
            kind: {name: manager.magics[kind][name] for name in mine if name in manager.magics[kind]}
            for kind, mine in self.magics.items()
        }
        manager.register(self)
        self.shell.set_hook("complete_command", self._complete_cell, str_key="%%train")
        self.shell.set_hook("complete_command", self._complete_line, str_key="%train")

    def remove(self) -> None:
        """Take them away again, and put back what they had hidden."""
        manager = self.shell.magics_manager
        for kind, mine in self.magics.items():
            for name in mine:
                manager.magics[kind].pop(name, None)
            manager.magics[kind].update(self._hidden[kind])
        manager.registry.pop(type(self).__name__, None)
        self.shell.configurables[:] = [c for c in self.shell.configurables if c is not self]
        completers = self.shell.strdispatchers["complete_command"].strs
        for key, mine in (("%%train", self._complete_cell), ("%train", self._complete_line)):
            chain = completers[key].chain
            chain[:] = [(priority, f) for priority, f in chain if getattr(f, "__func__", f) != mine]
            if not chain:
                del completers[key]

    def _complete_cell(self, _shell: Any, event: Any) -> list[str]:
        # of a line that is no Python, IPython itself does not know that what stands there is a value
        completer = self.shell.Completer
        values = completer.attr_matches if "." in event.symbol else completer.global_matches
        return complete_cell(event, self.shell.user_ns, self.opt) or list(values(event.symbol))

    def _complete_line(self, _shell: Any, event: Any) -> list[str]:
        return complete_line(event, self.shell.user_ns, COMMANDS)

    # -- %%train ---------------------------------------------------------------------------------------------

    @no_var_expand
    @cell_magic("train")  # type: ignore[arg-type]
    def train_cell(self, line: str, cell: str) -> None:
        """Train what the cell's loss depends on; what `%%train?` prints is made by `help_cell`."""
        ns = self.shell.user_ns
        line, cell = continued(line, cell)
        asked = parse(line)
        code = Cell(self.shell, line, cell)
        code.data_text = asked.expr
        body = Body(code, asked.names)
        expr = code.expression("the data", asked.expr) if asked.names else None
        data = None if expr is None else Data(expr, body.names, body.count)
        given = settings(code, body, expr, asked.options, self._default)
        epochs = 1 if given.steps else given.epochs or self.epochs
        if epochs > 1 and isinstance(ns.get(asked.expr), Iterator):
            raise UsageError(
                f"the data {asked.expr}: a {type(ns[asked.expr]).__name__} can be gone through once, and there are "
                f"{epochs} epochs: write here what makes it, or a list, or batches(...)"
            )
        # all has been checked that can be; from here on things change
        self._displaced: Run | None = None
        run = self._resume(given, body, data) if given.resume else self._make(given, body, data)
        run.source = CellSource(asked.names, asked.expr, code.code)
        before = ns.get(given.name, ...)
        ns[given.name] = run
        try:
            drive_here(run, self.shell, given.panel and self.panel)
        finally:
            origins.note(run)
            if not run.steps:  # it failed before its first step, and what was there is worth more
                del ns[given.name]
                if before is not ...:
                    ns[given.name] = before
                if self._displaced is not None:  # its weights were put aside for the start that was asked for
                    self._displaced.take()

    train_cell.getdoc = help_cell  # type: ignore[assignment]

    def _default(self, name: str, resume: bool) -> type[Optimiser]:
        """The optimiser that dials on the line belong to, where the line names none."""
        run = self.shell.user_ns.get(name)
        if resume and isinstance(run, Run) and run.opt_class is not None:
            return run.opt_class
        return optimiser(self.opt, self.shell.user_ns, "FluxMagics.opt ")

    def _make(self, given: Settings, body: Body, data: Data | None) -> Run:
        """A new run, over the weights as they are or as the one before had found them."""
        trained = given.params or [p for _, p in named_params(body.whole)]
        before = _trained_by(trained)
        same = self.shell.user_ns.get(given.name)
        if before is None and isinstance(same, Run) and same.steps and _share(same.params, trained):
            before = same
        start = None if given.start is None else self._start(given.start, trained)
        cls = given.opt or self._default(given.name, False)
        run = Run(
            body.loss,
            data,
            cls if given.params is None else cls(given.params, **given.hypers),
            epochs=None if given.steps else given.epochs or self.epochs,
            steps=given.steps,
            valid=given.valid,
            metrics=given.metrics,
            model=body.whole,
            seed=given.seed,
            name=given.name,
            hypers=given.hypers if given.params is None else None,
            patience=given.patience,
            strict=given.params is None,
        )
        run.until = _until(given.until)
        origins.follow(run, before)
        if start is not None or given.reset:
            self._displaced = before
        if start is not None:
            start.reset_weights()
            print(f"starts from the weights that {_called(start)} started from")
        elif before is not None and given.reset:
            first = origins.reset(before)
            print(f"starts from the weights that {f'`{first}`' if first else 'the first run'} started from")
        elif before is not None and origins.changed(before):
            print(f"goes on from weights that were changed after {_called(before)} had trained them")
        elif before is not None:
            steps = f"{before.steps:,} step{'s' * (before.steps != 1)}"
            print(f"goes on from weights trained by {_called(before)}, {steps}")
        return run

    def _start(self, name: str, trained: list[Param]) -> Run:
        """The run that --from names."""
        run = self.shell.user_ns.get(name)
        if not isinstance(run, Run) or not run.steps:
            raise UsageError(f"--from {name}: the name of a run that has taken a step is wanted")
        if not _share(run.params, trained):
            raise UsageError(f"--from {name}: that run trains other parameters than this cell's loss names")
        return run

    def _resume(self, given: Settings, body: Body, data: Data | None) -> Run:
        """The run of that name, with what the line says now."""
        what = f"--resume: `{given.name}`"
        run = self.shell.user_ns.get(given.name)
        if not isinstance(run, Run) or not run.steps:
            raise UsageError(f"{what} is no run that has taken a step: leave --resume out to begin one")
        if run.opt_class is None and (given.opt is not None or given.hypers):
            raise UsageError(f"{what} is trained by {run.opt_name}, {run.opt_kind} without dials: leave them out")
        if given.seed not in (None, run.seed):
            raise UsageError(f"{what} was seeded with {run.seed} when it began: leave --seed out")
        named = [p for _, p in named_params(body.whole)]
        if not _share(run.params, named):
            raise UsageError(f"{what} trains parameters that the loss does not name: was the model made anew?")
        if given.params is not None and {*map(id, given.params)} != {*map(id, run.params)}:
            raise UsageError(f"{what} trains other parameters than --params: leave one of the two out")
        if (data is None) != (run.data is None):
            has = "takes no batch: leave NAMES in EXPR out" if run.data is None else "has data: NAMES in EXPR"
            raise UsageError(f"{what} {has}")
        _trained_by(run.params)
        if given.steps is not None:
            run.epochs, run.step_limit = None, run.steps + given.steps
        broken_off = int(run.history["epoch"][-1]) == run.epoch
        run.loss, run.data, run.model = body.loss, data, body.whole
        run.valid, run.metrics = given.valid, given.metrics
        run.until, run.patience = _until(given.until), given.patience
        if given.steps is None:
            run.step_limit = None
            run.epochs = run.epoch - 1 + broken_off + (given.epochs or self.epochs)
        if given.opt is not None:
            run.swap(given.opt, **given.hypers)
        elif given.hypers:
            run.set(**given.hypers)
        print(f"goes on with `{given.name}`, after step {run.steps:,}")
        return run

    # -- %train, %optimisers ---------------------------------------------------------------------------------

    @no_var_expand
    @line_magic("train")  # type: ignore[arg-type]
    def train_line(self, line: str) -> None:
        """Look at a run, or turn it; what `%train?` prints is made by `help_line`."""
        head, options = cut(line)
        wrong = [option for option, _ in options if option != "name"]
        if wrong:
            raise UsageError(f"%train has no --{wrong[0]}; it has --name")
        name = options[-1][1] if options else "run"
        word, _, rest = (head or "status").partition(" ")
        if word not in COMMANDS:
            raise UsageError(f"%train {word}: there is no such command{choices(word, COMMANDS)}")
        command, usage, _ = COMMANDS[word]
        rest = rest.strip()
        if not rest and usage and not usage.startswith("["):
            raise UsageError(f"%train {word} needs more: %train {word} {usage}")
        if rest and not usage:
            raise UsageError(f"%train {word} takes nothing more, and was given {rest}")
        with one_line():
            command(self.shell, name, rest)
        origins.note(self.shell.user_ns.get(name))

    train_line.getdoc = lambda: help_line(COMMANDS)  # type: ignore[assignment]

    @no_var_expand
    @line_magic("optimisers")  # type: ignore[arg-type]
    def optimisers(self, line: str) -> Optimisers:
        """The optimisers that are there, with their dials, defaults and ranges; or those that are named."""
        named = [optimiser(name, self.shell.user_ns) for name in line.replace(",", " ").split()]
        return Optimisers(named or None)


def _called(run: Run) -> str:
    return f"`{run.name}`" if run.name else "a run"


def _share(some: list[Param], others: list[Param]) -> bool:
    return not {*map(id, some)}.isdisjoint(map(id, others))


def _trained_by(params: list[Param]) -> Run | None:
    """The run that has trained parameters last; a UsageError if one is at it."""
    owners = {id(r): r for p in params if p.run_ref is not None and (r := p.run_ref()) is not None}
    for r in owners.values():
        if r.state == "running":
            raise UsageError(f"these weights are being trained by {_called(r)}: pause or stop it first")
    return next((r for r in owners.values() if r.steps), None)


def _until(condition: Any) -> Condition | None:
    """The condition, in which losses, metrics, epoch and step go by their names."""
    if condition is None:
        return None
    return Condition(lambda values: eval(condition.__code__, condition.__globals__, dict(values)))

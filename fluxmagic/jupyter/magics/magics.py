"""`%%train`, `%train` and `%optimisers`: the class that IPython registers.

Options are rows in `options`, commands rows in `commands`.
"""

from __future__ import annotations

from functools import partial

from IPython.core.completer import context_matcher
from IPython.core.getipython import get_ipython
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from traitlets import Bool, Int, Unicode

import fluxmagic.jupyter.ipython_compat as ipython_compat
from fluxmagic.jupyter.driving.trainable import Trainable
from fluxmagic.jupyter.ipython_compat import CompletionContext, Shell, SimpleMatcherResult
from fluxmagic.jupyter.magics import origins
from fluxmagic.jupyter.magics.cell import Cell, read_cell
from fluxmagic.jupyter.magics.cell_runs import new_run, resume_run
from fluxmagic.jupyter.magics.commands import carry_out
from fluxmagic.jupyter.magics.completion import Offer, complete
from fluxmagic.jupyter.magics.errors import refusals_as_usage_errors, train_here
from fluxmagic.jupyter.magics.help import help_cell, help_line, optimiser_table
from fluxmagic.jupyter.magics.options import TRAIN, Settings, read_settings
from fluxmagic.jupyter.magics.tracebacks import users_frames_only
from fluxmagic.jupyter.magics.values import as_optimiser
from fluxmagic.jupyter.race.magic import RACE, new_race, read_race
from fluxmagic.jupyter.sweep.magic import SWEEP, new_sweep, read_sweep
from fluxmagic.optimise import OPTIMISERS, Optimiser
from fluxmagic.runs import Run
from fluxmagic.sweep import Sweep
from fluxmagic.table import Table

__all__ = ["FluxMagics"]


TABLES = {table.magic: table for table in (TRAIN, RACE, SWEEP)}
"""The options of each cell magic, for Tab."""


def _configured() -> dict[str, str]:
    """Return the values of options that `%config` sets."""
    magics = ipython_compat.loaded_magics(get_ipython(), "FluxMagics")
    return {"opt": magics.opt, "epochs": str(magics.epochs)}


@magics_class
class FluxMagics(Magics):
    """Training in a cell; `%config FluxMagics` shows what can be set."""

    shell: Shell  # type: ignore[assignment]
    opt = Unicode("ADAM", help="The optimiser of %%train where --opt is not given.").tag(config=True)
    epochs = Int(1, help="How often %%train goes through the data where --epochs is not given.").tag(config=True)
    panel = Bool(True, help="Whether %%train shows dials, in a front end that has widgets.").tag(config=True)
    full_tracebacks = Bool(False, help="Whether tracebacks show the frames of fluxmagic too.").tag(config=True)

    def add(self) -> None:
        """Add the magics and their completion to the shell."""
        self._hidden = ipython_compat.add_magics(self.shell, self)
        ipython_compat.add_matcher(self.shell, self._complete)

    def remove(self) -> None:
        """Remove them, and restore the magics that they hid."""
        ipython_compat.remove_magics(self.shell, self, self._hidden)
        ipython_compat.remove_matcher(self.shell, self._complete)

    @context_matcher(identifier="fluxmagic")  # type: ignore[untyped-decorator]
    def _complete(self, context: CompletionContext) -> SimpleMatcherResult:
        """Offer what fits on the line of a magic, and nothing else."""
        text, python = ipython_compat.text_until_cursor(context), partial(ipython_compat.python_matches, self.shell)
        offer = complete(text, self.shell.user_ns, TABLES, self.opt, python) or Offer("", [])
        keep = {"IPCompleter.python_func_kw_matcher", "IPCompleter.dict_key_matcher"} if offer.python else set()
        return ipython_compat.matches(offer.fragment, offer.described, keep)

    @no_var_expand
    @cell_magic("train")  # type: ignore[arg-type]
    def train_cell(self, line: str, cell: str) -> None:
        """Train what the cell's loss depends on; `help_cell` makes what `%%train?` prints."""
        with users_frames_only(self.shell, above=False):
            self._train(line, cell)

    train_cell.getdoc = lambda: help_cell(TRAIN, _configured())  # type: ignore[assignment]

    def _train(self, line: str, cell: str) -> None:
        ns = self.shell.user_ns
        typed = read_cell(self.shell, line, cell)
        settings = read_settings(typed, self._default)
        if not settings.steps and (epochs := settings.epochs or self.epochs) > 1:
            typed.check_repeatable(f"there are {epochs} epochs")
        # all has been checked that can be; from here on things change
        if settings.resume:
            started = resume_run(settings, self.epochs, typed, ns)
        else:
            opt = settings.opt or self._default(settings.name, False)
            started = new_run(settings, opt, self.epochs, typed, ns)
        started.run.source = typed.source
        try:
            self._put_and_train(typed, settings, *started)
        finally:
            origins.note(started.run)

    @no_var_expand
    @cell_magic("race")  # type: ignore[arg-type]
    def race_cell(self, line: str, cell: str) -> None:
        """Let optimisers race over what the cell's loss depends on; `%%race?` prints more."""
        with users_frames_only(self.shell, above=False):
            typed = read_cell(self.shell, line, cell, "%%race")
            settings = read_race(typed)
            self._put_and_train(typed, settings, *new_race(settings, self.epochs, typed, self.shell.user_ns))

    race_cell.getdoc = lambda: help_cell(RACE, {"epochs": _configured()["epochs"]})  # type: ignore[assignment]

    @no_var_expand
    @cell_magic("sweep")  # type: ignore[arg-type]
    def sweep_cell(self, line: str, cell: str) -> None:
        """Train what the cell's loss depends on at each point of a grid; `%%sweep?` prints more."""
        with users_frames_only(self.shell, above=False):
            typed = read_cell(self.shell, line, cell, "%%sweep")
            settings = read_sweep(typed, lambda: self._default("", False))
            self._put_and_train(typed, settings, *new_sweep(settings, self.epochs, typed, self.shell.user_ns))

    sweep_cell.getdoc = lambda: help_cell(SWEEP, _configured())  # type: ignore[assignment]

    def _put_and_train(self, typed: Cell, settings: Settings, trainable: Trainable, displaced: Run | None) -> None:
        """Put what is trained into its variable; if it fails before its first step, restore what was there.

        `displaced` is the run whose weights were put aside for the start.
        """
        ns = self.shell.user_ns
        before = ns.get(settings.name, ...)
        ns[settings.name] = trainable
        kept = False
        try:
            train_here(trainable, self.shell, not settings.no_panel and self.panel, settings.speed)
        except (TypeError, ValueError, AttributeError) as error:
            if not trainable.steps:
                typed.explain(error)
            raise
        except KeyboardInterrupt:
            kept = isinstance(trainable, Sweep)  # its trials may have taken steps, and can go on
            raise
        finally:
            if not (trainable.steps or kept):
                del ns[settings.name]
                if before is not ...:
                    ns[settings.name] = before
                if displaced is not None:
                    displaced.take()

    def _default(self, name: str, resume: bool) -> type[Optimiser]:
        """Return the optimiser whose hyper-parameters are options, where the line names none."""
        run = self.shell.user_ns.get(name)
        if resume and isinstance(run, Run) and run.opt_class is not None:
            return run.opt_class
        return as_optimiser(self.opt, self.shell.user_ns, "FluxMagics.opt ")

    @no_var_expand
    @line_magic("train")  # type: ignore[arg-type]
    def train_line(self, line: str) -> None:
        """Look at a run, or turn it; `help_line` makes what `%train?` prints."""
        with users_frames_only(self.shell), refusals_as_usage_errors():
            target = carry_out(self.shell, line)
        origins.note(self.shell.user_ns.get(target.name))

    train_line.getdoc = help_line  # type: ignore[assignment]

    @no_var_expand
    @line_magic("optimisers")  # type: ignore[arg-type]
    def optimisers(self, line: str) -> Table:
        """Show the optimisers with their dials, defaults and ranges; or those that are named."""
        named = [as_optimiser(name, self.shell.user_ns) for name in line.replace(",", " ").split()]
        return optimiser_table(named or OPTIMISERS.values())

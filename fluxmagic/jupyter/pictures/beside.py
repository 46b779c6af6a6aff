"""What is shown beside the curve of a run: functions without arguments, whose values have a rich display.

They belong to the run, so that they are there again when it goes on, in whatever cell or panel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, ref

from fluxmagic.runs import Run
from fluxmagic.runs.aside import aside, first_batch
from fluxmagic.runs.evaluate import named

__all__ = ["Shown", "ShownExpression", "evaluate_beside", "show_beside", "shown_beside", "try_beside"]

Shown = Callable[[], object]

_shown: WeakKeyDictionary[Run, tuple[Shown, ...]] = WeakKeyDictionary()


@dataclass(eq=False)
class ShownExpression:
    """The expression of a --show, as a function without arguments.

    Names of a batch are bound to the validation data, or to the first batch of the first epoch.
    """

    text: str
    function: Callable[..., object]  # of a batch, or of nothing
    reads_batch: bool
    run: ref[Run] | None = None  # known later; the table below holds this as long as the run is there

    def __call__(self) -> object:
        if not self.reads_batch:
            return self.function()
        run = None if self.run is None else self.run()
        assert run is not None
        whole = isinstance(run.valid, tuple) or hasattr(run.valid, "__array__")
        batch: Any = run.valid if whole else first_batch(run)
        if batch is None:  # of data that can be gone through once
            return None
        return self.function(*batch) if isinstance(batch, tuple) else self.function(batch)


def show_beside(run: Run, show: Shown | Iterable[Shown]) -> None:
    """Say what is to be shown beside a run: a function without arguments, or several."""
    functions = (show,) if callable(show) else tuple(show)
    for f in functions:
        if not callable(f):
            raise TypeError(f"show takes a function without arguments, or a list of them, not a {type(f).__name__}")
    _shown[run] = functions


def try_beside(run: object, show: Shown | Iterable[Shown]) -> None:
    """Say what is to be shown beside a run, after one evaluation of each; what they raise says that it is of `show`."""
    if not isinstance(run, Run):
        raise TypeError(f"show is for the curve of a run, and this is a {type(run).__name__}")
    functions = [show] if callable(show) else list(show)
    for f in functions:
        if callable(f):
            with named("show"):
                evaluate_beside(run, f)
    show_beside(run, functions)


def shown_beside(run: Run) -> tuple[Shown, ...]:
    """Return what is shown beside a run; of a branch, what is shown beside the run that it was made of."""
    while run not in _shown and run.parent is not None:
        run = run.parent
    return _shown.get(run, ())


def evaluate_beside(run: Run, f: Shown) -> object:
    """Evaluate such a function in test mode, between two batches; nothing that training depends on changes."""
    with aside(run):
        return f()

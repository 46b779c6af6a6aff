"""How a sweep is shown."""

from __future__ import annotations

from IPython.core.getipython import get_ipython
from IPython.display import display

from fluxmagic.jupyter.driving.presentation import Presentation
from fluxmagic.jupyter.driving.views import frontend_kind
from fluxmagic.jupyter.pictures.axes import DISPLAY_SIZE
from fluxmagic.jupyter.sweep.controls import SweepControls
from fluxmagic.jupyter.sweep.picture import SweepPicture
from fluxmagic.jupyter.sweep.words import progress, summary
from fluxmagic.sweep import Sweep

__all__ = ["PRESENTATION", "display_sweep"]


def display_sweep(sweep: Sweep) -> None:
    """Show the picture and the summary of a sweep at the end of a cell; in a terminal its repr."""
    if frontend_kind(get_ipython()) == "terminal":
        print(repr(sweep))
        return
    if sweep.steps:
        bundle = {"image/png": SweepPicture(sweep).picture(), "text/plain": repr(sweep)}
        display(bundle, raw=True, metadata={"image/png": DISPLAY_SIZE})  # type: ignore[no-untyped-call]
    display({"text/plain": summary(sweep)}, raw=True)  # type: ignore[no-untyped-call]


PRESENTATION = Presentation(SweepPicture, SweepControls, progress, summary)

"""How a run is shown: its curve, with the curves of earlier runs in grey, and its controls."""

from __future__ import annotations

from fluxmagic.jupyter import formatting
from fluxmagic.jupyter.controls.run_controls import RunControls
from fluxmagic.jupyter.driving.presentation import Presentation
from fluxmagic.jupyter.driving.views import display_result
from fluxmagic.jupyter.pictures.plot import Curve, recent_curves
from fluxmagic.runs import Run

__all__ = ["PRESENTATION", "display_run"]


def display_run(run: Run) -> None:
    """Show the curve and the summary of a run at the end of a cell, without earlier runs."""
    display_result(run, Curve(run))


PRESENTATION = Presentation(
    lambda run: Curve(run, recent_curves(run)), RunControls, formatting.progress, formatting.summary
)

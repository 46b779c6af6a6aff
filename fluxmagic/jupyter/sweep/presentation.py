"""How a sweep is shown."""

from __future__ import annotations

from fluxmagic.jupyter.driving.presentation import Presentation
from fluxmagic.jupyter.sweep.controls import SweepControls
from fluxmagic.jupyter.sweep.picture import SweepPicture
from fluxmagic.jupyter.sweep.words import progress, summary

__all__ = ["PRESENTATION"]


PRESENTATION = Presentation(SweepPicture, SweepControls, progress, summary)

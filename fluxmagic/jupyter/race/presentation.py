"""How a race is shown."""

from __future__ import annotations

from fluxmagic.jupyter.driving.presentation import Presentation
from fluxmagic.jupyter.race.controls import RaceControls
from fluxmagic.jupyter.race.picture import RacePicture
from fluxmagic.jupyter.race.words import progress, summary

__all__ = ["PRESENTATION"]

PRESENTATION = Presentation(RacePicture, RaceControls, progress, summary)

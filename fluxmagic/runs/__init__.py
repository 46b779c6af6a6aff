"""Runs: training as an object that can be stepped, turned, paused and looked at.  Knows nothing of Jupyter."""

from fluxmagic.runs.archive import ArchiveError
from fluxmagic.runs.early_stopping import Condition
from fluxmagic.runs.history import Event, History
from fluxmagic.runs.optimisers import Turns
from fluxmagic.runs.replay import ReplayMismatch
from fluxmagic.runs.run import Run
from fluxmagic.runs.weights import load_params, save_params

__all__ = [
    "ArchiveError",
    "Condition",
    "Event",
    "History",
    "ReplayMismatch",
    "Run",
    "Turns",
    "load_params",
    "save_params",
]

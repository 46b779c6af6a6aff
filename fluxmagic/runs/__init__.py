"""Runs: training as an object that can be stepped, turned, paused and looked at.  Knows nothing of Jupyter."""

from fluxmagic.runs.archive import ArchiveError
from fluxmagic.runs.back import NotRepeated
from fluxmagic.runs.history import Event, History
from fluxmagic.runs.run import Run
from fluxmagic.runs.weights import load_params, save_params

__all__ = ["ArchiveError", "Event", "History", "NotRepeated", "Run", "load_params", "save_params"]

"""Runs: training as an object that can be stepped, turned, paused and looked at.  Knows nothing of Jupyter."""

from fluxmagic.runs.history import Event, History
from fluxmagic.runs.run import Run

__all__ = ["Event", "History", "Run"]

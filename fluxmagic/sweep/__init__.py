"""Sweeps: one model trained many times, on one core, on processes, on a cluster.  Knows nothing of Jupyter."""

from fluxmagic.sweep.grid import loguniform, uniform
from fluxmagic.sweep.sweep import Sweep

__all__ = ["Sweep", "loguniform", "uniform"]

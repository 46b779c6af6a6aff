"""Sweeps: one model trained many times, on one core, on processes, on a cluster.  Knows nothing of Jupyter.

The way of a trial: `grid` makes its point, and `sweep` a `Spec` of it.  The `scheduler` sends a `Job`, a slice of the
trial, to a worker of one of the `places`.  There a `desk` makes the run from `setup`, trains it, and answers with a
`Report`, in which a `Line` says where the trial stands.  The scheduler enters it in the `trial`; the next slice begins
there, on any worker.  `views` make a run of it for the user, `saving` a part of a file.
"""

from fluxmagic.sweep.grid import loguniform, uniform
from fluxmagic.sweep.sweep import Sweep

__all__ = ["Sweep", "loguniform", "uniform"]

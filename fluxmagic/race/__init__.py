"""Races: optimisers side by side over the same parameters, and the plane of a run's path.  Knows nothing of Jupyter."""

from fluxmagic.race.race import Race

__all__ = ["Race"]

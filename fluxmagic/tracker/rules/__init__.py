"""The rule table, by family.  Importing this package fills it.

To add an operation, write one `define(...)` in the family it belongs to.
"""

from fluxmagic.tracker.operation import LATE_RULES
from fluxmagic.tracker.rules import (
    choices,
    elementwise,
    factors,
    grids,
    histograms,
    linalg,
    plain,
    products,
    quantiles,
    reductions,
    scans,
    shapes,
    statistics,
    windows,
)

__all__ = [
    "choices",
    "elementwise",
    "factors",
    "grids",
    "histograms",
    "linalg",
    "plain",
    "products",
    "quantiles",
    "reductions",
    "scans",
    "shapes",
    "statistics",
    "windows",
]


def _enter_special() -> None:
    """Enter the rules of scipy.special, when one of its ufuncs first meets a tracked array."""
    from fluxmagic.tracker.rules import special as special


LATE_RULES["scipy.special"] = _enter_special

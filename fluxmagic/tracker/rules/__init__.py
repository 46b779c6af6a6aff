"""The rule table, by family.  Importing this package fills it.

To add an operation, write one `define(...)` in the family it belongs to.
"""

from fluxmagic.tracker.rules import (
    choices,
    elementwise,
    factors,
    grids,
    histograms,
    linalg,
    plain,
    products,
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
    "reductions",
    "scans",
    "shapes",
    "statistics",
    "windows",
]

"""The rule table, by family.  Importing this package fills it.

To add an operation, write one `define(...)` in the family it belongs to.
"""

from fluxmagic.tracker.operation import LATE_RULES
from fluxmagic.tracker.rules import choices as choices
from fluxmagic.tracker.rules import elementwise as elementwise
from fluxmagic.tracker.rules import factors as factors
from fluxmagic.tracker.rules import grids as grids
from fluxmagic.tracker.rules import histograms as histograms
from fluxmagic.tracker.rules import linalg as linalg
from fluxmagic.tracker.rules import plain as plain
from fluxmagic.tracker.rules import products as products
from fluxmagic.tracker.rules import quantiles as quantiles
from fluxmagic.tracker.rules import reductions as reductions
from fluxmagic.tracker.rules import scans as scans
from fluxmagic.tracker.rules import shapes as shapes
from fluxmagic.tracker.rules import statistics as statistics
from fluxmagic.tracker.rules import windows as windows


def _enter_special() -> None:
    """Enter the rules of scipy.special, when one of its ufuncs first meets a tracked array."""
    from fluxmagic.tracker.rules import special as special


LATE_RULES["scipy.special"] = _enter_special

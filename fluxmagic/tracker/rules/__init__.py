"""The rule table, by family.  Importing this package fills it.

To add an operation, write one `define(...)` in the family it belongs to.
"""

from fluxmagic.tracker.rules import elementwise, linalg, neural, plain, products, reductions, shapes

__all__ = ["elementwise", "linalg", "neural", "plain", "products", "reductions", "shapes"]

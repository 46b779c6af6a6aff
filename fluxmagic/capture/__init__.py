"""A training step recorded once and replayed, in the same bits.

`capture` makes such a step.  `recorded` and `recording` write down what NumPy is asked to do, `plan` makes a program of
it (`calls`), `text` turns that into Python, `guards` say what has to hold, `verify` compares with the ordinary step.
`compiled_update` makes an optimiser's rule one pass over memory.
"""

from fluxmagic.capture.report import Report
from fluxmagic.capture.step import CapturedStep, StepsDiffer, capture

__all__ = ["CapturedStep", "Report", "StepsDiffer", "capture"]

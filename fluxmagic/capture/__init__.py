"""A training step recorded once and replayed, in the same bits.

`capture` makes such a step.  `recorded` and `recording` write down what NumPy is asked to do, `plan` makes a program of
it (`calls`), `text` turns that into Python, `guards` say what has to hold, `verify` compares with the ordinary step.
`reach` finds what a loss can read; `outside` refuses what may change with nothing to show it.
`compiled_update` makes an optimiser's rule one pass over memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxmagic.optimise.inputs import Loss, as_optimisers

if TYPE_CHECKING:
    from fluxmagic.capture.step import CapturedStep

__all__ = ["capture"]


def capture(loss: Loss, opt: object, *, verify: int = 256) -> CapturedStep:
    """Make a training step that is recorded once and then replayed, in the same bits.

    Parameters
    ----------
    loss : callable
        Of a batch, to a scalar.
    opt : Optimiser or list of them
    verify : int
        Steps from one verification to the next, at most: a step is then taken both ways and compared to the bit.  The
        first ones are steps 3, 5, 9, 17, …

    Returns
    -------
    CapturedStep
        `step(*batch)` takes one checked step and returns the loss.  `step.report` counts the steps, and says why some
        are ordinary ones; `step.source` is the program.

    Notes
    -----
    Two to three times as fast as an ordinary step of a small model.  A loss that can read what may change unseen (a
    `bytearray`, a weak reference, a large list, an iterator, an array of a subclass), or that calls the system (files,
    the clock, the environment, `print`), is refused with the reason: its steps are ordinary ones.

    Of what the standard library, NumPy and compiled extensions keep in their own modules only what the loss names is
    looked at, and not, say, the precision of `decimal`.  Where a loss reads that, a change is noticed by the next
    verification, which may be up to `verify` steps later; one that changes back before is not noticed.  A `Run` is
    verified also where it comes to rest and before it is saved or branched, and takes wrong steps again; `train` is
    verified also at its end, and warns.

    Examples
    --------
    >>> W = param([1.0, 2.0])
    >>> step = capture(lambda x: ((W - x) ** 2).sum(), ADAM([W], 0.1))
    >>> for _ in range(100):
    ...     l = step(0.0)
    >>> print(step.report)
    92 of 100 steps replayed, 6 verified
    """
    from fluxmagic.capture.step import CapturedStep  # two thirds of an import of fluxmagic, so at the first use

    return CapturedStep(loss, as_optimisers(opt), verify)

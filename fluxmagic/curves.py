"""The curves of several runs in one picture; matplotlib is imported at the first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxmagic.lazy import load

if TYPE_CHECKING:
    from fluxmagic.jupyter import Comparison
    from fluxmagic.runs import Run

__all__ = ["compare"]


def compare(*runs: Run, log: bool = False, smoothing: float = 0.9) -> Comparison:
    """Lay the curves of runs over each other.

    Parameters
    ----------
    *runs : Run
    log : bool
        Whether the loss axis is logarithmic.
    smoothing : float
        The share of the smoothed loss that is kept from step to step, in [0, 1).

    Returns
    -------
    Comparison
        A notebook shows it.

    Raises
    ------
    TypeError
        If there is no run, or something that is none.
    ValueError
        If smoothing is out of range.
    ImportError
        If IPython, ipywidgets or matplotlib is missing.

    Examples
    --------
    >>> from fluxmagic import SGD, Run, compare, param
    >>> W = param(2.0)
    >>> a = Run(lambda x: (W * x) ** 2, [1.0] * 5, SGD([W], 0.1), name="a")
    >>> a.train()
    >>> picture = compare(a)
    """
    return load("fluxmagic.jupyter.comparison", "compare")(*runs, log=log, smoothing=smoothing)  # type: ignore[no-any-return]

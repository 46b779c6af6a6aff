"""The curves of several runs in one picture; matplotlib is imported at the first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fluxmagic.lazy import load

if TYPE_CHECKING:
    from fluxmagic.jupyter.pictures.comparison import Comparison
    from fluxmagic.runs import Run

__all__ = ["compare"]


def compare(
    *runs: Run,
    log: bool | None = None,
    smoothing: float = 0.9,
    title: str = "",
    size: tuple[float, float] | None = None,
) -> Comparison:
    """Lay the curves of runs over each other.

    Every line starts at its first loss.  Its label has the run's name, optimiser, and the dials that differ.

    Parameters
    ----------
    *runs : Run
    log : bool, optional
        Whether the loss axis is logarithmic; default: where losses extend over more than two decades.
    smoothing : float
        The share of the smoothed loss that is kept from step to step, in [0, 1).
    title : str
    size : pair of float, optional
        Width and height in inches.

    Returns
    -------
    Comparison
        A notebook shows it.

    Raises
    ------
    TypeError
        If there is no run, or something that is none.
    ValueError
        If smoothing or size is out of range.
    ImportError
        If IPython, ipywidgets or matplotlib is missing.

    Examples
    --------
    >>> W = param(2.0)
    >>> a = Run(lambda x: (W * x) ** 2, [1.0] * 5, SGD([W], 0.1), name="a")
    >>> a.train()
    >>> picture = compare(a)
    """
    draw: Callable[..., Comparison] = load("fluxmagic.jupyter.pictures.comparison", "compare")
    return draw(*runs, log=log, smoothing=smoothing, title=title, size=size)

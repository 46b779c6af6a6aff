"""The curves of several runs in one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fluxmagic.jupyter import axes
from fluxmagic.jupyter.downsample import RunSeries
from fluxmagic.runs import Run

__all__ = ["Comparison", "compare"]

COLOURS = (axes.LOSS, axes.VALID, *axes.METRICS)
DASHES = ("-", "--", ":", "-.")


class Comparison:
    """What `compare` gives: a picture that a notebook shows.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
    names : list of str
    """

    def __init__(self, figure: Figure, names: list[str]) -> None:
        self.figure = figure
        self.names = names

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return axes.sharp_png(self.figure), axes.DISPLAY_SIZE

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.names)})"


@np.errstate(all="ignore")
def compare(*runs: Run, log: bool = False, smoothing: float = 0.9) -> Comparison:
    """Lay the curves of runs over each other; `fluxmagic.compare` says what it takes."""
    if not runs:
        raise TypeError("compare takes runs, and was given none: compare(run1, run2)")
    for r in runs:
        if not isinstance(r, Run):
            raise TypeError(f"compare takes runs, not a {type(r).__name__}: compare(run1, run2)")
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing = {smoothing:g} is out of range: 0 ≤ smoothing < 1")
    labels = _distinct_names(runs)
    with axes.default_style():
        figure, ax = axes.make_axes()
        losses: list[np.ndarray] = []
        lines: list[Line2D] = []
        for i, run in enumerate(runs):
            series = RunSeries(run)
            series.update()
            colour, dashes = COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]
            ax.plot(*series.loss.line(), color=colour, alpha=0.2, lw=0.8)
            x, y = series.loss.moving_average(smoothing)
            lines += ax.plot(x, y, color=colour, lw=1.8, ls=dashes)
            losses.append(y)
            if "valid" in series.evaluations:
                x, y = series.evaluations["valid"].line()
                ax.plot(x, y, color=colour, lw=1.2, ls=":")
                losses.append(y)
        ax.set_yscale("log" if log else "linear")
        ax.set_ylim(*axes.with_margin(*axes.data_range(losses, log), log))
        end = max([2, *(r.steps for r in runs)])
        ax.set_xlim(-0.01 * end, end)
        legend = ax.legend(lines, ["x"] * len(lines), loc="upper right", frameon=False, labelcolor=axes.INK, fontsize=9)
        axes.label_legend(legend, labels)
    return Comparison(figure, labels)


def _distinct_names(runs: Sequence[Run]) -> list[str]:
    names = [r.name or "run" for r in runs]
    return [f"{k} ({i})" if names.count(k) > 1 else k for i, k in enumerate(names, 1)]

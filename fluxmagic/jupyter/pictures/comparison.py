"""The curves of several runs in one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fluxmagic.jupyter.formatting import format_value
from fluxmagic.jupyter.pictures import axes
from fluxmagic.jupyter.pictures.downsample import RunSeries
from fluxmagic.jupyter.pictures.limits import is_wide, loss_range, with_margin
from fluxmagic.runs import Run

__all__ = ["Comparison", "compare"]

COLOURS = (axes.LOSS, axes.VALID, *axes.METRICS)
DASHES = ("-", "--", ":", "-.")
ROW = 0.27  # inches, of a label


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
        return axes.sharp_png(self.figure), {"width": round(self.figure.get_figwidth() * axes.DPI)}

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.names)})"


@np.errstate(all="ignore")
def compare(
    *runs: Run,
    log: bool | None = None,
    smoothing: float = 0.9,
    title: str = "",
    size: tuple[float, float] | None = None,
) -> Comparison:
    """Lay the curves of runs over each other; `fluxmagic.compare` says what it takes."""
    if not runs:
        raise TypeError("compare takes runs, and was given none: compare(run1, run2)")
    for r in runs:
        if not isinstance(r, Run):
            raise TypeError(f"compare takes runs, not a {type(r).__name__}: compare(run1, run2)")
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing = {smoothing:g} is out of range: 0 ≤ smoothing < 1")
    columns = 1 if len(runs) == 1 else 2
    width, height = (axes.WIDTH, axes.ROW + ROW * -(-len(runs) // columns)) if size is None else _checked(size)
    labels = _labels(runs)
    with axes.default_style():
        figure = axes.make_figure(width, height)
        below = axes.BOTTOM + ROW * -(-len(runs) // columns)
        ax = figure.add_axes(
            (
                axes.LEFT / width,
                below / height,
                1 - (axes.LEFT + axes.RIGHT) / width,
                1 - (below + axes.TOP * (1 if title else 0.4)) / height,
            )
        )
        axes.strip_axes(ax)
        axes.style_steps(ax)
        axes.set_plain_text(ax.set_title("", color=axes.INK, fontsize=axes.FONT), title)
        losses: list[np.ndarray] = []
        lines: list[Line2D] = []
        for i, run in enumerate(runs):
            series = RunSeries(run)
            series.update()
            colour, dashes = COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]
            β = smoothing if run.has_noise else 0.0
            if β:
                ax.plot(*series.loss.line(), color=colour, alpha=0.2, lw=0.8)
            x, y = series.loss.moving_average(β)
            lines += ax.plot(x, y, color=colour, lw=1.8, ls=dashes)
            losses.append(y)
            if "valid" in series.evaluations:
                x, y = series.evaluations["valid"].line()
                ax.plot(x, y, color=colour, lw=1.2, ls=":")
                losses.append(y)
        log = is_wide(losses, False) if log is None else log
        axes.scale_losses(ax, *with_margin(*loss_range(losses, log), log), log)
        end = max([2, *(r.steps for r in runs)])
        ax.set_xlim(-0.01 * end, end)
        axes.add_legend(figure, lines, labels, "lower left", ((axes.LEFT - 0.1) / width, 0.0), columns)
    return Comparison(figure, labels)


def _checked(size: Sequence[float]) -> tuple[float, float]:
    """Check a size in inches."""
    numbers = np.asarray(size, float)
    if numbers.shape != (2,) or not ((numbers >= 2) & (numbers <= 40)).all():
        raise ValueError(f"size is a width and a height in inches, from 2 to 40, as in (9, 4): not {size!r}")
    return float(numbers[0]), float(numbers[1])


def _labels(runs: Sequence[Run]) -> list[str]:
    """Name runs by their names, optimisers, and the dials that differ where they began."""
    begun = [_beginning(r) for r in runs]
    common = set.intersection(*map(set, begun))
    differ = [k for k in begun[0] if k in common and k != "opt" and any(b[k] != begun[0][k] for b in begun)]
    labels = []
    for run, values in zip(runs, begun, strict=True):
        dials = [f"{k} {format_value(values[k])}" for k in differ]
        swaps = [e.new for e in run.events if e.name == "opt" and e.step]
        words = " → ".join([" ".join([str(values["opt"]), *dials]), *swaps])
        turned = ", turned" if any(e.step and e.name != "opt" for e in run.events) else ""
        labels.append(f"{run.name}: {words}{turned}" if run.name else words + turned)
    return [f"{k} ({i})" if labels.count(k) > 1 else k for i, k in enumerate(labels, 1)]


def _beginning(run: Run) -> dict[str, object]:
    """Give optimiser and dials of the first step."""
    return {"opt": run.record.opt, **run.record.values, **{e.name: e.new for e in run.events if e.step == 0}}

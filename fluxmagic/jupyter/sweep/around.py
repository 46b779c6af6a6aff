"""What `%train map`, `%train find` and `run.again` show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from IPython.core.getipython import get_ipython
from matplotlib.axes import Axes

from fluxmagic.jupyter.driving.panel import Panel
from fluxmagic.jupyter.driving.views import frontend_kind
from fluxmagic.jupyter.pictures import axes
from fluxmagic.jupyter.pictures.limits import before_divergence, is_wide, loss_range, with_margin
from fluxmagic.sweep import Sweep
from fluxmagic.sweep.around import Again, RangeTest

__all__ = ["draw_again", "draw_range_test", "show_map"]

Png = tuple[bytes, dict[str, int]]


def show_map(sweep: Sweep) -> None:
    """Train a map: in a panel that plays, where a page has widgets, so that a click turns the dials of its run."""
    panel = Panel(sweep)
    if frontend_kind(get_ipython()) == "widgets":
        panel._ipython_display_()
        panel.resume()
    else:
        panel.wait()


def draw_range_test(test: RangeTest) -> Png:
    """Draw loss against η, with the range and the suggestion."""

    def draw(ax: Axes) -> None:
        ax.set_xscale("log")
        ax.set_xlim(*with_margin(float(test.values[0]), float(test.values[-1]), True))
        ax.set_xlabel(test.name, color=axes.INK, loc="right")
        ax.plot(test.values, test.loss, color=axes.LOSS, alpha=0.35, lw=0.9)
        ax.plot(test.values, test.smoothed, color=axes.LOSS, lw=1.8)
        _scale(ax, [test.smoothed, np.quantile(test.loss, [0.02, 0.9])])
        if test.range is not None and test.suggestion is not None:
            ax.axvspan(*test.range, color=axes.LOSS, alpha=0.12, lw=0)
            ax.axvline(test.suggestion, color=axes.VALID, lw=2)

    return _draw(draw, repr(test))


def draw_again(found: Again) -> Png:
    """Draw the quartiles of the loss over the seeds, with and without the turns."""

    def draw(ax: Axes) -> None:
        axes.style_steps(ax)
        losses, end = [], 2
        for sweep, name, colour in (
            (found.plain, "without the turns", axes.INK),
            (found.turned, "with them", axes.LOSS),
        ):
            steps, quartiles = found.band(sweep)
            size = -(-len(steps) // 200)
            starts = np.arange(0, len(steps), size)
            low, middle, high = np.add.reduceat(quartiles, starts, axis=0).T / np.diff(np.append(starts, len(steps)))
            ax.fill_between(steps[starts], low, high, color=colour, alpha=0.25, lw=0)
            ax.plot(steps[starts], middle, color=colour, lw=1.8, label=name)
            losses += [low, high]
            end = max(end, int(steps[-1]))
        _scale(ax, losses)
        ax.set_xlim(-0.01 * end, end)
        ax.legend(frameon=False, fontsize=axes.SMALL, labelcolor=axes.INK, loc="upper right")

    return _draw(draw, f"better in {found.better} of {len(found.turned)} seeds; bands from quartile to quartile")


def _scale(ax: Axes, losses: list[np.ndarray]) -> None:
    log = is_wide([before_divergence(y)[0] for y in losses], False)
    axes.scale_losses(ax, *with_margin(*loss_range(losses, log), log), log)


@np.errstate(all="ignore")
def _draw(draw: Callable[[Axes], None], title: str) -> Png:
    with axes.default_style():
        figure = axes.make_figure()
        width, height = axes.WIDTH, axes.ROW
        left, bottom = axes.LEFT / width, axes.BOTTOM / height
        ax = figure.add_axes((left, bottom, 1 - left - axes.RIGHT / width, 1 - bottom - axes.TOP / height))
        axes.strip_axes(ax)
        ax.grid(color=axes.INK, alpha=0.22, lw=0.6)
        draw(ax)
        text = ax.set_title("", color=axes.INK, fontsize=axes.SMALL, loc="left")
        axes.set_plain_text(text, "")
        text.set_text(title)
        return axes.sharp_png(figure), axes.DISPLAY_SIZE

"""What all pictures share: sizes, colours, axes, limits, and text that is shown as it is.

On white and on black alike: no colour is lighter or darker than these, and the background is transparent.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

__all__ = [
    "BAD", "DISPLAY_SIZE", "EVENT", "INK", "LOSS", "METRICS", "VALID", "data_range", "default_style", "label_legend",
    "make_axes", "set_plain_text", "sharp_png", "shorten", "strip_axes", "with_margin",
]  # fmt: skip

SIZE = (8.6, 3.6)  # inches
DPI = 100
FINAL_DPI = 160  # of the picture that stays
DISPLAY_SIZE = {"width": round(SIZE[0] * DPI), "height": round(SIZE[1] * DPI)}  # in points of the page
MAX_LABEL = 46  # characters that fit beside a mark

INK = "#808890"
LOSS = "#3b82d6"
VALID = "#cf6a12"
METRICS = ("#2f9e62", "#a45fd0", "#a38020", "#d6568a")
EVENT = "#c2569e"
BAD = "#e0443e"

# Limits of an axis, and below at the negative or inverse: matplotlib turns what is beyond into values not finite.
LARGEST = 1e290
LARGEST_LOG = 1e200

AnyText = TypeVar("AnyText", bound=Text)


@contextmanager
def default_style() -> Iterator[None]:
    """Draw with matplotlib's defaults: a user's style is for the user's own figures."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def make_axes() -> tuple[Figure, Axes]:
    """Make a figure, which pyplot does not know, with axes for a loss over steps."""
    figure = Figure(figsize=SIZE, dpi=DPI)
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0)
    ax = figure.add_axes((0.075, 0.13, 0.86, 0.77))
    strip_axes(ax)
    ax.grid(color=INK, alpha=0.22, lw=0.6)
    ax.set_xlabel("step", color=INK, fontsize=9, loc="right", labelpad=3)
    return figure, ax


def strip_axes(ax: Axes) -> None:
    """Give axes their colours, and no limits of their own: some losses have none."""
    ax.set_autoscale_on(False)
    ax.patch.set_alpha(0)
    ax.tick_params(colors=INK, labelsize=9, which="both")
    for spine in ax.spines.values():
        spine.set_color(INK)
        spine.set_alpha(0.5)
    ax.spines[["top"]].set_visible(False)


def sharp_png(figure: Figure) -> bytes:
    """Draw a figure that stays, as a PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=FINAL_DPI)
    return file.getvalue()


def label_legend(legend: Legend, names: Iterable[str]) -> None:
    """Write names into a legend; as labels, matplotlib would leave those out that begin with "_"."""
    for text, name in zip(legend.get_texts(), names, strict=True):
        set_plain_text(text, name)


def set_plain_text(text: AnyText, words: str) -> AnyText:
    """Let a text show words as they are: no mathematics, no TeX, no character that fonts lack, not too long."""
    text.set_usetex(False)
    text.set_parse_math(False)
    text.set_text(shorten("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)))
    return text


def shorten(words: str) -> str:
    """Cut words to the length that fits."""
    return words if len(words) <= MAX_LABEL else words[: MAX_LABEL - 1] + "…"


def data_range(lines: Sequence[np.ndarray], log: bool) -> tuple[float, float]:
    """Give the smallest and largest of what an axis can show."""
    values = np.concatenate(lines) if lines else np.empty(0)
    values = values[np.isfinite(values) & (values > 0)] if log else values[np.isfinite(values)]
    if not len(values):
        return (0.1, 1.0) if log else (0.0, 1.0)
    least, most = (1 / LARGEST_LOG, LARGEST_LOG) if log else (-LARGEST, LARGEST)
    low, high = np.clip([values.min(), values.max()], least, most)
    return float(low), float(high)


def with_margin(low: float, high: float, log: bool) -> tuple[float, float]:
    """Widen a range; the result is never empty."""
    if log:
        margin = max(0.06 * (math.log(high) - math.log(low)), 0.05)
        return low * math.exp(-margin), high * math.exp(margin)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin

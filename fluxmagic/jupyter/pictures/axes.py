"""What all pictures share: sizes, colours, axes, and text that is shown as it is.

A picture is read on white and on black.  Its background is transparent, INK has the same contrast on both (4.3), and
text on top of the data has a ground of its own.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol, TypeVar, cast

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import BboxBase

from fluxmagic.jupyter.pictures.canvas import TextCanvas

__all__ = [
    "BAD", "BOTTOM", "DISPLAY_SIZE", "DPI", "EVENT", "FONT", "INK", "LEFT", "LEGEND_ROW", "LOSS", "METRICS", "NARROW",
    "PAPER", "PIXELS_AN_INCH", "RIGHT", "ROW", "SMALL", "TOP", "VALID", "WIDTH", "Canvas", "add_legend", "canvas_of",
    "default_style", "draw_artists", "make_curve_figure", "make_figure", "scale_losses", "set_plain_text",
    "sharp_png", "shorten", "strip_axes", "style_steps", "width_on",
]  # fmt: skip

WIDTH, ROW = 9.0, 3.8  # inches: of a picture, and the height of one of its rows
DPI = 100
FINAL_DPI = 160  # of the picture that stays
DISPLAY_SIZE = {"width": round(WIDTH * DPI)}  # in points of the page
MAX_LABEL = 46  # characters
FONT, SMALL = 12.5, 11.0  # points: 9 pixels or more where the page has half the width

INK = "#737a82"
LOSS = "#3b82d6"
VALID = "#cf6a12"
METRICS = ("#2f9e62", "#a45fd0", "#a38020", "#d6568a")
EVENT = "#b03a86"
BAD = "#c62f28"
PAPER = "#ffffff"  # of text on a ground of its own

Corner = Literal["upper left", "lower left"]
AnyText = TypeVar("AnyText", bound=Text)

LEFT, RIGHT, BOTTOM, TOP, GAP = 0.85, 0.28, 0.62, 0.42, 0.95  # inches around and between axes
LEGEND_ROW = 0.25  # inches
NARROW = 7.5  # inches: nothing is beside a curve
PIXELS_AN_INCH = 60  # at least, for SMALL to have 9 pixels
SIDE = 3.3  # inches: of what stands beside a curve


@contextmanager
def default_style() -> Iterator[None]:
    """Draw with matplotlib's defaults: a user's style is for the user's own figures."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["font.size"] = FONT
        yield


def make_figure(width: float = WIDTH, height: float = ROW) -> Figure:
    """Make a figure, in inches, which pyplot does not know."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    TextCanvas(figure)
    figure.patch.set_alpha(0)
    return figure


def width_on(page_width: int) -> float:
    """Give the width of a picture, in inches, whose text has 9 pixels or more on a page that is so wide."""
    return min(WIDTH, max(page_width, 300) / PIXELS_AN_INCH)


def make_curve_figure(
    map_beside: bool = False,
    pictures: int = 0,
    *,
    second: bool = False,
    width: float = WIDTH,
    rows_of_legend: Callable[[float], int] = lambda width: 1,
    strip: float = 0.0,
) -> tuple[Figure, Axes, list[Axes]]:
    """Make a figure with axes for a curve, and for what stands beside it: a map first, then pictures without axes.

    The first of these is at the curve's right, the rest below, three in a row; in a narrow figure all are below, two in
    a row.  `second` leaves room for a second y-axis, `rows_of_legend` the rows of a legend of a width in inches,
    `strip` is the height of what stands above all of them.
    """
    beside = map_beside + pictures
    at_side = 0 if width < NARROW else min(beside, 1)
    columns = 3 if width >= NARROW else max(1, min(beside, 2))
    rows = 1 + -(-(beside - at_side) // columns)
    total = ROW * rows + strip
    figure = make_figure(width, total)

    def place(x: float, row: int, across: float, bottom: float = BOTTOM, top: float = TOP) -> Axes:
        y, height = ROW * (rows - 1 - row) + bottom, ROW - bottom - top
        ax = figure.add_axes((x / width, y / total, across / width, height / total))
        strip_axes(ax)
        return ax

    right = RIGHT + 0.65 * second
    across = width - LEFT - right - (SIDE + GAP - RIGHT if at_side else 0)
    curve = place(LEFT, 0, across, top=TOP + LEGEND_ROW * (rows_of_legend(across) - 1))
    others = []
    part = width / columns
    for i in range(beside):
        left, bottom = (LEFT, BOTTOM) if map_beside and i == 0 else (RIGHT, RIGHT)
        if i < at_side:
            others.append(place(width - RIGHT - SIDE, 0, SIDE, bottom))
        else:
            row, column = divmod(i - at_side, columns)
            others.append(place(part * column + left, 1 + row, min(part - left - RIGHT, SIDE + RIGHT), bottom))
    return figure, curve, others


def style_steps(ax: Axes) -> None:
    """Make axes those of a loss over steps."""
    ax.grid(color=INK, alpha=0.22, lw=0.6)
    ax.set_xlabel("step", color=INK, fontsize=FONT, loc="right")
    ax.xaxis.set_label_coords(1.0, -0.11)  # matplotlib looks for its place among the numbers with every frame
    ax.yaxis.set_label_coords(-0.1, 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))


def scale_losses(ax: Axes, low: float, high: float, log: bool) -> None:
    """Set the y-axis of losses; numbers at its ticks are plain, so that all are of one size."""
    if log != (ax.get_yscale() == "log"):  # makes the ticks anew
        ax.set_yscale("log" if log else "linear")
    ax.set_ylim(low, high)
    if log:
        subs = (1.0, 2.0, 5.0) if high < 30 * low else (1.0,)
        ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=6))
        ax.yaxis.set_minor_locator(NullLocator())  # eight lines a decade would cost as much as all the rest
    else:
        ax.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.5g}"))


class Canvas(Protocol):
    """What is used of a canvas with pixels; matplotlib's own has no types."""

    def draw(self) -> None: ...
    def get_renderer(self) -> RendererAgg: ...
    def copy_from_bbox(self, bbox: BboxBase) -> object: ...
    def restore_region(self, region: object) -> None: ...
    def buffer_rgba(self) -> memoryview: ...


def canvas_of(artist: Artist) -> Canvas:
    """Give the canvas of an artist's figure."""
    figure = artist.get_figure(root=True)
    assert figure is not None
    return cast("Canvas", figure.canvas)


def draw_artists(artists: Iterable[Artist]) -> None:
    """Draw artists onto what is drawn already."""
    for artist in artists:
        assert artist.axes is not None
        artist.axes.draw_artist(artist)


def strip_axes(ax: Axes) -> None:
    """Give axes their colours, and no limits of their own: some losses have none."""
    ax.set_autoscale_on(False)
    ax.patch.set_alpha(0)
    ax.tick_params(colors=INK, labelsize=FONT, which="both")
    for spine in ax.spines.values():
        spine.set_color(INK)
        spine.set_alpha(0.5)
    ax.spines[["top"]].set_visible(False)


def sharp_png(figure: Figure) -> bytes:
    """Draw a figure that stays, as a PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=FINAL_DPI)
    return file.getvalue()


def add_legend(
    figure: Figure,
    lines: Sequence[Artist],
    names: Sequence[str],
    corner: Corner,
    at: tuple[float, float],
    columns: int = 1,
) -> None:
    """Name lines in a legend, a corner of which is at a point of the figure."""
    legend = figure.legend(
        lines,
        ["x"] * len(lines),
        loc=corner,
        bbox_to_anchor=at,
        ncols=columns,
        frameon=False,
        labelcolor=INK,
        fontsize=SMALL,
        borderpad=0.2,
        handlelength=1.8,
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        set_plain_text(text, name)


def set_plain_text(text: AnyText, words: str) -> AnyText:
    """Let a text show words as they are: no mathematics, no TeX, no character that fonts lack, not too long."""
    text.set_usetex(False)
    text.set_parse_math(False)
    text.set_text(shorten("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)))
    return text


def shorten(words: str, length: int = MAX_LABEL) -> str:
    """Cut words to the length that fits."""
    return words if len(words) <= length else words[: max(length - 1, 0)] + "…"

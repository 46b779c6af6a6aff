"""What functions show beside a curve: pictures and text in axes of the figure; SVG and HTML below it."""

from __future__ import annotations

import io
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from IPython.core.formatters import DisplayFormatter
from matplotlib._pylab_helpers import Gcf
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from fluxmagic.jupyter.driving.draw_budget import Clock
from fluxmagic.jupyter.pictures.axes import FONT, INK, SMALL, set_plain_text
from fluxmagic.jupyter.pictures.beside import Shown, evaluate_beside
from fluxmagic.runs import Run
from fluxmagic.tracker import data

__all__ = ["Rendered", "ShownAxes", "ShownValue", "render"]

REST, IDLE_REST = 50.0, 4.0  # times what an evaluation takes, to the next one: where a run trains all the time or not
LINES, COLUMNS = 15, 38  # of text that fits
PICTURES = ("image/png", "image/jpeg")
RICH = ("image/svg+xml", "text/html")


class Rendered(NamedTuple):
    """A value as it is shown."""

    pixels: np.ndarray | None = None  # uint8, of shape (height, width, 4)
    text: str = ""  # where there are no pixels
    rich: Mapping[str, str] = MappingProxyType({})  # by MIME type, what a page shows in place of the text: SVG or HTML


class ShownValue:
    """The latest value of a function, evaluated aside: `rendered`, after an error its message."""

    def __init__(self, run: Run, function: Shown, clock: Clock = time.perf_counter) -> None:
        self.run = run
        self.function = function
        self.title = str(getattr(function, "text", getattr(function, "__name__", ""))).replace("<lambda>", "")
        self.rendered = Rendered()
        self._first: Rendered | None = None
        self._clock = clock
        self._step: tuple[object, int] | None = None  # the state that it is the value of
        self._due = 0.0

    @property
    def is_rich(self) -> bool:
        """Whether it was SVG or HTML when it was evaluated first: a page shows it by itself."""
        return bool(self._first and self._first.rich)

    def update(self, *, idle: bool = False, final: bool = False) -> bool:
        """Evaluate the function if the run has gone on; tell whether it was evaluated.

        Of a run that trains it is evaluated seldom, less so if the run leaves time (`idle`).
        """
        state = self.run.record, self.run.steps
        if not final and (state == self._step or (self.run.state == "running" and self._clock() < self._due)):
            return False
        start = self._clock()
        with _closing_new_figures() as figures:
            try:
                value = evaluate_beside(self.run, self.function)
                self.rendered = render(figures()[-1] if figures() and not _is_rich(value) else value)
            except Exception as error:
                self.rendered = Rendered(text=f"{type(error).__name__}: {error}")
        end = self._clock()
        self._first = self._first or self.rendered
        self._step, self._due = state, end + (IDLE_REST if idle else REST) * (end - start)
        return True


class ShownAxes:
    """A value in axes; `ground` is to be drawn again after `show` of another value."""

    def __init__(self, ax: Axes, value: ShownValue) -> None:
        self.ax = ax
        self.value = value
        self.ground: list[Artist] = []
        self._rendered: Rendered | None = None
        ax.set_axis_off()
        ax.set_anchor("NW")
        set_plain_text(ax.set_title("", color=INK, fontsize=FONT, pad=7, loc="left"), value.title)

    def show(self) -> bool:
        """Put the present value in place of the last one; tell whether it is another one."""
        if self.value.rendered is self._rendered:
            return False
        self._rendered = self.value.rendered
        for artist in self.ground:
            artist.remove()
        pixels, text, _ = self.value.rendered
        if pixels is not None:
            height, width = pixels.shape[:2]
            coarse = max(height, width) < 150
            image = self.ax.imshow(pixels, interpolation="nearest" if coarse else "antialiased", aspect="equal")
            self.ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
            self.ground = [image]
        else:
            words = self.ax.text(
                0.0, 1.0, "", transform=self.ax.transAxes, va="top", color=INK, fontsize=SMALL, family="monospace"
            )
            words.set_usetex(False)
            words.set_parse_math(False)
            words.set_text(_fitting(text))
            self.ground = [words]
        for artist in self.ground:
            artist.set_animated(True)
        return True


def render(value: object) -> Rendered:
    """Give what a value is shown as: an array of two or more dimensions is a picture, a text is itself."""
    value = data(value)
    if isinstance(value, str):
        return Rendered(text=value)
    if isinstance(value, np.ndarray) and value.ndim >= 2 and value.size:
        return Rendered(_pixels_of_array(value), str(value))
    if isinstance(value, Axes):
        value = value.get_figure(root=True)
    if isinstance(value, Figure):
        return Rendered(_pixels_of_figure(value), repr(value))
    bundle = _bundle(value)
    for kind in PICTURES:
        if kind in bundle:
            return Rendered(_decoded(bundle[kind]), str(bundle.get("text/plain", "")))
    rich = {k: str(bundle[k]) for k in RICH if k in bundle}
    return Rendered(None, str(bundle.get("text/plain", "")), rich)


def _bundle(value: object) -> dict[str, Any]:
    """Give the rich display of a value, as a notebook does."""
    if hasattr(value, "_ipython_display_"):  # it would display itself, in the cell
        return {"text/plain": repr(value)}
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    formatter = DisplayFormatter() if shell is None else shell.display_formatter
    bundle: dict[str, Any] = formatter.format(value)[0]
    return bundle


def _is_rich(value: object) -> bool:
    """Tell whether a value is more than text."""
    rendered = render(value)
    return rendered.pixels is not None or bool(rendered.rich)


def _decoded(picture: bytes | str) -> np.ndarray:
    if isinstance(picture, str):
        picture = b64decode(picture)
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGBA"))


def _pixels_of_figure(figure: Figure) -> np.ndarray:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return _decoded(file.getvalue())


def _pixels_of_array(a: np.ndarray) -> np.ndarray:
    """Give an array as a picture: colours where its last axis has 3 or 4 entries, more than two axes as tiles."""
    a = np.asarray(a, np.float64)
    in_colour = a.ndim >= 3 and a.shape[-1] in (3, 4)
    tiles = a.reshape(-1, *a.shape[-3:]) if in_colour else a.reshape(-1, *a.shape[-2:])
    finite = tiles[np.isfinite(tiles)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    if in_colour:  # of 0 to 1, or 0 to 255
        scaled = np.clip(tiles / (1.0 if high <= 1 else 255.0), 0.0, 1.0)
        if scaled.shape[-1] == 3:
            scaled = np.concatenate([scaled, np.ones_like(scaled[..., :1])], -1)
    else:
        scaled = matplotlib.colormaps["viridis"]((tiles - low) / ((high - low) or 1.0))
    pixels: np.ndarray = np.rint(255 * _tiled(np.nan_to_num(scaled))).astype(np.uint8)
    return pixels


def _tiled(tiles: np.ndarray) -> np.ndarray:
    """Lay pictures, of shape (n, height, width, 4), in a square, a transparent pixel apart."""
    n, height, width, _ = tiles.shape
    side = int(np.ceil(np.sqrt(n)))
    rows = -(-n // side)
    out = np.zeros((rows * (height + 1) - 1, side * (width + 1) - 1, 4))
    for i, tile in enumerate(tiles):
        y, x = i // side * (height + 1), i % side * (width + 1)
        out[y : y + height, x : x + width] = tile
    return out


def _fitting(text: str) -> str:
    """Cut a text to what fits."""
    lines = "".join(c if c.isprintable() or c == "\n" else " " for c in text.expandtabs(4)).split("\n")
    lines = [line[i : i + COLUMNS] for line in lines for i in range(0, max(len(line), 1), COLUMNS)]
    return "\n".join(lines if len(lines) <= LINES else [*lines[: LINES - 1], "…"])


@contextmanager
def _closing_new_figures() -> Iterator[Callable[[], list[Figure]]]:
    """Close what pyplot opens within it; it gives a function that lists these figures."""
    before = set(Gcf.figs)

    def opened() -> dict[int, Any]:
        return {n: m for n, m in Gcf.figs.items() if n not in before}  # in order of their use

    try:
        yield lambda: [m.canvas.figure for m in opened().values()]
    finally:
        for n in opened():
            Gcf.destroy(n)

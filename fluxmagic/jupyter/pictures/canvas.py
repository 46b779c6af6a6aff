"""A canvas that keeps the pixels of texts: laying one out and drawing it takes five times as long as copying them."""

# mypy: disallow-untyped-calls = False

from __future__ import annotations

from functools import lru_cache

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.font_manager import FontProperties

__all__ = ["TextCanvas"]

MAX_TEXTS = 300  # whose pixels are kept
ROOM = 4  # pixels around a text

Colour = tuple[float, float, float, float]  # red, green, blue, opacity


@lru_cache(MAX_TEXTS)
def _pixels(words: str, font: FontProperties, colour: Colour, dpi: float) -> tuple[np.ndarray, int]:
    """Give the pixels of a text, the lowest row first, and how many rows are below its baseline."""
    extents = RendererAgg(1, 1, dpi).get_text_width_height_descent(words, font, False)
    width, height, below = (round(x) + ROOM for x in extents)
    renderer = RendererAgg(width + ROOM, height + ROOM, dpi)
    gc = renderer.new_gc()
    gc.set_foreground(colour, isRGBA=True)
    renderer.draw_text(gc, ROOM, height + ROOM - below, words, font, 0.0)
    return np.asarray(renderer.buffer_rgba())[::-1].copy(), below


class TextRenderer(RendererAgg):
    """A renderer that draws horizontal texts of their pixels."""

    def draw_text(self, gc, x, y, s, prop, angle, ismath=False, mtext=None):  # type: ignore[no-untyped-def]
        if ismath or angle:
            super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)
        else:
            pixels, below = _pixels(s, prop, gc.get_rgb(), self.dpi)
            self.draw_image(gc, round(x) - ROOM, round(self.height - y) - below, pixels)


class TextCanvas(FigureCanvasAgg):
    """A canvas with such a renderer."""

    def get_renderer(self) -> RendererAgg:
        renderer = super().get_renderer()
        if not isinstance(renderer, TextRenderer):
            self.renderer = renderer = TextRenderer(renderer.width, renderer.height, renderer.dpi)
        return renderer

"""Artists that are drawn once and laid over every frame: a text on a ground costs a millisecond, its pixels 0.1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from matplotlib.text import Text

from fluxmagic.jupyter.pictures.axes import Canvas

__all__ = ["Overlay"]


class _Patch(NamedTuple):
    """Pixels of a text."""

    rows: slice
    columns: slice
    opacity: np.ndarray
    colours: np.ndarray  # times the opacity


class Overlay:
    """The pixels of texts that do not overlap; those of the canvas are lost."""

    def __init__(self, canvas: Canvas, texts: Iterable[Text]) -> None:
        renderer = canvas.get_renderer()
        renderer.clear()  # type: ignore[no-untyped-call]
        boxes = []
        for text in texts:
            text.draw(renderer)
            boxes.append(text.get_window_extent(renderer).padded(6).extents)
        pixels = np.asarray(canvas.buffer_rgba())
        height, width, _ = pixels.shape
        self._patches = []
        for x0, y0, x1, y1 in np.clip(boxes, 0, [width, height, width, height]).astype(int) if boxes else ():
            rows, columns = slice(height - y1, height - y0), slice(x0, x1)
            part = pixels[rows, columns].astype(np.float32)
            opacity = part[..., 3:] / 255
            self._patches.append(_Patch(rows, columns, opacity, part[..., :3] * opacity))

    def blend(self, pixels: np.ndarray) -> None:
        """Lay the texts over pixels of shape (height, width, 4), in place."""
        for rows, columns, opacity, colours in self._patches:
            below = pixels[rows, columns]
            share = below[..., 3:] / np.float32(255) * (1 - opacity)
            total = opacity + share
            mixed = (colours + below[..., :3] * share) / np.maximum(total, 1e-6)
            below[..., :3], below[..., 3:] = np.rint(mixed), np.rint(255 * total)

"""Texts of a canvas that keeps their pixels look as matplotlib draws them, at every place and resolution."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fluxmagic.jupyter.pictures.canvas import TextCanvas


def drawn(canvas, words, dpi, **style):
    figure = Figure(figsize=(2, 1), dpi=dpi)
    canvas(figure)
    for x, y in [(0.1, 0.3), (0.1, 0.7), (0.97, 0.5)]:  # the last one goes beyond the edge
        figure.text(x, y, words, **style)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba()).astype(float)


@pytest.mark.parametrize("dpi", [100, 160])
@pytest.mark.parametrize(
    "style", [{}, {"color": "#ffffff", "bbox": {"fc": "#b03a86"}}, {"rotation": 90}, {"alpha": 0.5}]
)
def test_texts_look_as_matplotlib_draws_them(style, dpi):
    ours, theirs = (drawn(canvas, "η × 8, gyp", dpi, **style) for canvas in (TextCanvas, FigureCanvasAgg))
    ink = np.abs(theirs - 255).sum()
    assert ink > 0
    # matplotlib places letters between pixels, and these are placed on them
    assert np.abs(ours - theirs).sum() < 0.6 * ink
    assert abs(ours.sum() - theirs.sum()) < 0.03 * ink


def test_a_text_that_is_drawn_again_has_the_same_pixels():
    first, again = (drawn(TextCanvas, "loss 0.25", 100) for _ in range(2))
    assert (first == again).all()

"""What a classifier says over the plane of two features, with data on it."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from fluxmagic.jupyter.pictures import axes

__all__ = ["draw_boundary"]

COLOURS = (axes.LOSS, axes.VALID, *axes.METRICS)
SIDE = 3.3  # inches


def draw_boundary(x: np.ndarray, y: np.ndarray, classes: np.ndarray, X: np.ndarray, labels: np.ndarray) -> Figure:
    """Draw the classes of shape (len(y), len(x)) over a plane, and points X with their labels."""
    with axes.default_style():
        figure = axes.make_figure(SIDE, SIDE)
        ax = figure.add_axes((0.13, 0.1, 0.85, 0.88))
        axes.strip_axes(ax)
        ax.tick_params(labelsize=axes.SMALL)
        ax.locator_params(nbins=5)
        shades = np.array([to_rgba(c, 0.3) for c in COLOURS])
        ends = x[0], x[-1], y[0], y[-1]
        ax.imshow(shades[classes % len(COLOURS)], origin="lower", extent=ends, aspect="auto", interpolation="nearest")
        ax.set(xlim=ends[:2], ylim=ends[2:])
        for k in np.unique(classes)[1:]:
            ax.contour(x, y, classes >= k, [0.5], colors=axes.INK, linewidths=1.0)
        colours = [COLOURS[k % len(COLOURS)] for k in labels]
        ax.scatter(X[:, 0], X[:, 1], s=18, c=colours, edgecolors="white", linewidths=0.5)
    return figure

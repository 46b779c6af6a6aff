"""The picture of a plane: contours of the loss, the paths on it, and how good the plane is."""

from __future__ import annotations

from matplotlib.lines import Line2D

from fluxmagic.jupyter.pictures import axes
from fluxmagic.jupyter.pictures.contours import Contours, Surface, Trail
from fluxmagic.jupyter.race.words import colour_of
from fluxmagic.race.plane import Plane
from fluxmagic.runs.loss_map import Grid

__all__ = ["draw_plane"]

WIDTH, HEIGHT, SIDE = 9.0, 5.0, 5.2  # inches: of the picture, and the width of the axes


def draw_plane(plane: Plane) -> tuple[bytes, dict[str, int]]:
    """Draw a plane as a PNG, with its size on the page."""
    trails = [Trail(path.name, colour_of(i), path.points) for i, path in enumerate(plane.paths)]
    with axes.default_style():
        figure = axes.make_figure(WIDTH, HEIGHT)
        ax = figure.add_axes((0.095, 0.125, SIDE / WIDTH, 0.785))
        axes.strip_axes(ax)
        x, y = plane.x, plane.y
        title = "loss" if plane.rows is None else f"loss of the first {plane.rows:,} rows"
        view = (float(x[0]), float(x[-1])), (float(y[0]), float(y[-1]))
        Contours(ax, ("first principal component", "second")).show(trails, Surface(title, view, Grid(x, y, plane.z)))
        lines = [Line2D([], [], color=trail.colour, lw=3) for trail in trails]
        names = [axes.shorten(trail.label, 24) for trail in trails]
        axes.add_legend(figure, lines, names, "upper left", (0.69, 0.925))
        words = [
            f"{100 * plane.explained:.1f} % of the variance of the",
            "run's path lies in the plane;",
            "the loss on the plane differs",
            "from that on the path",
            f"by {plane.largest_error:.3g} at most",
        ]
        for i, line in enumerate(reversed(words)):
            text = figure.text(0.7, 0.13 + 0.043 * i, "", color=axes.INK, fontsize=axes.SMALL)
            axes.set_plain_text(text, line)
        return axes.sharp_png(figure), axes.DISPLAY_SIZE

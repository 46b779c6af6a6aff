"""The picture of a plane."""

import io

import matplotlib.figure
import numpy as np
import pytest
from matplotlib.image import imread

from fluxmagic.jupyter.magics import commands
from fluxmagic.jupyter.pictures import axes
from fluxmagic.jupyter.race.plane_picture import draw_plane
from fluxmagic.jupyter.race.words import colour_of
from tests.race.problems import THREE, network, race_on


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn."""
    found = []
    monkeypatch.setattr(axes, "sharp_png", lambda figure: found.append(figure) or b"")
    return found


def trained():
    race = race_on(network(), THREE, epochs=3, seed=2)
    race.train()
    return race


def texts(figure):
    words = [t.get_text() for t in figure.findobj(matplotlib.text.Text)]
    return [word for word in words if word]


def test_it_says_how_much_is_explained_and_how_large_the_error_is(figures):
    race = trained()
    plane = race["ADAM"].landscape(race["SGD"], points=5)
    draw_plane(plane)
    note = [f"{100 * plane.explained:.1f} % of the variance of the", "run's path lies in the plane;"]
    assert {*note, f"by {plane.largest_error:.3g} at most"} <= {*texts(figures[0])}
    assert {"ADAM", "SGD", "loss of the first 22 rows", "first principal component"} <= {*texts(figures[0])}


def test_each_path_has_its_colour_and_ends_in_a_ball(figures):
    race = trained()
    plane = race[0].landscape(race[1], race[2], points=5)
    draw_plane(plane)
    lines = figures[0].axes[0].lines
    for i, path in enumerate(plane.paths):
        drawn = [line for line in lines if colour_of(i) in (line.get_color(), line.get_markerfacecolor())]
        assert any(np.array_equal(line.get_xydata(), path.points) for line in drawn)
        assert any(np.array_equal(line.get_xydata(), path.points[-1:]) and line.get_marker() == "o" for line in drawn)


def test_a_notebook_shows_it_as_a_png():
    png, size = trained()[0].landscape(points=5)._repr_png_()
    pixels = imread(io.BytesIO(png))
    assert pixels.shape[1] > pixels.shape[0] > 500
    assert pixels[..., 3].min() == 0
    assert size == axes.DISPLAY_SIZE


def test_a_command_shows_it_with_other_runs(shell, monkeypatch):
    shown = []
    monkeypatch.setattr(commands, "display", shown.append)
    shell("%%train x, y in batches(X, Y, 20) --epochs 3\nlogitcrossentropy(model(x), y)")
    shell("%train landscape")
    shell("run.rewind(4)")
    shell("%train branch other SGD")
    shell("%train landscape other")
    assert [[path.name for path in plane.paths] for plane in shown] == [["run"], ["run", "other"]]
    assert "no run is called third" in shell.refuses("%train landscape third")
    shell("run = Run(lambda x: x, [1.0], 'SGD')")
    assert "has not taken a step yet" in shell.refuses("%train landscape")


def test_a_name_with_signs_of_mathematics_is_shown_as_it_is():
    race = trained()
    race[0].name = "$x^{2}$ _a_ \x07"
    assert draw_plane(race[0].landscape(points=5))[0].startswith(b"\x89PNG")

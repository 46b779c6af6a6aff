"""The picture of a race."""

import io
import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from fluxmagic import Race
from fluxmagic.jupyter.race.picture import RacePicture
from fluxmagic.jupyter.race.words import COLOURS, progress, summary
from tests.race.problems import THREE, VALLEY, X, Y, network, race_on, valley

# Machado, Oliveira and Fernandes (2009): what is left of colours without one of the three kinds of cones
BLIND = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colours):
    c = np.array([to_rgb(colour) for colour in colours])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    xyz = rgb @ TO_XYZ.T / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


@pytest.mark.parametrize("kind", BLIND)
def test_eight_colours_are_told_apart_also_by_readers_who_are_colour_blind(kind):
    assert len(COLOURS) == 8
    seen = lab(np.clip(linear(COLOURS) @ np.transpose(BLIND[kind]), 0, 1))
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 29


def test_colours_are_seen_on_white_and_on_black():
    luminance = linear(COLOURS) @ [0.2126, 0.7152, 0.0722]
    assert (1.05 / (luminance + 0.05) > 2.2).all()
    assert ((luminance + 0.05) / (linear(["#111111"]) @ [0.2126, 0.7152, 0.0722] + 0.05) > 2.2).all()


def lines(picture, gid):
    return [line for line in picture.figure.axes[0].lines if line.get_gid() == gid]


def legend(picture):
    return [t.get_text() for t in picture.figure.axes[0].texts if t.get_visible()]


def pixels(png):
    return imread(io.BytesIO(png))


def test_on_a_narrow_page_the_contours_are_below_the_curve_and_the_picture_that_stays_is_wide():
    race = race_on(valley(), VALLEY, steps=30)
    race.train()
    picture = RacePicture(race)
    wide = pixels(picture.frame()).shape
    picture.page_width = 350
    narrow = pixels(picture.frame()).shape
    assert narrow[1] < wide[1]
    assert narrow[0] > wide[0]
    curve, contours = picture.figure.axes[:2]
    assert contours.get_position().y1 < curve.get_position().y0
    assert pixels(picture.picture()).shape[1] > 1.5 * wide[1]


def test_each_contestant_has_a_line_with_its_losses():
    race = race_on(valley(), VALLEY, steps=30)
    picture = RacePicture(race)
    race.step(20)
    picture.frame()
    for line, run, colour in zip(lines(picture, "loss"), race, COLOURS, strict=False):
        np.testing.assert_array_equal(line.get_ydata(), run.history["loss"])
        assert line.get_color() == colour


def test_each_contestant_has_a_ball_and_a_trail_where_two_numbers_are_trained():
    race = race_on(valley(), VALLEY, steps=30)
    picture = RacePicture(race)
    race.step(20)
    while True:
        picture.frame()
        if not picture.is_unfinished:
            break
    beside = picture.figure.axes[1]
    for run, colour in zip(race, COLOURS, strict=False):
        drawn = [line.get_xydata() for line in beside.lines if colour in (line.get_color(), line.get_markerfacecolor())]
        assert any(np.array_equal(xy, run.path) for xy in drawn)
        assert any(np.array_equal(xy, run.path[-1:]) for xy in drawn)
    assert race.params[0].data.tolist() == [-1.2, 1.0]


def test_a_network_has_no_contours_and_its_validation_is_dotted():
    race = race_on(network(), THREE, epochs=3, valid=(X, Y))
    picture = RacePicture(race)
    race.train()
    picture.frame()
    assert len(picture.figure.axes) == 1
    for line, run in zip(lines(picture, "valid"), race, strict=True):
        assert line.get_linestyle() == ":"
        np.testing.assert_allclose(line.get_ydata(), [v["valid"] for _, v in run.record.evaluations])


def test_turned_dials_and_divergence_are_marked_on_the_line():
    race = race_on(valley(), [("SGD", {"η": 0.001}), ("SGD", {"η": 1.0})], steps=60)
    picture = RacePicture(race)
    race.step(10)
    race[0].set(η=0.0005)
    race.step(20)
    picture.frame()
    turns, ends = lines(picture, "turns"), lines(picture, "end")
    assert [list(line.get_xdata()) for line in turns] == [[10], []]
    assert [len(line.get_xdata()) for line in ends] == [0, 1]
    assert ends[1].get_xdata()[0] < race[1].steps


def test_a_divergence_from_the_start_does_not_stretch_the_axis_of_the_others():
    race = race_on(valley(), [("SGD", {"η": 0.001}), ("SGD", {"η": 1.0})], steps=60)
    race.train()
    picture = RacePicture(race)
    picture.frame()
    assert race[1].history["loss"][:-1].max() > 1e30
    top = picture.figure.axes[0].get_ylim()[1]
    assert top < 10 * race[0].history["loss"].max()
    assert lines(picture, "end")[1].get_ydata() == [top]


def test_a_race_in_which_all_diverge_is_drawn():
    race = race_on(valley(), [("SGD", {"η": 1.0}), ("SGD", {"η": 2.0})], steps=60)
    race.train()
    picture = RacePicture(race)
    assert picture.frame().startswith(b"\x89PNG")
    assert picture.picture().startswith(b"\x89PNG")


def test_what_a_restart_left_is_pale():
    race = race_on(valley(), VALLEY, steps=60)
    picture = RacePicture(race)
    race.step(20)
    before = [run.history["loss"] for run in race]
    race.restart()
    race.step(5)
    picture.frame()
    left = lines(picture, "earlier")
    assert [line.get_color() for line in left] == [*COLOURS[:3]]
    for line, losses in zip(left, before, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), losses)
        assert line.get_alpha() < 0.5


def test_a_frame_is_the_same_whether_axes_are_drawn_anew_or_not():
    race = race_on(valley(), VALLEY, steps=60)
    picture = RacePicture(race)
    for _ in range(30):
        race.step()
        picture.frame()
    while picture.is_unfinished:
        picture.frame()
    assert (pixels(picture.frame()) == pixels(picture.frame(full=True))).all()


def test_the_picture_that_stays_has_names_and_losses():
    race = race_on(valley(), [*VALLEY, ("SGD", {"η": 1.0})], steps=30)
    race.train()
    picture = RacePicture(race)
    picture.frame()
    png = picture.picture()
    texts = legend(picture)
    assert texts[0] == f"SGD η 0.001  {race[0].shown_loss:.4g}"
    assert texts[-1] == f"SGD η 1  diverged at step {race[-1].steps}"
    assert all(t.get_position()[1] < picture.figure.get_figheight() - 0.1 for t in picture.figure.axes[0].texts)
    assert pixels(png).shape[1] == 1440


def coloured(png, colour):
    """The share of the curve's axes, in the left half, that has a colour."""
    part = pixels(png)[200:-120, 150:700, :3]
    return (np.abs(part - to_rgb(colour)).max(2) < 0.02).mean()


@pytest.mark.parametrize("named", [True, False])
def test_lines_are_drawn_also_where_the_first_loss_tells_what_is_trained(named):
    problem = valley()
    race = Race(problem.loss, None, problem.params if named else None, VALLEY, steps=60)
    picture = RacePicture(race)
    picture.frame()
    race.train()
    png = picture.picture()
    assert len(picture.figure.axes) == 2
    assert all(coloured(png, colour) > 0.001 for colour in COLOURS[:3])


def test_names_that_look_like_mathematics_are_shown_as_they_are():
    race = race_on(network(), THREE)
    race.runs = {"$x_{": race[0], "a_b^": race[1], "\\frac": race[2]}
    race.step(3)
    picture = RacePicture(race)
    picture.frame()
    assert picture.picture().startswith(b"\x89PNG")


def test_the_legend_has_room_for_eight():
    eight = [("ADAM", {"η": 0.001 * k, "β1": 0.9 + 0.001 * k}) for k in range(1, 9)]
    race = race_on(valley(), eight, steps=9)
    race.train()
    picture = RacePicture(race)
    picture.frame()
    curve, width = picture.figure.axes[0], picture.figure.bbox.x1
    boxes = [t.get_window_extent() for t in curve.texts if t.get_visible()]
    assert len(boxes) == 8
    assert all(b.y0 > curve.bbox.y1 and b.x1 <= width and b.y1 <= picture.figure.bbox.y1 for b in boxes)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_words_say_who_leads_and_how_each_fared():
    race = race_on(valley(), [*VALLEY, ("SGD", {"η": 1.0})], steps=30, name="mine")
    assert progress(race) == "step 0/30"
    race.step(10)
    race[1].set(η=1e-4)
    race.train()
    assert progress(race).startswith("step 30/30 · lowest loss: ")
    said = summary(race)
    assert said.startswith("mine: done, 30 steps of each in ")
    assert "step 10: η 0.0002 → 0.0001" in said
    assert "diverged at step" in said
    assert all(key in said for key in race.runs)

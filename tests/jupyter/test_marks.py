"""Labels of a curve: readable, on top of the data, not on each other; values in the legend; sizes of text."""

from __future__ import annotations

from array import array
from itertools import combinations

import numpy as np
import pytest
from matplotlib import colors
from matplotlib.text import Text

from fluxmagic import SGD, Momentum, Run, param
from fluxmagic.jupyter.formatting import change, gestures
from fluxmagic.jupyter.pictures import axes
from fluxmagic.jupyter.pictures.axes import canvas_of
from fluxmagic.jupyter.pictures.plot import Curve
from fluxmagic.runs import Event
from tests.jupyter.pictures import contrast, legend, mark_labels, marks, pixels
from tests.jupyter.problems import quadratic


def turned(turns, steps=400, **options):
    """Make a run of n steps with turns of η after some steps."""
    run = quadratic(n=steps, epochs=1, **options)
    for step, value in turns:
        run.step(step - run.steps)
        run.set(η=value)
    run.train()
    return run


def boxes(curve, texts):
    renderer = canvas_of(curve.figure).get_renderer()
    return [t.get_window_extent(renderer) for t in texts]


MANY = [(k, 0.1 / (1 + k % 7)) for k in range(15, 400, 15)]
CLOSE = [(100, 0.2), (112, 0.01), (124, 0.3), (136, 0.02), (148, 0.25), (160, 0.1)]
AT_THE_END = [(390, 0.05), (396, 0.2)]


@pytest.mark.parametrize("turns", [MANY, CLOSE, AT_THE_END])
def test_labels_do_not_overlap_and_stay_in_the_axes(turns):
    curve = Curve(turned(turns))
    curve.frame()
    labels = mark_labels(curve)
    assert labels
    found = boxes(curve, labels)
    assert not any(a.overlaps(b) for a, b in combinations(found, 2))
    area = curve.figure.axes[0].bbox
    assert all(area.x0 - 5 <= b.x0 and b.x1 <= area.x1 + 1 and area.y0 <= b.y0 and b.y1 <= area.y1 for b in found)


def test_where_there_is_no_room_the_latest_turns_are_named_and_all_have_lines():
    curve = Curve(turned(MANY, name="a"))
    curve.frame()
    assert marks(curve)
    assert max(t.xy[0] for t in mark_labels(curve)) == MANY[-1][0]
    segments = [s for c in curve.figure.axes[0].collections for s in c.get_segments()]
    assert len(segments) == len(gestures(curve.run.events, 400))


def test_labels_have_a_ground_on_which_they_are_read_in_light_and_dark():
    run = turned([(100, 0.2)], steps=200)
    branch = run.branch("other", steps=300)
    branch.step(50)
    branch.record.rejected.append(240)
    curve = Curve(branch)
    curve.frame()
    labels = [t for t in mark_labels(curve) if not t.get_text().startswith("epoch")]
    assert {t.get_text() for t in labels} == {"η × 2", "other", "not finite"}
    for label in labels:
        ground = label.get_bbox_patch().get_facecolor()
        assert ground[3] == 1
        assert contrast(label.get_color(), colors.to_hex(ground)) >= 4.5


def test_labels_are_on_top_of_the_data():
    run = quadratic(n=200, epochs=1)
    run.step(100)
    run.set(η=0.2)
    run.step(100)
    curve = Curve(run)
    curve.log = False
    ink, behind = [], 0.0
    for _ in range(2):  # without and with a line behind the label
        run.record.loss[90:200] = array("d", [behind] * 110)
        run.record.seconds[-1] += 1  # they are read anew
        picture = pixels(curve.frame())
        (label,) = mark_labels(curve)
        ink.append(np.abs(picture[..., :3] - 255 * np.array(colors.to_rgb(label.get_color()))).sum(-1) < 30)
        (box,) = boxes(curve, [label])
        behind = curve.figure.axes[0].transData.inverted().transform((0, (box.y0 + box.y1) / 2))[1]
    rows, columns = slice(int(380 - box.y1), int(380 - box.y0)), slice(int(box.x0), int(box.x1))
    assert ink[0][rows, columns].sum() > 20
    assert (ink[0] == ink[1])[rows, columns].all()


def test_ink_is_read_in_light_and_dark():
    for page in ("#ffffff", "#111111"):
        assert contrast(axes.INK, page) >= 4.3  # no colour has 4.5 on both


def test_no_text_is_smaller_than_nine_pixels_where_a_page_has_half_the_width():
    run = turned([(100, 0.2)], valid=np.zeros((2, 3)), metrics={"acc": lambda x: 0.5})
    curve = Curve(run)
    curve.frame()
    texts = [t for t in curve.figure.findobj(Text) if t.get_visible() and t.get_text()]
    assert len(texts) > 15
    assert min(t.get_fontsize() for t in texts) * axes.DPI / 72 / 2 >= 7.6
    assert min(t.get_fontsize() for t in texts) * axes.PIXELS_AN_INCH / 72 >= 9  # a narrower page gets fewer inches


def test_the_second_axis_has_the_colour_of_its_line():
    run = quadratic(metrics={"acc": lambda x: 0.5})
    run.train()
    curve = Curve(run)
    curve.frame()
    second = curve.figure.axes[1]
    (line,) = [x for x in second.lines if x.get_gid() == "acc"]
    assert {t.get_color() for t in second.get_yticklabels()} == {line.get_color()}
    run = quadratic(metrics={"acc": lambda x: 0.5, "other": lambda x: 0.1})
    run.train()
    curve = Curve(run)
    curve.frame()
    assert {t.get_color() for t in curve.figure.axes[1].get_yticklabels()} == {axes.INK}


def test_values_stand_in_the_legend():
    W = param(0.0)
    run = Run(lambda x: W * 0 + x.sum(), [np.array([v]) for v in (3.0, 2.0, 1.0)], SGD([W], 0.1), epochs=2)
    curve = Curve(run)
    curve.frame()
    assert legend(curve) == {"loss": ""}
    run.step(2)
    curve.frame()
    assert legend(curve) == {"loss": "2.5 so far"}
    run.train()
    curve.frame()
    assert legend(curve) == {"loss": "2"}


def test_names_and_values_of_the_legend_do_not_overlap():
    metrics = {f"a long name {i}": lambda x: 1 / 3e5 for i in range(4)}
    run = quadratic(valid=np.zeros((2, 3)), metrics=metrics)
    run.train()
    curve = Curve(run)
    curve.frame()
    texts = [t for t in curve.figure.axes[0].texts if t not in mark_labels(curve) and t.get_visible()]
    found = boxes(curve, texts)
    assert len(found) == 6
    assert not any(a.overlaps(b) for a, b in combinations(found, 2))
    assert max(b.x1 for b in found) <= curve.figure.bbox.x1 + 1


def test_what_a_run_has_left_is_grey():
    run = quadratic(n=50, epochs=1)
    run.step(30)
    left = run.history["loss"].copy()
    run.restart()
    run.step(5)
    curve = Curve(run)
    curve.frame()
    (grey,) = [x for x in curve.figure.axes[0].lines if x.get_gid() == "earlier"]
    assert grey.get_color() == axes.INK
    assert len(grey.get_xdata()) == 30
    assert grey.get_ydata()[0] == pytest.approx(left[0])
    run.undo()
    curve.frame()
    (grey,) = [x for x in curve.figure.axes[0].lines if x.get_gid() == "earlier"]
    assert len(grey.get_xdata()) == 5
    run.rewind(10)
    curve.frame()
    found = [x.get_xdata()[0] for x in curve.figure.axes[0].lines if x.get_gid() == "earlier"]
    assert 11 in found  # it parts after step 10


# -- words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Event(1, "η", 0.1, 0.8), "η × 8"),
        (Event(1, "η", 0.1, 0.025), "η ÷ 4"),
        (Event(1, "η", 0.003, 0.01), "η × 3.33"),
        (Event(1, "η", 0.0, 0.01), "η 0 → 0.01"),
        (Event(1, "ρ", 0.9, 0.99), "ρ 0.9 → 0.99"),
        (Event(1, "clip", np.inf, 1.0), "clip off → 1"),
        (Event(1, "opt", "SGD", "ADAM"), "SGD → ADAM"),
        (Event(1, "η", 0.1, np.float32(0.2)), "η × 2"),
    ],
)
def test_a_change_on_a_logarithmic_scale_is_a_factor(event, words):
    assert change(event, Momentum) == words


def test_a_dial_that_is_dragged_away_and_back_has_no_mark():
    run = quadratic(n=400, epochs=1)
    run.step(100)
    for η in (0.2, 0.3, 0.1):
        run.drag(η=η)
        run.step(20)
    curve = Curve(run)
    curve.frame()
    assert not marks(curve)
    run.drag(η=0.2)  # and away again
    curve.frame()
    assert marks(curve) == {"η × 2": 160}


def test_a_gesture_is_one_change():
    drag = [Event(100 + k, "η", 0.1 + k / 100, 0.11 + k / 100) for k in range(20)]
    assert gestures(drag, 400) == [Event(100, "η", 0.1, pytest.approx(0.3))]
    apart = [Event(100, "η", 0.1, 0.2), Event(150, "η", 0.2, 0.3)]
    assert gestures(apart, 400) == apart
    others = [Event(100, "η", 0.1, 0.2), Event(101, "ρ", 0.9, 0.8), Event(102, "η", 0.2, 0.3)]
    assert gestures(others, 400) == others
    back = [Event(100, "η", 0.1, 0.2), Event(101, "η", 0.2, 0.1), Event(102, "ρ", 0.9, 0.8), Event(103, "η", 0.1, 0.2)]
    assert gestures(back, 400) == back[2:]
    swaps = [Event(100, "opt", "SGD", "ADAM"), Event(100, "opt", "ADAM", "SGD")]
    assert gestures(swaps, 400) == swaps

"""What `--show` draws: pictures and text beside the curve; SVG and HTML by themselves; errors in their place."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from PIL import Image

from fluxmagic import SGD, Dropout, Panel, Run, param
from fluxmagic.jupyter.driving.loop import run_loop
from fluxmagic.jupyter.driving.views import ImageView, WidgetView
from fluxmagic.jupyter.pictures.beside import show_beside
from fluxmagic.jupyter.pictures.plot import Curve
from fluxmagic.jupyter.pictures.shown import COLUMNS, LINES, ShownValue, render
from tests.jupyter.pictures import pixels
from tests.jupyter.problems import quadratic


def png_of(colour, size=(4, 3)):
    file = io.BytesIO()
    Image.new("RGBA", size, colour).save(file, "PNG")
    return file.getvalue()


class Rich:
    def __init__(self, **reprs):
        for kind, value in reprs.items():
            setattr(self, f"_repr_{kind}_", lambda value=value: value)


def curve_showing(*functions, run=None):
    run = run or quadratic()
    run.step(3)
    show_beside(run, functions)
    return Curve(run)


def image(curve, i=1):
    return np.asarray(curve.figure.axes[i].images[0].get_array())


def text(curve, i=1):
    return curve.figure.axes[i].texts[0].get_text()


def test_a_png_is_drawn_beside_the_curve():
    curve = curve_showing(lambda: Rich(png=png_of("red")))
    curve.frame()
    assert image(curve).shape == (3, 4, 4)
    assert (image(curve) == [255, 0, 0, 255]).all()
    shown = pixels(curve.frame())
    assert (shown[..., :3] == [255, 0, 0]).all(-1).sum() > 10_000


def test_an_array_is_a_picture_from_its_smallest_to_its_largest_entry():
    a = render(np.arange(6.0).reshape(2, 3)).pixels
    assert a.shape == (2, 3, 4)
    assert a[0, 0].tolist() == [68, 1, 84, 255]
    assert a[1, 2].tolist() == [253, 231, 37, 255]
    assert (render(param(np.ones((2, 2)))).pixels[0, 0] == [68, 1, 84, 255]).all()
    assert render(np.full((2, 2), np.nan)).pixels.shape == (2, 2, 4)


@pytest.mark.parametrize("largest", [1, 255])
def test_an_array_with_colours_is_shown_in_them(largest):
    a = np.broadcast_to([0, 0, largest], (2, 2, 3))
    assert (render(a).pixels == [0, 0, 255, 255]).all()


def test_a_stack_of_arrays_is_laid_in_a_square():
    assert render(np.zeros((5, 4, 6))).pixels.shape == (2 * 4 + 1, 3 * 6 + 2, 4)
    assert render(np.zeros((2, 2, 4, 6))).pixels.shape == (2 * 4 + 1, 2 * 6 + 1, 4)


def test_a_vector_and_a_number_are_text():
    assert render(np.arange(3)).text == "array([0, 1, 2])"
    assert render(0.5).text == "0.5"
    assert render("two\nlines").text == "two\nlines"
    assert render(0.5).pixels is None


def test_text_is_drawn_as_it_is_and_cut_where_it_does_not_fit():
    curve = curve_showing(lambda: "$x_1$ {a}")
    curve.frame()
    assert text(curve) == "$x_1$ {a}"
    assert not curve.figure.axes[1].texts[0].get_parse_math()
    curve = curve_showing(lambda: "\n".join(["w" * 200] * 40))
    curve.frame()
    lines = text(curve).split("\n")
    assert len(lines) == LINES
    assert max(map(len, lines)) == COLUMNS
    assert lines[-1] == "…"


def test_html_and_svg_are_for_the_page():
    svg = '<svg xmlns="http://www.w3.org/2000/svg"/>'
    curve = curve_showing(lambda: Rich(html="<b>bold</b>"), lambda: Rich(svg=svg), lambda: Rich(png=png_of("red")))
    curve.frame()
    assert [dict(v.rendered.rich) for v in curve.shown] == [{"text/html": "<b>bold</b>"}, {"image/svg+xml": svg}, {}]
    assert len(curve.figure.axes) == 2  # the curve, and the PNG


def test_a_png_as_text_in_a_bundle_is_decoded():
    encoded = base64.b64encode(png_of("blue")).decode()
    rendered = render(Rich(mimebundle=None, png=encoded))
    assert (rendered.pixels == [0, 0, 255, 255]).all()


def test_a_value_that_displays_itself_is_not_let_to(capsys):
    class Widget:
        def _ipython_display_(self):
            print("displayed")

        def __repr__(self):
            return "Widget()"

    assert render(Widget()).text == "Widget()"
    assert capsys.readouterr().out == ""


def test_figures_are_drawn_and_those_of_pyplot_closed():
    own = Figure(figsize=(2, 1))
    assert render(own).pixels.shape == (100, 200, 4)
    assert render(own.add_axes((0, 0, 1, 1))).pixels.shape == (100, 200, 4)
    kept = pyplot.figure()
    try:

        def plot():
            pyplot.figure(figsize=(2, 1))
            pyplot.plot([1, 2])

        curve = curve_showing(plot)
        curve.frame()
        assert image(curve).shape == (100, 200, 4)
        assert pyplot.get_fignums() == [kept.number]
        assert pyplot.gcf() is kept
    finally:
        pyplot.close("all")


def test_after_an_error_its_message_stands_there_and_the_curve_goes_on():
    calls = []

    def show():
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("no such column")
        return np.eye(2)

    curve = curve_showing(show)
    curve.frame()
    assert image(curve).shape == (2, 2, 4)
    curve.run.step(2)
    curve.frame()
    assert text(curve) == "ValueError: no such column"
    assert not curve.figure.axes[1].images
    curve.run.step(2)
    curve.frame()
    assert image(curve).shape == (2, 2, 4)
    assert curve.run.steps == 7


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_while_a_run_trains_it_is_evaluated_seldom_and_always_for_the_picture_that_stays():
    clock, run, calls = Clock(), quadratic(n=100), []

    def show():
        clock.now += 0.1
        calls.append(run.steps)

    value = ShownValue(run, show, clock)
    run.advance(0.0, 1)
    assert run.state == "running"
    assert value.update()
    for _ in range(49):
        run.advance(0.0, 1)
        clock.now += 0.1
        value.update()
    assert len(calls) == 1
    clock.now += 0.2
    assert value.update(idle=True)
    run.advance(0.0, 1)
    assert not value.update(idle=True)
    clock.now += 0.5
    assert value.update(idle=True)
    assert not value.update()  # the run has not gone on
    assert value.update(final=True)
    run.pause()
    run.advance(0.0)
    run.step()
    assert value.update()
    assert calls[-1] == run.steps


def test_it_is_evaluated_aside():
    W, drop = param(np.ones(3)), Dropout(0.5)
    seen = []

    def show():
        seen.append(drop(np.ones(8)).sum())
        W.data[...] = 7.0
        print("not seen")

    run = Run(lambda x: ((W - x) ** 2).sum(), [np.zeros(3)] * 9, SGD([W], 0.1))
    curve = curve_showing(show, run=run)
    before = W.data.copy()
    curve.frame()
    curve.picture()
    assert set(seen) == {8.0}
    np.testing.assert_array_equal(W.data, before)


def test_the_first_stands_beside_the_curve_and_others_below_without_overlap():
    curve = curve_showing(*[lambda: np.eye(3)] * 5)
    curve.frame()
    boxes = [ax.get_position() for ax in curve.figure.axes]
    assert len(boxes) == 6
    assert boxes[1].y1 == pytest.approx(boxes[0].y1, abs=0.05)
    for i, a in enumerate(boxes):
        assert 0 <= a.x0 < a.x1 <= 1
        assert 0 <= a.y0 < a.y1 <= 1
        assert not any(a.overlaps(b) for b in boxes[:i])


def test_titles_are_names():
    def weights():
        return np.eye(2)

    curve = curve_showing(weights, lambda: 1)
    assert [ax.get_title(loc="left") for ax in curve.figure.axes[1:]] == ["weights", ""]


# -- on the page ---------------------------------------------------------------------------------------------


def html_output(page):
    """Give the output that has the HTML of `show`."""
    (found,) = [o for o in page.outputs if isinstance(o.data[0], dict) and "<b>" in o.data[0].get("text/html", "")]
    return found


@pytest.mark.parametrize("make", [ImageView, WidgetView])
def test_html_stands_below_is_updated_and_stays(page, make):
    run = quadratic()
    show_beside(run, lambda: Rich(html=f"<b>{run.steps}</b>"))
    view = make(run)
    shown = html_output(page)
    assert shown.data[0]["text/html"] == "<b>0</b>"
    run.step(4)
    view.draw()
    assert shown.data[-1]["text/html"] == "<b>4</b>"
    run_loop(view)
    assert shown.data[-1]["text/html"] == "<b>20</b>"
    assert len(shown.data) < 20


def test_html_is_shown_again_in_another_cell(page):
    run = quadratic()
    show_beside(run, lambda: Rich(html="<b>here</b>"))
    view = ImageView(run)
    shown = html_output(page)
    view.open_again()
    assert len(shown.data) == 2
    run_loop(view)


def test_a_panel_takes_functions_and_tries_them_once():
    W = param(np.ones(2))
    loss, data = (lambda x: ((W - x) ** 2).sum()), [np.zeros(2)] * 5
    calls = []
    panel = Panel(loss, data, [W], show=lambda: calls.append(1))
    assert calls == [1]
    panel = Panel(loss, data, [W], show=[lambda: 1, lambda: 2])
    assert len(Curve(panel.run).shown) == 2
    with pytest.raises(ZeroDivisionError) as raised:
        Panel(loss, data, [W], show=[lambda: 1, lambda: 1 / 0])
    assert raised.value.__notes__ == ["(in show)"]
    with pytest.raises(TypeError, match="a function without arguments, or a list of them, not a int"):
        Panel(loss, data, [W], show=[3])
    assert W.data.tolist() == [1.0, 1.0]

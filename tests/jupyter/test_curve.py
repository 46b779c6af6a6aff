"""The curve: few points, true extremes, marks, and a picture that is read on light and dark."""

from __future__ import annotations

import io
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fluxmagic import ADAM, SGD, NotFinite, Run, param
from fluxmagic.jupyter import curve as module
from fluxmagic.jupyter.curve import Curve, Decimated, compare
from fluxmagic.optimise import Momentum
from fluxmagic.runs import Event


def quadratic(epochs=3, n=20, opt=None, **options):
    W = param(np.linspace(0.5, 1.5, 4))
    opt = SGD([W], 0.05) if opt is None else opt
    return Run(lambda x: ((W - x) ** 2).sum(), [np.zeros(4)] * n, opt, epochs=epochs, **options)


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA")).astype(int)


def texts(curve):
    return [t.get_text() for t in curve._marks if hasattr(t, "get_text")]


def grown(values, cuts, bins):
    d = Decimated(bins)
    for n in sorted({*cuts, len(values)}):
        if n <= len(values):
            d.update(n, lambda rows: values[rows])
    return d


floats = st.one_of(st.floats(-1e6, 1e6), st.just(float("nan")), st.just(float("inf")))


@settings(deadline=None, max_examples=60)
@given(st.lists(floats, min_size=1, max_size=300), st.lists(st.integers(1, 300), max_size=6), st.integers(2, 16))
def test_decimation_keeps_the_extremes_however_the_series_grew(values, cuts, bins):
    values = np.array(values)
    d = grown(values, cuts, bins)
    x, y = d.line()
    assert len(x) == len(y) <= 2 * bins
    assert (np.diff(x) >= 0).all()
    assert x[0] >= 1
    finite = values[np.isfinite(values)]
    if len(finite):
        assert np.nanmin(y) == finite.min()
        assert np.nanmax(y) == finite.max()
        np.testing.assert_allclose(np.nansum(d.mean * d.count), finite.sum(), rtol=1e-9, atol=1e-6)
    else:
        assert np.isnan(y).all()
    assert d.count.sum() == len(finite)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=200), st.lists(st.integers(1, 200), max_size=5))
def test_decimation_does_not_depend_on_when_it_looked(values, cuts):
    values = np.array(values)
    a, b = grown(values, cuts, 8), grown(values, [], 8)
    np.testing.assert_allclose(a.line(), b.line())
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-9, atol=1e-12)


def test_a_million_rows_are_a_thousand_points_and_news_are_cheap():
    values = np.random.default_rng(0).normal(size=1_000_100)
    d = Decimated()
    d.update(1_000_000, lambda rows: values[rows])
    assert len(d.line()[0]) <= 1000
    read = []
    d.update(1_000_100, lambda rows: read.append(rows) or values[rows])
    assert sum(r.stop - r.start for r in read) <= 100 + d.size
    assert np.nanmax(d.line()[1]) == values.max()


def test_a_series_that_became_shorter_is_read_anew():
    d = grown(np.arange(50.0), [], 8)
    d.update(10, lambda rows: np.full(50, 7.0)[rows])
    assert d.n == 10
    assert set(d.line()[1]) == {7.0}


def test_smoothing_has_no_pull_to_its_first_value_and_0_is_none():
    values = np.array([3.0, 1.0, 4.0, 1.0, 5.0])
    d = grown(values, [], 8)
    np.testing.assert_array_equal(d.smooth(0.0)[1], values)
    weights = 0.5 ** np.arange(5)[::-1]
    np.testing.assert_allclose(d.smooth(0.5)[1][-1], (weights * values).sum() / weights.sum())
    np.testing.assert_allclose(grown(np.full(100, 2.0), [], 8).smooth(0.99)[1], 2.0)


def test_smoothing_goes_over_a_loss_that_is_not_finite():
    y = grown(np.array([2.0, np.nan, 2.0]), [], 8).smooth(0.9)[1]
    np.testing.assert_allclose(y, 2.0)


def test_no_line_has_more_than_a_thousand_points():
    run = quadratic(epochs=3000, n=1, valid=np.zeros((1, 4)), metrics={"m": lambda x: 1.0})
    run.train()
    c = Curve(run)
    c.frame()
    for line in (c._raw, c._smooth, *c._checks.values()):
        assert 2 <= len(line.get_xdata()) <= 1000


def test_a_frame_is_a_picture_that_changes_as_the_run_goes_on():
    run = quadratic()
    c = Curve(run)
    first = c.frame()
    run.step(20)
    second = c.frame()
    assert pixels(first).shape == (360, 860, 4)
    assert (pixels(first) != pixels(second)).any()


def test_cheap_frames_show_what_a_full_one_shows():
    run = quadratic(valid=np.zeros((2, 4)))
    c = Curve(run)
    c.frame()
    for _ in range(12):
        run.step(5)
        if run.steps == 30:
            run.set(η=0.01)
        cheap = c.frame()
    c._background = None
    assert (pixels(cheap) == pixels(c.frame())).all()


def test_a_turn_and_a_swap_are_marked_where_they_happened():
    run = quadratic()
    run.step(10)
    run.set(η=0.2)
    run.step(20)
    run.swap("Momentum")
    run.step(1)
    c = Curve(run)
    c.frame()
    assert "η 0.05 → 0.2" in texts(c)
    assert "SGD → Momentum" in texts(c)
    places = {t.get_text(): t.get_position()[0] for t in c._marks if hasattr(t, "get_text")}
    assert places["η 0.05 → 0.2"] == 10
    assert places["SGD → Momentum"] == 30


def test_a_branch_is_marked_where_it_left_its_parent_and_that_one_its_own():
    def marks(r):
        c = Curve(r)
        c.frame()
        return {t.get_text(): t.get_position()[0] for t in c._marks if "run" in getattr(t, "get_text", str)()}

    run = quadratic(name="run")
    run.step(10)
    first = run.branch("run_b")
    first.step(10)
    second = first.branch("run_c")
    second.step(5)
    assert marks(second) == {"run_b": 10, "run_c": 20}
    assert marks(first) == {"run_b": 10}
    assert marks(run) == {}
    second.rewind(15)
    assert marks(second) == {"run_b": 10}
    first.rewind(5)
    third = first.branch("run_d")
    third.step(10)
    assert marks(third) == {"run_d": 5}  # of what is shared with the run before 10 nothing is a branch's


def test_turns_on_top_of_each_other_are_one_mark_from_the_first_value_to_the_last():
    run = quadratic(epochs=100)
    run.step(1000)
    for η in (0.06, 0.07, 0.08):
        run.set(η=η)
        run.step(1)
    run.step(500)
    c = Curve(run)
    c.frame()
    assert [t for t in texts(c) if "η" in t] == ["η 0.05 → 0.08"]


def test_a_swap_with_dials_names_both():
    run = quadratic(epochs=100)
    run.step(10)
    run.swap("ADAM", β1=0.5)
    run.step(1)
    c = Curve(run)
    c.frame()
    assert "SGD → ADAM, β1 0.5" in texts(c)


def test_a_loss_that_is_not_finite_is_marked():
    W = param(1.0)
    run = Run(lambda x: W * x, [1.0, 1.0, np.inf, 1.0], SGD([W], 0.1))
    with pytest.raises(NotFinite):
        run.train()
    c = Curve(run)
    assert c.frame()
    assert "not finite" in texts(c)


def test_epochs_are_marked_and_thinned():
    run = quadratic(epochs=50, n=4)
    run.train()
    c = Curve(run)
    c.frame()
    marks = [t for t in texts(c) if t.startswith("epoch")]
    assert 3 <= len(marks) <= 12


def test_validation_metrics_and_earlier_runs_have_lines_and_names():
    earlier = quadratic()
    earlier.train()
    run = quadratic(valid=np.zeros((2, 4)), metrics={"acc": lambda x: 0.5})
    run.train()
    c = Curve(run, [earlier])
    c.frame()
    names = [t.get_text() for t in c._ax.get_legend().get_texts()]
    assert names == ["loss", "valid", "acc", "earlier"]
    assert c._checks["acc"].axes is not c._ax  # metrics have their own scale
    assert c._checks["valid"].axes is c._ax
    assert list(c._checks["acc"].get_ydata()) == [0.5] * 3


def test_a_run_is_not_earlier_than_itself():
    run = quadratic()
    run.step(3)
    assert not Curve(run, [run])._earlier


def test_the_axis_can_be_logarithmic_also_below_zero():
    run = quadratic()
    run.train()
    c = Curve(run)
    linear = c.frame()
    c.log = True
    assert (pixels(c.frame()) != pixels(linear)).any()
    assert c._ax.get_yscale() == "log"
    W = param(1.0)
    below = Run(lambda x: W * x - 10.0, [1.0] * 5, SGD([W], 0.1))
    below.train()
    c = Curve(below)
    c.log = True
    assert c.frame()


def test_a_run_without_a_step_has_a_curve():
    c = Curve(quadratic())
    assert c.frame()
    assert c.picture()


def test_going_back_shows_the_new_losses():
    run = quadratic()
    run.step(30)
    c = Curve(run)
    c.frame()
    run.rewind(5)
    run.set(η=1e-6)
    run.step(25)
    c.frame()
    np.testing.assert_array_equal(c._raw.get_ydata(), run.history["loss"])


def contrast(a, b):
    def light(colour):
        parts = np.array(mpl.colors.to_rgb(colour))
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", [module.INK, module.LOSS, module.VALID, *module.METRICS, module.TURN, module.BAD])
@pytest.mark.parametrize("background", ["white", "#111111"])
def test_every_colour_is_read_on_light_and_dark(colour, background):
    assert contrast(colour, background) >= 3.0


def test_the_background_is_transparent():
    run = quadratic()
    run.train()
    c = Curve(run)
    assert pixels(c.frame())[0, 0, 3] == 0
    assert pixels(c.picture())[0, 0, 3] == 0


def test_a_users_style_neither_shows_nor_changes():
    run = quadratic()
    run.train()
    plain = Curve(run).frame()
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30, "lines.linewidth": 9}):
        before = dict(mpl.rcParams)
        styled = Curve(run).frame()
        assert dict(mpl.rcParams) == before
    assert (pixels(plain) == pixels(styled)).all()


def test_pyplot_is_not_loaded():
    code = (
        "import sys, numpy as np; from fluxmagic import Run, SGD, param; from fluxmagic.jupyter.curve import Curve\n"
        "W = param(1.0); r = Run(lambda x: W * W, [1.0] * 3, SGD([W])); r.train()\n"
        "Curve(r).frame(); Curve(r).picture()\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_compare_lays_runs_over_each_other():
    a, b, c = quadratic(name="slow"), quadratic(name="fast"), quadratic(name="fast")
    for run in (a, b, c):
        run.train()
    picture = compare(a, b, c, log=True)
    names = [t.get_text() for t in picture.figure.axes[0].get_legend().get_texts()]
    assert names == ["slow", "fast (2)", "fast (3)"]
    png, shown = picture._repr_png_()
    assert pixels(png).shape[1] > shown["width"]
    assert repr(picture) == "Comparison(slow, fast (2), fast (3))"


def test_compare_says_what_it_takes():
    with pytest.raises(TypeError, match="none: compare"):
        compare()
    with pytest.raises(TypeError, match="not a int"):
        compare(3)
    with pytest.raises(ValueError, match="0 ≤ smoothing < 1"):
        compare(quadratic(), smoothing=1.0)


@pytest.mark.parametrize("cls", [Momentum, ADAM])
def test_a_schedule_is_marked_by_its_name(cls):
    def halving(n):
        return 0.1

    W = param(np.ones(2))
    run = Run(lambda x: (W**2).sum(), [0.0] * 20, cls([W]))
    run.step(5)
    run.set(η=halving)
    run.step(5)
    c = Curve(run)
    c.frame()
    assert any(t.endswith("→ halving") for t in texts(c))


# -- what cannot be drawn as it is ---------------------------------------------------------------------------


def recorded(*losses, **options):
    run = Run(lambda x: (W * 0).sum() + x, list(losses), SGD([W := param(np.ones(1))], 0.1), **options)
    run.train()
    return run


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "losses",
    [
        (5e-324, 1e-312),
        (1e-310, 1e-310),
        (1e-320, 1e300),
        (1e291, 1e300),
        (1.7e308, -1.7e308),
        (0.0, 0.0),
        (-1.0, -2.0),
    ],
)
def test_a_loss_of_any_size_is_drawn(losses, log):
    run = recorded(*losses * 3)
    curve = Curve(run)
    curve.log = log
    assert curve.frame()[:4] == curve.picture()[:4] == b"\x89PNG"
    assert compare(run, run, log=log)._repr_png_()[0][:4] == b"\x89PNG"


@pytest.mark.parametrize("name", ["$x", "a$b$c", "$\\frac{$", "_x", "a\nb", "\ud800", "\0", "n" * 1000])
def test_names_are_plain_text_in_pictures(name):
    run = recorded(1.0, 2.0, name=name, metrics={name: lambda x: 1.0})
    run.record.events.append(Event(1, name, name, "$\\frac"))
    curve = Curve(run)
    curve.frame()
    assert curve.picture()[:4] == b"\x89PNG"
    shown = curve._ax.get_legend().get_texts()[1]
    assert shown.get_text()[:3] == "".join(c if c.isprintable() else "\ufffd" for c in name)[:3]
    assert not shown.get_parse_math()
    assert compare(run, recorded(1.0))._repr_png_()[0][:4] == b"\x89PNG"

"""The curve: what is drawn, the marks, and a picture that is read on light and dark."""

from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest

from fluxmagic import ADAM, SGD, NotFinite, Run, param
from fluxmagic.jupyter.formatting import format_number
from fluxmagic.jupyter.pictures import axes
from fluxmagic.jupyter.pictures.comparison import compare
from fluxmagic.jupyter.pictures.plot import Curve
from fluxmagic.optimise import Momentum
from fluxmagic.runs import Event
from tests.jupyter.pictures import contrast, legend, line, marks, pixels, shown_as_png
from tests.jupyter.problems import quadratic, recorded


def run_of_epochs(**options):
    return quadratic(**{"n": 20, "epochs": 3, **options})


def curve_of(run):
    """Draw a frame; give the curve."""
    curve = Curve(run)
    curve.frame()
    return curve


def test_no_line_has_more_than_a_thousand_points():
    run = run_of_epochs(epochs=1500, n=2, valid=np.zeros((1, 3)), metrics={"m": lambda x: 1.0})
    run.train()
    c = curve_of(run)
    for name in ("raw loss", "loss", "valid", "m"):
        assert 2 <= len(line(c, name).get_xdata()) <= 1000


def test_a_frame_is_a_picture_that_changes_as_the_run_goes_on():
    run = run_of_epochs()
    c = Curve(run)
    assert c.frame() == b""  # there is nothing to be seen yet
    run.step(5)
    first = c.frame()
    run.step(20)
    second = c.frame()
    assert pixels(first).shape == (380, 900, 4)
    assert (pixels(first) != pixels(second)).any()


def test_cheap_frames_have_the_pixels_of_full_ones():
    run = run_of_epochs(valid=np.zeros((2, 3)))
    c = curve_of(run)
    for _ in range(12):
        run.step(5)
        if run.steps == 30:
            run.set(η=0.01)
        cheap = c.frame()
    assert (pixels(cheap) == pixels(c.frame(full=True))).all()


def test_changes_and_swaps_are_marked_at_their_steps():
    run = run_of_epochs()
    run.step(10)
    run.set(η=0.2)
    run.step(20)
    run.swap("Momentum")
    run.step(1)
    c = curve_of(run)
    assert marks(c) == {"η × 2": 10, "epoch 2": 20, "SGD → Momentum": 30}


def test_branch_points_of_a_run_and_of_its_parents_are_marked():
    def branches(r):
        return {k: step for k, step in marks(curve_of(r)).items() if k.startswith("run")}

    run = run_of_epochs(name="run")
    run.step(10)
    first = run.branch("run_b")
    first.step(10)
    second = first.branch("run_c")
    second.step(5)
    assert branches(second) == {"run_b": 10, "run_c": 20}
    assert branches(first) == {"run_b": 10}
    assert branches(run) == {}
    second.rewind(15)
    assert branches(second) == {"run_b": 10}
    first.rewind(5)
    third = first.branch("run_d")
    third.step(10)
    assert branches(third) == {"run_d": 5}  # of what is shared with the run before 10 nothing is a branch's


def test_marks_that_would_overlap_are_merged():
    run = run_of_epochs(epochs=100)
    run.step(1000)
    for η in (0.06, 0.07, 0.08):
        run.set(η=η)
        run.step(1)
    run.step(500)
    c = curve_of(run)
    assert [t for t in marks(c) if "η" in t] == ["η ÷ 1.25"]


def test_a_swap_with_values_is_one_mark():
    run = run_of_epochs(epochs=100)
    run.step(10)
    run.swap("ADAM", β1=0.5)
    run.step(1)
    c = curve_of(run)
    assert "SGD → ADAM, β1 0.9 → 0.5" in marks(c)


def test_a_loss_that_is_not_finite_is_marked():
    W = param(1.0)
    run = Run(lambda x: W * x, [1.0, 1.0, np.inf, 1.0], SGD([W], 0.1))
    with pytest.raises(NotFinite):
        run.train()
    c = Curve(run)
    assert c.frame()
    assert "not finite" in marks(c)


def test_epochs_are_marked_and_thinned():
    run = run_of_epochs(epochs=50, n=4)
    run.train()
    c = curve_of(run)
    assert 3 <= len([t for t in marks(c) if t.startswith("epoch")]) <= 12


def test_validation_metrics_and_earlier_runs_have_lines_and_names():
    earlier = run_of_epochs()
    earlier.train()
    run = run_of_epochs(valid=np.zeros((2, 3)), metrics={"acc": lambda x: 0.5})
    run.train()
    c = Curve(run, [earlier])
    c.frame()
    shown = {"loss": format_number(run.shown_loss), "valid": format_number(run.last_evaluation["valid"])}
    assert legend(c) == {**shown, "acc": "0.5", "earlier": ""}
    assert line(c, "acc").axes is not line(c, "loss").axes  # metrics have their own scale
    assert line(c, "valid").axes is line(c, "loss").axes
    assert list(line(c, "acc").get_ydata()) == [0.5] * 3


def test_a_page_of_another_width_shows_what_a_paused_run_has_left():
    w = param([1.0, 2.0])
    run = Run(lambda: (w**2).sum(), None, "SGD", steps=30)
    run.step(20)
    run.restart()
    c = Curve(run)
    c.frame()
    c.page_width = 350
    c.frame()
    left = [x for ax in c.figure.axes[:2] for x in ax.lines if x.get_gid() == "earlier"]
    assert [len(x.get_xdata()) for x in left] == [20, 23]  # the path has its start, and ends in a gap


def test_the_run_itself_is_not_drawn_as_an_earlier_one():
    run = run_of_epochs()
    run.step(3)
    assert not Curve(run, [run]).earlier


def test_log_axes_draw_losses_below_zero_too():
    run = run_of_epochs()
    run.train()
    c = Curve(run)
    c.log = False
    linear = c.frame()
    c.log = True
    assert (pixels(c.frame()) != pixels(linear)).any()
    assert c.figure.axes[0].get_yscale() == "log"
    W = param(1.0)
    below = Run(lambda x: W * x - 10.0, [1.0] * 5, SGD([W], 0.1))
    below.train()
    c = Curve(below)
    c.log = True
    assert c.frame()


def test_a_run_without_a_step_has_a_curve():
    assert Curve(run_of_epochs()).picture()


def test_after_a_rewind_the_new_losses_are_drawn():
    run = run_of_epochs()
    run.step(30)
    c = curve_of(run)
    run.rewind(5)
    run.set(η=1e-6)
    run.step(25)
    c.frame()
    np.testing.assert_array_equal(line(c, "raw loss").get_ydata(), run.history["loss"])


@pytest.mark.parametrize("colour", [axes.INK, axes.LOSS, axes.VALID, *axes.METRICS, axes.EVENT, axes.BAD])
@pytest.mark.parametrize("background", ["white", "#111111"])
def test_every_colour_has_contrast_on_light_and_on_dark(colour, background):
    assert contrast(colour, background) >= 3.0


def test_the_background_is_transparent():
    run = run_of_epochs()
    run.train()
    c = Curve(run)
    assert pixels(c.frame())[0, 0, 3] == 0
    assert pixels(c.picture())[0, 0, 3] == 0


def test_a_users_style_is_neither_used_nor_changed():
    run = run_of_epochs()
    run.train()
    plain = Curve(run).frame()
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30, "lines.linewidth": 9}):
        before = dict(mpl.rcParams)
        styled = Curve(run).frame()
        assert dict(mpl.rcParams) == before
    assert (pixels(plain) == pixels(styled)).all()


def test_pyplot_is_not_loaded():
    code = (
        "import sys, numpy as np; from fluxmagic import Run, SGD, param\n"
        "from fluxmagic.jupyter.pictures.plot import Curve\n"
        "W = param(1.0); r = Run(lambda x: W * W, [1.0] * 3, SGD([W])); r.train()\n"
        "Curve(r).frame(); Curve(r).picture()\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("cls", [Momentum, ADAM])
def test_a_schedule_is_marked_by_its_name(cls):
    def halving(n):
        return 0.1

    W = param(np.ones(2))
    run = Run(lambda x: (W**2).sum(), [0.0] * 20, cls([W]))
    run.step(5)
    run.set(η=halving)
    run.step(5)
    c = curve_of(run)
    assert any(t.endswith("→ halving") for t in marks(c))


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
    assert shown_as_png(compare(run, run, log=log))[0][:4] == b"\x89PNG"


@pytest.mark.parametrize("name", ["$x", "a$b$c", "$\\frac{$", "_x", "a\nb", "\ud800", "\0", "n" * 1000])
def test_names_are_plain_text_in_pictures(name):
    run = recorded(1.0, 2.0, name=name, metrics={name: lambda x: 1.0})
    run.record.events.append(Event(1, name, name, "$\\frac"))
    curve = Curve(run)
    curve.frame()
    assert curve.picture()[:4] == b"\x89PNG"
    shown = next(t for t in curve.figure.axes[0].texts if t.get_text().endswith(" 1"))
    assert shown.get_text().removesuffix(" 1")[:3] == "".join(c if c.isprintable() else "\ufffd" for c in name)[:3]
    assert not shown.get_parse_math()
    assert shown_as_png(compare(run, recorded(1.0)))[0][:4] == b"\x89PNG"

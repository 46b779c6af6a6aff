"""Several runs in one picture."""

from __future__ import annotations

import pytest

from fluxmagic.jupyter.pictures.comparison import compare
from tests.jupyter.pictures import legend_texts, pixels, shown_as_png
from tests.jupyter.problems import quadratic


def test_compare_lays_runs_over_each_other():
    a, b, c = quadratic(name="slow"), quadratic(name="fast"), quadratic(name="fast")
    for run in (a, b, c):
        run.train()
    picture = compare(a, b, c, log=True)
    names = [t.get_text() for t in legend_texts(picture)]
    assert names == ["slow: SGD", "fast: SGD (2)", "fast: SGD (3)"]
    png, shown = shown_as_png(picture)
    assert pixels(png).shape[1] > shown["width"]
    assert repr(picture) == "Comparison(slow: SGD, fast: SGD (2), fast: SGD (3))"


def test_compare_rejects_what_it_cannot_draw():
    with pytest.raises(TypeError, match="none: compare"):
        compare()
    with pytest.raises(TypeError, match="not a int"):
        compare(3)
    with pytest.raises(ValueError, match="0 ≤ smoothing < 1"):
        compare(quadratic(), smoothing=1.0)

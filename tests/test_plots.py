"""Pictures of models."""

from __future__ import annotations

import numpy as np
import pytest

from fluxmagic import BatchNorm, Chain, Dense, plots

X = np.random.default_rng(0).normal(size=(30, 2))
LABELS = (X[:, 0] > 0).astype(int)


def regions(figure):
    """Give the classes that are drawn, by their colours, of shape (points, points), bottom row first."""
    colours = np.asarray(figure.axes[0].images[0].get_array())
    _, index = np.unique(colours.reshape(-1, 4), axis=0, return_inverse=True)
    return index.reshape(colours.shape[:2])


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (lambda x: np.stack([-x[:, 0], x[:, 0]], 1), {}),
        (lambda x: 1 / (1 + np.exp(-x[:, :1])), {}),
        (lambda x: x[:, 0], {"threshold": 0.0}),
    ],
)
def test_the_plane_is_coloured_by_class(model, options):
    found = regions(plots.boundary(model, X, LABELS, points=50, **options))
    assert len(np.unique(found)) == 2
    assert (found == found[0]).all()  # the class depends on the first feature alone
    assert len(np.unique(found[0, : found.shape[1] // 4])) == 1
    assert found[0, 0] != found[0, -1]


def test_points_have_the_colours_of_their_labels():
    figure = plots.boundary(lambda x: x, X, np.eye(2)[LABELS])
    (points,) = [c for c in figure.axes[0].collections if len(c.get_offsets()) == 30]
    colours = points.get_facecolors()
    assert len(np.unique(colours, axis=0)) == 2
    assert (colours[LABELS == 1] == colours[LABELS == 1][0]).all()


def test_a_model_is_evaluated_in_test_mode():
    m = Chain(Dense(2, 4), BatchNorm(4), Dense(4, 2))
    before = m[1].mean.copy()
    plots.boundary(m, X, LABELS)
    np.testing.assert_array_equal(m[1].mean, before)


@pytest.mark.parametrize(
    ("X", "y", "says"),
    [
        (np.ones((3, 3)), [0, 1, 0], r"X has two columns, and this one is of shape \(3, 3\)"),
        (np.ones(3), [0, 1, 0], r"X has two columns, and this one is of shape \(3,\)"),
        (np.ones((3, 2)), [0, 1], "X has 3 rows, and y 2 labels"),
    ],
)
def test_what_does_not_fit_is_refused(X, y, says):
    with pytest.raises(ValueError, match=says):
        plots.boundary(lambda x: x, X, y)

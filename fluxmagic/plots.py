"""Pictures of models, for `--show` and the end of a cell.  matplotlib is imported when one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fluxmagic.layers.predict import predict
from fluxmagic.lazy import load
from fluxmagic.tracker import data

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

__all__ = ["boundary"]


def boundary(
    model: Callable[..., object], X: ArrayLike, y: ArrayLike, *, threshold: float = 0.5, points: int = 120
) -> Figure:
    """Draw what a classifier of two features says over the plane, and the data on it.

    Parameters
    ----------
    model : callable
        Of an array of shape (n, 2), to one of shape (n, k), a column for each of k ≥ 2 classes, or (n,) or (n, 1) for
        two classes.
    X : array of shape (n, 2)
    y : array
        Labels of shape (n,), or one-hot rows.
    threshold : float
        With one column, from which output on the class is 1; 0 for logits.
    points : int
        Points a side, at which the model is evaluated.

    Returns
    -------
    matplotlib.figure.Figure
        A notebook shows it; `pyplot` does not know it.

    Raises
    ------
    ValueError
        If X has not two columns, y another length, or the model does not give a row for each.
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> from fluxmagic import Chain, Dense, plots
    >>> figure = plots.boundary(Chain(Dense(2, 2)), [[0.0, 1.0], [1.0, 0.0]], [0, 1])
    """
    X, y = np.asarray(data(X), float), np.asarray(data(y))
    if X.ndim != 2 or X.shape[1] != 2:
        raise ValueError(f"boundary: X has two columns, and this one is of shape {X.shape}")
    labels = y.argmax(1) if y.ndim == 2 and y.shape[1] > 1 else y.ravel()
    if len(labels) != len(X):
        raise ValueError(f"boundary: X has {len(X)} rows, and y {len(labels)} labels")
    low, high = X.min(0), X.max(0)
    margin = 0.1 * np.where(high > low, high - low, 1.0)
    axes = [np.linspace(a, b, points) for a, b in zip(low - margin, high + margin)]
    plane = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    columns = predict(model, plane).reshape(len(plane), -1)
    classes = (columns[:, 0] >= threshold).astype(int) if columns.shape[1] == 1 else columns.argmax(1)
    draw: Callable[..., Figure] = load("fluxmagic.jupyter.pictures.boundary", "draw_boundary")
    return draw(*axes, classes.reshape(points, points), X, labels.astype(int))

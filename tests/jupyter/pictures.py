"""What a test sees of a picture and a curve."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
from IPython.core.formatters import PNGFormatter
from matplotlib.text import Annotation
from PIL import Image


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA")).astype(int)


def marks(curve):
    """Give the labels of a curve's marks with the steps where they stand."""
    return {t.get_text(): t.xy[0] for t in mark_labels(curve)}


def mark_labels(curve):
    """Give the labels of a curve's marks."""
    return [t for ax in curve.figure.axes for t in ax.texts if isinstance(t, Annotation)]


def legend(curve):
    """Give the legend of a curve: the values by names."""
    texts = [t for t in curve.figure.axes[0].texts if not isinstance(t, Annotation) and t.get_visible()]
    words = [t.get_text().split(" ", 1) for t in texts]
    return {w[0]: " ".join(w[1:]) for w in words}


def line(curve, name):
    """Give the line of a curve by its name."""
    (found,) = [x for ax in curve.figure.axes for x in ax.lines if x.get_gid() == name]
    return found


def legend_texts(picture):
    """Give the texts of the legend of a comparison."""
    (legend,) = picture.figure.legends
    return legend.get_texts()


def shown_as_png(picture):
    """Give what IPython shows of a picture: the PNG, and its size on the page."""
    return PNGFormatter()(picture)


def contrast(a, b):
    """Give the contrast of two colours, as WCAG 2 defines it."""

    def light(colour):
        parts = np.array(mpl.colors.to_rgb(colour))
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def x_limits(curve):
    return curve.figure.axes[0].get_xlim()


def y_limits(curve):
    return curve.figure.axes[0].get_ylim()


def y_scale(curve):
    return curve.figure.axes[0].get_yscale()

"""What a test sees of a picture and a curve."""

from __future__ import annotations

import io

import numpy as np
from IPython.core.formatters import PNGFormatter
from PIL import Image


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA")).astype(int)


def marks(curve):
    """Give the labels of a curve's marks with the steps where they stand."""
    return {t.get_text(): t.get_position()[0] for t in curve.figure.axes[0].texts}


def line(curve, name):
    """Give the line of a curve by its name."""
    (found,) = [x for ax in curve.figure.axes for x in ax.lines if x.get_gid() == name]
    return found


def legend_texts(picture):
    """Give the texts of a picture's legend."""
    return picture.figure.axes[0].get_legend().get_texts()


def shown_as_png(picture):
    """Give what IPython shows of a picture: the PNG, and its size on the page."""
    return PNGFormatter()(picture)

"""The encoder, against the decoder of others."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from fluxmagic.jupyter.pictures.png import png


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (36, 86), (360, 860)])
@pytest.mark.parametrize("kind", ["noise", "lines", "nothing"])
def test_every_pixel_comes_back(shape, kind):
    rng = np.random.default_rng(0)
    pixels = np.zeros((*shape, 4), np.uint8)
    if kind == "noise":
        pixels[...] = rng.integers(0, 256, pixels.shape)
    elif kind == "lines":
        pixels[::3] = 59, 130, 214, 255
    with Image.open(io.BytesIO(png(pixels))) as image:
        image.verify()  # the checksums
    with Image.open(io.BytesIO(png(pixels))) as image:
        assert (image.mode, image.size) == ("RGBA", shape[::-1])
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_a_plain_picture_stays_small():
    assert len(png(np.zeros((360, 860, 4), np.uint8))) < 10_000

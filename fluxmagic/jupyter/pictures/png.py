"""Pixels as a PNG.

Pillow tries five filters on every row and keeps the best, which takes three times as long as all the rest.  A frame is
shown for half a second, and need not be small.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

__all__ = ["png"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RGBA = 8, 6, 0, 0, 0  # bits a sample, kind of pixel, the one compression, the one set of filters, not interlaced
UP = 2  # the filter: each byte less the one above it


def png(pixels: np.ndarray) -> bytes:
    """Encode a picture of shape (height, width, 4), uint8: red, green, blue, opacity.

    The format is that of the PNG specification (W3C, third edition), parts 5, 9 and 11.
    """
    height, width, _ = pixels.shape
    rows = pixels.reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], filtered[1:, 1:])
    header = struct.pack(">II5B", width, height, *RGBA)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(filtered.data, 1)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))

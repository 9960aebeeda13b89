"""The 64-bit perceptual hash of an image, one of the two votes that make a near-duplicate."""

from __future__ import annotations

import numpy as np
from PIL import Image

GRID = 8
"""Cells per side; GRID x GRID comparisons give the 64 bits."""


def perceptual_hash(image: Image.Image) -> int:
    """Return the difference hash (dHash) of an upright image as an unsigned 64-bit integer.

    The image is reduced to 9 x 8 grey cells by area averaging; bit k (row-major, the first comparison is the
    highest bit) says whether a cell is darker than its right neighbour. Re-encoding, resizing and small crops
    flip few bits. (N. Krawetz, "Kind of Like That", hackerfactor.com, 2013.)
    """
    cells = image.convert("L").resize((GRID + 1, GRID), Image.Resampling.BOX)
    grey = np.asarray(cells, dtype=np.int16)
    brighter_to_the_right = grey[:, 1:] > grey[:, :-1]
    return int.from_bytes(np.packbits(brighter_to_the_right).tobytes(), "big")

"""How much memory the images that are being decoded may take together: what bounds a process, whatever the data."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

BYTES_AT_ONCE = 600_000_000
"""Two photos of 24 megapixels at once, or one of the default 40; with the libraries a stage stays below 1 GB."""

_PER_PIXEL = 12
_PER_PIXEL_OF_WEBP = 17
"""Most bytes a pixel that were seen from opening an image to its RGB pixels: a progressive JPEG keeps its coefficients,
a WebP two canvases and a copy, and every mode but RGB lies beside its RGB pixels."""


class MemoryBudget:
    """Threads that together hold at most `most` bytes; who needs more waits until it is alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, needed: int) -> Iterator[None]:
        """Wait until `needed` bytes fit, keep them to the end of the block; never nest (a thread waits for itself)."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + needed <= self._most)
            self._held += needed
        try:
            yield
        finally:
            with self._changed:
                self._held -= needed
                self._changed.notify_all()


_budget = MemoryBudget(BYTES_AT_ONCE)


@contextmanager
def room_to_decode(header: Image.Image) -> Iterator[None]:
    """Keep the memory that decoding an opened image takes, until the end of the block; waits for other threads."""
    per_pixel = _PER_PIXEL_OF_WEBP if header.format == "WEBP" else _PER_PIXEL
    with _budget.hold(per_pixel * header.width * header.height):
        yield

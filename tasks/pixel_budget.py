"""How many pixels may be decoded at once by all threads of a process: what bounds its memory, whatever the data."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PIXELS_AT_ONCE = 48_000_000
"""Decoding takes up to 12 bytes a pixel (16 for WebP) until the next image may start: about 600 MB."""


class PixelBudget:
    """Threads that together hold at most `pixels`; an image larger than that waits until it is alone."""

    def __init__(self, pixels: int = PIXELS_AT_ONCE) -> None:
        self._free_at_most = pixels
        self._held = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait until `pixels` fit, keep them until the end of the block. Never nest: a thread would wait for itself."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + pixels <= self._free_at_most)
            self._held += pixels
        try:
            yield
        finally:
            with self._changed:
                self._held -= pixels
                self._changed.notify_all()

    @property
    def held(self) -> int:
        """Pixels being decoded now."""
        return self._held


pixel_budget = PixelBudget()

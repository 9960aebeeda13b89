"""How much memory the images that are being decoded may take together: what bounds a process, whatever the data."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from PIL import Image

BYTES_AT_ONCE = 600_000_000
"""Two photos of 24 megapixels at once, or one of the default 40; with the libraries a stage stays below 1 GB."""

LARGE_FILE = 2**25
LARGE_IMAGE = BYTES_AT_ONCE // 3
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
_this_thread = threading.local()


@contextmanager
def room_to_read(file: Path) -> Iterator[None]:
    """Keep the memory for a file's bytes until the end of the block: above 32 MiB it is read and decoded alone."""
    try:
        large = file.lstat().st_size > LARGE_FILE
    except OSError:
        large = False
    if not large:
        yield
        return
    with _budget.hold(BYTES_AT_ONCE):
        return_freed_memory()
        _this_thread.alone = True
        try:
            yield
        finally:
            _this_thread.alone = False


@contextmanager
def room_to_decode(header: Image.Image) -> Iterator[None]:
    """Keep the memory that decoding an opened image takes until the end of the block; waits for other threads."""
    if getattr(_this_thread, "alone", False):
        yield
        return
    per_pixel = _PER_PIXEL_OF_WEBP if header.format == "WEBP" else _PER_PIXEL
    needed = per_pixel * header.width * header.height
    with _budget.hold(needed):
        if needed > LARGE_IMAGE:
            return_freed_memory()
        yield


def return_freed_memory() -> None:
    """Hand back to the system what glibc keeps of what was freed (400 MB and more after large images); else nothing."""
    trim = _malloc_trim()
    if trim:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None

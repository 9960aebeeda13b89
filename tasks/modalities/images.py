"""What validate must know of one image file: decodable or not, size, mode, content digest, hash, light and blur."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.digests import bytes_sha256, file_sha256
from tasks.params import ValidateParams
from tasks.perceptual_hash import perceptual_hash
from tasks.preprocess import UInt8Image, UndecodableImage, decode_rgb, read_header
from tasks.tables import PIXELS_SIDE

SHARPNESS_SIDE = 256
"""Sharpness is measured after a whole-number reduction to about this longer side, so that it compares across sizes."""

LARGE_PIXELS = 16_000_000
MAX_THREADS = 8
_BYTES_PER_PIXEL = 8
_large_image = threading.Lock()
"""Held while an image above LARGE_PIXELS is decoded: one at a time bounds the memory, whatever the data."""


@dataclass(frozen=True)
class Inspection:
    """One image file. `reason` says why it cannot be used (undecodable, or of a size or mode that params do not allow).

    What could not be had is None.

    `width` and `height` are the stored ones (before EXIF orientation), pixels; `brightness` is the mean grey in
    [0, 255]; `sharpness` the variance of the Laplacian (grey levels squared); `pixels` the upright image as 16 x 16
    grey bytes, row by row, box filtered; `perceptual_hash` is an unsigned 64-bit number.
    """

    file_bytes: int
    sha256: str | None = None
    format: str | None = None
    mode: str | None = None
    width: int | None = None
    height: int | None = None
    perceptual_hash: int | None = None
    brightness: float | None = None
    sharpness: float | None = None
    pixels: bytes | None = None
    reason: str | None = None


def inspect_files(paths: Sequence[Path], rules: ValidateParams) -> Iterator[Inspection]:
    """Inspect files in a thread pool (Pillow decodes outside the interpreter lock); yields in the order of `paths`."""
    threads = min(
        MAX_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    with ThreadPoolExecutor(threads, "inspect") as pool:
        yield from pool.map(lambda path: inspect_file(path, rules), paths)


def inspect_file(path: Path, rules: ValidateParams) -> Inspection:
    """Inspect one file; a file that cannot be read or is larger than any allowed image has a reason, no error."""
    size = 0
    try:
        size = path.stat().st_size
        limit = rules.max_pixels * _BYTES_PER_PIXEL + 2**24
        if size > limit:
            return Inspection(size, file_sha256(path), reason=f"{size} bytes, more than the {limit} an image may have")
        return inspect(path.read_bytes(), rules)
    except OSError as err:
        return Inspection(size, reason=f"cannot be read ({err.strerror})")


def inspect(data: bytes, rules: ValidateParams) -> Inspection:
    """Inspect one file's content against params.validate; formats and the pixel cap are judged before decoding."""
    known = Inspection(len(data), bytes_sha256(data))
    formats = tuple(rules.formats)
    try:
        header = read_header(data, formats, rules.max_pixels)
        width, height = header.size
        known = replace(known, format=header.format, mode=header.mode, width=width, height=height)
        with _large_image if width * height > LARGE_PIXELS else nullcontext():
            grey = decode_rgb(data, formats, rules.max_pixels).convert("L")
    except UndecodableImage as err:
        return replace(known, reason=str(err))
    return replace(
        known,
        perceptual_hash=perceptual_hash(grey),
        brightness=brightness(grey),
        sharpness=sharpness(grey),
        pixels=thumbnail(grey).tobytes(),
        reason=_disallowed(str(header.mode), width, height, rules),
    )


def _disallowed(mode: str, width: int, height: int, rules: ValidateParams) -> str | None:
    if mode not in rules.modes:
        return f"mode {mode} is not allowed (validate.modes)"
    if min(width, height) < rules.min_side:
        return f"{width}x{height} pixels, a side is below {rules.min_side} (validate.min_side)"
    if max(width, height) > rules.max_side:
        return f"{width}x{height} pixels, a side is above {rules.max_side} (validate.max_side)"
    return None


def brightness(grey: Image.Image) -> float:
    """Mean grey in [0, 255] of an "L" image."""
    counts = np.asarray(grey.histogram(), dtype=np.int64)
    return float(counts @ np.arange(256) / counts.sum())


def sharpness(grey: Image.Image) -> float:
    """Variance of the 4-neighbour Laplacian of an "L" image (0 is flat or fully blurred), edges repeated.

    Source: J. L. Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000 (LAPV).
    """
    factor = max(1, round(max(grey.size) / SHARPNESS_SIDE))
    reduced = np.asarray(grey.reduce(factor), dtype=np.int16)
    padded = np.pad(reduced, 1, mode="edge")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * reduced
    return float(laplacian.var(dtype=np.float64))


def thumbnail(grey: Image.Image) -> UInt8Image:
    """An "L" image as (16, 16) grey levels by area averaging; an 8 x 8 image is repeated exactly."""
    return np.asarray(grey.resize((PIXELS_SIDE, PIXELS_SIDE), Image.Resampling.BOX), dtype=np.uint8)

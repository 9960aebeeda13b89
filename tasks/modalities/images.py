"""What validate must know of one image file: decodable or not, size, mode, content digest, hash, light and blur."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.decoding import UInt8Image, UndecodableImage, pixels_of, read_header
from tasks.decoding_memory import room_to_decode, room_to_read
from tasks.digests import bytes_sha256
from tasks.modalities.libtiff import silence_libtiff
from tasks.modalities.reading import UnreadableFile, read_regular
from tasks.params import ValidateParams
from tasks.perceptual_hash import perceptual_hash
from tasks.tables import PIXELS_SIDE
from tasks.threads import usable_cores

SHARPNESS_SIDE = 256
"""Sharpness is measured after a whole-number reduction to about this longer side, so that it compares across sizes."""

MAX_THREADS = 8
_WAITING_PER_THREAD = 64
_BYTES_PER_PIXEL = 8
_HEADER_BYTES = 2**24


@dataclass(frozen=True)
class Inspection:
    """One image file. `reason` says why it cannot be used (undecodable, or of a size or mode that params do not allow).

    What could not be had is None.

    `width` and `height` are the stored ones (before EXIF orientation), pixels; `several_frames` tells an animation or a
    file of several pages, whose first frame alone is decoded; `brightness` is the mean grey in
    [0, 255]; `sharpness` the variance of the Laplacian (grey levels squared); `pixels` the upright image as 16 x 16
    grey bytes, row by row, box filtered; `perceptual_hash` is an unsigned 64-bit number.
    """

    file_bytes: int
    sha256: str | None = None
    format: str | None = None
    mode: str | None = None
    width: int | None = None
    height: int | None = None
    several_frames: bool | None = None
    perceptual_hash: int | None = None
    brightness: float | None = None
    sharpness: float | None = None
    pixels: bytes | None = None
    reason: str | None = None


def inspect_files(paths: Iterable[Path], rules: ValidateParams, threads: int = 0) -> Iterator[Inspection]:
    """Inspect files in a thread pool (Pillow decodes outside the interpreter lock); yields in the order of `paths`.

    Args:
        threads: 0 takes every core, but at most eight.
    """
    threads = threads or min(MAX_THREADS, usable_cores())
    silence_libtiff()
    waiting: deque[Future[Inspection]] = deque()
    with ThreadPoolExecutor(threads, "inspect") as pool:
        for path in paths:
            waiting.append(pool.submit(inspect_file, path, rules))
            if len(waiting) > _WAITING_PER_THREAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def inspect_file(path: Path, rules: ValidateParams) -> Inspection:
    """Inspect one file; a file that cannot be read or is larger than any allowed image has a reason, no error."""
    try:
        with room_to_read(path):
            return inspect(read_regular(path, rules.max_pixels * _BYTES_PER_PIXEL + _HEADER_BYTES), rules)
    except UnreadableFile as err:
        return Inspection(err.size, reason=str(err))


def inspect(data: bytes, rules: ValidateParams) -> Inspection:
    """Inspect one file's content against params.validate; formats and the pixel cap are judged before decoding."""
    known = Inspection(len(data), bytes_sha256(data))
    try:
        header = read_header(data, tuple(rules.formats), rules.max_pixels)
        width, height = header.size
        known = replace(known, format=header.format, mode=header.mode, width=width, height=height)
        with room_to_decode(header):
            return _measured(known, header, rules)
    except UndecodableImage as err:
        return replace(known, reason=str(err))


def _measured(known: Inspection, header: Image.Image, rules: ValidateParams) -> Inspection:
    several = has_several_frames(header)
    grey = pixels_of(header).convert("L")
    known = replace(known, several_frames=several)
    return replace(
        known,
        perceptual_hash=perceptual_hash(grey),
        brightness=brightness(grey),
        sharpness=sharpness(grey),
        pixels=thumbnail(grey).tobytes(),
        reason=_disallowed(known, rules),
    )


def has_several_frames(image: Image.Image) -> bool:
    """Whether an opened image is an animation or a file of several pages; looks no further than the second frame.

    An MPO counts as one: phones write a gain map or a preview beside the photo, and no other picture.
    """
    try:
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except Exception:  # a broken second frame; the first is what is used
        return True


def _disallowed(known: Inspection, rules: ValidateParams) -> str | None:
    size = f"{known.width}x{known.height} pixels"
    sides = (known.width or 0, known.height or 0)
    if known.mode not in rules.modes:
        unclear = "; such pixels do not say which value is white" if known.mode in ("I", "F") else ""
        return f"mode {known.mode} is not allowed (validate.modes){unclear}"
    if min(sides) < rules.min_side:
        return f"{size}, a side is below {rules.min_side} (validate.min_side)"
    if max(sides) > rules.max_side:
        return f"{size}, a side is above {rules.max_side} (validate.max_side)"
    if known.several_frames and rules.frames == "single":
        return "holds more than one frame or page; only single images are allowed (validate.frames)"
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
    levels = np.asarray(grey.reduce(factor) if factor > 1 else grey).astype(np.int16)
    laplacian = np.zeros_like(levels)
    across, down = np.diff(levels, axis=1), np.diff(levels, axis=0)
    laplacian[:, :-1] += across
    laplacian[:, 1:] -= across
    laplacian[:-1] += down
    laplacian[1:] -= down
    # Every step is added once and taken away once, so the mean is 0 and the sum of squares is exact.
    return float(np.einsum("ij,ij->", laplacian, laplacian, dtype=np.float64)) / laplacian.size


def thumbnail(grey: Image.Image) -> UInt8Image:
    """An "L" image as (16, 16) grey levels by area averaging; an 8 x 8 image is repeated exactly."""
    return np.asarray(grey.resize((PIXELS_SIDE, PIXELS_SIDE), Image.Resampling.BOX), dtype=np.uint8)

"""Small seeded image files for tests."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def noise(seed: int, width: int = 24, height: int = 20) -> Image.Image:
    """A sharp RGB image of medium brightness; another seed, another image."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_image(path: Path, seed: int) -> None:
    write(path, encoded(noise(seed)))


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_classes(root: Path, counts: dict[str, int]) -> None:
    """Class folders (or SIDE/CLASS) with so many images each, all different: CLASS/000.png and on."""
    seed = 0
    for folder, count in counts.items():
        for number in range(count):
            write_image(root / folder / f"{number:03d}.png", seed)
            seed += 1


def bomb_png(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of a few bytes whose header claims gigapixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

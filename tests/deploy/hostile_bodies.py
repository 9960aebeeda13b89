"""Image files of every kind that is taken, and ways to spoil bytes; seeded, so that what fails can be made again."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

INTERESTING = [
    b"\x00", b"\xff", b"\x7f", b"\x80", b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f", b"\x00\x00\x00\x01", b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"IDAT", b"IEND", b"GIF89a",
    b"RIFF", b"II*\x00", b"MM\x00*", b"%PDF-1.7", b"PK\x03\x04", b"\r\n\r\n", b"\x00" * 64, b"\xff" * 64, b"A" * 300,
]  # fmt: skip


@cache
def image_files() -> tuple[bytes, ...]:
    """Small files: each format, and of each the variants that decoders handle by other code."""
    pixels = np.random.default_rng(11).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    rgb = Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    frames = [rgb.rotate(turn) for turn in (90, 180)]
    variants: list[tuple[Image.Image, dict[str, Any]]] = [
        (rgb, {"format": "JPEG", "exif": exif}),
        (rgb, {"format": "JPEG", "progressive": True, "subsampling": 2}),
        (rgb.convert("CMYK"), {"format": "JPEG"}),
        (rgb.convert("L"), {"format": "JPEG", "restart_marker_blocks": 2}),
        (rgb, {"format": "PNG"}),
        (rgb.convert("P"), {"format": "PNG", "transparency": 3}),
        (rgb.convert("LA"), {"format": "PNG"}),
        (Image.fromarray(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21), {"format": "PNG"}),
        (rgb, {"format": "WEBP", "quality": 60, "exif": exif}),
        (rgb.convert("RGBA"), {"format": "WEBP", "lossless": True}),
        (rgb, {"format": "WEBP", "save_all": True, "append_images": frames}),
        (rgb, {"format": "TIFF"}),
        (rgb, {"format": "TIFF", "compression": "tiff_lzw"}),
        (rgb, {"format": "TIFF", "compression": "jpeg"}),
        (rgb.convert("1"), {"format": "TIFF", "compression": "group4"}),
        (rgb, {"format": "TIFF", "save_all": True, "append_images": frames, "compression": "tiff_adobe_deflate"}),
        (rgb.convert("P"), {"format": "GIF"}),
        (rgb.convert("P"), {"format": "GIF", "save_all": True, "append_images": frames, "loop": 0}),
        (rgb, {"format": "BMP"}),
        (rgb.convert("P"), {"format": "BMP"}),
    ]
    return tuple(_saved(image, options) for image, options in variants)


def _saved(image: Image.Image, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def flip_bits(data: bytes, chance: random.Random, other: bytes) -> bytes:
    """One to sixteen bits changed, half of the time among the first 64 bytes, where headers are."""
    spoilt = bytearray(data)
    reach = min(64, len(data)) if chance.random() < 0.5 else len(data)
    for _ in range(2 ** chance.randrange(5)):
        place = chance.randrange(reach)
        spoilt[place] ^= 1 << chance.randrange(8)
    return bytes(spoilt)


def cut(data: bytes, chance: random.Random, other: bytes) -> bytes:
    """The end missing."""
    return data[: chance.randrange(len(data))]


def leave_out(data: bytes, chance: random.Random, other: bytes) -> bytes:
    """A piece missing."""
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.randrange(1, 64) :]


def repeat(data: bytes, chance: random.Random, other: bytes) -> bytes:
    """A piece up to a hundred times."""
    start = chance.randrange(len(data))
    piece = data[start : start + chance.randrange(1, 40)]
    return data[:start] + piece * chance.randrange(1, 100) + data[start:]


def splice(data: bytes, chance: random.Random, other: bytes) -> bytes:
    """The beginning of one and the end of another."""
    return data[: chance.randrange(len(data))] + other[chance.randrange(len(other)) :]


def overwrite(data: bytes, chance: random.Random, other: bytes) -> bytes:
    """Bytes that mean something to somebody, anywhere."""
    spoilt = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        piece, start = chance.choice(INTERESTING), chance.randrange(len(data))
        spoilt[start : start + (len(piece) if chance.random() < 0.7 else 0)] = piece
    return bytes(spoilt)


def change_a_size(data: bytes, chance: random.Random, other: bytes) -> bytes:
    """A number of two or four bytes somewhere, of either byte order, at an edge of its range."""
    number = chance.choice([0, 1, 2, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, chance.randrange(2**32)])
    packed = struct.pack(chance.choice("<>") + "I", number)[: chance.choice([2, 4])]
    start = chance.randrange(len(data)) if chance.random() < 0.5 else chance.randrange(min(64, len(data)))
    return data[:start] + packed + data[start + len(packed) :]


def nothing(data: bytes, chance: random.Random, other: bytes) -> bytes:
    """As it was: sound requests come between the spoilt ones."""
    return data


SPOILERS: tuple[Callable[[bytes, random.Random, bytes], bytes], ...] = (
    flip_bits, flip_bits, cut, leave_out, repeat, splice, overwrite, change_a_size, nothing,
)  # fmt: skip


def spoil(data: bytes, chance: random.Random, other: bytes) -> bytes:
    """Spoilt in one way, sometimes in two; empty data stay empty."""
    for _ in range(1 if chance.random() < 0.8 else 2):
        if data and other:
            data = chance.choice(SPOILERS)(data, chance, other)
    return data

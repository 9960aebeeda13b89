"""Floods of header parts are refused before Pillow keeps an object for each; what photos hold is far below."""

from __future__ import annotations

import struct
import zlib

import pytest
from hostile_files import ODD, photo, tiff
from image_files import encoded, noise

from tasks.decoding import UndecodableImage, read_header
from tasks.header_parts import MOST_PARTS, header_parts

SQUARE = {256: (9,), 257: (9,), 258: (8,), 259: (1,), 262: (1,), 277: (1,), 278: (9,)}


def chunks(count: int) -> bytes:
    data, body = encoded(noise(1)), b"a\0"
    chunk = struct.pack(">I", len(body)) + b"tEXt" + body + struct.pack(">I", zlib.crc32(b"tEXt" + body))
    return data[:33] + chunk * count + data[33:]


def looping_tiff() -> bytes:
    """A directory whose one entry, of no values, points to the directory itself."""
    return b"II*\0" + struct.pack("<IHHHIII", 8, 1, 34665, 4, 0, 8, 0)


FLOODS = {
    "segments": photo(1)[:2] + b"\xff\xe5\0\2" * (MOST_PARTS + 1) + photo(1)[2:],
    "garbage between segments": photo(1)[:20] + b"\xff" * (MOST_PARTS + 1) + photo(1)[20:],
    "chunks": chunks(MOST_PARTS + 1),
    "values": tiff({**SQUARE, 320: (1,) * (MOST_PARTS + 1)}, bytes(81)),
    "big-endian values": tiff({**SQUARE, 320: (1,) * (MOST_PARTS + 1)}, bytes(81), ">"),
    "a directory that points to itself": looping_tiff(),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_is_refused(kind: str) -> None:
    with pytest.raises(UndecodableImage, match=f"^its header has more than {MOST_PARTS} parts; photos have tens$"):
        read_header(FLOODS[kind])


def test_parts_are_counted_up_to_the_pixels() -> None:
    plain = header_parts(photo(1))
    assert 5 < plain < 20
    assert header_parts(photo(1)[:2] + b"\xff\xe5\0\2" * 50 + photo(1)[2:]) == plain + 50
    assert header_parts(photo(1) + b"\xff\xe5\0\2" * 50) == plain
    assert header_parts(chunks(50)) == header_parts(encoded(noise(1))) + 50
    assert header_parts(tiff(SQUARE, bytes(81))) == 18
    assert header_parts(tiff({**SQUARE, 320: (1,) * 768}, bytes(81))) == 18 + 769
    claims = struct.pack("<IHHHII", 8, 1, 320, 3, 2**31, 26)
    assert header_parts(b"II*\0" + claims + bytes(8)) == 1, "what the file cannot hold is not gone through"


@pytest.mark.parametrize("kind", ODD)
def test_what_must_be_read_has_few_parts(kind: str) -> None:
    assert header_parts(ODD[kind][1](1)) < 4000


def test_what_is_cut_or_no_image_has_parts_that_can_be_counted() -> None:
    for data in (photo(1), encoded(noise(1)), encoded(noise(1), "TIFF"), b"II+\0" + bytes(12), b"MM", b"GIF89a", b""):
        for end in range(0, len(data), 7):
            assert header_parts(data[:end]) < MOST_PARTS

"""How many parts a reader goes through before it knows an image's size: floods of them cost memory and minutes.

Pillow keeps a Python object for every segment of a JPEG, chunk of a PNG and value of a TIFF: 16 MB of them took 600 MB.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

MOST_PARTS = 1 << 18
"""As many as the 16 x 16 tiles of a TIFF of 67 megapixels; photos have tens."""

_SEGMENT = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_ONE_BYTE_TYPES = frozenset({1, 2, 6, 7})
_POINTERS = frozenset({34665, 34853, 40965})
"""Tags that lead to the directories of EXIF, GPS and interoperability."""


def header_parts(data: bytes) -> int:
    """Segments of a JPEG before its first scan, chunks of a PNG or values of a TIFF; 0 of other files.

    Counting ends above MOST_PARTS. Bytes of garbage between the segments count too: Pillow skips them one by one.
    """
    if data.startswith(b"\xff\xd8"):
        return _count(_segments(data))
    if data.startswith(b"\x89PNG"):
        return _count(_chunks(data))
    if data[:2] in (b"II", b"MM"):
        order = "<" if data[:2] == b"II" else ">"
        try:
            return _count(_values(data, order, data[2:4] in (b"+\0", b"\0+")))
        except struct.error:
            return 0
    return 0


def segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(place, marker) of every segment of a JPEG from its start up to the end mark; scanned pixels are stepped over."""
    found = _SEGMENT.search(data, 2)
    while found and data[found.start() + 1] != _END_OF_IMAGE:
        yield found.start(), data[found.start() + 1]
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        found = _SEGMENT.search(data, found.end() + length)


def _count(weights: Iterator[int]) -> int:
    total = 0
    for weight in weights:
        total += weight
        if total > MOST_PARTS:
            break
    return total


def _segments(data: bytes) -> Iterator[int]:
    expected = 2
    for place, marker in segments(data):
        yield 1 + place - expected
        if marker == _START_OF_SCAN:
            return
        expected = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")


def _chunks(data: bytes) -> Iterator[int]:
    place = 8
    while place + 8 <= len(data):
        yield 1
        place += 12 + int.from_bytes(data[place : place + 4], "big")


def _values(data: bytes, order: str, big: bool) -> Iterator[int]:
    """Values of the first directory and those that it points to; BigTIFF has wider numbers."""
    pending = [struct.unpack_from(f"{order}Q" if big else f"{order}I", data, 8 if big else 4)[0]]
    layout, first = (f"{order}HHQQ", "Q") if big else (f"{order}HHII", "H")
    while pending:
        place = pending.pop()
        entries = struct.unpack_from(order + first, data, place)[0]
        place += struct.calcsize(first)
        for number in range(min(entries, MOST_PARTS)):
            tag, kind, count, value = struct.unpack_from(layout, data, place + number * struct.calcsize(layout))
            held = count <= len(data) and kind not in _ONE_BYTE_TYPES  # Pillow passes over what the file cannot hold
            yield 1 + count if held else 1
            if tag in _POINTERS and len(pending) < len(_POINTERS):
                pending.append(value)

"""BYTES tensors in the binary extension: each element is its length (4 bytes, little-endian) and then itself."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from deploy.oip.refused import Refused

_LENGTH = struct.Struct("<I")


def split_elements(data: memoryview, count: int, name: str) -> list[bytes]:
    """The `count` elements of a tensor.

    Raises:
        Refused: a length points beyond the data, or there are fewer or more elements.
    """
    found: list[bytes] = []
    place = 0
    for number in range(count):
        if place + _LENGTH.size > len(data):
            raise Refused(f"input {name!r} has {number} elements in its binary data, its shape says {count}")
        (length,) = _LENGTH.unpack_from(data, place)
        place += _LENGTH.size
        if length > len(data) - place:
            raise Refused(
                f"element {number} of input {name!r} claims {length} bytes, but {len(data) - place} follow its length"
            )
        found.append(bytes(data[place : place + length]))
        place += length
    if place != len(data):
        raise Refused(f"input {name!r} has {len(data) - place} bytes after the {count} elements that its shape says")
    return found


def join_elements(elements: Iterable[bytes]) -> bytes:
    """Elements as a binary tensor."""
    return b"".join(part for element in elements for part in (_LENGTH.pack(len(element)), element))

"""Keeping libtiff's own messages off the terminal: a broken TIFF is named by validate, with its reason."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

_LOADED_LIBRARIES = Path("/proc/self/maps")


@cache
def silence_libtiff() -> bool:
    """Switch off the error handler of every libtiff that this process has loaded; True where there was one.

    Pillow switches off libtiff's warnings but not its errors, which go to file descriptor 2 past Python. The library's
    own switch leaves that descriptor alone, which threads share. Where loaded libraries cannot be listed (not Linux)
    or libtiff is linked statically, the messages stay and nothing else changes.
    """
    try:
        mapped = _LOADED_LIBRARIES.read_text()
        found = {line.split(maxsplit=5)[5] for line in mapped.splitlines() if "/libtiff" in line}
        for library in found:
            ctypes.CDLL(library).TIFFSetErrorHandler(None)
    except (OSError, AttributeError, IndexError):
        return False
    return bool(found)

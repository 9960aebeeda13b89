"""Keeps libtiff from writing a line to stderr for every broken file: the reason is in the error that Pillow raises."""

from __future__ import annotations

import ctypes
from pathlib import Path

from PIL import _imaging as _loads_libtiff  # noqa: F401


def silence_libtiff() -> bool:
    """Take away the handlers that print, in the library that this process has loaded; whether it was found.

    A server's log is one JSON object a line, and whoever sends images must not be able to write into it. Pillow turns
    off libtiff's warnings but not its errors.
    """
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        files = {line.split(maxsplit=5)[-1] for line in lines if "libtiff" in line}
        for file in files:
            library = ctypes.CDLL(file)
            for name in ("TIFFSetErrorHandler", "TIFFSetErrorHandlerExt", "TIFFSetWarningHandler"):
                setter = getattr(library, name)
                setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
                setter(None)
    except (OSError, AttributeError):
        return False
    return bool(files)

"""One listed file to its bytes, without following a link, waiting on a pipe or taking what is still being written.

The tree was walked before (`tasks.tree`), but a folder is no snapshot: what is opened here may have changed since.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tasks.errors import DataError

_PLAIN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""A link is refused by the kernel, and opening a FIFO returns at once; to regular files O_NONBLOCK means nothing."""


class UnreadableFile(DataError):
    """The file cannot be had; the text is the reason, without the file's name. `size` is in bytes, 0 where unknown."""

    def __init__(self, reason: str, size: int = 0) -> None:
        super().__init__(reason)
        self.size = size


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file of at most `most_bytes`.

    Raises:
        UnreadableFile: gone, unreadable, no regular file, too large (nothing is read then), or changed meanwhile.
    """
    try:
        descriptor = os.open(path, _PLAIN)
    except OSError as err:
        fault = "has become a link" if path.is_symlink() else f"cannot be read ({err.strerror})"
        raise UnreadableFile(fault) from err
    try:
        return _read(descriptor, most_bytes)
    except OSError as err:
        raise UnreadableFile(f"cannot be read ({err.strerror})") from err
    finally:
        os.close(descriptor)


def _read(descriptor: int, most_bytes: int) -> bytes:
    before = os.fstat(descriptor)
    size = before.st_size
    if not stat.S_ISREG(before.st_mode):
        raise UnreadableFile("is no regular file any more")
    if size > most_bytes:
        raise UnreadableFile(f"{size} bytes, more than the {most_bytes} an image may have", size)
    with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
        data = file.read(size + 1) or b""
    after = os.fstat(descriptor)
    if len(data) != size or (after.st_size, after.st_mtime_ns) != (size, before.st_mtime_ns):
        raise UnreadableFile("changed while it was read; try again when nothing writes there", len(data))
    return data

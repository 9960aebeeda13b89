"""A file once more under another name, with as little room as the disk allows."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path
from typing import Literal

_FICLONE = 0x40049409
"""Linux's ioctl that gives a file the blocks of another: <linux/fs.h>."""
_CANNOT = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}

Way = Literal["reflink", "hard link", "copy"]


def share_file(source: Path, target: Path) -> Way:
    """Make `target` a read-only file with the content of `source`: by reflink, else hard link, else copy.

    Raises:
        OSError: the disk is full, or `target` exists.
    """
    if _reflink(source, target):
        return "reflink"
    try:
        os.link(source, target)
    except OSError as err:
        if err.errno not in _CANNOT:
            raise
        shutil.copyfile(source, target)
        target.chmod(0o444)
        return "copy"
    if target.stat().st_mode & 0o222:
        target.chmod(0o444)
    return "hard link"


def _reflink(source: Path, target: Path) -> bool:
    with source.open("rb") as reading, target.open("xb") as writing:
        try:
            fcntl.ioctl(writing.fileno(), _FICLONE, reading.fileno())
        except OSError:
            target.unlink()
            return False
        os.fchmod(writing.fileno(), 0o444)
    return True

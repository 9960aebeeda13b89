"""What becomes of old captures: deleted by age and by the size of all; drafts of processes that died are removed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from deploy.capture_files import DRAFT, named_time


@dataclass(frozen=True)
class _Kept:
    time: datetime
    size: int
    path: Path


def sweep(folder: Path, keep: timedelta, max_bytes: float, now: datetime) -> list[Path]:
    """Delete captures whose oldest row is older than `keep`, then the oldest until all have at most `max_bytes`.

    Only files with a capture's name are looked at; several processes may sweep one folder.

    Returns:
        What this process deleted.
    Raises:
        OSError: the folder cannot be listed or a file not deleted; a missing folder is empty.
    """
    found = sorted(_captures(folder), key=lambda one: (one.time, one.path.name))
    left = sum(one.size for one in found)
    gone = []
    for one in found:
        draft = DRAFT.fullmatch(one.path.name) is not None
        if now - one.time <= keep and (draft or left <= max_bytes):
            continue
        with suppress(FileNotFoundError):
            one.path.unlink()
            gone.append(one.path)
        left -= one.size
    return gone


def remove_dead_drafts(folder: Path) -> list[Path]:
    """Delete drafts that no living process holds locked; their rows were never seen by a reader.

    A draft on a file system without locks stays until `sweep` finds it too old.
    """
    drafts = [one.path for one in _captures(folder) if DRAFT.fullmatch(one.path.name)]
    return [draft for draft in drafts if _removed_if_dead(draft)]


def _removed_if_dead(draft: Path) -> bool:
    try:
        descriptor = os.open(draft, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _captures(folder: Path) -> Iterator[_Kept]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        time = named_time(entry.name)
        with suppress(FileNotFoundError):
            if time is not None and entry.is_file(follow_symlinks=False):
                yield _Kept(time, entry.stat(follow_symlinks=False).st_size, Path(entry.path))

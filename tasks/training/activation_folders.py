"""Folders of kept activations: which is in use, what makes room, what leaves when an item is forgotten. No torch."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tasks.reports.document import write_bytes

ITEMS = "items.json"
"""In each folder: sha256 of the items whose activations it holds. Who uses the folder holds a shared lock on it."""


def in_use(folder: Path, items: Sequence[str]) -> IO[bytes]:
    """Make the folder if need be, and hold it until the file that is returned is closed: nobody removes it then."""
    file = folder / ITEMS
    while True:
        if not file.exists():
            write_bytes(file, json.dumps(list(items)).encode())
        with suppress(FileNotFoundError):
            held = file.open("rb")
            fcntl.flock(held, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(held.fileno()), file.stat()):
                return held
            held.close()  # the folder was removed before it could be held


@contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Whether nobody trains on these activations, in this process or another; within it nobody begins to."""
    try:
        held = (folder / ITEMS).open("rb")
    except OSError:
        yield True
        return
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def is_in_use(folder: Path) -> bool:
    """Whether somebody trains on these activations right now, in this process or another."""
    with unused(folder) as free:
        return not free


def make_room(parent: Path, key: str, most_bytes: int) -> None:
    """Remove the activations that were used longest ago until those of other keys take at most `most_bytes`.

    Those in use stay, whatever they take.
    """
    others = [folder for folder in parent.iterdir() if folder.name != key] if parent.is_dir() else []
    others.sort(key=_used_at, reverse=True)
    held = 0
    for folder in others:
        held += _bytes(folder)
        if held > most_bytes:
            with unused(folder) as free:
                if free:
                    shutil.rmtree(folder, ignore_errors=True)


def _used_at(folder: Path) -> float:
    with suppress(FileNotFoundError):  # another training, which shares the cache, made room
        return folder.stat().st_mtime
    return 0.0


def _bytes(folder: Path) -> int:
    total = 0
    with suppress(FileNotFoundError):
        for file in folder.iterdir():
            with suppress(FileNotFoundError):  # a draft of another training, finished meanwhile
                total += file.stat().st_size
    return total


def items_of(folder: Path) -> frozenset[str] | None:
    """sha256 of the items whose activations a folder holds; None where it does not tell."""
    try:
        return frozenset(json.loads((folder / ITEMS).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def forget_activations(parent: Path, items: Collection[str]) -> int:
    """Remove every folder of activations in which one of the items (sha256) took part; returns how many there were."""
    removed, gone = 0, frozenset(items)
    for folder in sorted(parent.iterdir()) if parent.is_dir() else []:
        held = items_of(folder)
        if held is None or held & gone:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed

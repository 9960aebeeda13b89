"""Folders of kept activations: which is in use, what makes room, what leaves when an item is forgotten. No torch."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO

from tasks.reports.document import write_bytes

ITEMS = "items.json"
"""In each folder: sha256 of the items whose activations it holds. Who uses the folder holds a shared lock on it."""


def in_use(folder: Path, items: Sequence[str]) -> IO[bytes]:
    """Make the folder if need be, and hold it until the file that is returned is closed: `make_room` leaves it then."""
    file = folder / ITEMS
    if not file.exists():
        write_bytes(file, json.dumps(list(items)).encode())
    held = file.open("rb")
    fcntl.flock(held, fcntl.LOCK_SH)
    return held


def is_in_use(folder: Path) -> bool:
    """Whether somebody trains on these activations right now, in this process or another."""
    try:
        with (folder / ITEMS).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def make_room(parent: Path, key: str, most_bytes: int) -> None:
    """Remove the activations that were used longest ago until those of other keys take at most `most_bytes`.

    Those in use stay, whatever they take.
    """
    others = [folder for folder in parent.iterdir() if folder.name != key] if parent.is_dir() else []
    others.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    held = 0
    for folder in others:
        held += sum(file.stat().st_size for file in folder.iterdir())
        if held > most_bytes and not is_in_use(folder):
            shutil.rmtree(folder, ignore_errors=True)


def forget_activations(parent: Path, items: Collection[str]) -> int:
    """Remove every folder of activations in which one of the items (sha256) took part; returns how many there were."""
    removed, gone = 0, frozenset(items)
    for folder in sorted(parent.iterdir()) if parent.is_dir() else []:
        try:
            held = gone.intersection(json.loads((folder / ITEMS).read_bytes()))
        except (OSError, ValueError):
            held = gone  # unreadable: what it holds cannot be told
        if held:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed

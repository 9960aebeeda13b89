"""The images below a folder, found without ever holding a list of names."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks.batch_scoring.entries import Entry, entry_of_file
from tasks.errors import DataError
from tasks.layouts import IMAGE_SUFFIXES
from tasks.tree import entry_fault, printable, unlisted

DEEPEST = 128
"""Folders inside each other; each is an open descriptor while the walk is below it."""


def entries_of_folder(root: Path, on_other: Callable[[str], None]) -> Iterator[Entry]:
    """Every file below a folder that is named as an image, in no order; what cannot be read has its fault.

    As the data door reads: names that begin with a dot and other files are left out, links are not followed.

    Args:
        on_other: hears the path of every file that is left out; of a hidden folder nothing is looked at.
    Raises:
        DataError: the folder itself cannot be listed.
    """
    try:
        open_folders = [(os.scandir(root), "")]
    except OSError as err:
        raise DataError(f"{root}: {unlisted(err)}") from err
    try:
        while open_folders:
            found, folder = open_folders[-1]
            entry, fault = _next_of(found)
            if fault:
                yield Entry(printable(folder.rstrip("/")), fault=fault)
            if entry is None:
                found.close()
                open_folders.pop()
                continue
            path = folder + entry.name
            if not _is_folder(entry):
                yield from _file(root, path, entry, on_other)
            elif not entry.name.startswith("."):
                below = _listed(root, path, len(open_folders))
                if isinstance(below, Entry):
                    yield below
                elif below:
                    open_folders.append((below, f"{path}/"))
    finally:
        for found, _ in open_folders:
            found.close()


def _next_of(found: Iterator[os.DirEntry[str]]) -> tuple[os.DirEntry[str] | None, str | None]:
    try:
        return next(found, None), None
    except OSError as err:
        return None, unlisted(err)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return entry.is_dir(follow_symlinks=False)
    return False


def _listed(root: Path, path: str, depth: int) -> Any:
    """A folder's entries; one entry with its fault where it cannot be listed, None where it is gone."""
    place = root / path
    if depth >= DEEPEST:
        return Entry(printable(path), fault=f"nested deeper than {DEEPEST} folders; move it up")
    try:
        fault = entry_fault(path, place, stat.S_IFDIR)
        return Entry(fault.path, fault=fault.reason) if fault else os.scandir(place)
    except FileNotFoundError:
        return None
    except OSError as err:
        return Entry(printable(path), fault=unlisted(err))


def _file(root: Path, path: str, entry: os.DirEntry[str], on_other: Callable[[str], None]) -> Iterator[Entry]:
    """The entry of a file that is named as an image, or of a link to a folder, whose images would be missed."""
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - a Path costs ten times as much
    is_image = suffix in IMAGE_SUFFIXES or (entry.is_symlink() and os.path.isdir(entry.path))  # noqa: PTH112
    if entry.name.startswith(".") or not is_image:
        on_other(path)
        return
    try:
        yield entry_of_file(path, root / path, entry.stat(follow_symlinks=False))
    except FileNotFoundError:
        return
    except OSError as err:
        yield Entry(printable(path), fault=unlisted(err))

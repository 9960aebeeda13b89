"""The raw folder as lstat sees it, and what in it neither DVC nor an image reader should meet.

DVC walks the data before the validate stage does: it hangs on a FIFO, fails on a dangling link or on a name that is not
UTF-8, and does not see changes behind a linked folder. So whoever calls DVC calls `check_tree` first.
"""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import DataError, counted

NAMED_FAULTS = 20
"""Most faults that an error spells out; the rest are counted."""

_DATA_WANTED = "give the folder or table of your images (params.yaml: data.path)"
_WORKSPACE_FILES = ("params.yaml", "dvc.yaml")
_TOOL_FOLDERS = frozenset({".venv", ".git", ".dvc", ".tox", "node_modules"})

_LINE_BREAKING = frozenset({"Cc", "Zl", "Zp"})
"""Unicode categories that end a line or drive a terminal, in whatever report or log a name is printed."""

_KINDS = {
    stat.S_IFIFO: "a FIFO; remove it",
    stat.S_IFSOCK: "a socket; remove it",
    stat.S_IFBLK: "a block device; remove it",
    stat.S_IFCHR: "a character device; remove it",
}


@dataclass(frozen=True)
class TreeFile:
    """One regular file; `path` is relative to the root, with forward slashes."""

    path: str
    bytes: int


@dataclass(frozen=True)
class TreeFault:
    """One entry that must not lie in a data folder; `reason` ends with the mend."""

    path: str
    reason: str


def walk(root: Path) -> list[TreeFile]:
    """Every regular file below `root`, sorted by path; nothing is opened and no link followed.

    What is removed meanwhile is not there.

    Raises:
        DataError: `root` is no folder, is a Graft workspace, or holds links, FIFOs, sockets, devices, unreadable
            entries, or names that are too long, not UTF-8 or hold control characters; one error names them all (the
            first 20 in full).
    """
    if not os.path.isdir(root):  # noqa: PTH112 - Path.is_dir raises where a parent is closed
        fault = "is neither a folder nor a CSV or Parquet table" if os.path.lexists(root) else "does not exist"
        raise DataError(f"{root} {fault}; {_DATA_WANTED}")
    if all(os.path.lexists(root / name) for name in _WORKSPACE_FILES):
        raise DataError(
            f"{root} is a Graft workspace (it holds {' and '.join(_WORKSPACE_FILES)}), not a data set; put your images "
            "into a folder of their own and give that (params.yaml: data.path)"
        )
    files: list[TreeFile] = []
    faults: list[TreeFault] = []
    for entry in _entries(root):
        if isinstance(entry, TreeFault):
            faults.append(entry)
        else:
            files.append(entry)
    if faults:
        raise DataError(_not_data(root, faults) or describe_faults(root, faults))
    return sorted(files, key=lambda file: file.path)


def check_tree(root: Path) -> None:
    """Raise as `walk` does; a `root` that is a single regular file is checked alone."""
    if os.path.lexists(root) and not os.path.isdir(root):  # noqa: PTH112 - as in walk
        fault = file_fault(root, str(root))
        if fault:
            raise DataError(f"{fault.path} is {fault.reason}")
        return
    walk(root)


def file_fault(path: Path, name: str) -> TreeFault | None:
    """What keeps `path` from being read as a regular file, or None; `name` stands for it in the text."""
    try:
        mode = path.lstat().st_mode
    except OSError as err:
        return TreeFault(printable(name), f"out of reach ({err.strerror}); mend the path or its permissions")
    return entry_fault(printable(name), path, mode)


def describe_faults(root: Path, faults: list[TreeFault]) -> str:
    """One line that counts the faults, then a line for each of the first 20."""
    ordered = sorted(faults, key=lambda fault: fault.path)
    lines = [f"{fault.path}: {fault.reason}" for fault in ordered[:NAMED_FAULTS]]
    if len(ordered) > NAMED_FAULTS:
        lines.append(f"and {len(ordered) - NAMED_FAULTS} more")
    entries = counted(len(ordered), "entry", "entries")
    return f"{root} holds {entries} that cannot be used as data:\n  " + "\n  ".join(lines)


def _not_data(root: Path, faults: Sequence[TreeFault]) -> str | None:
    """What to say of a project's folder that was taken for data: its tools' links are no faults that one mends."""
    parts = (fault.path.split("/") for fault in faults)
    places = {"/".join(path[: path.index(name) + 1]) for path in parts for name in path[:-1] if name in _TOOL_FOLDERS}
    return f"{root} holds {min(places)}, so it is a project and not a data set; {_DATA_WANTED}" if places else None


def _entries(root: Path) -> Iterator[TreeFile | TreeFault]:
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder) as found:
                entries = list(found)
        except FileNotFoundError:
            continue
        except OSError as err:
            yield TreeFault(printable(folder or "."), unlisted(err))
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as err:
                yield TreeFault(printable(path), unlisted(err))
                continue
            fault = entry_fault(path, root / path, info.st_mode)
            if fault:
                yield fault
            elif stat.S_ISDIR(info.st_mode):
                pending.append(path)
            else:
                yield TreeFile(path, info.st_size)


def unlisted(err: OSError) -> str:
    """Why an entry's folder, or its own name, is out of reach, with the mend."""
    if err.errno == errno.ENAMETOOLONG:
        return "nested too deep for the system (its path is too long); move it up or shorten the names above it"
    return f"a folder that cannot be listed ({err.strerror}); chmod u+rx it"


def entry_fault(path: str, place: Path, mode: int) -> TreeFault | None:
    """What keeps an entry from being read as a regular file, or listed as a folder; None where nothing does.

    Args:
        path: as it stands in the text.
        place: where it lies.
        mode: of lstat.
    """
    if not _is_utf8(place.name):
        return TreeFault(printable(path), "its name is not UTF-8; rename it (convmv -f latin1 -t utf8 helps)")
    if has_control_characters(place.name):
        return TreeFault(printable(path), "its name holds a control character; rename or remove it")
    if stat.S_ISLNK(mode):
        kind = _link_kind(place)
        return TreeFault(printable(path), f"{kind}; put the real files there (cp -rL follows links)")
    if stat.S_IFMT(mode) in _KINDS:
        return TreeFault(printable(path), _KINDS[stat.S_IFMT(mode)])
    if stat.S_ISDIR(mode):
        usable = os.access(place, os.R_OK | os.X_OK)
        return None if usable else TreeFault(printable(path), "a folder without read permission; chmod u+rx it")
    usable = os.access(place, os.R_OK)
    return None if usable else TreeFault(printable(path), "a file without read permission; chmod u+r it")


def _link_kind(place: Path) -> str:
    if os.path.isdir(place):  # noqa: PTH112 - as in walk
        return "a link to a folder"
    return "a link to a file" if os.path.exists(place) else "a dangling link"  # noqa: PTH110


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def has_control_characters(name: str) -> bool:
    """Whether a name would break a line of a report or drive a terminal where it is printed."""
    return not name.isprintable() and any(unicodedata.category(letter) in _LINE_BREAKING for letter in name)


def printable(path: str) -> str:
    """File systems allow any byte; an error text must still be printable, on one line."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if not has_control_characters(text):
        return text
    return "".join(repr(letter)[1:-1] if has_control_characters(letter) else letter for letter in text)

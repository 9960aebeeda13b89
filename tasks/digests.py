"""sha256 of files, folders and values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def bytes_sha256(data: bytes) -> str:
    """Hex sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's content, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path) -> str:
    """Hex sha256 over the sorted (relative path, content sha256) of every file below `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return rows_sha256((path.relative_to(folder).as_posix(), file_sha256(path)) for path in files)


def value_sha256(value: Any) -> str:
    """Hex sha256 of a JSON-able value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return bytes_sha256(text.encode())


def rows_sha256(rows: Iterable[tuple[str | None, ...]]) -> str:
    """Hex sha256 over rows in the order given, one canonical JSON array a line.

    >>> rows_sha256([("a.png", None)]) == rows_sha256([("a.png", "")])
    False
    """
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()

"""Looks for what must be gone: in every file of a folder, and inside Parquet tables, whose columns are compressed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq


def traces(root: Path, needles: Sequence[bytes], spared: Sequence[str] = (".git", "data/forgotten.csv")) -> list[str]:
    """`FILE: NEEDLE` for each file below `root` that holds one of `needles` or has it in its name."""
    found = []
    for file in sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink()):
        name = file.relative_to(root).as_posix()
        if any(name == one or name.startswith(f"{one}/") for one in spared):
            continue
        content = file.read_bytes()
        texts = [name.encode(), content, *(_cells(file) if content.startswith(b"PAR1") else [])]
        found += [f"{name}: {needle[:24]!r}" for needle in needles if any(needle in text for text in texts)]
    return found


def _cells(file: Path) -> list[bytes]:
    cells = []
    for column in pq.read_table(file).to_pydict().values():
        cells += [cell if isinstance(cell, bytes) else str(cell).encode() for cell in column]
    return cells

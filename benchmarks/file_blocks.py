"""A table that groups photos by blocks of their file numbers: photos of one person follow each other in sign_digits.

    python -m benchmarks.file_blocks PHOTOS TABLE.csv

Everybody there shows 1 to 9, then 0. So where, in the order of the numbers, the shown digit falls back, another person
begins; a block is closed at the first such place after 40 photos, and no person is in two blocks.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Sequence
from pathlib import Path

BLOCK = 40
"""Fewest photos of a block: about four people."""

SUFFIXES = {".jpg", ".jpeg", ".png"}


def blocks(photos: Sequence[tuple[int, int]], size: int = BLOCK) -> list[int]:
    """The block of every photo, from 0.

    Args:
        photos: file number and digit of each, in the order of the numbers; digits are shown in the order 1 to 9, 0.
    """
    found: list[int] = []
    block, filled, before = 0, 0, 0
    for _, digit in photos:
        shown = digit or 10
        if filled >= size and shown < before:
            block, filled = block + 1, 0
        found.append(block)
        filled, before = filled + 1, shown
    return found


def write_table(folder: Path, table: Path) -> int:
    """Write path, label and group of every photo below `folder`; the number of blocks.

    Raises:
        ValueError: a file's name has no number, or its folder is no digit.
    """
    rows = []
    for file in folder.glob("*/*"):
        if file.suffix.lower() not in SUFFIXES:
            continue
        number = re.search(r"(\d+)$", file.stem)
        if number is None or not file.parent.name.isdigit():
            raise ValueError(f"{file}: no file number, or not in a folder of one digit")
        rows.append((int(number[1]), int(file.parent.name), file.relative_to(folder).as_posix()))
    rows.sort()
    groups = blocks([(number, digit) for number, digit, _ in rows])
    with table.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["path", "label", "group"])
        writer.writerows((path, digit, f"block {group}") for (_, digit, path), group in zip(rows, groups, strict=True))
    return max(groups) + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("table", type=Path)
    arguments = parser.parse_args()
    print(f"{write_table(arguments.photos, arguments.table)} blocks")


if __name__ == "__main__":
    main()

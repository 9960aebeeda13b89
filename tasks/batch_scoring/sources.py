"""A folder or a table that somebody named, and the entries of either."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.batch_scoring.entries import Entry
from tasks.batch_scoring.folders import entries_of_folder
from tasks.batch_scoring.tables import columns_of, entries_of_table
from tasks.errors import DataError
from tasks.table_listing import TABLE_SUFFIXES
from tasks.tree import file_fault


@dataclass(frozen=True)
class Source:
    """What to score; `root` is the folder that its paths are relative to, `labelled` a table with a column label."""

    path: Path
    root: Path
    is_table: bool = False
    labelled: bool = False

    def entries(self, on_other: Callable[[str], None]) -> Iterator[Entry]:
        """A folder's in no order, a table's in its own.

        Raises:
            DataError: it cannot be read.
        """
        return entries_of_table(self.path, self.root) if self.is_table else entries_of_folder(self.root, on_other)


def find_source(path: Path) -> Source:
    """What somebody named.

    Raises:
        DataError: nothing is there, neither a folder nor a table, or a table without a column `path`.
    """
    if path.is_dir():
        return Source(path, path.resolve())
    if not os.path.lexists(path):
        raise DataError(f"{path} does not exist; name a folder of images, or a CSV or Parquet table with their paths")
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise DataError(
            f"{path} is neither a folder nor a CSV or Parquet table ({', '.join(sorted(TABLE_SUFFIXES))}); name the "
            "folder of the images, or a table with a column `path`"
        )
    if fault := file_fault(path, str(path)):
        raise DataError(f"table {fault.path}: {fault.reason}")
    return Source(path, path.resolve().parent, True, "label" in columns_of(path))

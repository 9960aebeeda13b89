"""Takes rows out of the user's own table of items; every other line stays byte for byte."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from tasks.reports import replacing, write_bytes


def remove_rows(table: Path, column: str, paths: Collection[str]) -> int:
    """Delete the rows whose path is one of `paths` (as items.parquet spells them); returns how many there were.

    What cannot be read as a table, or has no such column, lists no items: it is left as it is.
    """
    from pyarrow import ArrowException

    try:
        return _parquet(table, column, paths) if table.suffix.lower() == ".parquet" else _csv(table, column, paths)
    except (UnicodeDecodeError, csv.Error, ArrowException, KeyError):
        return 0


def _csv(table: Path, column: str, paths: Collection[str]) -> int:
    data = table.read_bytes()
    text = data.decode("utf-8-sig")
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    place, kept, removed, start = -1, [], 0, 0
    physical = io.StringIO(text, newline="").readlines()  # a quoted cell may hold several
    for number, row in enumerate(reader):
        if number == 0:
            place = row.index(column) if column in row else -1
        named = number and 0 <= place < len(row) and str(PurePosixPath(row[place])) in paths
        if named:
            removed += 1
        else:
            kept += physical[start : reader.line_num]
        start = reader.line_num
    if removed:
        write_bytes(table, data[: len(data) - len(text.encode())] + "".join(kept).encode())
    return removed


def _parquet(table: Path, column: str, paths: Collection[str]) -> int:
    import pyarrow.parquet as pq

    content = pq.read_table(table)
    kept = [str(PurePosixPath(str(path))) not in paths for path in content[column].to_pylist()]
    removed = kept.count(False)
    if removed:
        with replacing(table) as draft:
            pq.write_table(content.filter(kept), draft)
    return removed

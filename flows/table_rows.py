"""Takes rows out of the user's own table of items; every other line stays byte for byte."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.errors import DataError
from tasks.reports import replacing, write_bytes
from tasks.table_listing import cell_text


def remove_rows(table: Path, column: str, paths: Collection[str]) -> int:
    """Delete the rows whose path is one of `paths` (as items.parquet spells them); returns how many there were.

    A table without such a column lists no items: it is left as it is. A path cell is read as the listing reads it.

    Raises:
        DataError: the table cannot be read, so it may name any of `paths`.
    """
    from pyarrow import ArrowException

    try:
        return _parquet(table, column, paths) if table.suffix.lower() == ".parquet" else _csv(table, column, paths)
    except UnicodeDecodeError as err:
        fault, mend = str(err), "save it as UTF-8"
    except (csv.Error, ArrowException, OSError) as err:
        fault, mend = str(err), "mend it or move it away"
    raise DataError(f"{table} may name an item to be forgotten and cannot be read as a table ({fault}); {mend}")


def check_table(table: Path, column: str) -> None:
    """See to it that `remove_rows` will find what the table names.

    Raises:
        DataError: it cannot be read.
    """
    remove_rows(table, column, ())


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
        named = number and 0 <= place < len(row) and _path(row[place]) in paths
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
    if column not in content.column_names:
        return 0
    kept = [_path(cell) not in paths for cell in content[column].to_pylist()]
    removed = kept.count(False)
    if removed:
        with replacing(table) as draft:
            pq.write_table(content.filter(kept), draft)
    return removed


def _path(cell: Any) -> str:
    return str(PurePosixPath(cell_text(cell) or ""))

"""The files that a CSV or Parquet table lists, row by row; the table itself is never held."""

from __future__ import annotations

import codecs
import csv
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.batch_scoring.entries import Entry, entry_of_file
from tasks.errors import DataError, did_you_mean
from tasks.table_listing import cell_text, path_fault
from tasks.tree import printable

_ROWS, _BUFFER = 8192, 2**20


def columns_of(table: Path) -> list[str]:
    """The columns that count: path, and label where there is one.

    Raises:
        DataError: the table cannot be read, or has no column `path`.
    """
    with _readable(table):
        names = next(_csv_rows(table), []) if _is_csv(table) else _opened(table).schema_arrow.names
    if not names:
        raise DataError(f"{table} is empty; its first row must name the columns, path among them")
    if "path" not in names:
        raise DataError(f"{table} has no column 'path'{did_you_mean('path', names)}; rename the column of the paths")
    found = [name for name in ("path", "label") if name in names]
    for name in found:
        if names.count(name) > 1:
            raise DataError(f"{table} has more than one column {name!r}; rename all but one")
    return found


def entries_of_table(table: Path, root: Path) -> Iterator[Entry]:
    """Every row, in the table's order; a path that leads to no file below `root` has its fault.

    Raises:
        DataError: as `columns_of`, whenever it shows.
    """
    rows = _csv_cells if _is_csv(table) else _parquet_cells
    with _readable(table):
        for path, label in rows(table, columns_of(table)):
            yield _entry_of_row(root, cell_text(path) or "", cell_text(label))


def _entry_of_row(root: Path, path: str, label: str | None) -> Entry:
    if fault := path_fault(path):
        return Entry(printable(path), label=label, fault=fault)
    try:
        info = (root / path).lstat()
    except OSError as err:
        return Entry(printable(path), label=label, fault=f"is not there ({err.strerror}); mend the path in the table")
    if stat.S_ISDIR(info.st_mode):
        return Entry(printable(path), label=label, fault="is a folder; name the files in it")
    return entry_of_file(path, root / path, info, label)


def _is_csv(table: Path) -> bool:
    return table.suffix.lower() != ".parquet"


def _csv_rows(table: Path) -> Iterator[list[str]]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        yield from csv.reader(file, delimiter=max(",;\t", key=first.count), strict=True)


def _csv_cells(table: Path, columns: list[str]) -> Iterator[tuple[Any, Any]]:
    rows = _csv_rows(table)
    names = next(rows)
    at_path, at_label = names.index("path"), names.index("label") if "label" in columns else None
    for number, row in enumerate(rows, 2):
        if row and len(row) != len(names):
            raise DataError(f"{table} row {number} has not the header's number of fields; quote values with a comma")
        if row:
            yield row[at_path], None if at_label is None else row[at_label]


def _opened(table: Path) -> pq.ParquetFile:
    return pq.ParquetFile(table, pre_buffer=False, buffer_size=_BUFFER)


def _parquet_cells(table: Path, columns: list[str]) -> Iterator[tuple[Any, Any]]:
    with _opened(table) as content:
        for batch in content.iter_batches(_ROWS, columns=columns, use_threads=False):
            cells = [batch.column(name).to_pylist() for name in columns]
            yield from zip(cells[0], cells[1] if len(cells) > 1 else [None] * batch.num_rows, strict=True)


@contextmanager
def _readable(table: Path) -> Iterator[None]:
    """What goes wrong while a table is read, in words that name it."""
    try:
        yield
    except UnicodeDecodeError as err:
        if err.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataError(f"{table} was saved as UTF-16 (Unicode text); save it as CSV UTF-8") from err
        raise DataError(f"{table} is not UTF-8 text ({err}); save it as UTF-8") from err
    except csv.Error as err:
        raise DataError(f"{table} is not a readable CSV table: {err}") from err
    except (OSError, pa.ArrowException) as err:
        raise DataError(f"{table} is not a readable table: {err}") from err

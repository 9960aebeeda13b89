"""What is to be scored, one file after the other: of a folder or of a table, whatever their number."""

from __future__ import annotations

import codecs
import csv
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import DataError, did_you_mean
from tasks.layouts import IMAGE_SUFFIXES
from tasks.table_listing import TABLE_SUFFIXES, cell_text, path_fault
from tasks.tree import entry_fault, file_fault, printable, unlisted

DEEPEST = 128
"""Folders inside each other; each is an open descriptor while the walk is below it."""

_TABLE_ROWS = 8192
_BUFFER = 2**20
_BEHIND_COLUMNS = ("path", "label")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file to score, or what stands in its place.

    Attributes:
        path: as the answer names it: relative to the root, with forward slashes.
        size, changed_ns: bytes, and the time of the last change; -1 where unknown.
        label: what the table says.
        fault: why it cannot be read at all.
    """

    path: str
    size: int = -1
    changed_ns: int = -1
    label: str | None = None
    fault: str | None = None

    def line(self) -> bytes:
        """One line of a listing; `entry_of` reads it back."""
        fields = [self.path, self.size, self.changed_ns, self.label, self.fault]
        return json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def entry_of(line: bytes) -> Entry:
    """The entry of a listing's line."""
    return Entry(*json.loads(line))


@dataclass(frozen=True)
class Source:
    """A folder or a table of files to score; `root` is the folder that their paths are relative to."""

    path: Path
    root: Path
    is_table: bool


def find_source(path: Path) -> Source:
    """What somebody named.

    Raises:
        DataError: nothing is there, or neither a folder nor a table.
    """
    if path.is_dir():
        return Source(path, path.resolve(), False)
    if not os.path.lexists(path):
        raise DataError(f"{path} does not exist; name a folder of images, or a CSV or Parquet table with their paths")
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise DataError(
            f"{path} is neither a folder nor a CSV or Parquet table ({', '.join(sorted(TABLE_SUFFIXES))}); name the "
            "folder of the images, or a table with a column `path`"
        )
    if fault := file_fault(path, str(path)):
        raise DataError(f"table {fault.path}: {fault.reason}")
    return Source(path, path.resolve().parent, True)


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
            if entry.name.startswith("."):
                if not _is_folder(entry):
                    on_other(path)
            elif _is_folder(entry):
                below = _opened(root, path, len(open_folders))
                if isinstance(below, Entry):
                    yield below
                elif below:
                    open_folders.append((below, f"{path}/"))
            elif listed := _entry_of_file(root, path, entry, on_other):
                yield listed
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


def _opened(root: Path, path: str, depth: int) -> Any:
    """The folder, listed; an entry with its fault where it cannot be, None where it is gone."""
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


def _entry_of_file(root: Path, path: str, entry: os.DirEntry[str], on_other: Callable[[str], None]) -> Entry | None:
    is_image = os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - a Path costs ten times as much
    if not is_image and not (entry.is_symlink() and os.path.isdir(entry.path)):  # noqa: PTH112 - as tasks.tree
        on_other(path)
        return None
    try:
        info = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as err:
        return Entry(printable(path), fault=unlisted(err))
    return _checked(path, root / path, info, None)


def _checked(path: str, place: Path, info: os.stat_result, label: str | None) -> Entry:
    if fault := entry_fault(path, place, info.st_mode):
        return Entry(fault.path, label=label, fault=fault.reason)
    return Entry(path, info.st_size, info.st_mtime_ns, label)


def entries_of_table(source: Source) -> Iterator[Entry]:
    """Every row of a table, in its order; the table itself is not held.

    Raises:
        DataError: the table cannot be read, or has no column `path`.
    """
    rows = _parquet_rows if source.path.suffix.lower() == ".parquet" else _csv_rows
    for path, label in rows(source.path):
        yield _entry_of_row(source.root, cell_text(path) or "", cell_text(label))


def has_labels(source: Source) -> bool:
    """Whether a source is a table with a column `label`.

    Raises:
        DataError: as `entries_of_table`.
    """
    return source.is_table and "label" in _header(source.path)


def _header(table: Path) -> list[str]:
    if table.suffix.lower() == ".parquet":
        with _opened_parquet(table) as content:
            return list(content.schema_arrow.names)
    with _opened_csv(table) as (_, names):
        return names


def _entry_of_row(root: Path, path: str, label: str | None) -> Entry:
    if fault := path_fault(path):
        return Entry(printable(path), label=label, fault=fault)
    try:
        info = (root / path).lstat()
    except OSError as err:
        return Entry(printable(path), label=label, fault=f"is not there ({err.strerror}); mend the path in the table")
    if stat.S_ISDIR(info.st_mode):
        return Entry(printable(path), label=label, fault="is a folder; name the files in it")
    return _checked(path, root / path, info, label)


class _opened_csv:  # noqa: N801 - a context manager, used as a function
    """A CSV reader and its header; errors name the table."""

    def __init__(self, table: Path) -> None:
        self.table = table

    def __enter__(self) -> tuple[Iterator[list[str]], list[str]]:
        self.file = self.table.open(encoding="utf-8-sig", newline="")
        try:
            first = self.file.readline()
            self.file.seek(0)
            reader = csv.reader(self.file, delimiter=max(",;\t", key=first.count), strict=True)
            names = next(reader, [])
            _check_columns(self.table, names)
        except BaseException as err:
            self.__exit__(type(err), err, None)
            raise
        return reader, names

    def __exit__(self, kind: object, err: object, trace: object) -> None:
        self.file.close()
        if isinstance(err, UnicodeDecodeError):
            if err.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                raise DataError(f"{self.table} was saved as UTF-16 (Unicode text); save it as CSV UTF-8") from err
            raise DataError(f"{self.table} is not UTF-8 text ({err}); save it as UTF-8") from err
        if isinstance(err, csv.Error):
            raise DataError(f"{self.table} is not a readable CSV table: {err}") from err


def _csv_rows(table: Path) -> Iterator[tuple[str, str | None]]:
    with _opened_csv(table) as (reader, names):
        at_path = names.index("path")
        at_label = names.index("label") if "label" in names else None
        for number, row in enumerate(reader, 2):
            if not row:
                continue
            if len(row) != len(names):
                raise DataError(
                    f"{table} row {number} has not the header's number of fields; quote values with a comma"
                )
            yield row[at_path], None if at_label is None else row[at_label]


class _opened_parquet:  # noqa: N801 - as above
    """A Parquet file; errors name the table."""

    def __init__(self, table: Path) -> None:
        self.table = table

    def __enter__(self) -> Any:
        import pyarrow.parquet as pq

        try:
            self.content = pq.ParquetFile(self.table, pre_buffer=False, buffer_size=_BUFFER)
            _check_columns(self.table, self.content.schema_arrow.names)
        except BaseException as err:
            self.__exit__(type(err), err, None)
            raise
        return self.content

    def __exit__(self, kind: object, err: object, trace: object) -> None:
        import pyarrow as pa

        if hasattr(self, "content"):
            self.content.close()
        if isinstance(err, (OSError, pa.ArrowException)):
            raise DataError(f"{self.table} is not a readable Parquet table: {err}") from err


def _parquet_rows(table: Path) -> Iterator[tuple[Any, Any]]:
    with _opened_parquet(table) as content:
        wanted = [name for name in _BEHIND_COLUMNS if name in content.schema_arrow.names]
        for batch in content.iter_batches(_TABLE_ROWS, columns=wanted, use_threads=False):
            columns = {name: batch.column(name).to_pylist() for name in wanted}
            labels = columns.get("label") or [None] * batch.num_rows
            yield from zip(columns["path"], labels, strict=True)


def _check_columns(table: Path, names: list[str]) -> None:
    if not names:
        raise DataError(f"{table} is empty; its first row must name the columns, path among them")
    if "path" not in names:
        raise DataError(f"{table} has no column 'path'{did_you_mean('path', names)}; rename the column of the paths")

"""The items that a CSV or Parquet table lists."""

from __future__ import annotations

import codecs
import csv
import io
import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from tasks.errors import DataError, counted, did_you_mean
from tasks.params import ColumnNames
from tasks.tree import NAMED_FAULTS, TreeFault, describe_faults, file_fault, has_control_characters

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})

_SIDES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_FIELDS = ("path", "label", "group", "split", "domain")
_REQUIRED = ("path", "label")


@dataclass(frozen=True, slots=True)
class Item:
    """One listed image; `path` is relative to the listing's root, with forward slashes.

    `split` is the official side (train, validation or test), or None.
    """

    path: str
    label: str | None = None
    group: str | None = None
    split: str | None = None
    domain: str | None = None


def side_of(name: str) -> str | None:
    """The official side that a folder or a table calls `name`; None for any other name.

    >>> side_of("val"), side_of("Train"), side_of("cats")
    ('validation', 'train', None)
    """
    return _SIDES.get(name.strip().casefold())


def official_sides(items: Iterable[Item]) -> list[Item]:
    """The items as they are when they stand on two sides or more; one side alone is no split."""
    items = list(items)
    if len({item.split for item in items}) > 1:
        return items
    return [replace(item, split=None) for item in items]


def read_listing(table: Path, root: Path, columns: ColumnNames) -> list[Item]:
    """The table's items, sorted by path, which is relative to `root`.

    Raises:
        DataError: the table cannot be read, is empty, lacks a column, names a side that is none or only for some rows,
            or lists a path twice, outside `root`, or without a regular file behind it, or a label with a line break.
            One error names all such rows.
    """
    fault = file_fault(table, str(table))
    if fault:
        raise DataError(f"table {fault.path}: {fault.reason}")
    header, rows = _read_parquet(table) if table.suffix.lower() == ".parquet" else _read_csv(table)
    if not header:
        raise DataError(f"{table} is empty; its first row must name the columns, {columns.path} and {columns.label}")
    names = _column_names(table, header, columns)
    items = [_item(row, names) for row in rows]
    _check_paths(table, items)
    _check_labels(table, columns.label, items)
    items = _with_sides(table, columns.split, [replace(item, path=str(PurePosixPath(item.path))) for item in items])
    _check_repeats(table, items)
    _check_files(root, items)
    return sorted(official_sides(items), key=lambda item: item.path)


def _read_csv(table: Path) -> tuple[Sequence[str], list[dict[str, Any]]]:
    try:
        text = table.read_text(encoding="utf-8-sig")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        rows = list(reader)
    except UnicodeDecodeError as err:
        if err.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataError(f"{table} was saved as UTF-16 (Unicode text); save it as CSV UTF-8") from err
        raise DataError(f"{table} is not UTF-8 text ({err}); save it as UTF-8") from err
    except csv.Error as err:
        raise DataError(f"{table} is not a readable CSV table: {err}") from err
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise DataError(f"{table} row {number} has not the header's number of fields; quote values with a comma")
    return reader.fieldnames or (), rows


def _read_parquet(table: Path) -> tuple[Sequence[str], list[dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = pq.read_table(table)
    except (OSError, pa.ArrowException) as err:
        raise DataError(f"{table} is not a readable Parquet table: {err}") from err
    return content.column_names, content.to_pylist()


def _column_names(table: Path, header: Sequence[str], columns: ColumnNames) -> dict[str, str]:
    """Field of an item -> column of the table, for the columns that are there."""
    defaults = ColumnNames()
    names: dict[str, str] = {}
    for field in _FIELDS:
        name: str = getattr(columns, field)
        if name in header:
            names[field] = name
        elif field in _REQUIRED or name != getattr(defaults, field):
            hint = did_you_mean(name, header)
            raise DataError(f"{table} has no column {name!r}{hint} (params.yaml: data.columns.{field})")
    return names


def _item(row: Mapping[str, Any], names: Mapping[str, str]) -> Item:
    values = {field: cell_text(row[name]) for field, name in names.items()}
    shared = (values.get(field) for field in _FIELDS[1:])
    # One string for each label, not one for each of a million items.
    return Item(values.get("path") or "", *(sys.intern(text) if text else text for text in shared))


def cell_text(value: Any) -> str | None:
    """A cell as text; empty cells and NaN are None, 3.0 is 3 (a column of numbers with gaps)."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def _check_paths(table: Path, items: Sequence[Item]) -> None:
    faults = [f"row {number}: {fault}" for number, item in enumerate(items, 2) if (fault := path_fault(item.path))]
    if faults:
        _raise_rows(table, "path", "that cannot name a file below the data folder", faults)


def path_fault(path: str) -> str | None:
    """Why a cell names no file below the data folder; None where it may."""
    if not path:
        return "no path"
    if "\\" in path:
        return f"{path!r} uses backslashes; write forward slashes"
    if "\0" in path:
        return f"{path!r} holds a null character"
    if path.startswith("/"):
        return f"{path!r} is absolute; write it relative to the data folder"
    return f"{path!r} leaves the data folder" if ".." in path.split("/") else None


def _check_labels(table: Path, column: str, items: Sequence[Item]) -> None:
    faults = [
        f"row {number}: {item.label!r}"
        for number, item in enumerate(items, 2)
        if item.label and has_control_characters(item.label)
    ]
    if faults:
        _raise_rows(table, "cell", f"in column {column!r} with a line break or another control character", faults)


def _with_sides(table: Path, column: str, items: Sequence[Item]) -> list[Item]:
    if all(item.split is None for item in items):
        return list(items)
    faults = [
        f"row {number}: {item.split!r}" if item.split else f"row {number}: no side"
        for number, item in enumerate(items, 2)
        if item.split is None or side_of(item.split) is None
    ]
    if faults:
        _raise_rows(table, "cell", f"in column {column!r} besides train, validation (val) and test", faults)
    return [replace(item, split=side_of(item.split or "")) for item in items]


def _check_repeats(table: Path, items: Sequence[Item]) -> None:
    repeated = sorted(path for path, count in Counter(item.path for item in items).items() if count > 1)
    if repeated:
        _raise_rows(table, "path", "in more than one row; keep one row for each", repeated)


def _check_files(root: Path, items: Sequence[Item]) -> None:
    faults: list[TreeFault] = []
    folders: dict[PurePosixPath, TreeFault | None] = {PurePosixPath("."): None}
    for item in items:
        parts = PurePosixPath(item.path)
        for folder in reversed(parts.parents):
            if folder not in folders:
                folders[folder] = file_fault(root / folder, str(folder))
                faults += [fault] if (fault := folders[folder]) else []
        if not any(folders[folder] for folder in parts.parents):
            fault = file_fault(root / parts, item.path)
            faults += [fault] if fault else []
    if faults:
        raise DataError(describe_faults(root, faults))


def _raise_rows(table: Path, noun: str, fault: str, faults: Sequence[str]) -> NoReturn:
    more = [f"and {len(faults) - NAMED_FAULTS} more"] if len(faults) > NAMED_FAULTS else []
    raise DataError("\n  ".join([f"{table} has {counted(len(faults), noun)} {fault}:", *faults[:NAMED_FAULTS], *more]))

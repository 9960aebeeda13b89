"""What people decided on top of the raw data, as two files of theirs: data/corrections.csv and data/forgotten.csv.

Both name an item by the sha256 of its content, so that a decision holds wherever the file lies. Rows stand in the
order in which they were decided.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import date as calendar_date
from pathlib import Path
from typing import NoReturn, TypeVar

from tasks.errors import DataError, counted, did_you_mean
from tasks.reports.document import write_bytes

SHA256 = re.compile(r"[0-9a-f]{64}")
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
"""Python reads more than this as a date: 20261121 and 2026-W47-6 too."""


@dataclass(frozen=True)
class Correction:
    """One person's word on one content: its label was `was` and is `label`; None leaves it out of the data set.

    `was` is the label as it stood (after aliases and earlier corrections; empty: no label, or left out); `path` tells
    a reader which file was meant and has no effect; `date` is ISO (2026-11-21).
    """

    sha256: str
    path: str
    was: str
    label: str | None
    who: str
    why: str
    date: str


@dataclass(frozen=True)
class Forgotten:
    """The tombstone of a forgotten item: its content may not come back. No path and no label."""

    sha256: str
    reason: str
    who: str
    date: str


Row = TypeVar("Row", Correction, Forgotten)
_NEEDED = {Correction: ("who", "why", "date"), Forgotten: ("reason", "date")}


def read_corrections(path: Path) -> list[Correction]:
    """The corrections in file order; none where there is no such file.

    Raises:
        DataError: no UTF-8 text, other columns (Graft rewrites the file and would lose them), or a row without a
            sha256, a date, a who or a why.
    """
    return _read(path, Correction)


def write_corrections(path: Path, corrections: Sequence[Correction]) -> None:
    """Replace the file, all or nothing."""
    write_bytes(path, corrections_bytes(corrections))


def corrections_bytes(corrections: Sequence[Correction] = ()) -> bytes:
    """The file's content; without corrections its header alone."""
    return _bytes(Correction, corrections)


def read_forgotten(path: Path) -> list[Forgotten]:
    """The tombstones in file order; none where there is no such file.

    Raises:
        DataError: as `read_corrections`.
    """
    return _read(path, Forgotten)


def write_forgotten(path: Path, forgotten: Sequence[Forgotten]) -> None:
    """Replace the file, all or nothing."""
    write_bytes(path, forgotten_bytes(forgotten))


def forgotten_bytes(forgotten: Sequence[Forgotten] = ()) -> bytes:
    """The file's content; without tombstones its header alone."""
    return _bytes(Forgotten, forgotten)


def _bytes(kind: type[Row], rows: Sequence[Row]) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([field.name for field in fields(kind)])
    writer.writerows([value if value is not None else "" for value in astuple(row)] for row in rows)
    return buffer.getvalue().encode()


def _read(path: Path, kind: type[Row]) -> list[Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return []
    except OSError as err:
        raise DataError(f"{path} cannot be read ({err.strerror})") from err
    except UnicodeDecodeError as err:
        raise DataError(f"{path} is not UTF-8 text ({err}); save it as UTF-8") from err
    names = [field.name for field in fields(kind)]
    # Spreadsheets save what was a comma as their country's own separator.
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        for name in names:
            if name not in (reader.fieldnames or ()):
                raise DataError(
                    f"{path} has no column {name!r}{did_you_mean(name, reader.fieldnames or ())}; its first line must "
                    f"be {','.join(names)}"
                )
        rows = list(reader)
        _refuse_foreign(path, kind, [name for name in reader.fieldnames or () if name not in names], rows)
        return [_row(path, kind, names, number, row) for number, row in enumerate(rows, 2)]
    except csv.Error as err:
        raise DataError(f"{path} is not a readable CSV table: {err}") from err


def _refuse_foreign(
    path: Path, kind: type[Row], foreign: Sequence[str], rows: Sequence[Mapping[str | None, str | None]]
) -> None:
    """Columns of somebody else's would be lost when the file is written; nameless empty ones are a spreadsheet's."""
    kept = sorted({name for name in foreign if name.strip() or any((row.get(name) or "").strip() for row in rows)})
    if kept:
        raise DataError(
            f"{path} has {counted(len(kept), 'column')} that Graft does not know and would lose when it adds a row: "
            f"{', '.join(map(repr, kept))}; move what is in {'it' if len(kept) == 1 else 'them'} into "
            f"{_NEEDED[kind][-2]!r} or another file"
        )


def _row(path: Path, kind: type[Row], names: Sequence[str], number: int, cells: Mapping[str | None, str | None]) -> Row:
    def refuse(fault: str) -> NoReturn:
        raise DataError(f"{path} row {number}: {fault}; correct the row or delete it")

    values = {name: cells.get(name) for name in names}
    if None in cells or None in values.values():
        refuse("it has not the header's number of fields (quote values with a comma)")
    texts: dict[str, str | None] = {**values, "sha256": str(values["sha256"]).strip().lower()}
    if not SHA256.fullmatch(str(texts["sha256"])):
        refuse(f"sha256 {values['sha256']!r} is not 64 hexadecimal digits")
    for name in _NEEDED[kind]:
        if not str(texts[name]).strip():
            refuse(f"{name} is empty; a decision says who, why and when")
    try:
        written = str(texts["date"]).strip()
        calendar_date.fromisoformat(written if ISO_DATE.fullmatch(written) else "")
    except ValueError:
        refuse(f"date {texts['date']!r} is not of the form 2026-11-21")
    if kind is Correction:
        texts["label"] = texts["label"] or None
    return kind(**texts)  # type: ignore[arg-type]

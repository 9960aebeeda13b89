"""The review list as a table for a spreadsheet: what stands in it, and what a person filled in."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import DataError, did_you_mean
from tasks.reports import ReviewEntry

FOUND = ("rank", "kind", "path", "label", "suggested", "score", "reason", "other", "other_label", "side")
TO_FILL_IN = ("action", "corrected_label", "who", "why")
COLUMNS = (*FOUND, *TO_FILL_IN, "sha256")
NEEDED = ("path", "label", "action", "corrected_label", "who", "why", "sha256")

UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What makes a spreadsheet take a text for a formula; such texts get an apostrophe in front."""


@dataclass(frozen=True)
class FilledRow:
    """A row as a person left it, stripped; `number` is its row in the spreadsheet, the header being row 1."""

    number: int
    path: str
    label: str
    sha256: str
    action: str
    corrected_label: str
    who: str
    why: str


def sheet_bytes(entries: Sequence[ReviewEntry]) -> bytes:
    """CSV in UTF-8 with a byte order mark, which spreadsheets need in order not to take it for their country's code."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    for entry in entries:
        cells = {name: getattr(entry, name) for name in (*FOUND, "sha256")}
        writer.writerow({**cells, **{name: guarded(str(cells[name] or "")) for name in _TEXTS}})
    return buffer.getvalue().encode("utf-8-sig")


_TEXTS = ("path", "label", "suggested", "reason", "other", "other_label")


def guarded(text: str) -> str:
    """The text so that no spreadsheet takes it for a formula; `unguarded` gives it back.

    >>> guarded("=1+1"), unguarded("'=1+1"), unguarded("'tis")
    ("'=1+1", '=1+1', "'tis")
    """
    return f"'{text}" if text.lstrip("'").startswith(FORMULA_STARTS) else text


def unguarded(text: str) -> str:
    """The text without the apostrophe that `guarded` put in front."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(FORMULA_STARTS) else text


def read_sheet(path: Path) -> list[FilledRow]:
    """Every row of a review list, filled in or not.

    Commas, semicolons and tabs are taken for separators, since spreadsheets save with their country's own.

    Raises:
        DataError: not there, no UTF-8 text, no CSV, columns missing, or a row of another length.
    """
    text = _text(path)
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header = reader.fieldnames or ()
        for name in NEEDED:
            if name not in header:
                raise DataError(
                    f"{path} has no column {name!r}{did_you_mean(name, header)}; give a review list as "
                    "reports/review.csv, with its header"
                )
        return [_row(path, number, cells) for number, cells in enumerate(reader, 2)]
    except csv.Error as err:
        raise DataError(f"{path} is not a readable CSV table: {err}; save it as CSV (UTF-8)") from err


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as err:
        raise DataError(f"{path} cannot be read ({err.strerror}); give a review list as reports/review.csv") from err
    except UnicodeDecodeError as err:
        if err.object[:2] in UTF_16_MARKS:
            raise DataError(f"{path} was saved as UTF-16 (Unicode text); save it as CSV UTF-8") from err
        raise DataError(f"{path} is not UTF-8 text ({err}); save it from the spreadsheet as CSV UTF-8") from err


def _row(path: Path, number: int, cells: Mapping[str | None, str | None]) -> FilledRow:
    if None in cells or None in cells.values():
        raise DataError(f"{path} row {number} has not the header's number of fields; put texts with commas in quotes")
    values = {name: unguarded((cells[name] or "").strip()) for name in NEEDED}
    return FilledRow(number=number, **values)

"""The review list in a spreadsheet: it opens, it runs nothing, and comes back as it was."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import DataError
from tasks.reports import ReviewEntry
from tasks.review_sheet import COLUMNS, guarded, read_sheet, sheet_bytes, unguarded


def entry(**changes: object) -> ReviewEntry:
    values = {
        "rank": 1,
        "kind": "likely_wrong",
        "path": "cat/ä, 1.jpg",
        "sha256": "ab" * 32,
        "label": "cat",
        "suggested": "dog",
        "score": 0.9,
        "reason": "the other images speak for 'dog' (90%), not 'cat' (2%)",
        "side": "train",
    }
    return ReviewEntry.model_validate({**values, **changes})


def rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def test_the_sheet_is_utf8_with_a_mark_and_empty_columns_to_fill_in() -> None:
    data = sheet_bytes([entry()])

    assert data.startswith(b"\xef\xbb\xbfrank,kind,path,label,suggested,")
    (row,) = rows(data)
    assert tuple(row) == COLUMNS
    assert (row["path"], row["suggested"], row["other"]) == ("cat/ä, 1.jpg", "dog", "")
    assert [row[name] for name in ("action", "corrected_label", "who", "why")] == [""] * 4


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@x", "\tx", "'=x"])
def test_no_cell_is_taken_for_a_formula(name: str, tmp_path: Path) -> None:
    sheet = tmp_path / "review.csv"
    sheet.write_bytes(sheet_bytes([entry(path=f"{name}/1.jpg", label=name, suggested=name, other_label=name)]))

    for cell in rows(sheet.read_bytes())[0].values():
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    if name != "\tx":
        assert (read_sheet(sheet)[0].label, read_sheet(sheet)[0].path) == (name, f"{name}/1.jpg")


@given(st.text())
def test_a_guarded_text_comes_back(text: str) -> None:
    assert unguarded(guarded(text)) == text


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_what_a_spreadsheet_saves_is_read_whatever_its_separator(separator: str, tmp_path: Path) -> None:
    (row,) = rows(sheet_bytes([entry()]))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, row, delimiter=separator)
    writer.writeheader()
    writer.writerow({**row, "corrected_label": " dog ", "who": "Ann", "why": "a, b; c"})
    (tmp_path / "filled.csv").write_text(text.getvalue(), encoding="utf-8")

    (filled,) = read_sheet(tmp_path / "filled.csv")

    assert (filled.number, filled.path, filled.sha256) == (2, "cat/ä, 1.jpg", "ab" * 32)
    assert (filled.corrected_label, filled.who, filled.why) == ("dog", "Ann", "a, b; c")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,label\na,b\n", r"has no column 'action'.*reports/review\.csv"),
        ("path,label\näöü,b\n".encode("cp1252"), r"is not UTF-8 text .*CSV UTF-8"),
        ("\t".join(COLUMNS).encode("utf-16"), r"was saved as UTF-16 \(Unicode text\); save it as CSV UTF-8"),
        (",".join(COLUMNS).encode() + b"\n1,2,3\n", r"row 2 has not the header's number of fields"),
        (",".join(COLUMNS).encode() + b'\n1,"2\n', r"is not a readable CSV table"),
    ],
    ids=["columns", "encoding", "utf-16", "short row", "open quote"],
)
def test_what_is_no_review_list_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(content)

    with pytest.raises(DataError, match=message):
        read_sheet(tmp_path / "list.csv")


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv cannot be read"):
        read_sheet(tmp_path / "gone.csv")

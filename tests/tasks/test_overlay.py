"""data/corrections.csv and data/forgotten.csv: what is written is read back, and a wrong row is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import DataError
from tasks.overlay import (
    Correction,
    Forgotten,
    read_corrections,
    read_forgotten,
    write_corrections,
    write_forgotten,
)

A = "a1" * 32
HEADER = "sha256,path,was,label,who,why,date\n"
GOOD = f"{A},cat/1.png,cat,dog,Ada,is a dog,2026-11-21\n"


def test_corrections_survive_the_round_trip(tmp_path: Path) -> None:
    rows = [
        Correction(A, 'cat/a "b", c.png', "cat", "dog", "Ada; L.", "two\nlines, a comma", "2026-11-21"),
        Correction("b2" * 32, "cat/ü.png", "", None, "Bob", "blurred", "2026-11-22"),
    ]
    write_corrections(tmp_path / "c.csv", rows)
    assert read_corrections(tmp_path / "c.csv") == rows


def test_tombstones_survive_the_round_trip(tmp_path: Path) -> None:
    rows = [Forgotten(A, "asked by the owner, in writing", "", "2026-11-21")]
    write_forgotten(tmp_path / "f.csv", rows)
    assert read_forgotten(tmp_path / "f.csv") == rows
    assert (tmp_path / "f.csv").read_text().splitlines()[0] == "sha256,reason,who,date"


def test_no_file_and_a_header_alone_say_nothing(tmp_path: Path) -> None:
    assert read_corrections(tmp_path / "c.csv") == []
    write_corrections(tmp_path / "c.csv", [])
    assert read_corrections(tmp_path / "c.csv") == []


def test_what_a_spreadsheet_saves_is_read(tmp_path: Path) -> None:
    text = "\ufeff" + (HEADER + GOOD).replace(",", ";").replace("\n", "\r\n").replace(A, A.upper())
    (tmp_path / "c.csv").write_bytes(text.encode())
    assert read_corrections(tmp_path / "c.csv") == [
        Correction(A, "cat/1.png", "cat", "dog", "Ada", "is a dog", "2026-11-21")
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sha256,path,was,lable,who,why,date\n", r"no column 'label'; did you mean 'lable'\?.*must be sha256,path,was"),
        ("", "has no column 'sha256'"),
        (HEADER + GOOD.replace(A, "a1b2"), r"row 2: sha256 'a1b2' is not 64 hexadecimal digits; correct the row"),
        (HEADER + GOOD.replace("Ada", " "), "row 2: who is empty; a decision says who, why and when"),
        (HEADER + GOOD.replace("is a dog", ""), "row 2: why is empty"),
        (HEADER + GOOD.replace("2026-11-21", "21.11.2026"), r"row 2: date '21.11.2026' is not of the form 2026-11-21"),
        (HEADER + GOOD.replace("2026-11-21", "20261121"), r"row 2: date '20261121' is not of the form 2026-11-21"),
        (HEADER + GOOD.replace("2026-11-21", "2026-W47-6"), "row 2: date '2026-W47-6' is not of the form"),
        (HEADER + GOOD.replace("2026-11-21", "2026-02-30"), "row 2: date '2026-02-30' is not of the form"),
        (HEADER + GOOD.replace("is a dog", "no, a dog"), "row 2: it has not the header's number of fields"),
        (HEADER + GOOD.replace("is a dog", '"is a'), "not a readable CSV table"),
    ],
)
def test_a_wrong_row_is_named_with_the_mend(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(DataError, match=complaint):
        read_corrections(tmp_path / "c.csv")


def test_columns_that_graft_would_lose_are_refused_by_name(tmp_path: Path) -> None:
    text = HEADER.replace("\n", ",ticket\n") + GOOD.replace("\n", ",T-17\n")
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(DataError, match=r"1 column that Graft .*: 'ticket'; move what is in it into 'why'"):
        read_corrections(tmp_path / "c.csv")
    (tmp_path / "f.csv").write_text(f"sha256,reason,who,date,ticket,by\n{A},asked,Ada,2026-11-21,T-17,mail\n")
    with pytest.raises(DataError, match=r"2 columns .*: 'by', 'ticket'; move what is in them into 'reason'"):
        read_forgotten(tmp_path / "f.csv")


def test_nameless_empty_columns_of_a_spreadsheet_are_no_fault(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(HEADER.replace("\n", ",,\n") + GOOD.replace("\n", ",,\n"))
    assert len(read_corrections(tmp_path / "c.csv")) == 1
    (tmp_path / "c.csv").write_text(HEADER.replace("\n", ",\n") + GOOD.replace("\n", ",T-17\n"))
    with pytest.raises(DataError, match="1 column that Graft does not know"):
        read_corrections(tmp_path / "c.csv")


def test_text_that_is_no_utf8_and_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_bytes(HEADER.encode() + b"\xff\xfe\n")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        read_corrections(tmp_path / "c.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_corrections(tmp_path)

"""Rows taken out of a user's table: found as the listing finds them, every other byte kept."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.table_rows import check_table, remove_rows
from tasks.errors import DataError
from tasks.params import ColumnNames
from tasks.table_listing import read_listing

NAMES = ("cat/1.jpg", "cat/2.jpg", "cat/3.jpg")


def write(table: Path, cells: list[str]) -> None:
    if table.suffix == ".parquet":
        pq.write_table(pa.table({"path": cells, "label": ["cat"] * len(cells)}), table)
    else:
        table.write_text("".join(["path,label\n", *(f"{cell},cat\n" for cell in cells)]))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("cell", ["cat/2.jpg ", "  cat/2.jpg", "\tcat/2.jpg", "./cat//2.jpg"])
def test_a_row_is_found_however_the_listing_would_read_its_path(tmp_path: Path, cell: str, suffix: str) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    table = tmp_path / f"labels{suffix}"
    write(table, [NAMES[0], cell, NAMES[2]])
    assert [item.path for item in read_listing(table, tmp_path, ColumnNames())] == list(NAMES)
    assert remove_rows(table, "path", {"cat/2.jpg"}) == 1
    assert [item.path for item in read_listing(table, tmp_path, ColumnNames())] == [NAMES[0], NAMES[2]]
    assert b"2.jpg" not in table.read_bytes()


def test_empty_cells_name_nothing(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": [None, "cat/2.jpg"]}), tmp_path / "labels.parquet")
    assert remove_rows(tmp_path / "labels.parquet", "path", {"cat/2.jpg"}) == 1


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("labels.csv", b"path,label\ncat/2.jpg,K\xe4tzchen\n", r"labels\.csv may name an item .*; save it as UTF-8"),
        ("labels.csv", b'path,label\n"cat/2.jpg,cat\n', r"labels\.csv may name an item .*; mend it or move it away"),
        ("labels.parquet", b"cut short", r"labels\.parquet may name an item .*; mend it or move it away"),
    ],
)
def test_a_table_that_cannot_be_read_is_named_and_left(
    tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        check_table(tmp_path / name, "path")
    with pytest.raises(DataError, match=complaint):
        remove_rows(tmp_path / name, "path", {"cat/2.jpg"})
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_without_the_column_lists_nothing(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"labels{suffix}", [*NAMES])
    assert remove_rows(tmp_path / f"labels{suffix}", "file", {*NAMES}) == 0

"""From captured rows to files and to what is deleted, by a clock in the test's hand."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from capture_scene import drafts, finished, params, row, rows_of

from deploy.capture_files import CaptureFile, file_name
from deploy.capture_rotation import Rotation


def rotation(folder: Path, **more: Any) -> Rotation:
    return Rotation(params(folder, **more).capture, 0.0)


def test_a_file_is_finished_at_its_size(tmp_path: Path) -> None:
    files = rotation(tmp_path, content="inputs", rotate_mb=0.1)
    for number in range(12):
        files.add(row(number, os.urandom(30_000)), 0.0)

    assert [len(pq.ParquetFile(file).read()) for file in finished(tmp_path)] == [4, 4, 4]
    assert files.taken() == 12
    assert files.taken() == 0


def test_large_images_go_to_the_disk_before_the_file_is_full(tmp_path: Path) -> None:
    files = rotation(tmp_path, content="inputs", rotate_mb=1000)
    for number in range(3):
        files.add(row(number, bytes(2_100_000)), 0.0)

    (draft,) = drafts(tmp_path)
    assert draft.stat().st_size > 0
    assert finished(tmp_path) == []
    assert files.lose() == 3
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_finished_at_its_age_and_an_empty_one_never(tmp_path: Path) -> None:
    files = rotation(tmp_path, rotate_seconds=300)
    files.tidy(0.0)
    files.rotate(1e6)
    assert finished(tmp_path) == []

    files.add(row(0), 1000.0)
    files.add(row(1), 1250.0)
    files.tidy(1250.0)
    assert files.due(1250.0) == 50.0
    files.rotate(1299.0)
    assert finished(tmp_path) == []
    files.rotate(1300.0)
    assert [one["request_id"] for one in rows_of(tmp_path)] == ["r0", "r1"]


def test_a_file_holds_one_release(tmp_path: Path) -> None:
    files = rotation(tmp_path)
    for number, version in enumerate("112221"):
        files.add(row(number, version=version), 0.0)
    files.finish()

    versions = sorted(tuple(pq.ParquetFile(file).read()["version"].to_pylist()) for file in finished(tmp_path))
    assert versions == [("1",), ("1", "1"), ("2", "2", "2")]
    for file in finished(tmp_path):
        assert (
            pq.read_schema(file).metadata[b"graft.version"].decode()
            in pq.ParquetFile(file).read()["version"].to_pylist()
        )


def test_an_error_between_two_releases_counts_the_row_that_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(file: CaptureFile) -> Path:
        raise OSError(errno.EIO, "Input/output error")

    files = rotation(tmp_path)
    files.add(row(0), 0.0)
    monkeypatch.setattr(CaptureFile, "finish", finish)

    with pytest.raises(OSError, match="Input/output"):
        files.add(row(1, version="2"), 0.0)
    assert files.lose() == 2


def test_old_captures_and_dead_drafts_go_at_the_start_and_old_ones_at_each_rotation(tmp_path: Path) -> None:
    def put(age: timedelta, draft: bool = False) -> Path:
        name = file_name(datetime.now(UTC) - age)
        file = tmp_path / (f".{name}.draft" if draft else name)
        file.write_bytes(b"")
        return file

    gone = [put(timedelta(days=2)), put(timedelta(seconds=5), draft=True)]
    young = put(timedelta(hours=1))
    files = rotation(tmp_path, keep_days=1.0)

    files.begin()
    files.tidy(0.0)
    assert not any(file.exists() for file in gone)
    later = put(timedelta(days=2))
    files.tidy(1.0)
    assert later.exists()
    files.add(row(0), 2.0)
    files.finish()
    assert files.due(2.0) == 0.0
    files.tidy(2.0)

    assert not later.exists()
    assert young.exists()
    assert files.due(2.0) == 600.0
    files.tidy(602.0)


def test_all_files_together_stay_within_the_bound(tmp_path: Path) -> None:
    files = rotation(tmp_path, content="inputs", rotate_mb=0.1, max_gb=0.0003)
    for number in range(40):
        files.add(row(number, os.urandom(30_000)), 0.0)
        files.tidy(0.0)

    found = [one["request_id"] for one in rows_of(tmp_path)]
    assert sum(file.stat().st_size for file in finished(tmp_path)) <= 300_000
    assert found == [f"r{number}" for number in range(40 - len(found), 40)]
    assert found

"""What of old captures is deleted, and what never."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy import capture_retention
from deploy.capture_files import file_name
from deploy.capture_retention import remove_dead_drafts, sweep

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
WEEK = timedelta(days=7)


def put(folder: Path, age: timedelta, size: int = 100, draft: bool = False) -> Path:
    """A file that has a capture's name; its content is nobody's business."""
    folder.mkdir(exist_ok=True)
    name = file_name(NOW - age)
    file = folder / (f".{name}.draft" if draft else name)
    file.write_bytes(b"x" * size)
    return file


def left(folder: Path) -> set[Path]:
    return set(folder.iterdir())


def test_captures_older_than_the_days_go_by_their_oldest_row(tmp_path: Path) -> None:
    old, older = put(tmp_path, WEEK + timedelta(seconds=1)), put(tmp_path, timedelta(days=400))
    young = {put(tmp_path, WEEK), put(tmp_path, timedelta(0)), put(tmp_path, timedelta(hours=-1))}

    assert sweep(tmp_path, WEEK, 1e9, NOW) == [older, old]
    assert left(tmp_path) == young


def test_of_too_much_the_oldest_go_first(tmp_path: Path) -> None:
    files = [put(tmp_path, timedelta(hours=hours)) for hours in (4, 3, 2, 1)]

    assert sweep(tmp_path, WEEK, 250, NOW) == files[:2]
    assert left(tmp_path) == set(files[2:])
    assert sweep(tmp_path, WEEK, 250, NOW) == []


def test_a_growing_draft_counts_but_is_not_deleted_for_its_size(tmp_path: Path) -> None:
    draft = put(tmp_path, timedelta(hours=9), 1000, draft=True)
    file = put(tmp_path, timedelta(hours=1))

    assert sweep(tmp_path, WEEK, 500, NOW) == [file]
    assert left(tmp_path) == {draft}


def test_a_draft_that_no_lock_guards_goes_by_age(tmp_path: Path) -> None:
    draft = put(tmp_path, timedelta(days=8), draft=True)

    assert sweep(tmp_path, WEEK, 1e9, NOW) == [draft]


def test_files_of_others_are_never_touched(tmp_path: Path) -> None:
    others = {tmp_path / name for name in ("notes.parquet", "20200101.parquet", ".draft", "readme.md")}
    for file in others:
        file.write_bytes(b"x" * 1000)
    folder = tmp_path / file_name(NOW - timedelta(days=99))
    folder.mkdir()
    target = tmp_path / "kept elsewhere"
    target.write_bytes(b"x" * 1000)
    link = tmp_path / file_name(NOW - timedelta(days=98))
    link.symlink_to(target)

    assert sweep(tmp_path, WEEK, 0, NOW) == []
    assert remove_dead_drafts(tmp_path) == []
    assert left(tmp_path) == {*others, folder, target, link}


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert sweep(tmp_path / "none", WEEK, 0, NOW) == []
    assert remove_dead_drafts(tmp_path / "none") == []


def test_what_another_process_deleted_meanwhile_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [put(tmp_path, timedelta(days=days)) for days in (9, 8)]
    listed = list(capture_retention._captures(tmp_path))
    files[0].unlink()
    monkeypatch.setattr(capture_retention, "_captures", lambda folder: listed)

    assert sweep(tmp_path, WEEK, 1e9, NOW) == [files[1]]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    files=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 50)), max_size=12),
    most=st.integers(0, 300),
    hours=st.integers(1, 300),
)
def test_what_stays_is_young_and_within_the_bound_and_no_more_went_than_had_to(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[int, int]], most: int, hours: int
) -> None:
    folder = tmp_path_factory.mktemp("captures")
    made = {put(folder, timedelta(hours=age), size): (age, size) for age, size in files}

    gone = sweep(folder, timedelta(hours=hours), most, NOW)

    stays = [made[file] for file in left(folder)]
    assert all(age <= hours for age, _ in stays)
    assert sum(size for _, size in stays) <= most
    for_size = [made[file] for file in gone if made[file][0] <= hours]
    assert all(age >= other for age, _ in for_size for other, _ in stays)
    if for_size:
        assert sum(size for _, size in stays) + for_size[-1][1] > most

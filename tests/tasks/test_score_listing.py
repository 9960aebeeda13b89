"""Listing what is to be scored: in order, told apart by size and time, and in memory that does not grow."""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.batch_scoring import listing as listings
from tasks.batch_scoring.entries import Entry, entry_of
from tasks.batch_scoring.folders import DEEPEST, entries_of_folder
from tasks.batch_scoring.listing import write_listing


def made_up(count: int, seed: int = 0) -> Iterator[Entry]:
    """Entries in no order, made as they are asked for."""
    numbers = random.Random(seed)
    for place in range(count):
        yield Entry(f"{numbers.randrange(100)}/{numbers.randrange(10**9):09d}-{place}.jpg", place, 10**18 + place)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def left_out(_: str) -> None:
    pass


def test_a_line_gives_its_entry_back_whatever_its_path() -> None:
    for path in ("a/b.jpg", 'quo"te\\.jpg', "ünï/日本.png", "line\\nbreak", "", " "):
        entry = Entry(path, 5, 10**18, "label", None)
        assert entry_of(entry.line()) == entry
        assert entry.line().count(b"\n") == 1


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 250])
def test_pieces_on_disk_are_merged_into_the_order_of_paths(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "SORTED_AT_ONCE", 10)
    monkeypatch.setattr(listings, "_MERGED_AT_ONCE", 4)
    listing = write_listing(made_up(count), True, tmp_path)
    wanted = sorted(made_up(count), key=lambda entry: entry.path)
    assert list(listing.read([range(count)])) == wanted
    assert listing.entries == count
    assert [path.name for path in tmp_path.iterdir()] == ["listing"], "pieces are gone"


def test_ranges_of_a_listing_are_read_alone(tmp_path: Path) -> None:
    listing = write_listing(made_up(50), False, tmp_path)
    everything = list(made_up(50))
    found = list(listing.read([range(5, 8), range(8, 9), range(40, 50)]))
    assert found == everything[5:9] + everything[40:50]


def test_the_digest_sees_another_size_time_path_label_and_order(tmp_path: Path) -> None:
    entries = list(made_up(5))
    first = entries[0]
    others = [
        entries,
        [Entry(first.path, first.size + 1, first.changed_ns), *entries[1:]],
        [Entry(first.path, first.size, first.changed_ns + 1), *entries[1:]],
        [Entry(first.path + "x", first.size, first.changed_ns), *entries[1:]],
        [Entry(first.path, first.size, first.changed_ns, "label"), *entries[1:]],
        entries[::-1],
        entries[:-1],
    ]
    digests = [write_listing(iter(some), False, tmp_path).digest for some in others]
    assert len(set(digests)) == len(others)
    assert write_listing(iter(entries[::-1]), True, tmp_path).digest == (
        write_listing(iter(entries), True, tmp_path).digest
    ), "in whatever order a file system lists them"


def peak_of(count: int, folder: Path) -> int:
    folder.mkdir()
    tracemalloc.start()
    try:
        listing = write_listing(made_up(count), True, folder)
        assert sum(1 for _ in listing.read([range(count)])) == count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_of_a_listing_does_not_grow_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "SORTED_AT_ONCE", 1000)
    small, large = peak_of(2000, tmp_path / "small"), peak_of(20_000, tmp_path / "large")
    assert large < 1.3 * small + 300_000, "ten times the files; a piece of 1,000 and a buffer for each of 20 pieces"


def test_memory_of_a_walk_does_not_grow_with_the_folder(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        folder = tmp_path / str(count)
        folder.mkdir()
        for place in range(count):
            os.close(os.open(folder / f"{place}.jpg", os.O_CREAT))
        tracemalloc.start()
        try:
            assert sum(1 for _ in entries_of_folder(folder, left_out)) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(4)  # what the first walk of a process imports is not its memory
    assert peak(4000) < 1.3 * peak(400) + 20_000


def test_folders_in_folders_are_walked_and_too_deep_ones_are_named(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(DEEPEST + 1):
        deep = deep / "d"
        deep.mkdir()
        (deep / "x.jpg").touch()
    found = list(entries_of_folder(tmp_path, left_out))
    fine = [entry for entry in found if entry.fault is None]
    assert len(fine) == DEEPEST - 1
    assert [entry.fault for entry in found if entry.fault] == [f"nested deeper than {DEEPEST} folders; move it up"]
    assert open_files() < DEEPEST, "every folder was closed again"


def test_a_walk_that_is_left_early_closes_its_folders(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.jpg").touch()
    before = open_files()
    walk = entries_of_folder(tmp_path, left_out)
    next(walk)
    walk.close()
    assert open_files() == before

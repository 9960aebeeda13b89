"""Reading a listed file that may have changed since it was listed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from image_files import encoded, noise, write

from tasks.modalities.images import inspect_file
from tasks.modalities.reading import UnreadableFile, read_regular
from tasks.params import ValidateParams


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    write(tmp_path / "photo.png", encoded(noise(1)))
    return tmp_path / "photo.png"


def test_a_regular_file_is_read_whole_up_to_the_limit(photo: Path) -> None:
    size = photo.stat().st_size
    assert read_regular(photo, size) == photo.read_bytes()
    with pytest.raises(UnreadableFile, match=f"^{size} bytes, more than the {size - 1} an image may have$") as caught:
        read_regular(photo, size - 1)
    assert caught.value.size == size


def test_a_sparse_file_of_a_terabyte_is_refused_at_once(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(2**40)
    found = inspect_file(tmp_path / "huge.png", ValidateParams())
    assert found.reason == "1099511627776 bytes, more than the 336777216 an image may have"
    assert (found.file_bytes, found.sha256) == (2**40, None)


def test_what_has_become_a_link_a_pipe_or_a_folder_since_the_walk_is_neither_followed_nor_waited_for(
    photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "link.png").symlink_to(photo)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    rules = ValidateParams()
    assert inspect_file(tmp_path / "link.png", rules).reason == "has become a link"
    assert inspect_file(tmp_path / "pipe.png", rules).reason == "is no regular file any more"
    assert "file" in (inspect_file(tmp_path / "folder.png", rules).reason or "")
    assert inspect_file(tmp_path / "gone.png", rules).reason == "cannot be read (No such file or directory)"


@pytest.mark.parametrize("change", ["longer", "shorter", "rewritten"])
def test_a_file_that_changes_while_it_is_read_is_not_taken_as_it_was_seen(
    photo: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    look = os.fstat
    before = photo.read_bytes()
    after = {"longer": before + b"more", "shorter": before[:-9], "rewritten": before[::-1]}[change]
    seen: list[int] = []

    def look_and_change(descriptor: int) -> os.stat_result:
        info = look(descriptor)
        if info.st_ino == photo.stat().st_ino and not seen:
            seen.append(descriptor)
            os.utime(photo, ns=(1, 1))
            photo.write_bytes(after)
        return info

    monkeypatch.setattr("tasks.modalities.reading.os.fstat", look_and_change)
    reason = inspect_file(photo, ValidateParams()).reason
    assert reason == "changed while it was read; try again when nothing writes there"
    assert inspect_file(photo, ValidateParams()).reason != reason


def test_a_file_that_tells_no_size_is_not_read_without_end(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell = os.fstat

    def without_size(descriptor: int) -> os.stat_result:
        """As the kernel's own files (/proc) tell it: regular, and of no bytes."""
        told = list(tell(descriptor))
        told[stat.ST_SIZE] = 0
        return os.stat_result(told)

    monkeypatch.setattr("tasks.modalities.reading.os.fstat", without_size)
    with pytest.raises(UnreadableFile, match="changed while it was read") as caught:
        read_regular(photo, 10**6)
    assert caught.value.size == 1, "one byte tells that there is more"

"""A disk that is full at whatever is written next: named, nothing half, and the next run goes on.

The disks are small ones in memory, mounted for the test; where nobody may mount, these tests are skipped, and those of
the single writers (test_store, test_promotion, test_pixels, ...) have the error injected.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from desk import QUIET, Desk, make_desk

from flows.journal import TEST_USES
from flows.processes import WORKSPACE, marked_processes
from flows.state import StateMoved, StateRef
from tasks.backbones.feature_cache import FeatureCache
from tasks.errors import WorkspaceError, full_disk
from tasks.reports import write_bytes
from tasks.reports.document import replacing
from tasks.reports.release_parts import Labels
from tasks.tables import EMBEDDING_INDEX, write_table

PAGE = 4096


@dataclass(frozen=True)
class SmallDisk:
    """A disk of its own, most of which is taken by one file."""

    folder: Path

    def leave(self, room: int) -> None:
        """Have that many bytes free; a ballast takes the rest."""
        ballast = self.folder / "ballast"
        ballast.unlink(missing_ok=True)
        taken = shutil.disk_usage(self.folder).free - room
        if taken > 0:
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, taken)

    def drafts(self) -> list[Path]:
        """Half files of ours; DVC's own lie in its cache, under names that nothing reads."""
        return [path for path in self.folder.rglob("*.tmp") if ".dvc" not in path.parts]


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[SmallDisk]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("nobody may mount a disk here")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path.resolve() / "disk", 2 << 20) as made:
        yield made


def keep_bytes(file: Path) -> None:
    write_bytes(file, b"new" * 50_000)


def keep_report(file: Path) -> None:
    Labels(labels=[f"label {number}" for number in range(20_000)]).write(file)


def keep_table(file: Path) -> None:
    names = [f"{number:064x}"[::-1] for number in range(20_000)]
    write_table(pa.table({"path": names, "sha256": names}, schema=EMBEDDING_INDEX), file)


def keep_features(file: Path) -> None:
    with replacing(file) as draft, draft.open("w+b") as opened:
        np.save(opened, np.ones((200, 200), dtype=np.float32))


@pytest.mark.parametrize("write", [keep_bytes, keep_report, keep_table, keep_features])
@pytest.mark.parametrize("room", [0, PAGE, 8 * PAGE])
def test_a_file_is_the_old_one_or_the_new_one_and_the_error_names_it(
    disk: SmallDisk, write: Callable[[Path], None], room: int
) -> None:
    file = disk.folder / "kept"
    write_bytes(file, b"old")
    disk.leave(room)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write(file)
    told = full_disk(caught.value)
    assert told is not None
    assert told.startswith(f"no space left on the disk of {file}; free some")
    assert file.read_bytes() == b"old"
    assert disk.drafts() == []
    disk.leave(1 << 20)
    write(file)
    assert file.stat().st_size > 8 * PAGE


def test_a_full_disk_of_features_leaves_no_half_shard(disk: SmallDisk) -> None:
    names, rows = [f"{number:064x}" for number in range(400)], np.ones((400, 64), dtype=np.float32)
    cache = FeatureCache(disk.folder / "features", 64)
    cache.append(names[:10], rows[:10])
    disk.leave(4 * PAGE)
    with pytest.raises(OSError, match="No space left"):
        cache.append(names[10:], rows[10:])
    found = np.zeros_like(rows)
    assert cache.read_into(found, names).sum() == 10
    assert [path.suffix for path in cache.folder.iterdir()] == [".npz"]


def test_the_memory_on_git_is_the_old_one_or_the_new_one_at_every_size_of_what_is_left(disk: SmallDisk) -> None:
    subprocess.run(["git", "init", "--quiet", str(disk.folder)], check=True)
    state = StateRef(disk.folder)
    head = state.write({TEST_USES: b"first\n"}, "First", None)
    # A tree of folders in .git/objects comes with every commit, so that each write needs a few pages.
    said = []
    for room in range(0, 40 * PAGE, PAGE):
        disk.leave(room)
        try:
            moved = state.write({TEST_USES: os.urandom(3 * PAGE)}, f"At {room}", head)
        except WorkspaceError as err:
            said.append(err)
            disk.leave(40 * PAGE)
            assert state.head() == head
            assert state.read(TEST_USES) == b"first\n"
        else:
            assert state.head() == moved != head
            break
    else:
        pytest.fail("it never succeeded")
    assert said, "the disk was never full"
    assert [err for err in said if isinstance(err, StateMoved)] == [], "a full disk is taken for another run"
    assert [str(err) for err in said if "free some disk" not in str(err)] == []


ROOMS = (0, PAGE, 60_000, 700_000, 3_000_000, 4_500_000, 6_500_000, 8_500_000, 11_000_000, 14_000_000, 40_000_000)
"""Bytes left, run after run: for a lock, a pin, an out, what DVC keeps of it, features, a release, its copy."""


@pytest.fixture(scope="module")
def runs(
    released_template: Desk, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Desk, list[tuple[int, int, dict[str, Any], str]]]]:
    """A desk whose disk is full run after run; (room, exit code, result, stderr) of each until it releases."""
    folder = tmp_path_factory.mktemp("full").resolve()
    made = make_desk(folder)
    with small_disk(folder / "disk", 96 << 20) as disk:
        shutil.move(made.root, disk.folder / "clone")
        shutil.copytree(released_template.home / "cache" / "backbones", disk.folder / "cache" / "backbones")
        desk, seen = Desk(disk.folder / "clone", made.home), []
        for room in ROOMS:
            disk.leave(room)
            code, result, stderr = desk.adapt(
                "--set", "limits.free_disk_gb=0", GRAFT_CACHE_DIR=str(disk.folder / "cache"), **QUIET
            )
            seen.append((room, code, result, stderr))
            assert disk.drafts() == []
            assert marked_processes({WORKSPACE: str(desk.root)}) == []
            if code == 0:
                break
        yield desk, seen


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_run_on_a_full_disk_fails_by_name_and_without_a_traceback(
    runs: tuple[Desk, list[tuple[int, int, dict[str, Any], str]]],
) -> None:
    full = [one for one in runs[1] if one[1] != 0]
    for room, code, result, stderr in full:
        print(room, result["stopped_in"], result["reasons"])
        assert (code, result["state"]) == (1, "failed")
        assert any("no space left" in reason.lower() for reason in result["reasons"]), result["reasons"]
        assert any("free" in reason for reason in result["reasons"])
        assert "Traceback" not in stderr
    assert {result["stopped_in"] for _, _, result, _ in full} >= {None, "validate", "embed"}


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_with_room_it_goes_on_and_ends_in_the_same_bytes(
    runs: tuple[Desk, list[tuple[int, int, dict[str, Any], str]]], released_template: Desk
) -> None:
    desk, seen = runs
    assert seen[-1][2]["state"] == "released"
    assert desk.results() == released_template.results()
    (ours,), (theirs,) = desk.releases(), released_template.releases()
    assert ours.name == theirs.name


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_no_stage_is_run_again_once_it_was_finished(
    runs: tuple[Desk, list[tuple[int, int, dict[str, Any], str]]],
) -> None:
    done: set[str] = set()
    for _, _, _, stderr in runs[1]:
        begun = {
            line.rpartition("Running stage '")[2].split("'")[0] for line in stderr.splitlines() if "Running" in line
        }
        assert not begun & done, "a finished stage was computed again"
        done |= {stage for stage in begun if f"{stage} done in" in stderr} - {"split"}

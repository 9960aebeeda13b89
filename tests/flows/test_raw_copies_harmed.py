"""Raw data that are missing, damaged, half made or on a full disk: never read, named, made anew."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
from run_scene import committed, start_run
from test_raw_copies import MAKE, PARAMS, add_raw, use_remote
from toy_workspace import Toy

from flows.dvc_commands import run_dvc
from flows.raw_copies import bring_raw_data, raw_folder
from flows.worktrees import run_workspace
from tasks.errors import DataError, WorkspaceError


@pytest.fixture
def home(toy: Toy) -> Path:
    return committed(toy)


def test_what_nobody_has_is_named_with_the_mend(home: Path) -> None:
    add_raw(home)
    shutil.rmtree(home / ".dvc" / "cache")
    with (
        run_workspace(home, "HEAD", "lost") as workspace,
        pytest.raises(
            DataError, match=r"data/raw\.dvc names data .*neither in DVC's cache .*nor at a remote.*dvc push"
        ),
    ):
        bring_raw_data(workspace, PARAMS)
    assert list(raw_folder(home).glob("[!.]*")) == []


def damage(file: Path) -> None:
    """Change a file in place as root can, whatever its mode."""
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(data)
    file.chmod(0o444)


@pytest.mark.parametrize("with_remote", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_damaged_object_of_the_cache_is_never_read(home: Path, tmp_path: Path, with_remote: bool) -> None:
    add_raw(home)
    if with_remote:
        use_remote(home, tmp_path / "away")
    objects = [path for path in (home / ".dvc/cache/files").rglob("*") if path.is_file() and path.suffix != ".dir"]
    damage(objects[0])
    with run_workspace(home, "HEAD", "careful") as workspace:
        if not with_remote:
            with pytest.raises(DataError, match="1 file is neither in DVC's cache"):
                bring_raw_data(workspace, PARAMS)
            return
        bring_raw_data(workspace, PARAMS)
        assert run_dvc(workspace, "status", "data/raw.dvc").strip() == "Data and pipelines are up to date."


def test_a_damaged_list_of_files_is_named(home: Path) -> None:
    md5 = add_raw(home)
    damage(home / ".dvc" / "cache" / "files" / "md5" / md5[:2] / f"{md5[2:]}.dir")
    with run_workspace(home, "HEAD", "careful") as workspace, pytest.raises(DataError, match="is damaged; remove it"):
        bring_raw_data(workspace, PARAMS)


@pytest.mark.parametrize(
    "harm", ["changed", *(pytest.param(harm, marks=pytest.mark.slow) for harm in ("removed", "added", "no record"))]
)
def test_a_copy_that_somebody_touched_is_made_anew(home: Path, tmp_path: Path, harm: str) -> None:
    md5 = add_raw(home)
    use_remote(home, tmp_path / "away")
    with run_workspace(home, "HEAD", "first") as workspace:
        bring_raw_data(workspace, PARAMS)
    copy = raw_folder(home) / md5
    folder, file = copy / "class0", copy / "class0" / "0-0.bin"
    folder.chmod(0o755)
    if harm == "changed":
        damage(file)
    elif harm == "removed":
        file.unlink()
    elif harm == "added":
        (folder / "more.bin").write_bytes(b"more")
    else:
        copy.with_name(f"{md5}.json").unlink()
    with run_workspace(home, "HEAD", "second") as workspace:
        bring_raw_data(workspace, PARAMS)
        assert run_dvc(workspace, "status", "data/raw.dvc").strip() == "Data and pipelines are up to date."


KILLED = (
    """
import os, signal
from flows import raw_copies
real, done = raw_copies.share_file, []

def killed(source, target):
    done.append(target)
    if len(done) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(source, target)

raw_copies.share_file = killed
"""
    + MAKE
)


def test_a_maker_that_is_killed_leaves_no_half_copy_to_read(home: Path) -> None:
    md5 = add_raw(home)
    assert start_run(home, "killed", script=KILLED).wait(60) != 0
    assert not (raw_folder(home) / md5).exists()
    with run_workspace(home, "HEAD", "next") as workspace:
        bring_raw_data(workspace, PARAMS)
        assert sum(path.is_file() for path in workspace.raw.rglob("*.bin")) == 6
    assert [path.name for path in raw_folder(home).iterdir() if path.name.endswith(".draft")] == []


def test_a_full_disk_leaves_no_half_copy(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_raw(home)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "here")

    monkeypatch.setattr("flows.raw_copies.share_file", full)
    with run_workspace(home, "HEAD", "full") as workspace, pytest.raises(WorkspaceError, match=r"No space left.*free"):
        bring_raw_data(workspace, PARAMS)
    assert list(raw_folder(home).glob("[!.]*")) == []

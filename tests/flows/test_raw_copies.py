"""Raw data under DVC: there once, read by every run's worktree, and never trusted where somebody touched them."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from run_scene import commit_all, committed, git, start_run, wait_for_line
from toy_workspace import Toy

from flows.dvc_commands import dvc_status, run_dvc
from flows.file_sharing import share_file
from flows.gc import collect_garbage
from flows.raw_copies import bring_raw_data, raw_folder
from flows.run_holdings import remove_raw_copy
from flows.worktrees import run_workspace
from tasks.errors import DataError, WorkspaceError
from tasks.params import Params
from tasks.tree import check_tree
from tasks.workspace import Workspace

PARAMS = Params.model_validate({"data": {"path": "data/raw"}})
READS_RAW = """\
stages:
  listing:
    cmd: ls -LR data/raw/ > data/one.txt
    deps: [data/raw]
    outs: [data/one.txt]
"""


def add_raw(home: Path, files: int = 6, size: int = 2000, seed: int = 0) -> str:
    """Put incompressible files under DVC as data/raw and commit; returns the digest that data/raw.dvc names."""
    generator = np.random.default_rng(seed)
    for number in range(files):
        file = home / "data" / "raw" / f"class{number % 2}" / f"{seed}-{number}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(generator.bytes(size))
    run_dvc(Workspace(home), "add", "--quiet", "data/raw")
    commit_all(home)
    text = (home / "data" / "raw.dvc").read_text()
    return text.split("md5: ")[1].split(".dir")[0]


@pytest.fixture
def home(toy: Toy) -> Path:
    return committed(toy)


def use_remote(home: Path, folder: Path) -> None:
    """A remote with all that the cache holds."""
    folder.mkdir()
    run_dvc(Workspace(home), "remote", "add", "--default", "away", str(folder))
    commit_all(home)
    run_dvc(Workspace(home), "push", "--quiet")


def bytes_on_disk(*folders: Path) -> int:
    """Blocks of every file and folder, each inode once."""
    entries = [entry for folder in folders for entry in (folder, *folder.rglob("*"))]
    return sum({(stat.st_dev, stat.st_ino): stat.st_blocks * 512 for stat in map(os.lstat, entries)}.values())


def test_dvc_finds_the_shared_copy_as_it_finds_the_checkouts_own_folder(home: Path) -> None:
    (home / "dvc.yaml").write_text(READS_RAW)
    md5 = add_raw(home)
    with run_workspace(home, "HEAD", "reading") as workspace:
        bring_raw_data(workspace, PARAMS)
        assert workspace.raw.resolve() == raw_folder(home) / md5
        check_tree(workspace.raw)
        assert run_dvc(workspace, "status", "data/raw.dvc").strip() == "Data and pipelines are up to date."
        run_dvc(workspace, "repro", "--single-item", "listing")
        lock = workspace.dvc_lock.read_text()
        assert dvc_status(workspace) == {}
        assert git(workspace.root, "status", "--porcelain") == "?? dvc.lock"
    assert f"md5: {md5}.dir" in lock
    run_dvc(Workspace(home), "repro", "--single-item", "listing")
    assert (home / "dvc.lock").read_text() == lock


def test_a_run_of_fifty_megabytes_takes_next_to_no_room_and_the_second_none(home: Path) -> None:
    size = 50_000_000
    add_raw(home, files=500, size=size // 500)
    before = bytes_on_disk(home)
    with run_workspace(home, "HEAD", "first") as workspace:
        bring_raw_data(workspace, PARAMS)
        run_dvc(workspace, "status", "data/raw.dvc")
        assert sum(file.stat().st_size for file in workspace.raw.rglob("*.bin")) == size
        assert bytes_on_disk(home) - before < 0.02 * size
    between = bytes_on_disk(home)
    assert between - before < 0.02 * size
    with run_workspace(home, "HEAD", "second") as workspace:
        bring_raw_data(workspace, PARAMS)
        assert bytes_on_disk(raw_folder(home)) == bytes_on_disk(workspace.raw.resolve().parent)
    assert abs(bytes_on_disk(home) - between) < 20_000


def test_the_copy_is_read_only_and_made_once(home: Path) -> None:
    add_raw(home)
    made = set()
    for run_id in ("first", "second"):
        with run_workspace(home, "HEAD", run_id) as workspace:
            bring_raw_data(workspace, PARAMS)
            folder = workspace.raw.resolve()
            made.add(folder.stat().st_ino)
            assert {path.stat().st_mode & 0o222 for path in (folder, *folder.rglob("*"))} == {0}
    assert len(made) == 1
    assert sum(path.is_file() for path in folder.rglob("*")) == 6


def test_the_commit_decides_which_data_a_run_reads(home: Path) -> None:
    first = add_raw(home)
    second = add_raw(home, seed=1)
    for commit, md5, files in (("HEAD~1", first, 6), ("HEAD", second, 12)):
        with run_workspace(home, commit, f"run{files}") as workspace:
            bring_raw_data(workspace, PARAMS)
            assert workspace.raw.resolve().name == md5
            assert sum(path.is_file() for path in workspace.raw.rglob("*.bin")) == files


def test_what_the_cache_lacks_is_fetched(home: Path, tmp_path: Path) -> None:
    add_raw(home)
    use_remote(home, tmp_path / "away")
    shutil.rmtree(home / ".dvc" / "cache")
    with run_workspace(home, "HEAD", "fetching") as workspace:
        bring_raw_data(workspace, PARAMS)
        assert sum(path.is_file() for path in workspace.raw.rglob("*.bin")) == 6


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


MAKE = """
import sys
from pathlib import Path
from flows.raw_copies import bring_raw_data
from flows.worktrees import run_workspace
from tasks.params import Params

home, run_id = sys.argv[1:]
with run_workspace(Path(home), "HEAD", run_id) as workspace:
    bring_raw_data(workspace, Params.model_validate({"data": {"path": "data/raw"}}))
    print("brought", workspace.raw.resolve().stat().st_ino, flush=True)
    sys.stdin.read()
"""


def test_of_several_makers_at_once_one_makes_it_and_all_read_it(home: Path) -> None:
    md5 = add_raw(home, files=200)
    makers = [start_run(home, f"maker{number}", script=MAKE) for number in range(4)]
    seen = {wait_for_line(maker, "brought") for maker in makers}
    assert seen == {f"brought {(raw_folder(home) / md5).stat().st_ino}"}
    for maker in makers:
        maker.communicate("", timeout=60)
    assert sum(path.is_file() for path in (raw_folder(home) / md5).rglob("*")) == 200


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


def test_a_folder_below_the_one_under_dvc_is_found_in_it(home: Path) -> None:
    md5 = add_raw(home)
    with run_workspace(home, "HEAD", "below") as workspace:
        bring_raw_data(workspace, Params.model_validate({"data": {"path": "data/raw/class1"}}))
        assert (workspace.raw / "class1").resolve() == raw_folder(home) / md5 / "class1"


def test_data_in_place_the_sample_and_data_in_git_are_left_as_they_are(home: Path, tmp_path: Path) -> None:
    (home / "data" / "small").mkdir()
    (home / "data" / "small" / "a.txt").write_text("in git\n")
    commit_all(home)
    with run_workspace(home, "HEAD", "elsewhere") as workspace:
        for path in (str(tmp_path), "data/sample", "data/small"):
            bring_raw_data(workspace, Params.model_validate({"data": {"path": path}}))
        assert not (workspace.root / "data" / "small").is_symlink()
    assert not raw_folder(home).exists()


def test_table_weights_and_suite_under_dvc_come_as_files_that_take_no_room(home: Path) -> None:
    add_raw(home)
    named = {"data/labels.csv": b"path,label\n", "models/weights/own.pth": b"w" * 3_000_000, "suite.json": b"{}"}
    for name, data in named.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(data)
        run_dvc(Workspace(home), "add", "--quiet", name)
    commit_all(home)
    table, weights, suite = named
    sections = {"data": {"path": "data/raw", "table": table}, "validate": {"suite": suite}}
    params = Params.model_validate({**sections, "backbone": {"weights": weights}})
    with run_workspace(home, "HEAD", "files") as workspace:
        before = bytes_on_disk(home)
        bring_raw_data(workspace, params)
        assert {name: (workspace.root / name).read_bytes() for name in named} == named
        assert bytes_on_disk(home) - before < 100_000
        status = run_dvc(workspace, "status", *(f"{name}.dvc" for name in named))
        assert status.strip() == "Data and pipelines are up to date."


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"data": {"path": "data/raw"}}, r"data\.path: data/raw is neither .*`graft data add`.*in place"),
        ({"backbone": {"weights": "own.pth"}}, r"backbone\.weights: own\.pth is neither .*`graft backbone add`"),
        ({"validate": {"suite": "suite.json"}}, r"validate\.suite: suite\.json is neither .*commit it"),
    ],
)
def test_what_neither_git_nor_dvc_has_is_named_with_its_key(
    home: Path, params: dict[str, object], message: str
) -> None:
    for name in ("data/raw/a", "own.pth", "suite.json"):
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text("not committed\n")
    with run_workspace(home, "HEAD", "no") as workspace, pytest.raises(DataError, match=message):
        bring_raw_data(workspace, Params.model_validate(params))


def test_the_checkout_itself_keeps_its_own_folder(home: Path) -> None:
    add_raw(home)
    bring_raw_data(Workspace(home), PARAMS)
    assert not (home / "data" / "raw").is_symlink()


def test_where_the_disk_can_share_nothing_the_file_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"content")
    source.chmod(0o444)

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr("flows.file_sharing.os.link", refuse)
    monkeypatch.setattr("flows.file_sharing.fcntl.ioctl", refuse)
    assert share_file(source, target) == "copy"
    assert target.read_bytes() == b"content"
    assert (target.stat().st_ino == source.stat().st_ino, target.stat().st_mode & 0o777) == (False, 0o444)


def test_a_full_disk_leaves_no_half_copy(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_raw(home)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "here")

    monkeypatch.setattr("flows.raw_copies.share_file", full)
    with run_workspace(home, "HEAD", "full") as workspace, pytest.raises(WorkspaceError, match=r"No space left.*free"):
        bring_raw_data(workspace, PARAMS)
    assert list(raw_folder(home).glob("[!.]*")) == []


def test_gc_keeps_what_this_checkout_or_a_living_run_names_and_gives_back_the_rest(home: Path) -> None:
    old = add_raw(home)
    now = add_raw(home, seed=1)
    for commit in ("HEAD", "HEAD~1"):
        with run_workspace(home, commit, "brief") as workspace:
            bring_raw_data(workspace, PARAMS)
    with run_workspace(home, "HEAD~1", "living") as workspace:
        bring_raw_data(workspace, PARAMS)
        done = collect_garbage(Workspace(home), max_bytes=0)
        assert {piece.name for piece in done.removed if piece.kind == "raw data"} == set()
        assert not remove_raw_copy(Workspace(home), old)
    done = collect_garbage(Workspace(home), dry_run=True)
    assert {piece.name for piece in done.removed if piece.kind == "raw data"} == {old}
    collect_garbage(Workspace(home))
    assert {path.name for path in raw_folder(home).iterdir() if path.is_dir()} == {now}
    with run_workspace(home, "HEAD~1", "again") as workspace:
        bring_raw_data(workspace, PARAMS)
        assert workspace.raw.resolve().name == old

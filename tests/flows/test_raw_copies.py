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
from tasks.errors import DataError
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

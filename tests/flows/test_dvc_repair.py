"""Everything that a killed command was seen to leave in DVC's way."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_workspace import Toy

from flows import dvc_repair
from flows.dvc_commands import dvc_status, run_dvc
from flows.dvc_repair import back_up_dvc_lock, repair
from tasks.errors import WorkspaceError
from tasks.reports import replacing
from tasks.workspace import Workspace

LOCK = """\
schema: '2.0'
stages:
  one:
    cmd: python toy_stage.py one data/zero.txt data/one.txt
    deps:
    - path: data/zero.txt
      hash: md5
      md5: ff2f1e9ad9d8d8ce1f6a26f55ca1ac4c
      size: 5
"""
LATER = 4102444800.0
"""The first second of the year 2100: after the start of every process of today."""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    return Workspace(tmp_path.resolve())


def rwlock(workspace: Workspace) -> Path:
    return workspace.root / ".dvc" / "tmp" / "rwlock"


def lock_out(workspace: Workspace, pid: int, command: str, when: float = LATER) -> None:
    """A rwlock as DVC writes it while `command` works on data/one.txt."""
    entry = {"pid": pid, "cmd": command}
    source, target = (str(workspace.root / "data" / name) for name in ("zero.txt", "one.txt"))
    rwlock(workspace).write_text(json.dumps({"write": {target: entry}, "read": {source: [entry]}}))
    os.utime(rwlock(workspace), (when, when))


@pytest.fixture
def living() -> Iterator[subprocess.Popen[bytes]]:
    """A process with the arguments `repro one`."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "repro", "one"])
    yield process
    process.kill()
    process.wait()


def test_a_healthy_workspace_is_left_alone(workspace: Workspace) -> None:
    workspace.dvc_lock.write_text(LOCK)
    rwlock(workspace).write_text("{}")
    assert repair(workspace) == []
    assert workspace.dvc_lock.read_text() == LOCK
    assert rwlock(workspace).exists()


def test_a_workspace_without_dvc_is_left_alone(tmp_path: Path) -> None:
    assert repair(Workspace(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", ["", "{", "null", "[]", '{"write": {"a": 1}}', '{"write": {"a": {"pid": "x", "cmd": ""}}}', "\x00\x00"]
)
def test_an_unreadable_rwlock_is_removed(workspace: Workspace, content: str) -> None:
    rwlock(workspace).write_text(content)
    assert repair(workspace) == ["removed .dvc/tmp/rwlock (unreadable: a DVC command was killed while it wrote it)"]
    assert not rwlock(workspace).exists()


def test_a_rwlock_of_a_dead_process_is_removed(workspace: Workspace) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    lock_out(workspace, process.pid, "dvc repro one")
    assert repair(workspace) == [f"removed .dvc/tmp/rwlock (left by the killed DVC process {process.pid})"]


def test_a_rwlock_older_than_the_process_that_has_its_pid_now_is_removed(
    workspace: Workspace, living: subprocess.Popen[bytes]
) -> None:
    lock_out(workspace, living.pid, "dvc repro one", when=1_000_000_000.0)
    assert repair(workspace) == [f"removed .dvc/tmp/rwlock (left by the killed DVC process {living.pid})"]


def test_a_rwlock_whose_pid_belongs_to_another_command_now_is_removed(
    workspace: Workspace, living: subprocess.Popen[bytes]
) -> None:
    lock_out(workspace, living.pid, "dvc checkout")
    assert len(repair(workspace)) == 1


def test_a_living_dvc_command_keeps_its_rwlock(workspace: Workspace, living: subprocess.Popen[bytes]) -> None:
    lock_out(workspace, living.pid, "/usr/bin/dvc repro one")
    assert repair(workspace) == []
    assert rwlock(workspace).exists()


def test_a_rwlock_that_a_dvc_command_is_writing_now_is_not_taken_for_broken(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dvc_repair, "GUARD_SECONDS", 0.2)
    rwlock(workspace).write_text("")
    with rwlock(workspace).with_name("rwlock.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        assert repair(workspace) == []
    assert rwlock(workspace).exists()


@pytest.mark.parametrize("cut", [0, 5, 13, 22, 30, 60, 130, len(LOCK) - 9, len(LOCK) - 1])
def test_a_dvc_lock_that_was_cut_off_is_restored(workspace: Workspace, cut: int) -> None:
    workspace.dvc_lock.write_text(LOCK)
    back_up_dvc_lock(workspace)
    workspace.dvc_lock.write_text(LOCK[:cut])
    assert repair(workspace) == ["restored dvc.lock from the copy made before the interrupted stage (it was cut off)"]
    assert workspace.dvc_lock.read_text() == LOCK


def test_a_broken_dvc_lock_without_a_copy_is_removed_and_kept_aside(workspace: Workspace) -> None:
    workspace.dvc_lock.write_text("schema: ")
    assert "removed dvc.lock" in repair(workspace)[0]
    assert not workspace.dvc_lock.exists()
    assert (workspace.private / "backup" / "dvc.lock.broken").read_text() == "schema: "


def test_a_broken_dvc_lock_is_never_backed_up(workspace: Workspace) -> None:
    workspace.dvc_lock.write_text(LOCK)
    back_up_dvc_lock(workspace)
    workspace.dvc_lock.write_text("")
    back_up_dvc_lock(workspace)
    repair(workspace)
    assert workspace.dvc_lock.read_text() == LOCK


def test_an_unresolved_merge_in_dvc_lock_is_the_users_to_resolve(workspace: Workspace) -> None:
    merge = LOCK + "<<<<<<< HEAD\n  two: 1\n=======\n  two: 2\n>>>>>>> other\n"
    workspace.dvc_lock.write_text(LOCK)
    back_up_dvc_lock(workspace)
    workspace.dvc_lock.write_text(merge)
    with pytest.raises(WorkspaceError, match="unresolved merge"):
        repair(workspace)
    assert workspace.dvc_lock.read_text() == merge


def test_drafts_of_interrupted_writes_are_removed_and_the_users_files_stay(workspace: Workspace) -> None:
    killed = "import os, sys; from pathlib import Path; from tasks.reports import replacing\n"
    killed += "for name in sys.argv[1:]:\n    draft = replacing(Path(name)).__enter__(); draft.write_text('half')\n"
    targets = ["data/items.parquet", "models/adapted/head.safetensors", "reports/gate.json", "data/raw/cat/photo.png"]
    subprocess.run([sys.executable, "-c", killed + "os._exit(9)", *targets], cwd=workspace.root, check=False)
    kept = workspace.root / "reports" / ".notes.tmp"
    kept.write_text("mine")
    assert len(repair(workspace)) == 3
    left = list(workspace.root.rglob("*.tmp"))
    assert kept in left
    assert [path.parent for path in left if path != kept] == [workspace.raw / "cat"]


def test_a_draft_that_is_being_written_stays(workspace: Workspace) -> None:
    with replacing(workspace.verdict) as draft:
        draft.write_text("half")
        assert repair(workspace) == []
    assert workspace.verdict.read_text() == "half"


@pytest.mark.parametrize("content", ["", pytest.param('{"write": {', marks=pytest.mark.slow)])
def test_dvc_is_blocked_by_a_broken_rwlock_and_a_stage_runs_all_the_same(finished: Toy, content: str) -> None:
    rwlock(finished.workspace).write_text(content)
    with pytest.raises(WorkspaceError, match="corrupted"):
        run_dvc(finished.workspace, "repro", "one")
    assert finished.run("one").state == "unchanged"


def test_dvc_is_blocked_by_a_pid_that_lives_again_and_a_stage_runs_all_the_same(finished: Toy) -> None:
    lock_out(finished.workspace, os.getpid(), "dvc repro one")
    with pytest.raises(WorkspaceError, match="another DVC command is working"):
        run_dvc(finished.workspace, "repro", "one")
    assert finished.run("one").state == "unchanged"


@pytest.mark.parametrize("until", [b"", b"    dep"], ids=["empty", "truncated"])
def test_dvc_is_blocked_by_a_broken_dvc_lock_and_a_stage_runs_all_the_same(finished: Toy, until: bytes) -> None:
    workspace = finished.workspace
    healthy = workspace.dvc_lock.read_bytes()
    back_up_dvc_lock(workspace)
    workspace.dvc_lock.write_bytes(healthy[: healthy.index(until) + len(until)])
    with pytest.raises(WorkspaceError, match=r"dvc\.lock"):
        dvc_status(workspace)
    assert finished.run("one").state == "unchanged"
    assert workspace.dvc_lock.read_bytes() == healthy


def test_without_a_copy_the_run_cache_gives_the_outs_back(finished: Toy) -> None:
    workspace = finished.workspace
    healthy = workspace.dvc_lock.read_bytes()
    (workspace.private / "backup" / "dvc.lock").unlink(missing_ok=True)
    workspace.dvc_lock.write_bytes(b"")
    lines: list[str] = []
    assert finished.run("one", on_line=lines.append).state == "unchanged"
    assert "removed dvc.lock" in lines[0]
    assert workspace.dvc_lock.read_bytes() == healthy


def test_dvc_is_blocked_by_an_empty_folder_of_its_run_cache_and_a_stage_runs_all_the_same(finished: Toy) -> None:
    workspace = finished.workspace
    records = [path for path in (workspace.root / ".dvc" / "cache" / "runs").glob("*/*/*") if path.is_file()]
    assert records
    for record in records:
        record.unlink()
    workspace.dvc_lock.unlink()
    (workspace.private / "backup" / "dvc.lock").unlink(missing_ok=True)
    with pytest.raises(WorkspaceError, match="join"):
        run_dvc(workspace, "repro", "one")
    assert finished.run("one").state == "done"

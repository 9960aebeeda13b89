"""Runs in worktrees that are killed at any moment: nothing of them stays, and what lives is never touched."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from run_scene import RUN, commit_all, committed, contents, git, start_run, traces, wait_for_line
from toy_workspace import Toy, wait_for

from flows.doctor import left_behind
from flows.forget_runs import forget_runs
from flows.gc import collect_garbage
from flows.processes import marked_processes, marks
from flows.run_claims import claim_file, claims_guard, worktrees_folder
from flows.stage_process import run_stage_process
from flows.worktrees import clear_dead, dead_runs, living_workspaces, run_workspace
from tasks.errors import WorkspaceError
from tasks.workspace import Workspace


@pytest.fixture
def home(toy: Toy) -> Path:
    return committed(toy)


@pytest.fixture(autouse=True)
def nothing_survives(tmp_path: Path) -> Iterator[None]:
    """End whatever a test's killed runs left behind, so that a failing test harms no other."""
    yield
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.cwd().startswith(str(tmp_path.resolve())):
                process.kill()
        except (psutil.Error, OSError):
            continue


def clear(home: Path) -> list[str]:
    with claims_guard(home):
        return clear_dead(home)


def test_the_next_run_clears_up_after_one_that_was_killed_and_ends_its_processes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_one", "scatter")
    killed = start_run(home, "killed", "one")
    wait_for_line(killed, "hanging")
    root = home / ".graft" / "worktrees" / "killed"
    left = marked_processes(marks(root, "killed"))
    assert len(left) >= 2
    killed.kill()
    killed.wait()
    assert dead_runs(home) == ["killed"]
    with run_workspace(home, "HEAD", "next"):
        assert not any(process.is_running() and process.status() != "zombie" for process in left)
        assert not root.exists()
    assert traces(home) == []


def test_one_that_lives_is_never_touched(home: Path) -> None:
    living = start_run(home, "living")
    root = Path(wait_for_line(living, "ready").split()[1])
    before = contents(root, [".dvc/tmp"])
    assert clear(home) == []
    collect_garbage(Workspace(home), max_bytes=0, keep_runs=0)
    with run_workspace(home, "HEAD", "other"):
        assert {workspace.root.name for workspace in living_workspaces(home)} == {"living", "other"}
    assert contents(root, [".dvc/tmp"]) == before
    assert git(home, "rev-parse", "graft/run/living") == git(home, "rev-parse", "HEAD")
    assert living.communicate("", timeout=30)[0].endswith("gone\n")
    assert traces(home) == []


KILLED_AT = """
import os, signal, sys
from flows import worktrees

name, when = sys.argv[3].split(":")
real = getattr(worktrees, name)

def killed(*arguments, **more):
    if when == "after":
        result = real(*arguments, **more)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(worktrees, name, killed)
sys.argv = sys.argv[:3]
"""
STEPS = ("_made", "write_bytes", "lend_dvc", "ensure_dvc", "_keep_reports", "discard", "remove_worktree")
ALWAYS = {"_made:before", "write_bytes:before", "discard:after"}
MOMENTS = [
    moment if moment in ALWAYS else pytest.param(moment, marks=pytest.mark.slow)
    for moment in (f"{step}:{when}" for step in STEPS for when in ("before", "after"))
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_whatever_a_killed_run_was_at_nothing_of_it_stays(home: Path, moment: str) -> None:
    script = KILLED_AT + RUN.replace("sys.stdin.read()", "pass")
    killed = start_run(home, "killed", moment, script=script)
    assert killed.wait(60) == -signal.SIGKILL
    clear(home)
    assert traces(home) == []
    git(home, "fsck", "--strict")


@pytest.mark.parametrize("git_dies_too", [False, True])
def test_killed_while_git_makes_the_worktree_nothing_of_it_stays(home: Path, git_dies_too: bool) -> None:
    (home / ".gitattributes").write_text("slow.txt filter=slow\n")
    (home / "slow.txt").write_text("slow\n")
    commit_all(home)
    git(home, "config", "filter.slow.smudge", "sleep 600")
    killed = start_run(home, "killed")
    root = worktrees_folder(home) / "killed"
    sleeping = wait_for(lambda: next((p for p in marked_processes(marks(root, "killed")) if p.name() == "sleep"), None))
    assert "killed" in os.listdir(home / ".git" / "worktrees")  # noqa: PTH208 - of git's own folder
    killed.kill()
    killed.wait()
    if git_dies_too:
        for process in marked_processes(marks(root, "killed")):
            process.kill()
        wait_for(lambda: True if not sleeping.is_running() or sleeping.status() == "zombie" else None)
    git(home, "config", "filter.slow.smudge", "cat")
    with run_workspace(home, "HEAD", "next"):
        assert not sleeping.is_running() or sleeping.status() == "zombie"
    assert traces(home) == []


@pytest.mark.slow
def test_killed_at_random_times_nothing_of_any_run_stays(home: Path) -> None:
    generator = np.random.default_rng(8)
    for number, seconds in enumerate(generator.uniform(0.3, 2.5, size=12)):
        run = start_run(home, f"killed{number}", "one", "two")
        time.sleep(seconds)
        os.killpg(run.pid, signal.SIGKILL) if number % 2 else run.kill()
        run.wait()
    with run_workspace(home, "HEAD", "next") as workspace:
        assert run_stage_process(workspace, "one", "next", 60, print).state in ("done", "unchanged")
    assert traces(home) == []


def test_a_killed_run_that_cannot_be_cleared_up_stops_forgetting_and_no_other_run(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = start_run(home, "killed")
    wait_for_line(killed, "ready")
    killed.kill()
    killed.wait()

    def hang(*_: object) -> bool:
        raise WorkspaceError("process 7 still lives and does not react to SIGKILL")

    with monkeypatch.context() as patch:
        patch.setattr("flows.worktrees.end_dead_run", hang)
        with run_workspace(home, "HEAD", "next"):
            assert "what run killed left, which was killed, stays for now: process 7" in capsys.readouterr().err
        assert dead_runs(home) == ["killed"]
        with pytest.raises(WorkspaceError, match=r"could not be removed: .*killed"):
            forget_runs(Workspace(home))
    forget_runs(Workspace(home))
    assert traces(home) == []


def test_a_run_waits_for_whoever_collects_and_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("flows.run_claims.PATIENCE_SECONDS", 0.1)
    begun, ended = threading.Event(), threading.Event()

    def collect() -> None:
        with claims_guard(home):
            begun.set()
            wait_for(lambda: True if "waiting for `graft gc`" in capsys.readouterr().err else None)
            ended.set()

    collecting = threading.Thread(target=collect)
    collecting.start()
    assert begun.wait(30)
    with run_workspace(home, "HEAD", "patient"):
        assert ended.is_set()
    collecting.join()
    monkeypatch.setattr("flows.run_claims.GUARD_SECONDS", 0.1)
    with claims_guard(home), pytest.raises(WorkspaceError, match=r"held for 0 minutes; .*fuser"):
        clear(home)


def test_the_branch_of_a_killed_run_stays_where_a_commit_stands_on_it(home: Path) -> None:
    killed = start_run(home, "killed")
    root = Path(wait_for_line(killed, "ready").split()[1])
    (root / "params.yaml").write_text("{by: the run}\n")
    commit_all(root)
    killed.kill()
    killed.wait()
    assert clear(home) == ["removed the worktree of run killed, which was killed"]
    assert traces(home) == ["refs/heads/graft/run/killed"]


def test_a_claim_that_was_cut_off_loses_no_branch(home: Path) -> None:
    killed = start_run(home, "killed")
    wait_for_line(killed, "ready")
    killed.kill()
    killed.wait()
    claim_file(home, "killed").write_bytes(b'{"holder": {"pi')
    clear(home)
    assert traces(home) == ["refs/heads/graft/run/killed"]


def test_worktrees_of_the_users_own_are_left_alone_even_where_their_disk_is_away(home: Path, tmp_path: Path) -> None:
    git(home, "worktree", "add", "--quiet", "-b", "mine", str(tmp_path / "mine"))
    (tmp_path / "mine").rename(tmp_path / "away")
    killed = start_run(home, "killed")
    wait_for_line(killed, "ready")
    killed.kill()
    killed.wait()
    collect_garbage(Workspace(home))
    (tmp_path / "away").rename(tmp_path / "mine")
    assert git(tmp_path / "mine", "status", "--porcelain") == ""
    assert [path.name for path in (home / ".git" / "worktrees").iterdir()] == ["mine"]


def test_a_worktree_whose_folder_was_removed_by_hand_is_forgotten_by_git(home: Path) -> None:
    killed = start_run(home, "killed")
    wait_for_line(killed, "ready")
    killed.kill()
    killed.wait()
    subprocess.run(["rm", "-r", str(home / ".graft")], check=True)
    clear(home)
    assert traces(home) == ["refs/heads/graft/run/killed"]


def test_doctor_names_what_killed_runs_left_and_the_mend(home: Path) -> None:
    well = left_behind(Workspace(home))
    assert (well.state, well.mend) == ("ok", "")
    killed = start_run(home, "killed")
    wait_for_line(killed, "ready")
    killed.kill()
    killed.wait()
    found = left_behind(Workspace(home))
    assert found.state == "note"
    assert "killed" in found.detail
    assert "graft gc" in found.mend

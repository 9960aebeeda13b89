"""One run per workspace, and what happens to what a dead one left."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_workspace import Toy

from flows.processes import RUN_ID, WORKSPACE, start_mark
from flows.workspace_lock import LockHolder, workspace_lock
from tasks.errors import WorkspaceError
from tasks.workspace import Workspace

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path.resolve())


@pytest.fixture
def sleeper(workspace: Workspace) -> Iterator[subprocess.Popen[bytes]]:
    """A process that carries the marks of run `dead` in this workspace."""
    process = subprocess.Popen(SLEEP, env={**os.environ, RUN_ID: "dead", WORKSPACE: str(workspace.root)})
    yield process
    process.kill()
    process.wait()


def record(workspace: Workspace, pid: int, start: str, run_id: str = "dead") -> None:
    """Leave a lock file as a killed run does."""
    workspace.private.mkdir(exist_ok=True)
    holder = LockHolder(pid=pid, start=start, run_id=run_id, since="2026-01-02T03:04:05+00:00")
    workspace.lock.write_text(holder.model_dump_json())


def test_a_busy_workspace_names_the_run_that_holds_it(workspace: Workspace) -> None:
    with workspace_lock(workspace, "first"):
        since = LockHolder.model_validate_json(workspace.lock.read_text()).since
        with (
            pytest.raises(WorkspaceError, match=rf"run first \(process {os.getpid()}\)") as error,
            workspace_lock(workspace, "second"),
        ):
            pass
    assert since in str(error.value)


def test_a_refused_second_run_leaves_the_first_ones_record(workspace: Workspace) -> None:
    with workspace_lock(workspace, "first"):
        with pytest.raises(WorkspaceError), workspace_lock(workspace, "second"):
            pass
        assert LockHolder.model_validate_json(workspace.lock.read_text()).run_id == "first"


def test_the_workspace_is_free_again_afterwards_whatever_was_raised(workspace: Workspace) -> None:
    with pytest.raises(KeyboardInterrupt), workspace_lock(workspace, "first"):
        raise KeyboardInterrupt
    with workspace_lock(workspace, "second") as mended:
        assert mended == []
    assert workspace.lock.read_text() == ""


def test_of_many_runs_at_once_one_at_a_time_holds_the_workspace(workspace: Workspace) -> None:
    inside, most, refused = [], [], []
    barrier, done = threading.Barrier(6), threading.Event()

    def run(name: str) -> None:
        barrier.wait()
        try:
            with workspace_lock(workspace, name):
                inside.append(name)
                most.append(len(inside))
                done.wait(10)
                inside.remove(name)
        except WorkspaceError:
            refused.append(name)
            if len(refused) == 5:
                done.set()

    threads = [threading.Thread(target=run, args=(f"run-{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert len(refused) == 5


def test_processes_of_a_dead_run_are_ended_and_named(workspace: Workspace, sleeper: subprocess.Popen[bytes]) -> None:
    record(workspace, pid=_dead_pid(), start="an earlier boot:1")
    with workspace_lock(workspace, "next") as mended:
        assert sleeper.wait(0) is not None
    assert mended == [f"ended what the killed run dead had left running (process {sleeper.pid})"]


def test_whatever_a_killed_run_had_started_is_ended_by_the_next(workspace: Workspace) -> None:
    code = f"""
import subprocess, sys, time
from pathlib import Path
from flows.workspace_lock import workspace_lock
from tasks.workspace import Workspace
with workspace_lock(Workspace(Path({str(workspace.root)!r})), "killed"):
    print(subprocess.Popen({SLEEP!r}, stdout=subprocess.DEVNULL).pid, flush=True)
    time.sleep(600)
"""
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert run.stdout is not None
    child = int(run.stdout.readline())
    run.kill()
    run.wait()
    with workspace_lock(workspace, "next") as mended:
        assert mended == [f"ended what the killed run killed had left running (process {child})"]


def test_the_environment_is_as_before_once_the_lock_is_free(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUN_ID, "before")
    monkeypatch.delenv(WORKSPACE, raising=False)
    with workspace_lock(workspace, "run"):
        assert (os.environ[RUN_ID], os.environ[WORKSPACE]) == ("run", str(workspace.root))
    assert os.environ[RUN_ID] == "before"
    assert WORKSPACE not in os.environ


def test_a_holder_whose_pid_lives_again_counts_as_dead(workspace: Workspace, sleeper: subprocess.Popen[bytes]) -> None:
    record(workspace, pid=os.getpid(), start="an earlier boot:1")
    with workspace_lock(workspace, "next") as mended:
        assert str(sleeper.pid) in mended[0]


@pytest.mark.parametrize(
    "marks",
    [{}, {RUN_ID: "dead"}, {RUN_ID: "dead", WORKSPACE: "/elsewhere"}, {RUN_ID: "other"}],
    ids=["no marks", "run only", "other workspace", "other run"],
)
def test_a_stranger_is_never_ended(workspace: Workspace, marks: dict[str, str]) -> None:
    stranger = subprocess.Popen(SLEEP, env={**os.environ, **marks})
    record(workspace, pid=stranger.pid, start="an earlier boot:1")
    with workspace_lock(workspace, "next") as mended:
        assert mended == []
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


@pytest.mark.parametrize("content", [b"", b"{", b'{"pid": 1}', b"\xff\x00" * 100])
def test_an_unreadable_record_does_not_matter(workspace: Workspace, content: bytes) -> None:
    workspace.private.mkdir()
    workspace.lock.write_bytes(content)
    with workspace_lock(workspace, "next") as mended:
        assert mended == []


def test_a_folder_in_the_locks_place_is_named(workspace: Workspace) -> None:
    workspace.lock.mkdir(parents=True)
    with pytest.raises(WorkspaceError, match="cannot be opened"), workspace_lock(workspace, "run"):
        pass


def test_a_zombie_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    assert os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT) is not None
    assert start_mark(process.pid) is None
    process.wait()


def test_a_child_of_a_dead_run_that_still_holds_the_lock_is_ended(workspace: Workspace) -> None:
    workspace.private.mkdir()
    descriptor = os.open(workspace.lock, os.O_RDWR | os.O_CREAT)
    code = f"import fcntl, time; fcntl.flock({descriptor}, fcntl.LOCK_EX); print('held', flush=True); time.sleep(600)"
    marks = {RUN_ID: "dead", WORKSPACE: str(workspace.root)}
    child = subprocess.Popen(
        [sys.executable, "-c", code], pass_fds=[descriptor], env={**os.environ, **marks}, stdout=subprocess.PIPE
    )
    os.close(descriptor)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    record(workspace, pid=_dead_pid(), start="an earlier boot:1")
    with workspace_lock(workspace, "next"):
        assert child.wait(5) != 0


def test_two_runs_at_once_give_one_result_and_one_clear_refusal(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_SECONDS", "2")
    runs = [toy.drive(f"run-{number}", "one") for number in range(2)]
    outputs = [run.communicate(timeout=60)[0] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 1]
    refused = outputs[[run.returncode for run in runs].index(1)]
    assert "is busy: run run-" in refused
    assert "Traceback" not in refused


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid

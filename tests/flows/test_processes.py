"""Which processes belong to a run, and how they end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows import processes
from flows.processes import end_marked_processes, lived_at, marked_processes, marks, start_mark
from tasks.errors import WorkspaceError

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);print('up', flush=True); time.sleep(600)"


def start(root: Path, code: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **marks(root, "run", "embed")}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


def test_a_process_that_ignores_term_is_killed_after_the_grace(tmp_path: Path) -> None:
    process = start(tmp_path, STUBBORN)
    assert end_marked_processes(marks(tmp_path, "run"), grace_seconds=0.3) == [process.pid]
    assert process.wait(5) == -9


@pytest.mark.parametrize("other", [("run", "split"), ("other", "embed")], ids=["stage", "run"])
def test_only_processes_with_all_the_marks_are_found(tmp_path: Path, other: tuple[str, str]) -> None:
    process = start(tmp_path, "print('up', flush=True); import time; time.sleep(600)")
    assert [found.pid for found in marked_processes(marks(tmp_path, "run", "embed"))] == [process.pid]
    assert marked_processes(marks(tmp_path, *other)) == []
    assert marked_processes(marks(tmp_path / "elsewhere", "run")) == []
    process.kill()
    process.wait()


def test_a_run_without_processes_has_nothing_to_end(tmp_path: Path) -> None:
    assert end_marked_processes(marks(tmp_path, "run")) == []


def test_this_process_is_never_among_those_of_a_run(tmp_path: Path) -> None:
    code = (
        "import os; from pathlib import Path; from flows.processes import marked_processes, marks;"
        f"print('up'); print(marked_processes(marks(Path({str(tmp_path)!r}), 'run')))"
    )
    process = start(tmp_path, code)
    assert process.stdout is not None
    assert process.stdout.read() == b"[]\n"
    process.wait()


def test_a_process_that_cannot_be_ended_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = start(tmp_path, STUBBORN)
    monkeypatch.setattr(processes, "KILL_SECONDS", 0.2)
    monkeypatch.setattr("psutil.Process.send_signal", lambda *_: None)
    with pytest.raises(WorkspaceError, match=rf"process {process.pid} of the ended run run"):
        end_marked_processes(marks(tmp_path, "run"), grace_seconds=0.1)
    assert [found.pid for found in marked_processes(marks(tmp_path, "run"))] == [process.pid]
    process.kill()
    process.wait()


def test_the_start_mark_stays_and_differs_between_processes(tmp_path: Path) -> None:
    first, second = (start(tmp_path, "print('up', flush=True); import time; time.sleep(600)") for _ in range(2))
    time.sleep(0.05)
    starts = [start_mark(process.pid) for process in (first, second)]
    assert start_mark(first.pid) == starts[0]
    assert start_mark(os.getpid()) not in starts
    for process in (first, second):
        process.kill()
        process.wait()
    assert [start_mark(process.pid) for process in (first, second)] == [None, None]


def test_a_process_did_not_live_before_it_started() -> None:
    assert lived_at(os.getpid(), time.time())
    assert not lived_at(os.getpid(), 1_000_000_000.0)
    assert not lived_at(2**40, time.time())

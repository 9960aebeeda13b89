"""The supervisor: forwards the exit code, and lets nothing live once its wrapper is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from toy_workspace import wait_for

from flows import supervisor

GRACE_SECONDS = "0.5"

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
SCATTERED = (
    "import subprocess, sys, time;"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True);"
    "print('up', flush=True)"
)


def supervise(code: str, **options: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-S", supervisor.__file__, GRACE_SECONDS, sys.executable, "-c", code]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, bufsize=0, **options
    )


def started(code: str) -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
    """A supervised program that said `up`, and all processes below the supervisor."""
    process = supervise(code)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process, psutil.Process(process.pid).children(recursive=True)


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("pass", 0),
        ("raise SystemExit(7)", 7),
        ("raise SystemExit(255)", 255),
        ("import os; os.kill(os.getpid(), 9)", 137),
        ("import os; os.abort()", 134),
    ],
)
def test_the_exit_code_is_the_commands(code: str, expected: int) -> None:
    assert supervise(code).wait(10) == expected


def test_an_undisturbed_command_reads_nothing_from_the_pipe() -> None:
    process = supervise("import sys; print(repr(sys.stdin.read()))")
    assert process.stdout is not None
    assert process.stdout.read() == b"''\n"


def close_the_pipe(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()


@pytest.mark.parametrize("end", [close_the_pipe, subprocess.Popen.terminate], ids=["pipe", "TERM"])
@pytest.mark.parametrize("code", [STUBBORN, f"{SCATTERED}; time.sleep(600)"], ids=["stubborn", "scattered"])
def test_everything_below_ends_when_the_wrapper_is_gone(code: str, end: Callable[..., None]) -> None:
    process, below = started(code)
    assert below
    end(process)
    assert process.wait(10) in (128 + signal.SIGTERM, 128 + signal.SIGKILL)
    assert all_gone(below)


def test_a_command_may_use_its_grace_to_clean_up() -> None:
    code = (
        "import signal, sys, time;"
        "signal.signal(signal.SIGTERM, lambda *_: (print('cleaned', flush=True), sys.exit(5)));"
        "print('up', flush=True); time.sleep(600)"
    )
    process, _ = started(code)
    close_the_pipe(process)
    assert process.stdout is not None
    assert process.stdout.read() == b"cleaned\n"
    assert process.wait(5) == 5


def test_what_a_finished_command_left_in_the_background_is_ended() -> None:
    process = supervise(SCATTERED)
    assert process.stdout is not None
    begin = time.monotonic()
    process.stdout.read()  # ends only once nobody holds the pipe any more
    assert process.wait(5) == 0
    assert time.monotonic() - begin < 5


def test_a_dead_wrapper_is_noticed_although_somebody_still_holds_its_pipe(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    pid_file = tmp_path / "pid"
    wrapper = f"""
import os, subprocess, sys
process = subprocess.Popen({[sys.executable, "-I", "-S", supervisor.__file__, GRACE_SECONDS]!r} +
    [sys.executable, "-c", "import time; time.sleep(600)"], stdin={read_end}, start_new_session=True)
open({str(pid_file)!r}, "w").write(str(process.pid))
process.wait()
"""
    wrapping = subprocess.Popen([sys.executable, "-c", wrapper], pass_fds=[read_end])
    os.close(read_end)
    pid = wait_for(lambda: pid_file.read_text() or None if pid_file.exists() else None)
    below = wait_for(lambda: psutil.Process(int(pid)).children() or None)
    wrapping.kill()
    wrapping.wait()
    wait_for(lambda: True if all_gone(below) else None, 5)
    os.close(write_end)

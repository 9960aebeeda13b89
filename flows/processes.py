"""Which processes belong to a run, and how the last of them is ended.

Every process of a stage carries the run's id and the workspace in its environment. DVC closes inherited descriptors
before it starts a stage, so a lock's descriptor does not reach the process that writes; the environment does.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tasks.errors import WorkspaceError

RUN_ID = "GRAFT_RUN_ID"
WORKSPACE = "GRAFT_WORKSPACE"

GRACE_SECONDS = 5.0
KILL_SECONDS = 10.0


def start_mark(pid: int) -> str | None:
    """What tells the process `pid` from a later one of the same number; None if it is dead or a zombie.

    Boot id and start tick rather than a time of day: a clock that is set while a run works must not make it look dead.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _start_time(pid)
    except ProcessLookupError:
        return None
    return None if fields[0] in (b"Z", b"X") else f"{boot}:{int(fields[19])}"


def lived_at(pid: int, when: float) -> bool:
    """True if the process that has this pid now was already there at `when` (seconds since the epoch)."""
    try:
        process = psutil.Process(pid)
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= when + 1.0)
    except (psutil.Error, ValueError, OverflowError):
        return False


def run_processes(root: Path, run_id: str) -> list[psutil.Process]:
    """The living processes, other than this one, that the run `run_id` started in the workspace `root`."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            environment = process.environ()
            if (environment.get(RUN_ID), environment.get(WORKSPACE)) == (run_id, str(root)):
                found.append(process)
    return [process for process in found if process.pid != os.getpid()]


def end_run_processes(root: Path, run_id: str, grace_seconds: float = GRACE_SECONDS) -> list[int]:
    """End every process of a run: TERM, then KILL after the grace.

    Returns:
        The pids that were ended, sorted; empty if the run had left none.
    Raises:
        WorkspaceError: a process outlives KILL (it hangs in the kernel, or belongs to another user).
    """
    ended: set[int] = set()
    for signal_number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, KILL_SECONDS)):
        signalled: set[int] = set()
        deadline = time.monotonic() + seconds
        while living := run_processes(root, run_id):
            if time.monotonic() > deadline:
                break
            for process in living:
                if process.pid not in signalled:
                    signalled.add(process.pid)
                    with suppress(psutil.Error):
                        process.send_signal(signal_number)
            ended |= signalled
            time.sleep(0.05)
        else:
            return sorted(ended)
    pids = ", ".join(str(process.pid) for process in living)
    raise WorkspaceError(
        f"process {pids} of the ended run {run_id} still lives in {root} and does not react to SIGKILL; "
        "end it (often a hung disk or network mount), then run again"
    )


def _start_time(pid: int) -> str | None:
    try:
        return str(psutil.Process(pid).create_time())
    except psutil.Error:
        return None

"""Which processes belong to a run, and how the last of them is ended.

Every process that a run starts carries the run's id and the workspace in its environment, a stage's also the stage. DVC
closes inherited descriptors before it starts a stage, so the lock's does not reach the process that writes; the
environment does.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tasks.errors import WorkspaceError

RUN_ID = "GRAFT_RUN_ID"
WORKSPACE = "GRAFT_WORKSPACE"
STAGE = "GRAFT_STAGE"

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


def marks(root: Path, run_id: str, stage: str | None = None) -> dict[str, str]:
    """The environment variables by which a process is known to belong to a run, or to one stage of it."""
    return {RUN_ID: run_id, WORKSPACE: str(root), **({STAGE: stage} if stage else {})}


def marked_processes(wanted: Mapping[str, str]) -> list[psutil.Process]:
    """The living processes, other than this one, that carry all the `wanted` marks."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and wanted.items() <= process.environ().items():
                found.append(process)
    return found


def end_marked_processes(wanted: Mapping[str, str], grace_seconds: float = GRACE_SECONDS) -> list[int]:
    """End every process that carries all the `wanted` marks: TERM, then KILL after the grace.

    Returns:
        The pids that were ended, sorted; empty if there were none.
    Raises:
        WorkspaceError: a process outlives KILL (it hangs in the kernel, or belongs to another user).
    """
    ended: set[int] = set()
    for signal_number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, KILL_SECONDS)):
        signalled: set[int] = set()
        deadline = time.monotonic() + seconds
        while living := marked_processes(wanted):
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
        f"process {pids} of {f'the ended run {wanted[RUN_ID]}' if RUN_ID in wanted else 'what was ended'} still lives "
        "and does not react to SIGKILL; end it (often a hung disk or network mount), then try again"
    )


def _start_time(pid: int) -> str | None:
    try:
        return str(psutil.Process(pid).create_time())
    except psutil.Error:
        return None
